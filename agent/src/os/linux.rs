//! What only Linux has: `/proc`, and `sd_notify(3)`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{DumpableBehavior, Pid, Signal, kill_process, set_dumpable_behavior};

use super::Uptime;

/// `None` without `/proc`.
pub(crate) fn uptime() -> Option<Uptime> {
    // `/proc/uptime` is CLOCK_BOOTTIME, in hundredths of a second (`proc_uptime(5)`).
    let uptime_ms = read("/proc/uptime").as_deref().and_then(milliseconds)?;
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    Some(Uptime { boot, since: Duration::from_millis(uptime_ms) })
}

/// The first word of a file of the kernel.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_whitespace().next().map(ToOwned::to_owned)
}

/// Of `350735.47`.
fn milliseconds(uptime: &str) -> Option<u64> {
    let (seconds, hundredths) = uptime.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let hundredths: u64 = (hundredths.len() == 2).then(|| hundredths.parse().ok())??;
    seconds.checked_mul(1000)?.checked_add(hundredths * 10)
}

/// The process that wrote its number into the file and has it open still.
pub(crate) fn holder(file: &Path) -> Option<u32> {
    let said = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let lock = std::fs::metadata(file).ok()?;
    let is_lock = |opened: std::fs::DirEntry| {
        let opened = std::fs::metadata(opened.path());
        opened.is_ok_and(|meta| (meta.dev(), meta.ino()) == (lock.dev(), lock.ino()))
    };
    match std::fs::read_dir(format!("/proc/{said}/fd")) {
        Ok(files) => files.flatten().any(is_lock).then_some(said),
        // An agent shows its files to root alone (`no_core_dumps`), so nobody else can look whether it is one.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(said),
        Err(_) => None,
    }
}

/// The limit is not asked for where `core_pattern` names a program (`core(5)`), and the attribute is.
pub(crate) fn no_core_dumps() -> io::Result<()> {
    super::unix::no_core_files()?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Asks the agent that runs as this process for a fresh key. False when it is no agent that waits for that: the
/// signal would end it.
pub fn ask_renewal(process: u32) -> io::Result<bool> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    if !waits_for(pid, Signal::USR1) {
        return Ok(false);
    }
    kill_process(pid, Signal::USR1)?;
    Ok(true)
}

/// Whether the process has a handler for the signal (`SigCgt` of `proc_pid_status(5)`: bit n-1 is signal n).
fn waits_for(process: Pid, signal: Signal) -> bool {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let caught = || {
        let text = std::fs::read_to_string(path).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    caught().is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
}

/// The datagram socket of the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// At a path, or at an abstract name behind an `@`.
    pub fn open(address: OsString) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(PathBuf::from(address))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold the agent up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    pub fn send(&self, what: &str) -> io::Result<()> {
        self.socket.send_to_addr(what.as_bytes(), &self.address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_uptime_is_read_to_the_hundredth() {
        assert_eq!(milliseconds("350735.47"), Some(350_735_470));
        let wrong = ["12", "1.5", "x.00"].map(milliseconds);
        assert_eq!(wrong, [None, None, None]);
        assert!(uptime().is_some());
    }
}
