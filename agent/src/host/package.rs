//! Packages, as they stand in parameters and before-states, and how a host's package manager is asked.
//!
//! A [`PackageManager`] is told exactly which packages shall have which version, says beforehand what
//! else that would touch, and is believed only when its database is read afterwards. Deliberately
//! absent: refreshing the lists of what can be had, sources, keys, and upgrades of a whole host.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::str::FromStr;

use nexplane_core::id::JobId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{HostError, HostPath};

/// Packages that are not removed, whoever approved it, besides those that the distribution protects.
const KEPT: &[(&str, &str)] = &[
    ("apt", "packages are installed with it"),
    ("base-files", "the host does not start without it"),
    ("bash", "programs of packages are run by it"),
    ("coreutils", "programs of packages need it"),
    ("dbus", "the agent talks to the host through it"),
    ("dbus-broker", "the agent talks to the host through it"),
    ("dnf", "packages are installed with it"),
    ("dpkg", "packages are installed with it"),
    ("filesystem", "the host does not start without it"),
    ("glibc", "every program needs it"),
    ("init", "the host does not start without it"),
    ("libc6", "every program needs it"),
    ("libzypp", "packages are installed with it"),
    ("rpm", "packages are installed with it"),
    ("setup", "the host does not start without it"),
    ("systemd", "the host does not start without it"),
    ("systemd-sysv", "the host does not start without it"),
    ("zypper", "packages are installed with it"),
];
/// The package that the agent itself may have come with: changing it would end the agent in the middle.
const OWN: &str = "nexplane-agent";
/// Packages through which people reach the host: servers, networks, and where accounts are. `*` at the end stands for
/// anything.
const WAYS_IN: [&str; 29] = [
    "NetworkManager*",
    "connman",
    "dhcp-client",
    "dhcpcd*",
    "dropbear",
    "dropbear-bin",
    "dropbear-run",
    "ifupdown*",
    "isc-dhcp-client",
    "iwd",
    "libnss-ldap*",
    "libnss-sss",
    "libpam-ldap*",
    "libpam-sss",
    "netplan*",
    "network-manager",
    "nslcd",
    "openssh",
    "openssh-server",
    "sssd*",
    "sudo",
    "sudo-ldap",
    "systemd-networkd",
    "systemd-resolved",
    "tailscale",
    "winbind",
    "wireguard-tools",
    "wpa_supplicant",
    "wpasupplicant",
];

/// Name of a package: of two to 128 letters, digits, `+`, `-`, `.` and `_`, beginning with a letter or
/// digit. Debian allows fewer of them (policy 5.6.1), which its package manager checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// Version of a package, `[epoch:]upstream[-revision]`, of at most 128 letters, digits and `.+-~:_^`.
/// Debian allows fewer of them (policy 5.6.12), which its package manager checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageVersion(String);

/// A text that is not a [`PackageName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a package is two or more letters, digits, '+', '-', '.' and '_', a letter or digit first")]
pub struct BadName;

/// A text that is not a [`PackageVersion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a version is letters, digits and '.+-~:_^', a letter or digit first, after a numeric epoch if any"
)]
pub struct BadVersion;

impl PackageName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As Debian has them: lower case, no underscore (policy 5.6.1).
    pub fn is_of_debian(&self) -> bool {
        !self.0.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_')
    }

    /// Why it is not removed.
    pub fn kept(&self) -> Option<&'static str> {
        let kept = KEPT.iter().find(|(name, _)| *name == self.0).map(|(_, why)| *why);
        kept.or_else(|| self.own())
    }

    /// Why it is not touched at all.
    pub fn own(&self) -> Option<&'static str> {
        (self.0 == OWN).then_some("it is the agent")
    }

    /// Whether people may reach the host through it.
    pub fn is_way_in(&self) -> bool {
        WAYS_IN.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => self.0.starts_with(beginning),
            None => self.0 == *pattern,
        })
    }
}

impl FromStr for PackageName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if (2..=128).contains(&text.len()) && begins_well && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName)
        }
    }
}

impl PackageVersion {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As Debian has them: no `_`, no `^`, the upstream part begins with a digit (policy 5.6.12).
    pub fn is_of_debian(&self) -> bool {
        let upstream = self.0.split_once(':').map_or(self.0.as_str(), |(_, rest)| rest);
        upstream.starts_with(|c: char| c.is_ascii_digit()) && !self.0.contains(['_', '^'])
    }

