//! Where an agent keeps what it knows: one directory, for one agent at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::keep::Keep;

/// The configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    directory: PathBuf,
}

/// Why the configuration directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another agent runs with the configuration directory {path}: stop it first")]
    InUse { path: PathBuf },
}

impl Config {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the identity is kept.
    pub fn keep(&self) -> Keep {
        Keep::directory(&self.directory)
    }

    /// Makes the directory (mode 0700) if need be, and keeps other agents out of it for as long as
    /// the answer lives.
    pub fn lock(&self) -> Result<File, ConfigError> {
        let io = |attempt| {
            move |source| ConfigError::Io { attempt, path: self.directory.clone(), source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(io("make the configuration directory"))?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.directory.join("lock"))
            .map_err(io("lock the configuration directory"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(ConfigError::InUse { path: self.directory.clone() })
            }
            Err(error) => Err(io("lock the configuration directory")(error.into())),
        }
    }

    pub fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.directory.join("snapshots")
    }

    pub fn policy(&self) -> PathBuf {
        self.directory.join("policy.toml")
    }

    /// What of the agent's own must stay out of reach of orders.
    pub fn own_paths(&self) -> Vec<PathBuf> {
        let mut own = vec![self.directory.clone(), self.snapshots()];
        own.extend(std::env::current_exe());
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::new(directory.path().join("agent"));
        let lock = config.lock().unwrap();
        assert!(matches!(config.lock(), Err(ConfigError::InUse { .. })));
        drop(lock);
        config.lock().unwrap();
    }
}
