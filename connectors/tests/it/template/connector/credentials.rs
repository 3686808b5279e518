//! What a connection to a value server needs.

use nexplane_connectors::sdk::SecretText;
use schemars::JsonSchema;
use serde::Deserialize;

/// How to reach the server and as whom. Each field's comment is its help in the form and in the documentation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host name or address of the server.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// TCP port of the server.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Token to authenticate with.
    pub token: SecretText,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}
