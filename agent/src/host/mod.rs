//! How operations read and write a machine.
//!
//! Operations see [`Host`] and nothing else: no path of the real file system, no process, no clock.
//! So one conformance suite covers every operation on every kind of host. Programs are started for
//! packages, and for a check of its own files by sshd, from a fixed list. Deliberately absent: a shell,
//! and anything that follows a symbolic link.

pub mod account;
mod alias;
#[cfg(target_os = "linux")]
mod apt;
pub mod debian;
mod deny;
#[cfg(target_os = "linux")]
mod distribution;
pub mod fake;
mod fake_package;
pub(crate) mod fake_program;
#[cfg(target_os = "linux")]
mod kept;
mod kernel;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod local;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(unix)]
pub mod macos;
pub mod own_program;
pub mod package;
mod path;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod rpm;
pub mod sealing;
mod service;
pub mod shadow;
#[cfg(target_os = "linux")]
mod sshd;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
pub mod windows;

use std::fmt::Debug;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use deny::Deny;
pub use fake::FakeHost;
pub use fake_program::FakeProgram;
pub use kernel::{BadKey, BadValue, SysctlKey, SysctlValue};
#[cfg(target_os = "linux")]
pub use linux::LinuxHost;
pub use own_program::{Build, OwnProgram, Standing};
pub use package::{PackageManager, PackageName, PackageVersion};
pub use path::{BadMode, BadPath, HostPath, Mode};
pub use sealing::{Sealed, SealingKey};
pub use service::{BadUnit, Unit, UnitName};
#[cfg(target_os = "linux")]
pub use systemd::ServiceState;

/// Largest file content that is written, or captured before a write: 1 MiB.
pub const CONTENT_LIMIT: u64 = 1024 * 1024;

/// User and group of a file, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// One version of a file: changes with every write, rename and change of mode or owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Version {
    pub device: u64,
    pub inode: u64,
    pub changed_ns: i128,
}

/// A regular file with one name, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    pub size: u64,
    pub mode: Mode,
    pub ids: Ids,
    /// Carries file capabilities (`security.capability`).
    pub has_capabilities: bool,
    pub version: Version,
}

/// A file's content together with what was true of the file while it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileView {
    pub meta: FileMeta,
    pub content: Vec<u8>,
}

impl Debug for FileView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileView").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// What the kernel says of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemFacts {
    pub hostname: String,
    pub kernel: String,
    pub architecture: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub uptime_s: u64,
}

/// Which operating system a host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// As the `ID` of `os-release(5)`: `macos`, `windows`.
    pub id: String,
    pub name: String,
    pub version: String,
}

/// Processors that programs can use at the same time.
fn cpus() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// How a directory is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// It is where a file system begins.
    pub is_own: bool,
    /// Of `nodev`, `noexec` and `nosuid`, those that it has.
    pub options: Vec<&'static str>,
}

/// What a file is wanted for; some files may be given another mode but never read or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Content,
    Permission,
}

/// A machine, or something that behaves like one.
///
/// Every path is absolute within the host's root. Symbolic links, magic links, files with more than
/// one name and everything that is not a regular file are refused, not followed. A method that
/// writes either has its whole effect, durably, or reports an error; after an error nothing or a
/// part of it may have happened and the caller reads the file again.
pub trait Host: Send + Sync + Debug {
    /// Whether the agent may touch the path at all.
    ///
    /// # Errors
    /// [`HostError::Denied`] with the reason.
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError>;

    /// `None` when there is no such file.
    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError>;

    /// At most `limit` bytes; a larger file is [`HostError::TooLarge`]. `None` when absent.
    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError>;

    /// Puts a whole file in place of `expected` (`None`: there is no such file), in one step for
    /// every reader. Extended attributes of the replaced file are kept.
    ///
    /// # Errors
    /// [`HostError::Moved`] when the file is no longer `expected`; then nothing was changed.
    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError>;

    /// Sets owner, group and mode, in this order.
    ///
    /// # Errors
    /// [`HostError::Moved`] when the file is no longer `expected`; then nothing was changed.
    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError>;

    /// Removes the file.
    ///
    /// # Errors
    /// [`HostError::Moved`] when the file is no longer `expected`; then nothing was changed.
    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError>;

    /// Removes what an interrupted [`Host::write`] of this path left beside it.
    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError>;

    /// Whether the directory exists.
    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError>;

