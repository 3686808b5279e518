//! `aws.update_bucket_policy`: another policy for a bucket, or none.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bucket::{self, OfBucket, same_policy};
use super::error::{gone, moved};
use super::target::{BUCKET, name_of};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Bytes of a policy, at most: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html>.
const LONGEST: usize = 20 * 1024;

/// Replaces the bucket's policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBucketPolicy {
    /// The whole new policy as JSON text; without it the bucket has no policy afterwards.
    #[serde(default)]
    #[schemars(length(min = 2, max = 20480), extend("x-multiline" = true))]
    pub policy: Option<String>,
    /// Also replace a policy that names users or roles that were deleted. S3 would not take it back, so
    /// that this cannot be undone.
    #[serde(default)]
    pub even_if_one_way: bool,
}

/// The text of the policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    exists: bool,
    policy: Option<String>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let policy = self.policy.as_deref().map_or(Value::Null, Value::from);
        vec![Field::new("exists", self.exists), Field::new("policy", policy)]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "exists": self.exists, "policy": self.policy })
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl UpdateBucketPolicy {
    /// What is wrong with the new policy.
    fn fault(&self) -> Option<String> {
        let text = self.policy.as_deref()?;
        if text.len() > LONGEST {
            return Some(format!("the policy has more than {LONGEST} bytes"));
        }
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Some(format!("the policy is not JSON: {error}")),
        };
        let list = match value.get("Statement") {
            None => return Some("the policy has no Statement".to_owned()),
            Some(Value::Array(list)) => list.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        let whole = !list.is_empty()
            && list.iter().all(|statement| {
                let has = |names: [&str; 2]| names.iter().any(|name| statement.get(name).is_some());
                statement.get("Effect").is_some()
                    && has(["Principal", "NotPrincipal"])
                    && has(["Action", "NotAction"])
                    && has(["Resource", "NotResource"])
            });
        let why = "every statement of the policy needs Effect, Principal, Action and Resource";
        (!whole).then(|| why.to_owned())
    }

    fn check(&self) -> Check {
        let fault = self.fault();
        let ok = fault.is_none();
        check("the policy is one", ok, fault.unwrap_or_else(|| "S3 has the last word".to_owned()))
    }
}

/// Why S3 would not take this policy back.
fn not_restorable(policy: Option<&str>) -> Option<String> {
    let deleted = Vec::from_iter(bucket::deleted_principals(policy?));
    let why = || {
        let names = deleted.join(", ");
        format!(
            "S3 takes no policy that names principals which were deleted, as this one does: {names}"
        )
    };
    (!deleted.is_empty()).then(why)
}

fn state_of(found: OfBucket<String>) -> State {
    State { exists: found.is_some(), policy: found.flatten() }
}

fn is_same(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_policy(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Brings the policy from `from` to `to`; answers whether it had to change.
async fn set(
    session: &Session,
    cx: &StepContext,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<bool, ConnectorError> {
    let name = name_of(&cx.step.target, "bucket/")?;
    let now = state_of(bucket::policy(session, &name).await?);
    if !now.exists {
        return Err(gone(&format!("the bucket {name}")));
    }
    if is_same(now.policy.as_deref(), to) {
        return Ok(false);
    }
    if !is_same(now.policy.as_deref(), from) {
        return Err(moved(&format!("the policy of {name}")));
    }
    bucket::set_policy(session, &name, to).await?;
    Ok(true)
}

impl Action for UpdateBucketPolicy {
    type Connector = Aws;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "update_bucket_policy",
        title: "Replace a bucket's policy",
        description: "Puts the given policy in the place of the bucket's, or removes it. S3 refuses a policy \
                      that would keep the connection itself from changing it again, and a public one where \
                      public policies are blocked. Objects and access lists stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[BUCKET],
        permissions: &[
            "s3:GetBucketPolicy",
            "s3:PutBucketPolicy",
            "s3:DeleteBucketPolicy",
            "iam:SimulatePrincipalPolicy",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({
            "policy": "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\",\
                       \"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::example\",\"arn:aws:s3:::example/*\"],\
                       \"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"false\"}}}]}"
        })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(state_of(bucket::policy(session, &name_of(target, "bucket/")?).await?))
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = name_of(target, "bucket/")?;
        let mut checks = vec![permission::is_there("the bucket", state.exists), self.check()];
        if let Some(why) = not_restorable(state.policy.as_deref()) {
            let what_to_do = if self.even_if_one_way {
                "it is replaced all the same"
            } else {
                "take them out of the policy first, or set even_if_one_way"
            };
            let name = "the policy that is there can be put back, or need not";
            checks.push(check(name, self.even_if_one_way, format!("{why}; {what_to_do}")));
        }
        if state.exists {
            let calls = ["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];
            checks.extend(permission::simulated(session, &calls, &session.arn("s3", &name)).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let value = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        let (before, after) = (state.policy.as_deref(), self.policy.as_deref());
        Description {
            diff: if is_same(before, after) {
                Vec::new()
            } else {
                vec![line(target, "policy", value(before), value(after))]
            },
            summary: match after {
                Some(_) => format!("Bucket {} gets the given policy.", target.name),
                None => format!("Bucket {} has no policy any more.", target.name),
            },
            rollback: match before {
                Some(_) if let Some(why) = not_restorable(before) => {
                    format!("The policy that bucket {} had cannot be put back. {why}.", target.name)
                }
                Some(_) => format!(
                    "The policy that bucket {} had is put back, word for word.",
                    target.name
                ),
                None => format!("Bucket {} has no policy again.", target.name),
            },
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        if let Some(fault) = self.fault() {
            return Err(ConnectorError::invalid(fault));
        }
        let (from, to) = (before.state.policy.as_deref(), self.policy.as_deref());
        let changed = set(session, cx, from, to).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.exists && is_same(now.policy.as_deref(), self.policy.as_deref())
    }
}

impl Reversible for UpdateBucketPolicy {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let was = before.state.policy.as_deref();
        let Some(why) = not_restorable(was) else {
            return set(session, cx, self.policy.as_deref(), was).await;
        };
        let name = name_of(&cx.step.target, "bucket/")?;
        let now = state_of(bucket::policy(session, &name).await?);
        if now.exists && is_same(now.policy.as_deref(), was) {
            return Ok(false);
        }
        Err(ConnectorError::conflict(format!(
            "the policy that {name} had cannot be put back; nothing was changed. {why}. Write a policy without them \
             with aws.update_bucket_policy"
        )))
    }
}
