//! Where an agent keeps what it knows, for one agent at a time: a directory that the host's owner
//! writes, and one that the agent writes. They are the same unless `config.toml` says otherwise.
//!
//! ```toml
//! control_plane = "https://nexplane.example:8443"  # absent: as enrolled; with ca.pem beside this file
//! state_dir = "/var/lib/nexplane-agent"            # absent: this directory
//! keep_snapshots = "30d"                           # absent: 30 days
//! dead_man_s = 60                                  # absent: 60 seconds
//!
//! [update]
//! keys = ["…"]                                     # absent: the agent is never updated
//! trial_s = 60                                     # absent: 60 seconds
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::deadman::Limit;
use crate::host::local;
use crate::keep::Keep;
use crate::os;
use crate::release::key::PublicKey;

/// The agent's directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    directory: PathBuf,
    state: PathBuf,
    retention: Option<Retention>,
    dead_man: Option<Limit>,
    update: UpdateFile,
    /// Address of the control plane, and its authority's certificate.
    gateway: Option<(String, String)>,
}

/// What `config.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_snapshots: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_man_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateFile>,
}

/// Whose programs take the agent's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateFile {
    /// Public release keys, as `nexplane-agent release keygen` prints them.
    #[serde(default)]
    pub keys: Vec<PublicKey>,
    /// Seconds in which the control plane has to answer a new program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_s: Option<u32>,
}

impl UpdateFile {
    /// How long a new program is on trial.
    ///
    /// # Errors
    /// A sentence that says what may be said.
    pub fn trial(&self) -> Result<Limit, String> {
        let seconds = self.trial_s.unwrap_or(TRIAL_S);
        let wrong = || {
            format!(
                "[update] trial_s is a number of seconds from {SHORTEST_TRIAL_S} to {}, and not {seconds}",
                Limit::LONGEST_S
            )
        };
        Limit::new(seconds).filter(|_| seconds >= SHORTEST_TRIAL_S).ok_or_else(wrong)
    }
}

impl ConfigFile {
    /// `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ConfigError::Io { attempt: "read", path: path.to_owned(), source });
            }
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            let reason = error.message().to_owned();
            ConfigError::Malformed { path: path.to_owned(), reason }
        })
    }
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

/// A new program starts ten seconds after the earlier one ended, and is started three times.
/// Seconds of the trial of a new program, unless the host's owner says otherwise.
const TRIAL_S: u32 = 60;
const SHORTEST_TRIAL_S: u32 = 30;
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
    #[error("{path} is not understood: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("another agent runs with the directory {path}: stop it first")]
    InUse { path: PathBuf },
}

