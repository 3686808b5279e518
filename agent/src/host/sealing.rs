//! The host's own key, for what a before-state must hold and nobody may read: the hash of a password.
//!
//! It is made on the host, kept beside the identity with mode 0600, and never sent anywhere. It keeps hashes
//! out of copies of the before-states and out of the control plane; from root on the host nothing can
//! be kept.
//!
//! Sealing is deterministic: the nonce of AES-256-GCM is an HMAC of the text under another key, so that two
//! texts share a nonce only if they are equal. So equal secrets are equal when sealed, states can be compared
//! as they are, and a fingerprint can cover the secret: without the key it cannot be searched for, however weak
//! the old password was.

use std::fmt;
use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keep::Keep;

const CONTEXT: &[u8] = b"nexplane before-state v1\0";
const FILE: &str = "sealing.key";
const LENGTH: usize = 32;

/// A secret under the key of one host. Equal secrets are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// What may be shown of it: the same for the same secret on the same host, 96 bit in hexadecimal.
    pub fn tag(&self) -> String {
        let bytes = STANDARD.decode(&self.0).unwrap_or_default();
        hex::encode(bytes.get(..NONCE_LEN).unwrap_or_default())
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    #[error("could not {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another one in its place could open nothing that was sealed before.
    #[error(
        "{path} is not a key of 32 bytes: put back a copy of it, or move it away for a new one"
    )]
    Malformed { path: PathBuf },
    #[error("the machine has no randomness")]
    Random,
}

/// The key of one host.
pub struct SealingKey {
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").finish_non_exhaustive()
    }
}

impl SealingKey {
    pub fn new(key: &[u8; LENGTH]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derive = |purpose: &[u8]| hmac::sign(&root, &[CONTEXT, purpose].concat());
        let seal = UnboundKey::new(&AES_256_GCM, derive(b"seal").as_ref())
            .expect("an HMAC-SHA256 has the length of the key");
        let nonce = hmac::Key::new(hmac::HMAC_SHA256, derive(b"nonce").as_ref());
        Self { seal: LessSafeKey::new(seal), nonce }
    }

    /// The key that is kept there; makes it when there is none.
    pub fn load_or_make(keep: &Keep) -> Result<Self, SealingKeyError> {
        let path = || keep.path(FILE);
        let io = |attempt| move |source| SealingKeyError::Io { attempt, path: path(), source };
        let kept = keep.read(FILE).map_err(io("read"))?.map(Zeroizing::new);
        let mut key = Zeroizing::new([0; LENGTH]);
        match kept {
            Some(bytes) if bytes.len() == LENGTH => key.copy_from_slice(&bytes),
            Some(_) => return Err(SealingKeyError::Malformed { path: path() }),
            None => {
                SystemRandom::new().fill(&mut *key).map_err(|_| SealingKeyError::Random)?;
                keep.write(FILE, &*key).map_err(io("write"))?;
            }
        }
        Ok(Self::new(&key))
    }

    pub fn seal(&self, secret: &str) -> Sealed {
        let mac = hmac::sign(&self.nonce, secret.as_bytes());
        let mut bytes = mac.as_ref().to_vec();
        bytes.truncate(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).expect("it has the length of a nonce");
        let mut text = secret.as_bytes().to_vec();
        self.seal
            .seal_in_place_append_tag(nonce, Aad::from(CONTEXT), &mut text)
            .expect("the text is far shorter than 64 GiB");
        bytes.extend(text);
        Sealed(STANDARD.encode(bytes))
    }

    /// The secret; `None` when it was sealed under another key, or altered.
    pub fn open(&self, sealed: &Sealed) -> Option<Zeroizing<String>> {
        let bytes = STANDARD.decode(&sealed.0).ok()?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let secret = self.seal.open_in_place(nonce, Aad::from(CONTEXT), &mut text).ok()?;
        std::str::from_utf8(secret).ok().map(|secret| Zeroizing::new(secret.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_secrets_are_equal_under_one_key_and_opened_by_it_alone() {
        let (one, other) = (SealingKey::new(&[1; LENGTH]), SealingKey::new(&[2; LENGTH]));
        let sealed = one.seal("$6$salt$hash");
        assert_eq!(sealed, one.seal("$6$salt$hash"));
        assert_ne!(sealed.tag(), one.seal("$6$salt$hasi").tag());
        assert_ne!(sealed.tag(), other.seal("$6$salt$hash").tag());
        assert_eq!(sealed.tag().len(), 24);
        assert_eq!(one.open(&sealed).unwrap().as_str(), "$6$salt$hash");
        assert!(other.open(&sealed).is_none());
        let shown = format!("{sealed:?} {one:?} {}", serde_json::to_string(&sealed).unwrap());
        assert!(!shown.contains("hash"), "{shown}");
        let bytes = STANDARD.decode(&sealed.0).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(one.open(&Sealed(STANDARD.encode(altered))).is_none(), "byte {at}");
        }
        assert!(one.open(&Sealed("AAAA".to_owned())).is_none());
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::directory(directory.path());
        let sealed = SealingKey::load_or_make(&keep).unwrap().seal("secret");
        let again = SealingKey::load_or_make(&keep).unwrap();
        assert_eq!(again.open(&sealed).unwrap().as_str(), "secret");
        let file = directory.path().join(FILE);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&file, "short").unwrap();
        let error = SealingKey::load_or_make(&keep).unwrap_err();
        assert!(matches!(error, SealingKeyError::Malformed { .. }), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"short");
    }
}
