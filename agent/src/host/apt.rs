//! Packages of Debian and its kin: `apt-get(8)` decides and fetches, `dpkg(1)` is asked what is there.
//!
//! What apt would do is asked of `apt-get -s`, which lists every package that would be installed, removed
//! or replaced. Configuration files that somebody changed are kept (`--force-confdef --force-confold`),
//! recommended packages are not installed, nothing is removed that was not named, and packages without a
//! valid signature are refused by apt itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use super::lock;
use super::package::{Effect, Package, PackageManager, PackageName, PackageVersion, Wish, trouble};
use super::program::{Output, run};
use super::{HostError, HostPath};

const APT_GET: &str = "/usr/bin/apt-get";
const APT_CACHE: &str = "/usr/bin/apt-cache";
const APT_MARK: &str = "/usr/bin/apt-mark";
const DPKG: &str = "/usr/bin/dpkg";
const DPKG_QUERY: &str = "/usr/bin/dpkg-query";
const STATUS: &str = "/var/lib/dpkg/status";
/// Held by whichever frontend is at work (`dpkg(1)`, environment DPKG_FRONTEND_LOCKED).
const LOCK: &str = "/var/lib/dpkg/lock-frontend";
/// How long another frontend is waited for.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
const QUESTION: Duration = Duration::from_mins(1);
/// Fetching, unpacking and the packages' own programs; then they are asked to end.
const TRANSACTION: Duration = Duration::from_mins(15);

/// How apt is always called.
const FIXED: [&str; 15] = [
    "-q",
    "-y",
    "--no-install-recommends",
    "--no-install-suggests",
    "-o",
    "APT::Get::AllowUnauthenticated=0",
    "-o",
    "APT::Color=0",
    "-o",
    "APT::Get::AutomaticRemove=0",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=60",
    "-o",
];
const KEEP_CONFIGURATION: [&str; 2] = ["--force-confdef", "--force-confold"];
/// One line per package that begins with a `P`, then one per configuration file that begins with a space.
const FORMAT: &str = "P\t${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\
                      \t${db:Status-Eflag}\t${Essential}\t${Protected}\t${Priority}\n${Conffiles}\n";
const STATES: &str = "${Package}\t${db:Status-Status}\t${db:Status-Eflag}\n";

/// The package manager of Debian.
#[derive(Debug)]
pub(super) struct Apt;

impl Apt {
    /// Whether this host has it.
    pub(super) fn is_here() -> bool {
        [APT_GET, DPKG_QUERY, STATUS].iter().all(|file| Path::new(file).is_file())
    }

