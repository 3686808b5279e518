//! Which package manager a host has, decided from the host itself and nowhere else: by what `/etc/os-release`
//! says that it is or is like (os-release(5)), and by which database of packages is there.

use std::fs;
use std::io;
use std::path::Path;

use super::HostError;
use super::apt::Apt;
use super::kept::KeptPackages;
use super::package::{PackageManager, trouble};
use super::rpm::Rpm;
use super::rpm::dnf::{DNF, Dnf};
use super::rpm::zypper::{ZYPPER, Zypper};

const RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Where rpm has its database: one of these, by distribution and version.
const RPM_DATABASES: [&str; 6] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages",
    "/usr/lib/sysimage/rpm/Packages.db",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kin {
    Debian,
    RedHat,
    Suse,
}

/// What `ID` and `ID_LIKE` may be, and what then installs packages.
const KINS: [(&str, Kin); 14] = [
    ("debian", Kin::Debian),
    ("ubuntu", Kin::Debian),
    ("almalinux", Kin::RedHat),
    ("amzn", Kin::RedHat),
    ("centos", Kin::RedHat),
    ("fedora", Kin::RedHat),
    ("ol", Kin::RedHat),
    ("rhel", Kin::RedHat),
    ("rocky", Kin::RedHat),
    ("opensuse", Kin::Suse),
    ("opensuse-leap", Kin::Suse),
    ("sled", Kin::Suse),
    ("sles", Kin::Suse),
    ("suse", Kin::Suse),
];

/// The package manager of this machine.
///
/// # Errors
/// None that the agent knows belongs to what the machine says that it is, or it is not there.
pub(super) fn package_manager(kept: KeptPackages) -> Result<Box<dyn PackageManager>, HostError> {
    let release = release().map_err(|error| trouble("os-release", error.to_string()))?;
    let kin = kin(&release).map_err(|why| trouble("packages", why))?;
    let why = |program: &str, why: &str| Err(trouble(program, why));
    match kin {
        Kin::Debian if !Apt::is_here() => {
            why("apt-get", "this host is of Debian's kin, but apt or dpkg's database is not there")
        }
        Kin::Debian => Ok(Box::new(Apt { kept })),
        Kin::RedHat | Kin::Suse if !RPM_DATABASES.iter().any(|file| Path::new(file).exists()) => {
            why("rpm", "this host is of Red Hat's or SUSE's kin, but rpm's database is not there")
        }
        Kin::RedHat if !Path::new(DNF).is_file() || !is_dnf_4() => why(
            DNF,
            "this host is of Red Hat's kin, but dnf 4 is not there; yum, dnf 5 and microdnf are not supported",
        ),
        Kin::RedHat => Ok(Box::new(Rpm::new(kept, Dnf))),
        Kin::Suse if !Path::new(ZYPPER).is_file() => {
            why(ZYPPER, "this host is of SUSE's kin, but zypper is not there")
        }
        Kin::Suse => Ok(Box::new(Rpm::new(kept, Zypper))),
    }
}

/// Whether what people call dnf here is dnf 4: it may be there for others' sake beside dnf 5, and knows nothing of
/// what was locked and marked with that.
fn is_dnf_4() -> bool {
    let called = fs::canonicalize("/usr/bin/dnf");
    called.map_or(true, |called| fs::canonicalize(DNF).is_ok_and(|four| four == called))
}

fn release() -> io::Result<String> {
    for file in RELEASE {
        match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Ok(String::new())
}

/// By `ID`, then by the words of `ID_LIKE` in their order.
fn kin(release: &str) -> Result<Kin, String> {
    let entry = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches(['"', '\''])
    };
    let (id, like) = (entry("ID"), entry("ID_LIKE"));
    let words = std::iter::once(id).chain(like.split_whitespace());
    let mut known = words.filter_map(|word| KINS.iter().find(|(name, _)| *name == word));
    known.next().map(|(_, kin)| *kin).ok_or_else(|| {
        let is = if id.is_empty() { "says nothing".to_owned() } else { format!("says '{id}'") };
        format!(
            "the agent manages packages on hosts of Debian's, Red Hat's and SUSE's kin; /etc/os-release {is}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_that_it_is_decides() {
        for (release, expected) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", Kin::Debian),
            ("ID=ubuntu\nID_LIKE=debian\n", Kin::Debian),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Kin::RedHat),
            ("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", Kin::RedHat),
            ("ID='sles'\nID_LIKE='suse'\n", Kin::Suse),
            ("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n", Kin::Suse),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Kin::Debian),
        ] {
            assert_eq!(kin(release), Ok(expected), "{release}");
        }
        let told = kin("ID=alpine\nVERSION_ID=3.20\n").unwrap_err();
        assert!(told.contains("'alpine'") && told.contains("Red Hat"), "{told}");
        assert!(kin("").unwrap_err().contains("says nothing"));
        assert!(kin("VARIANT_ID=debian\n").is_err());
    }
}