    /// Names in a directory, sorted, at most 10,000; empty when there is no such directory.
    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError>;

    /// A setting of the running kernel, with one space where the kernel shows white space; `None` when
    /// there is no such setting.
    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError>;

    /// Sets it.
    ///
    /// # Errors
    /// When the kernel refuses the value; then nothing was changed.
    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError>;

    /// Whether the setting can be written at all; inside a container most cannot.
    fn can_set(&self, _key: &SysctlKey) -> Result<bool, HostError> {
        Ok(true)
    }

    /// `None` when there is no such directory, or the host does not tell.
    fn mount(&self, _path: &HostPath) -> Result<Option<Mount>, HostError> {
        Ok(None)
    }

    /// Whether the SSH server would start with these directives before all others. Changes nothing.
    ///
    /// # Errors
    /// A sentence that says why not, or why nobody can tell.
    fn sshd_accepts(&self, _directives: &str) -> Result<(), String> {
        Err("there is no SSH server that could be asked".to_owned())
    }

    /// Keeps other programs from changing accounts until it is dropped, as `lckpwdf(3)` does. Waits 15
    /// seconds, the limit of that function.
    fn lock_accounts(&self) -> Result<Held, HostError>;

    /// The host's own key, under which a before-state holds what must not be read in it.
    ///
    /// # Errors
    /// When it has none: then nothing is done that needs one.
    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        Err(HostError::Unsupported { what: "sealing key" })
    }

    /// A unit of the service manager; `None` when there is no such unit.
    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError>;

    /// Makes the unit start with the host, or not.
    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError>;

    /// Starts or stops the unit, and waits until that is done.
    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError>;

    /// What installs and removes packages.
    ///
    /// # Errors
    /// When there is none that the agent knows.
    fn package_manager(&self) -> Result<Box<dyn PackageManager + '_>, HostError> {
        Err(HostError::Unsupported { what: "packages" })
    }

    /// Whether files have an owner, a group and a mode, as POSIX has them. Where they have not, those of a
    /// [`FileMeta`] say nothing, [`Host::write`] leaves them alone, and an operation that is about them is
    /// refused.
    fn has_modes(&self) -> bool {
        true
    }

    /// The agent's own program.
    ///
    /// # Errors
    /// When nothing here can start another one in its place.
    fn own_program(&self) -> Result<&dyn OwnProgram, HostError> {
        Err(HostError::Unsupported { what: "service of the agent" })
    }

    /// Owner that a new file gets when nobody asks for one: the agent itself.
    fn own_ids(&self) -> Ids;

    /// `None` where the host says it in `os-release(5)`.
    fn release(&self) -> Option<Release> {
        None
    }

    fn system(&self) -> SystemFacts;
}

/// A lock of a host, released when dropped.
#[derive(Debug, Default)]
pub struct Held {
    _lock: Option<std::fs::File>,
}

/// Why a root directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not open {path} as root directory")]
pub struct OpenRootError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Why a host could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{path} is not for the agent: {why}")]
    Denied { path: HostPath, why: &'static str },
    #[error("{path} is refused: {why}")]
    Unsafe { path: HostPath, why: &'static str },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: HostPath, limit: u64 },
    #[error("{path} does not exist")]
    Missing { path: HostPath },
    #[error("{path} was changed by somebody else in the meantime")]
    Moved { path: HostPath },
    #[error("there is no local {kind} '{name}'")]
    UnknownName { kind: &'static str, name: String },
    #[error("could not {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: HostPath,
        #[source]
        source: std::io::Error,
    },
    #[error("{package}: {why}")]
    Package { package: String, why: String },
    /// What changed stands in no plan and in no before-state, so it is not put back.
    #[error(
        "packages changed that stand in no plan, by this transaction or somebody else's at the same time: \
         {what}"
    )]
    Unplanned { what: String },
    #[error("not on this kind of host: it has no {what} that the agent could manage")]
    Unsupported { what: &'static str },
    #[error("{unit}: {why}")]
    Service { unit: String, why: String },
    #[error("{item}: {why}")]
    Item { item: String, why: String },
    #[error("{0} is not readable as this operation's before-state")]
    BadState(&'static str, #[source] serde_json::Error),
}

impl HostError {
    /// The message with its causes, for receipts and checks.
    pub fn sentence(&self) -> String {
        crate::sentence::of(self)
    }
}
