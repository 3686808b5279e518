//! The root file system of a host, made once and kept in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Names a root file system that is there already.
const GIVEN: &str = "NEXPLANE_HOST_BASE";
/// What a small server has; and a clock that can be wrong.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "cron",
    "dbus",
    "iproute2",
    "kmod",
    "libfaketime",
    "libpam-systemd",
    "login",
    "openssh-server",
    "passwd",
    "procps",
    "sudo",
    "systemd-sysv",
];
/// Seconds that a mirror may take.
const LIMIT: &str = "900";

pub fn is_given() -> bool {
    std::env::var_os(GIVEN).is_some()
}

/// The directory to start hosts from; nobody writes to it.
pub fn directory() -> PathBuf {
    if let Some(given) = std::env::var_os(GIVEN) {
        let given = PathBuf::from(given);
        assert!(given.join("usr").is_dir(), "{GIVEN} is no root file system: {}", given.display());
        return given;
    }
    let suite = suite();
    let key = hex::encode(Sha256::digest(PACKAGES.join(",")));
    let cache = cache();
    fs::create_dir_all(&cache).unwrap();
    let base = cache.join(format!("host-{suite}-{}", &key[..12]));
    // Others that want it wait for the one who makes it; its time is limited below.
    let lock = File::create(base.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !base.is_dir() {
        make(&suite, &base);
    }
    base
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("nexplane")
}

/// That of this machine, because the programs under test use its C library.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("stable").trim_matches('"').to_owned()
}

fn make(suite: &str, base: &Path) {
    let half = base.with_extension("part");
    let _ = fs::remove_dir_all(&half);
    let output = Command::new("timeout")
        .args([LIMIT, "mmdebstrap", "--quiet", "--mode=root", "--variant=apt"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(suite)
        .arg(&half)
        .output()
        .unwrap();
    super::printed("mmdebstrap", &output);
    // Each host makes its own.
    fs::write(half.join("etc/machine-id"), "").unwrap();
    for entry in fs::read_dir(half.join("etc/ssh")).unwrap() {
        let file = entry.unwrap();
        if file.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    fs::rename(&half, base).unwrap();
}
