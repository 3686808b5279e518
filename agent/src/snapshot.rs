//! Before-states on disk: what an effect can be undone from.
//!
//! One file per job, mode 0600, durable before the effect begins, kept for a later revert. The
//! directory has a limit; when it is reached, no further effect begins, because nothing could be put
//! back. Nothing here is ever sent anywhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nexplane_core::id::{JobId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

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
    directory: PathBuf,
    used: u64,
    limit: u64,
}

impl Snapshots {
    /// Opens the directory, or makes it with mode 0700.
    pub fn open(directory: &Path, limit: u64) -> Result<Self, SnapshotError> {
        let fail = |attempt| {
            move |source| SnapshotError::Io { attempt, path: directory.to_owned(), source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(fail("make the directory of"))?;
        let mut used = 0;
        for entry in fs::read_dir(directory).map_err(fail("list"))? {
            used += entry.and_then(|entry| entry.metadata()).map_err(fail("list"))?.len();
        }
        Ok(Self { directory: directory.to_owned(), used, limit })
    }

    /// Bytes of all snapshots.
    pub const fn used(&self) -> u64 {
        self.used
    }

    pub fn exists(&self, job: &JobId) -> bool {
        self.path(job).exists()
    }

    /// Saves a before-state durably. Replaces one of the same job.
    pub fn save(&mut self, saved: &Saved) -> Result<(), SnapshotError> {
        let path = self.path(&saved.job);
        let json = serde_json::to_vec(saved).expect("a before-state is a struct of JSON values");
        let mut bytes = hex::encode(Sha256::digest(&json)).into_bytes();
        bytes.push(b'\n');
        bytes.extend(json);
        let earlier = fs::metadata(&path).map_or(0, |meta| meta.len());
        let used = self.used.saturating_sub(earlier) + bytes.len() as u64;
        if used > self.limit {
            let path = self.directory.clone();
            return Err(SnapshotError::Full { used: self.used, limit: self.limit, path });
        }
        write_private(&path, &bytes).map_err(|source| SnapshotError::Io {
            attempt: "save",
            path,
            source,
        })?;
        self.used = used;
        Ok(())
    }

    /// The before-state of a job.
    pub fn load(&self, job: &JobId) -> Result<Saved, SnapshotError> {
        let path = self.path(job);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Missing { path });
            }
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

    fn path(&self, job: &JobId) -> PathBuf {
        self.directory.join(format!("{job}.json"))
    }
}

/// Puts a whole file with mode 0600 in place, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A leftover of a crash; a fresh file has the mode that is asked for.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
