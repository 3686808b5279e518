//! What can happen to a host.

use serde::{Deserialize, Serialize};

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
    #[serde(rename = "host.locked")]
    Locked { reason: String },
    #[serde(rename = "host.revoked")]
    Revoked { reason: String },
}
