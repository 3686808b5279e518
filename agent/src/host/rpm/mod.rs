//! Packages of Red Hat, SUSE and their kin: a front end decides and fetches, `rpm(8)` is asked what is there.
//!
//! The two front ends, [`dnf`] and [`zypper`], differ in how they are told and in what they say; what makes a
//! transaction safe is here, once: every package that would change is named beforehand, in the host's own
//! architecture, and rpm's database is read afterwards. Versions are `[epoch:]version-release`, without an
//! epoch of zero, and rpm itself compares them.
//!
//! rpm does not keep what it knows of a transaction that was killed. So the agent writes down what it begins
//! ([`Interrupted`]), and what is in that note counts as not brought to an end until it was installed again.
//!
//! Deliberately absent: packages of which several versions may be installed at once (kernels), those of
//! another architecture, modules, patterns, patches and products, import of keys, agreement to licences,
//! and refreshing what a source has.

mod database;
pub(super) mod dnf;
mod interrupted;
mod plan;
pub(super) mod zypper;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexplane_core::id::JobId;

use self::database::{Installed, Known, RPM};
use self::interrupted::Interrupted;
use self::plan::{Kind, Step, Task, Word, effects};
use super::HostError;
use super::kept::{self, KeptPackages};
use super::package::{
    Effect, Inventory, Listed, Package, PackageManager, PackageName, PackageVersion, Wish, trouble,
};
use super::program::{Output, run};

/// How long another package manager is waited for, and how often it is looked whether it is done.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
const QUESTION: Duration = Duration::from_mins(2);
/// Fetching what the way there needs, and again for the way back: together less than an order is good for.
const FETCH: Duration = Duration::from_mins(4);
/// Unpacking and the packages' own programs; then they are asked to end.
const TRANSACTION: Duration = Duration::from_mins(15);

/// What decides which packages are needed, and fetches them.
pub(super) trait Frontend: Debug + Send + Sync {
    fn called(&self) -> &'static str;
    fn available(&self, name: &PackageName) -> Result<Vec<Known>, HostError>;
    /// Of these, those whose version somebody fixed.
    fn held(&self, names: &BTreeSet<PackageName>) -> Result<BTreeSet<PackageName>, HostError>;
    /// Of all, those that are there only because others need them.
    fn automatic(&self) -> Result<BTreeSet<PackageName>, HostError>;
    fn mark(&self, names: &[&PackageName], is_auto: bool) -> Result<(), HostError>;
    /// What it would do. Changes nothing, and asks nobody beyond the host.
    fn plan(&self, task: &Task) -> Result<Vec<Step>, HostError>;
    /// Fetches what the task needs into the front end's own cache.
    fn fetch(&self, task: &Task) -> Result<(), HostError>;
    /// Fetches just these, wherever in that directory or elsewhere; says where they are.
    fn download(
        &self,
        installed: &[(&PackageName, &PackageVersion)],
        others: &[(&PackageName, &PackageVersion)],
        directory: &Path,
    ) -> Result<Vec<PathBuf>, HostError>;
    /// Does it.
    ///
    /// # Errors
    /// It was ended, and nobody knows how far it came. What it says went wrong, once it came to an end by
    /// itself, is in the other result.
    fn carry_out(&self, task: &Task) -> Result<Result<(), HostError>, HostError>;
    /// Where it has room for a directory of the agent's.
    fn cache(&self) -> &'static str;
    /// What somebody types who wants it installed once more.
    fn again(&self) -> &'static str;
}

/// The package manager of a host whose database is rpm's.
#[derive(Debug)]
pub(super) struct Rpm<T> {
    kept: KeptPackages,
    interrupted: Interrupted,
    frontend: T,
}

impl<T: Frontend> Rpm<T> {
    pub(super) fn new(kept: KeptPackages, frontend: T) -> Self {
        let kept = kept.of_rpm();
        Self { interrupted: Interrupted::at(kept.beside("interrupted.json")), kept, frontend }
    }

