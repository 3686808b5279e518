//! How a path is resolved beneath a root: without symbolic links, and without a way out.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self as sys, AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::{HostError, HostPath, failed, unsafe_path};

/// Kernel interfaces that look like regular files, wherever they are mounted: proc, sysfs,
/// cgroup2, debugfs, tracefs, securityfs, selinuxfs, bpf, configfs, efivarfs (`linux/magic.h`).
#[cfg(target_os = "linux")]
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

/// Who sees to it that a path leads where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Way {
    /// The kernel, in one call: `openat2(2)` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and
    /// `RESOLVE_NO_MAGICLINKS`. Needs Linux 5.6.
    #[cfg(target_os = "linux")]
    Kernel,
    /// One component after the other, each opened beneath the descriptor of the one before, with `O_NOFOLLOW`.
    /// A path has no `..` ([`HostPath`]), so it cannot lead out.
    Steps,
}

impl Way {
    /// For a look at something, not for its content.
    pub fn look(self) -> OFlags {
        match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => OFlags::PATH,
            Self::Steps => OFlags::RDONLY,
        }
    }

    pub(super) fn open_root(self, root: &Path) -> Result<OwnedFd, Errno> {
        let flags = self.look() | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = sys::open(root, flags, sys::Mode::empty())?;
        match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => {
                let beneath = sys::ResolveFlags::BENEATH;
                sys::openat2(&descriptor, ".", flags, sys::Mode::empty(), beneath)?;
            }
            Self::Steps => {}
        }
        Ok(descriptor)
    }

    /// Opens what the path names, or `None` when nothing does.
    pub(super) fn resolve(
        self,
        root: &OwnedFd,
        path: &HostPath,
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, HostError> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => kernel(root, path, flags),
            Self::Steps => steps(root, path, flags),
        }
    }

    /// What the path names, before it is opened: opening a device or a pipe can have an effect.
    pub(super) fn stat(self, root: &OwnedFd, path: &HostPath) -> Result<Option<Stat>, HostError> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Kernel => {
                let Some(looked) = kernel(root, path, OFlags::PATH)? else { return Ok(None) };
                let system = sys::fstatfs(&looked).map_err(|e| failed("look at", path, e))?;
                // The kernel's numbers are 32 bits wide; the type's width differs by architecture.
                if u32::try_from(system.f_type)
                    .is_ok_and(|kind| KERNEL_FILE_SYSTEMS.contains(&kind))
                {
                    return Err(unsafe_path(path, "it is an interface of the kernel"));
                }
                sys::fstat(&looked).map(Some).map_err(|e| failed("look at", path, e))
            }
            Self::Steps => {
                let Some(directory) = above(root, path)? else { return Ok(None) };
                match sys::statat(&directory, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if is_link(&stat) => Err(link(path)),
                    Ok(stat) => Ok(Some(stat)),
                    Err(Errno::NOENT) => Ok(None),
                    Err(error) => Err(failed("look at", path, error)),
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn kernel(root: &OwnedFd, path: &HostPath, flags: OFlags) -> Result<Option<OwnedFd>, HostError> {
    use sys::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // openat2(2) refuses flags that mean nothing, as these would for `O_PATH`.
    let careful = OFlags::NOCTTY | OFlags::NONBLOCK;
    let flags = flags | if flags.contains(OFlags::PATH) { OFlags::empty() } else { careful };
    let flags = flags | OFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        let empty = sys::Mode::empty();
        return match sys::openat2(root, path.relative(), flags, empty, resolve) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP) => Err(link(path)),
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

fn steps(root: &OwnedFd, path: &HostPath, flags: OFlags) -> Result<Option<OwnedFd>, HostError> {
    let Some(directory) = above(root, path)? else { return Ok(None) };
    step(&directory, path, path.name(), flags | OFlags::NOCTTY | OFlags::NONBLOCK)
}

/// The directory that holds it; `None` when there is none.
fn above(root: &OwnedFd, path: &HostPath) -> Result<Option<OwnedFd>, HostError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut directory = sys::openat(root, ".", flags | OFlags::CLOEXEC, sys::Mode::empty())
        .map_err(|error| failed("open the directory of", path, error))?;
    let Some(parent) = path.parent() else { return Ok(Some(directory)) };
    for name in parent.relative().split('/') {
        match step(&directory, path, name, flags)? {
            Some(next) => directory = next,
            None => return Ok(None),
        }
    }
    Ok(Some(directory))
}

fn step(
    directory: &OwnedFd,
    path: &HostPath,
    name: &str,
    flags: OFlags,
) -> Result<Option<OwnedFd>, HostError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match sys::openat(directory, name, flags, sys::Mode::empty()) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(link(path)),
        // A link where a directory was asked for is this on some systems.
        Err(Errno::NOTDIR) => match sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_link(&stat) => Err(link(path)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(failed("look at", path, error)),
        },
        Err(error) => Err(failed("open", path, error)),
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn link(path: &HostPath) -> HostError {
    unsafe_path(path, "a part of it is a symbolic link")
}
