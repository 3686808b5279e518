//! Connector `host`: the operations of the Nexplane agent, offered as actions.
//!
//! It owns no operation and no channel. What can be done comes from the agent's crate; the way to
//! an agent is [`HostJobs`], which the server provides. Every answer here is what an agent signed:
//! nothing is assumed about a host that its agent did not say.

mod action;
mod password;
mod port;

pub(crate) use password::NewPassword;
pub use port::{HostJobs, HostPort, SignedOutcome};

use nexplane_core::job::{HostFacts, JobResult, Order};
use nexplane_core::plan::Check;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sdk::{
    Actions, Connector, ConnectorError, ConnectorMeta, DiscoveredAsset, Discovery, OpenContext,
    check,
};

/// The connector.
#[derive(Debug)]
pub struct Host;

/// A host needs no credentials: the agent's certificate, made at enrolment, is its identity.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {}

/// The way to one agent.
#[derive(Debug)]
pub struct Session {
    port: HostPort,
    /// How long an agent may take to answer a question.
    limit: std::time::Duration,
}

impl Session {
    /// Asks the agent something that changes nothing. Every question is a job of its own.
    async fn ask(&self, order: Order) -> Result<JobResult, ConnectorError> {
        let key = format!("ask-{}", Uuid::now_v7());
        Ok(self.port.jobs.run(self.port.id, order, self.limit, &key).await?.result)
    }
}

impl Connector for Host {
    const META: ConnectorMeta = ConnectorMeta {
        id: "host",
        title: "Host",
        description: "One machine with a Nexplane agent. Its connection comes with the agent's \
                      enrolment and carries the machine's name.",
        managed: false,
        asset_types: &["host"],
    };
    type Credentials = Credentials;
    type Session = Session;

    async fn connect(_: Credentials, cx: &OpenContext) -> Result<Session, ConnectorError> {
        let port = cx.host.clone().ok_or_else(|| {
            ConnectorError::invalid("the connection has no agent: enrol one on the host")
        })?;
        Ok(Session { port, limit: cx.call_timeout })
    }

    async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
        let name = "the agent answers";
        Ok(vec![match session.ask(Order::CollectFacts).await {
            Ok(JobResult::Facts { .. }) => {
                check(name, true, format!("{} sent its facts", session.port.name))
            }
            Ok(other) => check(name, false, action::definite(other).to_string()),
            Err(error) => check(
                name,
                false,
                format!("{error}; see on the host: systemctl status nexplane-agent"),
            ),
        }])
    }

    async fn discover(session: &Session) -> Result<Discovery, ConnectorError> {
        let result = session.ask(Order::CollectFacts).await?;
        let JobResult::Facts { facts } = result else { return Err(action::definite(result)) };
        Ok(Discovery {
            assets: vec![DiscoveredAsset {
                kind: "host".to_owned(),
                external_key: session.port.name.clone(),
                name: session.port.name.clone(),
                metadata: steady(&facts),
                relations: Vec::new(),
            }],
        })
    }

    fn actions() -> Actions<Self> {
        nexplane_agent::operation::catalog()
            .into_iter()
            .fold(Actions::new(), |actions, spec| actions.erased(action::of(spec)))
    }
}

/// The facts without what moves by itself: every difference between two discoveries is drift.
fn steady(facts: &HostFacts) -> Value {
    let mut value = json!(facts);
    if let Some(map) = value.as_object_mut() {
        map.remove("uptime_s");
    }
    value
}
