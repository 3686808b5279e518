//! Where an agent keeps what it knows: one directory, for one agent at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nexplane_core::time::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::keep::Keep;

/// The configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    directory: PathBuf,
}

/// How long before-states are kept, and with them the possibility to undo. 30 days unless the host's owner
/// says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    seconds: i64,
}

impl Retention {
    /// Of `30d`, `12h`, `45m` or `90s`, from a second to 3,650 days.
    ///
    /// # Errors
    /// A sentence that says what may be said.
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let wrong = || RetentionError { text: text.to_owned() };
        let unit = match text.chars().next_back() {
            Some('d') => DAY_S,
            Some('h') => 60 * 60,
            Some('m') => 60,
            Some('s') => 1,
            Some(_) | None => return Err(wrong()),
        };
        let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
        let number = number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number);
        let seconds = number
            .and_then(|number| number.parse::<i64>().ok())
            .and_then(|number| number.checked_mul(unit))
            .filter(|seconds| (1..=LONGEST_S).contains(seconds))
            .ok_or_else(wrong)?;
        Ok(Self { seconds })
    }

    /// The end of it.
    pub(crate) fn from(self, at: Timestamp) -> Timestamp {
        at.plus_seconds(self.seconds)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { seconds: 30 * DAY_S }
    }
}

const DAY_S: i64 = 24 * 60 * 60;
const LONGEST_S: i64 = 3650 * DAY_S;

/// What was said is no time that before-states can be kept for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a time to keep snapshots for: say 30d, 12h, 45m or 90s, at most 3650d")]
pub struct RetentionError {
    text: String,
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
    fn snapshots_are_kept_for_a_time_within_bounds() {
        let seconds = |text| Retention::parse(text).map(|kept| kept.seconds);
        assert_eq!(seconds("30d"), Ok(Retention::default().seconds));
        assert_eq!((seconds("12h"), seconds("45m"), seconds("1s")), (Ok(43_200), Ok(2700), Ok(1)));
        assert_eq!(seconds("3650d"), Ok(LONGEST_S));
        for wrong in
            ["", "d", "0d", "30", "-1d", "+1d", "1.5d", "3651d", "99999999999999d", "1w", "1ä"]
        {
            let refused = Retention::parse(wrong).unwrap_err().to_string();
            assert!(refused.contains(wrong) && refused.contains("at most 3650d"), "{refused}");
        }
    }

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
