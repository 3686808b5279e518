//! Session tokens: JWTs (RFC 7519) with one algorithm, EdDSA over Ed25519 (RFC 8037).
//!
//! Deliberately absent: any choice of algorithm. The header has to be, byte for byte, the one that
//! is written here, so that there is nothing to confuse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexplane_core::id::PersonId;
use nexplane_core::time::Timestamp;
use ring::signature::{self, Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The person.
    pub sub: PersonId,
    /// The session in the database, which can be ended at any moment.
    pub sid: Uuid,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("this is not a session token of this installation")]
    Invalid,
    #[error("the session token has expired")]
    Expired,
}

#[derive(Debug)]
pub struct JwtKey(Ed25519KeyPair);

impl JwtKey {
    /// A new key in PKCS#8.
    pub fn generate() -> Vec<u8> {
        Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .expect("the operating system's random numbers are available once it has booted")
            .as_ref()
            .to_vec()
    }

    pub fn from_pkcs8(der: &[u8]) -> Result<Self, ring::error::KeyRejected> {
        Ed25519KeyPair::from_pkcs8(der).map(Self)
    }

    pub fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are numbers and UUIDs");
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The claims of a token that this key signed. The session still has to be looked up.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, JwtError> {
        let claims = self.verify_signature(token)?;
        if claims.exp.saturating_mul(1_000_000) <= now.as_micros() {
            return Err(JwtError::Expired);
        }
        Ok(claims)
    }

    /// The same without looking at the time: for renewing a token whose session lasts.
    pub fn verify_signature(&self, token: &str) -> Result<Claims, JwtError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Invalid)?;
        if header != URL_SAFE_NO_PAD.encode(HEADER) {
            return Err(JwtError::Invalid);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Invalid)?;
        signature::UnparsedPublicKey::new(&signature::ED25519, self.0.public_key())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| JwtError::Invalid)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| JwtError::Invalid)?;
        serde_json::from_slice(&claims).map_err(|_| JwtError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> JwtKey {
        JwtKey::from_pkcs8(&JwtKey::generate()).unwrap()
    }

    fn claims() -> Claims {
        Claims { sub: PersonId(Uuid::nil()), sid: Uuid::nil(), iat: 100, exp: 200 }
    }

    #[test]
    fn a_token_says_who_until_it_expires() {
        let (key, at) = (key(), |s: i64| Timestamp::from_micros(s * 1_000_000));
        let token = key.sign(&claims());
        assert_eq!(key.verify(&token, at(150)), Ok(claims()));
        assert_eq!(key.verify(&token, at(200)), Err(JwtError::Expired));
        assert_eq!(key.verify_signature(&token), Ok(claims()));
    }

    #[test]
    fn nobody_else_can_make_or_change_one() {
        let key = key();
        let token = key.sign(&claims());
        let now = Timestamp::from_micros(0);
        assert_eq!(self::key().verify(&token, now), Err(JwtError::Invalid));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let body = token.split('.').nth(1).unwrap();
        for forged in [
            format!("{none}.{body}."),
            format!("{none}.{body}.{}", token.rsplit('.').next().unwrap()),
            token.replace(body, &URL_SAFE_NO_PAD.encode(r#"{"sub":"x"}"#)),
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert_eq!(key.verify(&forged, now), Err(JwtError::Invalid), "{forged}");
        }
    }
}
