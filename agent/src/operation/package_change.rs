//! What installing and removing a package have in common: how they are checked, how what they need is
//! provided, and that what is done is what the plan says.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::id::JobId;
use nexplane_core::plan::Check;

use super::package_check::{Rule, can_be_had, complete, way_back};
use super::package_state::{State, mark, unknown};
use super::{Operation, check};
use crate::host::package::{Effect, Inventory, Package, Wish};
use crate::host::{Host, HostError, HostPath, PackageManager, PackageName, PackageVersion};

/// In what the two differ.
pub(super) trait Change: Operation<State = State> {
    fn name(&self) -> &PackageName;

    /// Whether it is refused when something that goes cannot be had again.
    fn requires_way_back(&self) -> bool;

    /// What the package manager is asked for, given what is there.
    fn wish(&self, now: &State) -> Wish;

    /// Whether there is such a package.
    fn known(
        &self,
        manager: &dyn PackageManager,
        package: &Package,
    ) -> Result<Result<String, String>, HostError>;

    /// What is asked before the package manager is asked for a plan.
    fn allowed(&self, _package: &Package) -> Option<Rule> {
        None
    }

    /// What must be true of the plan, whatever was approved.
    fn rules(&self, manager: &dyn PackageManager, before: &State) -> Result<Vec<Rule>, HostError>;

    /// Whether it can be undone.
    fn way_back(
        &self,
        manager: &dyn PackageManager,
        _package: &Package,
        before: &State,
    ) -> Result<Result<String, String>, HostError> {
        way_back(manager, &before.plan, self.requires_way_back())
    }

    /// What else a person should know.
    fn notes(&self, _package: &Package) -> Option<Check> {
        None
    }
}

pub(super) fn look(manager: &dyn PackageManager, name: &PackageName) -> Result<Package, HostError> {
    manager.packages(&[name.clone()].into())?.remove(name).ok_or_else(|| unknown(name))
}

pub(super) fn examine<T: Change>(operation: &T, host: &dyn Host) -> Result<Vec<Check>, HostError> {
    let manager = host.package_manager()?;
    let manager = manager.as_ref();
    let package = look(manager, operation.name())?;
    let mut checks = vec![check("package_known", operation.known(manager, &package)?)];
    checks.extend(operation.allowed(&package).map(|(name, result)| check(name, result)));
    checks.push(check("database_complete", complete(manager)?));
    if checks.iter().any(|check| !check.ok) {
        return Ok(checks);
    }
    let before = match operation.snapshot(host) {
        Ok(before) => before,
        Err(error) => {
            checks.push(check("transaction", Err(error.sentence())));
            return Ok(checks);
        }
    };
    let rules = operation.rules(manager, &before)?;
    checks.extend(rules.into_iter().map(|(name, result)| check(name, result)));
    checks.push(check("way_back", operation.way_back(manager, &package, &before)?));
    checks.extend(operation.notes(&package));
    Ok(checks)
}

/// Why it is not done, whatever was approved.
fn refusal<T: Change>(
    operation: &T,
    manager: &dyn PackageManager,
    before: &State,
) -> Result<Option<String>, HostError> {
    let package = look(manager, operation.name())?;
    let mut rules =
        operation.allowed(&package).into_iter().chain(operation.rules(manager, before)?);
    Ok(rules.find_map(|(_, result)| result.err()))
}

/// Notes what the way to the goal changes, and how that is now. Gives the configuration files that are not as
/// they are now when only the packages are brought back.
pub(super) fn take_along(
    state: &mut State,
    manager: &dyn PackageManager,
    package: &Package,
    wish: &Wish,
) -> Result<BTreeSet<HostPath>, HostError> {
    state.plan = manager.simulate(wish)?;
    let others = state.plan.iter().map(|effect| effect.name.clone());
    let others = others.filter(|name| *name != state.name).collect();
    let others = manager.packages(&others)?;
    state.others = others.iter().map(|(name, package)| (name.clone(), package.into())).collect();
    let mut lost = BTreeSet::new();
    for Effect { name, after, .. } in &state.plan {
        let changed = others.get(name).unwrap_or(package);
        let files =
            if after.is_some() { &changed.lost_on_replacement } else { &changed.lost_on_removal };
        lost.extend(files.iter().cloned());
    }
    Ok(lost)
}

/// Fetches what the plan installs, and keeps what it replaces or removes.
pub(super) fn provide<T: Change>(
    operation: &T,
    host: &dyn Host,
    job: &JobId,
    before: &State,
) -> Result<(), HostError> {
    let manager = host.package_manager()?;
    let manager = manager.as_ref();
    let mut gone = BTreeMap::new();
    for Effect { name, before, .. } in &before.plan {
        // Approved as one that cannot be undone, if it cannot.
        if let Some(version) = before
            && (operation.requires_way_back() || can_be_had(manager, name, version)?)
        {
            gone.insert(name.clone(), version.clone());
        }
    }
    manager.keep(job, &gone)?;
    let wish = operation.wish(before).exactly(&before.plan);
    if wish.install.is_empty() { Ok(()) } else { manager.fetch(&wish) }
}

