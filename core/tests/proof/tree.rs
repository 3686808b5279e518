use ct_merkle::mem_backed_tree::MemoryBackedTree;
use nexplane_core::proof::tree::*;
use proptest::prelude::*;
use proptest::sample::Index;
use sha2::Sha256;

use crate::{Tree, cases, k, leaf, mth};

/// Where an inclusion proof leads, from the definition of `PATH` in RFC 9162 §2.1.3.1.
fn climb(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return proof.is_empty().then_some(leaf);
    }
    let (sibling, below) = proof.split_last()?;
    let k = k(size);
    if index < k {
        Some(node_hash(&climb(index, k, leaf, below)?, sibling))
    } else {
        Some(node_hash(sibling, &climb(index - k, size - k, leaf, below)?))
    }
}

/// Where a consistency proof leads, for the old and the new tree, from the definition of `SUBPROOF`
/// in RFC 9162 §2.1.4.1.
fn rebuild(old: u64, new: u64, known: Option<Hash>, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if old == new {
        let hash = match (known, proof) {
            (Some(known), []) => known,
            (None, [hash]) => *hash,
            _ => return None,
        };
        return Some((hash, hash));
    }
    let (sibling, below) = proof.split_last()?;
    let k = k(new);
    if old <= k {
        let (old_hash, new_hash) = rebuild(old, k, known, below)?;
        Some((old_hash, node_hash(&new_hash, sibling)))
    } else {
        let (old_hash, new_hash) = rebuild(old - k, new - k, None, below)?;
        Some((node_hash(sibling, &old_hash), node_hash(sibling, &new_hash)))
    }
}

fn includes(index: u64, size: u64, leaf: Hash, proof: &[Hash], root: Hash) -> bool {
    (1..=MAX_SIZE).contains(&size) && index < size && climb(index, size, leaf, proof) == Some(root)
}

fn continues(old: u64, new: u64, roots: (Hash, Hash), proof: &[Hash]) -> bool {
    match old {
        _ if old > new || new > MAX_SIZE => false,
        0 => proof.is_empty() && roots.0 == EMPTY_ROOT && (new > 0 || roots.1 == EMPTY_ROOT),
        _ => rebuild(old, new, Some(roots.0), proof) == Some(roots),
    }
}

/// What can be done to a proof.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index, usize, u8),
    Drop(Index),
    Add(Index, Hash),
    Swap(Index, Index),
}

impl Harm {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<Index>(), 0..32_usize, 0..8_u8)
                .prop_map(|(at, byte, bit)| Self::Flip(at, byte, bit)),
            any::<Index>().prop_map(Self::Drop),
            (any::<Index>(), any::<Hash>()).prop_map(|(at, hash)| Self::Add(at, hash)),
            any::<(Index, Index)>().prop_map(|(one, other)| Self::Swap(one, other)),
        ]
    }

    fn done_to(&self, proof: &[Hash]) -> Vec<Hash> {
        let mut proof = proof.to_vec();
        match self {
            Self::Add(at, hash) => proof.insert(at.index(proof.len() + 1), *hash),
            _ if proof.is_empty() => proof.push([0; 32]),
            Self::Flip(at, byte, bit) => {
                let at = at.index(proof.len());
                proof[at][*byte] ^= 1 << bit;
            }
            Self::Drop(at) => {
                proof.remove(at.index(proof.len()));
            }
            Self::Swap(one, other) => {
                let (one, other) = (one.index(proof.len()), other.index(proof.len()));
                proof.swap(one, other);
            }
        }
        proof
    }
}

/// All proofs of a tree are right and are those that the definitions lead back from.
fn check_all(size: u64) {
    let tree = Tree::of_size(size);
    let read = |node| tree.read(node);
    let root = mth(tree.leaves(size));
    for index in 0..size {
        let proof = inclusion_proof(index, size, read).unwrap();
        assert_eq!(climb(index, size, leaf(index), &proof), Some(root), "{index} {size}");
        assert_eq!(verify_inclusion(index, size, &leaf(index), &proof, &root), Ok(()));
    }
    let mut frontier = Frontier::new();
    for old in 0..=size {
        let old_root = frontier.root();
        let proof = consistency_proof(old, size, read).unwrap();
        assert!(continues(old, size, (old_root, root), &proof), "{old} {size}");
        assert_eq!(verify_consistency(old, size, &old_root, &root, &proof), Ok(()));
        if old < size {
            frontier.append(leaf(old)).unwrap();
        }
    }
    assert_eq!(frontier.root(), root);
    assert_eq!(nexplane_core::proof::tree::root(size, read), Ok(root));
}

