//! Before-states on disk: what an effect can be undone from.
//!
//! One file per job, mode 0600, durable before the effect begins, kept for a later revert. The
//! directory has a limit; when it is reached, no further effect begins, because nothing could be put
//! back. Nothing here is ever sent anywhere.
//!
//! It is kept for as long as its receipt says, and deleted some time after that: when the agent starts, and when
//! another one is saved. One that says no time of its own (of an earlier agent) or that is damaged is never
//! deleted, nor one that an order still needs that has not ended.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nexplane_core::id::{JobId, RunId};
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::Retention;
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
    /// Until when it is kept; for good when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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
    #[error("there is no snapshot {path}{}", kept(*until))]
    Missing {
        path: PathBuf,
        /// Until when it was promised to be kept, when that is known.
        until: Option<Timestamp>,
    },
    #[error("the snapshot {path} is damaged")]
    Damaged { path: PathBuf },
}

fn kept(until: Option<Timestamp>) -> String {
    until.map_or_else(String::new, |until| format!(": it was kept until {until}"))
}

/// The directory of snapshots.
#[derive(Debug)]
pub struct Snapshots {
    keep: Keep,
    used: u64,
    limit: u64,
    retention: Retention,
    /// When each may be deleted, once that was read.
    ends: Option<BTreeMap<JobId, Timestamp>>,
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
        Ok(Self { keep, used, limit, retention: Retention::default(), ends: None })
    }

    /// The same, with another time for which what is saved from now on is kept.
    #[must_use]
    pub const fn kept_for(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Until when a before-state is kept that is saved at this moment.
    pub fn until(&self, at: Timestamp) -> Timestamp {
        self.retention.from(at)
    }

    /// Deletes what was kept for as long as was promised, but for what is `needed` still. What cannot be
    /// deleted is tried again the next time.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn expire(
        &mut self,
        now: Timestamp,
        needed: impl Fn(&JobId) -> bool,
    ) -> Result<u32, SnapshotError> {
        if self.ends.is_none() {
            self.ends = Some(self.read_ends()?);
        }
        let ends = self.ends.iter().flatten();
        let over: Vec<_> = ends
            .filter(|(job, until)| now >= **until && !needed(job))
            .map(|(job, _)| *job)
            .collect();
        let mut deleted = 0;
        for job in over {
            let (name, size) = (name(&job), self.keep.size(&name(&job)).unwrap_or(0));
            match self.keep.remove(&name) {
                Ok(()) => {
                    self.used = self.used.saturating_sub(size);
                    deleted += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = self.keep.path(&name).display().to_string();
                    tracing::warn!(job.id = %job, path, %error, "An expired snapshot could not be deleted");
                    continue;
                }
            }
            if let Some(ends) = &mut self.ends {
                ends.remove(&job);
            }
        }
        Ok(deleted)
    }

    /// When each may be deleted. One that cannot be read stays: for what it was, a person has to say.
    fn read_ends(&self) -> Result<BTreeMap<JobId, Timestamp>, SnapshotError> {
        let names = self.keep.names().map_err(|source| SnapshotError::Io {
            attempt: "list",
            path: self.keep.path(""),
            source,
        })?;
        let jobs = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok());
        let mut ends = BTreeMap::new();
        for job in jobs {
            match self.load(&job) {
                Ok(saved) => ends.extend(saved.until.map(|until| (job, until))),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(job.id = %job, error, "A snapshot cannot be read and is left where it is");
                }
            }
        }
        Ok(ends)
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
        if let (Some(ends), Some(until)) = (&mut self.ends, saved.until) {
            ends.insert(saved.job, until);
        }
        Ok(())
    }

    /// The before-state of a job.
    pub fn load(&self, job: &JobId) -> Result<Saved, SnapshotError> {
        let path = self.keep.path(&name(job));
        let bytes = match self.keep.read(&name(job)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(SnapshotError::Missing { path, until: None }),
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
