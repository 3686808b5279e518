//! The Merkle tree of RFC 9162 §2.1, with SHA-256.
//!
//! | Here | In RFC 9162 |
//! |---|---|
//! | [`leaf_hash`], [`node_hash`], [`EMPTY_ROOT`], [`root`], [`Frontier`] | §2.1.1, the tree's head |
//! | [`inclusion_proof`] | §2.1.3.1, `PATH(m, D_n)` |
//! | [`verify_inclusion`] | §2.1.3.2 |
//! | [`consistency_proof`] | §2.1.4.1, `PROOF(m, D_n)` |
//! | [`verify_consistency`] | §2.1.4.2 |
//!
//! Proofs are made from the hashes of complete subtrees ([`Node`]), which a closure reads from
//! wherever they are: from memory, or from tiles ([`super::tile::reader`]). Whoever cannot read
//! while it is asked takes the list of nodes first ([`inclusion_nodes`] and its like). Making and
//! checking a proof costs O(log n) hashes. Sizes go to 2⁶³ ([`MAX_SIZE`]) and nothing overflows on
//! the way.
//!
//! What a proof does not say: a proof of inclusion speaks about a root, not about the size. For some
//! other sizes it leads to the same root by the same path, so the size must come from where the root
//! comes from, a signed checkpoint. The same holds for the sizes of a proof of consistency.
//!
//! Deliberately not here: storage, trees that forget leaves, proofs about several leaves at once, and
//! any other hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The most leaves that a tree may have: 2⁶³.
pub const MAX_SIZE: u64 = 1 << 63;

/// The root of the tree without leaves: the SHA-256 of nothing (RFC 9162 §2.1.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// `SHA-256(0x00 || entry)`: the hash of a leaf (RFC 9162 §2.1.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// `SHA-256(0x01 || left || right)`: the hash of a node with two children (RFC 9162 §2.1.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A complete subtree: the one over the leaves from `index · 2^level` up to, but without,
/// `(index + 1) · 2^level`. Its hash never changes once the tree has those leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height above the leaves, which are at 0.
    pub level: u8,
    /// Place among the nodes of its level, from 0 at the left.
    pub index: u64,
}

impl Node {
    /// The node of one leaf.
    pub fn leaf(index: u64) -> Self {
        Self { level: 0, index }
    }

    /// How many leaves a tree must have to hold this node completely. Nothing when that is more than
    /// [`MAX_SIZE`].
    pub fn complete_from(self) -> Option<u64> {
        let leaves = 1_u64.checked_shl(self.level.into())?;
        self.index.checked_add(1)?.checked_mul(leaves).filter(|size| *size <= MAX_SIZE)
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} of level {}", self.index, self.level)
    }
}

/// There is no proof of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfRange {
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shorter { old: u64, new: u64 },
    #[error("a tree has at most 2^63 leaves, not {size}")]
    TooLarge { size: u64 },
}

/// A root or proof could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unprovable<E> {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("the hash of {node} could not be read")]
    Unread { node: Node, source: E },
}

/// A proof does not prove what it should. Which of its hashes is wrong cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("the proof has {found} hashes, which is not the length of any proof of this")]
    Length { found: usize },
    #[error("the proof leads to another root")]
    Root,
    #[error("the proof leads to another root of the older tree")]
    OldRoot,
}

/// A subtree as proofs need it: the leaves from `start` to `end`, where `start` is a multiple of the
/// smallest power of two that is not less than their number. Only its right edge may be incomplete.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// `k` of RFC 9162 §2.1.1, the end of the left child: the largest power of two smaller than the
    /// number of leaves, of which there must be two or more.
    fn split(self) -> u64 {
        let below = (self.end - self.start - 1).max(1);
        self.start + (1 << below.ilog2())
    }

    /// The complete subtrees that it consists of, from the left, which is from the largest.
    fn nodes(self) -> impl Iterator<Item = Node> {
        let mut start = self.start;
        std::iter::from_fn(move || {
            let level = (self.end - start).checked_ilog2()?;
            let index = start >> level;
            start += 1 << level;
            Some(Node { level: u8::try_from(level).ok()?, index })
        })
    }

    /// Its hash, `MTH` of RFC 9162 §2.1.1.
    fn hash<E>(
        self,
        read: &mut impl FnMut(Node) -> Result<Hash, E>,
    ) -> Result<Hash, Unprovable<E>> {
        let mut parts = Vec::new();
        for node in self.nodes() {
            parts.push(read(node).map_err(|source| Unprovable::Unread { node, source })?);
        }
        Ok(fold(&parts))
    }
}

