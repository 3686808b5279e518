//! Files beneath a root directory, reached by descriptor: what Linux and macOS have in common.
//!
//! Every file is looked at through a descriptor, and used through that descriptor, so there is no moment
//! between a check and its use at which a name could come to mean another file. How a path is
//! resolved is each system's own: see [`way`].

mod way;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self as sys, AtFlags, CWD, Dir, FileType, Gid, OFlags, RenameFlags, Stat, Uid, XattrFlags,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::deny::Deny;
use super::{FileMeta, FileView, HostError, HostPath, Ids, Mode, OpenRootError, Version};
pub(super) use way::Way;

const CAPABILITIES: &str = "security.capability";
/// Most bytes of one extended attribute (`XATTR_SIZE_MAX` of the kernel).
const XATTR_LIMIT: usize = 64 * 1024;
const LIST_LIMIT: usize = 10_000;
/// How often a read is repeated that somebody else's write overtook.
const READ_ATTEMPTS: u32 = 3;

/// The files beneath a root directory. Methods promise what those of [`Host`](super::Host) do.
#[derive(Debug)]
pub(super) struct Files {
    pub root: OwnedFd,
    way: Way,
    deny: Deny,
    /// Device and inode of the agent's own directories, in case they have a second path.
    own_directories: Vec<(u64, u64)>,
    pub own_ids: Ids,
}

impl Files {
    /// Those beneath `root`. `own` are the agent's own files and directories, which stay out of reach.
    ///
    /// # Errors
    /// When `root` is not a directory or the kernel does not know the way.
    pub fn open(root: &Path, own: &[PathBuf], way: Way) -> Result<Self, OpenRootError> {
        let fail = |source: io::Error| OpenRootError { path: root.to_owned(), source };
        let real = root.canonicalize().map_err(fail)?;
        let descriptor = way.open_root(&real).map_err(|error| fail(error.into()))?;
        let own: Vec<PathBuf> = own.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let denied = own
            .iter()
            .filter_map(|path| path.strip_prefix(&real).ok()?.to_str())
            .filter_map(|relative| format!("/{relative}").parse().ok())
            .collect();
        let own_directories = own
            .iter()
            .filter(|path| path.is_dir())
            .filter_map(|path| sys::statat(CWD, path, AtFlags::empty()).ok())
            .map(|stat| place(&stat))
            .collect();
        let own_ids = Ids {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        Ok(Self { root: descriptor, way, deny: Deny::new(denied), own_directories, own_ids })
    }

    /// Opens what the path names, or `None` when nothing does.
    pub fn resolve(&self, path: &HostPath, flags: OFlags) -> Result<Option<OwnedFd>, HostError> {
        self.way.resolve(&self.root, path, flags)
    }

    /// The directory that holds the file, open for `openat` and `fsync`.
    pub fn directory_of(&self, path: &HostPath) -> Result<OwnedFd, HostError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = match path.parent() {
            Some(parent) => {
                self.resolve(&parent, flags)?.ok_or(HostError::Missing { path: parent })?
            }
            None => sys::openat(&self.root, ".", flags | OFlags::CLOEXEC, sys::Mode::empty())
                .map_err(|error| failed("open the directory of", path, error))?,
        };
        self.not_own(path, &directory)?;
        Ok(directory)
    }

    /// Refuses a file in one of the agent's own directories, under whatever path it was reached.
    fn not_own(&self, path: &HostPath, directory: &OwnedFd) -> Result<(), HostError> {
        let stat = sys::fstat(directory).map_err(|e| failed("look at", path, e))?;
        if self.own_directories.contains(&place(&stat)) {
            return Err(HostError::Denied { path: path.clone(), why: "it belongs to the agent" });
        }
        Ok(())
    }

    /// Opens a regular file with one name for reading; `None` when absent.
    ///
    /// It is looked at first, because opening a device or a pipe can have an effect.
    fn open_file(&self, path: &HostPath) -> Result<Option<(OwnedFd, Stat)>, HostError> {
        let directory = self.way.look() | OFlags::DIRECTORY;
        if let Some(parent) = path.parent()
            && let Some(directory) = self.resolve(&parent, directory)?
        {
            self.not_own(path, &directory)?;
        }
        let Some(first) = self.way.stat(&self.root, path)? else { return Ok(None) };
        regular(path, &first)?;
        let Some(opened) = self.resolve(path, OFlags::RDONLY)? else { return Ok(None) };
        let second = sys::fstat(&opened).map_err(|e| failed("look at", path, e))?;
        regular(path, &second)?;
        if place(&first) == place(&second) {
            Ok(Some((opened, second)))
        } else {
            Err(HostError::Moved { path: path.clone() })
        }
    }

