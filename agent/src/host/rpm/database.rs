//! What `rpm(8)` is asked, and what it says, read: each in the one form that it is asked for.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{ask_rpm, trouble};
use crate::host::package::redacted;
use crate::host::package::{Inventory, Listed, Package, PackageName, PackageVersion};
use crate::host::{HostError, HostPath};

pub(super) const RPM: &str = "/usr/bin/rpm";
pub(super) const OF_ANOTHER: &str =
    "it is of another architecture than the host, which is not supported";
pub(super) const ONE_OF_MANY: &str = "several versions of it may be installed at once, as of kernels, which is \
                                      not supported";

const LINE: &str = "P\t%{NAME}\t%|EPOCH?{%{EPOCH}}:{0}|\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n";
/// One line per package that begins with a `P`, one per file that begins with an `F`, and one per thing that
/// it provides that begins with a `V`.
const FORMAT: &str = "P\t%{NAME}\t%|EPOCH?{%{EPOCH}}:{0}|\t%{VERSION}\t%{RELEASE}\t%{ARCH}\t%|PREUN?{1}:{0}|\
                      \t%|POSTUN?{1}:{0}|\n[F\t%{FILEFLAGS}\t%{FILENAMES}\n][V\t%{PROVIDENAME}\n]";
/// Flags of files: `rpmfileAttrs` of rpm's `rpmfiles.h`.
const CONFIG: u32 = 1;
const GHOST: u32 = 1 << 6;
/// What a package provides of which several versions may be installed (`installonlypkgs` of dnf.conf(5),
/// `multiversion` of zypp.conf), and names that count without that.
const MANY: [&str; 2] = ["installonlypkg(", "multiversion("];
const KERNELS: [&str; 2] = ["kernel", "kernel-PAE"];
/// Keys are in the database as if they were packages of that name.
const KEYS: &str = "gpg-pubkey";

/// A package as a source or a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Known {
    pub name: PackageName,
    pub version: PackageVersion,
    pub architecture: String,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub version: PackageVersion,
    pub is_one_of_many: bool,
    has_farewell: bool,
    configuration: Vec<HostPath>,
}

/// Packages that were asked for by name.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of the host's own architecture or of none; usually one each.
    pub own: BTreeMap<PackageName, Vec<Installed>>,
    pub foreign: BTreeSet<PackageName>,
}

/// Every installed package, with architecture.
#[derive(Debug)]
pub(super) struct Everything(Vec<(String, String, String)>);

impl Installed {
    /// What is true of it whatever else is; `changed` are files that are not as the package has them.
    pub fn package(self, changed: &BTreeSet<PathBuf>) -> Package {
        let lost = || -> Vec<HostPath> {
            let is_changed = |file: &&HostPath| changed.contains(Path::new(file.as_str()));
            let files = self.configuration.iter().filter(is_changed);
            files.flat_map(|file| [Some(file.clone()), saved(file)]).flatten().collect()
        };
        Package {
            cleans_up: self.has_farewell,
            lost_on_removal: lost(),
            // Whether it is kept is said by the version that comes, which is not known here.
            lost_on_replacement: lost(),
            conffiles: self.configuration.clone(),
            version: Some(self.version),
            ..Package::default()
        }
    }

    /// Where rpm lays its configuration when somebody changed it and the package goes.
    pub fn saved(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.configuration.iter().filter_map(saved);
        files.map(|path| path.as_str().into())
    }
}

fn saved(path: &HostPath) -> Option<HostPath> {
    format!("{path}.rpmsave").parse().ok()
}

impl Found {
    fn last(&mut self, name: Option<&PackageName>) -> Option<&mut Installed> {
        self.own.get_mut(name?)?.last_mut()
    }

    /// The last of each, which is the newest when sorted.
    pub fn versions(&self) -> BTreeMap<PackageName, PackageVersion> {
        let newest = |(name, instances): (&PackageName, &Vec<Installed>)| {
            Some((name.clone(), instances.last()?.version.clone()))
        };
        self.own.iter().filter_map(newest).collect()
    }
}

