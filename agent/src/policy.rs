//! The host owner's say: `policy.toml` in the agent's configuration directory.
//!
//! The agent reads it for every order and never writes it. It must belong to root and be writable by
//! root alone. Without the file everything is allowed that the agent can do within its root; with a
//! file that cannot be read, understood or trusted, nothing is.
//!
//! ```toml
//! hold = false                            # true: change nothing until this is taken away
//! operations = ["host.set_file_content"]  # absent: all
//! paths = ["/etc", "/srv/app"]            # absent: all; what names no file has to be among the operations then
//! approvers = 1                           # people who approved, at least; absent: 0
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use nexplane_core::id::PersonId;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::host::HostPath;
use crate::os;

/// Largest policy file: 64 KiB.
const LIMIT: u64 = 64 * 1024;

/// The host owner's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Change nothing. Reading goes on.
    #[serde(default)]
    pub hold: bool,
    /// Operations that are allowed, by action id; all when absent.
    pub operations: Option<Vec<String>>,
    /// Directories and files that may be read and changed; all when absent. What names no file is not within
    /// any of them, and so is allowed by its name only, in [`Self::operations`].
    pub paths: Option<Vec<HostPath>>,
    /// How many people must have approved a change.
    #[serde(default)]
    pub approvers: usize,
}

/// Why a policy file cannot be followed; then everything is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("could not read the host owner's policy {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the host owner's policy {path} must be a regular file of at most 64 KiB")]
    NotAFile { path: PathBuf },
    #[error(
        "the host owner's policy {path} must belong to root and be writable by root alone: \
         chown root:root and chmod 0644"
    )]
    NotOfRoot { path: PathBuf },
    #[error("the host owner's policy {path} is not understood: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

/// A policy with the hash of its file; no hash when there is no file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub policy: Policy,
    /// SHA-256 of the file, hexadecimal.
    pub hash: Option<String>,
}

/// Where the host owner's say is.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    /// For machines in memory.
    Memory(Arc<RwLock<Policy>>),
}

impl Source {
    /// The policy as it is now.
    pub fn load(&self) -> Result<Policy, PolicyError> {
        match self {
            Self::File(path) => Policy::load(path).map(|loaded| loaded.policy),
            Self::Memory(policy) => {
                Ok(policy.read().unwrap_or_else(PoisonError::into_inner).clone())
            }
        }
    }

