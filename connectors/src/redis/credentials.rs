//! What a connection to a Redis server needs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::target::UserName;
use crate::sdk::SecretText;

/// How the connection is protected. There is no mode that tries TLS and gives way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No TLS. Everything crosses the network in clear, the password first: only for a network that is
    /// protected otherwise.
    Disable,
    /// TLS, and the server's certificate comes from a trusted CA, for whatever name.
    VerifyCa,
    /// TLS, and the server's certificate comes from a trusted CA for exactly this host. The default, for
    /// every host, loopback included.
    #[default]
    VerifyFull,
}

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
    /// Password of that user.
    pub password: SecretText,
    /// How the connection is protected.
    #[serde(default)]
    pub tls_mode: TlsMode,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

const fn default_port() -> u16 {
    6379
}
