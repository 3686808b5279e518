//! Properties of Merkle trees, tiles and texts of any size, against an implementation that follows
//! the definitions word for word, and against one by somebody else.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "this program only tests: what does not hold in its helpers either fails the test"
)]

#[cfg(feature = "proof")]
mod note;
mod tile;
mod tree;

use nexplane_core::proof::tree::{EMPTY_ROOT, Hash, Node, leaf_hash, node_hash};
use proptest::prelude::*;

/// A tree in memory: every complete subtree, by level.
struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Leaf `n` is the entry of eight bytes `n`, so that no two leaves are the same.
    fn of_size(size: u64) -> Self {
        let mut row: Vec<_> = (0..size).map(leaf).collect();
        let mut levels = Vec::new();
        while !row.is_empty() {
            let above = row.as_chunks().0.iter().map(|[left, right]| node_hash(left, right));
            let above = above.collect();
            levels.push(std::mem::replace(&mut row, above));
        }
        Self { levels }
    }

    fn read(&self, node: Node) -> Result<Hash, &'static str> {
        let row = self.levels.get(usize::from(node.level)).ok_or("no such level")?;
        let index = usize::try_from(node.index).map_err(|_| "no such node")?;
        row.get(index).copied().ok_or("no such node")
    }

    fn leaves(&self, size: u64) -> &[Hash] {
        let size = usize::try_from(size).expect("the tree is in memory");
        self.levels.first().map_or(&[], |leaves| &leaves[..size])
    }
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

/// The largest power of two smaller than `size`, found by counting.
fn k(size: u64) -> u64 {
    (0..63).map(|level| 1 << level).take_while(|power| *power < size).last().expect("two leaves")
}

/// `MTH`, word for word from RFC 9162 §2.1.1.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        leaves => {
            let (left, right) =
                leaves.split_at(usize::try_from(k(leaves.len() as u64)).expect("small"));
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig::with_cases(cases)
}
