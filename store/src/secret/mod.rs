//! Secrets at rest: envelope encryption in the tables `secrets` and `secret_versions`.
//!
//! Each version of a secret is sealed with a fresh 256-bit data key (AES-256-GCM), and the data key
//! is wrapped by the current key of a [`Keyring`]. Both are bound to the secret's id, its version
//! and its owner: an owner who asks for another's secret, or a row that was moved in the database,
//! opens nothing. Renewing the key-encryption key rewraps data keys; the values stay untouched.
//!
//! Functions take an executor or a connection, so that a caller writes a secret in the transaction
//! of whatever refers to it.
//!
//! What this part does not do: it decides nothing about who owns what, and it records nothing; the
//! caller appends the audit event of every decryption. It does not hide lengths, names or owners,
//! and whoever can write to the database can delete a secret or bring back an older version of it.

pub(crate) mod crypto;
mod keyring;
mod store;
mod value;

pub use keyring::{KeyId, Keyring, KeyringError};
pub use store::{KekRotation, KeyUse, SealedSecret, SecretError, SecretStore};
pub use value::SecretBytes;
