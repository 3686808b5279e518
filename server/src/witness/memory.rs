//! What a witness has seen of each log, and whether something continues it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nexplane_core::proof::checkpoint::{self, Checkpoint};
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::proof::tree::{self, Hash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest consistent tree of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    origin: String,
    size: u64,
    /// Hexadecimal.
    root: String,
    /// As it was shown, so that it can be shown to others.
    note: String,
}

/// All logs of a witness. One request at a time asks it: comparing and remembering are one act.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    seen: HashMap<String, Seen>,
}

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot use {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write what was seen")]
    Write(#[source] anyhow::Error),
    #[error("{} is not a witness's memory", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// What a witness answers to a checkpoint, by the status codes of tlog-witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It continues what was seen, and is remembered now: cosign it.
    Consistent(Checkpoint),
    /// 404: no log of this origin is known here.
    UnknownLog,
    /// 403: a known log, and not its signature.
    Unsigned,
    /// 400: the old size is larger than the checkpoint's.
    OldIsLarger,
    /// 409: the log believes that something else was seen. This is what was.
    OldIsNotThat { size: u64 },
    /// 409: it is as long as what was seen, and another history.
    Split { size: u64 },
    /// 422: it does not continue what was seen.
    Inconsistent,
}

impl Memory {
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        let failed = |source| MemoryError::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut seen = HashMap::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "seen") {
                continue;
            }
            let text = std::fs::read(&path)
                .map_err(|source| MemoryError::Io { path: path.clone(), source })?;
            let one: Seen = serde_json::from_slice(&text)
                .map_err(|source| MemoryError::Damaged { path, source })?;
            seen.insert(one.origin.clone(), one);
        }
        Ok(Self { dir: dir.to_owned(), seen })
    }

    /// The newest note of a log.
    pub fn note(&self, origin: &str) -> Option<&str> {
        self.seen.get(origin).map(|seen| seen.note.as_str())
    }

    /// Judges a checkpoint that is to follow the tree of size `old`, and remembers it durably when it
    /// does.
    pub fn add(
        &mut self,
        logs: &[VerifierKey],
        old: u64,
        proof: &[Hash],
        note: &Note,
    ) -> Result<Verdict, MemoryError> {
        let origin = note.text().split('\n').next().unwrap_or_default();
        let Some(key) = logs.iter().find(|key| key.name() == origin) else {
            return Ok(Verdict::UnknownLog);
        };
        let Ok(checkpoint) = checkpoint::verify(note, key) else { return Ok(Verdict::Unsigned) };
        if old > checkpoint.size() {
            return Ok(Verdict::OldIsLarger);
        }
        let (size, root) = match self.seen.get(origin) {
            Some(seen) => (seen.size, hex::decode(&seen.root).ok().and_then(|r| r.try_into().ok())),
            None => (0, Some(tree::EMPTY_ROOT)),
        };
        if old != size {
            return Ok(Verdict::OldIsNotThat { size });
        }
        let Some(root): Option<Hash> = root else { return Ok(Verdict::Inconsistent) };
        if size == checkpoint.size() && root != *checkpoint.root() {
            return Ok(Verdict::Split { size });
        }
        let continues =
            tree::verify_consistency(old, checkpoint.size(), &root, checkpoint.root(), proof);
        if continues.is_err() {
            return Ok(Verdict::Inconsistent);
        }
        let seen = Seen {
            origin: origin.to_owned(),
            size: checkpoint.size(),
            root: hex::encode(checkpoint.root()),
            note: note.to_string(),
        };
        self.save(&seen)?;
        self.seen.insert(seen.origin.clone(), seen);
        Ok(Verdict::Consistent(checkpoint))
    }

    fn save(&self, seen: &Seen) -> Result<(), MemoryError> {
        // An origin is not a file name.
        let name = hex::encode(Sha256::digest(&seen.origin)) + ".seen";
        let text = serde_json::to_vec(seen).map_err(|error| MemoryError::Write(error.into()))?;
        crate::open::write_private(&self.dir.join(name), &text).map_err(MemoryError::Write)?;
        let sync = std::fs::File::open(&self.dir).and_then(|dir| dir.sync_all());
        sync.map_err(|source| MemoryError::Io { path: self.dir.clone(), source })
    }
}