/// The hash over complete subtrees that stand beside each other, each smaller than the one before.
fn fold(parts: &[Hash]) -> Hash {
    parts.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
}

fn check_size(size: u64) -> Result<(), OutOfRange> {
    if size > MAX_SIZE { Err(OutOfRange::TooLarge { size }) } else { Ok(()) }
}

fn check_leaf(index: u64, size: u64) -> Result<(), OutOfRange> {
    check_size(size)?;
    if index < size { Ok(()) } else { Err(OutOfRange::NoLeaf { index, size }) }
}

pub(super) fn check_order(old: u64, new: u64) -> Result<(), OutOfRange> {
    check_size(new)?;
    if old <= new { Ok(()) } else { Err(OutOfRange::Shorter { old, new }) }
}

/// `PATH(index, D_size)`, RFC 9162 §2.1.3.1: the siblings on the way to the root, lowest first.
fn inclusion_spans(index: u64, size: u64) -> Result<Vec<Span>, OutOfRange> {
    check_leaf(index, size)?;
    let mut spans = Vec::new();
    let mut at = Span { start: 0, end: size };
    while at.end - at.start > 1 {
        let split = at.split();
        if index < split {
            spans.push(Span { start: split, ..at });
            at.end = split;
        } else {
            spans.push(Span { end: split, ..at });
            at.start = split;
        }
    }
    spans.reverse();
    Ok(spans)
}

/// `PROOF(old, D_new)`, RFC 9162 §2.1.4.1. Nothing needs to be shown of an empty or an equal tree.
fn consistency_spans(old: u64, new: u64) -> Result<Vec<Span>, OutOfRange> {
    check_order(old, new)?;
    let mut spans = Vec::new();
    if old == 0 {
        return Ok(spans);
    }
    let mut at = Span { start: 0, end: new };
    while at.end != old {
        let split = at.split();
        if old <= split {
            spans.push(Span { start: split, ..at });
            at.end = split;
        } else {
            spans.push(Span { end: split, ..at });
            at.start = split;
        }
    }
    // When the old tree is itself a subtree of the new one, its root is known to whoever checks.
    if at.start > 0 {
        spans.push(at);
    }
    spans.reverse();
    Ok(spans)
}

fn nodes(spans: Vec<Span>) -> Vec<Node> {
    spans.into_iter().flat_map(Span::nodes).collect()
}

fn hashes<E>(
    spans: Vec<Span>,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, Unprovable<E>> {
    spans.into_iter().map(|span| span.hash(&mut read)).collect()
}

/// The nodes from which [`root`] is made.
pub fn root_nodes(size: u64) -> Result<Vec<Node>, OutOfRange> {
    check_size(size)?;
    Ok(Span { start: 0, end: size }.nodes().collect())
}

/// The nodes from which [`inclusion_proof`] is made.
pub fn inclusion_nodes(index: u64, size: u64) -> Result<Vec<Node>, OutOfRange> {
    inclusion_spans(index, size).map(nodes)
}

/// The nodes from which [`consistency_proof`] is made.
pub fn consistency_nodes(old: u64, new: u64) -> Result<Vec<Node>, OutOfRange> {
    consistency_spans(old, new).map(nodes)
}

/// The root of the first `size` leaves, `MTH(D_size)` of RFC 9162 §2.1.1.
pub fn root<E>(
    size: u64,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Hash, Unprovable<E>> {
    check_size(size)?;
    Span { start: 0, end: size }.hash(&mut read)
}

/// Proof that leaf `index` is in the tree of the first `size` leaves: RFC 9162 §2.1.3.1.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, Unprovable<E>> {
    hashes(inclusion_spans(index, size)?, read)
}

/// Proof that the first `new` leaves begin with the first `old` ones: RFC 9162 §2.1.4.1. It is empty
/// when `old` is nothing or the same.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, Unprovable<E>> {
    hashes(consistency_spans(old, new)?, read)
}

/// The root that a proof of inclusion leads to: RFC 9162 §2.1.3.2. It proves nothing by itself; it is
/// for those who have to tell two roots apart.
pub fn root_from_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
) -> Result<Hash, BadProof> {
    check_leaf(index, size)?;
    let wrong = BadProof::Length { found: proof.len() };
    let (mut place, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(wrong);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            // At the right edge of an incomplete tree, levels without a sibling are skipped.
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(wrong) }
}

