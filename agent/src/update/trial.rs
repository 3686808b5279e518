//! The trial of a new program: a file beside the journal, and what is decided of it.
//!
//! Both programs read it, and whoever guards the trial. It is changed under a lock, so that a program that is
//! confirmed is never put back, and one that was put back never confirmed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::deadman::{Armed, Moment, is_over_at_start};
use crate::host::Build;
use crate::keep::write_private;

/// Most times that a new program is started before the control plane has answered it: what ends this often does
/// not stay.
pub const MOST_STARTS: u32 = 3;

/// A new program on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// What comes back.
    pub from: Build,
    /// What is tried.
    pub to: Build,
    /// When it began, and for how long it may go on.
    pub armed: Armed,
    pub starts: u32,
    pub stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Open,
    /// The control plane has answered the new program.
    Confirmed,
    /// The earlier program has to be in its place.
    Over {
        why: String,
    },
}

impl Trial {
    /// Why it is over by now, if it is. A start of the machine ends it, whatever its clock says: what the control
    /// plane has not answered does not outlive one.
    pub fn over(&self, now: &Moment) -> Option<String> {
        match &self.stage {
            Stage::Confirmed => return None,
            Stage::Over { why } => return Some(why.clone()),
            Stage::Open => {}
        }
        if self.starts > MOST_STARTS {
            return Some(format!(
                "it was started {MOST_STARTS} times and ended each time before the control plane had answered it"
            ));
        }
        if !is_over_at_start(Some(&self.armed), false, now) {
            return None;
        }
        let left = self.armed.left(now);
        Some(if left.is_zero() {
            format!("the control plane had not answered it within {} s", self.armed.limit_s)
        } else {
            "the machine was started again before the control plane had answered it".to_owned()
        })
    }
}

/// Where the trial of a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialFile {
    path: PathBuf,
}

/// Nobody else changes the trial as long as this lives.
#[derive(Debug)]
pub struct Locked<'a> {
    path: &'a Path,
    _lock: File,
}

impl TrialFile {
    pub fn within(state: &Path) -> Self {
        Self { path: state.join("trial.json") }
    }

    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// `None` when there is none.
    pub fn read(&self) -> io::Result<Option<Trial>> {
        read(&self.path)
    }

    pub fn lock(&self) -> io::Result<Locked<'_>> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Locked { path: &self.path, _lock: lock })
    }
}

impl Locked<'_> {
    pub fn read(&self) -> io::Result<Option<Trial>> {
        read(self.path)
    }

    pub fn write(&self, trial: &Trial) -> io::Result<()> {
        let text = serde_json::to_vec(trial).expect("a trial is a struct of JSON values");
        write_private(self.path, &text)
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Trial>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use nexplane_core::time::Timestamp;

    use super::*;
    use crate::deadman::Limit;

    fn moment(boot: &str, uptime_s: u64) -> Moment {
        let at = Timestamp::from_micros(1_000_000_000);
        Moment { at, boot: Some(boot.to_owned()), uptime_ms: uptime_s * 1000 }
    }

    fn build(version: &str) -> Build {
        let version = version.parse().unwrap();
        Build { version, sha256: "1".repeat(64), size: 1, signed_by: None }
    }

    #[test]
    fn when_a_trial_is_over() {
        let trial = Trial {
            from: build("0.1.0"),
            to: build("0.2.0"),
            armed: Armed::new(moment("a", 500), Limit::default()),
            starts: 0,
            stage: Stage::Open,
        };
        let with = |starts, stage| Trial { starts, stage, ..trial.clone() };
        let over = |trial: &Trial, boot, uptime_s| trial.over(&moment(boot, uptime_s));
        assert_eq!(over(&trial, "a", 559), None);
        assert!(over(&trial, "a", 560).unwrap().contains("within 60 s"));
        assert!(over(&trial, "b", 1).unwrap().contains("started again"));
        assert_eq!(over(&with(MOST_STARTS, Stage::Open), "a", 501), None);
        assert!(over(&with(MOST_STARTS + 1, Stage::Open), "a", 501).unwrap().contains("3 times"));
        // Neither time nor starts take back what was confirmed, or give again what was taken back.
        assert_eq!(over(&with(9, Stage::Confirmed), "b", 9000), None);
        let ended = with(0, Stage::Over { why: "so".to_owned() });
        assert_eq!(over(&ended, "a", 501).as_deref(), Some("so"));
    }
}
