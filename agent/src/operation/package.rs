//! `host.install_package` and `host.remove_package`.
//!
//! Before anything is changed the package manager is asked what it would do: every package that would be
//! installed, replaced or removed stands in the plan. What the parameters do not allow is refused, and
//! what is not in the plan is not done. Deliberately absent: refreshing the lists of what can be had,
//! upgrading a whole host, removing what nobody needs any more, and purging anything when an installation is
//! undone.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::catalog::EffectClass;
use nexplane_core::id::JobId;
use nexplane_core::plan::{Check, DiffLine, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::package_change::{Change, bring, examine, look, provide, take_along};
use super::package_check::{
    Rule, allowed, earlier, known, list, not_held, one_way, removable, removals, untouchable,
    way_back, way_back_sentence,
};
use super::package_state::{State, read_files, unknown};
use super::{Meta, Operation, check, is_no, is_yes, yes};
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

/// What the two have in common.
macro_rules! package {
    () => {
        type State = State;

        /// Which files a package touches is the package's; the owner's policy names the operation.
        fn paths(&self) -> Vec<&HostPath> {
            Vec::new()
        }

        fn validate(&self, host: &dyn Host) -> Vec<Check> {
            examine(self, host)
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

        fn provide(
            &self,
            host: &dyn Host,
            job: &JobId,
            before: &State,
            back_to: Option<&State>,
        ) -> Result<(), HostError> {
            match back_to {
                Some(state) => state.provide(host, job),
                None => provide(self, host, job, before),
            }
        }

        fn bring(
            &self,
            host: &dyn Host,
            from: Option<&State>,
            to: &State,
        ) -> Result<(), HostError> {
            match from {
                Some(from) => bring(self, host, from, to),
                None => to.restore(host),
            }
        }
    };
}

impl Operation for InstallPackage {
    const META: Meta = Meta {
        id: "host.install_package",
        title: "Install package",
        description: "Installs a package, or a version of it, from the host's own sources. Every other \
                      package that this would change is in the plan. Undone by installing the versions \
                      that were there before and removing what came with it; configuration files and \
                      data stay.",
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
            "Brings {} and what came with it back to the versions of before. What was not there before is removed, \
             not purged: its configuration files and its data stay. {certain}",
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
        let lost = take_along(&mut state, manager.as_ref(), &package, &wish)?;
        state.files = read_files(host, lost.into_iter())?;
        Ok(state)
    }

    fn intended(&self, _host: &dyn Host, before: &State) -> Result<State, HostError> {
        let planned = before.plan.iter().find(|effect| effect.name == self.name);
        let version = match planned {
            Some(effect) => effect.after.clone(),
            None => before.package.version.clone(),
        };
        let mut after = State { others: BTreeMap::new(), plan: Vec::new(), ..before.clone() };
        // For whatever somebody makes of them then.
        after.files = Vec::new();
        after.package.version = version;
        after.package.is_settled = true;
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
}

impl Change for InstallPackage {
    fn name(&self) -> &PackageName {
        &self.name
    }

    fn requires_way_back(&self) -> bool {
        self.require_way_back
    }

    fn wish(&self, now: &State) -> Wish {
        let is_right = self.version.is_none() || now.package.version == self.version;
        if now.plan.is_empty()
            && now.package.is_settled
            && now.package.version.is_some()
            && is_right
        {
            return Wish::default();
        }
        Wish {
            install: BTreeMap::from([(self.name.clone(), self.version.clone())]),
            may_downgrade: self.allow_downgrade,
            ..Wish::default()
        }
    }

    fn known(
        &self,
        manager: &dyn PackageManager,
        package: &Package,
    ) -> Result<Result<String, String>, HostError> {
        known(manager, &self.name, package, self.version.as_ref())
    }

    fn rules(&self, manager: &dyn PackageManager, before: &State) -> Result<Vec<Rule>, HostError> {
        let others = || before.plan.iter().filter(|effect| effect.name != self.name);
        let came: Vec<&Effect> = others().filter(|effect| effect.after.is_some()).collect();
        let gone: Vec<&Effect> = others().filter(|effect| effect.after.is_none()).collect();
        let earlier = earlier(manager, &before.plan)?;
        let [come, back] = [
            (&came, self.allow_dependencies, "installed or replaced", "allow_dependencies"),
            (&earlier, self.allow_downgrade, "replaced by earlier ones", "allow_downgrade"),
        ]
        .map(|(effects, is_allowed, what, parameter)| {
            allowed(is_allowed, effects, what, parameter)
        });
        Ok(vec![
            ("package_allowed", untouchable(before)),
            ("not_held", not_held(before)),
            ("other_packages", come),
            ("removals", removals(manager, self.allow_removals, &gone)?),
            ("downgrades", back),
        ])
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
        state.residue = Some(package.is_residue);
        let mut files = BTreeSet::new();
        if package.version.is_some() {
            state.leaves_residue = package.leaves_residue;
            let wish = self.wish(&state);
            files = take_along(&mut state, manager.as_ref(), &package, &wish)?;
        }
        if self.purge && (package.version.is_some() || package.is_residue) {
            files.extend(package.conffiles);
        }
        state.files = read_files(host, files.into_iter())?;
        Ok(state)
    }

    fn intended(&self, _host: &dyn Host, before: &State) -> Result<State, HostError> {
        let mut after = State::of(&self.name, &Package { is_settled: true, ..Package::default() });
        let leaves = before.leaves_residue || before.residue == Some(true);
        after.residue = Some(leaves && !self.purge);
        Ok(after)
    }

    package!();
}

impl Change for RemovePackage {
    fn name(&self) -> &PackageName {
        &self.name
    }

    fn requires_way_back(&self) -> bool {
        self.require_way_back
    }

    fn wish(&self, now: &State) -> Wish {
        let is_there = now.package.version.is_some();
        let mut wish = Wish::default();
        if self.purge && (is_there || now.residue == Some(true)) {
            wish.purge.insert(self.name.clone());
        } else if is_there {
            wish.remove.insert(self.name.clone());
        }
        wish
    }

    fn known(
        &self,
        manager: &dyn PackageManager,
        package: &Package,
    ) -> Result<Result<String, String>, HostError> {
        match &package.version {
            Some(version) => Ok(Ok(format!("{} is there: {version}", self.name))),
            None if package.is_residue => {
                Ok(Ok(format!("{} is there: configuration only", self.name)))
            }
            None => known(manager, &self.name, package, None),
        }
    }

    fn allowed(&self, package: &Package) -> Option<Rule> {
        Some(("package_allowed", removable(&self.name, package)))
    }

    fn rules(&self, _manager: &dyn PackageManager, before: &State) -> Result<Vec<Rule>, HostError> {
        let others: Vec<&Effect> =
            before.plan.iter().filter(|effect| effect.name != self.name).collect();
        let others = match others.as_slice() {
            [] => Ok(format!("no other package needs {}", self.name)),
            some => {
                let text = list(some);
                Err(format!("other packages would change with it: {text}; remove those first"))
            }
        };
        Ok(vec![("not_held", not_held(before)), ("other_packages", others)])
    }

    fn way_back(
        &self,
        manager: &dyn PackageManager,
        package: &Package,
        before: &State,
    ) -> Result<Result<String, String>, HostError> {
        if self.purge && package.is_residue {
            let why = format!(
                "of {} only the configuration is left, and the package database cannot be told that again",
                self.name
            );
            return Ok(one_way(why, self.require_way_back));
        }
        way_back(manager, &before.plan, self.require_way_back)
    }

    fn notes(&self, package: &Package) -> Option<Check> {
        let detail = if package.cleans_up {
            "its files of configuration come back when it is undone; the package also deletes \
             things with a program of its own, which do not"
        } else {
            "its files of configuration come back when it is undone"
        };
        self.purge.then(|| check("configuration", Ok(detail.to_owned())))
    }
}