impl Everything {
    pub fn inventory(&self) -> Inventory {
        let mut inventory: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, version, architecture) in &self.0 {
            let name =
                if is_own(architecture) { name.clone() } else { format!("{name}:{architecture}") };
            inventory.entry(name).or_default().push(version);
        }
        let joined = |(name, mut versions): (String, Vec<&str>)| {
            versions.sort_unstable();
            (name, versions.join(" "))
        };
        inventory.into_iter().map(joined).collect()
    }

    /// Names that are there more than once in the host's own architecture.
    pub fn several(&self) -> BTreeSet<PackageName> {
        let (mut once, mut several) = (BTreeSet::new(), BTreeSet::new());
        for (name, _, architecture) in &self.0 {
            let is_counted = is_own(architecture) && name != KEYS;
            if is_counted && !once.insert(name) {
                several.extend(name.parse::<PackageName>().ok());
            }
        }
        several
    }

    /// All but keys.
    pub fn listed(self) -> Vec<Listed> {
        let packages = self.0.into_iter().filter(|(name, ..)| name != KEYS);
        packages
            .map(|(name, version, architecture)| Listed { name, version, architecture })
            .collect()
    }
}

pub(super) fn everything() -> Result<Everything, HostError> {
    let said = ask_rpm(&["-qa", "--qf", LINE], &[0])?;
    all(&said)
}

fn all(said: &str) -> Result<Everything, HostError> {
    let row = |line: &str| {
        let mut words = line.strip_prefix("P\t")?.split('\t');
        let name = words.next()?;
        let version = spelt(words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), version, words.next()?.to_owned()))
    };
    let rows = said.lines().filter(|line| !line.is_empty());
    let rows: Result<Vec<_>, _> =
        rows.map(|line| row(line).ok_or_else(|| trouble(RPM, not_understood(line)))).collect();
    Ok(Everything(rows?))
}

/// What is installed of these.
pub(super) fn installed(names: &BTreeSet<PackageName>) -> Result<Found, HostError> {
    if names.is_empty() {
        return Ok(Found::default());
    }
    let mut arguments = vec!["-q", "--qf", FORMAT, "--"];
    arguments.extend(names.iter().map(PackageName::as_str));
    // As many as are not installed.
    let any: Vec<i32> = (0..=255).collect();
    let mut found = found(&ask_rpm(&arguments, &any)?)?;
    // A name may also be read as one with a version.
    found.own.retain(|name, _| names.contains(name));
    found.foreign.retain(|name| names.contains(name));
    Ok(found)
}

