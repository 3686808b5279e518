//! `aws.stop_instance`: the instance is stopped.

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

/// Stops the instance and waits until it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopInstance {}

impl Action for StopInstance {
    type Connector = Aws;
    type State = Power;
    type Prepared = ();
    type Outcome = PowerOutcome;

    const META: ActionMeta = ActionMeta {
        id: "stop_instance",
        title: "Stop an EC2 instance",
        description: "Shuts the instance down and waits until it is stopped. EBS volumes, private addresses and \
                      Elastic IP addresses stay. What is in memory or on instance store volumes is lost, and a \
                      public address that is not an Elastic IP address is another one after the next start.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
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
        let mut diff = Vec::new();
        if state.state.as_deref() != Some(STOPPED) {
            let before = state.state.as_deref().map_or(Value::Null, Value::from);
            diff.push(line(target, "state", before, STOPPED));
            if let Some(address) = &state.public_address {
                let after = "given up, unless it is an Elastic IP address";
                diff.push(line(target, "public_address", address.as_str(), after));
            }
        }
        Description {
            diff,
            summary: format!("Instance {} is shut down and stopped.", target.name),
            rollback: format!(
                "Instance {} is started again; memory, instance store volumes and a public address that is \
                 not an Elastic IP address do not come back.",
                target.name
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<PowerOutcome>, ConnectorError> {
        power::set(session, cx, before.state.state.as_deref().unwrap_or(RUNNING), STOPPED).await
    }

    fn verify(&self, now: &Power, _: &Before<Self>, _: Option<&PowerOutcome>) -> bool {
        now.state.as_deref() == Some(STOPPED)
    }
}

impl Reversible for StopInstance {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&PowerOutcome>,
    ) -> Result<bool, ConnectorError> {
        power::restore(session, cx, STOPPED, &before.state).await
    }
}
