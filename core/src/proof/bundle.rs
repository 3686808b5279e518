//! The records of one tile of level 0, as a file.
//!
//! [C2SP tlog-tiles](https://c2sp.org/tlog-tiles), "Log entries", puts 256 entries into a bundle at
//! `tile/entries/<N>[.p/<W>]`, each after its length as a big-endian u16. A record of ours may have
//! 512 KiB, for which a u16 is too small, so this is where we do not follow it:
//!
//! | Format | Path | Content | Is there |
//! |---|---|---|---|
//! | [`Format::Records`] | `tile/records/<N>[.p/<W>]` | each record followed by a newline | always |
//! | [`Format::Entries`] | `tile/entries/<N>[.p/<W>]` | as tlog-tiles says | where no record of it is longer than 65,535 bytes |
//!
//! tlog-tiles allows a log to serve entries in another format if that is at another path, and says
//! that it SHOULD serve entry bundles as well. We do that as far as possible and no further: a
//! monitor that knows only entry bundles cannot read every record of ours, though it can check every
//! hash. The line format takes nothing away, because a record is one line of JSON text and so has no
//! newline, and because people have tools for lines.
//!
//! An entry is the record's bytes, without the newline: its [`super::tree::leaf_hash`] stands at the
//! same place of the tile of level 0 with the same index and width.

use std::fmt;
use std::ops::Range;

use super::tile::{Tile, WIDTH, changed as changed_tiles, read_place, write_place};
use super::tree::OutOfRange;

/// How the records are written one after the other. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The entry bundles of tlog-tiles.
    Entries,
    /// Lines.
    Records,
}

impl Format {
    fn folder(self) -> &'static str {
        match self {
            Self::Entries => "tile/entries/",
            Self::Records => "tile/records/",
        }
    }
}

/// Which records a file holds: those of the tile of level 0 with the same index and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bundle {
    index: u64,
    width: u16,
}

/// This is not a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    #[error("no tree has this bundle: index {index}, width {width}")]
    NotInAnyTree { index: u64, width: u16 },
    #[error("this is not the path of a bundle")]
    Path,
    #[error("the bundle has {width} records, not {found}")]
    Count { width: u16, found: usize },
    #[error("record {place} of the bundle has {length} bytes, more than an entry bundle can hold")]
    TooLong { place: usize, length: usize },
    #[error("record {place} of the bundle is empty or has a newline in it")]
    NotALine { place: usize },
    #[error("the bundle ends within a record")]
    Truncated,
}

impl Bundle {
    /// The bundle with `width` records (1 to 256).
    pub fn try_new(index: u64, width: u16) -> Result<Self, BadBundle> {
        match Tile::try_new(0, index, width) {
            Ok(_) => Ok(Self { index, width }),
            Err(_) => Err(BadBundle::NotInAnyTree { index, width }),
        }
    }

    /// Place among the bundles, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many records it has, 1 to 256.
    pub fn width(self) -> u16 {
        self.width
    }

    /// The positions of its records in the log.
    pub fn positions(self) -> Range<u64> {
        let first = self.index * u64::from(WIDTH);
        first..first + u64::from(self.width)
    }

    /// The path below the log's address.
    pub fn path(self, format: Format) -> String {
        struct Place(Bundle);
        impl fmt::Display for Place {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_place(f, self.0.index, self.0.width)
            }
        }
        format!("{}{}", format.folder(), Place(self))
    }

    /// Reads exactly the paths that [`Bundle::path`] writes, no other form of them.
    pub fn parse(path: &str, format: Format) -> Result<Self, BadBundle> {
        let place = path.strip_prefix(format.folder()).and_then(read_place);
        let (index, width) = place.ok_or(BadBundle::Path)?;
        let bundle = Self::try_new(index, width)?;
        if bundle.path(format) == path { Ok(bundle) } else { Err(BadBundle::Path) }
    }

    /// Writes the file with these records.
    pub fn encode(
        self,
        format: Format,
        records: &[impl AsRef<[u8]>],
    ) -> Result<Vec<u8>, BadBundle> {
        self.check_count(records.len())?;
        let mut file = Vec::new();
        for (place, record) in records.iter().enumerate() {
            let record = record.as_ref();
            match format {
                Format::Entries => {
                    let too_long = BadBundle::TooLong { place, length: record.len() };
                    let length = u16::try_from(record.len()).map_err(|_| too_long)?;
                    file.extend(length.to_be_bytes());
                    file.extend(record);
                }
                Format::Records => {
                    if record.is_empty() || record.contains(&b'\n') {
                        return Err(BadBundle::NotALine { place });
                    }
                    file.extend(record);
                    file.push(b'\n');
                }
            }
        }
        Ok(file)
    }

    /// Reads the records of a file. It must be exactly what [`Bundle::encode`] writes.
    pub fn decode(self, format: Format, file: &[u8]) -> Result<Vec<&[u8]>, BadBundle> {
        let mut records = Vec::new();
        let mut rest = file;
        while !rest.is_empty() && records.len() <= usize::from(self.width) {
            let (record, after) = match format {
                Format::Entries => {
                    let (length, after) = rest.split_first_chunk().ok_or(BadBundle::Truncated)?;
                    after
                        .split_at_checked(u16::from_be_bytes(*length).into())
                        .ok_or(BadBundle::Truncated)?
                }
                Format::Records => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let (record, after) = end
                        .and_then(|end| rest.split_at_checked(end))
                        .ok_or(BadBundle::Truncated)?;
                    if record.is_empty() {
                        return Err(BadBundle::NotALine { place: records.len() });
                    }
                    (record, after.split_first().map_or(after, |(_, after)| after))
                }
            };
            records.push(record);
            rest = after;
        }
        self.check_count(records.len())?;
        Ok(records)
    }

    fn check_count(self, found: usize) -> Result<(), BadBundle> {
        if found == usize::from(self.width) {
            Ok(())
        } else {
            Err(BadBundle::Count { width: self.width, found })
        }
    }
}

/// The bundles that a log of `new` records has and one of `old` records does not: what has to be
/// written when the log grows. All of a log are `changed(0, size)`.
pub fn changed(old: u64, new: u64) -> Result<impl Iterator<Item = Bundle>, OutOfRange> {
    let bundle = |tile: Tile| Bundle { index: tile.index(), width: tile.width() };
    Ok(changed_tiles(old, new)?.take_while(|tile| tile.level() == 0).map(bundle))
}
