//! What lets somebody check the event log without trusting the server that holds it.
//!
//! The log is a Merkle tree over the leaf hashes of its records ([`crate::record`]); a sealer signs
//! the root of the tree now and then, and witnesses outside sign that they saw nothing taken back.
//! Proofs are made and checked by the same code, so that whoever audits, a witness and the browser
//! need nothing else.
//!
//! | Module | Promises | Taken from |
//! |---|---|---|
//! | [`bundle`] | the records of a tile, as a file | C2SP tlog-tiles, "Log entries", with one difference that it explains |
//! | `checkpoint` | what a log signs: origin, size and root | C2SP tlog-checkpoint |
//! | `event` | that one record is in the log, step by step | RFC 9162 §2.1.3 and the two above and below |
//! | `note` | text with signatures, keys as text | C2SP signed-note and tlog-cosignature |
//! | [`tile`] | the tree as files that never change | C2SP tlog-tiles, "Merkle Tree" |
//! | [`tree`] | roots, inclusion and consistency | RFC 9162 §2.1 |
//! | `witness` | which cosignatures are enough | C2SP tlog-policy |
//!
//! Those that read signatures need the feature `proof`, because Ed25519 in pure Rust is not something
//! that an agent ought to compile; trees and tiles are always there.
//!
//! Everything that reads what came from outside is total: it answers with an error, whatever the
//! bytes are, and never panics.
//!
//! Deliberately not here: private keys and signing (the server implements `note::Signer`), fetching
//! and storing tiles, the sealer's rule never to sign two histories, a clock (times of cosignatures
//! are given back, and whoever asks decides how old is too old), pruning, and the signature types
//! that we do not use (ECDSA, RFC 6962 tree heads, ML-DSA-44).

pub mod bundle;
#[cfg(feature = "proof")]
pub mod checkpoint;
#[cfg(feature = "proof")]
pub mod event;
#[cfg(feature = "proof")]
pub mod note;
pub mod tile;
pub mod tree;
#[cfg(feature = "proof")]
pub mod witness;

#[cfg(test)]
mod tests;