/// Does what `from` plans.
pub(super) fn bring<T: Change>(
    operation: &T,
    host: &dyn Host,
    from: &State,
    to: &State,
) -> Result<(), HostError> {
    let manager = host.package_manager()?;
    let manager = manager.as_ref();
    let trouble = |why| trouble(operation.name(), why);
    let now = from.reread(host)?;
    if now != *from {
        return Err(trouble("it was changed by somebody else in the meantime".to_owned()));
    }
    if let Some(why) = refusal(operation, manager, from)? {
        return Err(trouble(why));
    }
    complete(manager)?.map_err(trouble)?;
    if now == *to {
        return Ok(());
    }
    let wish = operation.wish(&now);
    if !wish.is_empty() {
        manager.settle()?;
        exactly(manager, operation.name(), &wish, &from.plan)?;
    }
    // The package itself comes last: until it is marked as wanted, nothing counts as done.
    mark(manager, from.marks_of_others().collect())?;
    mark(manager, to.marks().collect())
}

/// Has the package manager do what the plan says, with every version named, and compares what changed.
///
/// # Errors
/// [`HostError::Package`] before anything is changed when something else would; [`HostError::Unplanned`] when
/// something else did.
pub(super) fn exactly(
    manager: &dyn PackageManager,
    name: &PackageName,
    wish: &Wish,
    plan: &[Effect],
) -> Result<(), HostError> {
    let wish = wish.exactly(plan);
    let found = manager.simulate(&wish)?;
    if found != *plan {
        let only = |these: &[Effect], those: &[Effect]| {
            few(these.iter().filter(|effect| !those.contains(effect)).map(ToString::to_string))
        };
        let (more, less) = (only(&found, plan), only(plan, &found));
        return Err(trouble(name, format!("it would now [{more}] and not [{less}]")));
    }
    let before = manager.inventory()?;
    let done = manager.carry_out(&wish);
    let after = manager.inventory()?;
    let strange = unplanned(plan, &before, &after);
    if !strange.is_empty() {
        let mut what = few(strange.into_iter());
        if let Err(error) = done {
            what = format!("{what}; {}", error.sentence());
        }
        return Err(HostError::Unplanned { what });
    }
    done?;
    let found = |name: &PackageName| after.get(name.as_str()).map(String::as_str);
    let missed = plan.iter().find(|Effect { name, after, .. }| {
        found(name) != after.as_ref().map(PackageVersion::as_str)
    });
    match missed {
        None => Ok(()),
        Some(effect) => {
            let there = found(&effect.name).unwrap_or("not there");
            Err(trouble(name, format!("to {effect} was planned; it is {there}")))
        }
    }
}

/// The first twenty: how many there are is for whoever made the packages to say.
fn few(mut texts: impl Iterator<Item = String>) -> String {
    let some = texts.by_ref().take(20).collect::<Vec<_>>().join(", ");
    match texts.count() {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// What changed of packages that the plan does not name.
fn unplanned(plan: &[Effect], before: &Inventory, after: &Inventory) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let is_planned = |name: &str| plan.iter().any(|effect| effect.name.as_str() == name);
    let version = |inventory: &Inventory, name: &str| {
        inventory.get(name).cloned().unwrap_or_else(|| "not there".to_owned())
    };
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed
        .filter(|name| !is_planned(name))
        .map(|name| format!("{name} ({}, now {})", version(before, name), version(after, name)))
        .collect()
}

fn trouble(name: &PackageName, why: String) -> HostError {
    HostError::Package { package: name.to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_packages_is_short() {
        let some = |count: u32| few((1..=count).map(|number| number.to_string()));
        assert_eq!((some(0), some(2)), (String::new(), "1, 2".to_owned()));
        assert!(some(20).ends_with(", 20") && some(25).ends_with(", 20 and 5 more"));
    }

    #[test]
    fn what_no_plan_names_is_told_from_what_it_names() {
        let inventory = |text: &str| -> Inventory {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
        };
        let plan = [Effect { name: "app".parse().unwrap(), before: None, after: "2".parse().ok() }];
        let before = inventory("lib=1 libc6=2 libc6:i386=2");
        let same = inventory("app=2 lib=1 libc6=2 libc6:i386=2");
        assert_eq!(unplanned(&plan, &before, &same), Vec::<String>::new());
        let other = inventory("app=3 app:i386=2 lib=2 libc6=2 new=1");
        assert_eq!(
            unplanned(&plan, &before, &other),
            [
                "app:i386 (not there, now 2)",
                "lib (1, now 2)",
                "libc6:i386 (2, now not there)",
                "new (not there, now 1)"
            ]
        );
    }
}
