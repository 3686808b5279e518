//! An export as a folder.
//!
//! | File | Content |
//! |---|---|
//! | `manifest.json` | which records there are; written last |
//! | `checkpoints.jsonl` | one signed note per line, as a JSON string, by size |
//! | `tile/records/…` | the records, 256 in a file ([`nexplane_core::proof::bundle`]) |
//! | `tile/<level>/…` | the tiles of the tree ([`nexplane_core::proof::tile`]) |

use std::io;
use std::path::{Path, PathBuf};

use nexplane_core::proof::bundle::{Bundle, Format};
use nexplane_core::proof::tile::{self, Tile, WIDTH};
use nexplane_core::proof::tree::{self, Hash};
use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, EvidenceError, Piece};

pub const MANIFEST: &str = "manifest.json";
pub const CHECKPOINTS: &str = "checkpoints.jsonl";
/// Of the folder's layout.
pub const FORMAT: u32 = 1;

/// What an export says of itself. None of it is believed without the records and signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub origin: String,
    /// First position; a multiple of 256.
    pub from: u64,
    /// One after the last position.
    pub to: u64,
    /// Of the tree whose tiles are here.
    pub size: u64,
    pub checkpoints: u64,
}

impl Manifest {
    /// The file, for which there is one form only.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        (text + "\n").into_bytes()
    }
}

/// The line of a signed note.
pub fn checkpoint_line(note: &str) -> String {
    serde_json::Value::from(note).to_string() + "\n"
}

/// An exported folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    manifest: Manifest,
    /// Files that are not written as an export writes them.
    malformed: Vec<String>,
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let file = path.join(MANIFEST);
        let text = std::fs::read(&file)
            .map_err(|source| EvidenceError::Read { path: file.clone(), source })?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|source| EvidenceError::Manifest { path: file, source })?;
        if manifest.format != FORMAT {
            return Err(EvidenceError::Format { found: manifest.format, known: FORMAT });
        }
        let mut malformed = Vec::new();
        if text != manifest.to_bytes() || manifest.size != manifest.to {
            malformed.push(format!("{MANIFEST} is not as an export writes it"));
        }
        Ok(Self { path: path.to_owned(), manifest, malformed })
    }

    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A file of the folder; `None` when it is not there.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EvidenceError::Read { path, source }),
        }
    }

    fn tile(&self, tile: Tile) -> Result<Option<Vec<Hash>>, EvidenceError> {
        let bytes = self.read(&tile.to_string())?;
        Ok(bytes.and_then(|bytes| tile.decode(&bytes).ok()))
    }
}

impl Evidence for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn origin(&self) -> Option<&str> {
        Some(&self.manifest.origin)
    }

    fn range(&self) -> (u64, u64) {
        (self.manifest.from, self.manifest.to)
    }

    fn checkpoints(&mut self) -> Result<Vec<String>, EvidenceError> {
        let bytes = self.read(CHECKPOINTS)?.unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // A line that is no text is kept as it is, and fails as a note.
        let read = |line: &[u8]| {
            serde_json::from_slice(line).unwrap_or_else(|_| String::from_utf8_lossy(line).into())
        };
        let notes: Vec<String> = lines.map(read).collect();
        let written: String = notes.iter().map(|note| checkpoint_line(note)).collect();
        if written.as_bytes() != bytes || notes.len() as u64 != self.manifest.checkpoints {
            self.malformed.push(format!("{CHECKPOINTS} is not what the manifest says"));
        }
        Ok(notes)
    }

    fn peaks_before(&mut self, from: u64) -> Result<Option<Vec<Hash>>, EvidenceError> {
        let size = self.manifest.size;
        let Ok(nodes) = tree::root_nodes(from) else { return Ok(None) };
        let mut peaks = Vec::new();
        for node in nodes {
            let Some(tile) = Tile::holding(node, size) else { return Ok(None) };
            let Some(hashes) = self.tile(tile)? else { return Ok(None) };
            let bytes = hashes.concat();
            let mut read = tile::reader(size, |_| Ok::<_, ()>(&bytes));
            let Ok(hash) = read(node) else { return Ok(None) };
            peaks.push(hash);
        }
        Ok(Some(peaks))
    }

    fn piece(&mut self, first: u64) -> Result<Piece, EvidenceError> {
        let count = (self.manifest.to - first).min(u64::from(WIDTH));
        let width = u16::try_from(count).unwrap_or(WIDTH);
        let places = usize::from(width);
        let mut piece = Piece {
            first,
            records: vec![None; places],
            claimed: vec![None; places],
            rows: Vec::new(),
            wrong: Vec::new(),
        };
        let index = first / u64::from(WIDTH);
        let (Ok(bundle), Ok(tile)) =
            (Bundle::try_new(index, width), Tile::try_new(0, index, width))
        else {
            piece.wrong.push("no log has records there".to_owned());
            return Ok(piece);
        };
        let path = bundle.path(Format::Records);
        match self.read(&path)? {
            None => piece.wrong.push(format!("{path} is missing")),
            Some(bytes) => match bundle.decode(Format::Records, &bytes) {
                Ok(records) => {
                    piece.records = records
                        .into_iter()
                        .map(|record| String::from_utf8(record.to_vec()).ok())
                        .collect();
                }
                Err(error) => piece.wrong.push(format!("{path}: {error}")),
            },
        }
        match self.tile(tile)? {
            None => piece.wrong.push(format!("{tile} is missing or has another length")),
            Some(hashes) => piece.claimed = hashes.into_iter().map(Some).collect(),
        }
        Ok(piece)
    }

    /// Every tile above the leaves is what the tiles below it make.
    fn cross_check(&mut self) -> Result<Vec<String>, EvidenceError> {
        let mut wrong = self.malformed.clone();
        let Ok(tiles) = tile::tiles(self.manifest.size) else {
            return Ok(vec!["the manifest's size is beyond what a tree can have".to_owned()]);
        };
        for tile in tiles.filter(|tile| tile.level() > 0) {
            let Some(hashes) = self.tile(tile)? else {
                wrong.push(format!("{tile} is missing or has another length"));
                continue;
            };
            for (node, hash) in tile.nodes().zip(hashes) {
                let Ok(below) = Tile::try_new(tile.level() - 1, node.index, WIDTH) else {
                    continue;
                };
                let children = self.tile(below)?;
                let parent = children.and_then(|hashes| tile::parent(&hashes).ok());
                if parent != Some(hash) {
                    wrong.push(format!("{tile} does not hold the hash of {below}"));
                }
            }
        }
        Ok(wrong)
    }
}