    /// As [`file_hash`].
    pub fn hash(&self) -> Option<String> {
        match self {
            Self::File(path) => file_hash(path),
            Self::Memory(_) => None,
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Policy {
    /// Reads the file; the default policy when there is none.
    pub fn load(path: &Path) -> Result<Loaded, PolicyError> {
        let io = |source| PolicyError::Io { path: path.to_owned(), source };
        let file = match os::open_carefully(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
            other => other.map_err(io)?,
        };
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() || meta.len() > LIMIT {
            return Err(PolicyError::NotAFile { path: path.to_owned() });
        }
        if !os::is_of_administrators(path, &meta) {
            return Err(PolicyError::NotOfRoot { path: path.to_owned() });
        }
        let mut text = String::new();
        File::take(file, LIMIT).read_to_string(&mut text).map_err(io)?;
        let hash = Some(hex::encode(Sha256::digest(&text)));
        toml::from_str(&text).map(|policy| Loaded { policy, hash }).map_err(|error| {
            let reason = error.message().to_owned();
            PolicyError::Malformed { path: path.to_owned(), reason }
        })
    }

    /// Whether the owner lets this operation read, and so possibly change, these files.
    ///
    /// # Errors
    /// A sentence that names the rule.
    pub fn check_reach(&self, operation: &str, paths: &[&HostPath]) -> Result<(), String> {
        if let Some(allowed) = &self.operations
            && !allowed.iter().any(|id| id == operation)
        {
            return Err(format!("the host's owner does not allow {operation}"));
        }
        let Some(roots) = &self.paths else { return Ok(()) };
        if paths.is_empty() && self.operations.is_none() {
            return Err(format!(
                "the host's owner allows some paths only, and {operation} names no file: the owner has to list it \
                 in `operations`, with all others that are allowed"
            ));
        }
        match paths.iter().find(|path| !roots.iter().any(|root| path.is_within(root))) {
            Some(path) => Err(format!("the host's owner does not allow {path}")),
            None => Ok(()),
        }
    }

    /// Whether the owner lets a change with these approvals happen now.
    ///
    /// # Errors
    /// A sentence that names the rule.
    pub fn check_effect(&self, approvals: &[PersonId]) -> Result<(), String> {
        if self.hold {
            return Err("the host's owner holds all changes".to_owned());
        }
        let people: BTreeSet<_> = approvals.iter().collect();
        if people.len() < self.approvers {
            return Err(format!(
                "the host's owner asks for {} approvals, and there are {}",
                self.approvers,
                people.len()
            ));
        }
        Ok(())
    }
}

/// SHA-256 of the file as it is, understood or not, for the control plane to see that it changed;
/// `None` when it is not there or not readable.
pub fn file_hash(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    os::open_carefully(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(hex::encode(Sha256::digest(&bytes)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn policy(text: &str) -> Policy {
        toml::from_str(text).unwrap()
    }

    fn path(text: &str) -> HostPath {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_said_is_everything_allowed() {
        let policy = policy("");
        assert_eq!(policy, Policy::default());
        assert_eq!(policy.check_reach("host.anything", &[&path("/etc/x")]), Ok(()));
        assert_eq!(policy.check_effect(&[]), Ok(()));
    }

    #[test]
    fn each_rule_refuses() {
        let policy = policy(
            "hold = true\noperations = [\"host.set_file_content\"]\npaths = [\"/etc\"]\napprovers = 2",
        );
        assert!(policy.check_reach("host.set_file_permission", &[]).is_err());
        assert!(policy.check_reach("host.set_file_content", &[&path("/srv/x")]).is_err());
        assert!(policy.check_reach("host.set_file_content", &[&path("/etcetera")]).is_err());
        assert!(policy.check_reach("host.set_file_content", &[&path("/etc/x")]).is_ok());
        assert!(policy.check_effect(&[]).unwrap_err().contains("holds"));
        let lifted = Policy { hold: false, ..policy };
        let [ann, bob] = [PersonId(Uuid::from_u128(1)), PersonId(Uuid::from_u128(2))];
        assert!(lifted.check_effect(&[ann, ann]).is_err(), "the same person twice is one");
        assert!(lifted.check_effect(&[ann, bob]).is_ok());
    }

    #[test]
    fn what_names_no_file_is_not_within_the_paths_that_are_allowed() {
        let paths_only = policy("paths = [\"/etc\"]");
        let refusal = paths_only.check_reach("host.install_package", &[]).unwrap_err();
        assert!(refusal.contains("host.install_package names no file"), "{refusal}");
        assert!(refusal.contains("`operations`"), "{refusal}");
        assert!(paths_only.check_reach("host.set_file_content", &[&path("/etc/x")]).is_ok());
        assert!(policy("paths = []").check_reach("host.install_package", &[]).is_err());
        let named = policy("paths = [\"/etc\"]\noperations = [\"host.install_package\"]");
        assert_eq!(named.check_reach("host.install_package", &[]), Ok(()));
        assert!(named.check_reach("host.remove_package", &[]).is_err());
        assert_eq!(policy("").check_reach("host.install_package", &[]), Ok(()));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(toml::from_str::<Policy>("hodl = true").is_err());
        assert!(toml::from_str::<Policy>("paths = [\"etc\"]").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_a_file_of_root_counts() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.toml");
        assert_eq!(Policy::load(&file).unwrap(), Loaded::default());
        std::fs::write(&file, "hold = true").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Policy::load(&file), Err(PolicyError::NotOfRoot { .. })));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        if rustix::process::geteuid().is_root() {
            let loaded = Policy::load(&file).unwrap();
            assert!(loaded.policy.hold);
            assert_eq!(loaded.hash.unwrap().len(), 64);
            std::fs::write(&file, "hold = maybe").unwrap();
            assert!(matches!(Policy::load(&file), Err(PolicyError::Malformed { .. })));
        } else {
            assert!(matches!(Policy::load(&file), Err(PolicyError::NotOfRoot { .. })));
        }
        #[cfg(target_os = "linux")]
        {
            let pipe = directory.path().join("pipe.toml");
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
            assert!(matches!(Policy::load(&pipe), Err(PolicyError::NotAFile { .. })));
        }
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(matches!(Policy::load(&link), Err(PolicyError::Io { .. })));
    }
}
