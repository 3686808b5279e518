//! What a connection to a directory needs.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::SecretText;

/// How the connection is protected.
///
/// There is no way without TLS: a simple bind (RFC 4513 §5.1.3) sends the password as it is, and Active
/// Directory takes new passwords over TLS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// TLS from the first byte, usually on port 636.
    #[default]
    Ldaps,
    /// TLS by the StartTLS operation (RFC 4511 §4.14), usually on port 389. Nothing is said before it but that.
    Starttls,
}

/// How to reach the directory and as whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host name or IPv4 address of the directory server. Its certificate must be for this name.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// TCP port of the server; 636 with ldaps and 389 with starttls unless given.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the connection is protected. There is no unprotected way.
    #[serde(default)]
    pub protection: Protection,
    /// DN of the account to bind as; with Active Directory also its user principal name (user@domain).
    #[schemars(length(min = 1, max = 1024))]
    pub bind_dn: String,
    /// Password of that account.
    #[schemars(length(min = 1))]
    pub password: SecretText,
    /// DN below which everything lies that is managed here; the directory's own naming context unless given.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub base_dn: Option<String>,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

impl Credentials {
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.protection {
            Protection::Ldaps => 636,
            Protection::Starttls => 389,
        })
    }
}
