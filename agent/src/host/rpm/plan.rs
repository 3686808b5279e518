//! What a front end is told, what it says that it would do, and what that makes of what is there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::database;
use crate::host::HostError;
use crate::host::package::{Effect, PackageName, PackageVersion, Wish, trouble};

/// A package as a front end is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) enum Word {
    Any(PackageName),
    Exact(PackageName, PackageVersion),
    /// A package that was kept.
    File(PathBuf),
}

/// What a front end shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::host) struct Task {
    pub come: Vec<Word>,
    pub gone: Vec<PackageName>,
    pub may_downgrade: bool,
    /// Only what is there is installed, once more.
    pub is_again: bool,
}

/// What a front end would do to one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Step {
    pub name: PackageName,
    pub architecture: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) enum Kind {
    /// Beside whatever is there.
    Install(PackageVersion),
    /// In place of what is there.
    Replace(PackageVersion),
    Again,
    Remove,
}

/// What the steps make of what is there, package by package.
pub(super) fn effects(
    steps: &[Step],
    now: &BTreeMap<PackageName, PackageVersion>,
    wish: &Wish,
) -> Result<Vec<Effect>, HostError> {
    let mut effects: BTreeMap<PackageName, Effect> = BTreeMap::new();
    for Step { name, architecture, kind } in steps {
        if !database::is_own(architecture) {
            return Err(trouble(name, database::OF_ANOTHER));
        }
        let before = now.get(name).cloned();
        let after = match kind {
            Kind::Install(_) if before.is_some() => {
                return Err(trouble(name, database::ONE_OF_MANY));
            }
            Kind::Install(version) | Kind::Replace(version) => Some(version.clone()),
            Kind::Again => continue,
            Kind::Remove => None,
        };
        let effect = Effect { name: name.clone(), before, after };
        if effects.insert(name.clone(), effect).is_some() {
            return Err(trouble(name, "it would change more than once"));
        }
    }
    for (name, version) in &wish.install {
        let after = match effects.get(name) {
            Some(effect) => effect.after.as_ref(),
            None => now.get(name),
        };
        if after.is_none() || version.as_ref().is_some_and(|version| after != Some(version)) {
            let instead: Vec<&str> = effects.keys().map(PackageName::as_str).collect();
            let instead =
                if instead.is_empty() { "nothing".to_owned() } else { instead.join(", ") };
            let why = format!(
                "the package manager does not install it: another package may have taken its place, or it \
                 is excluded; it would change {instead}"
            );
            return Err(trouble(name, why));
        }
    }
    let mut effects: Vec<Effect> = effects.into_values().collect();
    effects.retain(|effect| effect.before != effect.after);
    Ok(effects)
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

    fn step(text: &str, kind: Kind) -> Step {
        Step { name: name(text), architecture: "noarch".to_owned(), kind }
    }

    #[test]
    fn what_changes_is_told_with_what_is_there() {
        let now = [(name("lib"), version("1-1")), (name("old"), version("1-1"))].into();
        let steps = [
            step("lib", Kind::Replace(version("2-1"))),
            step("app", Kind::Install(version("1:1-1"))),
            step("old", Kind::Remove),
            step("same", Kind::Again),
        ];
        let wish = Wish { install: [(name("app"), None)].into(), ..Wish::default() };
        let effect = |text: &str, before: Option<&str>, after: Option<&str>| Effect {
            name: name(text),
            before: before.map(version),
            after: after.map(version),
        };
        let expected = [
            effect("app", None, Some("1:1-1")),
            effect("lib", Some("1-1"), Some("2-1")),
            effect("old", Some("1-1"), None),
        ];
        assert_eq!(effects(&steps, &now, &wish).unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_in_full_is_refused() {
        let now = [(name("kernel"), version("1-1"))].into();
        let nothing = Wish::default();
        let sentence =
            |steps: &[Step], wish: &Wish| effects(steps, &now, wish).unwrap_err().sentence();
        let kernel = [step("kernel", Kind::Install(version("2-1")))];
        assert!(sentence(&kernel, &nothing).contains("several versions"));
        let foreign = [Step { architecture: "i686".to_owned(), ..step("glibc", Kind::Remove) }];
        assert!(sentence(&foreign, &nothing).contains("another architecture"));
        let twice = [step("a1", Kind::Remove), step("a1", Kind::Replace(version("2-1")))];
        assert!(sentence(&twice, &nothing).contains("more than once"));
        // Another one in its place.
        let wish = Wish { install: [(name("nx-old"), None)].into(), ..Wish::default() };
        let told = sentence(&[step("nx-new", Kind::Install(version("1-1")))], &wish);
        assert!(told.contains("nx-old") && told.contains("would change nx-new"), "{told}");
        let wish = Wish { install: [(name("kernel"), Some(version("0-1")))].into(), ..wish };
        assert!(sentence(&[], &wish).contains("would change nothing"));
    }
}
