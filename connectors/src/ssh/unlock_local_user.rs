//! `ssh.unlock_local_user`: a locked account lets people in again.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{self, Access, Outcome, Way};
use super::account::ACCOUNT;
use super::{Session, Ssh};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext,
};

/// Lets a locked account sign in again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockLocalUser {}

impl Action for UnlockLocalUser {
    type Connector = Ssh;
    type State = Access;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "unlock_local_user",
        title: "Unlock a local account",
        description: "Accepts the account's locked password again, and takes away an expiry that came with the \
                      lock; an expiry of the account's own stays. An account without a password stays without one.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[ACCOUNT],
        permissions: &["root, or sudo for /usr/bin/getent and /usr/sbin/usermod"],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Access, ConnectorError> {
        access::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Access,
    ) -> Result<Vec<Check>, ConnectorError> {
        access::precheck(session, target, state, Way::Unlock).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Access) -> Description {
        Description {
            diff: access::diff(target, state, Way::Unlock),
            summary: format!("{} can sign in again.", target.name),
            rollback: format!("Makes lock and expiry of {} as they were.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = access::go(session, cx, &before.state, Way::Unlock).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &Access, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        access::is_gone(now, &before.state, Way::Unlock)
    }
}

impl Reversible for UnlockLocalUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        access::back(session, cx, &before.state, Way::Unlock).await
    }
}
