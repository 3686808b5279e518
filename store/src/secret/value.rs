//! A value that cannot be shown by accident.

use std::fmt;
use std::str::{self, Utf8Error};

use zeroize::Zeroizing;

/// The bytes of a secret. They are wiped from memory when dropped, print as `***`, and have neither
/// `Display` nor `Serialize`: a secret cannot end up in a log, an event or an answer unless
/// somebody writes `expose`.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself. Do not keep copies of it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text; the error tells the place of the first bad byte and nothing of the value.
    pub fn expose_str(&self) -> Result<&str, Utf8Error> {
        str::from_utf8(&self.0)
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretBytes::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "*** ***");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(***)");
    }
}
