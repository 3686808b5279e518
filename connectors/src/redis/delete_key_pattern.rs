//! `redis.delete_key_pattern`: the keys with names that a pattern takes in are deleted.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::keys::{self, Deleted, HIGHEST_LIMIT, Keys, Which};
use super::pattern::KeyPattern;
use super::rights::OnKey;
use super::target::{DATABASE, INSTANCE};
use super::{Redis, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, StepContext, line,
};

/// Deletes the keys whose names match a pattern.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteKeyPattern {
    /// Glob pattern of key names (* ? [abc] [^a] and \ before what stands for itself), with at least three
    /// characters that stand for themselves: session:*
    pattern: KeyPattern,
    /// Most keys that may be deleted. With more of them nothing is deleted.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = HIGHEST_LIMIT))]
    limit: u32,
}

const fn default_limit() -> u32 {
    1000
}

impl DeleteKeyPattern {
    fn which(&self) -> Which<'_> {
        Which::Matching(self.pattern.as_str())
    }
}

impl Action for DeleteKeyPattern {
    type Connector = Redis;
    type State = Keys;
    type Prepared = ();
    type Outcome = Deleted;

    const META: ActionMeta = ActionMeta {
        id: "delete_key_pattern",
        title: "Delete keys by a pattern",
        description: "Deletes the keys of one database whose names match a pattern, in small steps that \
                      let other clients through. The plan counts them and refuses above the limit; so does \
                      the effect. Keys that come meanwhile may stay. Names of keys are not shown: they are \
                      often tokens. Not offered on a node of a cluster, nor in a database of more than \
                      5 million keys.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[DATABASE, INSTANCE],
        permissions: &[
            "+select +scan +dbsize +config|get +info",
            "+unlink, and ~ with a key pattern that covers the keys",
            "+acl|dryrun, to ask what it may do",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "pattern": "session:*", "limit": 500 })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Keys, ConnectorError> {
        keys::snapshot(session, target, self.which(), self.limit).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Keys,
    ) -> Result<Vec<Check>, ConnectorError> {
        let what = "the connection may search the database and delete such keys";
        let on_keys = [OnKey { name: "unlink", key: self.pattern.example() }];
        keys::precheck(session, target, state, what, &on_keys).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Keys) -> Description {
        let (pattern, meant) = (&self.pattern, state.meant());
        let field = format!("keys matching {pattern}");
        Description {
            diff: if meant > 0 { vec![line(target, field, meant, 0)] } else { Vec::new() },
            summary: format!(
                "{meant} keys of {} that match {pattern} are deleted, and never more than {}.",
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
        keys::delete(session, cx, &before.state, self.which()).await
    }

    fn verify(&self, now: &Keys, _: &Before<Self>, outcome: Option<&Deleted>) -> bool {
        keys::are_gone(now, outcome)
    }
}
