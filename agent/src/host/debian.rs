//! What apt and dpkg are told, and what they print, read: each in the one form that they are asked for, and
//! nothing is guessed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::package::{
    Effect, Inventory, Package, PackageName, PackageVersion, Wish, redacted, trouble,
};
use crate::host::{HostError, HostPath};

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
/// How dpkg is told that configuration files that somebody changed stay.
pub const KEEP_CONFIGURATION: [&str; 2] = ["--force-confdef", "--force-confold"];

/// One line per package that begins with a `P`, then one per configuration file that begins with a space.
pub const FORMAT: &str = "P\t${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\
                      \t${db:Status-Eflag}\t${Essential}\t${Protected}\t${Priority}\t${Architecture}\n\
                      ${Conffiles}\n";
pub const INVENTORY: &str = "${Package}\t${Architecture}\t${db:Status-Status}\t${Version}\n";
pub const STATES: &str = "${Package}\t${db:Status-Status}\t${db:Status-Eflag}\n";

/// Reads what `dpkg-query` says in [`FORMAT`]. What packages of another architecture left behind is not of the
/// package that was asked for.
pub fn records(said: &str, architecture: &str) -> Result<Vec<(PackageName, Package)>, HostError> {
    let mut records: Vec<(PackageName, Package)> = Vec::new();
    let mut is_foreign = false;
    for line in said.lines() {
        if let Some(file) = line.strip_prefix(" /") {
            let path = file.split(' ').next().unwrap_or_default();
            let path: HostPath = format!("/{path}")
                .parse()
                .map_err(|_| trouble("dpkg-query", not_understood(line)))?;
            // Obsolete ones belong to an earlier version, but go with the package, too.
            if let Some((_, package)) = records.last_mut().filter(|_| !is_foreign) {
                package.conffiles.push(path);
            }
        } else if line.starts_with("P\t") {
            let (record, of) =
                record(line).ok_or_else(|| trouble("dpkg-query", not_understood(line)))?;
            is_foreign = !["", "all", architecture].contains(&of);
            if is_foreign && record.1.version.is_some() {
                return Err(trouble(record.0, OF_ANOTHER));
            }
            if is_foreign {
                continue;
            }
            if records.iter().any(|(name, _)| *name == record.0) {
                return Err(trouble(
                    record.0,
                    "dpkg knows it twice, and which one is meant cannot be told",
                ));
            }
            records.push(record);
        }
    }
    Ok(records)
}

/// A package, and its architecture.
fn record(line: &str) -> Option<((PackageName, Package), &str)> {
    let mut words = line.split('\t').skip(1);
    let name: PackageName = words.next()?.parse().ok()?;
    let version = words.next()?;
    let [want, status, flag, essential, protected, priority] =
        [words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?];
    let architecture = words.next()?;
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
    Some(((name, package), architecture))
}

fn is_settled(status: &str, flag: &str) -> bool {
    flag == "ok" && ["installed", "config-files", "not-installed"].contains(&status)
}

pub fn unsettled(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| {
        let mut words = line.split('\t');
        let (name, status, flag) = (words.next()?, words.next()?, words.next()?);
        (!is_settled(status, flag)).then(|| format!("{name} ({status})"))
    });
    lines.collect()
}

