//! `aws.lock_iam_user`: the user may do nothing any more.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lock::{self, DOCUMENT, Lock, LockOutcome};
use super::target::USER;
use super::{Aws, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Gives the user an inline policy of ours that denies everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockIamUser {}

impl Action for LockIamUser {
    type Connector = Aws;
    type State = Lock;
    type Prepared = ();
    type Outcome = LockOutcome;

    const META: ActionMeta = ActionMeta {
        id: "lock_iam_user",
        title: "Lock an IAM user",
        description: "Gives the user the inline policy nexplane-lock, which denies every call with every \
                      access key, with its console password, and in sessions that these opened. Keys, \
                      password, groups and other policies stay as they are. Roles that the user assumed \
                      before stay assumed until their sessions end.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[USER],
        permissions: &[
            "iam:GetUser",
            "iam:GetUserPolicy",
            "iam:PutUserPolicy",
            "iam:DeleteUserPolicy",
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
    ) -> Result<Lock, ConnectorError> {
        lock::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Lock,
    ) -> Result<Vec<Check>, ConnectorError> {
        lock::precheck(session, target, state).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Lock) -> Description {
        Description {
            diff: if state.is_on() {
                Vec::new()
            } else {
                vec![line(target, "lock_policy", state.word(), "locked")]
            },
            summary: format!("User {} may do nothing any more.", target.name),
            rollback: format!(
                "The policy {} is taken from user {} again.",
                lock::NAME,
                target.name
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<LockOutcome>, ConnectorError> {
        // A policy that is there and means the same stays as it is written.
        let to = before.state.document.as_deref().filter(|_| before.state.is_on());
        lock::set(session, cx, &before.state, Some(to.unwrap_or(DOCUMENT))).await
    }

    fn verify(&self, now: &Lock, _: &Before<Self>, _: Option<&LockOutcome>) -> bool {
        now.is_on()
    }
}

impl Reversible for LockIamUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&LockOutcome>,
    ) -> Result<bool, ConnectorError> {
        let done = Lock { exists: true, document: Some(DOCUMENT.to_owned()) };
        let was = before.state.document.as_deref();
        Ok(lock::set(session, cx, &done, was).await?.changed)
    }
}
