//! `postgres.unlock_user`: the role can log in again.

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

/// Gives LOGIN to the role.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockUser {}

impl Action for UnlockUser {
    type Connector = Postgres;
    type State = Login;
    type Prepared = ();
    type Outcome = LoginOutcome;

    const META: ActionMeta = ActionMeta {
        id: "unlock_user",
        title: "Unlock a role",
        description: "Gives LOGIN to the role. Its password and its VALID UNTIL stay as they are: \
                      an expired password still does not let it in.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[ROLE],
        permissions: &[
            "CREATEROLE with ADMIN OPTION on the role, or superuser",
            "pg_signal_backend, or membership in the role, or superuser (to undo it)",
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
        Description {
            diff: match state.allowed {
                Some(false) => vec![line(target, "login", "NOLOGIN", "LOGIN")],
                Some(true) | None => Vec::new(),
            },
            summary: format!("Role {} can log in again.", target.name),
            rollback: format!(
                "LOGIN is taken from role {} again and its sessions are ended.",
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
        login::set(session, cx, before.state.allowed.unwrap_or(true), true).await
    }

    fn verify(&self, now: &Login, _: &Before<Self>, _: Option<&LoginOutcome>) -> bool {
        now.allowed == Some(true)
    }
}

impl Reversible for UnlockUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&LoginOutcome>,
    ) -> Result<bool, ConnectorError> {
        match before.state.allowed {
            Some(allowed) => Ok(login::set(session, cx, true, allowed).await?.changed),
            None => Err(ConnectorError::invalid("there was no role before: nothing to restore")),
        }
    }
}