    /// As rpm has them: `[epoch:]version-release`, of which neither has a `-` or a `:`.
    pub fn is_of_rpm(&self) -> bool {
        let rest = self.0.split_once(':').map_or(self.0.as_str(), |(_, rest)| rest);
        let parts = rest.split_once('-');
        let is_part = |part: &str| !part.is_empty() && !part.contains(['-', ':']);
        parts.is_some_and(|(version, release)| is_part(version) && is_part(release))
    }
}

impl FromStr for PackageVersion {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (Some(epoch), rest),
            None => (None, text),
        };
        let good_epoch = epoch.is_none_or(|epoch| {
            !epoch.is_empty() && epoch.len() <= 9 && epoch.bytes().all(|b| b.is_ascii_digit())
        });
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:_^".contains(&byte);
        let begins_well = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        if text.len() <= 128 && good_epoch && begins_well && rest.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadVersion)
        }
    }
}

/// What a checked text has in common.
macro_rules! text {
    ($type:ident, $bad:ident, $pattern:literal) => {
        impl TryFrom<String> for $type {
            type Error = $bad;
            fn try_from(text: String) -> Result<Self, $bad> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> Self {
                text.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": 128 })
            }
        }
    };
}

text!(PackageName, BadName, "^[A-Za-z0-9][A-Za-z0-9+._-]+$");
text!(PackageVersion, BadVersion, "^([0-9]{1,9}:)?[A-Za-z0-9][A-Za-z0-9.+~:_^-]*$");

/// A package as the database of the host has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Package {
    /// The version whose files are there, at least in part; none when only configuration is left.
    pub version: Option<PackageVersion>,
    /// False when its installation or removal was begun and not brought to an end.
    pub is_settled: bool,
    /// Not installed, but its configuration files are still there.
    pub is_residue: bool,
    /// Installed only because another one needs it.
    pub is_auto: bool,
    /// Its version may not be changed.
    pub is_held: bool,
    /// Why the distribution says that the host needs it.
    pub needed: Option<&'static str>,
    /// Removing it without its configuration would leave something behind.
    pub leaves_residue: bool,
    /// A program of its own runs when its configuration is removed, which nothing takes back.
    pub cleans_up: bool,
    /// Its configuration files.
    pub conffiles: Vec<HostPath>,
    /// Of them, and of what the package manager lays beside them then, those that are not as they are now
    /// after it was removed without its configuration and installed again.
    pub lost_on_removal: Vec<HostPath>,
    /// The same for another version of it in its place, and this one again.
    pub lost_on_replacement: Vec<HostPath>,
}

/// A package that a transaction would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Effect {
    pub name: PackageName,
    pub before: Option<PackageVersion>,
    pub after: Option<PackageVersion>,
}

/// What happens to it, for people.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, before, after } = self;
        match (before, after) {
            (None, Some(after)) => write!(f, "install {name} {after}"),
            (Some(before), Some(after)) => write!(f, "replace {name} {before} by {after}"),
            (Some(before), None) => write!(f, "remove {name} {before}"),
            (None, None) => write!(f, "leave {name} as it is"),
        }
    }
}

/// What shall be there, and what shall not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Without a version: whichever one the host prefers.
    pub install: BTreeMap<PackageName, Option<PackageVersion>>,
    pub remove: BTreeSet<PackageName>,
    /// Those whose configuration goes, too.
    pub purge: BTreeSet<PackageName>,
    /// Whether an installed version may be replaced by an earlier one.
    pub may_downgrade: bool,
    /// Whether a version that was kept for the way back is taken before one of the host's sources.
    pub may_use_kept: bool,
}

impl Wish {
    /// The same with every package and version of a plan named, so that nothing is left to choose.
    #[must_use]
    pub fn exactly(&self, plan: &[Effect]) -> Self {
        let mut exact = Self { install: BTreeMap::new(), remove: BTreeSet::new(), ..self.clone() };
        for Effect { name, after, .. } in plan {
            if let Some(version) = after {
                exact.install.insert(name.clone(), Some(version.clone()));
            } else if !self.purge.contains(name) {
                exact.remove.insert(name.clone());
            }
        }
        exact
    }

