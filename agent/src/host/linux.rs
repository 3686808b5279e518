//! A Linux machine, or the part of it beneath a root directory.
//!
//! Every file is reached by `openat2(2)` from the root's descriptor with `RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`, looked at through that descriptor, and used
//! through that descriptor. So there is no moment between a check and its use at which a name could
//! come to mean another file. Needs Linux 5.6.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{
    self as sys, AtFlags, CWD, Dir, FileType, Gid, OFlags, RenameFlags, ResolveFlags, Stat,
    StatVfsMountFlags, Uid, XattrFlags,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::apt::Apt;
use super::deny::Deny;
use super::kept::KeptPackages;
use super::kernel::{self, SysctlKey, SysctlValue};
use super::lock;
use super::sshd;
use super::systemd::{self, ServiceState, Systemd};
use super::{
    Access, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, Mount, OwnProgram,
    PackageManager, SealingKey, SystemFacts, Unit, UnitName, Version,
};

const CAPABILITIES: &str = "security.capability";
/// Most bytes of one extended attribute (`XATTR_SIZE_MAX` of the kernel).
const XATTR_LIMIT: usize = 64 * 1024;
const LIST_LIMIT: usize = 10_000;
/// The lock of all programs that change accounts, and how long they wait for it (`lckpwdf(3)`).
const LOCK_FILE: &str = "/etc/.pwd.lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// How often a read is repeated that somebody else's write overtook.
const READ_ATTEMPTS: u32 = 3;

/// Kernel interfaces that look like regular files, wherever they are mounted: proc, sysfs,
/// cgroup2, debugfs, tracefs, securityfs, selinuxfs, bpf, configfs, efivarfs (`linux/magic.h`).
const KERNEL_FILE_SYSTEMS: [u32; 10] = [
    0x9fa0,
    0x6265_6572,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0xcafe_4a11,
    0x6265_6570,
    0xde5e_81e4,
];

/// The machine beneath a root directory.
#[derive(Debug)]
pub struct LinuxHost {
    root: OwnedFd,
    deny: Deny,
    /// Device and inode of the agent's own directories, in case they have a second path.
    own_directories: Vec<(u64, u64)>,
    own_ids: Ids,
    /// Longest wait for a unit to start or stop.
    patience: Duration,
    kept_packages: KeptPackages,
    sealing_key: Option<SealingKey>,
    own_program: Option<Arc<dyn OwnProgram>>,
}

