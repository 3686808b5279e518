//! One step of a run, one move at a time. Each move ends in an event, so a crash between two moves
//! continues at the second.

use std::time::Duration;

use nexplane_connectors::sdk::{
    AnyAction, ConnectorError, Produced as Secret, SecretBytes, Snapshot, StepContext,
};
use nexplane_core::aggregate::Reject as _;
use nexplane_core::catalog::EffectClass;
use nexplane_core::change::event::Produced;
use nexplane_core::connection::Purpose;
use nexplane_core::plan::{Field, Fingerprint, Step};
use nexplane_core::run::event::{Captured, Finding, Reason};
use nexplane_core::run::{
    Intent, RunCommand, RunRejection, Running, StepPhase, UNSTORABLE, Verified,
};

use nexplane_core::time::Timestamp;

use super::earlier::{earlier, verified_at};
use super::engine::{Hold, Left};
use super::report::Report;
use super::targets::{OpenError, Opened, change_owner};
use crate::stream::{self, StreamError};
use crate::vault::Kind;

/// Why a step of a part was not started: somebody stopped the rollout.
pub(super) const STOPPED: &str = "stopped";

/// Whether a run that has stopped at something unknown can still be settled by reading the target.
pub(super) fn can_settle(run: &Running) -> bool {
    run.steps.iter().zip(&run.plan.steps).any(|(phase, step)| {
        matches!(phase, StepPhase::Unknown { .. }) && step.effect_class != EffectClass::Unprotected
    })
}

/// Makes the next move; `None` when there is none.
pub(super) async fn advance(hold: &Hold<'_>, run: &Running) -> Result<Option<Running>, Left> {
    let Some((step, phase)) = run
        .plan
        .steps
        .iter()
        .zip(&run.steps)
        .find(|(_, phase)| !matches!(phase, StepPhase::Verified(_)))
    else {
        return Ok(None);
    };
    let at = At { hold, run, step };
    match phase {
        StepPhase::Planned | StepPhase::Reconciled { finding: Finding::NotApplied, .. } => {
            at.act().await.map(Some)
        }
        // Another epoch's: it may have been sent or not, and nobody is there to say.
        StepPhase::Intended(_) => {
            hold.time_left()?;
            let why = "The server stopped between the intent and its answer.";
            at.lose_sight("crash", why).await.map(Some)
        }
        StepPhase::Unknown { intent, .. } => at.settle(intent).await,
        StepPhase::Succeeded(effect) => at.verify(&effect.intent, effect.outcome.as_ref()).await,
        StepPhase::Reconciled { intent, finding: Finding::Applied } => {
            at.verify(intent, None).await
        }
        StepPhase::Reconciled { finding: Finding::Conflict, .. }
        | StepPhase::Verified(_)
        | StepPhase::Unverified { .. }
        | StepPhase::Failed { .. }
        | StepPhase::Blocked { .. } => Ok(None),
    }
}

/// A step, and who is at it.
pub(super) struct At<'a> {
    pub(super) hold: &'a Hold<'a>,
    run: &'a Running,
    pub(super) step: &'a Step,
}

/// What a rollback step undoes.
pub(super) struct Undone {
    pub(super) verified: Verified,
    pub(super) before: Snapshot,
}

