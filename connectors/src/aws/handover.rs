//! How a new secret key survives a crash, though AWS says it only once and nobody can choose it.
//!
//! It is left at the user itself, in a tag of ours, encrypted (AES-256-GCM) under a key that is made up and
//! stored sealed before the effect. So whoever holds the before-state can always read it back from the target,
//! and nobody else can. The tag also says which rotation is at work before a key is made, so that
//! it is known when a key may have been lost on the way. It does not say that a key is ours: IAM says of
//! none who made it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::sdk::{Advice, ConnectorError, ErrorKind, SecretText, sealed};

/// Name of the tag.
pub const TAG: &str = "nexplane-rotation";

/// What a rotation makes up before it begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Tells this rotation from all others.
    pub id: String,
    /// 166 random bits, from which the key of the encryption follows.
    #[serde(with = "sealed")]
    seal: SecretText,
}

/// What the tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A key is about to be made.
    Begun,
    /// The key was made; its secret is in the tag.
    Made { key: String },
}

impl Rotation {
    pub fn begin() -> Result<Self, ConnectorError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self { id, seal: SecretText::generate()? })
    }

    /// The tag before the key is made.
    pub fn begun(&self) -> String {
        format!("{}:begun", self.id)
    }

    /// What a tag says of this rotation; none when it is of another.
    pub fn mark(&self, tag: &str) -> Option<Mark> {
        let rest = tag.strip_prefix(&self.id)?.strip_prefix(':')?;
        match rest.split_once(':') {
            None if rest == "begun" => Some(Mark::Begun),
            None => None,
            Some((key, _)) => Some(Mark::Made { key: key.to_owned() }),
        }
    }

    /// The tag with the secret of a new key in it: 32 + 20 + 92 characters, of 256 that a tag may have.
    pub fn made(&self, key: &str, secret: &SecretText) -> Result<String, ConnectorError> {
        let broken = |_| {
            let message = "the system's random number generator failed";
            ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
        };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(broken)?;
        let mut text = secret.expose().as_bytes().to_vec();
        self.cipher()
            .and_then(|cipher| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.seal_in_place_append_tag(nonce, Aad::from(key.as_bytes()), &mut text)
            })
            .map_err(broken)?;
        let mut whole = nonce.to_vec();
        whole.append(&mut text);
        Ok(format!("{}:{key}:{}", self.id, URL_SAFE_NO_PAD.encode(whole)))
    }

    /// Id and secret of the key in a tag; none when the tag is not of this rotation or was tampered with.
    pub fn open(&self, tag: &str) -> Option<(String, SecretText)> {
        let Mark::Made { key } = self.mark(tag)? else { return None };
        let (_, text) = tag.rsplit_once(':')?;
        let whole = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, text) = whole.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let cipher = self.cipher().ok()?;
        let secret = cipher.open_in_place(nonce, Aad::from(key.as_bytes()), &mut text).ok()?;
        let secret = SecretText::new(std::str::from_utf8(secret).ok()?.to_owned());
        Some((key, secret))
    }

    fn cipher(&self) -> Result<LessSafeKey, ring::error::Unspecified> {
        let key = digest(&SHA256, self.seal.expose().as_bytes());
        UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

    #[test]
    fn the_secret_comes_back_for_this_rotation_only() {
        let (rotation, other) = (Rotation::begin().unwrap(), Rotation::begin().unwrap());
        let secret = SecretText::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let tag = rotation.made(KEY, &secret).unwrap();
        // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html>: 256 characters of these.
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "_.:/=+-@ ".contains(c);
        assert!(tag.len() <= 256 && tag.chars().all(is_fine), "{tag}");
        assert!(!tag.contains(secret.expose()));
        assert_eq!(rotation.open(&tag), Some((KEY.to_owned(), secret)));
        assert_eq!(rotation.mark(&tag), Some(Mark::Made { key: KEY.to_owned() }));
        assert_eq!((other.open(&tag), other.mark(&tag)), (None, None));
        let same_id = Rotation { id: rotation.id.clone(), seal: other.seal };
        assert_eq!(same_id.open(&tag), None, "under another key");
        assert_eq!(
            rotation.open(&tag.replace(KEY, "AKIAIOSFODNN7EXAMPLF")),
            None,
            "moved to a key"
        );
        assert_eq!(rotation.mark(&rotation.begun()), Some(Mark::Begun));
        assert_eq!(rotation.open(&rotation.begun()), None);
    }
}