impl Config {
    /// One directory for everything.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        let state = directory.clone();
        let update = UpdateFile::default();
        Self { state, directory, retention: None, dead_man: None, update, gateway: None }
    }

    /// As the directory's `config.toml` says; as [`Config::new`] when there is none.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let mut config = Self::new(directory);
        let path = config.file();
        let Some(file) = ConfigFile::load(&path)? else { return Ok(config) };
        if let Some(state) = file.state_dir {
            if !state.is_absolute() {
                let reason = "state_dir is a path from the root on".to_owned();
                return Err(ConfigError::Malformed { path, reason });
            }
            config.state = state;
        }
        if let Some(seconds) = file.dead_man_s {
            match Limit::parse(&seconds.to_string()) {
                Ok(limit) => config.dead_man = Some(limit),
                Err(error) => {
                    return Err(ConfigError::Malformed { path, reason: error.to_string() });
                }
            }
        }
        config.update = file.update.unwrap_or_default();
        if let Err(reason) = config.update.trial() {
            return Err(ConfigError::Malformed { path, reason });
        }
        config.retention = match file.keep_snapshots.as_deref().map(Retention::parse).transpose() {
            Ok(retention) => retention,
            Err(error) => {
                return Err(ConfigError::Malformed { path, reason: error.to_string() });
            }
        };
        if let Some(control_plane) = file.control_plane {
            let path = config.ca();
            let ca_pem = std::fs::read_to_string(&path).map_err(|source| ConfigError::Io {
                attempt: "read",
                path,
                source,
            })?;
            config.gateway = Some((control_plane, ca_pem));
        }
        Ok(config)
    }

    /// What the host's owner writes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the agent writes.
    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// The certificate of the control plane's authority.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// How long before-states are kept, where `config.toml` says it.
    pub fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// How long an effect that may cut the line may stand unconfirmed, where `config.toml` says it.
    pub fn dead_man(&self) -> Option<Limit> {
        self.dead_man
    }

    /// Whose programs take the agent's place; nobody's unless `config.toml` says so.
    pub fn update(&self) -> &UpdateFile {
        &self.update
    }

    /// The control plane's address and its authority's certificate, where `config.toml` says them.
    pub fn gateway(&self) -> Option<(&String, &String)> {
        self.gateway.as_ref().map(|(control_plane, ca_pem)| (control_plane, ca_pem))
    }

    /// Where the identity is kept.
    pub fn keep(&self) -> Keep {
        Keep::directory(&self.state)
    }

    /// Makes the directory (mode 0700) if need be, and keeps other agents out of it for as long as
    /// the answer lives. The file holds the number of the process.
    pub fn lock(&self) -> Result<File, ConfigError> {
        let io =
            |attempt| move |source| ConfigError::Io { attempt, path: self.state.clone(), source };
        os::private_directory(&self.state).map_err(io("make the state directory"))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let mut file = os::private(&mut options)
            .open(self.state.join("lock"))
            .map_err(io("lock the state directory"))?;
        match file.try_lock() {
            Ok(()) => {
                let name = std::process::id().to_string();
                file.set_len(0)
                    .and_then(|()| file.write_all(name.as_bytes()))
                    .map_err(io("lock the state directory"))?;
                Ok(file)
            }
            Err(TryLockError::WouldBlock) => Err(ConfigError::InUse { path: self.state.clone() }),
            Err(TryLockError::Error(error)) => Err(io("lock the state directory")(error)),
        }
    }

    /// The process that holds the lock, as long as one does: it said so, and has the file open still. `None` where
    /// the system does not say who has a file open.
    pub fn holder(&self) -> Option<u32> {
        os::holder(&self.state.join("lock"))
    }

    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }

    /// There as long as an effect is armed and open.
    pub fn armed(&self) -> PathBuf {
        self.state.join("armed")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.state.join("snapshots")
    }

    /// Packages that undoing a change may need.
    pub fn packages(&self) -> PathBuf {
        self.state.join("packages")
    }

    pub fn policy(&self) -> PathBuf {
        self.directory.join("policy.toml")
    }

    /// What of the agent's own must stay out of reach of orders.
    pub fn own_paths(&self) -> Vec<PathBuf> {
        let mut own = vec![self.directory.clone(), self.state.clone(), self.snapshots()];
        own.extend(std::env::current_exe());
        own.extend(local::installed());
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
    fn the_owner_says_where_the_state_is_and_for_how_long() {
        let directory = tempfile::tempdir().unwrap();
        let plain = Config::open(directory.path()).unwrap();
        assert_eq!(plain, Config::new(directory.path()));
        let say = |text: &str| {
            std::fs::write(plain.file(), text).unwrap();
            Config::open(directory.path())
        };
        let state = directory.path().join("state");
        let text = format!("state_dir = '{}'\nkeep_snapshots = \"2d\"", state.display());
        let said = say(&text).unwrap();
        assert_eq!(said.journal(), state.join("journal"));
        assert_eq!(said.policy(), directory.path().join("policy.toml"));
        assert_eq!(said.retention(), Some(Retention { seconds: 2 * DAY_S }));
        assert_eq!(said.dead_man(), None);
        assert_eq!(say("dead_man_s = 90").unwrap().dead_man(), Limit::new(90));
        for wrong in [
            "state_dri = \"/x\"",
            "state_dir = \"x\"",
            "dead_man_s = 9",
            "dead_man_s = 601",
            "[update]\nkeys = [\"AAAA\"]",
            "[update]\ntrial_s = 29",
            "[update]\ntrial_s = 601",
            "[update]\nkey = []",
        ] {
            assert!(matches!(say(wrong), Err(ConfigError::Malformed { .. })), "{wrong}");
        }
        assert!(matches!(say("keep_snapshots = \"2\""), Err(ConfigError::Malformed { .. })));
        let away = "control_plane = \"https://x:1\"";
        assert!(matches!(say(away), Err(ConfigError::Io { .. })), "there is no ca.pem");
        std::fs::write(plain.ca(), "PEM").unwrap();
        let (control_plane, ca_pem) = ("https://x:1".to_owned(), "PEM".to_owned());
        assert_eq!(say(away).unwrap().gateway(), Some((&control_plane, &ca_pem)));
    }

    #[test]
    fn one_agent_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::new(directory.path().join("agent"));
        let lock = config.lock().unwrap();
        assert!(matches!(config.lock(), Err(ConfigError::InUse { .. })));
        let own = cfg!(target_os = "linux").then(std::process::id);
        assert_eq!(config.holder(), own);
        drop(lock);
        assert_eq!(config.holder(), None, "what stands in the file is old");
        config.lock().unwrap();
    }
}
