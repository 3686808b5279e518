//! A Linux machine, or the part of it beneath a root directory.
//!
//! Every file is reached by `openat2(2)` from the root's descriptor with `RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`, looked at through that descriptor, and used
//! through that descriptor. So there is no moment between a check and its use at which a name could
//! come to mean another file. Needs Linux 5.6.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{self as sys, OFlags, StatVfsMountFlags};

use super::distribution;
use super::kept::KeptPackages;
use super::kernel::{self, SysctlKey, SysctlValue};
use super::lock;
use super::sshd;
use super::systemd::{self, ServiceState, Systemd};
use super::unix::{Files, Way, failed, io_failed};
use super::{
    Access, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, Mount, OpenRootError,
    OwnProgram, PackageManager, SealingKey, SystemFacts, Unit, UnitName,
};

/// The lock of all programs that change accounts, and how long they wait for it (`lckpwdf(3)`).
const LOCK_FILE: &str = "/etc/.pwd.lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(15);

/// The machine beneath a root directory.
#[derive(Debug)]
pub struct LinuxHost {
    files: Files,
    /// Longest wait for a unit to start or stop.
    patience: Duration,
    kept_packages: KeptPackages,
    sealing_key: Option<SealingKey>,
    own_program: Option<Arc<dyn OwnProgram>>,
}

impl LinuxHost {
    /// The machine beneath `root` (`/` for all of it). `own` are the agent's own files and
    /// directories, which stay out of reach.
    ///
    /// # Errors
    /// When `root` is not a directory or the kernel has no `openat2(2)`.
    pub fn open(root: &Path, own: &[PathBuf]) -> Result<Self, OpenRootError> {
        Ok(Self {
            files: Files::open(root, own, Way::Kernel)?,
            patience: systemd::PATIENCE,
            kept_packages: KeptPackages::default(),
            sealing_key: None,
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
        let socket =
            self.files.resolve(&path, OFlags::PATH)?.ok_or_else(|| HostError::Service {
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
        let here = sys::fstat(&self.files.root).map(|stat| (stat.st_dev, stat.st_ino));
        let whole = sys::stat("/").map(|stat| (stat.st_dev, stat.st_ino));
        here.is_ok() && here == whole
    }
}

impl Host for LinuxHost {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        self.files.deny().check(path, access)
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        self.files.stat(path)
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        self.files.read(path, limit)
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.files.write(path, expected, content, mode, ids)
    }

    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.files.set_permission(path, expected, mode, ids)
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        self.files.remove(path, expected)
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        self.files.discard_leftovers(path)
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        self.files.is_directory(path)
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        self.files.list(path)
    }

    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        let path = key.path();
        let Some(file) = self.files.resolve(&path, OFlags::RDONLY)? else { return Ok(None) };
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
        let Some(file) = self.files.resolve(&path, OFlags::WRONLY | OFlags::TRUNC)? else {
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
        match self.files.resolve(&key.path(), OFlags::WRONLY) {
            Ok(file) => Ok(file.is_some()),
            Err(HostError::Io { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mount(&self, path: &HostPath) -> Result<Option<Mount>, HostError> {
        let looked = |path: &HostPath| self.files.resolve(path, OFlags::PATH | OFlags::DIRECTORY);
        let Some(directory) = looked(path)? else { return Ok(None) };
        let device = |directory: &OwnedFd| {
            sys::fstat(directory).map(|stat| stat.st_dev).map_err(|e| failed("look at", path, e))
        };
        let above = match path.parent() {
            Some(parent) => looked(&parent)?.as_ref().map(device).transpose()?,
            None => Some(device(&self.files.root)?),
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
        let found = self.files.resolve(&program, OFlags::PATH).map_err(|error| error.sentence())?;
        let found = found.ok_or_else(|| format!("there is no {program}"))?;
        sshd::accepts(&self.files.root, &found, directives)
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        let path: HostPath = LOCK_FILE.parse().expect("the path is normal and absolute");
        let directory = self.files.directory_of(&path)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = sys::Mode::from_raw_mode(0o600);
        let file = sys::openat(&directory, path.name(), flags, private)
            .map_err(|error| failed("open", &path, error))?;
        lock::take(&file, LOCK_PATIENCE).map_err(|error| failed("lock", &path, error))?;
        Ok(Held { _lock: Some(File::from(file)) })
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
        if self.is_whole() {
            return distribution::package_manager(self.kept_packages.clone());
        }
        Err(HostError::Unsupported { what: "packages" })
    }

    fn own_program(&self) -> Result<&dyn OwnProgram, HostError> {
        self.own_program.as_deref().ok_or(HostError::Unsupported { what: "service of the agent" })
    }

    fn own_ids(&self) -> Ids {
        self.files.own_ids
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
            cpus: super::cpus(),
            memory_bytes: memory.saturating_mul(u64::from(sysinfo.mem_unit)),
            uptime_s: u64::try_from(sysinfo.uptime).unwrap_or(0),
        }
    }
}