/// Checks that `leaf` is the leaf `index` of the tree with this size and root: RFC 9162 §2.1.3.2.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), BadProof> {
    if root_from_inclusion(index, size, leaf, proof)? == *root {
        Ok(())
    } else {
        Err(BadProof::Root)
    }
}

/// Checks that the tree with size `new` begins with the tree of size `old`: RFC 9162 §2.1.4.2.
///
/// The RFC leaves two cases open: of equal sizes the roots must be equal, every tree continues the
/// empty one (whose root must be [`EMPTY_ROOT`]), and in both the proof must be empty.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), BadProof> {
    check_order(old, new)?;
    let wrong = BadProof::Length { found: proof.len() };
    if old == 0 || old == new {
        return if !proof.is_empty() {
            Err(wrong)
        } else if old == 0 && *old_root != EMPTY_ROOT {
            Err(BadProof::OldRoot)
        } else if old == new && old_root != new_root {
            Err(BadProof::Root)
        } else {
            Ok(())
        };
    }
    // The path starts at the largest complete subtree that ends where the old tree ends.
    let start = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> start, (new - 1) >> start);
    let (seed, path) =
        if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(wrong)? };
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in path {
        if last == 0 {
            return Err(wrong);
        }
        if place & 1 == 1 || place == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last != 0 {
        Err(wrong)
    } else if old_hash != *old_root {
        Err(BadProof::OldRoot)
    } else if new_hash != *new_root {
        Err(BadProof::Root)
    } else {
        Ok(())
    }
}

/// As much of a tree as is needed to go on with it: its size and the hashes of the complete subtrees
/// that it consists of, at most 64.
///
/// As JSON: `{"size":3,"peaks":["<hex>","<hex>"]}`, largest subtree first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FrontierText", into = "FrontierText")]
pub struct Frontier {
    size: u64,
    /// From the largest to the smallest: one for every bit that is set in `size`.
    peaks: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontierText {
    size: u64,
    peaks: Vec<String>,
}

/// This is not the frontier of any tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrontier {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("a tree of {size} leaves has {} peaks, not {found}", .size.count_ones())]
    Peaks { size: u64, found: usize },
    #[error("a peak is not a hash in hexadecimal")]
    Hash,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier from its parts, as [`Frontier::size`] and [`Frontier::peaks`] give them. That the
    /// hashes are the right ones shows in the root.
    pub fn try_from_parts(size: u64, peaks: Vec<Hash>) -> Result<Self, BadFrontier> {
        check_size(size)?;
        if u32::try_from(peaks.len()) == Ok(size.count_ones()) {
            Ok(Self { size, peaks })
        } else {
            Err(BadFrontier::Peaks { size, found: peaks.len() })
        }
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees that the tree consists of, largest first: those of
    /// [`root_nodes`].
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf at the right.
    pub fn append(&mut self, leaf: Hash) -> Result<(), OutOfRange> {
        self.append_each(leaf, |_, _| ())
    }

    /// Adds a leaf at the right and tells of every node that it completes, from the leaf upwards:
    /// what has to be stored so that proofs can be made.
    pub fn append_each(
        &mut self,
        leaf: Hash,
        mut made: impl FnMut(Node, Hash),
    ) -> Result<(), OutOfRange> {
        let size = self.size + 1;
        check_size(size)?;
        let mut node = Node::leaf(self.size);
        let mut hash = leaf;
        made(node, hash);
        // As many peaks merge as the size ends in ones, like a carry.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = Node { level: node.level + 1, index: node.index >> 1 };
            made(node, hash);
        }
        self.peaks.push(hash);
        self.size = size;
        Ok(())
    }

    /// The root of the tree, in O(log n).
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}

impl From<Frontier> for FrontierText {
    fn from(frontier: Frontier) -> Self {
        Self { size: frontier.size, peaks: frontier.peaks.iter().map(hex::encode).collect() }
    }
}

impl TryFrom<FrontierText> for Frontier {
    type Error = BadFrontier;

    fn try_from(text: FrontierText) -> Result<Self, BadFrontier> {
        let peak = |text: String| {
            let mut hash = Hash::default();
            hex::decode_to_slice(text, &mut hash).map_err(|_| BadFrontier::Hash)?;
            Ok(hash)
        };
        Self::try_from_parts(
            text.size,
            text.peaks.into_iter().map(peak).collect::<Result<_, BadFrontier>>()?,
        )
    }
}