    pub fn is_empty(&self) -> bool {
        self.install.is_empty() && self.remove.is_empty() && self.purge.is_empty()
    }
}

/// Every package whose files are there, at least in part, with its version; several versions of one with a
/// space between them. One of another architecture has that in its name: `libc6:i386`.
pub type Inventory = BTreeMap<String, String>;

/// A package that is installed, of whichever architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub version: String,
    pub architecture: String,
}

/// A host's package manager.
///
/// Every name is that of a package of the host's own architecture or of none.
pub trait PackageManager: Debug + Send + Sync {
    /// What people call it.
    fn called(&self) -> &'static str;

    /// What its database says of these packages, each of them.
    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError>;

    /// Packages, of all, whose installation or removal was begun and not brought to an end.
    fn unsettled(&self) -> Result<Vec<String>, HostError>;

    /// Versions that can be had from the host's sources, as far as it knows them. Empty when there is no
    /// such package.
    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError>;

    /// Whether the first version comes before the second one.
    fn is_before(&self, one: &PackageVersion, other: &PackageVersion) -> Result<bool, HostError>;

    /// Every package that would be changed, in the order of their names. Changes nothing.
    ///
    /// # Errors
    /// When it cannot be done, in the words of the package manager.
    fn simulate(&self, wish: &Wish) -> Result<Vec<Effect>, HostError>;

    /// Every installed package; none where that stands in a file that anybody can read.
    fn listed(&self) -> Result<Option<Vec<Listed>>, HostError> {
        Ok(None)
    }

    /// What is there, for telling afterwards what a transaction changed.
    fn inventory(&self) -> Result<Inventory, HostError>;

    /// Fetches what the wish installs, so that carrying it out needs nothing from beyond the host. Installs
    /// nothing.
    fn fetch(&self, wish: &Wish) -> Result<(), HostError>;

    /// Fetches these versions, unless they are kept already, and keeps them for as long as the job's
    /// before-state: until [`PackageManager::forget`].
    fn keep(
        &self,
        job: &JobId,
        versions: &BTreeMap<PackageName, PackageVersion>,
    ) -> Result<(), HostError>;

    /// Whether this version is kept for some job.
    fn is_kept(&self, name: &PackageName, version: &PackageVersion) -> Result<bool, HostError>;

    /// Deletes what is kept for jobs that do not need it any more.
    fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> Result<(), HostError>;

    /// Does it, and names nothing to the package manager that the wish does not name. Files of configuration
    /// that somebody changed stay as they are. What is new is marked as needed by others only, for the caller
    /// to say what is not.
    ///
    /// # Errors
    /// A part of it may have happened; the caller reads the packages again.
    fn carry_out(&self, wish: &Wish) -> Result<(), HostError>;

    /// Says whether an installed package is there only because another one needs it.
    fn set_auto(&self, name: &PackageName, is_auto: bool) -> Result<(), HostError>;

    /// Brings to an end what was interrupted, as far as that is possible; what was only half unpacked is
    /// fetched again.
    fn settle(&self) -> Result<(), HostError>;
}

/// A package that was not brought where it should be.
pub(super) fn trouble(package: impl fmt::Display, why: impl Into<String>) -> HostError {
    HostError::Package { package: package.to_string(), why: why.into() }
}

