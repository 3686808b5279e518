//! A Mac, or the part of it beneath a root directory.
//!
//! Files are reached as [`Way::Steps`](super::unix::Way) says. `/etc`, `/tmp` and `/var` are links of
//! the system's own there, to directories in `/private`; a path through them means the file in
//! `/private`. Names are denied whatever their case, because the usual file system does not tell cases apart.
//!
//! This is compiled on every Unix, so that the suite of all hosts can run what is not Darwin's own.
//!
//! Deliberately absent, and refused as not on this kind of host: services (`launchd`), packages, settings of the
//! kernel, accounts (they are in Open Directory, and no file holds them), and how a directory is mounted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::deny::Deny;
use super::kernel::SysctlKey;
use super::unix::{Files, Way, unsafe_path};
use super::{
    Access, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, OpenRootError, Release,
    SealingKey, SystemFacts, Unit, UnitName, alias,
};

/// Directories and files that are never touched, besides [`Deny`]'s, in lower case and without `/private`.
const DENIED: &[(&str, &str)] = &[
    ("/library/launchdaemons/nexplane-agent.plist", "it belongs to the agent"),
    ("/etc/master.passwd", "it holds password hashes, which must not appear in a plan"),
    ("/system", "it is the system's own"),
    ("/var/db/dslocal", "it holds the accounts and their password hashes"),
    ("/var/db/sudo", "it decides who becomes root"),
];
/// Links that every Mac has.
const LINKS: [&str; 3] = ["/etc", "/tmp", "/var"];

/// The machine beneath a root directory.
#[derive(Debug)]
pub struct MacosHost {
    files: Files,
    /// Of names as they are compared.
    deny: Deny,
    is_whole: bool,
    sealing_key: Option<SealingKey>,
}

impl MacosHost {
    /// The machine beneath `root` (`/` for all of it). `own` are the agent's own files and
    /// directories, which stay out of reach.
    ///
    /// # Errors
    /// When `root` is not a directory.
    pub fn open(root: &Path, own: &[PathBuf]) -> Result<Self, OpenRootError> {
        let files = Files::open(root, own, Way::Steps)?;
        let own = files.deny().own().iter().filter_map(|path| named(path).parse().ok());
        let deny = Deny::new(own.collect());
        Ok(Self { files, deny, is_whole: root == Path::new("/"), sealing_key: None })
    }

    /// With a key for what its before-states must not show.
    #[must_use]
    pub fn with_sealing_key(mut self, key: SealingKey) -> Self {
        self.sealing_key = Some(key);
        self
    }

    /// Where the file is: not behind the system's own links.
    fn at(&self, path: &HostPath) -> HostPath {
        let through = |link: &&str| path.is_within(&parsed(link));
        if cfg!(target_os = "macos") && self.is_whole && LINKS.iter().any(through) {
            return parsed(&format!("/private{path}"));
        }
        path.clone()
    }
}

fn parsed(path: &str) -> HostPath {
    path.parse().expect("the path is normal and absolute")
}

/// The path as it is denied: in lower case, and without `/private`.
fn named(path: &HostPath) -> String {
    let folded = alias::folded(path.as_str());
    folded
        .strip_prefix("/private")
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(&folded)
        .to_owned()
}

/// What one of the system's own programs says, with fixed arguments; empty when it says nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// The seconds of `{ sec = 1700000000, usec = 1 } Tue Nov 14 …`.
fn boot_s(said: &str) -> Option<u64> {
    said.split_once("sec = ")?.1.split(',').next()?.trim().parse().ok()
}

impl Host for MacosHost {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        if let Some(why) = alias::refused(path.as_str()) {
            return Err(unsafe_path(path, why));
        }
        let denied = |why| Err(HostError::Denied { path: path.clone(), why });
        let named = named(path);
        let within = |directory: &str| {
            named
                .strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some((_, why)) = DENIED.iter().find(|(directory, _)| within(directory)) {
            return denied(why);
        }
        // Folding may have made it longer than a path may be; then it cannot be told what it names.
        let Ok(folded) = named.parse() else { return denied("its name is too long") };
        match self.deny.check(&folded, access) {
            Err(HostError::Denied { why, .. }) => denied(why),
            other => other,
        }
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        self.files.stat(&self.at(path))
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        self.files.read(&self.at(path), limit)
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.files.write(&self.at(path), expected, content, mode, ids)
    }

    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.files.set_permission(&self.at(path), expected, mode, ids)
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        self.files.remove(&self.at(path), expected)
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        self.files.discard_leftovers(&self.at(path))
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        self.files.is_directory(&self.at(path))
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        self.files.list(&self.at(path))
    }

    fn kernel_setting(&self, _key: &SysctlKey) -> Result<Option<String>, HostError> {
        Err(HostError::Unsupported { what: "settings of the Linux kernel" })
    }

    fn set_kernel_setting(&self, _key: &SysctlKey, _value: &str) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "settings of the Linux kernel" })
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        Err(HostError::Unsupported { what: "accounts" })
    }

    fn sealing_key(&self) -> Result<&SealingKey, HostError> {
        self.sealing_key.as_ref().ok_or(HostError::Unsupported { what: "sealing key" })
    }

    fn unit(&self, _name: &UnitName) -> Result<Option<Unit>, HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn set_enabled(&self, _name: &UnitName, _enabled: bool) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn set_active(&self, _name: &UnitName, _active: bool) -> Result<(), HostError> {
        Err(HostError::Unsupported { what: "services" })
    }

    fn own_ids(&self) -> Ids {
        self.files.own_ids
    }

    fn release(&self) -> Option<Release> {
        let version = said("/usr/bin/sw_vers", &["-productVersion"]);
        Some(Release { id: "macos".to_owned(), name: format!("macOS {version}"), version })
    }

    fn system(&self) -> SystemFacts {
        let uname = rustix::system::uname();
        let sysctl = |name| said("/usr/sbin/sysctl", &["-n", name]);
        let now_s = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        SystemFacts {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: super::cpus(),
            memory_bytes: sysctl("hw.memsize").parse().unwrap_or(0),
            uptime_s: boot_s(&sysctl("kern.boottime")).map_or(0, |at| now_s.saturating_sub(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_start_is_read() {
        assert_eq!(boot_s("{ sec = 1700000000, usec = 42 } Tue Nov 14 2023"), Some(1_700_000_000));
        assert_eq!((boot_s(""), boot_s("{ sec = x, usec = 1 }")), (None, None));
    }

    #[test]
    fn what_is_denied_is_denied_in_every_spelling() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("Agent");
        std::fs::create_dir(&own).unwrap();
        let host = MacosHost::open(root.path(), &[own]).unwrap();
        for denied in [
            "/etc/sudoers",
            "/private/etc/sudoers",
            "/PRIVATE/ETC/ſudoers",
            "/Users/b/.SSH/Authorized_\u{212a}eys",
            "/private/var/db/dslocal/nodes/Default/users/root.plist",
            "/System/Library/x",
            "/agent/identity.json",
            "/Agent/identity.json",
        ] {
            let denied = host.may_touch(&parsed(denied), Access::Content);
            assert!(matches!(denied, Err(HostError::Denied { .. })), "{denied:?}");
        }
        let hidden = host.may_touch(&parsed("/etc/sudo\u{200c}ers"), Access::Content);
        assert!(matches!(hidden, Err(HostError::Unsafe { .. })), "{hidden:?}");
        for allowed in ["/etc/motd", "/Library/x", "/privateer/etc/sudoers"] {
            assert!(host.may_touch(&parsed(allowed), Access::Content).is_ok(), "{allowed}");
        }
    }
}