/// Why a root directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not open {path} as root directory")]
pub struct OpenRootError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LinuxHost {
    /// The machine beneath `root` (`/` for all of it). `own` are the agent's own files and
    /// directories, which stay out of reach.
    ///
    /// # Errors
    /// When `root` is not a directory or the kernel has no `openat2(2)`.
    pub fn open(root: &Path, own: &[PathBuf]) -> Result<Self, OpenRootError> {
        let fail = |source: io::Error| OpenRootError { path: root.to_owned(), source };
        let real = root.canonicalize().map_err(fail)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = sys::open(&real, flags, sys::Mode::empty()).map_err(|e| fail(e.into()))?;
        sys::openat2(&descriptor, ".", flags, sys::Mode::empty(), ResolveFlags::BENEATH)
            .map_err(|e| fail(e.into()))?;
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
            .map(|stat| (stat.st_dev, stat.st_ino))
            .collect();
        let own_ids = Ids {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let (deny, patience) = (Deny::new(denied), systemd::PATIENCE);
        let (kept_packages, sealing_key) = (KeptPackages::default(), None);
        Ok(Self {
            root: descriptor,
            deny,
            own_directories,
            own_ids,
            patience,
            kept_packages,
            sealing_key,
            own_program: None,
        })
    }

    /// With a key for what its before-states must not show.
    #[must_use]
    pub fn with_sealing_key(mut self, key: SealingKey) -> Self {
        self.sealing_key = Some(key);
        self
    }

    /// With a program of the agent that can be replaced.
    #[must_use]
    pub fn with_own_program(mut self, program: Arc<dyn OwnProgram>) -> Self {
        self.own_program = Some(program);
        self
    }

    /// Waits this long at most for a unit to start or stop, whatever its own limit.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Keeps packages for the way back in this directory, which belongs to the agent.
    #[must_use]
    pub fn keeping_packages_in(mut self, directory: PathBuf) -> Self {
        self.kept_packages = KeptPackages::within(directory);
        self
    }

    /// The manager whose bus is beneath the root, and not where a link leads.
    fn systemd(&self, unit: &UnitName) -> Result<Systemd, HostError> {
        let path: HostPath = systemd::SOCKET.parse().expect("the path is normal and absolute");
        let socket = self.resolve(&path, OFlags::PATH)?.ok_or_else(|| HostError::Service {
            unit: unit.to_string(),
            why: format!("there is no system bus at {path} to ask systemd"),
        })?;
        Ok(Systemd::at(socket, self.patience))
    }

    /// What the service manager knows of a service.
    pub fn service(&self, name: &UnitName) -> Result<ServiceState, HostError> {
        self.systemd(name)?.service(name)
    }

    /// Ends the main process of a service at once. What starts it again does so.
    pub fn kill_service(&self, name: &UnitName) -> Result<(), HostError> {
        self.systemd(name)?.kill(name)
    }

    /// Makes the service manager read the unit's files again, or notice that they are gone.
    pub fn reload_unit(&self, name: &UnitName) -> Result<(), HostError> {
        self.systemd(name)?.reload(name)
    }

    /// Whether this is the machine itself and not a part of it.
    fn is_whole(&self) -> bool {
        let here = sys::fstat(&self.root).map(|stat| (stat.st_dev, stat.st_ino));
        let whole = sys::stat("/").map(|stat| (stat.st_dev, stat.st_ino));
        here.is_ok() && here == whole
    }

    /// Opens what the path names, or `None` when nothing does.
    fn resolve(&self, path: &HostPath, flags: OFlags) -> Result<Option<OwnedFd>, HostError> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // openat2(2) refuses flags that mean nothing, as these would for `O_PATH`.
        let careful = OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = flags | if flags.contains(OFlags::PATH) { OFlags::empty() } else { careful };
        let flags = flags | OFlags::CLOEXEC;
        let mut attempts = 0;
        loop {
            let empty = sys::Mode::empty();
            return match sys::openat2(&self.root, path.relative(), flags, empty, resolve) {
                Ok(descriptor) => Ok(Some(descriptor)),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(Errno::LOOP) => Err(unsafe_path(path, "a part of it is a symbolic link")),
                Err(Errno::XDEV) => Err(unsafe_path(path, "it leads out of the root directory")),
                // Somebody renamed directories meanwhile: openat2(2) asks to try again.
                Err(Errno::AGAIN) if attempts < 16 => {
                    attempts += 1;
                    continue;
                }
                Err(error) => Err(failed("open", path, error)),
            };
        }
    }

    /// The directory that holds the file, open for `openat` and `fsync`.
    fn directory_of(&self, path: &HostPath) -> Result<OwnedFd, HostError> {
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
        if self.own_directories.contains(&(stat.st_dev, stat.st_ino)) {
            return Err(HostError::Denied { path: path.clone(), why: "it belongs to the agent" });
        }
        Ok(())
    }

