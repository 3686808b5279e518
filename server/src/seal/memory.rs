//! The last tree that this sealer signed: what the next one has to continue.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nexplane_core::proof::tree::{Frontier, Hash};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Written before a checkpoint is given to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub incarnation: Uuid,
    pub frontier: Frontier,
    /// Of the last event under the root, hexadecimal.
    pub last_leaf_hash: String,
    /// The signed note.
    pub note: String,
}

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot {attempt} {}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the sealer's memory")]
    Write(#[source] anyhow::Error),
    #[error("{} is not a sealer's memory", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Memory {
    fn path(dir: &Path, incarnation: Uuid) -> PathBuf {
        dir.join(format!("{incarnation}.json"))
    }

    /// What was signed last; `None` before the first time.
    pub fn open(dir: &Path, incarnation: Uuid) -> Result<Option<Self>, MemoryError> {
        let path = Self::path(dir, incarnation);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MemoryError::Io { attempt: "read", path, source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| MemoryError::Damaged { path, source })
    }

    /// Durable on return: all of it or what was there before.
    pub fn save(&self, dir: &Path) -> Result<(), MemoryError> {
        let text = serde_json::to_vec(self).map_err(|error| MemoryError::Write(error.into()))?;
        crate::open::write_private(&Self::path(dir, self.incarnation), &text)
            .map_err(MemoryError::Write)?;
        let sync = File::open(dir).and_then(|dir| dir.sync_all());
        sync.map_err(|source| MemoryError::Io { attempt: "sync", path: dir.to_owned(), source })
    }

    pub fn last_leaf_hash(&self) -> Option<Hash> {
        hex::decode(&self.last_leaf_hash).ok()?.try_into().ok()
    }
}
