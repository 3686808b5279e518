//! One PostgreSQL server process: who it is, whether it lives, how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::error::EmbeddedError;

/// Time for a clean stop: sessions are ended and a checkpoint is written.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Time for an abrupt stop; recovery happens at the next start.
const QUIT_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A postmaster that we started (then we hold its `Child`) or found running.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    child: Option<Child>,
}

impl Postmaster {
    pub fn started(child: Child) -> Option<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
        Some(Self { pid, child: Some(child) })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            // A process of another user answers EPERM: alive.
            None => !matches!(test_kill_process(self.pid), Err(rustix::io::Errno::SRCH)),
        }
    }

    /// Ends all sessions and stops cleanly; when that takes too long, stops abruptly (no data is
    /// lost, the next start recovers). Blocks for 35 s at most.
    pub fn stop(&mut self) -> Result<(), EmbeddedError> {
        for (signal, within) in [(Signal::INT, STOP_WITHIN), (Signal::QUIT, QUIT_WITHIN)] {
            if !self.is_alive() || kill_process(self.pid, signal).is_err() {
                return Ok(());
            }
            let deadline = Instant::now() + within;
            while Instant::now() < deadline {
                if !self.is_alive() {
                    return Ok(());
                }
                thread::sleep(POLL);
            }
        }
        let seconds = (STOP_WITHIN + QUIT_WITHIN).as_secs();
        Err(EmbeddedError::Stop { pid: self.pid(), seconds })
    }
}

/// What `postmaster.pid` of a data directory says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub pid: i32,
    pub port: u16,
}

impl PidFile {
    pub fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    pub fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(Self::path(data)).ok()?)
    }

    /// Lines: process id, data directory, start time, port, socket directory, address, …
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let port = lines.nth(2).and_then(|line| line.trim().parse().ok()).unwrap_or(0);
        Some(Self { pid, port })
    }

    /// The running postmaster of `data` that this file speaks of. Process ids are used again after
    /// a crash, so that a living process is not enough: a postmaster works in its data directory.
    /// Where the working directory of a process cannot be read, its answer on our socket decides.
    pub fn running(&self, data: &Path) -> Option<Postmaster> {
        let mut found = Postmaster { pid: Pid::from_raw(self.pid)?, child: None };
        let ours = !knows_working_directories() || self.works_in(data);
        (ours && found.is_alive()).then_some(found)
    }

    /// The process lives and is certainly not a postmaster of `data`.
    pub fn is_foreign(&self, data: &Path) -> bool {
        let alive = Pid::from_raw(self.pid)
            .is_some_and(|pid| Postmaster { pid, child: None }.is_alive());
        alive && knows_working_directories() && !self.works_in(data)
    }

    fn works_in(&self, data: &Path) -> bool {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).is_ok_and(|directory| directory == data)
    }
}

/// Whether this system tells the working directory of a process (Linux does).
pub(super) fn knows_working_directories() -> bool {
    Path::new("/proc/self/cwd").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files() {
        let text = "4711\n/data\n1700000000\n5432\n/run\n\n  1234  5\nready   \n";
        assert_eq!(PidFile::parse(text), Some(PidFile { pid: 4711, port: 5432 }));
        assert_eq!(PidFile::parse("12\n"), Some(PidFile { pid: 12, port: 0 }));
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn a_process_elsewhere_is_not_our_postmaster() {
        let data = tempfile::tempdir().unwrap();
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(PidFile { pid: us, port: 1 }.running(data.path()).is_none());
    }
}
