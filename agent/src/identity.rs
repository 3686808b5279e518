//! Who this agent is: its key, its certificate, and whom it believes. One file, mode 0600, replaced
//! as a whole, so that key and certificate always belong together.
//!
//! The private key is made here and never leaves the machine. A token buys one identity: the key is
//! kept before the token is sent, so that a lost answer can be asked for again.

use std::io;
use std::path::PathBuf;

use nexplane_core::id::HostId;
use nexplane_core::job::{
    DispatcherKey, EnrollRequest, EnrollResponse, RenewRequest, RenewResponse,
};
use nexplane_core::time::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::pem::parse_x509_pem;

use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::keep::Keep;

/// What an agent has after it was enrolled.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub host: HostId,
    /// The host's name in the control plane.
    pub name: String,
    pub installation: String,
    /// Base address of the agent gateway, such as `https://nexplane.example:8443`.
    pub control_plane: String,
    /// The only authority that the gateway's certificate may come from.
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
    pub dispatchers: Vec<DispatcherKey>,
    pub renew_after: Timestamp,
    /// SHA-256 of the token that it was enrolled with: another token means to enrol again.
    pub token_hash: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("host", &self.host)
            .field("name", &self.name)
            .field("control_plane", &self.control_plane)
            .finish_non_exhaustive()
    }
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("could not {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not an identity; move it away and enrol again")]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("could not make a key and a certificate request")]
    Key(#[source] rcgen::Error),
    #[error("the control plane did not {attempt} this agent")]
    Refused {
        attempt: &'static str,
        #[source]
        source: ClientError,
    },
}

/// A key that waits for its certificate.
#[derive(Serialize, Deserialize)]
struct Pending {
    token_hash: String,
    key_pem: String,
}

/// A key that waits for its certificate over the connection of an earlier one.
#[derive(Serialize, Deserialize)]
struct Fresh {
    key_pem: String,
}

impl Identity {
    /// The identity that the configuration names, at the control plane that it names; `None` when not enrolled.
    pub fn of(config: &Config) -> Result<Option<Self>, IdentityError> {
        let kept = Self::load(&config.keep())?;
        Ok(match config.gateway() {
            Some((control_plane, ca_pem)) => kept.map(|kept| kept.at(control_plane, ca_pem)),
            None => kept,
        })
    }

    /// The same agent, of a control plane at another address or under another authority.
    #[must_use]
    pub fn at(self, control_plane: &str, ca_pem: &str) -> Self {
        Self { control_plane: control_plane.to_owned(), ca_pem: ca_pem.to_owned(), ..self }
    }

    /// Over a connection with the agent's certificate.
    pub fn client(&self) -> Result<Client, ClientError> {
        let Self { control_plane, ca_pem, certificate_pem, key_pem, .. } = self;
        Client::new(control_plane, ca_pem, certificate_pem, key_pem)
    }

    /// The identity as it is kept; `None` when not enrolled. [`Identity::of`] knows where it goes.
    pub fn load(config: &Keep) -> Result<Option<Self>, IdentityError> {
        load(config, "identity.json")
    }

    pub fn save(&self, config: &Keep) -> Result<(), IdentityError> {
        save(config, "identity.json", self)
    }

