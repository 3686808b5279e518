//! From typed connectors and actions to the erased ones, with the layer in between.

use std::any::Any;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use nexplane_core::catalog::{ActionSpec, ConnectorSpec, Reversibility};
use nexplane_core::plan::{self, Check, TargetRef};
use serde_json::Value;

use super::action::{Action, Before, Reversible, SessionOf, TargetState, check};
use super::connector::{Connector, secrets_of};
use super::discovery;
use super::erased::{
    AnyAction, AnyConnector, AnySession, Discovery, EarlierEffect, Executed, Inspection,
    OpenContext, RolledBack, Snapshot, StepContext, Verification,
};
use super::error::{ConnectorError, ErrorKind, FieldError};
use super::layer::{Call, Redactor};
use super::schema;
use super::secret::{SecretBytes, SecretJson};
use super::settle::settle;

/// A connector without its type.
pub struct TypedConnector<C: Connector> {
    spec: ConnectorSpec,
    secret_pointers: Vec<String>,
    actions: Vec<Box<dyn AnyAction>>,
    connector: std::marker::PhantomData<C>,
}

impl<C: Connector> TypedConnector<C> {
    pub fn new() -> Self {
        let actions = C::actions().list;
        let credentials = schema::of::<C::Credentials>();
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        Self {
            secret_pointers: schema::secret_pointers(&credentials),
            spec: ConnectorSpec {
                id: C::META.id.to_owned(),
                title: C::META.title.to_owned(),
                description: C::META.description.to_owned(),
                credentials,
                managed: C::META.managed,
                asset_types: words(C::META.asset_types),
                least_privilege: C::LEAST_PRIVILEGE.to_owned(),
                actions: actions.iter().map(|action| action.spec().clone()).collect(),
            },
            actions,
            connector: std::marker::PhantomData,
        }
    }
}

#[async_trait]
impl<C: Connector> AnyConnector for TypedConnector<C> {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn actions(&self) -> &[Box<dyn AnyAction>] {
        &self.actions
    }

    fn validate_credentials(&self, credentials: &Value) -> Result<(), Vec<FieldError>> {
        schema::parse::<C::Credentials>(&self.spec.credentials, credentials).map(drop)
    }

    fn secret_pointers(&self) -> &[String] {
        &self.secret_pointers
    }

    async fn open(
        &self,
        credentials: SecretJson,
        cx: &OpenContext,
    ) -> Result<Box<dyn AnySession>, ConnectorError> {
        let call = Call {
            connector: C::META.id,
            action: None,
            target: None,
            act: "open",
            limit: cx.call_timeout,
            effect: None,
        };
        let secrets = secrets_of(credentials.expose(), &self.secret_pointers);
        let redactor = Redactor::new(secrets);
        let connect = || async {
            let typed = schema::parse(&self.spec.credentials, credentials.expose());
            C::connect(typed.map_err(|faults| faulty("credentials", &faults))?, cx).await
        };
        let inner = call.run_again(&redactor, connect).await?;
        let redactor = redactor.with(C::secrets(&inner));
        Ok(Box::new(TypedSession::<C> { inner, redactor, cx: cx.clone() }))
    }
}

/// A session without its type.
pub struct TypedSession<C: Connector> {
    pub(crate) inner: C::Session,
    pub(crate) redactor: Redactor,
    pub(crate) cx: OpenContext,
}

impl<C: Connector> TypedSession<C> {
    /// The session behind the erased one, or the error of a caller that mixed up two connectors.
    pub(crate) fn of(session: &dyn AnySession) -> Result<&Self, ConnectorError> {
        session.as_any().downcast_ref().ok_or_else(|| {
            ConnectorError::invalid(format!("the session is not of connector {}", C::META.id))
        })
    }

