//! The key that signs checkpoints, in a file of its own.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::proof::note::{BadKey, SignatureType, Signer, VerifierKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::origin;

/// The log's own key.
pub struct LogKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogKey")
            .field("verifier", &self.verifier.to_string())
            .finish_non_exhaustive()
    }
}

/// Why there is no key. No variant contains one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot {attempt} {}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the log's key")]
    Write(#[source] anyhow::Error),
    #[error("{} is not a key of the log", .0.display())]
    Damaged(PathBuf),
    #[error("cannot get random bytes from the operating system")]
    Random,
    #[error("the log cannot have this key")]
    Name(#[from] BadKey),
}

impl LogKey {
    fn path(dir: &Path, incarnation: Uuid) -> PathBuf {
        dir.join(format!("{incarnation}.key"))
    }

    /// Reads the key of a log; `None` when this machine does not have it.
    pub fn open(dir: &Path, incarnation: Uuid) -> Result<Option<Self>, KeyError> {
        let path = Self::path(dir, incarnation);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyError::Io { attempt: "read", path, source }),
        };
        let pkcs8 = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let pair = pkcs8.ok().and_then(|pkcs8| Ed25519KeyPair::from_pkcs8(&pkcs8).ok());
        Self::try_new(pair.ok_or(KeyError::Damaged(path))?, incarnation).map(Some)
    }

    /// Makes a key and keeps it in a file that only its owner can read.
    pub fn make(dir: &Path, incarnation: Uuid) -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| KeyError::Random)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| KeyError::Random)?;
        let key = Self::try_new(pair, incarnation)?;
        let text = Zeroizing::new(STANDARD.encode(pkcs8.as_ref()));
        crate::open::write_private(&Self::path(dir, incarnation), text.as_bytes())
            .map_err(KeyError::Write)?;
        Ok(key)
    }

    fn try_new(pair: Ed25519KeyPair, incarnation: Uuid) -> Result<Self, KeyError> {
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        let verifier = VerifierKey::try_new(origin(incarnation), SignatureType::Ed25519, &public)?;
        Ok(Self { pair, verifier })
    }

    /// What others need to check its signatures.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }
}

impl Signer for LogKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}
