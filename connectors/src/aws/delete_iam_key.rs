//! `aws.delete_iam_key`: an access key that will never work again.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::moved;
use super::target::{ACCESS_KEY, access_key_of};
use super::user::{self, ACTIVE};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, StepContext,
    TargetState, check, line,
};

/// Why nothing brings it back.
pub const ONE_WAY: &str = "AWS never makes an access key again that was deleted, and says its secret to nobody. \
                           To try out first whether anybody misses the key, make it inactive, which can be undone.";

/// Deletes the access key for good.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteIamKey {
    /// Also delete a key that is still active. Otherwise it must have been made inactive before, so
    /// that it is known that nobody misses it.
    #[serde(default)]
    pub even_if_active: bool,
}

/// Status of the key; none when it is not there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    status: Option<String>,
    /// Seconds since 1970. Moves by itself.
    last_used: Option<i64>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("status", self.status.as_deref().map_or(Value::Null, Value::from)),
            Field::new("last_used_unix_s", self.last_used.map_or(Value::Null, Value::from)),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "status": self.status })
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

async fn status(
    session: &Session,
    user: &str,
    key: &str,
) -> Result<Option<String>, ConnectorError> {
    Ok(user::keys(session, user).await?.and_then(|mut keys| keys.remove(key)))
}

impl Action for DeleteIamKey {
    type Connector = Aws;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "delete_iam_key",
        title: "Delete an access key",
        description: "Deletes the access key. The user and its other key stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[ACCESS_KEY],
        permissions: &[
            "iam:ListAccessKeys",
            "iam:GetAccessKeyLastUsed",
            "iam:DeleteAccessKey",
            "iam:SimulatePrincipalPolicy",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "even_if_active": false })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        let (user, key) = access_key_of(target)?;
        let status = status(session, &user, &key).await?;
        let last_used = match &status {
            Some(_) => user::last_used(session, &key).await?,
            None => None,
        };
        Ok(State { status, last_used })
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let (user, key) = access_key_of(target)?;
        let mut checks = vec![
            permission::is_there("the access key", state.status.is_some()),
            permission::is_not_own(session, &user, Some(&key)),
        ];
        if let Some(status) = &state.status {
            let ok = status != ACTIVE || self.even_if_active;
            let detail = if ok {
                format!("it is {status}")
            } else {
                "it is Active: make it inactive first (aws.rotate_iam_key does), or set even_if_active"
                    .to_owned()
            };
            checks.push(check("the access key is out of use", ok, detail));
            let arn = user::arn(session, &user).await;
            let calls = ["iam:DeleteAccessKey"];
            checks.extend(permission::simulated(session, &calls, &arn).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let before = state.status.as_deref().map_or(Value::Null, Value::from);
        Description {
            diff: vec![line(target, "access_key", before, Value::Null)],
            summary: format!("Access key {} is deleted for good.", target.name),
            rollback: ONE_WAY.to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let (user, key) = access_key_of(&cx.step.target)?;
        permission::refuse_own(session, &user)?;
        let now = status(session, &user, &key).await?;
        if now.is_none() && before.state.status.is_some() {
            return Ok(Effect { changed: false, outcome: Outcome {} });
        }
        if now != before.state.status || now.is_none() {
            return Err(moved(&format!("the access key {key}")));
        }
        user::delete_key(session, &user, &key).await?;
        Ok(Effect { changed: true, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.status.is_none() && before.state.status.is_some()
    }
}
