//! `redis.unlock_user`: the user can log in again.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lock_user::PERMISSIONS;
use super::login::{self, Login, LoginOutcome};
use super::saving::{self, What};
use super::target::{Seen, USER};
use super::{Redis, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Switches the user on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockUser {}

impl Action for UnlockUser {
    type Connector = Redis;
    type State = Login;
    type Prepared = ();
    type Outcome = LoginOutcome;

    const META: ActionMeta = ActionMeta {
        id: "unlock_user",
        title: "Unlock a user",
        description: "Switches the ACL user on. Its passwords and rules stay as they are: a user without \
                      a password still cannot log in. It is saved where the server keeps its users, and \
                      is done on this server only.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[USER],
        permissions: PERMISSIONS,
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
        state: &Login,
    ) -> Result<Vec<Check>, ConnectorError> {
        login::precheck(session, target, state).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Login) -> Description {
        Description {
            diff: if state.enabled == Seen::There(false) {
                vec![line(target, "login", "off", "on")]
            } else {
                Vec::new()
            },
            summary: format!(
                "User {} can log in again. {}",
                target.name,
                saving::sentence(&state.files, What::Users)
            ),
            rollback: format!(
                "User {} is switched off again and its sessions are ended.",
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
        let from = before.state.enabled.there().copied().unwrap_or(true);
        login::set(session, cx, from, true).await
    }

    fn verify(&self, now: &Login, _: &Before<Self>, _: Option<&LoginOutcome>) -> bool {
        now.enabled == Seen::There(true)
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
        match before.state.enabled.there() {
            Some(&enabled) => Ok(login::set(session, cx, true, enabled).await?.changed),
            None => Err(ConnectorError::invalid("there was no user before: nothing to restore")),
        }
    }
}
