//! How the installation itself is: what waits, who works on what, and what has not moved for too long.

use serde::{Deserialize, Serialize};

use crate::id::{ChangeId, ConnectionId, HostId, RunId};
use crate::time::Timestamp;

/// `GET /operations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationsView {
    pub at: Timestamp,
    /// One of each kind, in the order of a change's life.
    pub queues: Vec<QueueView>,
    /// What has not moved for longer than it should, oldest first; at most 100.
    pub stalled: Vec<StalledView>,
    /// Who carries out which run, what was taken first first; at most 100.
    pub leases: Vec<LeaseView>,
    /// All of them.
    pub leases_in_all: u64,
    pub seal: SealView,
    pub agents: AgentsView,
    /// Connections whose last discovery failed, by name; at most 100.
    pub discoveries: Vec<FailedDiscoveryView>,
    /// All of them.
    pub discoveries_in_all: u64,
    /// Open live connections of this server.
    pub live_connections: u64,
    /// Polls of agents that this server holds.
    pub agent_polls: u64,
}

/// What something waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Changes in review.
    Approval,
    /// Approved changes that nobody has executed.
    Execution,
    /// Changes that start by themselves.
    Scheduled,
    /// Changes under way.
    Executing,
    /// Runs whose turn at a target it is not yet.
    Turn,
    /// Orders that no poll of their host's agent has fetched.
    Order,
    /// Orders that a host's agent has fetched and not answered.
    Answer,
    /// Changes of which nobody knows whether they took effect.
    Settlement,
    /// Events that Nexplane has not acted on.
    Reaction,
}

impl QueueKind {
    pub const ALL: [Self; 9] = [
        Self::Approval,
        Self::Execution,
        Self::Scheduled,
        Self::Executing,
        Self::Turn,
        Self::Order,
        Self::Answer,
        Self::Settlement,
        Self::Reaction,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Execution => "execution",
            Self::Scheduled => "scheduled",
            Self::Executing => "executing",
            Self::Turn => "turn",
            Self::Order => "order",
            Self::Answer => "answer",
            Self::Settlement => "settlement",
            Self::Reaction => "reaction",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueueView {
    pub kind: QueueKind,
    pub waiting: u64,
    /// Since when the one waits that has waited longest, or has not moved for longest; absent when none does.
    #[serde(default)]
    pub oldest: Option<Timestamp>,
    /// The one that has.
    #[serde(default)]
    pub subject: Option<Subject>,
}

/// What a row is about, for a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    Change { id: ChangeId, number: u64, title: String },
    Host { id: HostId, hostname: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StalledKind {
    /// A change executes and no server works on it.
    Unattended,
    /// A change executes and nothing has happened for long.
    Silent,
    /// A change did not start when it should have.
    NotStarted,
    /// Orders wait for a host whose agent is not there, or does not fetch them.
    Host,
    /// Nobody knows whether a change took effect.
    Unsettled,
    /// Nexplane does not act on what happened.
    Reactions,
    /// Events are not sealed.
    Seal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StalledView {
    pub kind: StalledKind,
    /// Since when it has not moved.
    pub since: Timestamp,
    /// What has not.
    pub sentence: String,
    /// What to do about it.
    pub advice: String,
    #[serde(default)]
    pub subject: Option<Subject>,
}

/// Who carries out a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeaseView {
    pub run: RunId,
    /// The worker: an id that a server gives itself each time that it starts.
    pub worker: String,
    /// It is the server that answers.
    pub here: bool,
    /// When it took the run over; absent before that is in the log.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Until when it holds unless it is renewed, which happens three times as often.
    pub until: Timestamp,
    /// It was not renewed: another server may take the run over.
    pub expired: bool,
    /// The change that it is a run of.
    #[serde(default)]
    pub subject: Option<Subject>,
}

/// How far the log is sealed, and witnessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealView {
    /// Events in the log.
    pub events: u64,
    /// The last sealed position; absent before the first seal.
    #[serde(default)]
    pub sealed: Option<u64>,
    #[serde(default)]
    pub sealed_at: Option<Timestamp>,
    /// Events behind it.
    pub unsealed: u64,
    /// When the first of them was recorded.
    #[serde(default)]
    pub unsealed_since: Option<Timestamp>,
    /// This server seals.
    pub here: bool,
    /// Each witness that has cosigned, by name, with the newest that it has.
    pub witnesses: Vec<WitnessView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WitnessView {
    pub name: String,
    /// The last position that it vouches for.
    pub position: u64,
    pub at: Timestamp,
}

/// Agents by version. Revoked hosts do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentsView {
    /// What this server is, which agents are compared with.
    pub current: String,
    /// The most hosts first.
    pub versions: Vec<AgentVersionView>,
    /// Hosts whose agent is older.
    pub behind: u64,
    /// Some of them, by name; at most 50.
    pub behind_hosts: Vec<Subject>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentVersionView {
    pub version: String,
    pub hosts: u64,
    pub online: u64,
    /// Older than this server.
    pub behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FailedDiscoveryView {
    pub connection: ConnectionId,
    pub name: String,
    pub error: String,
    /// The last one that went well; absent when none has.
    #[serde(default)]
    pub discovered_at: Option<Timestamp>,
    /// The next attempt; absent when there is none by itself.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
}
