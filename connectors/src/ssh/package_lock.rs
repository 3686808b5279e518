//! Whether a package manager is at work on the host.
//!
//! What it does is not known before it is done, so nothing that is read of packages meanwhile is of any worth: an
//! installation that goes on after its session ended would look as if it had not been. apt and dpkg hold
//! a lock of POSIX while they are at work (`fcntl(2)`, F_SETLK on `/var/lib/dpkg/lock-frontend`), and everybody may
//! read which locks are held; asking takes no lock and hinders nobody.

use super::command::Command;
use super::session::Session;
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// Device as (major, minor), and inode.
type File = ((u64, u64), u64);

/// An error while one is at work.
pub async fn quiet(session: &Session) -> Result<(), ConnectorError> {
    // Exit status 1: one of them is not there, so that nobody holds it.
    let files = session.ask(&Command::PackageLocks).await?;
    let locks = session.read(&Command::AllLocks).await?;
    match is_held(&files.text(), &locks) {
        Some(false) => Ok(()),
        Some(true) => Err(ConnectorError::new(
            ErrorKind::Conflict,
            Advice::Later,
            "another package manager is at work on the host, and what it does is not known yet: wait until it is done",
        )),
        None => Err(ConnectorError::new(
            ErrorKind::Unexpected,
            Advice::Later,
            "whether a package manager is at work on the host cannot be told: stat or /proc/locks gave no answer that \
             is understood",
        )),
    }
}

/// Whether somebody holds one of these `files`, as `stat` says them, or waits for it. `locks` is `/proc/locks`
/// (`proc_locks(5)`): number, `->` for who waits, kind, way, reading or writing, process, `major:minor:inode`, range.
fn is_held(files: &str, locks: &str) -> Option<bool> {
    let files: Vec<File> = files
        .lines()
        .map(|line| {
            let (device, inode) = line.split_once(' ')?;
            Some((device_of(device.parse().ok()?), inode.parse().ok()?))
        })
        .collect::<Option<_>>()?;
    let mut is_held = false;
    for line in locks.lines() {
        let mut words = line.split_whitespace().filter(|word| *word != "->").skip(5);
        let mut parts = words.next()?.split(':');
        let [major, minor] = [parts.next()?, parts.next()?].map(|it| u64::from_str_radix(it, 16));
        let (device, inode) = ((major.ok()?, minor.ok()?), parts.next()?.parse::<u64>().ok()?);
        is_held |= files.iter().any(|file| file.1 == inode && is_same(file.0, device));
    }
    Some(is_held)
}

/// btrfs and overlays have devices without hardware (major number 0), and another one for `stat` than for locks.
fn is_same(file: (u64, u64), lock: (u64, u64)) -> bool {
    file == lock || (file.0 == 0 && lock.0 == 0)
}

/// As `makedev(3)` of Linux puts the two together.
fn device_of(number: u64) -> (u64, u64) {
    let major = ((number >> 8) & 0xfff) | ((number >> 32) & 0xffff_f000);
    let minor = (number & 0xff) | ((number >> 12) & 0xffff_ff00);
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_that_of_the_device_and_the_inode() {
        let files = "65024 382079\n65024 382080\n";
        let locks = |lock: &str| {
            format!(
                "1: POSIX  ADVISORY  WRITE 4780 fe:01:382079 1073741824 1073742335\n\
                 2: FLOCK  ADVISORY  READ 1 fe:00:7 0 EOF\n{lock}"
            )
        };
        // 65024 is fe:00.
        for held in [
            "3: POSIX  ADVISORY  WRITE 4778 fe:00:382079 0 EOF\n",
            "3: POSIX  ADVISORY  WRITE 4778 fe:00:382080 0 EOF\n",
            "3: -> POSIX  ADVISORY  WRITE 4778 fe:00:382080 0 EOF\n",
        ] {
            assert_eq!(is_held(files, &locks(held)), Some(true), "{held}");
        }
        assert_eq!(is_held(files, &locks("")), Some(false));
        assert_eq!(is_held(files, ""), Some(false));
        // There is no dpkg.
        assert_eq!(is_held("", &locks("")), Some(false));
        // btrfs: 0:34 for `stat`, 0:31 for the lock.
        let lock = "1: POSIX  ADVISORY  WRITE 9 00:1f:382079 0 EOF\n";
        assert_eq!(is_held("34 382079\n", lock), Some(true));
        assert_eq!(is_held("65024 382079\n", lock), Some(false));
        // It cannot be told.
        assert_eq!(is_held("65024\n", ""), None);
        assert_eq!(is_held(files, "1: POSIX ADVISORY WRITE 9\n"), None);
        assert_eq!(is_held(files, "1: POSIX  ADVISORY  WRITE 9 fe:00 0 EOF\n"), None);
    }

    #[test]
    fn devices_are_taken_apart_as_linux_does() {
        for (number, device) in [
            (65024, (254, 0)),
            (34, (0, 34)),
            (0x10_0803, (8, 259)),
            (0x1000_0000_0000, (0x1000, 0)),
        ] {
            assert_eq!(device_of(number), device, "{number:#x}");
        }
    }
}
