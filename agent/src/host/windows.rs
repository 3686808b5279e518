//! A Windows machine, or the part of it beneath a root directory: `/ProgramData/x` is `C:\ProgramData\x`.
//!
//! Every directory on the way to a file is opened without following a reparse point (a symbolic link, a
//! junction, a mount) and kept open, shared for reading and writing but not for deleting, so that nobody
//! can rename it or put another in its place until the file has been used. The file itself must be a
//! regular one with one name. Other drives, streams of a file, short names and names of devices are refused.
//!
//! A file has no owner, group and mode here ([`Host::has_modes`]). Its access list stays as it is when its content is
//! replaced (`ReplaceFileW`); a new file inherits its directory's.
//!
//! Deliberately absent, and refused as not on this kind of host: access lists, services, packages, accounts,
//! the registry.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use winapi_util::file::{Information, information};
use winsafe::co::{self, FILE_ATTRIBUTE, FILE_FLAG, FILE_SHARE, REPLACEFILE};
use winsafe::{HKEY, RegistryValue};

use super::kernel::SysctlKey;
use super::{
    Access, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, OpenRootError, Release,
    SealingKey, SystemFacts, Unit, UnitName, Version, alias,
};

const LIST_LIMIT: usize = 10_000;
/// How often a read is repeated that somebody else's write overtook.
const READ_ATTEMPTS: u32 = 3;
/// Says nothing: there are no owners and modes.
const NO_IDS: Ids = Ids { uid: 0, gid: 0 };
const NO_MODE: Mode = Mode::from_bits(0);

/// Directories and files that are never touched, with everything beneath them, in lower case.
const DENIED: &[(&str, &str)] = &[
    ("/$recycle.bin", "it is the system's own"),
    ("/hiberfil.sys", "it is the system's memory"),
    ("/pagefile.sys", "it is the system's memory"),
    ("/program files/nexplane-agent", "it is the agent"),
    ("/programdata/nexplane-agent", "it belongs to the agent and the host's owner"),
    ("/programdata/ssh/administrators_authorized_keys", "it decides who may sign in"),
    ("/swapfile.sys", "it is the system's memory"),
    ("/system volume information", "it is the system's own"),
    ("/windows/ntds", "it holds the accounts of a domain and their password hashes"),
    ("/windows/system32/config", "it is the registry, with the accounts and their password hashes"),
];

/// Files whose name alone is denied, in any directory.
const DENIED_NAMES: &[&str] = &["authorized_keys", "authorized_keys2"];

/// The machine beneath a root directory.
#[derive(Debug)]
pub struct WindowsHost {
    /// In the form that Windows takes as it is (`\\?\C:\`).
    root: PathBuf,
    /// What is denied and exists, by its identity, whatever path leads to it.
    denied: Vec<((u64, u64), &'static str)>,
    sealing_key: Option<SealingKey>,
}

/// Where a file is, and the directories that lead there, held in place.
struct Place {
    path: PathBuf,
    directory: PathBuf,
    held: Vec<File>,
}

impl WindowsHost {
    /// The machine beneath `root` (`C:\` for all of the system drive). `own` are the agent's own files and
    /// directories, which stay out of reach.
    ///
    /// # Errors
    /// When `root` is not a directory.
    pub fn open(root: &Path, own: &[PathBuf]) -> Result<Self, OpenRootError> {
        let fail = |source: io::Error| OpenRootError { path: root.to_owned(), source };
        let real = root.canonicalize().map_err(fail)?;
        let meta = hold(&real).and_then(information).map_err(fail)?;
        if !is(&meta, FILE_ATTRIBUTE::DIRECTORY) {
            return Err(fail(io::ErrorKind::NotADirectory.into()));
        }
        let fixed =
            DENIED.iter().map(|(path, why)| (real.join(path.trim_start_matches('/')), *why));
        let own = own.iter().filter_map(|path| path.canonicalize().ok());
        let all = fixed.chain(own.map(|path| (path, "it belongs to the agent")));
        let denied = all
            .filter_map(|(path, why)| {
                Some((identity(&hold(&path).and_then(information).ok()?), why))
            })
            .collect();
        Ok(Self { root: real, denied, sealing_key: None })
    }

    /// With a key for what its before-states must not show.
    #[must_use]
    pub fn with_sealing_key(mut self, key: SealingKey) -> Self {
        self.sealing_key = Some(key);
        self
    }