    fn call(&self, act: &'static str) -> Call<'static> {
        Call {
            connector: C::META.id,
            action: None,
            target: None,
            act,
            limit: self.cx.call_timeout,
            effect: None,
        }
    }

    /// How long an effect is waited for until a read shows it: there is time left for the read itself.
    fn patience(&self) -> Duration {
        C::SETTLES_WITHIN.min(self.cx.call_timeout * 2 / 3)
    }
}

#[async_trait]
impl<C: Connector> AnySession for TypedSession<C> {
    async fn test(&self) -> Vec<Check> {
        match self.call("test").run_again(&self.redactor, || C::test(&self.inner)).await {
            Ok(checks) => self.redactor.checks(checks),
            Err(error) => vec![check("connection answers", false, error.to_string())],
        }
    }

    async fn discover(&self) -> Result<Discovery, ConnectorError> {
        let call = self.call("discover");
        let found = call.run_again(&self.redactor, || C::discover(&self.inner)).await?;
        discovery::clean(found, &self.redactor, &self.cx.digest_key).map_err(|e| call.place(e))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

type Undo<A> = for<'a> fn(
    &'a A,
    &'a SessionOf<A>,
    &'a StepContext,
    &'a Before<A>,
    Option<&'a <A as Action>::Outcome>,
) -> BoxFuture<'a, Result<bool, ConnectorError>>;

/// An action without its type.
pub struct TypedAction<A: Action> {
    spec: ActionSpec,
    undo: Option<Undo<A>>,
}

impl<A: Reversible> TypedAction<A> {
    pub fn reversible() -> Self {
        Self {
            spec: spec::<A>(Reversibility::Reversible),
            undo: Some(|action, session, cx, before, outcome| {
                Box::pin(action.rollback(session, cx, before, outcome))
            }),
        }
    }
}

impl<A: Action> TypedAction<A> {
    pub fn one_way(reversibility: Reversibility) -> Self {
        Self { spec: spec::<A>(reversibility), undo: None }
    }

    fn call<'a>(&'a self, target: &'a TargetRef, act: &'static str, cx: &OpenContext) -> Call<'a> {
        Call {
            connector: A::Connector::META.id,
            action: Some(&self.spec.id),
            target: Some(&target.external_key),
            act,
            limit: cx.call_timeout,
            effect: None,
        }
    }

    fn parse(&self, parameters: &Value, target: &TargetRef) -> Result<A, ConnectorError> {
        if !A::META.target_types.contains(&target.kind.as_str()) {
            let expected = A::META.target_types.join(" or ");
            let message = format!("the target is a {}, not a {expected}", target.kind);
            return Err(ConnectorError::invalid(message));
        }
        schema::parse(&self.spec.parameters, parameters)
            .map_err(|faults| faulty("parameters", &faults))
    }

    fn unseal(sealed: &SecretBytes) -> Result<(Before<A>, SecretJson), ConnectorError> {
        let bad = |error| ConnectorError::invalid("the before-state cannot be read").because(error);
        let json = SecretJson::from_slice(sealed.expose()).map_err(bad)?;
        let typed = serde_json::from_slice(sealed.expose()).map_err(bad)?;
        Ok((typed, json))
    }

    fn seal(
        state: &A::State,
        sealed: &impl serde::Serialize,
        cx: &OpenContext,
    ) -> Result<(Snapshot, SecretJson), ConnectorError> {
        let bad = |e| ConnectorError::invalid("the before-state cannot be written").because(e);
        let json = SecretJson::new(serde_json::to_value(sealed).map_err(bad)?);
        let snapshot = Snapshot {
            fields: state.fields(),
            fingerprint: plan::fingerprint(&state.fingerprinted(&cx.digest_key)),
            sealed: SecretBytes::new(serde_json::to_vec(json.expose()).map_err(bad)?),
        };
        Ok((snapshot, json))
    }

    /// Waits after an effect, or one in doubt, until a read of the target `shows` it, or for half of the time that is
    /// left. Whether it was seen is for `verify` to say; a target that cannot be read is not waited for.
    async fn settled<F>(
        session: &TypedSession<A::Connector>,
        left: Duration,
        read: impl FnMut() -> F + Send,
        shows: impl Fn(&A::State) -> bool + Send,
    ) where
        F: Future<Output = Result<A::State, ConnectorError>> + Send,
    {
        let limit = session.patience().min(left / 2);
        if !limit.is_zero() {
            // Dropped when a read takes longer than all of it.
            let _ = tokio::time::timeout(limit, settle(limit, read, shows)).await;
        }
    }

