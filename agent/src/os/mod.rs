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
pub(crate) use linux::{Notifier, holder, uptime};
#[cfg(not(target_os = "linux"))]
pub use plain::ask_renewal;
#[cfg(not(target_os = "linux"))]
pub(crate) use plain::{Notifier, holder, uptime};
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

use std::time::Duration;

/// How long the machine has been running, and a name of this run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uptime {
    pub boot: String,
    pub since: Duration,
}
