//! What can happen to a connection.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{ChangeId, ConnectionId, HostId, SecretId};
use crate::plan::Check;
use crate::risk::Environment;

/// Why credentials were decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Test,
    Discover,
    Plan,
    Execute,
}

/// How much may be asked of a target at once, and in a while. Each server keeps to it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Sessions that are open at the same time, 1 to 100.
    pub sessions: u32,
    /// Sessions that are opened in a minute, 1 to 6,000, evenly spread; absent, as many as are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u32>,
}

impl Default for Limits {
    /// What a small database server bears beside its own work.
    fn default() -> Self {
        Self { sessions: 16, per_minute: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum ConnectionEvent {
    #[serde(rename = "connection.created")]
    Created {
        name: String,
        connector: String,
        environment: Environment,
        /// Credentials without their secret fields. A reference to a secret that is elsewhere is no secret.
        settings: Value,
        /// The whole credentials, encrypted; absent for connectors that need none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<SecretId>,
        /// The host that a built-in connection belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostId>,
    },
    #[serde(rename = "connection.renamed")]
    Renamed { name: String },
    #[serde(rename = "connection.relabelled")]
    Relabelled { environment: Environment },
    #[serde(rename = "connection.limited")]
    Limited { limits: Limits },
    /// From now on it is discovered by itself.
    #[serde(rename = "connection.discovery_scheduled")]
    DiscoveryScheduled {
        /// Seconds from one discovery to the next; absent: only when somebody asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_s: Option<u32>,
    },
    #[serde(rename = "connection.credentials_replaced")]
    CredentialsReplaced { settings: Value, credentials: SecretId },
    #[serde(rename = "connection.removed")]
    Removed {},
    #[serde(rename = "connection.tested")]
    Tested { ok: bool, checks: Vec<Check> },
    #[serde(rename = "connection.discovered")]
    Discovered { found: u64, new: u64, changed: u64, gone: u64, duration_ms: u64 },
    #[serde(rename = "connection.discovery_failed")]
    DiscoveryFailed { kind: String, reason: String },
    /// Credentials were decrypted.
    #[serde(rename = "connection.credentials_opened")]
    CredentialsOpened {
        purpose: Purpose,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<ChangeId>,
        /// The connection whose secret was read by this one; absent when this one itself was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reads_for: Option<ConnectionId>,
    },
}
