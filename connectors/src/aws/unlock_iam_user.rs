//! `aws.unlock_iam_user`: what our lock denied is as allowed as before.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lock::{self, Lock, LockOutcome};
use super::target::USER;
use super::{Aws, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Takes the inline policy of ours from the user that denies everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockIamUser {}

impl Action for UnlockIamUser {
    type Connector = Aws;
    type State = Lock;
    type Prepared = ();
    type Outcome = LockOutcome;

    const META: ActionMeta = ActionMeta {
        id: "unlock_iam_user",
        title: "Unlock an IAM user",
        description: "Takes the inline policy nexplane-lock from the user. What else denies it something \
                      stays: other policies, inactive keys, a removed password.",
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
                vec![line(target, "lock_policy", state.word(), "not locked")]
            } else {
                Vec::new()
            },
            summary: format!("User {} may do again what its other policies allow.", target.name),
            rollback: format!("User {} gets the policy {} back.", target.name, lock::NAME),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<LockOutcome>, ConnectorError> {
        lock::set(session, cx, &before.state, None).await
    }

    fn verify(&self, now: &Lock, _: &Before<Self>, _: Option<&LockOutcome>) -> bool {
        now.exists && now.document.is_none()
    }
}

impl Reversible for UnlockIamUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&LockOutcome>,
    ) -> Result<bool, ConnectorError> {
        let done = Lock { exists: true, document: None };
        let was = before.state.document.as_deref();
        Ok(lock::set(session, cx, &done, was).await?.changed)
    }
}
