//! Where the system has no safe way to say it, or the agent does not ask yet.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::Uptime;

/// Time is told by the clock alone: see [`crate::deadman`] for what follows from it.
pub(crate) fn uptime() -> Option<Uptime> {
    None
}

/// Nobody says which process has a file open.
pub(crate) fn holder(_file: &Path) -> Option<u32> {
    None
}

/// A process that cannot be found cannot be asked either.
pub fn ask_renewal(_process: u32) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// macOS has the limit.
pub(crate) fn no_core_dumps() -> io::Result<()> {
    #[cfg(unix)]
    super::unix::no_core_files()?;
    Ok(())
}

/// There is no `sd_notify(3)`.
#[derive(Debug)]
pub(crate) struct Notifier(Infallible);

impl Notifier {
    pub fn open(_address: OsString) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn send(&self, _what: &str) -> io::Result<()> {
        match self.0 {}
    }
}
