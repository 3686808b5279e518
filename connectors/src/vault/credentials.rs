//! What a connection to a Vault or OpenBao server needs.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::SecretText;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// TLS, and the server's certificate comes from a trusted CA for exactly this host.
    #[default]
    Https,
    /// No TLS: tokens and secrets cross the network in clear. Only for a proxy on the same host.
    Http,
}

/// How to reach the server and as whom: with a token, or with an AppRole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host name or address of the server.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// TCP port of the server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// How the server is spoken to: https unless http is chosen.
    #[serde(default)]
    pub scheme: Scheme,
    /// A token. It is not renewed; an AppRole is better. Give either this or role_id and secret_id.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// Role id of an AppRole. Each session logs in anew, best to a role with batch tokens.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub role_id: Option<String>,
    /// Secret id of the AppRole.
    #[serde(default)]
    pub secret_id: Option<SecretText>,
    /// Where the AppRole auth method is mounted: approle unless given.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub approle_mount: Option<String>,
    /// The namespace to work in; without it the root namespace.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub namespace: Option<String>,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

const fn default_port() -> u16 {
    8200
}
