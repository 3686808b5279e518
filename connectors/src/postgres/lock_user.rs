//! `postgres.lock_user`: the role can no longer log in, and is not logged in any more.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::login::{self, Login, LoginOutcome};
use super::role::ROLE;
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Takes LOGIN from the role and ends its sessions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockUser {}

impl Action for LockUser {
    type Connector = Postgres;
    type State = Login;
    type Prepared = ();
    type Outcome = LoginOutcome;

    const META: ActionMeta = ActionMeta {
        id: "lock_user",
        title: "Lock a role",
        description: "Takes LOGIN from the role and ends its open sessions: a locked role with live \
                      sessions is not locked. Password, memberships and privileges stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[ROLE],
        permissions: &[
            "CREATEROLE with ADMIN OPTION on the role, or superuser",
            "pg_signal_backend, or membership in the role, or superuser",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Login, ConnectorError> {
        login::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Login,
    ) -> Result<Vec<Check>, ConnectorError> {
        login::precheck(session, target, true).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Login) -> Description {
        let mut diff = Vec::new();
        if state.allowed == Some(true) {
            diff.push(line(target, "login", "LOGIN", "NOLOGIN"));
        }
        if state.open_sessions > 0 {
            diff.push(line(target, "open_sessions", state.open_sessions, 0));
        }
        Description {
            diff,
            summary: format!(
                "Role {} can no longer log in; {} ended.",
                target.name,
                match state.open_sessions {
                    1 => "its 1 open session is".to_owned(),
                    many => format!("its {many} open sessions are"),
                }
            ),
            rollback: format!(
                "Role {} gets LOGIN back; ended sessions are for their clients to open again.",
                target.name
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<LoginOutcome>, ConnectorError> {
        login::set(session, cx, before.state.allowed.unwrap_or(false), false).await
    }

    fn verify(&self, now: &Login, _: &Before<Self>, _: Option<&LoginOutcome>) -> bool {
        now.allowed == Some(false) && now.open_sessions == 0
    }
}

impl Reversible for LockUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&LoginOutcome>,
    ) -> Result<bool, ConnectorError> {
        match before.state.allowed {
            Some(allowed) => Ok(login::set(session, cx, false, allowed).await?.changed),
            None => Err(ConnectorError::invalid("there was no role before: nothing to restore")),
        }
    }
}
