//! The tree as files that never change: [C2SP tlog-tiles](https://c2sp.org/tlog-tiles), "Merkle Tree".
//!
//! A tile is up to 256 hashes that stand beside each other. Those of level 0 are leaf hashes; one of
//! level `L` is the hash over a full tile of level `L − 1`, that is the [`Node`] of level `8 L`. A
//! file is the hashes one after the other, 32 bytes each, and its path says all about it:
//!
//! | Path | Is |
//! |---|---|
//! | `tile/0/000` | the first 256 leaf hashes |
//! | `tile/1/x001/x234/067` | the full tile 1,234,067 of level 1 |
//! | `tile/0/273.p/112` | the 112 leaf hashes that tile 273 has so far |
//!
//! Nothing is hashed into the level above before its tile is full. What lies between two levels of
//! tiles is computed when it is asked for ([`reader`]).
//!
//! A tile says nothing about its own truth: proofs made from wrong tiles do not lead to the signed
//! root. Whoever uses hashes from tiles without a proof compares [`parent`] up to that root first.
//!
//! Where we are stricter than the specification: it has levels up to 63, we have the eight that a
//! tree of 2⁶³ leaves needs; a path of a tile that no such tree has is refused.
//!
//! Deliberately not here: fetching, storing, keeping partial tiles after their full one, pruning.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::tree::{Hash, MAX_SIZE, Node, OutOfRange, check_order, node_hash};

/// Levels of the tree in one tile ("height" in tlog-tiles).
pub const HEIGHT: u8 = 8;

/// Hashes in a full tile.
pub const WIDTH: u16 = 256;

/// Levels of tiles in a tree of [`MAX_SIZE`] leaves.
const LEVELS: u8 = 8;

/// Which hashes a file holds. Tiles are ordered by level, then by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// This is not a tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTile {
    #[error("no tree has this tile: level {level}, index {index}, width {width}")]
    NotInAnyTree { level: u8, index: u64, width: u16 },
    #[error("this is not the path of a tile")]
    Path,
    #[error("{tile} has {} bytes, not {found}", .tile.byte_len())]
    Length { tile: Tile, found: usize },
    #[error("only a full tile is hashed into the level above, not one with {found} hashes")]
    NotFull { found: usize },
}

/// A node could not be read from tiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread<E> {
    #[error("{node} is not complete in a tree of {size} leaves")]
    Incomplete { node: Node, size: u64 },
    #[error("{tile} could not be fetched")]
    Unfetched { tile: Tile, source: E },
    #[error(transparent)]
    Malformed(#[from] BadTile),
}

impl Tile {
    /// A tile with `width` hashes (1 to 256), of level 0 to 7.
    pub fn try_new(level: u8, index: u64, width: u16) -> Result<Self, BadTile> {
        let tile = Self { level, index, width };
        let exists = level < LEVELS
            && (1..=WIDTH).contains(&width)
            && index
                .checked_mul(WIDTH.into())
                .and_then(|first| first.checked_add(u64::from(width) - 1))
                .and_then(|last| Node { level: level * HEIGHT, index: last }.complete_from())
                .is_some();
        if exists { Ok(tile) } else { Err(BadTile::NotInAnyTree { level, index, width }) }
    }

    /// The tile in which `node` is, as wide as it is in a tree of `size` leaves. Nothing when the
    /// tree does not hold the node completely.
    pub fn holding(node: Node, size: u64) -> Option<Self> {
        if size > MAX_SIZE || node.complete_from()? > size {
            return None;
        }
        let level = node.level / HEIGHT;
        let index = (node.index << (node.level % HEIGHT)) / u64::from(WIDTH);
        Some(Self::of_size(level, index, size))
    }

    /// A tile that a tree of `size` leaves has.
    fn of_size(level: u8, index: u64, size: u64) -> Self {
        let beyond = (size >> (level * HEIGHT)) - index * u64::from(WIDTH);
        Self { level, index, width: u16::try_from(beyond).unwrap_or(WIDTH).min(WIDTH) }
    }

    /// 0 for leaf hashes.
    pub fn level(self) -> u8 {
        self.level
    }

    /// Place among the tiles of its level, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it has, 1 to 256.
    pub fn width(self) -> u16 {
        self.width
    }

    /// Does it have all 256 hashes, and will so never be replaced?
    pub fn is_full(self) -> bool {
        self.width == WIDTH
    }

    /// The length of its file.
    pub fn byte_len(self) -> usize {
        usize::from(self.width) * size_of::<Hash>()
    }

    /// The nodes whose hashes it holds, in order.
    pub fn nodes(self) -> impl Iterator<Item = Node> {
        let first = self.index * u64::from(WIDTH);
        (first..first + u64::from(self.width))
            .map(move |index| Node { level: self.level * HEIGHT, index })
    }

