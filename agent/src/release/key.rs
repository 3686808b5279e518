//! Release keys: Ed25519 (RFC 8032). The private one stays with whoever builds the agent.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::CONTEXT;

/// Hexadecimal digits of a key's id: the first of the SHA-256 of its 32 bytes.
const ID: usize = 16;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseKeyError {
    #[error(
        "'{0}' is not a release key: it is the 32 bytes of an Ed25519 public key in base64, as `nexplane-agent release keygen` prints them"
    )]
    Public(String),
    #[error(
        "the file is not an Ed25519 private key in PKCS#8 and PEM, as `nexplane-agent release keygen` writes it"
    )]
    Private,
    #[error("no key could be made: the machine has no randomness")]
    Random,
}

/// A key that the owner of a host pins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// What it is called.
    pub fn id(&self) -> String {
        let mut id = hex::encode(Sha256::digest(self.0));
        id.truncate(ID);
        id
    }

    pub(super) fn has_signed(&self, manifest: &str, signature: &[u8]) -> bool {
        let signed = [CONTEXT, manifest.as_bytes()].concat();
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed, signature).is_ok()
    }
}

pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = ReleaseKeyError;

    fn from_str(text: &str) -> Result<Self, ReleaseKeyError> {
        let bad = || ReleaseKeyError::Public(text.chars().take(60).collect());
        let bytes = STANDARD.decode(text).map_err(|_| bad())?;
        bytes.try_into().map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = ReleaseKeyError;

    fn try_from(text: String) -> Result<Self, ReleaseKeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// The key that signs releases.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pem: Zeroizing<String>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public_key()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn generate() -> Result<Self, ReleaseKeyError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .map_err(|_| ReleaseKeyError::Random)?;
        Self::from_pem(&Zeroizing::new(pair.serialize_pem()))
    }

    /// # Errors
    /// [`ReleaseKeyError::Private`].
    pub fn from_pem(pem: &str) -> Result<Self, ReleaseKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| ReleaseKeyError::Private)?;
        // Other programs write it without the public half.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| ReleaseKeyError::Private)?;
        Ok(Self { pair, pem: Zeroizing::new(pem.to_owned()) })
    }

    /// PKCS#8 in PEM. Secret.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The line for the file of signatures.
    pub fn sign(&self, manifest: &str) -> String {
        self.sign_in(CONTEXT, manifest)
    }

    pub(super) fn sign_in(&self, context: &[u8], text: &str) -> String {
        let signature = self.pair.sign(&[context, text.as_bytes()].concat());
        format!("{} {}\n", self.public_key().id(), STANDARD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(key.pem()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let public = key.public_key();
        assert_eq!(public.to_string().parse(), Ok(public.clone()));
        assert!(is_id(&public.id()));
        assert!(!format!("{key:?}").contains("PRIVATE"));
        for wrong in ["", "AAAA", "not base64!", &STANDARD.encode([1; 33])] {
            let refused = wrong.parse::<PublicKey>().unwrap_err().to_string();
            assert!(refused.contains("release keygen"), "{refused}");
        }
        assert_eq!(SigningKey::from_pem("PEM").unwrap_err(), ReleaseKeyError::Private);
    }
}
