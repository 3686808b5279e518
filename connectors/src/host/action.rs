//! One operation of the agent as an action: each act is one signed order.

use async_trait::async_trait;
use nexplane_core::catalog::ActionSpec;
use nexplane_core::id::JobId;
use nexplane_core::job::{Authority, JobResult, Order, RefusalCode};
use nexplane_core::plan::{Field, Fingerprint, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::password::NewPassword;
use super::{Host, HostPort, Session};
use crate::sdk::{
    Advice, AnyAction, AnySession, Call, ConnectorError, EarlierEffect, ErrorKind, Executed,
    FieldError, Inspection, OpenContext, Produced, Redactor, RolledBack, SecretBytes, Snapshot,
    StepContext, TypedSession, Verification, check_schema,
};

/// The action for an operation.
pub(super) fn of(mut spec: ActionSpec) -> Box<dyn AnyAction> {
    if let Some(schema) = spec.parameters.as_object_mut() {
        schema.remove("$schema");
        schema.remove("title");
    }
    Box::new(HostAction { spec })
}

struct HostAction {
    spec: ActionSpec,
}

/// What is kept on this side; the before-state itself stays on the host, with the agent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    fields: Vec<Field>,
    fingerprint: Fingerprint,
    /// Of an operation that produces a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<NewPassword>,
}

/// What an applied job leaves for its rollback, and for people.
#[derive(Serialize, Deserialize)]
struct Outcome {
    job: JobId,
    changed: bool,
    before_fingerprint: Fingerprint,
    after_fingerprint: Fingerprint,
}

impl HostAction {
    fn call<'a>(&'a self, target: &'a TargetRef, act: &'static str, cx: &OpenContext) -> Call<'a> {
        Call {
            connector: "host",
            action: Some(&self.spec.id),
            target: Some(&target.external_key),
            act,
            limit: cx.call_timeout,
            effect: None,
        }
    }

    fn faults(&self, parameters: &Value) -> Result<(), Vec<FieldError>> {
        check_schema(&self.spec.parameters, parameters)?;
        let unknown = || vec![FieldError::new("", "is not for an operation of this agent")];
        let entry = nexplane_agent::operation::find(&self.spec.id).ok_or_else(unknown)?;
        match entry.bind(parameters) {
            Ok(_) => Ok(()),
            Err(error) => Err(vec![FieldError::new("", error.to_string())]),
        }
    }

    fn fit(&self, target: &TargetRef, parameters: &Value) -> Result<(), ConnectorError> {
        if !self.spec.target_types.contains(&target.kind) {
            let message = format!("the target is a {}, not a host", target.kind);
            return Err(ConnectorError::invalid(message));
        }
        self.faults(parameters).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            let message = format!("the parameters do not fit: {}", faults.join("; "));
            ConnectorError::invalid(message)
        })
    }

    /// The password that was made up with this before-state.
    fn new_password(&self, before: &Snapshot) -> Result<Option<NewPassword>, ConnectorError> {
        if self.spec.produces.is_empty() {
            return Ok(None);
        }
        let sealed: Sealed = serde_json::from_slice(before.sealed.expose()).map_err(|error| {
            ConnectorError::invalid("the before-state cannot be read").because(error)
        })?;
        sealed.new.map(Some).ok_or_else(|| {
            ConnectorError::invalid("the before-state has no new password for the account")
        })
    }

    fn produced(&self, new: Option<&NewPassword>) -> Vec<Produced> {
        self.spec.produces.iter().zip(new).map(|(name, new)| new.produced(name)).collect()
    }

    async fn verify_now(
        &self,
        session: &Session,
        target: &TargetRef,
        parameters: &Value,
        new: Option<&NewPassword>,
        undoes: Option<JobId>,
    ) -> Result<(bool, Vec<Field>, Fingerprint), ConnectorError> {
        self.fit(target, parameters)?;
        let order = Order::Verify {
            operation: self.spec.id.clone(),
            target: target.name.clone(),
            parameters: parameters.clone(),
            prepared: new.map(NewPassword::prepared),
            undoes,
        };
        let result = session.ask(order).await?;
        if let JobResult::Verified { satisfied, observed, fingerprint } = result {
            Ok((satisfied, observed, checked(fingerprint)?))
        } else {
            Err(definite(result))
        }
    }
}

#[async_trait]
impl AnyAction for HostAction {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn validate(&self, parameters: &Value) -> Result<(), Vec<FieldError>> {
        self.faults(parameters)
    }