    /// Reads its file. The file of the full tile does in place of a partial one's after it was cut to
    /// [`Tile::byte_len`].
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<Hash>, BadTile> {
        let (hashes, rest) = bytes.as_chunks();
        if hashes.len() == usize::from(self.width) && rest.is_empty() {
            Ok(hashes.to_vec())
        } else {
            Err(BadTile::Length { tile: self, found: bytes.len() })
        }
    }
}

/// The hash of a node that is in the tile with these hashes, or between it and the level above.
fn hash_within(hashes: &[Hash], node: Node) -> Option<Hash> {
    let below = node.level % HEIGHT;
    let from = usize::try_from((node.index << below) % u64::from(WIDTH)).ok()?;
    Some(complete(hashes.get(from..from + (1 << below))?))
}

/// The hash over a number of hashes that is a power of two.
fn complete(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_default()
}

/// The hash of a full tile, as it stands in the tile of the level above.
pub fn parent(hashes: &[Hash]) -> Result<Hash, BadTile> {
    if hashes.len() == usize::from(WIDTH) {
        Ok(complete(hashes))
    } else {
        Err(BadTile::NotFull { found: hashes.len() })
    }
}

/// All tiles of a tree with `size` leaves.
pub fn tiles(size: u64) -> Result<impl Iterator<Item = Tile>, OutOfRange> {
    changed(0, size)
}

/// The tiles that a tree of `new` leaves has and one of `old` leaves does not, by level and index:
/// what has to be written when the tree grows. A tile that grew is there with its new width, a tile
/// that is as wide as before is not.
pub fn changed(old: u64, new: u64) -> Result<impl Iterator<Item = Tile>, OutOfRange> {
    check_order(old, new)?;
    Ok((0..LEVELS).flat_map(move |level| {
        let (before, after) = (old >> (level * HEIGHT), new >> (level * HEIGHT));
        let width = u64::from(WIDTH);
        let end = if after > before { after.div_ceil(width) } else { 0 };
        (before / width..end).map(move |index| Tile::of_size(level, index, new))
    }))
}

/// The tiles from which these nodes are read in a tree of `size` leaves, each once. Nothing when the
/// tree does not hold one of them completely.
pub fn needed(nodes: &[Node], size: u64) -> Option<Vec<Tile>> {
    let tiles: Option<BTreeSet<_>> = nodes.iter().map(|node| Tile::holding(*node, size)).collect();
    Some(tiles?.into_iter().collect())
}

/// Reads nodes of a tree with `size` leaves from its tiles, for [`super::tree::inclusion_proof`] and
/// its like. It asks for a tile every time that it needs it; `fetch` may remember.
pub fn reader<B: AsRef<[u8]>, E>(
    size: u64,
    mut fetch: impl FnMut(Tile) -> Result<B, E>,
) -> impl FnMut(Node) -> Result<Hash, Unread<E>> {
    move |node| {
        let incomplete = Unread::Incomplete { node, size };
        let Some(tile) = Tile::holding(node, size) else { return Err(incomplete) };
        let bytes = fetch(tile).map_err(|source| Unread::Unfetched { tile, source })?;
        hash_within(&tile.decode(bytes.as_ref())?, node).ok_or(incomplete)
    }
}

/// The path below the log's address: `tile/<L>/<N>`, with `.p/<W>` when the tile is partial.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

/// Reads exactly the paths that are written, no other form of them.
impl FromStr for Tile {
    type Err = BadTile;

    fn from_str(path: &str) -> Result<Self, BadTile> {
        let parse = || {
            let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
            let (index, width) = read_place(place)?;
            Some((level.parse().ok()?, index, width))
        };
        let (level, index, width) = parse().ok_or(BadTile::Path)?;
        let tile = Self::try_new(level, index, width)?;
        if tile.to_string() == path { Ok(tile) } else { Err(BadTile::Path) }
    }
}

/// `<N>[.p/<W>]`: the index in groups of three digits, all but the last with an `x` before it.
pub(super) fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = Vec::new();
    let mut left = index / 1000;
    while left > 0 {
        groups.push(left % 1000);
        left /= 1000;
    }
    for group in groups.iter().rev() {
        write!(f, "x{group:03}/")?;
    }
    write!(f, "{:03}", index % 1000)?;
    if width == WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
}

/// The opposite of [`write_place`], except that it takes other forms too: whoever calls it writes
/// again and compares.
pub(super) fn read_place(text: &str) -> Option<(u64, u16)> {
    let (number, width) = match text.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok()?),
        None => (text, WIDTH),
    };
    let mut index: u64 = 0;
    for group in number.split('/') {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    Some((index, width))
}