impl At<'_> {
    /// Reads the target, compares, intends, and only then acts.
    async fn act(&self) -> Result<Running, Left> {
        if let Some(no) = self.run.cancelled() {
            return self.refuse(&no, Vec::new()).await;
        }
        // Of a part that is for the intent to say: its rollout may have been stopped meanwhile.
        if self.hold.part.is_none()
            && let Some(no) = self.hold.refusal(self.run).await?
        {
            return self.refuse(&no, Vec::new()).await;
        }
        let (action, opened) = match self.open().await {
            Ok(opened) => opened,
            Err(why) if why.is_ours => return Err(Left::Away),
            Err(why) => return self.block(&why, Vec::new(), Vec::new(), Vec::new()).await,
        };
        let undone = self.undone().await?;
        if let Some(blocked) = self.too_late(undone.as_ref()).await? {
            return Ok(blocked);
        }
        let (before, sealed) = match &undone {
            Some(undone) => match self.read(action, &opened, Some(undone)).await {
                Ok(now) if Self::is_settled_for(undone, &now) => (now, None),
                Ok(now) => {
                    let why = Why::new(
                        "moved",
                        format!(
                            "{} was moved since the change: it is neither as the change left it nor as it was before. Nothing was undone.",
                            self.step.target.name
                        ),
                    );
                    let before = undone.before.fields.clone();
                    return self
                        .block(&why, before, undone.verified.observed.clone(), now.fields)
                        .await;
                }
                Err(error) => {
                    return self.block(&error.into(), Vec::new(), Vec::new(), Vec::new()).await;
                }
            },
            None => {
                let found = action
                    .inspect(&*opened.session, &self.step.target, &self.step.parameters)
                    .await;
                let inspection = match found {
                    Ok(inspection) => inspection,
                    Err(error) => {
                        return self.block(&error.into(), Vec::new(), Vec::new(), Vec::new()).await;
                    }
                };
                if inspection.before.fingerprint != self.step.before_fingerprint {
                    let why = Why::new(
                        "moved",
                        format!(
                            "{} is not what it was when the plan was made. Nothing was sent; plan again.",
                            self.step.target.name
                        ),
                    );
                    return self
                        .block(
                            &why,
                            self.planned(false),
                            self.planned(true),
                            inspection.before.fields,
                        )
                        .await;
                }
                if let Some(check) = inspection.checks.iter().find(|check| !check.ok) {
                    let why = Why::new("precheck", check.detail.clone());
                    return self
                        .block(
                            &why,
                            self.planned(false),
                            self.planned(true),
                            inspection.before.fields,
                        )
                        .await;
                }
                let sealed = self
                    .hold
                    .targets
                    .vault
                    .seal(
                        &change_owner(self.hold.change),
                        Kind::BeforeState,
                        &self.step.action,
                        inspection.before.sealed.expose(),
                    )
                    .await?;
                (inspection.before, Some(sealed))
            }
        };

        let captured = Captured {
            fields: before.fields.clone(),
            fingerprint: before.fingerprint.clone(),
            sealed,
        };
        let key = self.key();
        let (step, epoch) = (self.step.no, self.hold.epoch);
        let intend = |in_the_way, held, terms| {
            let (key, before) = (key.clone(), captured.clone());
            RunCommand::Intend { step, epoch, key, before, in_the_way, held, terms }
        };
        let attempt = match self.hold.intend(intend).await {
            Ok(running) => attempt_of(&running, step),
            Err(Left::Write(StreamError::Rejected(no @ RunRejection::NotBegun { .. })))
                if self.hold.part.is_some() =>
            {
                return Err(Left::NotBegun(no.to_string()));
            }
            Err(Left::Write(StreamError::Rejected(
                no @ (RunRejection::Frozen { .. }
                | RunRejection::WindowClosed { .. }
                | RunRejection::TimeOver { .. }
                | RunRejection::NotBegun { .. }
                | RunRejection::Cancelled { .. }
                | RunRejection::Stopped { .. }),
            ))) => return self.refuse(&no, before.fields).await,
            Err(Left::Write(StreamError::Rejected(RunRejection::Paused))) => {
                return Err(Left::Paused);
            }
            Err(Left::Write(error)) if error.is_unstorable() => {
                let why =
                    Why::new(UNSTORABLE, "What the target answered cannot be stored.".to_owned());
                return self.block(&why, Vec::new(), Vec::new(), Vec::new()).await;
            }
            Err(left) => return Err(left),
        };

        // From here on an effect may happen. The lease is looked at once more, right before.
        let deadline = match self.hold.time_left() {
            Ok(left) => left.min(self.hold.options.effect),
            Err(left) => return Err(left),
        };
        let precondition = before.fingerprint.clone();
        let cx = self.context(key, precondition, deadline, undone.as_ref());
        let acted = match &undone {
            None => action
                .execute(&*opened.session, &cx, &before)
                .await
                .map(|done| (done.outcome, done.produced, done.undo_until)),
            Some(undone) => action
                .rollback(
                    &*opened.session,
                    &cx,
                    &undone.before,
                    undone.verified.effect.outcome.as_ref(),
                )
                .await
                .map(|done| (done.outcome, Vec::new(), None)),
        };
        self.report(attempt, acted).await
    }

    /// Of a rollback whose target said until when it can be undone, and that is over: nothing is sent to it.
    async fn too_late(&self, undone: Option<&Undone>) -> Result<Option<Running>, Left> {
        let Some(Undone { verified, before }) = undone else { return Ok(None) };
        let Some(until) = verified.effect.too_late_since(stream::now()) else { return Ok(None) };
        let name = &self.step.target.name;
        let message = format!(
            "{name} can no longer be undone: what it was before was kept until {until}. Nothing was undone."
        );
        let why = Why::new("too_late", message);
        let after = verified.observed.clone();
        self.block(&why, before.fields.clone(), after, Vec::new()).await.map(Some)
    }

    /// Tells the run what came of the effect.
    async fn report(
        &self,
        attempt: u32,
        acted: Result<(serde_json::Value, Vec<Secret>, Option<Timestamp>), ConnectorError>,
    ) -> Result<Running, Left> {
        let Hold { change, run, epoch, .. } = *self.hold;
        let vault = &self.hold.targets.vault;
        let report = Report::of(vault, (change, run), (self.step.no, epoch, attempt), acted)?;
        self.hold.report(&report).await
    }

    async fn lose_sight(&self, kind: &str, message: &str) -> Result<Running, Left> {
        let reason = Reason { kind: kind.to_owned(), message: message.to_owned() };
        let (step, epoch) = (self.step.no, self.hold.epoch);
        self.hold.tell(RunCommand::LoseSight { step, epoch, reason }).await
    }

    /// Reads the target: only what is found there counts as done.
    async fn verify(
        &self,
        intent: &Intent,
        outcome: Option<&serde_json::Value>,
    ) -> Result<Option<Running>, Left> {
        let undone = self.undone().await?;
        let before = self.before_of(intent, undone.as_ref()).await?;
        let (step, epoch) = (self.step.no, self.hold.epoch);
        let mut waited = Duration::ZERO;
        let mut wait = Duration::from_millis(500);
        let read = loop {
            let tried = async {
                let (action, opened) = self.open().await?;
                match &undone {
                    Some(undone) => {
                        let now = self.read(action, &opened, Some(undone)).await?;
                        let satisfied = now.fingerprint == undone.before.fingerprint;
                        Ok::<_, Why>((satisfied, now.fields, now.fingerprint))
                    }
                    None => {
                        let v = action
                            .verify(
                                &*opened.session,
                                &self.step.target,
                                &self.step.parameters,
                                &before,
                                outcome,
                            )
                            .await?;
                        Ok((v.satisfied, v.observed, v.fingerprint))
                    }
                }
            };
            match tried.await {
                Ok(read) => break Ok(read),
                Err(why) if why.is_ours => return Err(Left::Away),
                Err(_) if waited < self.hold.options.patience => {
                    self.hold.pause(wait).await?;
                    waited += wait;
                    wait = (wait * 2).min(Duration::from_secs(10));
                }
                Err(why) => break Err(why),
            }
        };
        let command = match read {
            Ok((true, observed, fingerprint)) => {
                RunCommand::Verify { step, epoch, observed, fingerprint }
            }
            Ok((false, observed, _)) => RunCommand::Unverify {
                step,
                epoch,
                observed,
                reason: Reason {
                    kind: "unverified".to_owned(),
                    message: format!(
                        "{} was read after the effect and is not as intended.",
                        self.step.target.name
                    ),
                },
            },
            Err(Why { reason, .. }) => RunCommand::Unverify {
                step,
                epoch,
                observed: Vec::new(),
                reason: Reason {
                    kind: "unverified".to_owned(),
                    message: format!(
                        "The target could not be read after the effect: {}",
                        reason.message
                    ),
                },
            },
        };
        self.hold.tell(command).await.map(Some)
    }

    /// It does not begin: `run.cancelled`, `run.frozen`, `rollout.stopped` and the like.
    async fn refuse(&self, no: &RunRejection, now: Vec<Field>) -> Result<Running, Left> {
        let kind = no.code().rsplit('.').next().unwrap_or_default();
        let why = Why::new(kind, no.to_string());
        self.block(&why, self.planned(false), self.planned(true), now).await
    }

    async fn block(
        &self,
        why: &Why,
        before: Vec<Field>,
        after: Vec<Field>,
        now: Vec<Field>,
    ) -> Result<Running, Left> {
        self.hold.time_left()?;
        let command = RunCommand::Block {
            step: self.step.no,
            epoch: self.hold.epoch,
            before,
            after,
            now,
            reason: why.reason.clone(),
        };
        self.hold.tell(command).await
    }

    pub(super) async fn open(&self) -> Result<(&dyn AnyAction, Opened), Why> {
        let action = self.hold.targets.action(&self.step.action)?;
        let opened = self
            .hold
            .targets
            .open(
                self.step.connection,
                Purpose::Execute,
                Some(self.hold.change),
                &self.hold.request(),
            )
            .await?;
        Ok((action, opened))
    }

    pub(super) async fn read(
        &self,
        action: &dyn AnyAction,
        opened: &Opened,
        undone: Option<&Undone>,
    ) -> Result<Snapshot, ConnectorError> {
        let undoes = undone.map(|undone| earlier(&undone.verified, Some(&undone.before)));
        let Step { target, parameters, .. } = self.step;
        action.read(&*opened.session, target, parameters, undoes.as_ref()).await
    }

    /// On a rollback: the step of the earlier run, with the before-state that was sealed then.
    pub(super) async fn undone(&self) -> Result<Option<Undone>, Left> {
        let Some(undoes) = self.step.undoes else { return Ok(None) };
        let Some((change, verified)) = verified_at(&self.hold.targets.log, undoes).await? else {
            return Err(Left::Taken);
        };
        let captured = &verified.effect.intent.before;
        let sealed = match captured.sealed {
            Some(id) => {
                let owner = change_owner(change);
                let bytes = self.hold.targets.vault.open(&owner, id).await?;
                SecretBytes::new(bytes.expose().to_vec())
            }
            None => SecretBytes::new(Vec::new()),
        };
        let before = Snapshot {
            fields: captured.fields.clone(),
            fingerprint: captured.fingerprint.clone(),
            sealed,
        };
        Ok(Some(Undone { verified, before }))
    }

    /// The snapshot that was stored with an intent.
    pub(super) async fn before_of(
        &self,
        intent: &Intent,
        undone: Option<&Undone>,
    ) -> Result<Snapshot, Left> {
        if let Some(undone) = undone {
            return Ok(undone.before.clone());
        }
        let sealed = match intent.before.sealed {
            Some(id) => {
                let owner = change_owner(self.hold.change);
                SecretBytes::new(self.hold.targets.vault.open(&owner, id).await?.expose().to_vec())
            }
            None => SecretBytes::new(Vec::new()),
        };
        Ok(Snapshot {
            fields: intent.before.fields.clone(),
            fingerprint: intent.before.fingerprint.clone(),
            sealed,
        })
    }

    /// A target may be undone when it is as the change left it, or as it was before already.
    fn is_settled_for(undone: &Undone, now: &Snapshot) -> bool {
        now.fingerprint == undone.verified.fingerprint
            || now.fingerprint == undone.before.fingerprint
    }

    pub(super) fn context(
        &self,
        key: String,
        precondition: Fingerprint,
        deadline: Duration,
        undone: Option<&Undone>,
    ) -> StepContext {
        StepContext {
            change: self.hold.change,
            run: self.hold.run,
            step: self.step.clone(),
            epoch: self.hold.epoch,
            idempotency_key: key,
            plan_digest: self.run.plan.digest.clone(),
            proof: self.run.plan.proof(),
            approvals: self.run.approvals.clone(),
            deadline,
            precondition,
            undoes: undone.map(|undone| earlier(&undone.verified, Some(&undone.before))),
            progress: self.hold.progress(self.step.no),
        }
    }

    fn key(&self) -> String {
        format!("{}/{}", self.hold.run, self.step.no)
    }

    /// Stores what was produced, encrypted, and gives back the names to it.
    pub(super) async fn keep(&self, secrets: Vec<Secret>) -> Result<Vec<Produced>, Left> {
        let mut kept = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let id = self.hold.keep(&secret.name, secret.value.expose().as_bytes()).await?;
            kept.push(Produced { id, name: secret.name });
        }
        Ok(kept)
    }

    /// What the plan's diff says of the target, before or after.
    fn planned(&self, after: bool) -> Vec<Field> {
        self.step
            .diff
            .iter()
            .map(|line| {
                let value = if after { &line.after } else { &line.before };
                Field::new(line.field.clone(), value.clone())
            })
            .collect()
    }
}

/// How often the step of an intent that was just made has been intended.
fn attempt_of(run: &Running, step: u32) -> u32 {
    match run.step(step) {
        Some((_, StepPhase::Intended(intent))) => intent.attempt,
        Some(_) | None => 0,
    }
}

/// Why a step did not go on, in words that may be shown.
#[derive(Clone, Debug)]
pub(super) struct Why {
    reason: Reason,
    /// Our own database was away: nothing is known of the target, and the run is left as it is.
    pub(super) is_ours: bool,
}

impl Why {
    pub(super) fn new(kind: &str, message: String) -> Self {
        Self { reason: Reason { kind: kind.to_owned(), message }, is_ours: false }
    }
}

impl From<ConnectorError> for Why {
    fn from(error: ConnectorError) -> Self {
        Self::new(error.kind.as_str(), error.message)
    }
}

impl From<OpenError> for Why {
    fn from(error: OpenError) -> Self {
        let is_ours = error.is_away();
        if let OpenError::Connector(error) = error {
            return error.into();
        }
        Self { is_ours, ..Self::new("connection", error.to_string()) }
    }
}