    fn outcome(value: Option<&Value>) -> Result<Option<A::Outcome>, ConnectorError> {
        value
            .map(|value| serde_json::from_value(value.clone()))
            .transpose()
            .map_err(|error| ConnectorError::invalid("the outcome cannot be read").because(error))
    }
}

#[async_trait]
impl<A: Action> AnyAction for TypedAction<A> {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn validate(&self, parameters: &Value) -> Result<(), Vec<FieldError>> {
        schema::parse::<A>(&self.spec.parameters, parameters).map(drop)
    }

    async fn inspect(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
    ) -> Result<Inspection, ConnectorError> {
        let session = TypedSession::<A::Connector>::of(session)?;
        let call = self.call(target, "inspect", &session.cx);
        let work = || async {
            let action = self.parse(parameters, target)?;
            let state = action.snapshot(&session.inner, target).await?;
            let checks = action.precheck(&session.inner, target, &state).await?;
            let description = action.describe(target, &state);
            let prepared = action.prepare(target)?;
            let before = Before::<A> { state, prepared };
            let (snapshot, json) = Self::seal(&before.state, &before, &session.cx)?;
            Ok((checks, description, snapshot, json))
        };
        let (checks, description, snapshot, json) = call.run_again(&session.redactor, work).await?;
        let redactor = session.redactor.with_sealed(json.expose());
        Ok(Inspection {
            checks: redactor.checks(checks),
            before: Snapshot { fields: redactor.fields(snapshot.fields), ..snapshot },
            diff: redactor.diff(description.diff),
            summary: redactor.text(&description.summary),
            rollback: redactor.text(&description.rollback),
        })
    }

    async fn read(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        undoes: Option<&EarlierEffect>,
    ) -> Result<Snapshot, ConnectorError> {
        let session = TypedSession::<A::Connector>::of(session)?;
        let call = self.call(target, "read", &session.cx);
        let work = || async {
            let action = self.parse(parameters, target)?;
            let state = match undoes.and_then(|undoes| undoes.before.as_ref()) {
                None => action.snapshot(&session.inner, target).await?,
                Some(before) => {
                    let (before, _) = Self::unseal(before)?;
                    action.look_back(&session.inner, target, &before).await?
                }
            };
            Self::seal(&state, &state, &session.cx)
        };
        let (snapshot, json) = call.run_again(&session.redactor, work).await?;
        let redactor = session.redactor.with_sealed(json.expose());
        Ok(Snapshot { fields: redactor.fields(snapshot.fields), ..snapshot })
    }

    async fn execute(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
    ) -> Result<Executed, ConnectorError> {
        let session = TypedSession::<A::Connector>::of(session)?;
        let target = &cx.step.target;
        let call = Call {
            limit: cx.deadline,
            effect: Some(self.spec.effect_class),
            ..self.call(target, "execute", &session.cx)
        };
        let action = self.parse(&cx.step.parameters, target).map_err(|e| call.place(e))?;
        let (before, json) = Self::unseal(&before.sealed).map_err(|e| call.place(e))?;
        let redactor = session.redactor.with_sealed(json.expose());
        let started = Instant::now();
        let work = || action.execute(&session.inner, cx, &before);
        let answer = call.run_again(&redactor, work).await;
        if answer.as_ref().map_or_else(may_show_late, |effect| effect.changed) {
            let left = cx.deadline.saturating_sub(started.elapsed());
            let outcome = answer.as_ref().ok().map(|effect| &effect.outcome);
            let read = || action.observe(&session.inner, target, &before);
            let shows = |now: &A::State| action.verify(now, &before, outcome);
            Self::settled(session, left, read, shows).await;
        }
        let effect = answer?;
        Ok(Executed {
            changed: effect.changed,
            outcome: redactor.value(to_public(&effect.outcome)),
            produced: action.handed_over(&before, None, Some(&effect.outcome)),
            // What it takes to undo is in the snapshot.
            undo_until: None,
        })
    }