    fn task(&self, wish: &Wish) -> Result<Task, HostError> {
        let versions = wish.install.iter().filter_map(|(n, v)| Some((n, v.as_ref()?)));
        check(versions)?;
        let mut come = Vec::new();
        for (name, version) in &wish.install {
            come.push(match version {
                None => Word::Any(name.clone()),
                Some(version) => self.word(name, version, wish.may_use_kept)?,
            });
        }
        let gone = wish.remove.union(&wish.purge).cloned().collect();
        Ok(Task { come, gone, may_downgrade: wish.may_downgrade, is_again: false })
    }

    fn word(
        &self,
        name: &PackageName,
        version: &PackageVersion,
        may_use_kept: bool,
    ) -> Result<Word, HostError> {
        let kept = if may_use_kept { self.find(name, version)? } else { None };
        Ok(kept.map_or_else(|| Word::Exact(name.clone(), version.clone()), Word::File))
    }

    fn find(
        &self,
        name: &PackageName,
        version: &PackageVersion,
    ) -> Result<Option<PathBuf>, HostError> {
        self.kept.find(name, version).map_err(not_kept)
    }

    /// What of the note was not brought to an end: all that is there of what should have come, and of the rest
    /// what has not the files that it should have.
    fn torn(&self) -> Result<BTreeMap<PackageName, PackageVersion>, HostError> {
        let noted = self.interrupted.read().map_err(not_kept)?;
        let names: BTreeSet<PackageName> = noted.keys().cloned().collect();
        let found = database::installed(&names)?;
        let mut torn = BTreeMap::new();
        for (name, instances) in found.own {
            let Some(Installed { version, .. }) = instances.last() else { continue };
            let is_target = noted.get(&name).is_some_and(|target| target.as_ref() == Some(version));
            if is_target || !database::is_whole(&name)? {
                torn.insert(name, version.clone());
            }
        }
        Ok(torn)
    }

