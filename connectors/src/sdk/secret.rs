//! Values that must not be seen: they cannot be printed, and serialised only where a field says so.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::error::{Advice, ConnectorError, ErrorKind};

const HIDDEN: &str = "[secret]";

/// A secret text. `Debug` shows nothing of it, not even its length; memory is overwritten on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A random password: 28 letters and digits, 166 bits. No other characters, so that it survives
    /// connection strings, shells and forms.
    pub fn generate() -> Result<Self, ConnectorError> {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        const LENGTH: usize = 28;
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while text.len() < LENGTH {
            SystemRandom::new().fill(&mut *bytes).map_err(|_| {
                let message = "the system's random number generator failed";
                ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
            })?;
            // The low six bits index the alphabet; 62 and 63 are drawn again, or some characters
            // would be likelier than others.
            let drawn = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
            let missing = LENGTH - text.len();
            text.extend(drawn.take(missing).map(|&letter| char::from(letter)));
        }
        Ok(Self(text))
    }

    /// The secret itself. Call it where it leaves for the target or the secret table, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-secret": true })
    }
}

/// Secret bytes, such as a sealed before-state.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself: for encryption, nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A JSON value with secrets in it, such as whole credentials. Its texts are overwritten on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretJson(Value);

impl SecretJson {
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Reads JSON text, such as decrypted credentials.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    pub fn expose(&self) -> &Value {
        &self.0
    }

    /// Puts a secret at a JSON pointer, instead of what is there; there has to be something.
    pub fn put(&mut self, pointer: &str, secret: &SecretText) {
        self.put_public(pointer, Value::String(secret.expose().to_owned()));
    }

    /// The same with what is no secret, such as a reference to one.
    pub fn put_public(&mut self, pointer: &str, value: Value) {
        if let Some(place) = self.0.pointer_mut(pointer) {
            wipe(place);
            *place = value;
        }
    }
}

impl fmt::Debug for SecretJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The key under which secrets enter fingerprints.
///
/// Fingerprints are public, and some secrets are easy to guess (`md5` password hashes of PostgreSQL,
/// short passwords), so a plain hash of them could be searched. The key is secret and must stay the
/// same for the life of an installation: another key moves every fingerprint that holds a secret,
/// and plans and rollbacks made before would look drifted.
#[derive(Clone)]
pub struct DigestKey(hmac::Key);

impl DigestKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// HMAC-SHA-256 of a secret, as lower-case hexadecimal.
    pub fn digest(&self, secret: &SecretText) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"nexplane fingerprint secret v1\0");
        context.update(secret.expose().as_bytes());
        hex::encode(context.sign().as_ref())
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// `#[serde(with = "sealed")]`: the only way to serialise a secret, for before-states alone.
///
/// The text is written as `{"$secret": "…"}`, so that the layer finds every secret of a before-state
/// and keeps it out of messages and answers without being told.
pub mod sealed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::SecretText;

    /// Marks a secret inside sealed JSON.
    pub const KEY: &str = "$secret";

    #[derive(Serialize)]
    struct Out<'a> {
        #[serde(rename = "$secret")]
        secret: &'a str,
    }

    #[derive(Deserialize)]
    struct In {
        #[serde(rename = "$secret")]
        secret: SecretText,
    }

    pub fn serialize<S: Serializer>(secret: &SecretText, serializer: S) -> Result<S::Ok, S::Error> {
        Out { secret: secret.expose() }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
        In::deserialize(deserializer).map(|sealed| sealed.secret)
    }

    /// The same for a secret that may be absent.
    pub mod option {
        use super::{Deserialize, Deserializer, In, Out, SecretText, Serialize, Serializer};

        pub fn serialize<S: Serializer>(
            secret: &Option<SecretText>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            secret.as_ref().map(|secret| Out { secret: secret.expose() }).serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<SecretText>, D::Error> {
            Ok(Option::<In>::deserialize(deserializer)?.map(|sealed| sealed.secret))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Before {
        #[serde(with = "sealed")]
        password: SecretText,
        #[serde(with = "sealed::option")]
        old: Option<SecretText>,
    }

    #[test]
    fn a_secret_is_not_in_its_debug_text() {
        let text = SecretText::new("hunter2!".to_owned());
        let json = SecretJson::new(json!({ "password": "hunter2!" }));
        let bytes = SecretBytes::new(b"hunter2!".to_vec());
        let key = DigestKey::new(&[7; 32]);
        assert_eq!(format!("{text:?}{json:?}{bytes:?}{key:?}"), HIDDEN.repeat(4));
    }

    #[test]
    fn a_secret_is_put_where_something_stood_for_it() {
        let mut json = SecretJson::new(json!({ "a": { "b": {} }, "c": 1 }));
        for pointer in ["/a/b", "/d"] {
            json.put(pointer, &SecretText::new("hunter2!".to_owned()));
        }
        assert_eq!(*json.expose(), json!({ "a": { "b": "hunter2!" }, "c": 1 }));
    }

    #[test]
    fn sealed_secrets_come_back_and_are_marked() {
        let before = Before { password: SecretText::new("a".to_owned()), old: None };
        let value = serde_json::to_value(&before).unwrap();
        assert_eq!(value, json!({ "password": { "$secret": "a" }, "old": null }));
        let back: Before = serde_json::from_value(value).unwrap();
        assert_eq!(back.password.expose(), "a");
        assert!(back.old.is_none());
    }

    #[test]
    fn generated_passwords_are_long_and_never_the_same() {
        let passwords: Vec<_> = (0..50).map(|_| SecretText::generate().unwrap()).collect();
        let different: std::collections::BTreeSet<_> =
            passwords.iter().map(|password| password.expose().to_owned()).collect();
        assert_eq!(different.len(), 50);
        for password in different {
            assert_eq!(password.len(), 28);
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn equal_secrets_have_equal_digests_under_one_key_only() {
        let secret = SecretText::new("md5abc".to_owned());
        let key = DigestKey::new(&[1; 32]);
        assert_eq!(key.digest(&secret), key.digest(&secret.clone()));
        assert_ne!(key.digest(&secret), DigestKey::new(&[2; 32]).digest(&secret));
        assert_ne!(key.digest(&secret), key.digest(&SecretText::new("md5abd".to_owned())));
    }
}
