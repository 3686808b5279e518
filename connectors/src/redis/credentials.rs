//! What a connection to a Redis server needs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::target::UserName;
use crate::sdk::SecretText;

/// How to reach the server and as whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host name or address of the server. Unix sockets are refused.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// TCP port of the server: the one with TLS, unless it is switched off.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// User to connect as; without one it is the user named default. No action can have it as its target,
    /// so give Nexplane a user of its own.
    #[serde(default)]
    pub username: UserName,
    /// Password of that user. Without one only a user gets in that needs none.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// Logical database that actions on the instance work in; 0 unless said.
    #[serde(default)]
    pub database: u32,
    /// TLS 1.2 or 1.3, and a certificate of a trusted CA for exactly this host. Without it everything crosses the
    /// network in clear, the password first: only for a network that is protected otherwise.
    #[serde(default = "default_tls")]
    pub tls: bool,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

const fn default_port() -> u16 {
    6379
}

const fn default_tls() -> bool {
    true
}
