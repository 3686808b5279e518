//! What locking and unlocking share: one inline policy of ours.

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{gone, moved};
use super::target::name_of;
use super::{Session, permission, user};
use crate::sdk::{ConnectorError, DigestKey, Effect, StepContext, TargetState, check};

/// Name of the policy.
pub const NAME: &str = "nexplane-lock";

/// The policy. An explicit deny wins over every allow, also of sessions that the user's keys opened before:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
pub const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NexplaneLock","Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// The policy of our name that a user has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub exists: bool,
    pub document: Option<String>,
}

/// Nothing beyond what can be read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockOutcome {}

impl Lock {
    /// Whether the user is locked by us.
    pub fn is_on(&self) -> bool {
        self.document.as_deref().is_some_and(is_ours)
    }

    /// Whether the policy of our name says something else.
    pub fn is_foreign(&self) -> bool {
        self.document.is_some() && !self.is_on()
    }

    pub fn word(&self) -> &'static str {
        match (self.is_on(), self.is_foreign()) {
            (true, _) => "locked",
            (false, true) => "a policy of another content",
            (false, false) => "not locked",
        }
    }
}

fn is_ours(document: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    parsed(document).is_some_and(|found| Some(found) == parsed(DOCUMENT))
}

impl TargetState for Lock {
    fn fields(&self) -> Vec<Field> {
        let document = self.document.as_deref().map_or(Value::Null, Value::from);
        vec![Field::new("exists", self.exists), Field::new("lock_policy", document)]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "exists": self.exists, "document": self.document })
    }
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Lock, ConnectorError> {
    let name = name_of(target, "user/")?;
    if !user::exists(session, &name).await? {
        return Ok(Lock { exists: false, document: None });
    }
    Ok(Lock { exists: true, document: user::policy(session, &name, NAME).await? })
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &Lock,
) -> Result<Vec<Check>, ConnectorError> {
    let name = name_of(target, "user/")?;
    let mut checks = vec![
        permission::is_there("the user", state.exists),
        permission::is_not_own(session, &name, None),
    ];
    if state.exists {
        let ok = !state.is_foreign();
        checks.push(check(
            format!("the policy {NAME} is ours"),
            ok,
            if ok {
                "nobody else uses the name".to_owned()
            } else {
                format!("rename or remove the inline policy {NAME} of {name}: it is not ours")
            },
        ));
        let calls = ["iam:PutUserPolicy", "iam:DeleteUserPolicy"];
        let arn = user::arn(session, &name).await;
        checks.extend(permission::simulated(session, &calls, &arn).await?);
    }
    Ok(checks)
}

/// Brings the policy from `from` to `to`.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    from: &Lock,
    to: Option<&str>,
) -> Result<Effect<LockOutcome>, ConnectorError> {
    let name = name_of(&cx.step.target, "user/")?;
    permission::refuse_own(session, &name)?;
    let now = snapshot(session, &cx.step.target).await?;
    if !now.exists {
        return Err(gone(&format!("the user {name}")));
    }
    if now.document.as_deref() == to {
        return Ok(Effect { changed: false, outcome: LockOutcome {} });
    }
    if now.document != from.document || now.is_foreign() {
        return Err(moved(&format!("the policy {NAME} of {name}")));
    }
    match to {
        Some(document) => user::put_policy(session, &name, NAME, document).await?,
        None => user::delete_policy(session, &name, NAME).await?,
    }
    Ok(Effect { changed: true, outcome: LockOutcome {} })
}