/// Without what may open the door of an address: all that is before its last `@`, wherever that is, for a
/// password may hold any character, and all that follows a `?`.
pub fn redacted(line: &str) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find([' ', '\t', '\'', '"', '<', '>']).unwrap_or(after.len());
        let (address, tail) = after.split_at(end);
        let address = match address.rsplit_once('@') {
            Some((_, open)) => {
                clean.push_str("…@");
                open
            }
            None => address,
        };
        match address.split_once('?') {
            Some((open, _)) => {
                clean.push_str(open);
                clean.push_str("?…");
            }
            None => clean.push_str(address),
        }
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_cannot_be_anything_else() {
        for good in ["rsync", "g++", "libstdc++6", "python3.11", "0ad", "NetworkManager", "x_y"] {
            assert_eq!(good.parse::<PackageName>().unwrap().as_str(), good);
        }
        for bad in [
            "", "a", "-y", "+x", ".x", "a b", "a=1", "a/b", "a:i386", "a*", "a?x", "~n", "ä1",
            "a\n",
        ] {
            assert_eq!(bad.parse::<PackageName>(), Err(BadName), "{bad:?}");
        }
        assert_eq!("x".repeat(129).parse::<PackageName>(), Err(BadName));
        for good in ["1.0", "2:1.0-1", "1.0~rc1+dfsg-2+deb12u1", "0", "1:2:3", "3.9.1^git1", "v1"] {
            assert_eq!(good.parse::<PackageVersion>().unwrap().as_str(), good);
        }
        for bad in ["", "-1", ":1", "a:1", "1:", "1 0", "1/2", "1*", "1=2", "~1", "1\n", "1:-o"] {
            assert_eq!(bad.parse::<PackageVersion>(), Err(BadVersion), "{bad:?}");
        }
    }

    #[test]
    fn a_plan_leaves_nothing_to_choose() {
        let name = |text: &str| text.parse::<PackageName>().unwrap();
        let version = |text: &str| Some(text.parse::<PackageVersion>().unwrap());
        let plan = [
            Effect { name: name("app"), before: None, after: version("2.0") },
            Effect { name: name("lib"), before: version("1.0"), after: version("1.1") },
            Effect { name: name("old"), before: version("1.0"), after: None },
            Effect { name: name("rival"), before: version("1.0"), after: None },
        ];
        let wish = Wish {
            install: [(name("app"), None)].into(),
            purge: [name("old")].into(),
            may_downgrade: true,
            ..Wish::default()
        };
        let exact = wish.exactly(&plan);
        let expected = [(name("app"), version("2.0")), (name("lib"), version("1.1"))];
        assert_eq!(exact.install, expected.into());
        assert_eq!((exact.remove, exact.purge), ([name("rival")].into(), [name("old")].into()));
        assert!(exact.may_downgrade);
    }

    #[test]
    fn debian_is_stricter() {
        let of_debian = |name: &str| name.parse::<PackageName>().unwrap().is_of_debian();
        assert!(of_debian("g++") && !of_debian("NetworkManager") && !of_debian("x_y"));
        let of_debian = |text: &str| text.parse::<PackageVersion>().unwrap().is_of_debian();
        assert!(of_debian("1:1.0~rc1-2") && !of_debian("v1") && !of_debian("1:v1"));
        assert!(!of_debian("1_0") && !of_debian("1^git"));
    }

    #[test]
    fn rpm_has_a_release() {
        let of_rpm = |text: &str| text.parse::<PackageVersion>().unwrap().is_of_rpm();
        assert!(of_rpm("1.0-1") && of_rpm("2:1.0~rc1^git-3.el9_4") && of_rpm("v1-r0"));
        assert!(!of_rpm("1.0") && !of_rpm("1:2:3-4") && !of_rpm("1.0-1-2"));
    }

    #[test]
    fn what_keeps_the_host_going_is_kept() {
        for kept in ["dpkg", "libc6", "nexplane-agent", "systemd"] {
            assert!(kept.parse::<PackageName>().unwrap().kept().is_some(), "{kept}");
        }
        let rsync: PackageName = "rsync".parse().unwrap();
        assert!(rsync.kept().is_none() && rsync.own().is_none() && !rsync.is_way_in());
        for way in ["openssh-server", "ifupdown", "dhcpcd-base", "sssd-common", "tailscale", "sudo"]
        {
            assert!(way.parse::<PackageName>().unwrap().is_way_in(), "{way}");
        }
        assert!(!"openssh-client".parse::<PackageName>().unwrap().is_way_in());
    }

    #[test]
    fn addresses_lose_what_opens_them() {
        for (line, clean) in [
            ("'http://me:se@host/x y'", "'http://…@host/x y'"),
            ("http://me:p/ss@host:80/x", "http://…@host:80/x"),
            ("a https://host/x?token=se b ftp://u@h", "a https://host/x?… b ftp://…@h"),
            ("https://host/x://me:se@b", "https://…@b"),
            ("https://host/plain.deb", "https://host/plain.deb"),
        ] {
            assert_eq!(redacted(line), clean);
        }
    }
}