    /// Makes a key, sends a certificate request with the token, and saves what comes back. An identity of
    /// another host that was there is set aside as `identity.<host>.json`; without an answer it stays.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] when the token is unknown, used or expired, or the control plane is
    /// not reachable or not certified by `ca_pem`.
    pub async fn enroll(
        config: &Keep,
        control_plane: &str,
        ca_pem: &str,
        token: &str,
        name: &str,
        policy_hash: Option<String>,
    ) -> Result<Self, IdentityError> {
        let token_hash = hash_token(token);
        let waiting = "enrolling.json";
        let pending = match load::<Pending>(config, waiting)? {
            Some(pending) if pending.token_hash == token_hash => pending,
            Some(_) | None => {
                let key_pem = new_key().map_err(IdentityError::Key)?.serialize_pem();
                let pending = Pending { token_hash, key_pem };
                save(config, waiting, &pending)?;
                pending
            }
        };
        let request = EnrollRequest {
            token: token.to_owned(),
            csr_pem: request_pem(&pending.key_pem).map_err(IdentityError::Key)?,
            hostname: name.to_owned(),
            agent_version: crate::release::VERSION.to_owned(),
            policy_hash,
        };
        let refused = |source| IdentityError::Refused { attempt: "enrol", source };
        let client = Client::anonymous(control_plane, ca_pem).map_err(refused)?;
        let EnrollResponse { host, name, installation, certificate_pem, dispatchers, renew_after } =
            client.enroll(&request).await.map_err(refused)?;
        let identity = Self {
            host,
            name,
            installation,
            control_plane: control_plane.to_owned(),
            ca_pem: ca_pem.to_owned(),
            certificate_pem,
            key_pem: pending.key_pem,
            dispatchers,
            renew_after,
            token_hash: pending.token_hash,
        };
        if let Some(earlier) = Self::load(config)?
            && earlier.host != identity.host
        {
            save(config, &format!("identity.{}.json", earlier.host), &earlier)?;
        }
        identity.save(config)?;
        remove(config, waiting)?;
        Ok(identity)
    }

    /// The same identity with a fresh key and certificate, saved. The old ones stay valid until they
    /// end, and the fresh key is kept for another attempt, so nothing is lost when the answer is.
    pub async fn renew(&self, config: &Keep, client: &Client) -> Result<Self, IdentityError> {
        let waiting = "renewing.json";
        let Fresh { key_pem } = match load(config, waiting)? {
            Some(fresh) => fresh,
            None => {
                let key_pem = new_key().map_err(IdentityError::Key)?.serialize_pem();
                let fresh = Fresh { key_pem };
                save(config, waiting, &fresh)?;
                fresh
            }
        };
        let mut renewed = self.clone();
        // A crash between saving the identity and removing this file leaves the key that is in use.
        if key_pem != self.key_pem {
            let csr_pem = request_pem(&key_pem).map_err(IdentityError::Key)?;
            let RenewResponse { certificate_pem, dispatchers, renew_after } = client
                .renew(&RenewRequest { csr_pem })
                .await
                .map_err(|source| IdentityError::Refused { attempt: "renew", source })?;
            renewed = Self { certificate_pem, key_pem, dispatchers, renew_after, ..renewed };
            renewed.save(config)?;
        }
        remove(config, waiting)?;
        Ok(renewed)
    }

    /// When the certificate ends; `None` when it cannot be read.
    pub fn not_after(&self) -> Option<Timestamp> {
        let (_, pem) = parse_x509_pem(self.certificate_pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let seconds = certificate.validity().not_after.timestamp();
        Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
    }
}

/// SHA-256 of a token, hexadecimal: what both sides keep of it.
pub fn hash_token(token: &str) -> String {
    hex::encode(Sha256::digest(token.trim()))
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// A certificate request that asks for no name: the control plane would ignore it.
fn request_pem(key_pem: &str) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(&key)?.pem()
}

fn load<T: for<'de> Deserialize<'de>>(
    config: &Keep,
    name: &str,
) -> Result<Option<T>, IdentityError> {
    let bytes = config.read(name).map_err(failed(config, "read", name))?;
    bytes
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|source| IdentityError::Malformed { path: config.path(name), source })
}

fn save<T: Serialize>(config: &Keep, name: &str, value: &T) -> Result<(), IdentityError> {
    let json = serde_json::to_vec_pretty(value).expect("identities are structs of strings");
    config.write(name, &json).map_err(failed(config, "write", name))
}

fn remove(config: &Keep, name: &str) -> Result<(), IdentityError> {
    config.remove(name).map_err(failed(config, "remove", name))
}

fn failed(
    config: &Keep,
    attempt: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> IdentityError {
    let path = config.path(name);
    move |source| IdentityError::Io { attempt, path, source }
}