    async fn inspect(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
    ) -> Result<Inspection, ConnectorError> {
        let session = TypedSession::<Host>::of(session)?;
        let work = async {
            self.fit(target, parameters)?;
            let order = Order::Inspect {
                operation: self.spec.id.clone(),
                target: target.name.clone(),
                parameters: parameters.clone(),
            };
            let result = session.inner.ask(order).await?;
            if let JobResult::Inspected { checks, before, fingerprint, diff, summary, rollback } =
                result
            {
                // A host is not ours: what it says is made fit for our records.
                let redactor = &session.redactor;
                let makes_one = !self.spec.produces.is_empty();
                let new = makes_one.then(NewPassword::generate).transpose()?;
                let before = seal(redactor.fields(before), fingerprint, new)?;
                Ok(Inspection {
                    checks: redactor.checks(checks),
                    before,
                    diff: redactor.diff(diff),
                    summary: redactor.text(&summary),
                    rollback: redactor.text(&rollback),
                })
            } else {
                Err(definite(result))
            }
        };
        self.call(target, "inspect", &session.cx).run(&session.redactor, work).await
    }

    async fn read(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        undoes: Option<&EarlierEffect>,
    ) -> Result<Snapshot, ConnectorError> {
        let session = TypedSession::<Host>::of(session)?;
        let work = async {
            let undoes = match undoes {
                Some(effect) => job_of(&session.inner.port, effect, None).await?,
                None => None,
            };
            let (_, observed, fingerprint) =
                self.verify_now(&session.inner, target, parameters, None, undoes).await?;
            seal(session.redactor.fields(observed), fingerprint, None)
        };
        self.call(target, "read", &session.cx).run(&session.redactor, work).await
    }

    async fn execute(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
    ) -> Result<Executed, ConnectorError> {
        let session = TypedSession::<Host>::of(session)?;
        let call = Call {
            limit: cx.deadline + GRACE,
            effect: Some(self.spec.effect_class),
            ..self.call(&cx.step.target, "execute", &session.cx)
        };
        let new = self.new_password(before).map_err(|error| call.place(error))?;
        let redactor = redactor(session, new.as_ref());
        let work = async {
            self.fit(&cx.step.target, &cx.step.parameters)?;
            let order = Order::Apply {
                step: Box::new(cx.step.clone()),
                authority: Box::new(authority(cx)),
                prepared: new.as_ref().map(NewPassword::prepared),
            };
            let port = &session.inner.port;
            let key = job_key(&cx.idempotency_key, new.as_ref());
            let done = port.jobs.run(port.id, order, cx.deadline, &key).await?;
            if let JobResult::Applied { changed, before_fingerprint, after_fingerprint, .. } =
                done.result
            {
                let outcome =
                    Outcome { job: done.job, changed, before_fingerprint, after_fingerprint };
                let outcome = redactor.value(json!(outcome));
                let (produced, undo_until) = (self.produced(new.as_ref()), done.undo_until);
                Ok(Executed { changed, outcome, produced, undo_until })
            } else {
                Err(definite(done.result))
            }
        };
        call.run(&redactor, work).await
    }

    async fn verify(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        before: &Snapshot,
        _: Option<&Value>,
    ) -> Result<Verification, ConnectorError> {
        let session = TypedSession::<Host>::of(session)?;
        let call = self.call(target, "verify", &session.cx);
        let new = self.new_password(before).map_err(|error| call.place(error))?;
        let redactor = redactor(session, new.as_ref());
        let work = self.verify_now(&session.inner, target, parameters, new.as_ref(), None);
        let (satisfied, observed, fingerprint) = call.run(&redactor, work).await?;
        let observed = redactor.fields(observed);
        let produced = if satisfied { self.produced(new.as_ref()) } else { Vec::new() };
        Ok(Verification { satisfied, observed, fingerprint, produced })
    }