    /// Refuses what is denied, under whatever path it was reached.
    fn not_denied(&self, path: &HostPath, meta: &Information) -> Result<(), HostError> {
        match self.denied.iter().find(|(one, _)| *one == identity(meta)) {
            Some((_, why)) => Err(HostError::Denied { path: path.clone(), why }),
            None => Ok(()),
        }
    }

    /// The directory, held in place; `None` when there is none.
    fn directory(&self, path: &HostPath, at: &Path) -> Result<Option<File>, HostError> {
        let directory = match hold(at) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(|error| failed("open the directory of", path, error))?,
        };
        let meta = information(&directory).map_err(|error| failed("look at", path, error))?;
        if is(&meta, FILE_ATTRIBUTE::REPARSE_POINT) {
            return Err(unsafe_path(path, "a part of it is a link"));
        }
        self.not_denied(path, &meta)?;
        Ok(is(&meta, FILE_ATTRIBUTE::DIRECTORY).then_some(directory))
    }

    /// Where the path leads; `None` when its directory does not exist.
    fn place(&self, path: &HostPath) -> Result<Option<Place>, HostError> {
        if let Some(why) = refused(path) {
            return Err(unsafe_path(path, why));
        }
        let mut directory = self.root.clone();
        let Some(root) = self.directory(path, &directory)? else { return Ok(None) };
        let mut held = vec![root];
        if let Some(parent) = path.parent() {
            for name in parent.relative().split('/') {
                directory.push(name);
                let Some(next) = self.directory(path, &directory)? else { return Ok(None) };
                held.push(next);
            }
        }
        Ok(Some(Place { path: directory.join(path.name()), directory, held }))
    }

    /// The place of a file whose directory has to exist.
    fn place_of(&self, path: &HostPath) -> Result<Place, HostError> {
        let parent = || path.parent().unwrap_or_else(|| path.clone());
        self.place(path)?.ok_or_else(|| HostError::Missing { path: parent() })
    }

    /// Opens a regular file with one name; `None` when absent.
    fn open_file(
        &self,
        path: &HostPath,
        place: &Place,
    ) -> Result<Option<(File, FileMeta)>, HostError> {
        let share = FILE_SHARE::READ | FILE_SHARE::WRITE | FILE_SHARE::DELETE;
        let flags = FILE_FLAG::OPEN_REPARSE_POINT | FILE_FLAG::BACKUP_SEMANTICS;
        let mut options = OpenOptions::new();
        options.read(true).share_mode(share.raw()).custom_flags(flags.raw());
        let file = match options.open(&place.path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(|error| failed("open", path, error))?,
        };
        let meta = information(&file).map_err(|error| failed("look at", path, error))?;
        if is(&meta, FILE_ATTRIBUTE::REPARSE_POINT) {
            return Err(unsafe_path(path, "a part of it is a link"));
        }
        if is(&meta, FILE_ATTRIBUTE::DIRECTORY) {
            return Err(unsafe_path(path, "it is not a regular file"));
        }
        if meta.number_of_links() > 1 {
            return Err(unsafe_path(path, "it has more than one name (hard links)"));
        }
        self.not_denied(path, &meta)?;
        Ok(Some((file, of(&meta))))
    }

    /// The file, when it is still `expected`; else [`HostError::Moved`].
    fn still(
        &self,
        path: &HostPath,
        place: &Place,
        expected: Option<&FileMeta>,
    ) -> Result<(), HostError> {
        let now = self.open_file(path, place)?;
        if now.as_ref().map(|(_, meta)| meta) == expected {
            Ok(())
        } else {
            Err(HostError::Moved { path: path.clone() })
        }
    }

