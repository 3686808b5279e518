//! New passwords for accounts of hosts, made on this side: a host never has more of one than its hash.

use std::time::{SystemTime, UNIX_EPOCH};

use nexplane_core::job::Prepared;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha_crypt::{PasswordHasher, ShaCrypt};

use crate::sdk::{Advice, ConnectorError, ErrorKind, Produced, SecretText, sealed};

/// Bytes of the salt: 16 characters in the file, the most that `crypt(5)` takes.
const SALT: usize = 12;

/// A password that was made up before the effect, with what the host keeps of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[serde(with = "sealed")]
    pub clear: SecretText,
    #[serde(with = "sealed")]
    pub hash: SecretText,
    /// When it was made: days since 1970.
    day: u32,
}

impl NewPassword {
    /// SHA-512 as in `crypt(5)`, which every Linux verifies. Its 5000 rounds are the usual ones; more would not
    /// help a password of 28 random characters.
    pub fn generate() -> Result<Self, ConnectorError> {
        let clear = SecretText::generate()?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| failed("there is no randomness"))?;
        let hash = ShaCrypt::SHA512
            .hash_password_with_salt(clear.expose().as_bytes(), &salt)
            .map_err(|_| failed("the new password could not be hashed"))?;
        let hash = SecretText::new(hash.as_str().to_owned());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX);
        Ok(Self { clear, hash, day })
    }

    /// What goes to the host.
    pub fn prepared(&self) -> Prepared {
        Prepared::Password { hash: self.hash.expose().to_owned(), day: self.day }
    }

    pub fn produced(&self, name: &str) -> Produced {
        Produced { name: name.to_owned(), value: self.clear.clone() }
    }

    /// An idempotency key for this password: a step that is tried again with another one is another job, so
    /// that no job's answer is ever taken for another password's.
    pub fn key(&self, key: &str) -> String {
        let hash = digest::digest(&digest::SHA256, self.hash.expose().as_bytes());
        let hash = hex::encode(hash.as_ref());
        format!("{key}/{}", hash.get(..16).unwrap_or_default())
    }
}

fn failed(message: &str) -> ConnectorError {
    ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What this system's own `crypt(3)` makes of a password and a hash.
    fn crypt(password: &str, hash: &str) -> String {
        let made = Command::new("perl")
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash])
            .output()
            .unwrap();
        assert!(made.status.success());
        String::from_utf8(made.stdout).unwrap()
    }

    #[test]
    fn the_hash_is_one_that_the_system_verifies() {
        let new = NewPassword::generate().unwrap();
        let (clear, hash) = (new.clear.expose(), new.hash.expose());
        assert_eq!(clear.len(), 28);
        assert!(hash.starts_with("$6$rounds=5000$"), "{hash}");
        assert_eq!(crypt(clear, hash), hash);
        assert_ne!(crypt("another", hash), hash);
    }

    #[test]
    fn every_password_has_a_hash_and_a_key_of_its_own() {
        let (one, other) = (NewPassword::generate().unwrap(), NewPassword::generate().unwrap());
        assert_ne!((&one.clear, &one.hash), (&other.clear, &other.hash));
        assert_ne!(one.key("run/0"), other.key("run/0"));
        assert!(!format!("{one:?} {:?}", one.prepared()).contains("$6$"));
        let kept: NewPassword =
            serde_json::from_value(serde_json::to_value(&one).unwrap()).unwrap();
        assert_eq!((kept.key("run/0"), kept.prepared()), (one.key("run/0"), one.prepared()));
    }
}
