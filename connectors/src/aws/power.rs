//! What stopping and starting share: the state of an instance, and waiting until it is reached.

use std::time::{Duration, Instant};

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ec2::{Form, Instance};
use super::error::{Failure, gone, moved};
use super::target::name_of;
use super::{Session, permission};
use crate::sdk::{
    Advice, ConnectorError, DigestKey, Effect, ErrorKind, StepContext, TargetState, check,
};

/// States that stay, as EC2 calls them:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
pub const RUNNING: &str = "running";
pub const STOPPED: &str = "stopped";

/// How often the state is read while it is waited for: first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time of the deadline that is kept for the answer.
const RESERVE: Duration = Duration::from_secs(2);

/// The state of an instance; none when it is not there or terminated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    pub state: Option<String>,
    /// Moves with the state, so it is shown and not fingerprinted.
    pub public_address: Option<String>,
    /// Why it can be stopped never.
    pub unstoppable: Option<String>,
}

/// Nothing beyond what can be read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerOutcome {}

impl TargetState for Power {
    fn fields(&self) -> Vec<Field> {
        let value = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        vec![
            Field::new("state", value(&self.state)),
            Field::new("public_address", value(&self.public_address)),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "state": self.state })
    }
}

impl Power {
    fn of(instance: Option<Instance>) -> Self {
        let Some(instance) = instance.filter(|instance| instance.state != "terminated") else {
            return Self { state: None, public_address: None, unstoppable: None };
        };
        let root = instance.root_device.as_deref();
        let unstoppable = match (root, instance.lifecycle.as_deref()) {
            (Some("instance-store"), _) => Some("its root device is an instance store"),
            (_, Some("spot")) => Some("it is a spot instance"),
            _ => None,
        };
        Self {
            state: Some(instance.state),
            public_address: instance.public_address,
            unstoppable: unstoppable.map(str::to_owned),
        }
    }
}

async fn read(session: &Session, id: &str) -> Result<Power, ConnectorError> {
    Ok(Power::of(session.ec2.instance(id).await.map_err(Failure::read)?))
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Power, ConnectorError> {
    read(session, &name_of(target, "instance/")?).await
}

fn only(id: &str) -> Form {
    Form::default().with("InstanceId.1", id)
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &Power,
) -> Result<Vec<Check>, ConnectorError> {
    let id = name_of(target, "instance/")?;
    let mut checks = vec![permission::is_there("the instance", state.state.is_some())];
    let Some(now) = &state.state else { return Ok(checks) };
    let at_rest = now == RUNNING || now == STOPPED;
    let detail = if at_rest {
        format!("it is {now}")
    } else {
        format!("it is {now}: wait until it is done")
    };
    checks.push(check("the instance is running or stopped", at_rest, detail));
    let why = state.unstoppable.as_deref();
    checks.push(check(
        "the instance can be stopped and started",
        why.is_none(),
        why.unwrap_or("its root device is an EBS volume"),
    ));
    for call in ["ec2:StopInstances", "ec2:StartInstances"] {
        checks.push(permission::dry_run(session, call, &only(&id)).await?);
    }
    Ok(checks)
}

/// Brings the instance from `from` to `to`, [`RUNNING`] or [`STOPPED`], and waits until it is there.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    from: &str,
    to: &str,
) -> Result<Effect<PowerOutcome>, ConnectorError> {
    let id = name_of(&cx.step.target, "instance/")?;
    let end = Instant::now() + cx.deadline.saturating_sub(RESERVE);
    let (call, on_the_way) = match to {
        STOPPED => ("ec2:StopInstances", "stopping"),
        RUNNING => ("ec2:StartInstances", "pending"),
        other => {
            return Err(ConnectorError::invalid(format!("an instance cannot be made {other}")));
        }
    };
    let (mut sent, mut wait) = (false, FIRST_LOOK);
    let in_doubt = |sent: bool, mut error: ConnectorError| {
        if sent {
            error.advice = Advice::OutcomeUnknown;
        }
        error
    };
    loop {
        let now = read(session, &id).await.map_err(|error| in_doubt(sent, error))?.state;
        let now = now.ok_or_else(|| in_doubt(sent, gone(&format!("the instance {id}"))))?;
        if now == to {
            return Ok(Effect { changed: sent, outcome: PowerOutcome {} });
        }
        if !sent && now == from {
            session.ec2.change(call, &only(&id)).await.map_err(Failure::effect)?;
            sent = true;
        } else if now != on_the_way && !(sent && now == from) {
            return Err(in_doubt(sent, moved(&format!("the state of {id}"))));
        }
        if Instant::now() + wait > end {
            let message = format!("{id} is still {now}: look again later");
            return Err(ConnectorError::new(ErrorKind::Timeout, Advice::OutcomeUnknown, message));
        }
        tokio::time::sleep(if sent && wait == FIRST_LOOK { FIRST_LOOK / 8 } else { wait }).await;
        wait = (wait * 2).min(LOOK_EVERY);
    }
}

/// Brings the instance back to the state of before.
pub async fn restore(
    session: &Session,
    cx: &StepContext,
    done: &str,
    before: &Power,
) -> Result<bool, ConnectorError> {
    match before.state.as_deref() {
        Some(state @ (RUNNING | STOPPED)) => Ok(set(session, cx, done, state).await?.changed),
        _ => Err(ConnectorError::invalid("the instance was neither running nor stopped before")),
    }
}
