//! The vectors of Google's Certificate Transparency (`merkletree/merkle_verify_test` and, after it,
//! transparency-dev/merkle `proof/verify_test.go`): eight leaves, their roots, and proofs.

use crate::proof::tree::*;
use crate::record;

const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Index, size, proof.
const INCLUSION: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Old size, new size, proof.
const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| hash(text)).collect()
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&hex::decode(LEAVES[usize::try_from(index).unwrap()]).unwrap())
}

fn published_root(size: u64) -> Hash {
    hash(ROOTS[usize::try_from(size - 1).unwrap()])
}

/// Recomputes a complete subtree of the eight leaves from its leaves.
#[expect(clippy::unnecessary_wraps, reason = "the shape that proofs are made from")]
fn read(node: Node) -> Result<Hash, std::convert::Infallible> {
    let Some(level) = node.level.checked_sub(1) else { return Ok(leaf(node.index)) };
    let child = |index| read(Node { level, index }).unwrap();
    Ok(node_hash(&child(node.index * 2), &child(node.index * 2 + 1)))
}

#[test]
fn roots_are_the_published_ones() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), EMPTY_ROOT);
    assert_eq!(root(0, read), Ok(EMPTY_ROOT));
    for size in 1..=8 {
        frontier.append(leaf(size - 1)).unwrap();
        assert_eq!(frontier.root(), published_root(size));
        assert_eq!(root(size, read), Ok(published_root(size)));
    }
}

#[test]
fn inclusion_proofs_are_the_published_ones() {
    for (index, size, proof) in INCLUSION {
        let proof = hashes(proof);
        assert_eq!(inclusion_proof(index, size, read).as_ref(), Ok(&proof));
        let root = published_root(size);
        assert_eq!(verify_inclusion(index, size, &leaf(index), &proof, &root), Ok(()));
    }
}

#[test]
fn consistency_proofs_are_the_published_ones() {
    for (old, new, proof) in CONSISTENCY {
        let proof = hashes(proof);
        assert_eq!(consistency_proof(old, new, read).as_ref(), Ok(&proof));
        let (old_root, new_root) = (published_root(old), published_root(new));
        assert_eq!(verify_consistency(old, new, &old_root, &new_root, &proof), Ok(()));
    }
}

#[test]
fn spoiled_inclusion_proofs_are_refused() {
    let some = hash("abacaba000000000000000000000000000000000000000000060061e00123456");
    for (index, size, proof) in &INCLUSION[1..] {
        let (index, size, proof, root) = (*index, *size, hashes(proof), published_root(*size));
        let refused = |index, size, leaf: &Hash, proof: &[Hash], root: &Hash| {
            assert!(verify_inclusion(index, size, leaf, proof, root).is_err(), "{index} {size}");
        };
        for other in [index.wrapping_sub(1), index + 1, index ^ 2] {
            refused(other, size, &leaf(index), &proof, &root);
        }
        refused(index, size * 2, &leaf(index), &proof, &root);
        refused(index, size / 2, &leaf(index), &proof, &root);
        refused(index, size, &some, &proof, &root);
        refused(index, size, &leaf(index), &proof, &some);
        refused(index, size, &leaf(index), &proof, &EMPTY_ROOT);
        refused(index, size, &leaf(index), &[&proof[..], &[root]].concat(), &root);
        refused(index, size, &leaf(index), &[&[root], &proof[..]].concat(), &root);
        refused(index, size, &leaf(index), &proof[1..], &root);
        refused(index, size, &leaf(index), &proof[..proof.len() - 1], &root);
        for place in 0..proof.len() {
            let mut spoiled = proof.clone();
            spoiled[place][0] ^= 8;
            refused(index, size, &leaf(index), &spoiled, &root);
        }
    }
}

#[test]
fn spoiled_consistency_proofs_are_refused() {
    for (old, new, proof) in &CONSISTENCY[1..] {
        let (old, new, proof) = (*old, *new, hashes(proof));
        let (old_root, new_root) = (published_root(old), published_root(new));
        let refused = |old, new, old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
            let answer = verify_consistency(old, new, old_root, new_root, proof);
            assert!(answer.is_err(), "{old} {new}");
        };
        for other in [old - 1, old + 1, old ^ 2] {
            refused(other, new, &old_root, &new_root, &proof);
        }
        refused(old, new * 2, &old_root, &new_root, &proof);
        refused(old, new / 2, &old_root, &new_root, &proof);
        refused(old, new, &new_root, &old_root, &proof);
        refused(old, new, &EMPTY_ROOT, &new_root, &proof);
        refused(old, new, &old_root, &EMPTY_ROOT, &proof);
        refused(old, new, &old_root, &new_root, &[]);
        for extra in [old_root, new_root, proof[0]] {
            refused(old, new, &old_root, &new_root, &[&proof[..], &[extra]].concat());
            refused(old, new, &old_root, &new_root, &[&[extra], &proof[..]].concat());
        }
        refused(old, new, &old_root, &new_root, &proof[..proof.len() - 1]);
        for place in 0..proof.len() {
            let mut spoiled = proof.clone();
            spoiled[place][0] ^= 16;
            refused(old, new, &old_root, &new_root, &spoiled);
        }
    }
}