    fn are_whole(there: &BTreeMap<PackageName, PackageVersion>) -> Result<bool, HostError> {
        for name in there.keys() {
            if !database::is_whole(name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Packages of which the versions before and after are both there: rpm was ended between the two.
    fn doubled() -> Result<BTreeMap<PackageName, Vec<PackageVersion>>, HostError> {
        let mut doubled = BTreeMap::new();
        let all = database::everything()?;
        let several: BTreeSet<PackageName> = all.several();
        if several.is_empty() {
            return Ok(doubled);
        }
        let mut found = database::installed(&several)?;
        database::sort(&mut found)?;
        for (name, instances) in found.own {
            if !instances.iter().any(|instance| instance.is_one_of_many) {
                let versions = instances.into_iter().map(|instance| instance.version).collect();
                doubled.insert(name, versions);
            }
        }
        Ok(doubled)
    }

    /// Keeps what was fetched of these versions.
    fn keep_files(
        &self,
        job: &JobId,
        wanted: &[(&PackageName, &PackageVersion)],
        files: &[PathBuf],
    ) -> Result<(), HostError> {
        let mut used = self.kept.used().map_err(not_kept)?;
        let mut found = Vec::new();
        for file in files {
            let is = database::of_file(file)?;
            if wanted.iter().any(|(n, v)| **n == is.name && **v == is.version) {
                used = used.saturating_add(fs::metadata(file).map_err(not_kept)?.len());
                found.push((is, file));
            }
        }
        if used > kept::LIMIT {
            let limit = kept::LIMIT;
            let why = format!(
                "packages that are kept for the way back would use {used} of {limit} bytes; they go with \
                 the before-states of their changes"
            );
            return Err(trouble("the way back", why));
        }
        for (name, version) in wanted {
            let file = found.iter().find(|(is, _)| is.name == **name && is.version == **version);
            let (_, file) =
                file.ok_or_else(|| trouble(name, format!("{version} was not fetched")))?;
            // The front end has compared it with the sum that its source gave; this is against what is
            // between the two.
            database::check_file(file)?;
            let sum = kept::sum(file).map_err(not_kept)?;
            self.kept
                .add(job, name, version, file, &[sum])
                .map_err(|error| trouble(name, error.to_string()))?;
        }
        Ok(())
    }

    /// What a transaction removed with its configuration, and rpm laid beside as `.rpmsave`.
    fn remove_saved(files: &[PathBuf]) -> Result<(), HostError> {
        for file in files {
            match fs::symlink_metadata(file) {
                Ok(meta) if meta.is_file() => fs::remove_file(file).map_err(|error| {
                    trouble(file.display(), format!("it could not be removed: {error}"))
                })?,
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl<T: Frontend> PackageManager for Rpm<T> {
    fn called(&self) -> &'static str {
        self.frontend.called()
    }

    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError> {
        let mut packages = BTreeMap::new();
        if names.is_empty() {
            return Ok(packages);
        }
        let mut found = database::installed(names)?;
        database::sort(&mut found)?;
        let there: BTreeSet<PackageName> = found.own.keys().cloned().collect();
        let changed = database::changed_configuration(&there)?;
        let noted = self.interrupted.read().map_err(not_kept)?;
        let torn = if noted.is_empty() { BTreeMap::new() } else { self.torn()? };
        let held = self.frontend.held(names)?;
        let automatic =
            if there.is_empty() { BTreeSet::new() } else { self.frontend.automatic()? };
        for name in names {
            let is_held = held.contains(name);
            let Some(instances) = found.own.remove(name) else {
                if found.foreign.contains(name) {
                    return Err(trouble(name, database::OF_ANOTHER));
                }
                let absent = Package { is_settled: true, is_held, ..Package::default() };
                packages.insert(name.clone(), absent);
                continue;
            };
            if instances.iter().any(|instance| instance.is_one_of_many) {
                return Err(trouble(name, database::ONE_OF_MANY));
            }
            let is_settled = instances.len() == 1 && !torn.contains_key(name);
            let mut package = instances
                .into_iter()
                .next_back()
                .map_or_else(Package::default, |instance| instance.package(&changed));
            package.is_settled = is_settled;
            package.is_held = is_held;
            package.is_auto = automatic.contains(name);
            packages.insert(name.clone(), package);
        }
        Ok(packages)
    }

    fn unsettled(&self) -> Result<Vec<String>, HostError> {
        let mut unsettled = Vec::new();
        for (name, versions) in Self::doubled()? {
            let versions: Vec<&str> = versions.iter().map(PackageVersion::as_str).collect();
            unsettled.push(format!("{name} ({} are both there)", versions.join(" and ")));
        }
        let noted = self.interrupted.read().map_err(not_kept)?;
        if !noted.is_empty() {
            let (again, note) = (self.frontend.again(), self.interrupted.path().display());
            unsettled.extend(self.torn()?.into_iter().map(|(name, version)| {
                format!("{name} {version} (run '{again} {name}', then delete {note})")
            }));
        }
        Ok(unsettled)
    }

    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError> {
        let mut versions = Vec::new();
        for known in self.frontend.available(name)? {
            let is_own = known.name == *name && database::is_own(&known.architecture);
            if is_own && !versions.contains(&known.version) {
                versions.push(known.version);
            }
        }
        Ok(versions)
    }

    fn is_before(&self, one: &PackageVersion, other: &PackageVersion) -> Result<bool, HostError> {
        Ok(database::compare(one, other)?.is_lt())
    }

    fn simulate(&self, wish: &Wish) -> Result<Vec<Effect>, HostError> {
        let mut task = self.task(wish)?;
        // What is not wanted of it is for the caller to say, once it is known.
        task.may_downgrade = true;
        if task.come.is_empty() && task.gone.is_empty() {
            return Ok(Vec::new());
        }
        let steps = self.frontend.plan(&task)?;
        let names = steps.iter().map(|step| step.name.clone());
        let names: BTreeSet<PackageName> = names.chain(wish.install.keys().cloned()).collect();
        let found = database::installed(&names)?;
        effects(&steps, &found.versions(), wish)
    }

    fn listed(&self) -> Result<Option<Vec<Listed>>, HostError> {
        Ok(Some(database::everything()?.listed()))
    }

    fn inventory(&self) -> Result<Inventory, HostError> {
        Ok(database::everything()?.inventory())
    }

    fn fetch(&self, wish: &Wish) -> Result<(), HostError> {
        let task = self.task(wish)?;
        if task.come.is_empty() { Ok(()) } else { self.frontend.fetch(&task) }
    }

    fn keep(
        &self,
        job: &JobId,
        versions: &BTreeMap<PackageName, PackageVersion>,
    ) -> Result<(), HostError> {
        check(versions)?;
        let mut missing = Vec::new();
        for (name, version) in versions {
            if !self.kept.share(job, name, version).map_err(not_kept)? {
                missing.push((name, version));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.iter().map(|(name, _)| (*name).clone()).collect();
        let now = database::installed(&names)?.versions();
        let (there, others): (Vec<_>, Vec<_>) =
            missing.iter().copied().partition(|(name, version)| now.get(*name) == Some(*version));
        let cache = self.frontend.cache();
        let directory =
            tempfile::Builder::new().prefix("nexplane-").tempdir_in(cache).map_err(not_kept)?;
        let files = self.frontend.download(&there, &others, directory.path())?;
        self.keep_files(job, &missing, &files)
    }

    fn is_kept(&self, name: &PackageName, version: &PackageVersion) -> Result<bool, HostError> {
        Ok(self.find(name, version)?.is_some())
    }

    fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> Result<(), HostError> {
        self.kept.forget(is_needed).map_err(not_kept)
    }

    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        let task = self.task(wish)?;
        if task.come.is_empty() && task.gone.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<PackageName> = wish.install.keys().chain(&task.gone).cloned().collect();
        let before = database::installed(&names)?;
        let automatic = self.frontend.automatic()?;
        let purged = before.own.iter().filter(|(name, _)| wish.purge.contains(*name));
        let changed = database::changed_configuration(&wish.purge.iter().cloned().collect())?;
        let saved = purged.flat_map(|(_, instances)| instances.iter().flat_map(Installed::saved));
        // What an earlier change laid there is somebody's, and in no before-state.
        let is_of_this =
            |path: &PathBuf| !path.exists() || changed.contains(&path.with_extension(""));
        let saved: Vec<PathBuf> = saved.filter(is_of_this).collect();
        let targets =
            names.iter().map(|name| (name.clone(), wish.install.get(name).cloned().flatten()));
        self.interrupted.begin(&targets.collect()).map_err(not_kept)?;
        let done = self.frontend.carry_out(&task);
        // Whoever named a package to a front end is taken to want it: back to what it was before.
        let there = database::installed(&names)?.versions();
        let is_needed = |name: &&PackageName| {
            wish.install.contains_key(*name)
                && (automatic.contains(*name) || !before.own.contains_key(*name))
        };
        let needed: Vec<&PackageName> = there.keys().filter(is_needed).collect();
        let marked = if needed.is_empty() { Ok(()) } else { self.frontend.mark(&needed, true) };
        let done = done?;
        // One that fails may leave files of a version that the database does not have.
        if done.is_ok() || Self::are_whole(&there)? {
            self.interrupted.end().map_err(not_kept)?;
        }
        done?;
        marked?;
        Self::remove_saved(&saved)
    }

    fn set_auto(&self, name: &PackageName, is_auto: bool) -> Result<(), HostError> {
        self.frontend.mark(&[name], is_auto)
    }

    fn settle(&self) -> Result<(), HostError> {
        let noted = self.interrupted.read().map_err(not_kept)?;
        if noted.is_empty() {
            return Ok(());
        }
        for (name, mut versions) in Self::doubled()? {
            versions.pop();
            if noted.contains_key(&name) {
                versions.iter().try_for_each(|version| database::erase(&name, version))?;
            }
        }
        let torn = self.torn()?;
        if !torn.is_empty() {
            let mut come = Vec::new();
            for (name, version) in &torn {
                come.push(self.word(name, version, true)?);
            }
            let task = Task { come, is_again: true, ..Task::default() };
            // Nobody approved anything but these.
            let Ok(steps) = self.frontend.plan(&task) else { return Ok(()) };
            let other = steps
                .iter()
                .find(|step| step.kind != Kind::Again || !torn.contains_key(&step.name));
            if let Some(other) = other {
                let why = "it would change with what was interrupted, which is left as it is";
                return Err(trouble(&other.name, why));
            }
            // The front ends go on with those that they find.
            let is_planned = |name: &PackageName| steps.iter().any(|step| step.name == *name);
            if !torn.keys().all(is_planned) {
                return Ok(());
            }
            // What cannot be had again stays in the note. It may still be removed.
            if self.frontend.fetch(&task).is_err() {
                return Ok(());
            }
            let automatic = self.frontend.automatic()?;
            self.frontend.carry_out(&task)??;
            let needed: Vec<&PackageName> =
                torn.keys().filter(|name| automatic.contains(*name)).collect();
            if !needed.is_empty() {
                self.frontend.mark(&needed, true)?;
            }
        }
        self.interrupted.end().map_err(not_kept)
    }
}

/// Only what rpm calls a version: with a release. Another word could mean something else to a front end.
fn check<'a>(
    versions: impl IntoIterator<Item = (&'a PackageName, &'a PackageVersion)>,
) -> Result<(), HostError> {
    match versions.into_iter().find(|(_, version)| !version.is_of_rpm()) {
        None => Ok(()),
        Some((name, version)) => {
            let why = format!("{version} is not 'version-release' or 'epoch:version-release'");
            Err(trouble(name, why))
        }
    }
}

fn not_kept(error: io::Error) -> HostError {
    trouble("the way back", format!("packages cannot be kept for it: {error}"))
}

/// Runs a front end, and waits for others that are at work: as long as it ends with `locked`.
fn patiently(
    program: &str,
    arguments: &[&str],
    limit: Duration,
    locked: i32,
) -> Result<Output, HostError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let output =
            run(program, arguments, limit).map_err(|error| trouble(program, error.to_string()))?;
        match output.code() {
            Some(code) if code == locked && Instant::now() < until => std::thread::sleep(PAUSE),
            Some(code) if code == locked => {
                let waited = LOCK_PATIENCE.as_secs();
                let why = format!(
                    "another package manager is at work: waited {waited} seconds; try again when it is done"
                );
                return Err(trouble(program, why));
            }
            Some(_) => return Ok(output),
            None => return Err(trouble(program, output.status.to_string())),
        }
    }
}

/// Runs rpm itself.
fn ask_rpm(arguments: &[&str], good: &[i32]) -> Result<String, HostError> {
    let output = run(RPM, arguments, QUESTION).map_err(|error| trouble(RPM, error.to_string()))?;
    if !output.is_whole {
        return Err(trouble(RPM, "it said more than the agent reads"));
    }
    // It also says of every package that it is not installed when it cannot open its database.
    let errors = output.picked(|line| line.starts_with("error: "));
    if errors.is_empty() && output.code().is_some_and(|code| good.contains(&code)) {
        Ok(output.said)
    } else {
        Err(trouble(RPM, output.complaint_of(&["error: ", "warning: %"])))
    }
}

/// Lines in which rpm says that a program of a package failed. It goes on then, and so do the front ends.
fn failed_scripts(output: &Output) -> Vec<String> {
    let is_it = |line: &str| {
        let by_rpm = (line.starts_with("warning: %") || line.starts_with("error: %"))
            && line.contains(" scriptlet failed");
        by_rpm || line.contains(" scriptlet in rpm package ") && line.starts_with("Error in ")
    };
    output.picked(is_it)
}
