//! That one record is in the log: from its bytes to a signed root, step by step.
//!
//! Whoever shows a proof wants to say which step holds and which does not; whoever judges one wants
//! an answer. Both are given by [`check`], so that the command line and the browser cannot disagree.
//!
//! What stands beside the record in an [`EventProof`] (hash, size, root) is there to be read by
//! people. It is compared with what is computed, and nothing is concluded from it.
//!
//! Deliberately not here: whether the key is the right one. It has to come from somewhere else than
//! the proof, and only its owner knows from where.

use super::checkpoint::{self, BadCheckpoint, Checkpoint, Unverified};
use super::note::{BadNote, Note, VerifierKey};
use super::tree::{self, BadProof, Hash};
use crate::api::EventProof;
use crate::record;

/// A step of a proof that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEventProof {
    #[error("the record is not the one with the hash that the log keeps for it")]
    Record,
    #[error("the path does not consist of hashes")]
    Path,
    #[error(transparent)]
    Inclusion(#[from] BadProof),
    #[error("the checkpoint is of another size")]
    Size,
    #[error("the proof names another root than its checkpoint")]
    NamedRoot,
    #[error(transparent)]
    Note(#[from] BadNote),
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    #[error(transparent)]
    Signature(#[from] Unverified),
    #[error("there is no key to check the signature with")]
    NoKey,
}

/// What was found about a proof. Each step is judged as far as it can be without the ones before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// `SHA-256(0x00 || record)`, computed.
    pub leaf: Hash,
    /// The computed hash is the one that the log keeps.
    pub record: Result<(), BadEventProof>,
    /// The root that the path leads to from the computed hash.
    pub path: Result<Hash, BadEventProof>,
    /// Origin, size and root as the note says them, whoever signed it.
    pub checkpoint: Result<Checkpoint, BadEventProof>,
    /// The path leads to the root of the checkpoint.
    pub root: Result<(), BadEventProof>,
    /// The key signed the checkpoint.
    pub signature: Result<(), BadEventProof>,
}

impl Checked {
    /// Everything holds: exactly this record is at its position in the log that the key signed.
    pub fn verdict(&self) -> Result<(), &BadEventProof> {
        self.signature.as_ref()?;
        self.root.as_ref()?;
        self.record.as_ref()?;
        Ok(())
    }
}

/// Checks a proof with the public key of the log. Total: it answers whatever the proof contains.
/// Without a key everything is checked but the signature, and the verdict is that there is none.
pub fn check(proof: &EventProof, key: Option<&VerifierKey>) -> Checked {
    let leaf = record::leaf_hash(&proof.record);
    let stated = hash(&proof.leaf_hash);
    let path = root_of(proof, &leaf);
    let note = Note::parse(proof.checkpoint.as_bytes()).map_err(BadEventProof::from);
    let checkpoint = match &note {
        Ok(note) => note.text().parse::<Checkpoint>().map_err(BadEventProof::from),
        Err(bad) => Err(bad.clone()),
    };
    let signature = match (&note, key) {
        (Ok(note), Some(key)) => {
            checkpoint::verify(note, key).map(drop).map_err(BadEventProof::from)
        }
        (Ok(_), None) => Err(BadEventProof::NoKey),
        (Err(bad), _) => Err(bad.clone()),
    };
    Checked {
        leaf,
        record: if stated == Some(leaf) { Ok(()) } else { Err(BadEventProof::Record) },
        root: same_root(proof, &path, &checkpoint),
        path,
        checkpoint,
        signature,
    }
}

fn hash(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}

fn root_of(proof: &EventProof, leaf: &Hash) -> Result<Hash, BadEventProof> {
    let path: Option<Vec<Hash>> = proof.path.iter().map(|text| hash(text)).collect();
    let path = path.ok_or(BadEventProof::Path)?;
    Ok(tree::root_from_inclusion(proof.position, proof.size, leaf, &path)?)
}

fn same_root(
    proof: &EventProof,
    path: &Result<Hash, BadEventProof>,
    checkpoint: &Result<Checkpoint, BadEventProof>,
) -> Result<(), BadEventProof> {
    let (path, checkpoint) = match (path, checkpoint) {
        (Ok(path), Ok(checkpoint)) => (path, checkpoint),
        (Err(bad), _) | (_, Err(bad)) => return Err(bad.clone()),
    };
    if checkpoint.size() != proof.size {
        return Err(BadEventProof::Size);
    }
    if path != checkpoint.root() {
        return Err(BadProof::Root.into());
    }
    if hash(&proof.root).as_ref() == Some(path) { Ok(()) } else { Err(BadEventProof::NamedRoot) }
}
