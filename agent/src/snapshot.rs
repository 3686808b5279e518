//! Before-states on disk: what an effect can be undone from.
//!
//! One file per job, mode 0600, durable before the effect begins, kept for a later revert. The
//! directory has a limit; when it is reached, no further effect begins, because nothing could be put
//! back. Nothing here is ever sent anywhere.

use std::io;
use std::path::{Path, PathBuf};

use nexplane_core::id::{JobId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::keep::Keep;
use crate::operation::Observation;

/// Most bytes of all snapshots together: 1 GiB.
pub const TOTAL_LIMIT: u64 = 1024 * 1024 * 1024;

/// What is saved of a job before its effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub job: JobId,
    /// The approved step that the job carries out.
    pub run: RunId,
    pub step: u32,
    pub operation: String,
    pub parameters: Value,
    pub before: Observation,
}

/// Why a before-state could not be saved or found.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("could not {attempt} the snapshot {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("snapshots use {used} of {limit} bytes: move old files out of {path}")]
    Full { used: u64, limit: u64, path: PathBuf },
    #[error("there is no snapshot {path}")]
    Missing { path: PathBuf },
    #[error("the snapshot {path} is damaged")]
    Damaged { path: PathBuf },
}

/// The directory of snapshots.
#[derive(Debug)]
pub struct Snapshots {
    keep: Keep,
    used: u64,
    limit: u64,
}

impl Snapshots {
    /// Opens the directory, or makes it with mode 0700.
    pub fn open(directory: &Path, limit: u64) -> Result<Self, SnapshotError> {
        Self::open_in(Keep::directory(directory), limit)
    }

    /// The same wherever they are kept; nothing else may be there.
    pub fn open_in(keep: Keep, limit: u64) -> Result<Self, SnapshotError> {
        let fail = |attempt| {
            let path = keep.path("");
            move |source| SnapshotError::Io { attempt, path, source }
        };
        keep.make().map_err(fail("make the directory of"))?;
        let used = keep.total().map_err(fail("list"))?;
        Ok(Self { keep, used, limit })
    }

    /// Bytes of all snapshots.
    pub const fn used(&self) -> u64 {
        self.used
    }

    pub fn exists(&self, job: &JobId) -> bool {
        self.keep.size(&name(job)).is_some()
    }

    /// Saves a before-state durably. Replaces one of the same job.
    pub fn save(&mut self, saved: &Saved) -> Result<(), SnapshotError> {
        let name = name(&saved.job);
        let json = serde_json::to_vec(saved).expect("a before-state is a struct of JSON values");
        let mut bytes = hex::encode(Sha256::digest(&json)).into_bytes();
        bytes.push(b'\n');
        bytes.extend(json);
        let earlier = self.keep.size(&name).unwrap_or(0);
        let used = self.used.saturating_sub(earlier) + bytes.len() as u64;
        if used > self.limit {
            let path = self.keep.path("");
            return Err(SnapshotError::Full { used: self.used, limit: self.limit, path });
        }
        self.keep.write(&name, &bytes).map_err(|source| SnapshotError::Io {
            attempt: "save",
            path: self.keep.path(&name),
            source,
        })?;
        self.used = used;
        Ok(())
    }

    /// The before-state of a job.
    pub fn load(&self, job: &JobId) -> Result<Saved, SnapshotError> {
        let path = self.keep.path(&name(job));
        let bytes = match self.keep.read(&name(job)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(SnapshotError::Missing { path }),
            Err(source) => return Err(SnapshotError::Io { attempt: "read", path, source }),
        };
        let saved = bytes.split_at_checked(64).and_then(|(sum, rest)| {
            let json = rest.strip_prefix(b"\n")?;
            let right = sum == hex::encode(Sha256::digest(json)).as_bytes();
            right.then(|| serde_json::from_slice::<Saved>(json).ok())?
        });
        match saved {
            Some(saved) if saved.job == *job => Ok(saved),
            Some(_) | None => Err(SnapshotError::Damaged { path }),
        }
    }
}

fn name(job: &JobId) -> String {
    format!("{job}.json")
}