fn found(said: &str) -> Result<Found, HostError> {
    let mut found = Found::default();
    // Of another architecture: its files and what it provides are passed over.
    let mut last: Option<PackageName> = None;
    for line in said.lines() {
        let wrong = || trouble(RPM, not_understood(line));
        if line.is_empty() || line.starts_with("package ") && line.ends_with(" is not installed") {
            continue;
        }
        let mut words = line.split('\t');
        let kind = words.next().unwrap_or_default();
        let mut word = || words.next().ok_or_else(wrong);
        match kind {
            "P" => {
                let name: PackageName = word()?.parse().map_err(|_| wrong())?;
                let version = spelt(word()?, word()?, word()?).parse().map_err(|_| wrong())?;
                let architecture = word()?;
                let has_farewell = word()? == "1" || word()? == "1";
                if is_own(architecture) {
                    let is_one_of_many = KERNELS.contains(&name.as_str());
                    let configuration = Vec::new();
                    let it = Installed { version, is_one_of_many, has_farewell, configuration };
                    found.own.entry(name.clone()).or_default().push(it);
                    last = Some(name);
                } else {
                    found.foreign.insert(name);
                    last = None;
                }
            }
            "F" => {
                let flags: u32 = word()?.parse().map_err(|_| wrong())?;
                let path = word()?;
                if flags & CONFIG != 0
                    && flags & GHOST == 0
                    && let Some(it) = found.last(last.as_ref())
                {
                    let path = path.parse().map_err(|_| wrong())?;
                    it.configuration.push(path);
                }
            }
            "V" => {
                let what = word()?;
                if MANY.iter().any(|mark| what.starts_with(mark))
                    && let Some(it) = found.last(last.as_ref())
                {
                    it.is_one_of_many = true;
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(found)
}

/// Puts the newest of each last.
pub(super) fn sort(found: &mut Found) -> Result<(), HostError> {
    for instances in found.own.values_mut().filter(|instances| instances.len() > 1) {
        let mut sorted: Vec<Installed> = Vec::new();
        for instance in instances.drain(..) {
            let mut at = sorted.len();
            while let Some(before) = at.checked_sub(1).and_then(|at| sorted.get(at))
                && compare(&instance.version, &before.version)?.is_lt()
            {
                at -= 1;
            }
            sorted.insert(at, instance);
        }
        *instances = sorted;
    }
    Ok(())
}

/// Configuration files of these that are not as their package has them, whatever their time of change.
pub(super) fn changed_configuration(
    names: &BTreeSet<PackageName>,
) -> Result<BTreeSet<PathBuf>, HostError> {
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    // Of configuration alone: what a large package has besides takes minutes to read.
    let mut arguments = vec!["-V", "-c", "--nodeps", "--noscripts", "--nomtime", "--"];
    arguments.extend(names.iter().map(PackageName::as_str));
    let any: Vec<i32> = (0..=255).collect();
    let said = ask_rpm(&arguments, &any)?;
    Ok(differences(&said).filter(|(is_config, _)| *is_config).map(|(_, path)| path).collect())
}

/// Whether all its files but its configuration are there and as the package has them.
pub(super) fn is_whole(name: &PackageName) -> Result<bool, HostError> {
    let arguments = ["-V", "--nodeps", "--noscripts", "--nomtime", "--", name.as_str()];
    let any: Vec<i32> = (0..=255).collect();
    let said = ask_rpm(&arguments, &any)?;
    Ok(differences(&said).all(|(is_config, _)| is_config))
}

/// Lines of `rpm -V`, such as `S.5......  c /etc/nx-app.conf` and `missing     /usr/bin/x`: whether each is
/// configuration, and which file it is.
fn differences(said: &str) -> impl Iterator<Item = (bool, PathBuf)> {
    said.lines().filter_map(|line| {
        let (marks, path) = line.split_once(" /")?;
        let mut marks = marks.split_whitespace();
        marks.next()?;
        Some((marks.next() == Some("c"), PathBuf::from(format!("/{path}"))))
    })
}

/// Removes one of two versions of a package, and runs its programs.
pub(super) fn erase(name: &PackageName, version: &PackageVersion) -> Result<(), HostError> {
    // rpm leaves the epoch out of the name here.
    let rest = version.as_str().split_once(':').map_or(version.as_str(), |(_, rest)| rest);
    ask_rpm(&["-e", "--", &format!("{name}-{rest}")], &[0]).map(drop)
}

/// What a file of a package says that it is.
pub(super) fn of_file(file: &Path) -> Result<Known, HostError> {
    let path = file.display().to_string();
    let said = ask_rpm(&["-qp", "--nosignature", "--qf", LINE, "--", &path], &[0])?;
    let wrong = || trouble(RPM, not_understood(&said));
    let (name, version, architecture) = all(&said)?.0.into_iter().next().ok_or_else(wrong)?;
    known(&name, &version, architecture).ok_or_else(wrong)
}

/// Whether the file is as whoever built the package left it. Who that was, the front end has asked.
pub(super) fn check_file(file: &Path) -> Result<(), HostError> {
    let path = file.display().to_string();
    ask_rpm(&["-K", "--nosignature", "--", &path], &[0]).map(drop)
}

pub(super) fn known(name: &str, version: &str, architecture: String) -> Option<Known> {
    let name = name.parse().ok()?;
    // Some say the epoch though there is none.
    let version: PackageVersion = version.strip_prefix("0:").unwrap_or(version).parse().ok()?;
    if !version.is_of_rpm() {
        return None;
    }
    Some(Known { name, version, architecture })
}

/// How rpm orders two versions.
pub(super) fn compare(one: &PackageVersion, other: &PackageVersion) -> Result<Ordering, HostError> {
    let ((epoch, version, release), (other_epoch, other_version, other_release)) =
        (parts(one)?, parts(other)?);
    if epoch != other_epoch {
        return Ok(epoch.cmp(&other_epoch));
    }
    // Of letters, digits and `.+~_^`, so no part of it can end the string.
    let question = format!(
        "%{{lua:print(rpm.vercmp('{version}','{other_version}')..' '..rpm.vercmp('{release}','{other_release}'))}}"
    );
    let said = ask_rpm(&["--eval", &question], &[0])?;
    ordering(&said).ok_or_else(|| trouble(RPM, not_understood(&said)))
}

fn ordering(said: &str) -> Option<Ordering> {
    let (version, release) = said.trim().split_once(' ')?;
    let order = |text: &str| text.parse::<i32>().ok().map(|number| number.cmp(&0));
    Some(order(version)?.then(order(release)?))
}

fn parts(version: &PackageVersion) -> Result<(u32, &str, &str), HostError> {
    let wrong = || trouble(version, "it is not a version of rpm");
    if !version.is_of_rpm() {
        return Err(wrong());
    }
    let (epoch, rest) = version.as_str().split_once(':').unwrap_or(("0", version.as_str()));
    let (version, release) = rest.split_once('-').ok_or_else(wrong)?;
    Ok((epoch.parse().map_err(|_| wrong())?, version, release))
}

/// Whether it is the host's own architecture or none.
pub(super) fn is_own(architecture: &str) -> bool {
    // Of keys there is none.
    let none = ["noarch", "(none)"];
    none.contains(&architecture)
        || rustix::system::uname().machine().to_str().is_ok_and(|own| own == architecture)
}

fn spelt(epoch: &str, version: &str, release: &str) -> String {
    match epoch {
        "0" | "(none)" => format!("{version}-{release}"),
        epoch => format!("{epoch}:{version}-{release}"),
    }
}

pub(super) fn not_understood(line: &str) -> String {
    let line = redacted(line);
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

    /// As rpm 4.18 said it.
    const SAID: &str = "P\tnx-app\t1\t2.0\t1\tnoarch\t0\t0\nF\t17\t/etc/nx-app.conf\nF\t1\t/etc/nx-plain.conf\n\
                        F\t0\t/usr/share/nx-app\nF\t0\t/usr/share/nx-app/version\nV\tconfig(nx-app)\nV\tnx-app\n\
                        package kernel is not installed\npackage nx-nothing is not installed\n";
    const VERIFIED: &str = "S.5......  c /etc/nx-app.conf\nSM5......  c /etc/nx-plain.conf\n\
                            package nx-nothing is not installed\n";

    #[test]
    fn what_rpm_says_is_read_with_its_configuration_files() {
        let mut found = found(SAID).unwrap();
        assert_eq!(found.versions(), [(name("nx-app"), version("1:2.0-1"))].into());
        let app = found.own.remove(&name("nx-app")).unwrap().pop().unwrap();
        assert!(!app.is_one_of_many);
        let changed = differences(VERIFIED).map(|(_, path)| path).collect();
        let package = app.package(&changed);
        let texts = |paths: &[HostPath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&package.conffiles), ["/etc/nx-app.conf", "/etc/nx-plain.conf"]);
        let plain = ["/etc/nx-plain.conf", "/etc/nx-plain.conf.rpmsave"];
        let kept = ["/etc/nx-app.conf", "/etc/nx-app.conf.rpmsave"];
        for lost in [&package.lost_on_replacement, &package.lost_on_removal] {
            assert_eq!(texts(lost), [kept, plain].concat());
        }
        assert!(package.version == Some(version("1:2.0-1")) && !package.cleans_up);
    }

    #[test]
    fn kernels_and_other_architectures_are_told_apart() {
        let said = "P\tkernel\t0\t1.0\t1\tnoarch\t1\t0\nV\tinstallonlypkg(kernel)\n\
                    P\tkmod-x\t0\t1.0\t1\tnoarch\t0\t1\nF\t1\t/etc/x\nV\tmultiversion(kernel)\nV\tkmod-x\n\
                    P\tnx-lib\t0\t1.0\t1\tnoarch\t0\t0\nP\tnx-lib\t0\t1.1\t1\tnoarch\t0\t0\nF\t1\t/etc/l\n\
                    P\tglibc\t0\t1.0\t1\tnosucharch\t0\t0\nF\t17\t/etc/other\nV\tinstallonlypkg(x)\n";
        let found = found(said).unwrap();
        assert!(found.own[&name("kernel")][0].is_one_of_many);
        let kmod = &found.own[&name("kmod-x")][0];
        assert!(kmod.is_one_of_many && kmod.has_farewell && kmod.configuration.len() == 1);
        assert_eq!(found.own[&name("nx-lib")].len(), 2);
        assert!(found.own[&name("nx-lib")][0].configuration.is_empty());
        assert_eq!(found.foreign, [name("glibc")].into());
        assert!(!found.own.contains_key(&name("glibc")));
        for strange in
            ["P\tnx-lib\t0\n", "error: cannot open Packages database\n", "F\tx\t/etc/x\n"]
        {
            assert!(super::found(strange).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn an_inventory_has_every_version_of_every_architecture() {
        let said = "P\tnx-lib\t0\t1.1\t1\tnoarch\nP\tkernel\t0\t2.0\t1\tnoarch\nP\tkernel\t0\t1.0\t1\tnoarch\n\
                    P\tgpg-pubkey\t0\taa\tbb\t(none)\nP\tgpg-pubkey\t0\tcc\tdd\t(none)\n\
                    P\tR\t2\t4.0\t1\tnosucharch\n";
        let all = all(said).unwrap();
        let expected = [
            ("R:nosucharch", "2:4.0-1"),
            ("gpg-pubkey", "aa-bb cc-dd"),
            ("kernel", "1.0-1 2.0-1"),
            ("nx-lib", "1.1-1"),
        ];
        let inventory = all.inventory();
        assert!(
            inventory.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected),
            "{inventory:?}"
        );
        assert_eq!(all.several(), [name("kernel")].into());
        let listed = Everything(all.0.clone()).listed();
        assert!(listed.len() == 4 && listed[3].architecture == "nosucharch", "{listed:?}");
        assert!(super::all("P\tnx-lib\n").is_err());
    }

    #[test]
    fn files_that_differ_are_told_from_configuration() {
        let said = "missing   c /etc/nx-plain.conf\nmissing     /usr/share/nx app/version\n..5......    /usr/bin/x\n\
                    package nx-nothing is not installed\n";
        let found: Vec<_> = differences(said).collect();
        let expected = [
            (true, "/etc/nx-plain.conf".into()),
            (false, "/usr/share/nx app/version".into()),
            (false, "/usr/bin/x".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_rpm_says_of_two_versions_is_an_order() {
        assert_eq!(ordering("-1 1\n"), Some(Ordering::Less));
        assert_eq!(ordering("0 1\n"), Some(Ordering::Greater));
        assert_eq!(ordering("0 0\n"), Some(Ordering::Equal));
        assert_eq!((ordering("0\n"), ordering("(none)\n")), (None, None));
        // The epoch is first, and asked of nobody.
        assert!(compare(&version("1:0-1"), &version("9-9")).unwrap().is_gt());
        assert!(compare(&version("1.0"), &version("9-9")).is_err());
        assert_eq!(parts(&version("3:1.0-2.el9")).unwrap(), (3, "1.0", "2.el9"));
    }
}
