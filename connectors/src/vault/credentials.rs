//! What a connection to a Vault or OpenBao server needs.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::SecretText;

/// How to reach the server and as whom: with a token, or with an AppRole.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// https://host:port of the server. With http:// tokens and secrets cross the network in clear: only for a proxy on
    /// the same host.
    #[schemars(length(min = 8, max = 300))]
    pub address: String,
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