    /// Waits until no other frontend is at work.
    fn wait_for_others() -> Result<(), HostError> {
        let io = |error: std::io::Error| trouble("dpkg", format!("{LOCK}: {error}"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(LOCK);
        let file = file.map_err(io)?;
        match lock::take(&file, LOCK_PATIENCE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => {
                let waited = LOCK_PATIENCE.as_secs();
                let why = format!("another package manager is at work: waited {waited} seconds");
                Err(trouble("dpkg", why))
            }
            Err(error) => Err(io(error.into())),
        }
    }
}

impl PackageManager for Apt {
    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError> {
        check(names)?;
        let mut found = BTreeMap::new();
        if names.is_empty() {
            return Ok(found);
        }
        let mut arguments = vec!["-W", "-f", FORMAT, "--"];
        arguments.extend(names.iter().map(PackageName::as_str));
        // 1: one of them is not known at all.
        let said = ask(DPKG_QUERY, &arguments, QUESTION, &[0, 1])?.said;
        for (name, package) in records(&said)? {
            if found.insert(name.clone(), package).is_some() {
                return Err(trouble(name, "it is installed for more than one architecture"));
            }
        }
        let installed: Vec<PackageName> = found
            .iter()
            .filter(|(_, package)| package.version.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let automatic = automatic(&installed)?;
        for name in installed {
            let postrm = ["--control-path", name.as_str(), "postrm"];
            let has_postrm = !ask(DPKG_QUERY, &postrm, QUESTION, &[0])?.said.trim().is_empty();
            if let Some(package) = found.get_mut(&name) {
                package.is_auto = automatic.contains(&name);
                package.cleans_up = has_postrm;
                package.leaves_residue = has_postrm || !package.conffiles.is_empty();
            }
        }
        for name in names {
            let absent = Package { is_settled: true, ..Package::default() };
            found.entry(name.clone()).or_insert(absent);
        }
        Ok(found)
    }

    fn unsettled(&self) -> Result<Vec<String>, HostError> {
        let said = ask(DPKG_QUERY, &["-W", "-f", STATES], QUESTION, &[0])?.said;
        Ok(unsettled(&said))
    }

    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError> {
        check(std::iter::once(name))?;
        let said = ask(APT_CACHE, &["madison", "--", name.as_str()], QUESTION, &[0])?.said;
        Ok(versions(&said, name))
    }

    fn is_before(&self, one: &PackageVersion, other: &PackageVersion) -> Result<bool, HostError> {
        let arguments = ["--compare-versions", one.as_str(), "lt", other.as_str()];
        Ok(ask(DPKG, &arguments, QUESTION, &[0, 1])?.code() == Some(0))
    }

    fn simulate(&self, wish: &Wish) -> Result<Vec<Effect>, HostError> {
        // What is not wanted of it is for the caller to say, once it is known.
        let Some(arguments) =
            arguments(wish, &["-s", "--allow-downgrades", "--allow-change-held-packages"])?
        else {
            return Ok(Vec::new());
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        effects(&ask(APT_GET, &arguments, QUESTION, &[0])?.said)
    }

    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        let mut more = Vec::new();
        if wish.may_downgrade {
            more.push("--allow-downgrades");
        }
        if !wish.may_remove && wish.remove.is_empty() && wish.purge.is_empty() {
            more.push("--no-remove");
        }
        if let Some(arguments) = arguments(wish, &more)? {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ask(APT_GET, &arguments, TRANSACTION, &[0])?;
        }
        if wish.purge.is_empty() {
            return Ok(());
        }
        // Of what is not installed any more, so this touches nothing else.
        let mut arguments = vec!["--purge"];
        arguments.push("--");
        arguments.extend(wish.purge.iter().map(PackageName::as_str));
        Self::wait_for_others()?;
        ask(DPKG, &arguments, TRANSACTION, &[0]).map(drop)
    }

    fn set_auto(&self, name: &PackageName, is_auto: bool) -> Result<(), HostError> {
        check(std::iter::once(name))?;
        let mark = if is_auto { "auto" } else { "manual" };
        ask(APT_MARK, &[mark, "--", name.as_str()], QUESTION, &[0]).map(drop)
    }

    fn settle(&self) -> Result<(), HostError> {
        Self::wait_for_others()?;
        let [default, old] = KEEP_CONFIGURATION;
        // 1: a package's own program failed. What came of it is read afterwards.
        ask(DPKG, &[default, old, "--configure", "-a"], TRANSACTION, &[0, 1])?;
        // Half unpacked: dpkg does not even remove it before it was unpacked again.
        let said = ask(DPKG_QUERY, &["-W", "-f", STATES], QUESTION, &[0])?.said;
        let torn = said.lines().filter(|line| line.ends_with("\treinstreq"));
        let names = torn.filter_map(|line| line.split('\t').next()?.parse().ok());
        let install = names.map(|name: PackageName| (name, None)).collect();
        let wish = Wish { install, ..Wish::default() };
        if !wish.is_empty()
            && let Some(words) = arguments(&wish, &["--reinstall", "--no-remove"])?
        {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            ask(APT_GET, &words, TRANSACTION, &[0, 100])?;
        }
        Ok(())
    }
}

/// Only what Debian calls a name. A word of another form could mean something else to apt.
fn check<'a>(names: impl IntoIterator<Item = &'a PackageName>) -> Result<(), HostError> {
    match names.into_iter().find(|name| !name.is_of_debian()) {
        None => Ok(()),
        Some(name) => Err(trouble(name, "Debian's packages have no capital letters and no '_'")),
    }
}

fn ask(
    program: &str,
    arguments: &[&str],
    limit: Duration,
    good: &[i32],
) -> Result<Output, HostError> {
    let output =
        run(program, arguments, limit).map_err(|error| trouble(program, error.to_string()))?;
    if output.code().is_some_and(|code| good.contains(&code)) {
        Ok(output)
    } else {
        Err(trouble(program, output.complaint()))
    }
}

/// What apt-get is told; none when there is nothing to install or remove. A name with `-` at its end is
/// removed by `install`, and only ever the name of a package that is installed.
fn arguments(wish: &Wish, more: &[&str]) -> Result<Option<Vec<String>>, HostError> {
    check(wish.install.keys().chain(&wish.remove).chain(&wish.purge))?;
    let version = wish.install.iter().find_map(|(name, version)| {
        version.as_ref().filter(|version| !version.is_of_debian()).map(|version| (name, version))
    });
    if let Some((name, version)) = version {
        return Err(trouble(name, format!("Debian has no versions such as {version}")));
    }
    let gone = || wish.remove.iter().chain(&wish.purge);
    let mut words: Vec<String> = FIXED.iter().map(|&word| word.to_owned()).collect();
    words.push(format!("Dpkg::Options::={}", KEEP_CONFIGURATION[0]));
    words.push("-o".to_owned());
    words.push(format!("Dpkg::Options::={}", KEEP_CONFIGURATION[1]));
    words.extend(more.iter().map(|&word| word.to_owned()));
    if wish.install.is_empty() {
        if gone().next().is_none() {
            return Ok(None);
        }
        words.extend(["remove", "--"].map(str::to_owned));
        words.extend(gone().map(ToString::to_string));
    } else {
        words.extend(["install", "--"].map(str::to_owned));
        words.extend(wish.install.iter().map(|(name, version)| match version {
            Some(version) => format!("{name}={version}"),
            None => name.to_string(),
        }));
        words.extend(gone().map(|name| format!("{name}-")));
    }
    Ok(Some(words))
}

/// Reads what `dpkg-query` says in [`FORMAT`].
fn records(said: &str) -> Result<Vec<(PackageName, Package)>, HostError> {
    let mut records: Vec<(PackageName, Package)> = Vec::new();
    for line in said.lines() {
        if let Some(file) = line.strip_prefix(" /") {
            let path = file.split(' ').next().unwrap_or_default();
            let path: HostPath = format!("/{path}")
                .parse()
                .map_err(|_| trouble("dpkg-query", not_understood(line)))?;
            // Obsolete ones belong to an earlier version, but go with the package, too.
            if let Some((_, package)) = records.last_mut() {
                package.conffiles.push(path);
            }
        } else if line.starts_with("P\t") {
            let record = record(line).ok_or_else(|| trouble("dpkg-query", not_understood(line)))?;
            records.push(record);
        }
    }
    Ok(records)
}

fn record(line: &str) -> Option<(PackageName, Package)> {
    let mut words = line.split('\t').skip(1);
    let name: PackageName = words.next()?.parse().ok()?;
    let version = words.next()?;
    let [want, status, flag, essential, protected, priority] =
        [words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?];
    let is_there = !["not-installed", "config-files"].contains(&status);
    let needed = [
        (essential == "yes", "the distribution says that it is essential"),
        (protected == "yes", "the distribution protects it"),
        (priority == "required", "the distribution says that it is required"),
    ];
    let version = match version {
        "" => None,
        version => Some(version.parse().ok()?),
    };
    let package = Package {
        version: version.filter(|_| is_there),
        is_settled: is_settled(status, flag),
        is_residue: status == "config-files",
        is_held: want == "hold",
        needed: needed.into_iter().find(|(is_it, _)| *is_it).map(|(_, why)| why),
        ..Package::default()
    };
    Some((name, package))
}

fn is_settled(status: &str, flag: &str) -> bool {
    flag == "ok" && ["installed", "config-files", "not-installed"].contains(&status)
}

fn unsettled(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| {
        let mut words = line.split('\t');
        let (name, status, flag) = (words.next()?, words.next()?, words.next()?);
        (!is_settled(status, flag)).then(|| format!("{name} ({status})"))
    });
    lines.collect()
}

/// Those that `apt-mark showauto` names.
fn automatic(installed: &[PackageName]) -> Result<BTreeSet<PackageName>, HostError> {
    if installed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut arguments = vec!["showauto", "--"];
    arguments.extend(installed.iter().map(PackageName::as_str));
    let said = ask(APT_MARK, &arguments, QUESTION, &[0])?.said;
    Ok(said.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// Reads what `apt-cache madison` says: `name | version | where from`. Sources do not count.
fn versions(said: &str, name: &PackageName) -> Vec<PackageVersion> {
    let mut versions = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split(" | ").map(str::trim).collect();
        if let [found, version, from] = words.as_slice()
            && *found == name.as_str()
            && from.ends_with(" Packages")
            && let Ok(version) = version.parse()
            && !versions.contains(&version)
        {
            versions.push(version);
        }
    }
    versions
}

/// Reads what `apt-get -s` says it would do, such as `Inst nx-app [1.0] (2.0 Debian:12 [all])`.
fn effects(said: &str) -> Result<Vec<Effect>, HostError> {
    let mut effects: BTreeMap<PackageName, Effect> = BTreeMap::new();
    for line in said.lines() {
        let Some((verb, rest)) = line.split_once(' ') else { continue };
        if !["Inst", "Remv", "Purg"].contains(&verb) {
            continue;
        }
        let wrong = || trouble("apt-get", not_understood(line));
        let (name, rest) = rest.split_once(' ').ok_or_else(wrong)?;
        if name.contains(':') {
            return Err(trouble(
                name,
                "it is of another architecture, which the agent leaves alone",
            ));
        }
        let name: PackageName = name.parse().map_err(|_| wrong())?;
        let inside = |open: char, close: char| -> Option<PackageVersion> {
            let (inside, _) = rest.trim_start().strip_prefix(open)?.split_once(close)?;
            inside.split(' ').next()?.parse().ok()
        };
        let before = inside('[', ']');
        let after = if verb == "Inst" {
            let (_, new) = rest.split_once('(').ok_or_else(wrong)?;
            Some(new.split(' ').next().and_then(|text| text.parse().ok()).ok_or_else(wrong)?)
        } else {
            None
        };
        let effect = effects.entry(name.clone()).or_insert_with(|| Effect {
            name,
            before: before.clone(),
            after: None,
        });
        // A package may be removed on the way to another version of it.
        effect.after = after.or_else(|| effect.after.take());
    }
    let mut effects: Vec<Effect> = effects.into_values().collect();
    effects.retain(|effect| effect.before != effect.after);
    Ok(effects)
}

fn not_understood(line: &str) -> String {
    format!("it said what is not understood: {}", line.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PackageName {
        text.parse().unwrap()
    }

    fn version(text: &str) -> PackageVersion {
        text.parse().unwrap()
    }

    fn effect(text: &str, before: Option<&str>, after: Option<&str>) -> Effect {
        let version = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        Effect { name: name(text), before: version(before), after: version(after) }
    }

    #[test]
    fn what_apt_would_do_is_read_package_by_package() {
        let said = "Reading package lists...\nThe following packages will be REMOVED:\n  nx-app\n\
                    Remv nx-app [1.0]\nInst nx-rival (1.0 localhost [all])\n\
                    Inst libssl3 [3.0.15-1~deb12u1] (3.0.17-1~deb12u2 Debian:12.11/stable [amd64]) []\n\
                    Inst gone [1.0] (1.0 localhost [all])\n\
                    Conf nx-rival (1.0 localhost [all])\nPurg old [2:1.4-2] [other:amd64 ]\n";
        let expected = [
            effect("libssl3", Some("3.0.15-1~deb12u1"), Some("3.0.17-1~deb12u2")),
            effect("nx-app", Some("1.0"), None),
            effect("nx-rival", None, Some("1.0")),
            effect("old", Some("2:1.4-2"), None),
        ];
        assert_eq!(effects(said).unwrap(), expected);
        assert!(effects("Inst libc6:i386 (2.36-9 Debian:12 [i386])\n").is_err());
        assert!(effects("Inst x1\n").is_err() && effects("Inst x1 [1] 2\n").is_err());
    }

    #[test]
    fn what_dpkg_says_is_read_with_its_configuration_files() {
        let said = "P\tbash\t5.2.15-2+b8\tinstall\tinstalled\tok\tyes\tno\trequired\n\
                    \x20/etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d\n\
                    \x20/etc/old 89269e1298235f1b12b4c16e4065ad0d obsolete\n\
                    P\tnx-app\t1.0\thold\tinstalled\tok\tno\tno\toptional\n\n\
                    P\tnx-broken\t1.0\tinstall\thalf-configured\tok\t\t\t\n\n\
                    P\tnx-left\t1.0\tdeinstall\tconfig-files\tok\t\t\toptional\n\n\
                    P\tnx-torn\t\tinstall\thalf-installed\treinstreq\t\t\t\n\n";
        let records: BTreeMap<PackageName, Package> = records(said).unwrap().into_iter().collect();
        let bash = &records[&name("bash")];
        assert_eq!(bash.needed, Some("the distribution says that it is essential"));
        let files: Vec<&str> = bash.conffiles.iter().map(HostPath::as_str).collect();
        assert_eq!(files, ["/etc/bash.bashrc", "/etc/old"]);
        let app = &records[&name("nx-app")];
        assert!(app.is_held && app.is_settled && app.version == Some(version("1.0")));
        let broken = &records[&name("nx-broken")];
        assert!(
            !broken.is_settled && broken.version == Some(version("1.0")) && broken.needed.is_none()
        );
        let left = &records[&name("nx-left")];
        assert!(left.is_residue && left.is_settled && left.version.is_none());
        let torn = &records[&name("nx-torn")];
        assert!(!torn.is_settled && torn.version.is_none());
        assert!(super::records("P\tbash\n").is_err());
    }

    #[test]
    fn what_can_be_had_is_of_that_name_and_not_a_source() {
        let said = "    nx-app |        2.0 | file:/srv/repository ./ Packages\n    \
                    nx-app |        1.0 | file:/srv/repository ./ Packages\n    \
                    nx-app |        1.0 | http://other.example bookworm/main amd64 Packages\n    \
                    nx-app |        3.0 | http://other.example bookworm/main Sources\n    \
                    nx-apples | 4.0 | file:/srv/repository ./ Packages\n";
        let found: Vec<String> =
            versions(said, &name("nx-app")).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["2.0", "1.0"]);
        assert!(versions("", &name("nx-app")).is_empty());
    }

    #[test]
    fn what_is_not_settled_is_named() {
        let said = "a1\tinstalled\tok\nb1\thalf-configured\tok\nc1\tconfig-files\tok\nd1\tinstalled\treinstreq\n";
        assert_eq!(unsettled(said), ["b1 (half-configured)", "d1 (installed)"]);
    }

    #[test]
    fn the_arguments_are_fixed_but_for_checked_words_after_the_dashes() {
        let wish = Wish {
            install: [(name("g++"), None), (name("nx-app"), Some(version("1:1.0~rc1-2")))].into(),
            remove: [name("nx-rival")].into(),
            purge: [name("nx-old")].into(),
            may_downgrade: false,
            may_remove: false,
        };
        let words = arguments(&wish, &["-s"]).unwrap().unwrap();
        let dashes = words.iter().position(|word| word == "--").unwrap();
        assert_eq!(words[dashes + 1..], ["g++", "nx-app=1:1.0~rc1-2", "nx-rival-", "nx-old-"]);
        assert_eq!(words[dashes - 2..dashes], ["-s", "install"]);
        for (option, value) in words[..dashes - 2].iter().zip(&words[1..]) {
            assert!(option != "-o" || value.contains('='), "{words:?}");
        }
        for expected in ["Dpkg::Options::=--force-confold", "DPkg::Lock::Timeout=60"] {
            assert!(words.iter().any(|word| word == expected), "{words:?}");
        }
        let removal = Wish { install: BTreeMap::new(), ..wish };
        let words = arguments(&removal, &[]).unwrap().unwrap();
        assert!(words.ends_with(&["remove", "--", "nx-rival", "nx-old"].map(str::to_owned)));
        assert_eq!(arguments(&Wish::default(), &[]).unwrap(), None);
        let of_another = Wish { remove: [name("NetworkManager")].into(), ..Wish::default() };
        assert!(arguments(&of_another, &[]).is_err());
        let strange =
            Wish { install: [(name("nx-app"), Some(version("v1")))].into(), ..Wish::default() };
        assert!(arguments(&strange, &[]).is_err());
    }
}
