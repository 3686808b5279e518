//! Password verifiers, made on this side, so that a clear password never reaches the server, its log
//! or `pg_stat_statements`.
//!
//! Format and computation: RFC 5802 §3, RFC 5803, RFC 7677, and
//! <https://www.postgresql.org/docs/current/catalog-pg-authid.html>:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::sdk::{Advice, ConnectorError, ErrorKind, SecretText};

/// PostgreSQL's own default, and the least that RFC 7677 §4 allows. More would not help a password of
/// 28 random characters.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const SALT_BYTES: usize = 16;

/// A verifier with a fresh salt. The password must be ASCII, as generated ones are: SASLprep
/// (RFC 4013) is the identity on it.
pub fn verifier(password: &SecretText) -> Result<SecretText, ConnectorError> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| {
        let message = "the system's random number generator failed";
        ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
    })?;
    Ok(with_salt(password, &salt, ITERATIONS))
}

fn with_salt(password: &SecretText, salt: &[u8], iterations: NonZeroU32) -> SecretText {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    let secret = password.expose().as_bytes();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, secret, &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    SecretText::new(format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User `user`, password `pencil`, salt and iterations of RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = with_salt(&SecretText::new("pencil".to_owned()), &salt, ITERATIONS);
        assert_eq!(
            verifier.expose(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
             :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn every_verifier_has_a_salt_of_its_own() {
        let password = SecretText::new("pencil".to_owned());
        assert_ne!(verifier(&password).unwrap(), verifier(&password).unwrap());
    }
}
