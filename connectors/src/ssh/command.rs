//! Every program that this connector ever starts on a host, with the arguments that it can have.
//!
//! This is the one place where a command line is made. SSH hands a text to the shell of the account
//! (RFC 4254 §6.5), so the text is built here and nowhere else: programs by absolute path, each argument
//! of a type that was checked when it was read, each quoted by [`quoted`], `--` before the operands, and in front
//! `LC_ALL=C`, so that answers are in one language, and a fixed `PATH`. Secrets go over standard input; a
//! command line is seen by everybody on the host (`ps`).
//!
//! Deliberately absent: a program, an argument or a script that comes from outside as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nexplane_agent::host::debian;
use nexplane_agent::host::package::Wish;
use nexplane_agent::host::shadow::AccountName;
use nexplane_agent::host::{HostError, HostPath, Ids, Mode, PackageName, SysctlValue, UnitName};
use zeroize::Zeroizing;

use crate::sdk::SecretText;

/// What may be started.
#[derive(Debug)]
pub enum Command<'a> {
    /// Number of the account that we are.
    OwnId,
    /// Node name, release and machine, as `uname(1)` says them.
    System,
    /// `/etc/os-release`.
    Release,
    /// Every local account.
    Accounts,
    /// One local account.
    Account(&'a AccountName),
    /// One local group.
    Group(&'a AccountName),
    /// A local account's line of `/etc/shadow`.
    Shadow(&'a AccountName),
    /// Type, mode, owner and links of each of these, links not followed.
    Look(&'a [String]),
    /// File capabilities.
    Capabilities(&'a HostPath),
    /// The same as [`Command::Look`], with size and version, and the name of each that is there.
    Examine(&'a [String]),
    /// Content of these files, one after the other.
    Read(&'a [HostPath]),
    /// Names in a directory.
    List(&'a HostPath),
    /// How the file systems of the session are mounted (`proc_pid_mountinfo(5)`).
    Mounts,
    /// Makes an empty file, in place of one that is there.
    Create {
        path: &'a HostPath,
        mode: Mode,
        ids: Ids,
    },
    /// Makes a copy of a file with its mode, owner and extended attributes, in place of one that is there.
    Copy {
        from: &'a HostPath,
        to: &'a HostPath,
    },
    /// Replaces the content of a file that is there, durably.
    Fill {
        path: &'a HostPath,
        content: &'a [u8],
    },
    /// Gives a file another name in its directory; without `replace` only when that name is free.
    Rename {
        from: &'a HostPath,
        to: &'a HostPath,
        replace: bool,
    },
    Unlink(&'a HostPath),
    /// Gives a setting of the running kernel a value.
    SetKernel {
        path: &'a HostPath,
        value: &'a SysctlValue,
    },
    /// Whether the SSH server would start with these directives before all others.
    SshdAccepts(&'a [&'a str]),
    SetMode {
        path: &'a HostPath,
        mode: Mode,
    },
    /// Does nothing when the owner is not `from`.
    SetOwner {
        path: &'a HostPath,
        from: Ids,
        to: Ids,
    },
    /// Lock and expiry of an account, in one write of the file.
    SetAccess {
        user: &'a AccountName,
        lock: Option<bool>,
        expires: Option<Expiry>,
    },
    /// The hash of a password; the day of its change becomes today.
    SetHash {
        user: &'a AccountName,
        hash: &'a SecretText,
    },
    /// The day of the last change of the password.
    SetChanged {
        user: &'a AccountName,
        day: Option<u32>,
    },
    /// What systemd knows of these units, in this order.
    Units(&'a [UnitName]),
    /// The files of a unit.
    UnitFiles(&'a UnitName),
    /// How a unit's file stands on disk, and the links that `disable` would remove.
    UnitLinks(&'a UnitName),
    /// Every installed unit file of a kind that can be switched.
    AllUnitFiles,
    /// Every loaded unit of a kind that can be switched.
    AllUnits,
    Switch {
        unit: &'a UnitName,
        to: Switch,
    },
    /// Architecture of the host's own packages.
    Architecture,
    /// What dpkg knows of these packages, as [`debian::records`] reads it.
    Packages(&'a [PackageName]),
    /// State of every package, as [`debian::unsettled`] reads it.
    AllPackages,
    /// Versions that the host's sources have, as [`debian::versions`] reads them.
    Offers(&'a [PackageName]),
    /// Which of these packages are there only because others need them.
    Automatic(&'a [PackageName]),
    /// Says it of them, or the opposite.
    SetAutomatic {
        packages: &'a [PackageName],
        automatic: bool,
    },
    Apt(&'a Apt),
    /// Removes these, and nothing else: dpkg refuses what another one needs. Their configuration files stay.
    Remove(&'a [PackageName]),
    /// Devices and inodes of the files that package managers lock while they are at work.
    PackageLocks,
    /// Every lock that a process of the host holds (`proc_locks(5)`).
    AllLocks,
    /// Whether sudo lets us start a program as this command does.
    MayStart(&'a Self),
    /// Every rule of sudo that is for us.
    Rules,
}

/// One call of `apt-get(8)`.
#[derive(Debug)]
pub struct Apt {
    how: How,
    words: Vec<String>,
}

/// How far apt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It says what it would do.
    Simulate,
    /// It fetches what it would install.
    Fetch,
    CarryOut,
}

impl Apt {
    /// None when there is nothing to install or remove.
    ///
    /// # Errors
    /// When a name or a version is not one of Debian's.
    pub fn new(wish: &Wish, how: How) -> Result<Option<Self>, HostError> {
        let mut more = vec!["-o", LOCK_TIMEOUT];
        match how {
            // What is not wanted of it is for the caller to say, once it is known.
            How::Simulate => {
                more.extend(["-s", "--allow-downgrades", "--allow-change-held-packages"]);
            }
            How::Fetch => more.extend(["--download-only", "--allow-downgrades"]),
            How::CarryOut => {
                more.extend(["-o", "APT::Get::Mark-Auto=1"]);
                if wish.may_downgrade {
                    more.push("--allow-downgrades");
                }
                if wish.remove.is_empty() {
                    more.push("--no-remove");
                }
            }
        }
        let words = debian::arguments(wish, &BTreeMap::new(), &more)?;
        Ok(words.map(|words| Self { how, words }))
    }
}

/// When an account expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    /// Days since 1970-01-01.
    Day(u32),
}

/// What to do to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    Enable,
    Disable,
    Start,
    Stop,
}

impl Switch {
    const fn verb(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// What is asked of `systemctl show`.
const UNIT_PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,Type,\
     RemainAfterExit,Requires,Requisite,BindsTo,Wants,Conflicts,RequiredBy,RequisiteOf,BoundBy,\
     ConsistsOf,PropagatesStopTo,TriggeredBy,WantedBy";
const KINDS: &str = "--type=service,socket,timer,path";

/// Another package manager is waited for so many seconds (`apt.conf(5)`, `DPkg::Lock::Timeout`).
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=10";
/// What apt and dpkg are called with: no question is asked of anybody (`debconf(7)`), and no service is restarted that
/// stands in no plan. sudo takes variables of ours away, so they are set after it.
const QUIETLY: [&str; 2] = ["DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1"];
const APT: &str = "/usr/bin/apt-get";
const DPKG: &str = "/usr/bin/dpkg";

/// What every package manager of Debian holds while it is at work, and what dpkg did before there was that
/// (dpkg 1.19.1). Everybody may look at them.
const FRONTEND_LOCK: &str = "/var/lib/dpkg/lock-frontend";
const DATABASE_LOCK: &str = "/var/lib/dpkg/lock";

/// Runs what it is given to its end, whatever becomes of the session: what that prints goes into a file that is
/// the account's own (`mktemp(1)` lets nobody else read it), for with a broken pipe dpkg would end half-way, and is passed on afterwards with the exit
/// status.
const TO_THE_END: &str = "file=$(/usr/bin/mktemp) || exit 125; \
     \"$@\" >\"$file\" 2>&1 </dev/null; status=$?; \
     /usr/bin/cat -- \"$file\" >&2; /usr/bin/rm -f -- \"$file\"; exit \"$status\"";
/// Exit status when it could not begin; that of `env(1)`, too, when it could not.
pub const NOT_BEGUN: u32 = 125;

const ENV: &str = "/usr/bin/env";
/// Where programs look for others, such as dpkg for `ldconfig`; sudo has its own (`secure_path`).
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
const SUDO: &str = "/usr/bin/sudo";

impl Command<'_> {
    /// Whether it has to be root that does it (or, of files, their owner).
    pub const fn needs_root(&self) -> bool {
        match self {
            Self::Shadow(_)
            | Self::Look(_)
            | Self::Capabilities(_)
            | Self::Examine(_)
            | Self::Read(_)
            | Self::SshdAccepts(_)
            | Self::Create { .. }
            | Self::Copy { .. }
            | Self::Fill { .. }
            | Self::Rename { .. }
            | Self::Unlink(_)
            | Self::SetKernel { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::SetAccess { .. }
            | Self::SetHash { .. }
            | Self::SetChanged { .. }
            | Self::SetAutomatic { .. }
            | Self::Remove(_)
            | Self::Switch { .. } => true,
            Self::Apt(apt) => !matches!(apt.how, How::Simulate),
            Self::OwnId
            | Self::System
            | Self::Release
            | Self::Accounts
            | Self::Account(_)
            | Self::Group(_)
            | Self::Units(_)
            | Self::UnitFiles(_)
            | Self::UnitLinks(_)
            | Self::AllUnitFiles
            | Self::AllUnits
            | Self::Architecture
            | Self::Packages(_)
            | Self::AllPackages
            | Self::List(_)
            | Self::Mounts
            | Self::Offers(_)
            | Self::Automatic(_)
            | Self::PackageLocks
            | Self::AllLocks
            | Self::MayStart(_)
            | Self::Rules => false,
        }
    }

    /// Whether it changes the host.
    pub const fn is_effect(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Copy { .. }
            | Self::Fill { .. }
            | Self::Rename { .. }
            | Self::Unlink(_)
            | Self::SetKernel { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::SetAccess { .. }
            | Self::SetHash { .. }
            | Self::SetChanged { .. }
            | Self::SetAutomatic { .. }
            | Self::Remove(_)
            | Self::Switch { .. } => true,
            // What is fetched is only kept ready.
            Self::Apt(apt) => matches!(apt.how, How::CarryOut),
            Self::Shadow(_)
            | Self::Look(_)
            | Self::Capabilities(_)
            | Self::Examine(_)
            | Self::Read(_)
            | Self::SshdAccepts(_)
            | Self::OwnId
            | Self::System
            | Self::Release
            | Self::Accounts
            | Self::Account(_)
            | Self::Group(_)
            | Self::Units(_)
            | Self::UnitFiles(_)
            | Self::UnitLinks(_)
            | Self::AllUnitFiles
            | Self::AllUnits
            | Self::Architecture
            | Self::Packages(_)
            | Self::AllPackages
            | Self::List(_)
            | Self::Mounts
            | Self::Offers(_)
            | Self::Automatic(_)
            | Self::PackageLocks
            | Self::AllLocks
            | Self::MayStart(_)
            | Self::Rules => false,
        }
    }

    /// Whether it has its whole effect or, when it fails, none.
    pub const fn is_atomic(&self) -> bool {
        self.is_effect() && !matches!(self, Self::Switch { .. } | Self::Apt(_) | Self::Remove(_))
    }

    /// Whether the owner of a file may do it, too.
    pub const fn is_for_owners(&self) -> bool {
        matches!(self, Self::SetMode { .. } | Self::Look(_))
    }

    /// Whether it goes on to its end when the session ends before.
    pub const fn goes_on(&self) -> bool {
        self.is_effect() && self.is_of_packages()
    }

    /// Whether it is a call of apt or dpkg that takes their lock.
    pub const fn is_of_packages(&self) -> bool {
        matches!(self, Self::Apt(_) | Self::Remove(_))
    }

    /// What goes to its standard input.
    pub fn input(&self) -> Option<Zeroizing<Vec<u8>>> {
        if let Self::SetHash { user, hash } = self {
            return Some(Zeroizing::new(format!("{user}:{}\n", hash.expose()).into_bytes()));
        }
        if let Self::Fill { content, .. } = self {
            return Some(Zeroizing::new(content.to_vec()));
        }
        if let Self::SetKernel { value, .. } = self {
            return Some(Zeroizing::new(format!("{value}\n").into_bytes()));
        }
        None
    }

    /// What people call it.
    pub const fn called(&self) -> &'static str {
        if matches!(self, Self::Apt(_)) {
            APT
        } else if matches!(self, Self::Remove(_)) {
            DPKG
        } else {
            self.program()
        }
    }

    /// What a rule of sudo has to name.
    pub fn for_sudoers(&self) -> String {
        if matches!(self, Self::SshdAccepts(_)) {
            return format!("{} -t *", self.program());
        }
        if !self.is_of_packages() {
            return self.program().to_owned();
        }
        let (quietly, called) = (QUIETLY.join(" ").replace('=', r"\="), self.called());
        let verb = if matches!(self, Self::Remove(_)) { "--remove " } else { "" };
        format!("{ENV} {quietly} {called} {verb}*")
    }

    /// Absolute path of the program.
    pub const fn program(&self) -> &'static str {
        match self {
            Self::OwnId => "/usr/bin/id",
            Self::System => "/usr/bin/uname",
            Self::Release | Self::Read(_) | Self::Mounts | Self::AllLocks => "/usr/bin/cat",
            Self::List(_) => "/usr/bin/ls",
            Self::Create { .. } => "/usr/bin/install",
            Self::Copy { .. } => "/usr/bin/cp",
            Self::Fill { .. } | Self::SetKernel { .. } => "/usr/bin/dd",
            Self::Rename { .. } => "/usr/bin/mv",
            Self::Unlink(_) => "/usr/bin/rm",
            Self::SshdAccepts(_) => "/usr/sbin/sshd",
            Self::Accounts | Self::Account(_) | Self::Group(_) | Self::Shadow(_) => {
                "/usr/bin/getent"
            }
            Self::Look(_) | Self::Examine(_) | Self::PackageLocks => "/usr/bin/stat",
            Self::Capabilities(_) => "/usr/sbin/getcap",
            Self::SetMode { .. } => "/usr/bin/chmod",
            Self::SetOwner { .. } => "/usr/bin/chown",
            Self::SetAccess { .. } => "/usr/sbin/usermod",
            Self::SetHash { .. } => "/usr/sbin/chpasswd",
            Self::SetChanged { .. } => "/usr/bin/chage",
            Self::Units(_)
            | Self::UnitFiles(_)
            | Self::UnitLinks(_)
            | Self::AllUnitFiles
            | Self::AllUnits
            | Self::Switch { .. } => "/usr/bin/systemctl",
            Self::Architecture => DPKG,
            Self::Packages(_) | Self::AllPackages => "/usr/bin/dpkg-query",
            Self::Offers(_) => "/usr/bin/apt-cache",
            Self::Automatic(_) | Self::SetAutomatic { .. } => "/usr/bin/apt-mark",
            Self::Apt(_) | Self::Remove(_) => ENV,
            Self::MayStart(_) | Self::Rules => SUDO,
        }
    }

    /// Its arguments.
    pub fn arguments(&self) -> Vec<String> {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let entry = |database: &str, key: &AccountName| {
            words(&["-s", "files", "--", database, key.as_str()])
        };
        let named = |list: &[&str], names: &[PackageName]| {
            let mut all = words(list);
            all.extend(names.iter().map(ToString::to_string));
            all
        };
        match self {
            Self::OwnId => words(&["-u"]),
            Self::System => words(&["-nrm"]),
            Self::Release => words(&["--", "/etc/os-release"]),
            Self::Accounts => words(&["-s", "files", "--", "passwd"]),
            Self::Account(name) => entry("passwd", name),
            Self::Group(name) => entry("group", name),
            Self::Shadow(name) => entry("shadow", name),
            Self::Look(paths) => {
                let mut all = words(&["--format=%f %u %g %h %U:%G", "--"]);
                all.extend(paths.iter().cloned());
                all
            }
            Self::Capabilities(path) => words(&["--", path.as_str()]),
            Self::Examine(paths) => {
                let mut all = words(&["--format=%f %u %g %h %s %d %i %.9Z %.9Y %n", "--"]);
                all.extend(paths.iter().cloned());
                all
            }
            Self::Read(paths) => {
                let mut all = words(&["--"]);
                all.extend(paths.iter().map(ToString::to_string));
                all
            }
            Self::List(path) => words(&["-A", "-1", "--quoting-style=escape", "--", path.as_str()]),
            Self::Mounts => words(&["--", "/proc/self/mountinfo"]),
            Self::Create { path, mode, ids: Ids { uid, gid } } => words(&[
                &format!("--mode={mode}"),
                &format!("--owner={uid}"),
                &format!("--group={gid}"),
                "--no-target-directory",
                "--",
                "/dev/null",
                path.as_str(),
            ]),
            Self::Copy { from, to } => words(&[
                "--no-target-directory",
                "--remove-destination",
                "--no-dereference",
                "--preserve=mode,ownership,xattr",
                "--",
                from.as_str(),
                to.as_str(),
            ]),
            Self::Fill { path, .. } => {
                words(&[&format!("of={path}"), "bs=64K", "conv=nocreat,fsync", "status=none"])
            }
            Self::SetKernel { path, .. } => {
                words(&[&format!("of={path}"), "bs=64K", "conv=nocreat,notrunc", "status=none"])
            }
            Self::Rename { from, to, replace } => {
                let how = if *replace { "--force" } else { "--no-clobber" };
                words(&["--no-target-directory", how, "--", from.as_str(), to.as_str()])
            }
            Self::Unlink(path) => words(&["--force", "--", path.as_str()]),
            Self::SshdAccepts(directives) => {
                let mut all = words(&["-t"]);
                for directive in *directives {
                    all.extend(words(&["-o", directive]));
                }
                all
            }
            Self::SetMode { path, mode } => words(&["--", &mode.to_string(), path.as_str()]),
            Self::SetOwner { path, from, to } => words(&[
                "--no-dereference",
                &format!("--from={}:{}", from.uid, from.gid),
                "--",
                &format!("{}:{}", to.uid, to.gid),
                path.as_str(),
            ]),
            Self::SetAccess { user, lock, expires } => {
                let mut all = Vec::new();
                match lock {
                    Some(true) => all.push("--lock".to_owned()),
                    Some(false) => all.push("--unlock".to_owned()),
                    None => {}
                }
                if let Some(expires) = expires {
                    all.push("--expiredate".to_owned());
                    all.push(match expires {
                        Expiry::Never => String::new(),
                        // A date would be rounded in the host's time zone.
                        Expiry::Day(day) => day.to_string(),
                    });
                }
                all.extend(words(&["--", user.as_str()]));
                all
            }
            Self::SetHash { .. } => words(&["--encrypted"]),
            Self::SetChanged { user, day } => {
                let day = day.map_or_else(|| "-1".to_owned(), |day| day.to_string());
                words(&["--lastday", &day, "--", user.as_str()])
            }
            Self::Units(units) => {
                let mut all = words(&["show", "--no-pager", UNIT_PROPERTIES, "--"]);
                all.extend(units.iter().map(ToString::to_string));
                all
            }
            Self::UnitFiles(unit) => words(&["cat", "--no-pager", "--", unit.as_str()]),
            Self::UnitLinks(unit) => {
                words(&["is-enabled", "--full", "--no-pager", "--", unit.as_str()])
            }
            Self::AllUnitFiles => words(&["list-unit-files", "--no-pager", "--no-legend", KINDS]),
            Self::AllUnits => words(&[
                "list-units",
                "--all",
                "--plain",
                "--full",
                "--no-pager",
                "--no-legend",
                KINDS,
            ]),
            Self::Switch { unit, to } => {
                words(&[to.verb(), "--no-ask-password", "--quiet", "--", unit.as_str()])
            }
            Self::Architecture => words(&["--print-architecture"]),
            Self::Packages(names) => named(&["-W", "-f", debian::FORMAT, "--"], names),
            Self::AllPackages => words(&["-W", "-f", debian::STATES]),
            Self::Offers(names) => named(&["madison", "--"], names),
            Self::Automatic(names) => named(&["showauto", "--"], names),
            Self::SetAutomatic { packages, automatic } => {
                named(&[if *automatic { "auto" } else { "manual" }, "--"], packages)
            }
            Self::Apt(apt) => [words(&QUIETLY), words(&[APT]), apt.words.clone()].concat(),
            Self::Remove(names) => {
                [words(&QUIETLY), named(&[DPKG, "--remove", "--"], names)].concat()
            }
            Self::PackageLocks => words(&["--format=%d %i", "--", FRONTEND_LOCK, DATABASE_LOCK]),
            Self::AllLocks => words(&["--", "/proc/locks"]),
            Self::Rules => words(&["-n", "-l"]),
            Self::MayStart(other) => {
                let mut all = words(&["-n", "-l", "--", other.program()]);
                all.extend(other.arguments());
                all
            }
        }
    }

    /// The text for the shell of the account; with `sudo`, what needs root is asked of it.
    pub fn line(&self, sudo: bool) -> String {
        let mut line = format!("{ENV} LC_ALL=C {PATH}");
        if self.goes_on() {
            let _ = write!(line, " /bin/sh -c {} sh", quoted(TO_THE_END));
        }
        if sudo && self.needs_root() {
            let _ = write!(line, " {SUDO} -n --");
        }
        let _ = write!(line, " {}", self.program());
        for argument in self.arguments() {
            line.push(' ');
            line.push_str(&quoted(&argument));
        }
        line
    }
}

/// `text` as one word of a POSIX shell, whatever is in it: between single quotes nothing has a meaning
/// but the single quote itself.
/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02_02>
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The date of a day since 1970-01-01, as `usermod(8)` reads it.
pub fn date(day: u32) -> String {
    // Civil date from days, by the proleptic Gregorian calendar with years that begin in March.
    let shifted = u64::from(day) + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn a_command_line_is_exactly_this() {
        let (user, path) = (name("deploy"), "/srv/it's $(here)".parse::<HostPath>().unwrap());
        let new: HostPath = "/etc/new".parse().unwrap();
        let mode = Mode::from_bits(0o640);
        let unit: UnitName = r"a\x2db.service".parse().unwrap();
        let hash = SecretText::new("$6$salt$hash".to_owned());
        let ids = |uid, gid| Ids { uid, gid };
        let expires = Some(Expiry::Day(1));
        let begin = "/usr/bin/env LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        let wish = Wish {
            install: [("nx-app".parse().unwrap(), "1:2.0".parse().ok())].into(),
            ..Wish::default()
        };
        let apt = Apt::new(&wish, How::CarryOut).unwrap().unwrap();
        let line = Command::Apt(&apt).line(true);
        let to_the_end = format!("{begin} /bin/sh -c {} sh", quoted(TO_THE_END));
        let apt_begins = "/usr/bin/sudo -n -- /usr/bin/env 'DEBIAN_FRONTEND=noninteractive' \
                          'NEEDRESTART_SUSPEND=1' '/usr/bin/apt-get' '-q' '-y' '--no-install-recommends'";
        assert!(line.starts_with(&format!("{to_the_end} {apt_begins}")), "{line}");
        let only_fetched = Apt::new(&wish, How::Fetch).unwrap().unwrap();
        let line = Command::Apt(&only_fetched).line(true);
        assert!(line.starts_with(&format!("{begin} {apt_begins}")), "{line}");
        let names = ["nx-app".parse().unwrap(), "nx-lib".parse().unwrap()];
        assert_eq!(
            Command::Remove(&names).line(false),
            format!(
                "{to_the_end} /usr/bin/env 'DEBIAN_FRONTEND=noninteractive' 'NEEDRESTART_SUSPEND=1' '/usr/bin/dpkg' \
                 '--remove' '--' 'nx-app' 'nx-lib'"
            )
        );
        let line = Command::Apt(&apt).line(true);
        assert!(line.ends_with("'--no-remove' 'install' '--' 'nx-app=1:2.0'"), "{line}");
        for (command, rest) in [
            (Command::Shadow(&user), "/usr/bin/getent '-s' 'files' '--' 'shadow' 'deploy'"),
            (
                Command::SetMode { path: &path, mode },
                r"/usr/bin/chmod '--' '0640' '/srv/it'\''s $(here)'",
            ),
            (
                Command::SetOwner { path: &path, from: ids(0, 0), to: ids(1000, 33) },
                r"/usr/bin/chown '--no-dereference' '--from=0:0' '--' '1000:33' '/srv/it'\''s $(here)'",
            ),
            (
                Command::SetAccess { user: &user, lock: Some(true), expires },
                "/usr/sbin/usermod '--lock' '--expiredate' '1' '--' 'deploy'",
            ),
            (
                Command::SetAccess { user: &user, lock: None, expires: Some(Expiry::Never) },
                "/usr/sbin/usermod '--expiredate' '' '--' 'deploy'",
            ),
            (Command::SetHash { user: &user, hash: &hash }, "/usr/sbin/chpasswd '--encrypted'"),
            (
                Command::Create { path: &new, mode, ids: ids(0, 7) },
                "/usr/bin/install '--mode=0640' '--owner=0' '--group=7' '--no-target-directory' '--' \
                 '/dev/null' '/etc/new'",
            ),
            (
                Command::Fill { path: &new, content: b"text" },
                "/usr/bin/dd 'of=/etc/new' 'bs=64K' 'conv=nocreat,fsync' 'status=none'",
            ),
            (
                Command::Rename { from: &new, to: &path, replace: false },
                r"/usr/bin/mv '--no-target-directory' '--no-clobber' '--' '/etc/new' '/srv/it'\''s $(here)'",
            ),
            (
                Command::SshdAccepts(&["MaxAuthTries 4", "LogLevel INFO"]),
                "/usr/sbin/sshd '-t' '-o' 'MaxAuthTries 4' '-o' 'LogLevel INFO'",
            ),
            (
                Command::Switch { unit: &unit, to: Switch::Stop },
                r"/usr/bin/systemctl 'stop' '--no-ask-password' '--quiet' '--' 'a\x2db.service'",
            ),
        ] {
            let sudo = format!("{begin} /usr/bin/sudo -n -- {rest}");
            assert_eq!(command.line(true), sudo);
            assert_eq!(command.line(false), format!("{begin} {rest}"));
        }
        assert_eq!(Command::OwnId.line(true), format!("{begin} /usr/bin/id '-u'"));
        let set = Command::SetHash { user: &user, hash: &hash };
        assert_eq!(*set.input().unwrap(), b"deploy:$6$salt$hash\n");
        assert!(!format!("{set:?} {}", set.line(true)).contains("salt"));
    }

    /// The shell gives back what was quoted: texts of the characters that mean something to it, and of all
    /// ASCII but NUL, which no argument can have.
    #[test]
    fn whatever_is_quoted_is_one_word_of_the_shell() {
        let special = "''''''\"\"\"$$$``\\\\\\!;&|<>(){}[]*?~#=%- \t\n\rüß€\u{1F600}\u{202e}";
        let alphabet: Vec<char> = (1..=127_u8).map(char::from).chain(special.chars()).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let mut texts: Vec<String> =
            ["", "'", "''", "-n", "--", "\\", "$(id)", "`id`", "a'; id; 'b", "\n"]
                .map(str::to_owned)
                .to_vec();
        for _ in 0..2000 {
            let length = draw(12);
            texts.push((0..length).map(|_| alphabet[draw(alphabet.len())]).collect());
        }
        let words: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
        let script = format!("printf '%s\\0' {}", words.join(" "));
        for shell in ["/bin/sh", "/bin/bash"] {
            let said = std::process::Command::new(shell).args(["-c", &script]).output().unwrap();
            assert!(said.status.success(), "{shell}: {said:?}");
            let said = String::from_utf8(said.stdout).unwrap();
            let back: Vec<_> = said.split_terminator('\0').collect();
            assert_eq!(back, texts, "{shell}");
        }
    }

    /// Nobody reads what it prints, and it goes on to its end; somebody does, and hears all of it. Nothing is left.
    #[test]
    fn what_goes_on_to_its_end_does_so_with_broken_pipes_and_passes_on_what_became_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let start = |script: &str, shut: bool| {
            let mut command = std::process::Command::new("/bin/sh");
            command.args(["-c", TO_THE_END, "sh", "/bin/sh", "-c", script]);
            command.env("TMPDIR", folder.path()).current_dir(folder.path());
            command.stdin(std::process::Stdio::null());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            if shut {
                drop((child.stdout.take(), child.stderr.take()));
            }
            child.wait_with_output().unwrap()
        };
        // What packages make has the modes that it has without us.
        let said = start("umask", false);
        let umask = std::process::Command::new("/bin/sh").args(["-c", "umask"]).output().unwrap();
        assert_eq!((said.stdout, said.stderr), (Vec::new(), umask.stdout));
        start("sleep 0.1; echo one; echo two >&2; ls -l $TMPDIR >done", true);
        let done = std::fs::read_to_string(folder.path().join("done")).unwrap();
        assert!(done.contains("-rw------- "), "{done}");
        std::fs::remove_file(folder.path().join("done")).unwrap();
        let said = start("echo one; echo two >&2; exit 100", false);
        assert_eq!((said.status.code(), said.stdout), (Some(100), Vec::new()));
        assert_eq!(String::from_utf8(said.stderr).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
        drop(std::fs::remove_dir(folder.path()));
        let said = start_nowhere(folder.path());
        assert_eq!(said.status.code().map(i32::cast_unsigned), Some(NOT_BEGUN));
    }

    /// There is no folder for the file.
    fn start_nowhere(gone: &std::path::Path) -> std::process::Output {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", TO_THE_END, "sh", "/bin/true"]).env("TMPDIR", gone);
        command.output().unwrap()
    }

    #[test]
    fn a_day_has_the_date_that_the_system_gives_it() {
        for day in [0, 1, 58, 59, 60, 364, 365, 789, 11_016, 11_017, 19_782, 20_000, 47_540, 99_999]
        {
            let at = format!("@{}", u64::from(day) * 86_400);
            let said = std::process::Command::new("date").args(["-u", "-d", &at, "+%F"]).output();
            assert_eq!(date(day), String::from_utf8(said.unwrap().stdout).unwrap().trim());
        }
    }
}
