//! `ssh.lock_local_user`: the account lets nobody in any more.

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

/// Lets nobody sign in to the account any more: by password, and by key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockLocalUser {}

impl Action for LockLocalUser {
    type Connector = Ssh;
    type State = Access;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "lock_local_user",
        title: "Lock a local account",
        description: "Locks the account's password and lets the account expire, so that neither a password nor a key \
                      signs in. Sessions that are open stay open.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
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
        access::precheck(session, target, state, Way::Lock).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Access) -> Description {
        Description {
            diff: access::diff(target, state, Way::Lock),
            summary: format!(
                "Nobody can sign in to {} any more, by password or by key.",
                target.name
            ),
            rollback: format!("Makes lock and expiry of {} as they were.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = access::go(session, cx, &before.state, Way::Lock).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &Access, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        access::is_gone(now, &before.state, Way::Lock)
    }
}

impl Reversible for LockLocalUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        access::back(session, cx, &before.state, Way::Lock).await
    }
}
