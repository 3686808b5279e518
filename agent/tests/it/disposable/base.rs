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
/// What hosts of other kins have besides, one front end each: Debian's do not go together.
const OF_RPM: &[&str] = &["createrepo-c", "python3", "rpm"];
const OF_DNF: &[&str] = &["dnf", "dnf-plugins-core"];
const OF_ZYPPER: &[&str] = &["zypper"];
/// What such a host has where it differs from Debian: rpm's database where those kin have it.
const RPM_MACROS: &str = "%_dbpath /var/lib/rpm\n";
/// Seconds that a mirror may take.
const LIMIT: &str = "900";

pub fn is_given() -> bool {
    std::env::var_os(GIVEN).is_some()
}

/// Which packages a host is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// Debian's own.
    Debian,
    /// rpm's, with dnf or zypper, on what is a Debian otherwise.
    Dnf,
    Zypper,
}

/// The directory to start hosts from; nobody writes to it.
pub fn directory(kin: Kin) -> PathBuf {
    match kin {
        Kin::Debian => debian(),
        Kin::Dnf => of_rpm(OF_DNF),
        Kin::Zypper => of_rpm(OF_ZYPPER),
    }
}

fn debian() -> PathBuf {
    if let Some(given) = std::env::var_os(GIVEN) {
        let given = PathBuf::from(given);
        assert!(given.join("usr").is_dir(), "{GIVEN} is no root file system: {}", given.display());
        return given;
    }
    let suite = suite();
    let key = hex::encode(Sha256::digest(PACKAGES.join(",")));
    let cache = cache();
    let base = cache.join(format!("host-{suite}-{}", &key[..12]));
    once(&base, |half| make(&suite, half));
    base
}

/// A copy of the other one with more packages.
fn of_rpm(front_end: &[&str]) -> PathBuf {
    let debian = debian();
    let packages = [OF_RPM, front_end].concat().join(" ");
    let key = hex::encode(Sha256::digest([&packages, RPM_MACROS].concat()));
    let name = debian.file_name().unwrap().to_string_lossy();
    let base = cache().join(format!("{name}-rpm-{}", &key[..12]));
    once(&base, |half| {
        let script = r#"
            cp -a --reflink=auto "$1" "$2"
            cp -L /etc/resolv.conf "$2/etc/resolv.conf"
            mount --bind /proc "$2/proc"
            mount --rbind /dev "$2/dev"
            export DEBIAN_FRONTEND=noninteractive
            chroot "$2" apt-get -q update
            chroot "$2" apt-get -q -y --no-install-recommends install $3
            chroot "$2" apt-get -q clean
            rm -f "$2/etc/resolv.conf"
            mkdir -p "$2/etc/rpm"
            printf '%s' "$4" >"$2/etc/rpm/macros"
            # A source of its own that is not wanted here; the plugin that fixes versions is.
            if [ -e "$2/etc/dnf/plugins/local.conf" ]; then
                printf '[main]\nenabled = false\n' >"$2/etc/dnf/plugins/local.conf"
            fi
            chroot "$2" rpm --initdb"#;
        let output = Command::new("timeout")
            .args([LIMIT, "unshare", "--mount", "--propagation", "private"])
            .args(["sh", "-euc", script, "base"])
            .args([&debian, half])
            .args([&packages, RPM_MACROS])
            .output()
            .unwrap();
        super::printed("the packages of rpm", &output);
    });
    base
}

/// Makes it unless it is there. Others that want it wait for the one who does; its time is limited.
fn once(base: &Path, make: impl FnOnce(&Path)) {
    fs::create_dir_all(base.parent().unwrap()).unwrap();
    let lock = File::create(base.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !base.is_dir() {
        let half = base.with_extension("part");
        let _ = fs::remove_dir_all(&half);
        make(&half);
        fs::rename(&half, base).unwrap();
    }
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

fn make(suite: &str, half: &Path) {
    let output = Command::new("timeout")
        .args([LIMIT, "mmdebstrap", "--quiet", "--mode=root", "--variant=apt"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(suite)
        .arg(half)
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
}
