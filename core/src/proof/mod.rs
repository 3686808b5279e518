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
//! | [`tile`] | the tree as files that never change | C2SP tlog-tiles, "Merkle Tree" |
//! | [`tree`] | roots, inclusion and consistency | RFC 9162 §2.1 |
//!
//! Everything that reads what came from outside is total: it answers with an error, whatever the
//! bytes are, and never panics.
//!
//! Deliberately not here: storing and fetching, and keys.

pub mod bundle;
pub mod tile;
pub mod tree;

#[cfg(test)]
mod tests;
