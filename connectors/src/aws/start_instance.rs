//! `aws.start_instance`: the instance is running.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, TargetRef};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::power::{self, Power, PowerOutcome, RUNNING, STOPPED};
use super::target::INSTANCE;
use super::{Aws, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, Effect, Reversible, StepContext, line,
};

/// Starts the instance and waits until it is running.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartInstance {}

impl Action for StartInstance {
    type Connector = Aws;
    type State = Power;
    type Prepared = ();
    type Outcome = PowerOutcome;

    const META: ActionMeta = ActionMeta {
        id: "start_instance",
        title: "Start an EC2 instance",
        description: "Starts a stopped instance and waits until EC2 calls it running. Whether its operating \
                      system and its services came up is not looked at.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[INSTANCE],
        permissions: &["ec2:DescribeInstances", "ec2:StopInstances", "ec2:StartInstances"],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<Power, ConnectorError> {
        power::snapshot(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &Power,
    ) -> Result<Vec<Check>, ConnectorError> {
        power::precheck(session, target, state).await
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &Power) -> Description {
        let before = state.state.as_deref();
        Description {
            diff: if before == Some(RUNNING) {
                Vec::new()
            } else {
                vec![line(target, "state", before.map_or(Value::Null, Value::from), RUNNING)]
            },
            summary: format!("Instance {} is started.", target.name),
            rollback: format!("Instance {} is shut down and stopped again.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<PowerOutcome>, ConnectorError> {
        power::set(session, cx, before.state.state.as_deref().unwrap_or(STOPPED), RUNNING).await
    }

    fn verify(&self, now: &Power, _: &Before<Self>, _: Option<&PowerOutcome>) -> bool {
        now.state.as_deref() == Some(RUNNING)
    }
}

impl Reversible for StartInstance {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&PowerOutcome>,
    ) -> Result<bool, ConnectorError> {
        power::restore(session, cx, RUNNING, &before.state).await
    }
}
