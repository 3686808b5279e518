//! What a connection to a host needs.

use nexplane_agent::host::shadow::AccountName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::sdk::SecretText;

/// How the account becomes root for what needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sudo {
    /// Not at all: the account is root, or does what it may do itself.
    #[default]
    None,
    /// `sudo -n`: sudo must not ask for a password.
    Passwordless,
}

/// How to reach the host and as whom: with a private key (and a certificate for it), or with a password. The pinned
/// host key says who gets the password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Host name or address of the SSH server.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// TCP port of the SSH server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Account to log in as. No action can have it as its target.
    pub username: AccountName,
    /// The server's key: a public key in OpenSSH's format (`ssh-ed25519 AAAA…`) or its fingerprint
    /// (`SHA256:…`, as `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub` on the host prints it). A server
    /// with another key is refused.
    #[schemars(length(min = 40, max = 4096))]
    pub host_key: String,
    /// Private key of the account, in OpenSSH's format (`-----BEGIN OPENSSH PRIVATE KEY-----`). Give either this or a
    /// password; a key is better.
    #[serde(default)]
    #[schemars(extend("x-multiline" = true))]
    pub private_key: Option<SecretText>,
    /// Password of the account, for servers that take no keys.
    #[serde(default)]
    pub password: Option<SecretText>,
    /// Passphrase of the private key, when it has one.
    #[serde(default)]
    pub passphrase: Option<SecretText>,
    /// User certificate for the private key, in OpenSSH's format (`ssh-ed25519-cert-v01@openssh.com AAAA…`).
    #[serde(default)]
    #[schemars(length(min = 40, max = 16384), extend("x-multiline" = true))]
    pub certificate: Option<String>,
    /// How the account becomes root for what needs it.
    #[serde(default)]
    pub sudo: Sudo,
}

const fn default_port() -> u16 {
    22
}