    /// The file's metadata, when it is still `expected`; else [`HostError::Moved`].
    fn still(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
    ) -> Result<Option<OwnedFd>, HostError> {
        let now = self.open_file(path)?;
        let meta = now.as_ref().map(|(file, stat)| meta(file, stat));
        if meta.as_ref() == expected {
            Ok(now.map(|(file, _)| file))
        } else {
            Err(HostError::Moved { path: path.clone() })
        }
    }

    fn write_beside(
        path: &HostPath,
        directory: &OwnedFd,
        replaced: Option<&OwnedFd>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let io = |attempt| move |error: io::Error| io_failed(attempt, path, error);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let temporary = temporary_name(path);
        let private = sys::Mode::from_raw_mode(0o600);
        let descriptor = sys::openat(directory, &temporary, flags | OFlags::CLOEXEC, private)
            .map_err(|error| failed("create a file beside", path, error))?;
        let mut file = File::from(descriptor);
        file.write_all(content).map_err(io("write"))?;
        chown(&file, path, ids)?;
        if let Some(replaced) = replaced {
            copy_attributes(replaced, &file)
                .map_err(|error| failed("keep the extended attributes of", path, error))?;
        }
        sys::fchmod(&file, raw(mode)).map_err(|error| failed("set the mode of", path, error))?;
        file.sync_all().map_err(io("make durable"))
    }

    /// Gives the temporary file its name. Without `replaced` the name must be free.
    fn put_in_place(path: &HostPath, directory: &OwnedFd, replaces: bool) -> Result<(), HostError> {
        let temporary = temporary_name(path);
        let rename =
            |flags| sys::renameat_with(directory, &temporary, directory, path.name(), flags);
        let result = if replaces {
            rename(RenameFlags::empty())
        } else {
            match rename(RenameFlags::NOREPLACE) {
                // The file system does not know the flag; a hard link never replaces either.
                Err(Errno::INVAL | Errno::NOTSUP) => {
                    sys::linkat(directory, &temporary, directory, path.name(), AtFlags::empty())
                        .and_then(|()| sys::unlinkat(directory, &temporary, AtFlags::empty()))
                }
                other => other,
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(HostError::Moved { path: path.clone() }),
            Err(error) => Err(failed("put in place", path, error)),
        }?;
        sync_directory(path, directory)
    }
    /// What of them is out of reach.
    pub fn deny(&self) -> &Deny {
        &self.deny
    }

    pub fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        Ok(self.open_file(path)?.map(|(file, stat)| meta(&file, &stat)))
    }

