//! What Linux and macOS have in common.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Where the agent's configuration is, unless it is said.
pub const CONFIG_DIRECTORY: &str = "/etc/nexplane-agent";
/// The whole machine.
pub const ROOT: &str = "/";

/// Makes the directory, and those above it, with mode 0700.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file that these options make has mode 0600.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Opens for reading without following a link and without waiting for whoever may be at the other end of a pipe.
pub(crate) fn open_carefully(path: &Path) -> io::Result<File> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let careful =
        i32::try_from(careful.bits()).expect("open flags fit in the C int that open(2) takes");
    OpenOptions::new().read(true).custom_flags(careful).open(path)
}

/// Gives a file the name `to`, in place of what has it, durably.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_directory(to)
}

/// Makes the name of a file durable.
pub(crate) fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether the file belongs to root and only root can write it.
pub(crate) fn is_of_administrators(_path: &Path, meta: &Metadata) -> bool {
    meta.uid() == 0 && is_writable_by_others(meta) == Some(false)
}

/// Whether others than the owner can write it, by its mode; `None` where nobody knows.
pub fn is_writable_by_others(meta: &Metadata) -> Option<bool> {
    Some(meta.mode() & 0o022 != 0)
}

/// The machine's name of itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// For this process and what it starts, for good: nobody but root raises the limit again.
pub(super) fn no_core_files() -> io::Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
