//! What the agent itself needs of its operating system, besides the [`Host`](crate::host::Host) that orders
//! reach: private files, durable names, who it runs as, and the service manager that started it.
//!
//! The same names exist on every system, so that nothing outside of here asks which one it is. What a system
//! has no safe way to say is `None` there, and the caller does without. Deliberately absent: anything
//! that orders can reach.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod plain;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub use linux::ask_renewal;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Notifier, holder, no_core_dumps, uptime};
#[cfg(not(target_os = "linux"))]
pub use plain::ask_renewal;
#[cfg(not(target_os = "linux"))]
pub(crate) use plain::{Notifier, holder, no_core_dumps, uptime};
#[cfg(unix)]
pub use unix::{CONFIG_DIRECTORY, ROOT, host_name, is_writable_by_others};
#[cfg(unix)]
pub(crate) use unix::{
    is_of_administrators, open_carefully, private, private_directory, put_in_place, sync_directory,
};
#[cfg(windows)]
pub use windows::{CONFIG_DIRECTORY, ROOT, host_name, is_writable_by_others};
#[cfg(windows)]
pub(crate) use windows::{
    is_of_administrators, open_carefully, private, private_directory, put_in_place, sync_directory,
};

use std::io;
use std::time::Duration;

/// Set to `1`, it leaves memory images to the system.
const ALLOW_CORE_DUMPS: &str = "NEXPLANE_ALLOW_CORE_DUMPS";

/// Keeps keys and passwords that this process works with out of memory images. From here on a crash leaves no core
/// file and gives none to a handler, and nobody but root reads the process's memory. Programs that it starts have no
/// core files either.
///
/// The variable `NEXPLANE_ALLOW_CORE_DUMPS=1` is for finding a fault: nothing is changed then, and a warning says so.
/// On Windows nothing is changed either: error reporting is the administrator's there.
///
/// # Errors
/// The system refused. Whoever goes on all the same would work unprotected.
pub fn forbid_core_dumps() -> io::Result<()> {
    if std::env::var_os(ALLOW_CORE_DUMPS).is_some_and(|value| value == "1") {
        tracing::warn!(
            "{ALLOW_CORE_DUMPS} is set: a crash may write keys and passwords into a core file"
        );
        return Ok(());
    }
    no_core_dumps()
}

/// How long the machine has been running, and a name of this run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uptime {
    pub boot: String,
    pub since: Duration,
}
