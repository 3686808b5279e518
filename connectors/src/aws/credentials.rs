//! What a connection to an AWS account needs.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::SecretText;

/// Whose rights are used, and in which region.
///
/// Nothing else is ever asked: neither the environment, nor files, nor the metadata of a machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Access key id of an IAM user, which begins with AKIA. Not of the root user.
    #[schemars(length(min = 12, max = 128), regex(pattern = "^[A-Z0-9]+$"))]
    pub access_key_id: String,
    /// Secret access key that belongs to it.
    pub secret_access_key: SecretText,
    /// Session token, when the keys are temporary ones (they begin with ASIA).
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// Region whose instances, volumes, security groups and buckets are managed, such as eu-central-1.
    #[schemars(length(min = 5, max = 40), regex(pattern = "^[a-z]{2}(-[a-z]+)+-[0-9]+$"))]
    pub region: String,
    /// ARN of a role to assume; everything is then done with the rights of that role.
    #[serde(default)]
    #[schemars(
        length(min = 20, max = 2048),
        regex(pattern = "^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")
    )]
    pub role_arn: Option<String>,
    /// External id that the role's trust policy asks for.
    #[serde(default)]
    #[schemars(length(min = 2, max = 1224), regex(pattern = "^[\\w+=,.@:/-]*$"))]
    pub external_id: Option<String>,
    /// Name of the session of the assumed role, as CloudTrail shows it.
    #[serde(default = "default_session_name")]
    #[schemars(length(min = 2, max = 64), regex(pattern = "^[\\w+=,.@-]*$"))]
    pub session_name: String,
    /// URL that answers for all of AWS instead of AWS's own: a private endpoint, or an emulator. It
    /// must be https; http is for loopback addresses only, because answers contain new secret keys.
    #[serde(default)]
    #[schemars(length(min = 8, max = 253))]
    pub endpoint_url: Option<String>,
    /// Certificates (PEM) of the CAs to trust instead of the system's.
    #[serde(default)]
    #[schemars(length(min = 1), extend("x-multiline" = true))]
    pub ca_certificate: Option<String>,
}

fn default_session_name() -> String {
    "nexplane".to_owned()
}
