//! A tree that grows leaf by leaf, and the tiles that it completes.

use nexplane_core::proof::tile::{self, Tile, WIDTH};
use nexplane_core::proof::tree::{self, Frontier, Hash};
use nexplane_store::log::seal::{FullTile, Seals};

use super::SealerError;

/// The part of a tree that still grows: its frontier, and the hashes of its unfinished tiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growing {
    pub frontier: Frontier,
    /// Level by level, the hashes of the last tile of that level, fewer than 256.
    rows: Vec<Vec<Hash>>,
    /// Finished since the last checkpoint that was stored.
    pub full: Vec<FullTile>,
    pub last_leaf_hash: Option<Hash>,
}

impl Growing {
    pub fn add(&mut self, leaf: Hash) -> Result<(), SealerError> {
        let position = self.frontier.size();
        self.frontier.append(leaf)?;
        self.last_leaf_hash = Some(leaf);
        let (mut hash, mut index) = (leaf, position);
        for level in 0.. {
            if self.rows.len() == usize::from(level) {
                self.rows.push(Vec::with_capacity(usize::from(WIDTH)));
            }
            let Some(row) = self.rows.get_mut(usize::from(level)) else { break };
            row.push(hash);
            index /= u64::from(WIDTH);
            if row.len() < usize::from(WIDTH) {
                break;
            }
            let hashes = std::mem::take(row);
            let root = tile::parent(&hashes).map_err(|_| SealerError::Tiles)?;
            self.full.push(FullTile { level, index, hashes, root });
            hash = root;
        }
        Ok(())
    }

    /// The tree of a size that is in the database, as the database has it.
    pub async fn read(seals: &Seals, size: u64) -> Result<Self, SealerError> {
        let nodes = tree::root_nodes(size)?;
        let known = seals.nodes(&nodes, size).await.map_err(SealerError::Seal)?;
        let known = known.ok_or(SealerError::Tiles)?;
        let peaks = nodes.iter().filter_map(|node| known.get(node).copied()).collect();
        let frontier = Frontier::try_from_parts(size, peaks).map_err(|_| SealerError::Tiles)?;
        let mut rows = Vec::new();
        let mut last_leaf_hash = None;
        for level in 0..8_u8 {
            let wide = size >> (u32::from(level) * 8);
            let width = u16::try_from(wide % u64::from(WIDTH)).unwrap_or(0);
            if wide == 0 {
                break;
            }
            let mut row = Vec::new();
            if width > 0 {
                let tile = Tile::try_new(level, wide / u64::from(WIDTH), width)
                    .map_err(|_| SealerError::Tiles)?;
                let bytes = seals.tile(tile).await.map_err(SealerError::Seal)?;
                let hashes = bytes.and_then(|bytes| tile.decode(&bytes).ok());
                row = hashes.ok_or(SealerError::Tiles)?;
            }
            if level == 0 {
                last_leaf_hash = row.last().copied();
            }
            rows.push(row);
        }
        Ok(Self { frontier, rows, full: Vec::new(), last_leaf_hash })
    }
}
