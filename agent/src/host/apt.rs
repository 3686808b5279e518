//! Packages of Debian and its kin: `apt-get(8)` decides and fetches, `dpkg(1)` is asked what is there.
//!
//! What apt would do is asked of `apt-get -s`, which lists every package that would be installed, removed
//! or replaced. Configuration files that somebody changed are kept (`--force-confdef --force-confold`),
//! recommended packages are not installed, nothing is removed that was not named, and packages without a
//! valid signature are refused by apt itself. What is fetched to be kept is fetched as apt fetches
//! everything, by the account that it has for that, and has the sum that the signed lists give.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexplane_core::id::JobId;

use super::HostError;
use super::debian::{
    FORMAT, INVENTORY, KEEP_CONFIGURATION, STATES, arguments, check, check_version, effects,
    inventory, offers, records, unsettled, versions,
};
use super::kept::{self, KeptPackages};
use super::lock;
use super::package::{
    Effect, Inventory, Package, PackageManager, PackageName, PackageVersion, Wish, trouble,
};
use super::program::{Output, run, run_in};

const APT_GET: &str = "/usr/bin/apt-get";
const APT_CACHE: &str = "/usr/bin/apt-cache";
const APT_MARK: &str = "/usr/bin/apt-mark";
const DPKG: &str = "/usr/bin/dpkg";
const DPKG_QUERY: &str = "/usr/bin/dpkg-query";
const STATUS: &str = "/var/lib/dpkg/status";
/// Where apt keeps what it fetched, and where the account may write that it fetches with.
const CACHE: &str = "/var/cache/apt";
const PARTIAL: &str = "/var/cache/apt/archives/partial";
/// Held by whichever frontend is at work (`dpkg(1)`, environment DPKG_FRONTEND_LOCKED).
const LOCK: &str = "/var/lib/dpkg/lock-frontend";
/// How long another frontend is waited for.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
const QUESTION: Duration = Duration::from_mins(1);
/// Fetching what the way there needs, and again for the way back: together less than an order is good for.
const FETCH: Duration = Duration::from_mins(4);
/// Unpacking and the packages' own programs; then they are asked to end.
const TRANSACTION: Duration = Duration::from_mins(15);

/// How it is called to fetch a package into the directory that it is started in.
const FIXED_DOWNLOAD: [&str; 7] =
    ["-q", "-o", "APT::Get::AllowUnauthenticated=0", "-o", "APT::Color=0", "download", "--"];

/// The package manager of Debian.
#[derive(Debug)]
pub(super) struct Apt {
    pub kept: KeptPackages,
}

impl Apt {
    /// Whether this host has it.
    pub(super) fn is_here() -> bool {
        [APT_GET, DPKG_QUERY, STATUS].iter().all(|file| Path::new(file).is_file())
    }

    /// What apt-get is told, see [`arguments`].
    fn arguments(&self, wish: &Wish, more: &[&str]) -> Result<Option<Vec<String>>, HostError> {
        let mut files = BTreeMap::new();
        for (name, version) in wish.install.iter().filter(|_| wish.may_use_kept) {
            if let Some(version) = version
                && let Some(file) = self.kept.find(name, version).map_err(not_kept)?
            {
                files.insert(name.clone(), file);
            }
        }
        arguments(wish, &files, more)
    }

    /// apt-get; nothing when there is nothing to install or remove.
    fn get(&self, wish: &Wish, more: &[&str], limit: Duration) -> Result<String, HostError> {
        let Some(arguments) = self.arguments(wish, more)? else { return Ok(String::new()) };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(ask(APT_GET, &arguments, limit, &[0])?.said)
    }