    pub fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        for _ in 0..READ_ATTEMPTS {
            let Some((file, stat)) = self.open_file(path)? else { return Ok(None) };
            let before = meta(&file, &stat);
            let mut content = Vec::new();
            let mut file = File::from(file);
            (&mut file)
                .take(limit.saturating_add(1))
                .read_to_end(&mut content)
                .map_err(|error| io_failed("read", path, error))?;
            let stat = sys::fstat(&file).map_err(|e| failed("look at", path, e))?;
            let after = meta(&OwnedFd::from(file), &stat);
            if before.size > limit || content.len() as u64 > limit {
                return Err(HostError::TooLarge { path: path.clone(), limit });
            }
            if before == after && content.len() as u64 == after.size {
                return Ok(Some(FileView { meta: after, content }));
            }
        }
        Err(HostError::Moved { path: path.clone() })
    }

    pub fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        let directory = self.directory_of(path)?;
        let replaced = self.still(path, expected)?;
        let written = Self::write_beside(path, &directory, replaced.as_ref(), content, mode, ids)
            .and_then(|()| self.still(path, expected))
            .and_then(|_| Self::put_in_place(path, &directory, expected.is_some()));
        if written.is_err() {
            // The error that is reported is the first one; a leftover is removed at the next write.
            let _ = sys::unlinkat(&directory, temporary_name(path), AtFlags::empty());
        }
        written
    }

    pub fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.directory_of(path)?;
        let Some(descriptor) = self.still(path, Some(expected))? else {
            return Err(HostError::Moved { path: path.clone() });
        };
        let file = File::from(descriptor);
        chown(&file, path, ids)?;
        sys::fchmod(&file, raw(mode)).map_err(|error| failed("set the mode of", path, error))?;
        file.sync_all().map_err(|error| io_failed("make durable", path, error))
    }

    pub fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        let directory = self.directory_of(path)?;
        self.still(path, Some(expected))?;
        sys::unlinkat(&directory, path.name(), AtFlags::empty())
            .map_err(|error| failed("remove", path, error))?;
        sync_directory(path, &directory)
    }

    pub fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        let directory = match self.directory_of(path) {
            Err(HostError::Missing { .. }) => return Ok(()),
            other => other?,
        };
        match sys::unlinkat(&directory, temporary_name(path), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("tidy up beside", path, error)),
        }
    }

    pub fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        Ok(self.resolve(path, self.way.look() | OFlags::DIRECTORY)?.is_some())
    }

    pub fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        let Some(directory) = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        let entries = Dir::new(directory).map_err(|error| failed("list", path, error))?;
        for entry in entries.take(LIST_LIMIT) {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Name of the file that is written before it takes the place of `path`: always the same, so that
/// an interrupted write is found again.
fn temporary_name(path: &HostPath) -> String {
    let hash = hex::encode(Sha256::digest(path.name()));
    format!(".nexplane-{}.tmp", hash.get(..16).unwrap_or(&hash))
}

fn regular(path: &HostPath, stat: &Stat) -> Result<(), HostError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unsafe_path(path, "it is not a regular file"));
    }
    if stat.st_nlink > 1 {
        return Err(unsafe_path(path, "it has more than one name (hard links)"));
    }
    Ok(())
}

#[allow(clippy::useless_conversion, reason = "not useless on macOS")]
fn meta(file: &OwnedFd, stat: &Stat) -> FileMeta {
    let changed_ns = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    let (device, inode) = place(stat);
    FileMeta {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: Mode::from_bits(stat.st_mode.into()),
        ids: Ids { uid: stat.st_uid, gid: stat.st_gid },
        has_capabilities: sys::fgetxattr(file, CAPABILITIES, &mut [0_u8; 0][..]).is_ok(),
        version: Version { device, inode, changed_ns },
    }
}

/// Gives the file to its owner, if it is not theirs already.
fn chown(file: &File, path: &HostPath, ids: Ids) -> Result<(), HostError> {
    let stat = sys::fstat(file).map_err(|e| failed("look at", path, e))?;
    if (stat.st_uid, stat.st_gid) == (ids.uid, ids.gid) {
        return Ok(());
    }
    sys::fchown(file, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)))
        .map_err(|error| failed("set the owner of", path, error))
}

/// Copies what a rename would otherwise lose: access lists, security labels, user attributes.
fn copy_attributes(from: &OwnedFd, to: &File) -> Result<(), Errno> {
    let mut names = vec![0_u8; XATTR_LIMIT];
    let length = match sys::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; XATTR_LIMIT];
        let length = sys::fgetxattr(from, name, &mut value[..])?;
        value.truncate(length);
        sys::fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

fn sync_directory(path: &HostPath, directory: &OwnedFd) -> Result<(), HostError> {
    // As std does it, because fsync(2) of macOS does not wait for the disk.
    let directory = directory.try_clone().map(File::from);
    directory
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_failed("make durable the directory of", path, error))
}

/// The type of a mode differs by system, the bits of a [`Mode`] do not.
fn raw(mode: Mode) -> sys::Mode {
    sys::Mode::from_bits_truncate(mode.bits() as _)
}

/// Device and inode. Their types differ by system.
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_fallible_conversions,
    reason = "not useless on macOS"
)]
pub(super) fn place(stat: &Stat) -> (u64, u64) {
    (u64::try_from(stat.st_dev).unwrap_or(u64::MAX), stat.st_ino.into())
}

pub(super) fn unsafe_path(path: &HostPath, why: &'static str) -> HostError {
    HostError::Unsafe { path: path.clone(), why }
}

pub(super) fn failed(attempt: &'static str, path: &HostPath, error: Errno) -> HostError {
    io_failed(attempt, path, error.into())
}

pub(super) fn io_failed(attempt: &'static str, path: &HostPath, source: io::Error) -> HostError {
    HostError::Io { attempt, path: path.clone(), source }
}