    fn write_beside(
        &self,
        path: &HostPath,
        place: &Place,
        temporary: &Path,
        content: &[u8],
    ) -> Result<(), HostError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).share_mode(0);
        options.custom_flags(FILE_FLAG::OPEN_REPARSE_POINT.raw());
        let mut file =
            options.open(temporary).map_err(|error| failed("create a file beside", path, error))?;
        file.write_all(content).map_err(|error| failed("write", path, error))?;
        file.sync_all().map_err(|error| failed("make durable", path, error))?;
        // Nothing but an empty directory can be made a link, and it is not empty any more.
        let held = place.held.last().ok_or_else(|| HostError::Moved { path: path.clone() })?;
        let meta = information(held).map_err(|error| failed("look at", path, error))?;
        if is(&meta, FILE_ATTRIBUTE::REPARSE_POINT) {
            return Err(unsafe_path(path, "a part of it is a link"));
        }
        Ok(())
    }

    /// Gives the temporary file its name. Without `replaces` the name must be free.
    fn put_in_place(
        path: &HostPath,
        place: &Place,
        temporary: &Path,
        replaces: bool,
    ) -> Result<(), HostError> {
        let io = |error| failed("put in place", path, error);
        if replaces {
            let text = |path: &Path| {
                path.to_str()
                    .map(ToOwned::to_owned)
                    .ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))
            };
            // The access list, the attributes and the streams of the earlier file stay.
            winsafe::ReplaceFile(
                &text(&place.path)?,
                &text(temporary)?,
                None,
                REPLACEFILE::default(),
            )
            .map_err(|error| io(io::Error::from_raw_os_error(error.raw().cast_signed())))?;
        } else {
            match fs::hard_link(temporary, &place.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(HostError::Moved { path: path.clone() });
                }
                other => other.map_err(io)?,
            }
            fs::remove_file(temporary).map_err(io)?;
        }
        // Flushing a file writes the journal of NTFS, in which its name stands.
        let durable = OpenOptions::new().write(true).open(&place.path);
        durable
            .and_then(|file| file.sync_all())
            .map_err(|error| failed("make durable", path, error))
    }
}

/// Opens a directory or a file so that it keeps its name until the answer is dropped.
fn hold(path: &Path) -> io::Result<File> {
    // With an access that does not count as reading, nothing would be held.
    OpenOptions::new()
        .read(true)
        .share_mode((FILE_SHARE::READ | FILE_SHARE::WRITE).raw())
        .custom_flags((FILE_FLAG::OPEN_REPARSE_POINT | FILE_FLAG::BACKUP_SEMANTICS).raw())
        .open(path)
}

/// Why the path is refused for its text alone.
fn refused(path: &HostPath) -> Option<&'static str> {
    let by_windows = || path.relative().split('/').find_map(alias::refused_by_windows);
    alias::refused(path.as_str()).or_else(by_windows)
}

fn is(meta: &Information, attribute: FILE_ATTRIBUTE) -> bool {
    meta.file_attributes() & u64::from(attribute.raw()) != 0
}

