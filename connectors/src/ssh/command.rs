//! Every program that this connector ever starts on a host, with the arguments that it can have.
//!
//! This is the one place where a command line is made. SSH hands a text to the shell of the account
//! (RFC 4254 §6.5), so the text is built here and nowhere else: programs by absolute path, each argument
//! of a type that was checked when it was read, each quoted by [`quoted`], `--` before the operands, and in front
//! `LC_ALL=C`, so that answers are in one language, and a fixed `PATH`. Secrets go over standard input; a
//! command line is seen by everybody on the host (`ps`).
//!
//! Deliberately absent: a program, an argument or a script that comes from outside as text.

mod apt;

use std::fmt::Write as _;

use nexplane_agent::host::debian;
use nexplane_agent::host::shadow::AccountName;
use nexplane_agent::host::{HostPath, Ids, Mode, PackageName, SysctlValue, UnitName};
use zeroize::Zeroizing;

pub use self::apt::{Apt, How};
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

/// What a command does to the host, and as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Reads,
    /// It has to be root that does it (or, of files, their owner).
    ReadsAsRoot,
    /// It changes the host, as root, too.
    Effect,
}

impl Command<'_> {
    /// What it does to the host, and as whom.
    const fn nature(&self) -> Nature {
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
            | Self::Switch { .. } => Nature::Effect,
            Self::Shadow(_)
            | Self::Look(_)
            | Self::Capabilities(_)
            | Self::Examine(_)
            | Self::Read(_)
            | Self::SshdAccepts(_) => Nature::ReadsAsRoot,
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
            | Self::Rules => Nature::Reads,
            Self::Apt(apt) => match apt.how {
                How::Simulate => Nature::Reads,
                // What is fetched is only kept ready.
                How::Fetch => Nature::ReadsAsRoot,
                How::CarryOut => Nature::Effect,
            },
        }
    }

    /// Whether it has to be root that does it (or, of files, their owner).
    pub const fn needs_root(&self) -> bool {
        !matches!(self.nature(), Nature::Reads)
    }

    /// Whether it changes the host.
    pub const fn is_effect(&self) -> bool {
        matches!(self.nature(), Nature::Effect)
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
mod tests;
