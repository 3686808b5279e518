//! `redis.lock_user`: the user can no longer log in, and is not logged in any more.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::login::{self, Login, LoginOutcome};
use super::saving::{self, What};
use super::target::{Seen, USER};
use super::{Redis, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Switches the user off and ends its sessions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockUser {}

/// What locking and unlocking need.
pub const PERMISSIONS: &[&str] = &[
    "+acl|getuser +acl|setuser +multi +exec",
    "+client|list +client|kill",
    "+config|get +info, and +acl|save with an ACL file, else +config|rewrite",
    "+acl|dryrun, to ask what it may do",
];

impl Action for LockUser {
    type Connector = Redis;
    type State = Login;
    type Prepared = ();
    type Outcome = LoginOutcome;

    const META: ActionMeta = ActionMeta {
        id: "lock_user",
        title: "Lock a user",
        description: "Switches the ACL user off and ends its open sessions: a locked user with live \
                      sessions is not locked. Passwords and rules stay as they are. It is saved where \
                      the server keeps its users, and is done on this server only: replicas and other \
                      nodes of a cluster have users of their own.",
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
        let mut diff = Vec::new();
        if state.enabled == Seen::There(true) {
            diff.push(line(target, "login", "on", "off"));
        }
        if let Some(open @ 1..) = state.open_sessions {
            diff.push(line(target, "open_sessions", open, 0));
        }
        Description {
            diff,
            summary: format!(
                "User {} can no longer log in; {} ended. {}",
                target.name,
                match state.open_sessions {
                    Some(1) => "its 1 open session is".to_owned(),
                    Some(many) => format!("its {many} open sessions are"),
                    None => "its open sessions are".to_owned(),
                },
                saving::sentence(&state.files, What::Users),
            ),
            rollback: format!(
                "User {} is switched on again; ended sessions are for their clients to open again.",
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
        let from = before.state.enabled.there().copied().unwrap_or(false);
        login::set(session, cx, from, false).await
    }

    fn verify(&self, now: &Login, _: &Before<Self>, outcome: Option<&LoginOutcome>) -> bool {
        // Who has not authenticated looks like a session of the user default, and comes and goes; then what
        // was ended is known from the outcome alone.
        let ended = now.open_sessions == Some(0) || (now.with_strangers && outcome.is_some());
        now.enabled == Seen::There(false) && ended
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
        match before.state.enabled.there() {
            Some(&enabled) => Ok(login::set(session, cx, false, enabled).await?.changed),
            None => Err(ConnectorError::invalid("there was no user before: nothing to restore")),
        }
    }
}
