//! From the database into a folder.

use std::io;
use std::path::{Path, PathBuf};

use nexplane_core::proof::bundle::{Bundle, Format};
use nexplane_core::proof::tile::{self, WIDTH};
use nexplane_core::proof::tree::OutOfRange;
use nexplane_store::log::seal::{SealError, Seals};
use nexplane_store::log::{Log, READ_LIMIT, ReadError};
use serde::Serialize;

use super::folder::{CHECKPOINTS, FORMAT, MANIFEST, Manifest, checkpoint_line};
use crate::seal;

/// Checkpoints that are read at once.
const PAGE: i64 = 500;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub from: u64,
    pub to: u64,
    pub checkpoints: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not empty; an export goes into a folder of its own", .0.display())]
    NotEmpty(PathBuf),
    #[error(
        "no signed checkpoint covers position {0} yet; a running server makes one within a second"
    )]
    NotSealed(u64),
    #[error("the log is not whole")]
    Log(#[from] ReadError),
    #[error("could not read the checkpoints")]
    Seal(#[from] SealError),
    #[error("the tiles of the tree are not whole in the database: {0} is missing")]
    Tile(tile::Tile),
    #[error("a record cannot be exported")]
    Bundle(#[from] nexplane_core::proof::bundle::BadBundle),
    #[error("the log is longer than a tree can be")]
    Size(#[from] OutOfRange),
}

/// Writes records from `from` on (rounded down to a multiple of 256), up to the first checkpoint that
/// covers `to`, or the newest one. `progress` is told of records done and their number.
pub async fn export(
    log: &Log,
    seals: &Seals,
    out: &Path,
    (from, to): (Option<u64>, Option<u64>),
    mut progress: impl FnMut(u64, u64),
) -> Result<Exported, ExportError> {
    let sealed = match to {
        Some(last) => seals.covering(last).await?.ok_or(ExportError::NotSealed(last))?,
        None => seals.newest().await?.ok_or(ExportError::NotSealed(0))?,
    };
    let size = sealed.size;
    let width = u64::from(WIDTH);
    let from = from.unwrap_or(0).min(size - 1) / width * width;
    std::fs::create_dir_all(out).map_err(failed(out))?;
    if std::fs::read_dir(out).map_err(failed(out))?.next().is_some() {
        return Err(ExportError::NotEmpty(out.to_owned()));
    }

    let mut done = from;
    while done < size {
        // Whole bundles at a time.
        let wanted = usize::try_from((size - done).min(READ_LIMIT as u64 / width * width));
        let events = log.read(done, wanted.unwrap_or(READ_LIMIT)).await?;
        for (index, records) in (done / width..).zip(events.chunks(usize::from(WIDTH))) {
            let texts: Vec<_> = records.iter().map(|event| event.record.as_bytes()).collect();
            let width = u16::try_from(texts.len()).unwrap_or(WIDTH);
            let bundle = Bundle::try_new(index, width)?;
            let bytes = bundle.encode(Format::Records, &texts)?;
            write(out, &bundle.path(Format::Records), &bytes)?;
        }
        done += events.len() as u64;
        progress(done - from, size - from);
    }
    for tile in tile::tiles(size)? {
        let bytes = seals.tile(tile).await?.ok_or(ExportError::Tile(tile))?;
        write(out, &tile.to_string(), &bytes)?;
    }

    let mut lines = String::new();
    let mut count = 0;
    let mut next = from + 1;
    loop {
        let page = seals.list(next, PAGE).await?;
        let Some(last) = page.last() else { break };
        next = last.size + 1;
        for checkpoint in page.iter().filter(|checkpoint| checkpoint.size <= size) {
            lines.push_str(&checkpoint_line(&checkpoint.note));
            count += 1;
        }
        if next > size {
            break;
        }
    }
    write(out, CHECKPOINTS, lines.as_bytes())?;
    let origin = seal::origin(seals.incarnation());
    let manifest = Manifest { format: FORMAT, origin, from, to: size, size, checkpoints: count };
    write(out, MANIFEST, &manifest.to_bytes())?;
    Ok(Exported { from, to: size, checkpoints: count })
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
    let path = out.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    std::fs::write(&path, bytes).map_err(failed(&path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Write { path, source }
}
