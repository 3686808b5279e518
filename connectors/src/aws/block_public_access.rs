//! `aws.block_public_access`: nothing of a bucket is public.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bucket::{self, PublicAccess};
use super::error::{gone, moved};
use super::target::{BUCKET, name_of};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, line,
};

/// Turns on all four settings that keep the public out of the bucket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockPublicAccess {}

/// The settings of the bucket itself; none when it has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    exists: bool,
    settings: Option<PublicAccess>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("exists", self.exists),
            Field::new("public_access_block", json!(self.settings)),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "exists": self.exists, "settings": self.settings })
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

async fn read(session: &Session, name: &str) -> Result<State, ConnectorError> {
    let found = bucket::public_access(session, name).await?;
    Ok(State { exists: found.is_some(), settings: found.flatten() })
}

/// Brings the settings from `from` to `to`; answers whether they had to change.
async fn set(
    session: &Session,
    cx: &StepContext,
    from: Option<PublicAccess>,
    to: Option<PublicAccess>,
) -> Result<bool, ConnectorError> {
    let name = name_of(&cx.step.target, "bucket/")?;
    let now = read(session, &name).await?;
    if !now.exists {
        return Err(gone(&format!("the bucket {name}")));
    }
    if now.settings == to {
        return Ok(false);
    }
    if now.settings != from {
        return Err(moved(&format!("the public access settings of {name}")));
    }
    bucket::set_public_access(session, &name, to).await?;
    Ok(true)
}

impl Action for BlockPublicAccess {
    type Connector = Aws;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "block_public_access",
        title: "Block public access to a bucket",
        description: "Turns on all four settings of S3 Block Public Access for the bucket: public access lists \
                      and policies are refused and have no effect. They stay where they are, so that undoing it \
                      makes public again what was. Settings of the whole account stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[BUCKET],
        permissions: &[
            "s3:GetBucketPublicAccessBlock",
            "s3:PutBucketPublicAccessBlock",
            "iam:SimulatePrincipalPolicy",
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
    ) -> Result<State, ConnectorError> {
        read(session, &name_of(target, "bucket/")?).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = name_of(target, "bucket/")?;
        let mut checks = vec![permission::is_there("the bucket", state.exists)];
        if state.exists {
            let calls = ["s3:PutBucketPublicAccessBlock"];
            checks.extend(permission::simulated(session, &calls, &session.arn("s3", &name)).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let after = PublicAccess::BLOCKED;
        Description {
            diff: if state.settings == Some(after) {
                Vec::new()
            } else {
                vec![line(target, "public_access_block", json!(state.settings), json!(after))]
            },
            summary: format!("Nothing of bucket {} is public any more.", target.name),
            rollback: match state.settings {
                Some(_) => format!("Bucket {} gets the settings back that it had.", target.name),
                None => format!("Bucket {} has no settings of its own again.", target.name),
            },
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = set(session, cx, before.state.settings, Some(PublicAccess::BLOCKED)).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.settings == Some(PublicAccess::BLOCKED)
    }
}

impl Reversible for BlockPublicAccess {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        set(session, cx, Some(PublicAccess::BLOCKED), before.state.settings).await
    }
}
