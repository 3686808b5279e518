//! What tests of every connector need to call it: contexts, targets, steps.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nexplane_connectors::sdk::{
    AnyAction, AnySession, CALL_TIMEOUT, ConnectorError, DigestKey, Egress, OpenContext, Progress,
    Registry, SecretJson, StepContext,
};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId};
use nexplane_core::plan::{PlanProof, Step, TargetRef};
use serde_json::Value;
use uuid::Uuid;

use crate::template::connector::Template;

pub fn context() -> OpenContext {
    OpenContext {
        connection: ConnectionId(Uuid::now_v7()),
        egress: Arc::new(Egress::default()),
        digest_key: DigestKey::new(&[42; 32]),
        call_timeout: CALL_TIMEOUT,
        host: None,
    }
}

/// All connectors, and the one that new ones are copied from.
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::standard().with::<Template>());
    &REGISTRY
}

pub fn action(id: &str) -> &'static dyn AnyAction {
    registry().action(id).expect("the action is registered")
}

pub async fn open(
    connector: &str,
    credentials: Value,
    cx: &OpenContext,
) -> Result<Box<dyn AnySession>, ConnectorError> {
    let connector = registry().connector(connector).expect("the connector is registered");
    connector.open(SecretJson::new(credentials), cx).await
}

pub fn target(kind: &str, external_key: &str, name: &str) -> TargetRef {
    TargetRef {
        asset: AssetId(Uuid::now_v7()),
        kind: kind.to_owned(),
        external_key: external_key.to_owned(),
        name: name.to_owned(),
    }
}

/// The context of a step; `before` is the fingerprint that the plan names.
pub fn step(
    action: &dyn AnyAction,
    target: &TargetRef,
    parameters: &Value,
    before: &str,
) -> StepContext {
    let spec = action.spec();
    StepContext {
        change: ChangeId(Uuid::now_v7()),
        run: RunId(Uuid::now_v7()),
        step: Step {
            no: 0,
            action: spec.id.clone(),
            connection: ConnectionId(Uuid::now_v7()),
            target: target.clone(),
            parameters: parameters.clone(),
            effect_class: spec.effect_class,
            reversibility: spec.reversibility.clone(),
            before_fingerprint: before.to_owned(),
            summary: String::new(),
            rollback: String::new(),
            diff: Vec::new(),
            undoes: None,
        },
        epoch: 1,
        idempotency_key: Uuid::now_v7().to_string(),
        plan_digest: "0".repeat(64),
        proof: PlanProof { header_hash: "0".repeat(64), step_hashes: Vec::new() },
        approvals: vec![PersonId(Uuid::now_v7())],
        deadline: Duration::from_secs(20),
        precondition: before.to_owned(),
        undoes: None,
        progress: Progress::default(),
    }
}