#[test]
fn what_the_rfc_leaves_open_is_decided_strictly() {
    let (one, two) = (published_root(1), published_root(2));
    assert_eq!(verify_consistency(0, 2, &EMPTY_ROOT, &two, &[]), Ok(()));
    assert_eq!(verify_consistency(0, 0, &EMPTY_ROOT, &EMPTY_ROOT, &[]), Ok(()));
    assert_eq!(verify_consistency(2, 2, &two, &two, &[]), Ok(()));
    assert_eq!(verify_consistency(0, 2, &one, &two, &[]), Err(BadProof::OldRoot));
    assert_eq!(verify_consistency(0, 0, &EMPTY_ROOT, &two, &[]), Err(BadProof::Root));
    assert_eq!(verify_consistency(2, 2, &two, &one, &[]), Err(BadProof::Root));
    let length = Err(BadProof::Length { found: 1 });
    assert_eq!(verify_consistency(0, 2, &EMPTY_ROOT, &two, &[one]), length);
    assert_eq!(verify_consistency(2, 2, &two, &two, &[one]), length);
    let shorter = Err(BadProof::OutOfRange(OutOfRange::Shorter { old: 2, new: 1 }));
    assert_eq!(verify_consistency(2, 1, &two, &one, &[]), shorter);
    let no_leaf = Err(BadProof::OutOfRange(OutOfRange::NoLeaf { index: 0, size: 0 }));
    assert_eq!(verify_inclusion(0, 0, &one, &[], &EMPTY_ROOT), no_leaf);
}

/// RFC 9162 §2.1.5 draws a tree of seven leaves and names the nodes of its proofs.
#[test]
fn proofs_have_the_nodes_of_the_rfc_s_example() {
    let node = |level, index| Node { level, index };
    // The path of d0 is b, h, l, where l is over i (d4, d5), j (d6).
    let path = vec![node(0, 1), node(1, 1), node(1, 2), node(0, 6)];
    assert_eq!(inclusion_nodes(0, 7), Ok(path));
    // The path of d6 is i, k.
    assert_eq!(inclusion_nodes(6, 7), Ok(vec![node(1, 2), node(2, 0)]));
    // From three leaves: c, d, g, l. From four: l. From six: i, j, k.
    let from_three = vec![node(0, 2), node(0, 3), node(1, 0), node(1, 2), node(0, 6)];
    assert_eq!(consistency_nodes(3, 7), Ok(from_three));
    assert_eq!(consistency_nodes(4, 7), Ok(vec![node(1, 2), node(0, 6)]));
    assert_eq!(consistency_nodes(6, 7), Ok(vec![node(1, 2), node(0, 6), node(2, 0)]));
    assert_eq!(root_nodes(7), Ok(vec![node(2, 0), node(1, 2), node(0, 6)]));
}

#[test]
fn a_tree_ends_at_two_to_the_63() {
    let too_large = OutOfRange::TooLarge { size: MAX_SIZE + 1 };
    assert_eq!(root_nodes(MAX_SIZE + 1), Err(too_large));
    assert_eq!(inclusion_nodes(0, MAX_SIZE + 1), Err(too_large));
    assert_eq!(consistency_nodes(1, MAX_SIZE + 1), Err(too_large));
    let proof = verify_inclusion(0, MAX_SIZE + 1, &EMPTY_ROOT, &[], &EMPTY_ROOT);
    assert_eq!(proof, Err(BadProof::OutOfRange(too_large)));
    let mut full = Frontier::try_from_parts(MAX_SIZE, vec![EMPTY_ROOT]).unwrap();
    assert_eq!(full.append(EMPTY_ROOT), Err(too_large));
    assert_eq!(full.size(), MAX_SIZE);
    assert_eq!(Node { level: 63, index: 0 }.complete_from(), Some(MAX_SIZE));
    assert_eq!(Node { level: 63, index: 1 }.complete_from(), None);
    assert_eq!(Node { level: 64, index: 0 }.complete_from(), None);
    assert_eq!(Node { level: 0, index: u64::MAX }.complete_from(), None);
}

#[test]
fn what_cannot_be_read_is_said() {
    let read = |node: Node| if node.level == 1 { Err("gone") } else { Ok(EMPTY_ROOT) };
    let node = Node { level: 1, index: 1 };
    assert_eq!(inclusion_proof(0, 4, read), Err(Unprovable::Unread { node, source: "gone" }));
}

#[test]
fn a_frontier_survives_being_written() {
    let mut frontier = Frontier::new();
    for index in 0..7 {
        frontier.append(leaf(index)).unwrap();
    }
    let text = serde_json::to_string(&frontier).unwrap();
    assert!(text.starts_with(r#"{"size":7,"peaks":["d37ee418"#), "{text}");
    let mut again: Frontier = serde_json::from_str(&text).unwrap();
    assert_eq!(again, frontier);
    again.append(leaf(7)).unwrap();
    assert_eq!(again.root(), published_root(8));
}

#[test]
fn a_frontier_of_no_tree_is_refused() {
    let peak = hex::encode(EMPTY_ROOT);
    for text in [
        format!(r#"{{"size":1,"peaks":["{peak}","{peak}"]}}"#),
        format!(r#"{{"size":3,"peaks":["{peak}"]}}"#),
        format!(r#"{{"size":1,"peaks":["{}"]}}"#, &peak[2..]),
        r#"{"size":1,"peaks":["x"]}"#.to_owned(),
        format!(r#"{{"size":{},"peaks":["{peak}","{peak}"]}}"#, MAX_SIZE + 1),
        r#"{"size":0,"peaks":[],"root":""}"#.to_owned(),
    ] {
        assert!(serde_json::from_str::<Frontier>(&text).is_err(), "{text}");
    }
}

#[test]
fn a_record_s_leaf_hash_is_that_of_the_tree() {
    let empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(record::leaf_hash(""), hash(empty));
    assert_eq!(record::leaf_hash("{}"), leaf_hash(b"{}"));
}
