//! Which user runs PostgreSQL. It refuses to run as root, so root gives it away; everybody else
//! runs it as themselves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::{EmbeddedError, io_error};

/// The user that Debian, Fedora and Homebrew create for PostgreSQL.
const USUAL_NAME: &str = "postgres";

/// The user that owns the cluster's files and runs its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// We are root and must become somebody else.
    pub dropped: bool,
}

impl Account {
    /// As root: the owner of the existing data directory, else the user `postgres`. Otherwise us.
    pub fn choose(data: &Path) -> Result<Self, EmbeddedError> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if !uid.is_root() {
            let name = entry(&passwd, |found| found.uid == uid.as_raw())
                .map_or_else(|| uid.as_raw().to_string(), |found| found.name);
            return Ok(Self { name, uid: uid.as_raw(), gid: gid.as_raw(), dropped: false });
        }
        if let Some(owner) = fs::metadata(data).ok().filter(|owner| owner.uid() != 0) {
            let name = entry(&passwd, |found| found.uid == owner.uid())
                .map_or_else(|| owner.uid().to_string(), |found| found.name);
            return Ok(Self { name, uid: owner.uid(), gid: owner.gid(), dropped: true });
        }
        entry(&passwd, |found| found.name == USUAL_NAME)
            .filter(|found| found.uid != 0)
            .ok_or_else(|| EmbeddedError::NoAccount { name: USUAL_NAME.to_owned() })
    }

    /// A command that runs as this user, in `/`, with an environment of its own, in a process
    /// group of its own (Ctrl-C in our terminal is for us), silent and without input.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.dropped {
            // As root, std also empties the supplementary groups.
            command.gid(self.gid).uid(self.uid);
        }
        command
    }

    /// Makes `path` this user's, with exactly `mode`.
    pub fn give(&self, path: &Path, mode: u32) -> Result<(), EmbeddedError> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(io_error("set the permissions of", path))?;
        if self.dropped {
            chown(path, Some(self.uid), Some(self.gid))
                .map_err(io_error("change the owner of", path))?;
        }
        Ok(())
    }

    /// Checks that this user can enter `directory`, really (access lists count), and names the
    /// parent that is closed when it cannot.
    pub fn check_reaches(&self, directory: &Path) -> Result<(), EmbeddedError> {
        if !self.dropped {
            return Ok(());
        }
        let mut entering = self.command(Path::new("/bin/sh"));
        entering.args(["-c", ":"]).current_dir(directory);
        if entering.status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        let closed = directory.ancestors().filter(|parent| !self.may_search(parent)).last();
        let closed = closed.unwrap_or(directory);
        let mode = fs::metadata(closed).map_or(0, |found| found.mode() & 0o7777);
        Err(EmbeddedError::Unreachable {
            user: self.name.clone(),
            directory: closed.to_owned(),
            mode,
        })
    }

    /// By mode bits alone.
    fn may_search(&self, directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|found| {
            let bit = if found.uid() == self.uid {
                0o100
            } else if found.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            found.mode() & bit != 0
        })
    }
}

/// The first line of a passwd file that satisfies `wanted`.
fn entry(passwd: &str, wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { name, uid, gid, dropped: true })
        })
        .find(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\n\
                      postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";
        let found = entry(passwd, |found| found.name == "postgres").unwrap();
        assert_eq!((found.uid, found.gid), (101, 104));
        assert!(entry(passwd, |found| found.name == "nobody").is_none());
    }
}
