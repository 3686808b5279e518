//! Secrets at rest.
pub(crate) mod crypto;
