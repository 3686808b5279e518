//! A proof of one record, and what is found when a part of it is another.

use super::Pair;
use crate::api::EventProof;
use crate::proof::checkpoint::{Checkpoint, Unverified};
use crate::proof::event::*;
use crate::proof::note::{NotVerified, Note, SignatureType, VerifierKey};
use crate::proof::tree::{self, BadProof, Node};

const ORIGIN: &str = "nexplane/example";
const SIZE: u64 = 11;

fn record(position: u64) -> String {
    format!("{{\"version\":{position}}}")
}

fn key() -> VerifierKey {
    Pair::from_seed(1).key(ORIGIN, SignatureType::Ed25519)
}

/// Level by level; only of the complete subtrees, which are all that are asked for.
fn node(Node { level, index }: Node) -> Result<tree::Hash, ()> {
    Ok(match level.checked_sub(1) {
        None => tree::leaf_hash(record(index).as_bytes()),
        Some(level) => {
            let child = |index| node(Node { level, index });
            tree::node_hash(&child(2 * index)?, &child(2 * index + 1)?)
        }
    })
}

fn proof(position: u64) -> EventProof {
    let root = tree::root(SIZE, node).unwrap();
    let checkpoint = Checkpoint::try_new(ORIGIN, SIZE, root, Vec::new()).unwrap();
    let signature = checkpoint.sign(&key(), &Pair::from_seed(1)).unwrap();
    let note = Note::try_new(checkpoint.to_string(), vec![signature]).unwrap();
    let path = tree::inclusion_proof(position, SIZE, node).unwrap();
    let record = record(position);
    EventProof {
        position,
        leaf_hash: hex::encode(tree::leaf_hash(record.as_bytes())),
        record,
        size: SIZE,
        root: hex::encode(root),
        path: path.iter().map(hex::encode).collect(),
        checkpoint: note.to_string(),
    }
}

#[test]
fn every_record_is_proven() {
    for position in 0..SIZE {
        let proof = proof(position);
        let checked = check(&proof, Some(&key()));
        assert_eq!(checked.verdict(), Ok(()), "{position}");
        assert_eq!(hex::encode(checked.leaf), proof.leaf_hash);
        assert_eq!(checked.path.map(hex::encode), Ok(proof.root));
        assert_eq!(checked.checkpoint.unwrap().size(), SIZE);
    }
}

#[test]
fn another_record_leads_elsewhere() {
    let mut changed = proof(4);
    changed.record = record(40);
    let checked = check(&changed, Some(&key()));
    assert_eq!(checked.record, Err(BadEventProof::Record));
    assert!(checked.path.is_ok(), "it leads somewhere");
    assert_eq!(checked.root, Err(BadProof::Root.into()));
    assert_eq!(checked.signature, Ok(()), "which is not the signature's fault");
    assert_eq!(checked.verdict(), Err(&BadProof::Root.into()));

    // Whoever forges the hash as well gets no further.
    changed.leaf_hash = hex::encode(tree::leaf_hash(changed.record.as_bytes()));
    let checked = check(&changed, Some(&key()));
    assert_eq!(checked.record, Ok(()));
    assert_eq!(checked.root, Err(BadProof::Root.into()));
}

#[test]
fn another_key_has_not_signed() {
    let other = Pair::from_seed(2).key(ORIGIN, SignatureType::Ed25519);
    let checked = check(&proof(4), Some(&other));
    let unknown = BadEventProof::from(Unverified::from(NotVerified::NoKnownKey));
    assert_eq!(checked.signature, Err(unknown.clone()));
    assert_eq!(checked.root, Ok(()), "the tree is whole");
    assert_eq!(checked.verdict(), Err(&unknown));
}

#[test]
fn without_a_key_the_tree_is_checked_all_the_same() {
    let checked = check(&proof(4), None);
    assert_eq!(checked.root, Ok(()));
    assert_eq!(checked.verdict(), Err(&BadEventProof::NoKey));
}

#[test]
fn what_is_said_beside_the_proof_has_to_fit() {
    let check_with = |change: fn(&mut EventProof)| {
        let mut proof = proof(4);
        change(&mut proof);
        check(&proof, Some(&key()))
    };
    let moved = check_with(|proof| proof.position = 5);
    assert_eq!(moved.root, Err(BadProof::Root.into()));
    let hash = check_with(|proof| proof.leaf_hash = "00".repeat(32));
    assert_eq!(hash.verdict(), Err(&BadEventProof::Record));
    let root = check_with(|proof| proof.root = "00".repeat(32));
    assert_eq!(root.verdict(), Err(&BadEventProof::NamedRoot));
    let size = check_with(|proof| proof.size = 12);
    assert!(size.verdict().is_err());
    let path = check_with(|proof| proof.path[1] = "no hash".to_owned());
    assert_eq!(path.verdict(), Err(&BadEventProof::Path));
    let short = check_with(|proof| drop(proof.path.pop()));
    assert_eq!(short.verdict(), Err(&BadProof::Length { found: 3 }.into()));
}

#[test]
fn a_checkpoint_that_was_changed_is_not_signed() {
    let mut changed = proof(4);
    changed.checkpoint = changed.checkpoint.replacen("\n11\n", "\n12\n", 1);
    let checked = check(&changed, Some(&key()));
    assert!(matches!(checked.signature, Err(BadEventProof::Signature(_))));
    assert_eq!(checked.root, Err(BadEventProof::Size));
    changed.checkpoint = "no note".to_owned();
    let checked = check(&changed, Some(&key()));
    assert!(matches!(checked.verdict(), Err(BadEventProof::Note(_))));
    assert!(checked.checkpoint.is_err());
}