#[test]
fn all_proofs_of_small_and_round_sizes_verify() {
    (0..=40).chain([127, 128, 129, 255, 256, 257, 511, 512, 513, 600]).for_each(check_all);
}

#[test]
fn all_harm_to_proofs_of_small_trees_is_noticed() {
    for size in 1..=13 {
        let tree = Tree::of_size(size);
        let root = mth(tree.leaves(size));
        for index in 0..size {
            let proof = inclusion_proof(index, size, |node| tree.read(node)).unwrap();
            for place in 0..proof.len() {
                for byte in [0, 1, 15, 31] {
                    let mut harmed = proof.clone();
                    harmed[place][byte] ^= 1;
                    assert!(verify_inclusion(index, size, &leaf(index), &harmed, &root).is_err());
                }
            }
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(verify_inclusion(other, size, &leaf(index), &proof, &root).is_err());
                assert!(verify_inclusion(index, size, &leaf(other), &proof, &root).is_err());
            }
            // The root decides, not the size: see the module.
            for other in 0..40 {
                let answer = verify_inclusion(index, other, &leaf(index), &proof, &root).is_ok();
                assert_eq!(answer, includes(index, other, leaf(index), &proof, root));
            }
        }
        for old in 1..=size {
            let proof = consistency_proof(old, size, |node| tree.read(node)).unwrap();
            let old_root = mth(tree.leaves(old));
            for place in 0..proof.len() {
                for byte in [0, 1, 15, 31] {
                    let mut harmed = proof.clone();
                    harmed[place][byte] ^= 1;
                    assert!(verify_consistency(old, size, &old_root, &root, &harmed).is_err());
                }
            }
            for (other_old, other_new) in (0..20).flat_map(|old| (0..20).map(move |new| (old, new)))
            {
                let answer = verify_consistency(other_old, other_new, &old_root, &root, &proof);
                assert_eq!(
                    answer.is_ok(),
                    continues(other_old, other_new, (old_root, root), &proof),
                    "{old} {size} as {other_old} {other_new}"
                );
            }
        }
    }
}

/// Compared with the crate ct-merkle, which follows RFC 6962 and shares no code with ours.
#[test]
fn another_implementation_makes_the_same_proofs() {
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let ours = Tree::of_size(600);
    let read = |node| ours.read(node);
    for size in 1..=600_u64 {
        theirs.push((size - 1).to_be_bytes().to_vec());
        assert_eq!(root(size, read).unwrap()[..], theirs.root().as_bytes()[..]);
        // A few of each size, moving with it, make a few thousand.
        for other in [0, size / 3, size / 2, size - 1, size * 7 % size.max(5) % size] {
            let proof = inclusion_proof(other, size, read).unwrap();
            let place = usize::try_from(other).unwrap();
            assert_eq!(proof.concat(), theirs.prove_inclusion(place).as_bytes());
        }
        for old in [1, size / 3, size / 2, size - 1, size] {
            if old > 0 {
                let proof = consistency_proof(old, size, read).unwrap();
                let added = usize::try_from(size - old).unwrap();
                assert_eq!(proof.concat(), theirs.prove_consistency(added).as_bytes());
            }
        }
    }
}

