//! What can happen to a host.

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::job::RefusalCode;
use crate::refusal::Cause;
use crate::time::Timestamp;

/// A client certificate, by what tells it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Certificate {
    /// SHA-256 of the certificate's public key (DER SubjectPublicKeyInfo), hexadecimal.
    pub key_hash: String,
    pub not_after: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum HostEvent {
    #[serde(rename = "host.enrolled")]
    Enrolled {
        hostname: String,
        agent_version: String,
        policy_hash: Option<String>,
        certificate: Certificate,
    },
    #[serde(rename = "host.renewed")]
    Renewed { certificate: Certificate },
    #[serde(rename = "host.came_online")]
    CameOnline {},
    #[serde(rename = "host.went_offline")]
    WentOffline { reason: String },
    #[serde(rename = "host.policy_changed")]
    PolicyChanged { policy_hash: Option<String> },
    /// Its agent runs in another version than before, whoever put that there.
    #[serde(rename = "host.agent_changed")]
    AgentChanged { agent_version: String },
    #[serde(rename = "host.locked")]
    Locked { reason: String },
    #[serde(rename = "host.revoked")]
    Revoked { reason: String },
    /// The gateway refused what came in the name of this host.
    #[serde(rename = "host.refused")]
    Refused {
        cause: Cause,
        /// How often, since `since`.
        count: u64,
        since: Timestamp,
        /// The network that the first of them came from.
        source: Option<String>,
    },
    /// The host's agent refused orders that this control plane had signed.
    #[serde(rename = "host.order_refused")]
    OrderRefused {
        code: RefusalCode,
        /// How often, since `since`.
        count: u64,
        since: Timestamp,
        /// The first of them, and what the agent said of it: plain text, at most 300 characters.
        job: JobId,
        detail: String,
    },
    /// The host's agent got orders that it did not take for this control plane's.
    #[serde(rename = "host.order_distrusted")]
    OrderDistrusted {
        code: RefusalCode,
        /// How many more than were recorded before.
        count: u64,
        /// All since the host enrolled.
        total: u64,
        /// When the last one came, by the host's clock.
        last_at: Timestamp,
    },
}