    async fn verify(
        &self,
        session: &dyn AnySession,
        target: &TargetRef,
        parameters: &Value,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> Result<Verification, ConnectorError> {
        let session = TypedSession::<A::Connector>::of(session)?;
        let call = self.call(target, "verify", &session.cx);
        let action = self.parse(parameters, target).map_err(|e| call.place(e))?;
        let (before, json) = Self::unseal(&before.sealed).map_err(|e| call.place(e))?;
        let outcome = Self::outcome(outcome).map_err(|e| call.place(e))?;
        let redactor = session.redactor.with_sealed(json.expose());
        // Who has the outcome comes right from the effect. After a crash there is none, and time has passed.
        let patience = if outcome.is_some() { session.patience() } else { Duration::ZERO };
        let read = || action.observe(&session.inner, target, &before);
        let shows = |now: &A::State| action.verify(now, &before, outcome.as_ref());
        let now = call.run_again(&redactor, || settle(patience, read, shows)).await?;
        let satisfied = shows(&now);
        let produced =
            if satisfied { action.handed_over(&before, Some(&now), None) } else { Vec::new() };
        let (snapshot, json) =
            Self::seal(&now, &now, &session.cx).map_err(|error| call.place(error))?;
        Ok(Verification {
            satisfied,
            observed: redactor.with_sealed(json.expose()).fields(snapshot.fields),
            fingerprint: snapshot.fingerprint,
            produced,
        })
    }

    async fn rollback(
        &self,
        session: &dyn AnySession,
        cx: &StepContext,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> Result<RolledBack, ConnectorError> {
        let session = TypedSession::<A::Connector>::of(session)?;
        let target = &cx.step.target;
        let call = Call {
            limit: cx.deadline,
            effect: Some(self.spec.effect_class),
            ..self.call(target, "rollback", &session.cx)
        };
        let Some(undo) = self.undo else {
            return Err(call.place(ConnectorError::invalid("this action has no way back")));
        };
        let action = self.parse(&cx.step.parameters, target).map_err(|e| call.place(e))?;
        let (before, json) = Self::unseal(&before.sealed).map_err(|e| call.place(e))?;
        let outcome = Self::outcome(outcome).map_err(|e| call.place(e))?;
        let redactor = session.redactor.with_sealed(json.expose());
        let started = Instant::now();
        let work = || undo(&action, &session.inner, cx, &before, outcome.as_ref());
        let answer = call.run_again(&redactor, work).await;
        if answer.as_ref().map_or_else(may_show_late, |&changed| changed) {
            let left = cx.deadline.saturating_sub(started.elapsed());
            let wanted = before.state.fingerprinted(&session.cx.digest_key);
            let read = || action.look_back(&session.inner, target, &before);
            let shows = |now: &A::State| now.fingerprinted(&session.cx.digest_key) == wanted;
            Self::settled(session, left, read, shows).await;
        }
        let changed = answer?;
        Ok(RolledBack { changed, outcome: serde_json::json!({ "changed": changed }) })
    }
}

/// Whether nobody knows if the call arrived, so that it may have had an effect which no read shows yet.
fn may_show_late(error: &ConnectorError) -> bool {
    let no_answer =
        matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Unexpected);
    error.is_outcome_unknown() && no_answer
}

fn spec<A: Action>(reversibility: Reversibility) -> ActionSpec {
    let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
    ActionSpec {
        id: format!("{}.{}", A::Connector::META.id, A::META.id),
        title: A::META.title.to_owned(),
        description: A::META.description.to_owned(),
        effect_class: A::META.effect_class,
        base_risk: A::META.base_risk,
        reversibility,
        target_types: words(A::META.target_types),
        permissions: words(A::META.permissions),
        parameters: schema::of::<A>(),
        example: A::example(),
        produces: words(A::META.produces),
    }
}

fn to_public<T: serde::Serialize>(outcome: &T) -> Value {
    serde_json::to_value(outcome).expect("outcomes are structs of JSON values with string keys")
}

fn faulty(what: &str, faults: &[FieldError]) -> ConnectorError {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    ConnectorError::invalid(format!("the {what} do not fit: {}", faults.join("; ")))
}
