//! `host.install_package` and `host.remove_package`.
//!
//! Before anything is changed the package manager is asked what it would do: every package that would be
//! installed, replaced or removed stands in the plan. What the parameters do not allow is refused, and
//! what is not in the plan is not done. Deliberately absent: refreshing the lists of what can be had,
//! upgrading a whole host, and removing what nobody needs any more.

use std::collections::BTreeMap;

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::package_check::{
    Rule, allowed, complete, earlier, known, list, not_held, removable, removals, untouchable,
    way_back, way_back_sentence,
};
use super::package_state::{State, read_files, sentence, unknown};
use super::{Meta, Operation, check};
use crate::host::package::{Effect, Package, Wish};
use crate::host::{Host, HostError, HostPath, PackageManager, PackageName, PackageVersion};

/// Installs a package from the host's own sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
pub struct InstallPackage {
    /// Name of the package, as the host's sources have it.
    #[schemars(example = &"rsync")]
    pub name: PackageName,
    /// The version that shall be installed. When absent, one that is installed stays, and otherwise the
    /// host's package manager chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PackageVersion>,
    /// Whether other packages may be installed or upgraded because it needs them. True when absent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub allow_dependencies: bool,
    /// Whether other packages may be removed because they conflict with it. False when absent.
    #[serde(default, skip_serializing_if = "is_no")]
    pub allow_removals: bool,
    /// Whether an installed version may be replaced by an earlier one. False when absent.
    #[serde(default, skip_serializing_if = "is_no")]
    pub allow_downgrade: bool,
    /// Whether it is refused when a version that is replaced or removed cannot be had any more, so that
    /// nothing could put it back. True when absent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub require_way_back: bool,
}

/// Removes a package that no other one needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePackage {
    /// Name of the package that goes.
    #[schemars(example = &"telnet")]
    pub name: PackageName,
    /// Whether its configuration files go, too. False when absent.
    #[serde(default, skip_serializing_if = "is_no")]
    pub purge: bool,
    /// Whether it is refused when its version cannot be had any more, so that nothing could put it back.
    /// True when absent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub require_way_back: bool,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_no(value: &bool) -> bool {
    !*value
}

/// What the two have in common.
macro_rules! package {
    () => {
        type State = State;

        /// Which files a package touches is the package's; the owner's policy names the operation.
        fn paths(&self) -> Vec<&HostPath> {
            Vec::new()
        }

        fn validate(&self, host: &dyn Host) -> Vec<Check> {
            self.examine(host)
                .unwrap_or_else(|error| vec![check("package_manager", Err(error.sentence()))])
        }

        fn fields(state: &State) -> Vec<Field> {
            state.fields()
        }

        fn diff(target: &str, before: &State, after: &State) -> Vec<DiffLine> {
            State::diff(target, before, after)
        }

        fn reread(&self, host: &dyn Host, like: &State) -> Result<State, HostError> {
            like.reread(host)
        }

        fn is_between(now: &State, from: &State, to: &State) -> bool {
            now.is_between(from, to)
        }

        fn settle(&self, host: &dyn Host) -> Result<(), HostError> {
            host.package_manager()?.settle()
        }

        fn bring(
            &self,
            host: &dyn Host,
            from: Option<&State>,
            to: &State,
        ) -> Result<(), HostError> {
            let Some(from) = from else { return to.restore(host) };
            let manager = host.package_manager()?;
            let trouble = |why: String| HostError::Package { package: self.name.to_string(), why };
            let now = from.reread(host)?;
            if now != *from {
                return Err(trouble("it was changed by somebody else in the meantime".to_owned()));
            }
            if let Some(why) = self.refusal(manager.as_ref(), from)? {
                return Err(trouble(why));
            }
            complete(manager.as_ref())?.map_err(trouble)?;
            if now == *to {
                return Ok(());
            }
            let wish = self.wish(&now);
            if !wish.is_empty() {
                manager.settle()?;
                let found =
                    if from.plan.is_empty() { Vec::new() } else { manager.simulate(&wish)? };
                if found != from.plan {
                    let found: Vec<String> = found.iter().map(sentence).collect();
                    let why = format!("it would now change something else: {}", found.join(", "));
                    return Err(trouble(why));
                }
                manager.carry_out(&wish)?;
            }
            to.restore_marks(manager.as_ref())
        }
    };
}

impl Operation for InstallPackage {
    const META: Meta = Meta {
        id: "host.install_package",
        title: "Install package",
        description: "Installs a package, or a version of it, from the host's own sources. Every other \
                      package that this would change is in the plan. Undone by installing the versions \
                      that were there before and removing what came with it.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &["root, to install packages"],
    };

    fn example() -> Self {
        Self {
            name: "rsync".parse().expect("the name is well formed"),
            version: None,
            allow_dependencies: true,
            allow_removals: false,
            allow_downgrade: false,
            require_way_back: true,
        }
    }