    async fn rollback(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> Result<RolledBack, ConnectorError> {
        let session = TypedSession::<Host>::of(session)?;
        let work = async {
            let applied: Option<Outcome> =
                outcome.and_then(|value| serde_json::from_value(value.clone()).ok());
            let new = self.new_password(before)?;
            let port = &session.inner.port;
            let undoes = match (applied, &cx.undoes) {
                (_, Some(effect)) => job_of(port, effect, new.as_ref()).await?,
                (Some(applied), None) => Some(applied.job),
                (None, None) => None,
            };
            let undoes = undoes.ok_or_else(|| {
                ConnectorError::invalid("it is not known which job of the host is to be undone")
            })?;
            let order = Order::Revert {
                step: Box::new(cx.step.clone()),
                undoes,
                authority: Box::new(authority(cx)),
            };
            let done = port.jobs.run(port.id, order, cx.deadline, &cx.idempotency_key).await?;
            let JobResult::Reverted { after_fingerprint, .. } = done.result else {
                return Err(definite(done.result));
            };
            if after_fingerprint != before.fingerprint {
                return Err(ConnectorError::new(
                    ErrorKind::Unexpected,
                    Advice::OutcomeUnknown,
                    "the agent reports a state that is not the captured one",
                ));
            }
            Ok(RolledBack {
                changed: after_fingerprint != cx.precondition,
                outcome: json!({ "job": done.job, "after_fingerprint": after_fingerprint }),
            })
        };
        let call = Call {
            limit: cx.deadline + GRACE,
            effect: Some(self.spec.effect_class),
            ..self.call(&cx.step.target, "rollback", &session.cx)
        };
        call.run(&session.redactor, work).await
    }
}

/// The port ends its waiting at the deadline by itself and knows more about why.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

fn authority(cx: &StepContext) -> Authority {
    Authority {
        change: cx.change,
        run: cx.run,
        epoch: cx.epoch,
        plan_digest: cx.plan_digest.clone(),
        proof: cx.proof.clone(),
        precondition: cx.precondition.clone(),
        approvals: cx.approvals.clone(),
    }
}

/// A fingerprint as agents make them.
fn checked(fingerprint: Fingerprint) -> Result<Fingerprint, ConnectorError> {
    let is_one = fingerprint.len() <= 128 && fingerprint.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_one {
        return Ok(fingerprint);
    }
    let message = "the agent answered with a fingerprint that is none";
    Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message))
}

/// The job that had an effect, where it can be found.
async fn job_of(
    port: &HostPort,
    effect: &EarlierEffect,
    new: Option<&NewPassword>,
) -> Result<Option<JobId>, ConnectorError> {
    match effect.job {
        Some(job) => Ok(Some(job)),
        None => port.jobs.find(port.id, &job_key(&effect.key, new)).await,
    }
}

/// The key of the job of a step.
fn job_key(key: &str, new: Option<&NewPassword>) -> String {
    new.map_or_else(|| key.to_owned(), |new| new.key(key))
}

/// A host has the hash, and could put it into an answer.
fn redactor(session: &TypedSession<Host>, new: Option<&NewPassword>) -> Redactor {
    session.redactor.with(new.into_iter().flat_map(|new| [new.clear.clone(), new.hash.clone()]))
}

fn seal(
    fields: Vec<Field>,
    fingerprint: Fingerprint,
    new: Option<NewPassword>,
) -> Result<Snapshot, ConnectorError> {
    let sealed = Sealed { fields, fingerprint: checked(fingerprint)?, new };
    let bytes = serde_json::to_vec(&sealed).map_err(|error| {
        ConnectorError::invalid("the before-state cannot be written").because(error)
    })?;
    let Sealed { fields, fingerprint, new: _ } = sealed;
    Ok(Snapshot { fields, fingerprint, sealed: SecretBytes::new(bytes) })
}

/// The error for a result that is not the one that the order asks for.
pub(super) fn definite(result: JobResult) -> ConnectorError {
    match result {
        JobResult::Refused { code, detail, .. } => {
            let (kind, advice) = match code {
                RefusalCode::Drift | RefusalCode::CheckFailed => {
                    (ErrorKind::Conflict, Advice::Never)
                }
                RefusalCode::NotYetValid | RefusalCode::Expired => {
                    (ErrorKind::Refused, Advice::RetryNow)
                }
                RefusalCode::NoSnapshot => (ErrorKind::NotFound, Advice::Never),
                RefusalCode::InvalidParameters | RefusalCode::UnknownOperation => {
                    (ErrorKind::Invalid, Advice::Never)
                }
                RefusalCode::Unreadable
                | RefusalCode::WrongHost
                | RefusalCode::BadSignature
                | RefusalCode::Replayed
                | RefusalCode::PlanMismatch
                | RefusalCode::LocalPolicy => (ErrorKind::Refused, Advice::Never),
            };
            ConnectorError::new(kind, advice, format!("the agent refused: {detail}"))
        }
        JobResult::Failed { detail } => ConnectorError::new(
            ErrorKind::Refused,
            Advice::Never,
            format!("the host said no, nothing is changed: {detail}"),
        ),
        JobResult::Unknown { detail } => ConnectorError::new(
            ErrorKind::Unexpected,
            Advice::OutcomeUnknown,
            format!("the agent cannot tell what came of it: {detail}"),
        ),
        JobResult::Inspected { .. }
        | JobResult::Verified { .. }
        | JobResult::Facts { .. }
        | JobResult::Applied { .. }
        | JobResult::Reverted { .. } => ConnectorError::new(
            ErrorKind::Unexpected,
            Advice::OutcomeUnknown,
            "the agent answered another question than the one it was asked",
        ),
    }
}
