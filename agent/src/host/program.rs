//! Programs of the host, where it offers no other way: package managers.
//!
//! Each is started by its absolute path with a list of arguments, an environment of three fixed
//! variables and nothing to read, in a process group of its own, for a limited time. Deliberately
//! absent: a shell, and any word of a parameter that its type has not checked.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::package::redacted;

/// Most bytes that are read of what a program says.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;
/// Most characters of a program's complaint that go into an error.
const COMPLAINT_LIMIT: usize = 700;
/// How long a program that was asked to end may take for it.
const GRACE: Duration = Duration::from_secs(30);
const ENVIRONMENT: [(&str, &str); 4] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("LC_ALL", "C"),
    // Restarts of services that stand in no plan are not for a hook to do.
    ("NEEDRESTART_SUSPEND", "1"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
];

/// Beginnings of the lines in which apt and dpkg say what went wrong. Whatever else is printed may be a
/// package's own program talking, and is nobody else's business.
const ERRORS: [&str; 7] = [
    "E: ",
    "Error: ",
    "dpkg: error",
    "dpkg: unrecoverable",
    "dpkg-deb: error",
    "dpkg-query: error",
    // Goes on a line of dpkg's.
    " trying to overwrite",
];

/// What a program said, and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub status: ExitStatus,
    pub said: String,
    /// False when it said more than is read.
    pub is_whole: bool,
    complained: String,
}

impl Output {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What it says went wrong, and nothing else that it printed: bounded, and without what opens a source of
    /// packages.
    pub fn complaint(&self) -> String {
        self.complaint_of(&ERRORS)
    }

    /// The same of the lines that begin in one of these ways.
    pub fn complaint_of(&self, marks: &[&str]) -> String {
        let is_it = |line: &str| marks.iter().any(|mark| line.starts_with(mark));
        self.ended_with(&self.picked(is_it))
    }

    /// Lines of everything that it said, without what opens a source of packages.
    pub fn picked(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.complained.lines().chain(self.said.lines());
        lines.filter(|line| is_it(line)).map(|line| redacted(line.trim())).collect()
    }

    /// These lines in one, bounded, with how it ended.
    pub fn ended_with(&self, picked: &[String]) -> String {
        // The names in it are somebody else's.
        let mut text = picked.join("; ").replace(char::is_control, " ");
        if let Some((cut, _)) = text.char_indices().nth(COMPLAINT_LIMIT) {
            text.truncate(cut);
            text.push('…');
        }
        let ended = self.status.to_string();
        if text.is_empty() { ended } else { format!("{text} ({ended})") }
    }
}

/// Runs the program to its end, or ends it when its time is over.
///
/// # Errors
/// It could not be started, or did not end in time. Then it may have done anything.
pub(super) fn run(program: &str, arguments: &[&str], limit: Duration) -> io::Result<Output> {
    run_in(Path::new("/"), program, arguments, limit)
}

/// The same, in a directory.
pub(super) fn run_in(
    directory: &Path,
    program: &str,
    arguments: &[&str],
    limit: Duration,
) -> io::Result<Output> {
    // Files, not pipes: a program may leave one behind that never closes its output.
    let (mut said, mut complained) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(complained.try_clone()?)
        .process_group(0)
        .spawn()?;
    let group = Pid::from_child(&child);
    let (end, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || end.send(child.wait()));
    let lost = |_| io::Error::other("nobody waited for it");
    let Ok(status) = ended.recv_timeout(limit) else {
        // The package manager may be in the middle of something: it is asked first.
        let _ = kill_process_group(group, Signal::TERM);
        if ended.recv_timeout(GRACE).is_err() {
            let _ = kill_process_group(group, Signal::KILL);
            ended.recv().map_err(lost)??;
        }
        let why = format!("it did not end within {} seconds", limit.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    };
    let (said, is_whole) = text(&mut said)?;
    Ok(Output { status: status?, said, is_whole, complained: text(&mut complained)?.0 })
}

/// What is in the file, and whether that is all.
fn text(file: &mut File) -> io::Result<(String, bool)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    let size = file.metadata()?.len();
    file.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), size <= OUTPUT_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_environment_is_fixed_and_there_is_nothing_to_read() {
        let output = run("/usr/bin/env", &[], PATIENCE).unwrap();
        let mut lines: Vec<&str> = output.said.lines().collect();
        lines.sort_unstable();
        let fixed = ENVIRONMENT.map(|(name, value)| format!("{name}={value}"));
        assert_eq!(lines, fixed);
        assert_eq!(run("/usr/bin/cat", &[], PATIENCE).unwrap().said, "");
    }

    #[test]
    fn what_does_not_end_is_ended_and_what_stays_behind_is_not_waited_for() {
        let begin = Instant::now();
        let error = run("/usr/bin/sleep", &["60"], Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let output = run("/bin/sh", &["-c", "sleep 5 & echo done"], PATIENCE).unwrap();
        assert_eq!(output.said, "done\n");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_complaint_is_short_to_the_point_and_without_passwords() {
        let script = "echo Reading lists; echo 'W: x' >&2; \
                      echo 'E: Failed to fetch https://me:se@cret@repo.example/x.deb  401' >&2; exit 100";
        let complaint = run("/bin/sh", &["-c", script], PATIENCE).unwrap().complaint();
        let fetch = "E: Failed to fetch https://…@repo.example/x.deb  401 (exit status: 100)";
        assert_eq!(complaint, fetch);
        // What a package's own program prints is not in it, whatever it is.
        let script = "echo the password is secret; echo secret >&2; echo ' E: secret'; \
                      echo 'dpkg: error processing package x (--configure):' >&2; exit 1";
        let complaint = run("/bin/sh", &["-c", script], PATIENCE).unwrap().complaint();
        assert_eq!(complaint, "dpkg: error processing package x (--configure): (exit status: 1)");
        let mute = run("/bin/sh", &["-c", "echo secret; exit 7"], PATIENCE).unwrap().complaint();
        assert_eq!(mute, "exit status: 7");
        let script = "i=0; while [ $i -lt 300 ]; do echo E: something is wrong >&2; i=$((i+1)); done; exit 1";
        let complaint = run("/bin/sh", &["-c", script], PATIENCE).unwrap().complaint();
        assert!(complaint.chars().count() < 750 && complaint.ends_with("(exit status: 1)"));
    }
}
