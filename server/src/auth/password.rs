//! Passwords: Argon2id with the parameters of RFC 9106 §4 (second recommendation, scaled to 19 MiB
//! and two passes as in the OWASP password storage cheat sheet), off the async threads.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};

/// The shortest password that is accepted, in characters (NIST SP 800-63B §5.1.1.2).
pub const MIN_PASSWORD: usize = 8;

/// At most this many hashes at once: each takes 19 MiB and a core for some 20 ms.
static AT_ONCE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);

/// Hashes a password as a PHC string.
pub async fn hash(password: String) -> anyhow::Result<String> {
    let _permit = AT_ONCE.acquire().await?;
    tokio::task::spawn_blocking(move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))
    })
    .await?
}

/// Whether the password is the hashed one. Without a hash it takes as long and is false, so that
/// the time does not tell who exists.
pub async fn verify(password: String, hash: Option<String>) -> anyhow::Result<bool> {
    let _permit = AT_ONCE.acquire().await?;
    tokio::task::spawn_blocking(move || {
        let Some(hash) = hash else {
            let _ = Argon2::default().hash_password(password.as_bytes());
            return Ok(false);
        };
        let parsed = PasswordHash::new(&hash)
            .map_err(|error| anyhow::anyhow!("a stored password hash cannot be read: {error}"))?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
    })
    .await?
}

/// A password of 20 letters and digits that are hard to confuse: about 113 bits.
pub fn generate() -> String {
    const ALPHABET: &[u8; 50] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ234";
    let mut password = String::with_capacity(20);
    while password.len() < 20 {
        for byte in super::random::<32>() {
            // 250 is the largest multiple of 50 in a byte: above it the choice would not be even.
            if byte < 250 && password.len() < 20 {
                let index = usize::from(byte) % ALPHABET.len();
                password.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
            }
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_verifies() {
        let stored = hash("correct horse battery".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(verify("correct horse battery".to_owned(), Some(stored.clone())).await.unwrap());
        assert!(!verify("correct horse batterz".to_owned(), Some(stored)).await.unwrap());
        assert!(!verify("anything".to_owned(), None).await.unwrap());
    }

    #[test]
    fn generated_passwords_differ_and_are_long_enough() {
        assert_ne!(generate(), generate());
        assert!(generate().len() >= MIN_PASSWORD);
    }
}