    fn summary(&self, target: &str) -> String {
        match &self.version {
            Some(version) => format!("Installs {} {version} on {target}.", self.name),
            None => format!("Installs {} on {target}, unless it is there.", self.name),
        }
    }

    fn rollback(&self) -> String {
        let certain = way_back_sentence(self.require_way_back);
        format!(
            "Brings {} and what came with it back to the versions of before. What was not there before is purged, \
             with its configuration and with the data that its own programs delete then. {certain}",
            self.name
        )
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        let manager = host.package_manager()?;
        let package = look(manager.as_ref(), &self.name)?;
        let mut state = State::of(&self.name, &package);
        if self.is_there(&package) {
            return Ok(state);
        }
        if package.version.is_none() && manager.available(&self.name)?.is_empty() {
            return Err(unknown(&self.name));
        }
        let wish = self.wish(&state);
        take_along(&mut state, manager.as_ref(), &wish)?;
        Ok(state)
    }

    fn intended(&self, _host: &dyn Host, before: &State) -> Result<State, HostError> {
        let planned = before.plan.iter().find(|effect| effect.name == self.name);
        let version = match planned {
            Some(effect) => effect.after.clone(),
            None => before.package.version.clone(),
        };
        let mut after = State { others: BTreeMap::new(), plan: Vec::new(), ..before.clone() };
        after.package.version = version;
        after.package.is_settled = true;
        after.package.is_residue = false;
        after.package.is_auto = false;
        Ok(after)
    }

    package!();
}

impl InstallPackage {
    fn is_there(&self, package: &Package) -> bool {
        let is_right = self.version.is_none() || package.version == self.version;
        package.is_settled && package.version.is_some() && is_right
    }

    fn wish(&self, now: &State) -> Wish {
        if now.plan.is_empty()
            && now.package.version.is_some()
            && now.package.is_settled
            && (self.version.is_none() || now.package.version == self.version)
        {
            return Wish::default();
        }
        Wish {
            install: BTreeMap::from([(self.name.clone(), self.version.clone())]),
            may_downgrade: self.allow_downgrade,
            may_remove: self.allow_removals,
            ..Wish::default()
        }
    }

    /// Why it is not done, whatever was approved.
    fn refusal(
        &self,
        manager: &dyn PackageManager,
        before: &State,
    ) -> Result<Option<String>, HostError> {
        let first = self.rules(manager, before)?.into_iter().find_map(|(_, result)| result.err());
        Ok(first)
    }

    fn rules(&self, manager: &dyn PackageManager, before: &State) -> Result<Vec<Rule>, HostError> {
        let others = || before.plan.iter().filter(|effect| effect.name != self.name);
        let came: Vec<&Effect> = others().filter(|effect| effect.after.is_some()).collect();
        let gone: Vec<&Effect> = others().filter(|effect| effect.after.is_none()).collect();
        let earlier = earlier(manager, &before.plan)?;
        Ok(vec![
            ("package_allowed", untouchable(before)),
            ("not_held", not_held(before)),
            (
                "other_packages",
                allowed(
                    self.allow_dependencies,
                    &came,
                    "installed or replaced",
                    "allow_dependencies",
                ),
            ),
            ("removals", removals(manager, self.allow_removals, &gone)?),
            (
                "downgrades",
                allowed(
                    self.allow_downgrade,
                    &earlier,
                    "replaced by earlier ones",
                    "allow_downgrade",
                ),
            ),
        ])
    }

    fn examine(&self, host: &dyn Host) -> Result<Vec<Check>, HostError> {
        let manager = host.package_manager()?;
        let manager = manager.as_ref();
        let known = known(manager, &self.name, self.version.as_ref())?;
        let mut checks =
            vec![check("package_known", known), check("database_complete", complete(manager)?)];
        if checks.iter().any(|check| !check.ok) {
            return Ok(checks);
        }
        let before = match self.snapshot(host) {
            Ok(before) => before,
            Err(error) => {
                checks.push(check("transaction", Err(error.sentence())));
                return Ok(checks);
            }
        };
        let rules = self.rules(manager, &before)?;
        checks.extend(rules.into_iter().map(|(name, result)| check(name, result)));
        checks.push(check("way_back", way_back(manager, &before.plan, self.require_way_back)?));
        Ok(checks)
    }
}

impl Operation for RemovePackage {
    const META: Meta = Meta {
        id: "host.remove_package",
        title: "Remove package",
        description: "Removes a package that no other installed one needs, with or without its \
                      configuration files. What keeps the host going is refused. Undone by installing \
                      the same version again, with the configuration files as they were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        permissions: &["root, to remove packages"],
    };

    fn example() -> Self {
        Self {
            name: "telnet".parse().expect("the name is well formed"),
            purge: false,
            require_way_back: true,
        }
    }

