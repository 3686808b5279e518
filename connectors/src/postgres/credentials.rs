//! What a connection to a PostgreSQL server needs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::sql::Name;
use crate::sdk::SecretText;

/// How the connection is protected; names and meaning are libpq's.
/// <https://www.postgresql.org/docs/current/libpq-ssl.html>
///
/// There is no `prefer` and no `allow`: both give way silently to whoever sits in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS. Everything but the password (SCRAM) crosses the network in clear.
    Disable,
    /// TLS, without asking who answers; with `ca_certificate` the same as `verify-ca`.
    Require,
    /// TLS, and the server's certificate comes from a trusted CA, for whatever name.
    VerifyCa,
    /// TLS, and the server's certificate comes from a trusted CA for exactly this host. The default,
    /// for every host, loopback included.
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
    /// TCP port of the server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Database to connect to. Actions on schemas work in this one.
    pub database: Name,
    /// Role to connect as. No action can have it as its target.
    pub username: Name,
    /// Password of that role.
    pub password: SecretText,
    /// How the connection is protected.
    #[serde(default)]
    pub ssl_mode: SslMode,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

const fn default_port() -> u16 {
    5432
}