/// In a tree of equal leaves all nodes of a level are the same, so that any size can be made.
#[test]
fn proofs_reach_to_two_to_the_63() {
    let levels: Vec<Hash> =
        std::iter::successors(Some(leaf(0)), |hash| Some(node_hash(hash, hash))).take(64).collect();
    let read = |node: Node| levels.get(usize::from(node.level)).copied().ok_or(());
    let sizes =
        [MAX_SIZE, MAX_SIZE - 1, MAX_SIZE / 2 + 1, (1 << 40) + 12_345, 0x5555_5555_5555_5555];
    for size in sizes {
        let new_root = root(size, read).unwrap();
        for other in [0, 1, size / 3, size / 2, size - 2, size - 1] {
            let proof = inclusion_proof(other, size, read).unwrap();
            assert_eq!(verify_inclusion(other, size, &leaf(0), &proof, &new_root), Ok(()));
            assert!(verify_inclusion(other, size, &leaf(1), &proof, &new_root).is_err());
            let old_root = root(other, read).unwrap();
            let proof = consistency_proof(other, size, read).unwrap();
            assert_eq!(verify_consistency(other, size, &old_root, &new_root, &proof), Ok(()));
            assert!(verify_consistency(other, size, &leaf(1), &new_root, &proof).is_err());
        }
    }
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn all_proofs_of_any_size_verify(size in 1..=600_u64) {
        check_all(size);
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn harmed_inclusion_proofs_are_refused(
        size in 1..=600_u64,
        index: Index,
        harm in Harm::any(),
        other_index in 0..700_u64,
        other_size in 0..700_u64,
        noise: Hash,
    ) {
        let tree = Tree::of_size(size);
        let index = index.index(usize::try_from(size).unwrap()) as u64;
        let (root, leaf) = (mth(tree.leaves(size)), leaf(index));
        let proof = inclusion_proof(index, size, |node| tree.read(node)).unwrap();
        let harmed = harm.done_to(&proof);
        if harmed != proof {
            prop_assert!(verify_inclusion(index, size, &leaf, &harmed, &root).is_err());
        }
        if other_index != index {
            prop_assert!(verify_inclusion(other_index, size, &leaf, &proof, &root).is_err());
        }
        prop_assert!(verify_inclusion(index, size, &noise, &proof, &root).is_err());
        prop_assert!(verify_inclusion(index, size, &leaf, &proof, &noise).is_err());
        for proof in [&proof, &harmed] {
            let answer = verify_inclusion(other_index, other_size, &leaf, proof, &root).is_ok();
            prop_assert_eq!(answer, includes(other_index, other_size, leaf, proof, root));
        }
    }

    #[test]
    fn harmed_consistency_proofs_are_refused(
        new in 1..=600_u64,
        old: Index,
        harm in Harm::any(),
        other_old in 0..700_u64,
        other_new in 0..700_u64,
        noise: Hash,
    ) {
        let tree = Tree::of_size(new);
        let old = old.index(usize::try_from(new + 1).unwrap()) as u64;
        let roots = (mth(tree.leaves(old)), mth(tree.leaves(new)));
        let proof = consistency_proof(old, new, |node| tree.read(node)).unwrap();
        let harmed = harm.done_to(&proof);
        if harmed != proof {
            prop_assert!(verify_consistency(old, new, &roots.0, &roots.1, &harmed).is_err());
        }
        prop_assert!(verify_consistency(old, new, &noise, &roots.1, &proof).is_err());
        if old > 0 {
            prop_assert!(verify_consistency(old, new, &roots.0, &noise, &proof).is_err());
        }
        for proof in [&proof, &harmed] {
            let answer = verify_consistency(other_old, other_new, &roots.0, &roots.1, proof);
            prop_assert_eq!(answer.is_ok(), continues(other_old, other_new, roots, proof));
        }
    }

    #[test]
    fn nothing_panics_and_nonsense_proves_nothing(
        one: u64,
        other: u64,
        shift in 0..64_u32,
        proof in prop::collection::vec(any::<Hash>(), 0..130),
        hashes: (Hash, Hash),
    ) {
        for (small, large) in [(one, other), (one >> shift, other >> shift), (one >> 63, one >> 1)] {
            let answer = verify_inclusion(small, large, &hashes.0, &proof, &hashes.1);
            prop_assert_eq!(answer.is_ok(), includes(small, large, hashes.0, &proof, hashes.1));
            let answer = verify_consistency(small, large, &hashes.0, &hashes.1, &proof);
            prop_assert_eq!(answer.is_ok(), continues(small, large, hashes, &proof));
            if let Ok(nodes) = inclusion_nodes(small, large) {
                prop_assert!(nodes.iter().all(|node| node.complete_from() <= Some(large)));
            }
            if let Ok(nodes) = consistency_nodes(small, large) {
                prop_assert!(nodes.iter().all(|node| node.complete_from() <= Some(large)));
            }
        }
    }

    #[test]
    fn a_frontier_is_the_tree_so_far(size in 0..=600_u64, stop: Index) {
        let stop = stop.index(usize::try_from(size + 1).unwrap()) as u64;
        let tree = Tree::of_size(size);
        let mut frontier = Frontier::new();
        let mut made = Vec::new();
        for index in 0..size {
            if index == stop {
                let text = serde_json::to_string(&frontier).unwrap();
                frontier = serde_json::from_str(&text).unwrap();
            }
            frontier.append_each(leaf(index), |node, hash| made.push((node, hash))).unwrap();
        }
        prop_assert_eq!(frontier.size(), size);
        prop_assert_eq!(frontier.root(), mth(tree.leaves(size)));
        let peaks: Vec<_> =
            root_nodes(size).unwrap().into_iter().map(|node| tree.read(node).unwrap()).collect();
        prop_assert_eq!(frontier.peaks(), &peaks);
        let again = Frontier::try_from_parts(size, peaks);
        prop_assert_eq!(again.as_ref(), Ok(&frontier));
        // Every complete subtree was told of once, and rightly.
        let all: usize = tree.levels.iter().map(Vec::len).sum();
        prop_assert_eq!(made.len(), all);
        for (node, hash) in made {
            prop_assert_eq!(tree.read(node), Ok(hash));
        }
    }
}