/// Reads what `apt-cache madison` says: `name | version | where from`. Sources do not count.
pub fn versions(said: &str, name: &PackageName) -> Vec<PackageVersion> {
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
pub fn effects(said: &str) -> Result<Vec<Effect>, HostError> {
    let mut effects: BTreeMap<PackageName, Effect> = BTreeMap::new();
    for line in said.lines() {
        let Some((verb, rest)) = line.split_once(' ') else { continue };
        if !["Inst", "Remv", "Purg"].contains(&verb) {
            continue;
        }
        let wrong = || trouble("apt-get", not_understood(line));
        let (name, rest) = rest.split_once(' ').ok_or_else(wrong)?;
        if name.contains(':') {
            return Err(trouble(name, OF_ANOTHER));
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

const OF_ANOTHER: &str = "it is of another architecture, which is left alone";

/// Reads what `dpkg-query` says in [`INVENTORY`]. What only left its configuration is not there.
pub fn inventory(said: &str, architecture: &str) -> Result<Inventory, HostError> {
    let mut found = Inventory::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let [name, of, status, version] = words.as_slice() else {
            return Err(trouble("dpkg-query", not_understood(line)));
        };
        if ["not-installed", "config-files"].contains(status) {
            continue;
        }
        let is_own = ["", "all", architecture].contains(of);
        let name = if is_own { (*name).to_owned() } else { format!("{name}:{of}") };
        found.insert(name, (*version).to_owned());
    }
    Ok(found)
}

/// Size and sum of each file that the sources have of a version, of what `apt-cache show` says of all versions.
pub fn offers(said: &str, version: &PackageVersion) -> Vec<(u64, String)> {
    let offer = |record: &str| -> Option<(u64, String)> {
        let field = |name: &str| {
            record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let sum = field("SHA256").filter(|_| field("Version") == Some(version.as_str()))?;
        Some((field("Size")?.parse().ok()?, sum.to_owned()))
    };
    said.split("\n\n").filter_map(offer).collect()
}

fn not_understood(line: &str) -> String {
    let line = redacted(line);
    format!("it said what is not understood: {}", line.chars().take(200).collect::<String>())
}

/// Only what Debian calls a name. A word of another form could mean something else to apt.
pub fn check<'a>(names: impl IntoIterator<Item = &'a PackageName>) -> Result<(), HostError> {
    match names.into_iter().find(|name| !name.is_of_debian()) {
        None => Ok(()),
        Some(name) => Err(trouble(name, "Debian's packages have no capital letters and no '_'")),
    }
}

pub fn check_version(name: &PackageName, version: &PackageVersion) -> Result<(), HostError> {
    if version.is_of_debian() {
        Ok(())
    } else {
        Err(trouble(name, format!("Debian has no versions such as {version}")))
    }
}

/// What apt-get is told; none when there is nothing to install or remove. A name with `-` at its end is
/// removed by `install`, and only ever the name of a package that is installed. A package with a file is
/// installed from that.
pub fn arguments(
    wish: &Wish,
    files: &BTreeMap<PackageName, PathBuf>,
    more: &[&str],
) -> Result<Option<Vec<String>>, HostError> {
    check(wish.install.keys().chain(&wish.remove).chain(&wish.purge))?;
    let mut versions =
        wish.install.iter().filter_map(|(name, version)| Some((name, version.as_ref()?)));
    versions.try_for_each(|(name, version)| check_version(name, version))?;
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
        words.extend(wish.install.iter().map(|(name, version)| match (files.get(name), version) {
            (Some(file), _) => file.display().to_string(),
            (None, Some(version)) => format!("{name}={version}"),
            (None, None) => name.to_string(),
        }));
        words.extend(gone().map(|name| format!("{name}-")));
    }
    Ok(Some(words))
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
    fn the_arguments_are_fixed_but_for_checked_words_after_the_dashes() {
        let wish = Wish {
            install: [(name("g++"), None), (name("nx-app"), Some(version("1:1.0~rc1-2")))].into(),
            remove: [name("nx-rival")].into(),
            purge: [name("nx-old")].into(),
            ..Wish::default()
        };
        let arguments = |wish: &Wish, more: &[&str]| super::arguments(wish, &BTreeMap::new(), more);
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
        let kept = [(name("nx-app"), PathBuf::from("/kept/nx-app.deb"))].into();
        let words = super::arguments(&wish, &kept, &[]).unwrap().unwrap();
        assert!(
            words
                .ends_with(&["g++", "/kept/nx-app.deb", "nx-rival-", "nx-old-"].map(str::to_owned))
        );
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
        let said = "P\tbash\t5.2.15-2+b8\tinstall\tinstalled\tok\tyes\tno\trequired\tamd64\n\
                    \x20/etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d\n\
                    \x20/etc/old 89269e1298235f1b12b4c16e4065ad0d obsolete\n\
                    P\tnx-app\t1.0\thold\tinstalled\tok\tno\tno\toptional\tall\n\n\
                    P\tnx-broken\t1.0\tinstall\thalf-configured\tok\t\t\t\tall\n\n\
                    P\tnx-left\t1.0\tdeinstall\tconfig-files\tok\t\t\toptional\tamd64\n\n\
                    P\tnx-app\t0.9\tdeinstall\tconfig-files\tok\t\t\toptional\ti386\n\
                    \x20/etc/nx-foreign 89269e1298235f1b12b4c16e4065ad0d\n\
                    P\tnx-torn\t\tinstall\thalf-installed\treinstreq\t\t\t\t\n\n";
        let records: BTreeMap<PackageName, Package> =
            records(said, "amd64").unwrap().into_iter().collect();
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
        assert!(super::records("P\tbash\n", "amd64").is_err());
        // What it left on another architecture is not it, nor are the files of that another one's.
        assert!(left.conffiles.is_empty() && app.conffiles.is_empty());
        let twice = "P\tnx-app\t1.0\tinstall\tinstalled\tok\tno\tno\toptional\tall\n".repeat(2);
        let error = super::records(&twice, "amd64").unwrap_err().sentence();
        assert!(error.contains("nx-app") && error.contains("twice"), "{error}");
        // Of another architecture only: not the package that was asked for.
        let error = super::records(said, "arm64").unwrap_err().sentence();
        assert!(error.contains("bash") && error.contains("another architecture"), "{error}");
    }

    #[test]
    fn an_inventory_has_what_is_there_of_every_architecture() {
        let said = "bash\tamd64\tinstalled\t5.2\nlibc6\tamd64\tinstalled\t2.36\n\
                    libc6\ti386\tinstalled\t2.36\nleft\tall\tconfig-files\t1\n\
                    known\t\tnot-installed\t\nhalf\tall\thalf-installed\t1:2\n";
        let found = inventory(said, "amd64").unwrap();
        let expected =
            [("bash", "5.2"), ("half", "1:2"), ("libc6", "2.36"), ("libc6:i386", "2.36")];
        assert!(found.iter().map(|(name, version)| (name.as_str(), version.as_str())).eq(expected));
        assert!(inventory("bash\tamd64\n", "amd64").is_err());
    }

    #[test]
    fn what_is_fetched_to_be_kept_has_the_sum_of_its_version() {
        let said = "Package: nx-app\nVersion: 2.0\nSize: 20\nSHA256: bb\n\n\
                    Package: nx-app\nVersion: 1:1.0\nSize: 10\nSHA256: aa\nDescription: x\n Size: 3\n\n\
                    Package: nx-app\nVersion: 0.9\nStatus: install ok installed\n\n";
        assert_eq!(offers(said, &version("1:1.0")), [(10, "aa".to_owned())]);
        // Two sources may have built the same version.
        let twice = said.replace("2.0", "1:1.0");
        assert_eq!(offers(&twice, &version("1:1.0")).len(), 2);
        assert_eq!(offers(said, &version("0.9")), []);
        assert_eq!(offers(said, &version("3")), []);
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
}