    fn summary(&self, target: &str) -> String {
        let with = if self.purge { " with its configuration files" } else { "" };
        format!("Removes {}{with} from {target}.", self.name)
    }

    fn rollback(&self) -> String {
        let files = if self.purge {
            " What else the package's own program deletes does not come back."
        } else {
            ""
        };
        let certain = way_back_sentence(self.require_way_back);
        format!("Installs the version of {} that was there. {certain}{files}", self.name)
    }

    fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
        let manager = host.package_manager()?;
        let package = look(manager.as_ref(), &self.name)?;
        let mut state = State::of(&self.name, &package);
        if package.version.is_some() {
            state.leaves_residue = package.leaves_residue;
            let wish = self.wish(&state);
            take_along(&mut state, manager.as_ref(), &wish)?;
        }
        if self.purge && (package.version.is_some() || package.is_residue) {
            state.files = read_files(host, package.conffiles.into_iter())?;
        }
        Ok(state)
    }

    fn intended(&self, _host: &dyn Host, before: &State) -> Result<State, HostError> {
        let mut after = State::of(&self.name, &Package { is_settled: true, ..Package::default() });
        after.package.is_residue =
            !self.purge && (before.leaves_residue || before.package.is_residue);
        Ok(after)
    }

    package!();
}

impl RemovePackage {
    fn wish(&self, now: &State) -> Wish {
        let mut wish = Wish::default();
        if self.purge && (now.package.version.is_some() || now.package.is_residue) {
            wish.purge.insert(self.name.clone());
        } else if now.package.version.is_some() {
            wish.remove.insert(self.name.clone());
        }
        wish
    }

    /// Why it is not done, whatever was approved.
    fn refusal(
        &self,
        manager: &dyn PackageManager,
        before: &State,
    ) -> Result<Option<String>, HostError> {
        let package = look(manager, &self.name)?;
        let rules = self.rules(&package, before);
        Ok(rules.into_iter().find_map(|(_, result)| result.err()))
    }

    fn rules(
        &self,
        package: &Package,
        before: &State,
    ) -> Vec<(&'static str, Result<String, String>)> {
        let others: Vec<&Effect> =
            before.plan.iter().filter(|effect| effect.name != self.name).collect();
        let others = match others.as_slice() {
            [] => Ok(format!("no other package needs {}", self.name)),
            some => {
                let text = list(some);
                Err(format!("other packages would change with it: {text}; remove those first"))
            }
        };
        vec![
            ("package_allowed", removable(&self.name, package)),
            ("not_held", not_held(before)),
            ("other_packages", others),
        ]
    }

    fn examine(&self, host: &dyn Host) -> Result<Vec<Check>, HostError> {
        let manager = host.package_manager()?;
        let manager = manager.as_ref();
        let package = look(manager, &self.name)?;
        let known = if package.version.is_some() || package.is_residue {
            let version = package.version.as_ref().map(ToString::to_string);
            let version = version.unwrap_or_else(|| "configuration only".to_owned());
            Ok(format!("{} is there: {version}", self.name))
        } else {
            known(manager, &self.name, None)?
        };
        let mut checks = vec![
            check("package_known", known),
            check("package_allowed", removable(&self.name, &package)),
            check("database_complete", complete(manager)?),
        ];
        if checks.iter().any(|check| !check.ok) {
            return Ok(checks);
        }
        let before = match self.snapshot(host) {
            Ok(before) => before,
            Err(error) => {
                checks.push(check("transaction", Err(error.sentence())));
                return Ok(checks);
            }
        };
        let rules = self.rules(&package, &before).into_iter().skip(1);
        checks.extend(rules.map(|(name, result)| check(name, result)));
        checks.push(check("way_back", way_back(manager, &before.plan, self.require_way_back)?));
        if self.purge {
            let detail = if package.cleans_up {
                "its files of configuration come back when it is undone; the package also deletes \
                 things with a program of its own, which do not"
            } else {
                "its files of configuration come back when it is undone"
            };
            checks.push(check("configuration", Ok(detail.to_owned())));
        }
        Ok(checks)
    }
}

pub(super) fn look(manager: &dyn PackageManager, name: &PackageName) -> Result<Package, HostError> {
    manager.packages(&[name.clone()].into())?.remove(name).ok_or_else(|| unknown(name))
}

/// Notes what the way to the goal changes, and how that is now.
fn take_along(
    state: &mut State,
    manager: &dyn PackageManager,
    wish: &Wish,
) -> Result<(), HostError> {
    state.plan = manager.simulate(wish)?;
    let others = state.plan.iter().map(|effect| effect.name.clone());
    let others = others.filter(|name| *name != state.name).collect();
    let others = manager.packages(&others)?;
    state.others = others.iter().map(|(name, package)| (name.clone(), package.into())).collect();
    Ok(())
}
