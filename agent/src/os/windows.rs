//! Windows: access lists instead of modes, and names that the file system makes durable itself.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use winsafe::co;

/// Where the agent's configuration is, unless it is said.
pub const CONFIG_DIRECTORY: &str = r"C:\ProgramData\nexplane-agent";
/// The whole system drive. Other drives are out of reach.
pub const ROOT: &str = r"C:\";

/// Not what a link leads to, but the link itself (`CreateFileW`).
const OPEN_REPARSE_POINT: u32 = co::FILE_FLAG::OPEN_REPARSE_POINT.raw();
const REPARSE_POINT: u32 = co::FILE_ATTRIBUTE::REPARSE_POINT.raw();

/// Makes the directory, and gives everything in it to Administrators, SYSTEM and its owner alone.
///
/// `icacls` with fixed arguments does it, because nothing that is safe to call from here sets an access list:
/// `/inheritance:r` drops what the directory above says, and the numbers are well-known security identifiers,
/// whose names differ by language.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).create(path)?;
    let protected = icacls(path);
    if protected.is_err() {
        // Not one that the next run would take for a private one.
        std::fs::remove_dir(path)?;
    }
    protected
}

fn icacls(path: &Path) -> io::Result<()> {
    let windows = std::env::var_os("SystemRoot").ok_or(io::ErrorKind::NotFound)?;
    let status = Command::new(PathBuf::from(windows).join(r"System32\icacls.exe"))
        .arg(path)
        .args(["/inheritance:r", "/grant:r"])
        .args(["*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F", "*S-1-3-4:(OI)(CI)F"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("icacls could not protect the directory: {status}")))
}

/// A file is as private as the directory that it is made in, see [`private_directory`].
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Opens for reading without following a link of whatever kind.
pub(crate) fn open_carefully(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OPEN_REPARSE_POINT).open(path)?;
    if file.metadata()?.file_attributes() & REPARSE_POINT != 0 {
        return Err(io::Error::other("it is a link"));
    }
    Ok(file)
}

/// Gives a file the name `to`, in place of what has it, and flushes it: that writes NTFS's journal, too, in
/// which the name stands.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    OpenOptions::new().write(true).open(to)?.sync_all()
}

/// NTFS writes names to its own journal; there is no way to wait for it without rights to the whole volume.
#[expect(clippy::unnecessary_wraps, reason = "it is the same function on every system")]
pub(crate) fn sync_directory(_file: &Path) -> io::Result<()> {
    Ok(())
}

/// Always true: who can write a file stands in its access list, which is not read here. The policy is as safe
/// as the directory that it lies in, and [`private_directory`] makes that one.
pub(crate) fn is_of_administrators(_path: &Path, _meta: &Metadata) -> bool {
    true
}

/// Nobody knows: see [`is_of_administrators`].
pub fn is_writable_by_others(_meta: &Metadata) -> Option<bool> {
    None
}

/// The machine's name of itself.
pub fn host_name() -> String {
    winsafe::GetComputerName().unwrap_or_default()
}