    /// Opens a regular file with one name for reading; `None` when absent.
    ///
    /// It is looked at through an `O_PATH` descriptor first, because opening a device or a pipe
    /// can have an effect.
    fn open_file(&self, path: &HostPath) -> Result<Option<(OwnedFd, Stat)>, HostError> {
        if let Some(parent) = path.parent()
            && let Some(directory) = self.resolve(&parent, OFlags::PATH | OFlags::DIRECTORY)?
        {
            self.not_own(path, &directory)?;
        }
        let Some(looked) = self.resolve(path, OFlags::PATH)? else { return Ok(None) };
        let first = sys::fstat(&looked).map_err(|e| failed("look at", path, e))?;
        regular(path, &first)?;
        let system = sys::fstatfs(&looked).map_err(|e| failed("look at", path, e))?;
        // The kernel's numbers are 32 bits wide; the type's width differs by architecture.
        if u32::try_from(system.f_type).is_ok_and(|kind| KERNEL_FILE_SYSTEMS.contains(&kind)) {
            return Err(unsafe_path(path, "it is an interface of the kernel"));
        }
        let Some(opened) = self.resolve(path, OFlags::RDONLY)? else { return Ok(None) };
        let second = sys::fstat(&opened).map_err(|e| failed("look at", path, e))?;
        regular(path, &second)?;
        if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino) {
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
        sys::fchmod(&file, sys::Mode::from_raw_mode(mode.bits()))
            .map_err(|error| failed("set the mode of", path, error))?;
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
                Err(Errno::INVAL) => {
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
}

impl Host for LinuxHost {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        self.deny.check(path, access)
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        Ok(self.open_file(path)?.map(|(file, stat)| meta(&file, &stat)))
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
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

    fn write(
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

    fn set_permission(
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
        sys::fchmod(&file, sys::Mode::from_raw_mode(mode.bits()))
            .map_err(|error| failed("set the mode of", path, error))?;
        file.sync_all().map_err(|error| io_failed("make durable", path, error))
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        let directory = self.directory_of(path)?;
        self.still(path, Some(expected))?;
        sys::unlinkat(&directory, path.name(), AtFlags::empty())
            .map_err(|error| failed("remove", path, error))?;
        sync_directory(path, &directory)
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        let directory = match self.directory_of(path) {
            Err(HostError::Missing { .. }) => return Ok(()),
            other => other?,
        };
        match sys::unlinkat(&directory, temporary_name(path), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("tidy up beside", path, error)),
        }
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        Ok(self.resolve(path, OFlags::PATH | OFlags::DIRECTORY)?.is_some())
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
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

    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        let path = key.path();
        let Some(file) = self.resolve(&path, OFlags::RDONLY)? else { return Ok(None) };
        let limit = kernel::VALUE_LIMIT as u64;
        let mut shown = String::new();
        let length = File::from(file)
            .take(limit + 1)
            .read_to_string(&mut shown)
            .map_err(|error| io_failed("read", &path, error))?;
        if length as u64 > limit {
            return Err(HostError::TooLarge { path, limit });
        }
        Ok(Some(SysctlValue::of_kernel(&shown)))
    }

    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError> {
        let path = key.path();
        let Some(file) = self.resolve(&path, OFlags::WRONLY | OFlags::TRUNC)? else {
            return Err(HostError::Missing { path });
        };
        // The kernel takes what comes in one write as the whole value.
        let line = format!("{value}\n");
        let written = rustix::io::write(&file, line.as_bytes())
            .map_err(|error| failed("set", &path, error))?;
        if written == line.len() {
            Ok(())
        } else {
            Err(io_failed("set", &path, io::ErrorKind::WriteZero.into()))
        }
    }

    fn can_set(&self, key: &SysctlKey) -> Result<bool, HostError> {
        match self.resolve(&key.path(), OFlags::WRONLY) {
            Ok(file) => Ok(file.is_some()),
            Err(HostError::Io { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mount(&self, path: &HostPath) -> Result<Option<Mount>, HostError> {
        let looked = |path: &HostPath| self.resolve(path, OFlags::PATH | OFlags::DIRECTORY);
        let Some(directory) = looked(path)? else { return Ok(None) };
        let device = |directory: &OwnedFd| {
            sys::fstat(directory).map(|stat| stat.st_dev).map_err(|e| failed("look at", path, e))
        };
        let above = match path.parent() {
            Some(parent) => looked(&parent)?.as_ref().map(device).transpose()?,
            None => Some(device(&self.root)?),
        };
        let system = sys::fstatvfs(&directory).map_err(|e| failed("look at", path, e))?;
        let options = [
            (StatVfsMountFlags::NODEV, "nodev"),
            (StatVfsMountFlags::NOEXEC, "noexec"),
            (StatVfsMountFlags::NOSUID, "nosuid"),
        ];
        let has = options.into_iter().filter(|(flag, _)| system.f_flag.contains(*flag));
        Ok(Some(Mount {
            is_own: above.is_some_and(|above| device(&directory).is_ok_and(|own| own != above)),
            options: has.map(|(_, option)| option).collect(),
        }))
    }

    fn sshd_accepts(&self, directives: &str) -> Result<(), String> {
        let program: HostPath = sshd::PROGRAM.parse().expect("the path is normal and absolute");
        let found = self.resolve(&program, OFlags::PATH).map_err(|error| error.sentence())?;
        let found = found.ok_or_else(|| format!("there is no {program}"))?;
        sshd::accepts(&self.root, &found, directives)
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        let path: HostPath = LOCK_FILE.parse().expect("the path is normal and absolute");
        let directory = self.directory_of(&path)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = sys::Mode::from_raw_mode(0o600);
        let file = sys::openat(&directory, path.name(), flags, private)
            .map_err(|error| failed("open", &path, error))?;
        lock::take(&file, LOCK_PATIENCE).map_err(|error| failed("lock", &path, error))?;
        Ok(Held { _lock: Some(file) })
    }

    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        self.sealing_key.as_ref().ok_or(HostError::Unsupported { what: "sealing key" })
    }

    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.systemd(name)?.unit(name)
    }

    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        self.systemd(name)?.set_enabled(name, enabled)
    }

    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        self.systemd(name)?.set_active(name, active)
    }

    /// Programs know nothing of a root directory of the agent's own.
    fn package_manager(&self) -> Result<Box<dyn PackageManager + '_>, HostError> {
        if self.is_whole() && Apt::is_here() {
            return Ok(Box::new(Apt { kept: self.kept_packages.clone() }));
        }
        Err(HostError::Unsupported { what: "packages" })
    }

    fn own_program(&self) -> Result<&dyn OwnProgram, HostError> {
        self.own_program.as_deref().ok_or(HostError::Unsupported { what: "service of the agent" })
    }

    fn own_ids(&self) -> Ids {
        self.own_ids
    }

    fn system(&self) -> SystemFacts {
        let uname = rustix::system::uname();
        let sysinfo = rustix::system::sysinfo();
        // The type of both differs by architecture.
        #[allow(clippy::useless_conversion, reason = "not useless on 32-bit machines")]
        let memory = u64::try_from(sysinfo.totalram).unwrap_or(0);
        SystemFacts {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            memory_bytes: memory.saturating_mul(u64::from(sysinfo.mem_unit)),
            uptime_s: u64::try_from(sysinfo.uptime).unwrap_or(0),
        }
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

fn meta(file: &OwnedFd, stat: &Stat) -> FileMeta {
    let changed_ns = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    FileMeta {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: Mode::from_bits(stat.st_mode),
        ids: Ids { uid: stat.st_uid, gid: stat.st_gid },
        has_capabilities: sys::fgetxattr(file, CAPABILITIES, &mut [0_u8; 0][..]).is_ok(),
        version: Version { device: stat.st_dev, inode: stat.st_ino, changed_ns },
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
    sys::fsync(directory).map_err(|error| failed("make durable the directory of", path, error))
}

fn unsafe_path(path: &HostPath, why: &'static str) -> HostError {
    HostError::Unsafe { path: path.clone(), why }
}

fn failed(attempt: &'static str, path: &HostPath, error: Errno) -> HostError {
    io_failed(attempt, path, error.into())
}

fn io_failed(attempt: &'static str, path: &HostPath, source: io::Error) -> HostError {
    HostError::Io { attempt, path: path.clone(), source }
}