    /// Fetches these and keeps them.
    fn fetch_kept(
        &self,
        job: &JobId,
        versions: &[(&PackageName, &PackageVersion)],
    ) -> Result<(), HostError> {
        let mut sums = Vec::new();
        let mut needed = self.kept.used().map_err(not_kept)?;
        for (name, version) in versions {
            let said = ask(APT_CACHE, &["show", "-a", "--", name.as_str()], QUESTION, &[0])?.said;
            let offers = offers(&said, version);
            let Some(size) = offers.iter().map(|(size, _)| *size).max() else {
                let why = format!("no source of the host has {version} with a sum of SHA-256");
                return Err(trouble(name, why));
            };
            needed = needed.saturating_add(size);
            sums.push(offers.into_iter().map(|(_, sum)| sum).collect::<Vec<_>>());
        }
        if needed > kept::LIMIT {
            let limit = kept::LIMIT;
            let why = format!(
                "packages that are kept for the way back would use {needed} of {limit} bytes; they go with \
                 the before-states of their changes"
            );
            return Err(trouble("the way back", why));
        }
        let directory =
            tempfile::Builder::new().prefix("nexplane-").tempdir_in(CACHE).map_err(not_kept)?;
        // What comes from the network is for the account that apt has for it, not for root.
        if let Ok(meta) = fs::metadata(PARTIAL) {
            std::os::unix::fs::chown(directory.path(), Some(meta.uid()), None).map_err(not_kept)?;
        }
        let mut words = FIXED_DOWNLOAD.map(str::to_owned).to_vec();
        words.extend(versions.iter().map(|(name, version)| format!("{name}={version}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        judge(APT_GET, run_in(directory.path(), APT_GET, &words, FETCH), &[0])?;
        for ((name, version), sums) in versions.iter().zip(sums) {
            let file = fetched(directory.path(), name, version).map_err(not_kept)?;
            let file = file.ok_or_else(|| trouble(name, format!("{version} was not fetched")))?;
            self.kept
                .add(job, name, version, &file, &sums)
                .map_err(|error| trouble(name, error.to_string()))?;
        }
        Ok(())
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
    fn called(&self) -> &'static str {
        "apt"
    }

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
        for (name, package) in records(&said, &own_architecture()?)? {
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
        let all = ["-s", "--allow-downgrades", "--allow-change-held-packages"];
        effects(&self.get(wish, &all, QUESTION)?)
    }

    fn inventory(&self) -> Result<Inventory, HostError> {
        let said = ask(DPKG_QUERY, &["-W", "-f", INVENTORY], QUESTION, &[0])?.said;
        inventory(&said, &own_architecture()?)
    }

    fn fetch(&self, wish: &Wish) -> Result<(), HostError> {
        // Another one that fetches has a lock for which apt does not wait.
        Self::wait_for_others()?;
        self.get(wish, &["--download-only", "--allow-downgrades"], FETCH).map(drop)
    }

    fn keep(
        &self,
        job: &JobId,
        versions: &BTreeMap<PackageName, PackageVersion>,
    ) -> Result<(), HostError> {
        check(versions.keys())?;
        let mut missing = Vec::new();
        for (name, version) in versions {
            check_version(name, version)?;
            if !self.kept.share(job, name, version).map_err(not_kept)? {
                missing.push((name, version));
            }
        }
        if missing.is_empty() { Ok(()) } else { self.fetch_kept(job, &missing) }
    }

    fn is_kept(&self, name: &PackageName, version: &PackageVersion) -> Result<bool, HostError> {
        Ok(self.kept.find(name, version).map_err(not_kept)?.is_some())
    }

    fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> Result<(), HostError> {
        self.kept.forget(is_needed).map_err(not_kept)
    }

    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        let mut more = vec!["-o", "APT::Get::Mark-Auto=1"];
        if wish.may_downgrade {
            more.push("--allow-downgrades");
        }
        if wish.remove.is_empty() && wish.purge.is_empty() {
            more.push("--no-remove");
        }
        self.get(wish, &more, TRANSACTION)?;
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
        if wish.is_empty() {
            return Ok(());
        }
        // Nobody approved anything but these.
        let Ok(planned) = self.get(&wish, &["-s", "--reinstall"], QUESTION) else { return Ok(()) };
        let planned = effects(&planned)?;
        if let Some(other) = planned.iter().find(|effect| !wish.install.contains_key(&effect.name))
        {
            let why = "it would change with what was interrupted, which is left as it is";
            return Err(trouble(&other.name, why));
        }
        if let Some(words) = self.arguments(&wish, &["--reinstall", "--no-remove"])? {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            ask(APT_GET, &words, TRANSACTION, &[0, 100])?;
        }
        Ok(())
    }
}

fn not_kept(error: io::Error) -> HostError {
    trouble("the way back", format!("packages cannot be kept for it: {error}"))
}

/// The architecture of the host's own packages.
fn own_architecture() -> Result<String, HostError> {
    Ok(ask(DPKG, &["--print-architecture"], QUESTION, &[0])?.said.trim().to_owned())
}

fn ask(
    program: &str,
    arguments: &[&str],
    limit: Duration,
    good: &[i32],
) -> Result<Output, HostError> {
    judge(program, run(program, arguments, limit), good)
}

fn judge(program: &str, output: io::Result<Output>, good: &[i32]) -> Result<Output, HostError> {
    let output = output.map_err(|error| trouble(program, error.to_string()))?;
    if output.code().is_some_and(|code| good.contains(&code)) {
        Ok(output)
    } else {
        Err(trouble(program, output.complaint()))
    }
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

/// What apt-get fetched of a version: `name_version_architecture.deb`, with the colon of an epoch as `%3a`.
fn fetched(
    directory: &Path,
    name: &PackageName,
    version: &PackageVersion,
) -> io::Result<Option<PathBuf>> {
    let beginning = format!("{name}_{}_", version.as_str().replace(':', "%3a"));
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_it =
            |file: &str| file.starts_with(&beginning) && file.strip_suffix(".deb").is_some();
        if entry.file_name().to_str().is_some_and(is_it) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
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

    #[test]
    fn what_was_fetched_is_found_by_name_and_version() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nx-app_1%3a1.0_all.deb");
        for path in [&file, &directory.path().join("nx-app_1%3a1.0-1_all.deb")] {
            fs::write(path, "").unwrap();
        }
        let of = |text| fetched(directory.path(), &name("nx-app"), &version(text)).unwrap();
        assert_eq!((of("1:1.0"), of("1.0")), (Some(file), None));
    }
}
