//! `ldap.unlock_user`: the user can log in again.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lock::{self, Lock, Outcome};
use super::target::{USER, nothing_before};
use super::{Directory, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Takes the lock off the user, so that it can log in again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockUser {}

impl Action for UnlockUser {
    type Connector = Directory;
    type State = Lock;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "unlock_user",
        title: "Unlock a user",
        description: "Lets the user log in again: takes away pwdAccountLockedTime in OpenLDAP, whoever set it, and ACCOUNTDISABLE in Active Directory. Password, expiry and groups stay as they are. A lockout of Active Directory after failed logins (lockoutTime) is not touched.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[USER],
        permissions: &[
            "OpenLDAP: write on pwdAccountLockedTime of the user, read on its password policy",
            "Active Directory: write userAccountControl of the user",
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
    ) -> Result<Lock, ConnectorError> {
        lock::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Lock,
    ) -> Result<Vec<Check>, ConnectorError> {
        lock::precheck(session, target).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Lock) -> Description {
        let after = state.set(false);
        Description {
            diff: if after == *state {
                Vec::new()
            } else {
                vec![line(target, "account", state.value(), after.value())]
            },
            summary: format!(
                "User {} can log in again, unless something else keeps it out.",
                target.name
            ),
            rollback: format!("The lock of user {} is put back as it was.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        lock::set(session, cx, &before.state, &before.state.set(false)).await
    }

    fn verify(&self, now: &Lock, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.is(false)
    }
}

impl Reversible for UnlockUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        if before.state == Lock::Gone {
            return Err(nothing_before());
        }
        let after = before.state.set(false);
        Ok(lock::set(session, cx, &after, &before.state).await?.changed)
    }
}
