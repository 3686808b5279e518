//! All cryptography of this crate that uses a key or a password, and random bytes; all by ring.
//! Secrets are sealed with AES-256-GCM (NIST SP 800-38D).
//!
//! A sealed value is `nonce (12 bytes) || ciphertext || tag (16 bytes)`. The nonce is random: a data
//! key seals one value only, and a key-encryption key may wrap 2³² data keys before nonces are
//! likely enough to collide (SP 800-38D, 8.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Length of every key in bytes.
pub(super) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// A 256-bit key; wiped from memory when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// No reason is given: why a value does not open helps only an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CryptoError;

/// A new random key.
pub(super) fn random_key() -> Result<Key, CryptoError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(key.as_mut_slice()).map_err(|_| CryptoError)?;
    Ok(key)
}

/// 192 random bits as 48 hexadecimal digits, for generated passwords.
pub(crate) fn random_text() -> Result<String, CryptoError> {
    let mut bytes = Zeroizing::new([0; 24]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| CryptoError)?;
    Ok(hex::encode(bytes.as_slice()))
}

/// The first 64 bits of a hash of the key: names it and tells nothing about it.
pub(super) fn fingerprint(key: &Key) -> [u8; 8] {
    let text = Zeroizing::new([b"nexplane key id v1\0".as_slice(), key.as_slice()].concat());
    let mut short = [0; 8];
    for (to, from) in short.iter_mut().zip(digest(&SHA256, &text).as_ref()) {
        *to = *from;
    }
    short
}

/// Seals `plain` so that it opens only with the same key and the same `context`.
pub(super) fn seal(key: &Key, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| CryptoError)?;
    // All of it at once: growing would leave copies of the plain text behind.
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let (_, body) = sealed.split_at_mut(NONCE_LEN);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), body)
        .map_err(|_| CryptoError)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what [`seal`] made; fails when anything at all differs.
pub(super) fn open(
    key: &Key,
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(CryptoError)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = cipher(key)?
        .open_in_place(nonce, Aad::from(context), &mut body)
        .map_err(|_| CryptoError)?
        .len();
    body.truncate(length);
    Ok(body)
}

/// What PostgreSQL keeps of a password, made with one iteration (RFC 5802, section 3; format as in
/// the catalog `pg_authid`). Iterations slow down guessing, and nobody guesses [`random_text`]; the
/// usual 4096 cost every connection of an unoptimised client some 50 ms.
pub(crate) fn scram_verifier(password: &str) -> Result<String, CryptoError> {
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text);
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| CryptoError)?;
    let first_block = [salt.as_slice(), &1_u32.to_be_bytes()].concat();
    let salted = mac(password.as_bytes(), &first_block);
    let client = mac(salted.as_ref(), b"Client Key");
    let stored = digest(&SHA256, client.as_ref());
    let server = mac(salted.as_ref(), b"Server Key");
    let [salt, stored, server] =
        [salt.as_slice(), stored.as_ref(), server.as_ref()].map(|bytes| STANDARD.encode(bytes));
    Ok(format!("SCRAM-SHA-256$1:{salt}${stored}:{server}"))
}

/// A key out of bytes of the right length.
pub(super) fn key_from(bytes: &[u8]) -> Option<Key> {
    Some(Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes).ok()?))
}

fn cipher(key: &Key) -> Result<LessSafeKey, CryptoError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| CryptoError)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_unchanged_and_in_its_context() {
        let key = random_key().unwrap();
        let sealed = seal(&key, b"context", b"value").unwrap();
        assert_eq!(open(&key, b"context", &sealed).unwrap().as_slice(), b"value");
        assert_eq!(open(&key, b"other", &sealed), Err(CryptoError));
        assert_eq!(open(&random_key().unwrap(), b"context", &sealed), Err(CryptoError));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(open(&key, b"context", &changed), Err(CryptoError), "byte {place}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&key, b"context", &sealed[..length]), Err(CryptoError));
        }
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let key = random_key().unwrap();
        assert_ne!(seal(&key, b"", b"value").unwrap(), seal(&key, b"", b"value").unwrap());
        assert_ne!(random_text().unwrap(), random_text().unwrap());
    }
}
