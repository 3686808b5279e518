//! `redis.flush_volatile_keys`: the keys that expire anyway are deleted now.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::keys::{self, Deleted, HIGHEST_LIMIT, Keys, Which};
use super::rights::OnKey;
use super::target::{DATABASE, INSTANCE};
use super::{Redis, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, StepContext, line,
};

/// Deletes the keys that have an expiry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlushVolatileKeys {
    /// Most keys that may be deleted. With more of them nothing is deleted.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = HIGHEST_LIMIT))]
    limit: u32,
}

const fn default_limit() -> u32 {
    10_000
}

impl Action for FlushVolatileKeys {
    type Connector = Redis;
    type State = Keys;
    type Prepared = ();
    type Outcome = Deleted;

    const META: ActionMeta = ActionMeta {
        id: "flush_volatile_keys",
        title: "Flush expiring keys",
        description: "Deletes the keys of one database that have an expiry (a cache), in small steps that \
                      let other clients through; keys without one stay. Whether a key still has one is asked \
                      in the same step that deletes it. The plan counts them and refuses above the limit; so \
                      does the effect. Keys that come meanwhile may stay. Not offered on a node of a cluster, \
                      nor in a database of more than 5 million keys.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[DATABASE, INSTANCE],
        permissions: &[
            "+select +scan +dbsize +config|get +info",
            "+eval +pttl +unlink, and ~* (all keys)",
            "+acl|dryrun, to ask what it may do",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "limit": 5000 })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Keys, ConnectorError> {
        keys::snapshot(session, target, Which::Volatile, self.limit).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Keys,
    ) -> Result<Vec<Check>, ConnectorError> {
        let what = "the connection may search the database and delete any key";
        keys::precheck(session, target, state, what, &ON_ANY_KEY).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Keys) -> Description {
        let meant = state.meant();
        Description {
            diff: if meant > 0 {
                vec![line(target, "keys with an expiry", meant, 0)]
            } else {
                Vec::new()
            },
            summary: format!(
                "{meant} keys of {} that have an expiry are deleted, and never more than {}.",
                target.name, self.limit
            ),
            rollback: "Deleted keys cannot be brought back: no copy of them is made.".to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Deleted>, ConnectorError> {
        keys::delete(session, cx, &before.state, Which::Volatile).await
    }

    fn verify(&self, now: &Keys, _: &Before<Self>, outcome: Option<&Deleted>) -> bool {
        keys::are_gone(now, outcome)
    }
}

/// A key that no application has, so only a user of all keys may touch it.
pub const ON_ANY_KEY: [OnKey<'static>; 3] = [
    OnKey { name: "eval", key: "\u{1}nexplane:any" },
    OnKey { name: "pttl", key: "\u{1}nexplane:any" },
    OnKey { name: "unlink", key: "\u{1}nexplane:any" },
];