/// Volume and number of the file on it.
fn identity(meta: &Information) -> (u64, u64) {
    (meta.volume_serial_number(), meta.file_index())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn of(meta: &Information) -> FileMeta {
    let (device, inode) = identity(meta);
    // In steps of 100 ns.
    let changed_ns = i128::from(meta.last_write_time().unwrap_or(0)) * 100;
    FileMeta {
        size: meta.file_size(),
        mode: NO_MODE,
        ids: NO_IDS,
        has_capabilities: false,
        version: Version { device, inode, changed_ns },
    }
}

/// Name of the file that is written before it takes the place of `path`: always the same, so that
/// an interrupted write is found again.
fn temporary(place: &Place, path: &HostPath) -> PathBuf {
    let hash = hex::encode(Sha256::digest(alias::folded(path.name())));
    place.directory.join(format!(".nexplane-{}.tmp", hash.get(..16).unwrap_or(&hash)))
}

fn unsafe_path(path: &HostPath, why: &'static str) -> HostError {
    HostError::Unsafe { path: path.clone(), why }
}

fn failed(attempt: &'static str, path: &HostPath, source: io::Error) -> HostError {
    HostError::Io { attempt, path: path.clone(), source }
}

/// A value of the registry's description of this Windows.
fn described(value: &str) -> Option<String> {
    let key = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
    let any = co::RRF::RT_ANY;
    match HKEY::LOCAL_MACHINE.RegGetValue(Some(key), Some(value), any) {
        Ok(RegistryValue::Sz(text)) => Some(text),
        Ok(_) | Err(_) => None,
    }
}

impl Host for WindowsHost {
    fn may_touch(&self, path: &HostPath, _access: Access) -> Result<(), HostError> {
        if let Some(why) = refused(path) {
            return Err(unsafe_path(path, why));
        }
        let folded = alias::folded(path.as_str());
        let within = |directory: &str| {
            folded
                .strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let name = alias::folded(path.name());
        let fixed = DENIED.iter().find(|(directory, _)| within(directory)).map(|(_, why)| *why);
        let named = DENIED_NAMES.contains(&name.as_str()).then_some("it decides who may sign in");
        if let Some(why) = fixed.or(named) {
            return Err(HostError::Denied { path: path.clone(), why });
        }
        // Also by identity, as far as it exists and can be looked at; whoever uses it sees to it again.
        if let Some(place) = self.place(path)?
            && let Ok(meta) = hold(&place.path).and_then(information)
        {
            self.not_denied(path, &meta)?;
        }
        Ok(())
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        Ok(self.open_file(path, &place)?.map(|(_, meta)| meta))
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        for _ in 0..READ_ATTEMPTS {
            let Some((mut file, before)) = self.open_file(path, &place)? else { return Ok(None) };
            let mut content = Vec::new();
            (&mut file)
                .take(limit.saturating_add(1))
                .read_to_end(&mut content)
                .map_err(|error| failed("read", path, error))?;
            let after = information(&file).map_err(|error| failed("look at", path, error))?;
            let after = of(&after);
            if before.size > limit || content.len() as u64 > limit {
                return Err(HostError::TooLarge { path: path.clone(), limit });
            }
            if before == after && content.len() as u64 == after.size {
                return Ok(Some(FileView { meta: after, content }));
            }
        }
        Err(HostError::Moved { path: path.clone() })
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        _mode: Mode,
        _ids: Ids,
    ) -> Result<(), HostError> {
        let place = self.place_of(path)?;
        let temporary = temporary(&place, path);
        self.still(path, &place, expected)?;
        let written = self
            .write_beside(path, &place, &temporary, content)
            .and_then(|()| self.still(path, &place, expected))
            .and_then(|()| Self::put_in_place(path, &place, &temporary, expected.is_some()));
        if written.is_err() {
            // The error that is reported is the first one; a leftover is removed at the next write.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn set_permission(
        &self,
        _path: &HostPath,
        _expected: &FileMeta,
        _mode: Mode,
        _ids: Ids,
    ) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "owner, group and mode of a file" })
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        let place = self.place_of(path)?;
        self.still(path, &place, Some(expected))?;
        fs::remove_file(&place.path).map_err(|error| failed("remove", path, error))
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        let Some(place) = self.place(path)? else { return Ok(()) };
        match fs::remove_file(temporary(&place, path)) {
            Err(error) if !is_absent(&error) => Err(failed("tidy up beside", path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        let Some(place) = self.place(path)? else { return Ok(false) };
        Ok(self.directory(path, &place.path)?.is_some())
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        let Some(place) = self.place(path)? else { return Ok(Vec::new()) };
        let Some(_held) = self.directory(path, &place.path)? else { return Ok(Vec::new()) };
        let entries = fs::read_dir(&place.path).map_err(|error| failed("list", path, error))?;
        let mut names = Vec::new();
        for entry in entries.take(LIST_LIMIT) {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn kernel_setting(&self, _key: &SysctlKey) -> Result<Option<String>, HostError> {
        Err(HostError::Unsupported { what: "settings of the Linux kernel" })
    }

    fn set_kernel_setting(&self, _key: &SysctlKey, _value: &str) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "settings of the Linux kernel" })
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        Err(HostError::Unsupported { what: "accounts" })
    }

    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        self.sealing_key.as_ref().ok_or(HostError::Unsupported { what: "sealing key" })
    }

    fn unit(&self, _name: &UnitName) -> Result<Option<Unit>, HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn set_enabled(&self, _name: &UnitName, _enabled: bool) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn set_active(&self, _name: &UnitName, _active: bool) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn has_modes(&self) -> bool {
        false
    }

    fn own_ids(&self) -> Ids {
        NO_IDS
    }

    fn release(&self) -> Option<Release> {
        let name = described("ProductName").unwrap_or_else(|| "Windows".to_owned());
        let version = described("CurrentVersion").unwrap_or_default();
        Some(Release { id: "windows".to_owned(), name, version })
    }

    fn system(&self) -> SystemFacts {
        let memory = winsafe::GlobalMemoryStatusEx();
        SystemFacts {
            hostname: crate::os::host_name(),
            kernel: described("CurrentBuildNumber").unwrap_or_default(),
            architecture: std::env::consts::ARCH.to_owned(),
            cpus: super::cpus(),
            memory_bytes: memory.map_or(0, |memory| memory.ullTotalPhys),
            uptime_s: winsafe::GetTickCount64() / 1000,
        }
    }
}
