//! One PostgreSQL server process: who it is, whether it lives, how it ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;
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

    /// Who has the process id now. Ids are used again after a crash or a restart of the machine, so
    /// that a living process is not enough.
    pub fn holder(&self, data: &Path) -> Holder {
        let Some(pid) = Pid::from_raw(self.pid) else { return Holder::Nobody };
        let mut found = Postmaster { pid, child: None };
        if !found.is_alive() {
            return Holder::Nobody;
        }
        // A postmaster works in its data directory.
        if let Ok(directory) = fs::read_link(format!("/proc/{}/cwd", self.pid)) {
            return if directory == data { Holder::Ours(found) } else { Holder::Foreign };
        }
        // Root in a container may not see that of another user, but the command line, which is
        // empty for a process that has ended and was not waited for.
        let Ok(line) = fs::read(format!("/proc/{}/cmdline", self.pid)) else {
            return Holder::Unknown(found);
        };
        let mut words = line.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default();
        if words.any(|word| word == data.as_os_str().as_bytes()) {
            Holder::Ours(found)
        } else if String::from_utf8_lossy(program).contains("postgres") {
            Holder::Unknown(found)
        } else {
            Holder::Foreign
        }
    }
}

/// Whether any process works in this directory, as every process of a PostgreSQL server does in its
/// data directory. Processes that this system does not show us do not count.
pub(super) fn works_in(data: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes
        .filter_map(Result::ok)
        .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data))
}

/// Who has a process id that was once that of our postmaster.
#[derive(Debug)]
pub(super) enum Holder {
    Nobody,
    Ours(Postmaster),
    /// Certainly something else.
    Foreign,
    /// This system does not tell; an answer on our socket does.
    Unknown(Postmaster),
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
        let holder = PidFile { pid: us, port: 1 }.holder(data.path());
        assert!(!matches!(holder, Holder::Ours(_) | Holder::Nobody), "{holder:?}");
    }
}
