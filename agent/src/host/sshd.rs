//! The SSH server's own word on directives that it does not have yet: `sshd -t`.
//!
//! It is started with fixed arguments, no environment and no shell, and with the directives on its
//! standard input. It reads its files and ends.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{self as sys, AtFlags, CWD};

pub(super) const PROGRAM: &str = "/usr/sbin/sshd";
const LIMIT: Duration = Duration::from_secs(10);
/// Most that is shown of what it says.
const SHOWN: u64 = 400;

/// Asks the program that was found beneath `root`, which has to be the machine's own.
pub(super) fn accepts(root: &OwnedFd, program: &OwnedFd, directives: &str) -> Result<(), String> {
    let trouble = |error: &dyn std::error::Error| format!("{PROGRAM} could not be asked: {error}");
    let own = sys::statat(CWD, "/", AtFlags::empty()).map_err(|e| trouble(&e))?;
    let here = sys::fstat(root).map_err(|e| trouble(&e))?;
    if (own.st_dev, own.st_ino) != (here.st_dev, here.st_ino) {
        return Err(format!("{PROGRAM} is asked on a whole machine only"));
    }
    let stat = sys::fstat(program).map_err(|e| trouble(&e))?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(format!("{PROGRAM} can be changed by others than root"));
    }
    // It asks for an absolute path as its name, and opens what it was found as.
    let mut child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0(PROGRAM)
        .args(["-t", "-f", "/dev/stdin"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| trouble(&e))?;
    if let Some(mut input) = child.stdin.take() {
        // It may end before it has read all of it; then it says why.
        let _ = input.write_all(format!("{directives}Include /etc/ssh/sshd_config\n").as_bytes());
    }
    let until = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| trouble(&e))? {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{PROGRAM} gave no answer within {} seconds", LIMIT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if let Some(output) = child.stderr.take() {
        output.take(SHOWN).read_to_end(&mut said).map_err(|e| trouble(&e))?;
    }
    let said = String::from_utf8_lossy(&said);
    let said: Vec<&str> = said.split_whitespace().collect();
    Err(format!("{PROGRAM} does not accept it: {}", said.join(" ")))
}
