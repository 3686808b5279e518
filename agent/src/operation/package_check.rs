//! What is asked before a package is installed or removed.

use super::package_state::State;
use crate::host::package::{Effect, Package};
use crate::host::{HostError, PackageManager, PackageName, PackageVersion};

/// Name of a check, and what it found.
pub(super) type Rule = (&'static str, Result<String, String>);

pub(super) fn known(
    manager: &dyn PackageManager,
    name: &PackageName,
    package: &Package,
    version: Option<&PackageVersion>,
) -> Result<Result<String, String>, HostError> {
    let offered = manager.available(name)?;
    let text = offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let is_here =
        package.version.is_some() && version.is_none_or(|v| package.version.as_ref() == Some(v));
    Ok(match version {
        _ if is_here => Ok(format!("{name} is installed already")),
        None if offered.is_empty() => {
            Err(format!("the host's sources have no package {name}, as far as it has asked them"))
        }
        Some(version) if !offered.contains(version) => {
            let text = if text.is_empty() { "none at all".to_owned() } else { text };
            Err(format!("the host's sources have no {name} {version}, but: {text}"))
        }
        _ => Ok(format!("the host's sources have {name}: {text}")),
    })
}

pub(super) fn complete(manager: &dyn PackageManager) -> Result<Result<String, String>, HostError> {
    let unsettled = manager.unsettled()?;
    Ok(if unsettled.is_empty() {
        Ok("every package is installed completely".to_owned())
    } else {
        let names = unsettled.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        Err(format!(
            "an installation was not brought to an end, which has to be done first: {names}"
        ))
    })
}

pub(super) fn untouchable(before: &State) -> Result<String, String> {
    let mut names = before.plan.iter().map(|effect| &effect.name).chain([&before.name]);
    match names.find_map(|name| name.own().map(|why| (name, why))) {
        Some((name, why)) => Err(format!("{name} is not touched: {why}")),
        None => Ok(format!("{} may be installed", before.name)),
    }
}

pub(super) fn removable(name: &PackageName, package: &Package) -> Result<String, String> {
    match name.kept().or(package.needed) {
        Some(why) => Err(format!("{name} is not removed: {why}")),
        None if name.is_way_in() => {
            Ok(format!("{name} may be removed; people may reach the host through it"))
        }
        None => Ok(format!("{name} may be removed")),
    }
}

pub(super) fn not_held(before: &State) -> Result<String, String> {
    let others = before.others.iter().filter(|(_, kept)| kept.is_held).map(|(name, _)| name);
    let own = (before.package.is_held && !before.plan.is_empty()).then_some(&before.name);
    let held: Vec<&str> = others.chain(own).map(PackageName::as_str).collect();
    if held.is_empty() {
        Ok("nothing that would change is held".to_owned())
    } else {
        Err(format!("somebody holds what would change: {}; release it first", held.join(", ")))
    }
}

pub(super) fn list(effects: &[&Effect]) -> String {
    effects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether there is nothing of that kind, or it is allowed.
pub(super) fn allowed(
    is_allowed: bool,
    effects: &[&Effect],
    what: &str,
    parameter: &str,
) -> Result<String, String> {
    match effects {
        [] => Ok(format!("no packages are {what}")),
        some if is_allowed => Ok(format!("packages are {what}: {}", list(some))),
        some => {
            let text = list(some);
            Err(format!("packages would be {what}, which {parameter} does not allow: {text}"))
        }
    }
}

pub(super) fn removals(
    manager: &dyn PackageManager,
    is_allowed: bool,
    gone: &[&Effect],
) -> Result<Result<String, String>, HostError> {
    let names = gone.iter().map(|effect| effect.name.clone()).collect();
    let packages = manager.packages(&names)?;
    let kept = packages.iter().find_map(|(name, package)| removable(name, package).err());
    Ok(match kept {
        Some(why) => Err(why),
        None => allowed(is_allowed, gone, "removed", "allow_removals"),
    })
}

/// Those that an earlier version would replace.
pub(super) fn earlier<'a>(
    manager: &dyn PackageManager,
    plan: &'a [Effect],
) -> Result<Vec<&'a Effect>, HostError> {
    let mut earlier = Vec::new();
    for effect in plan {
        if let (Some(before), Some(after)) = (&effect.before, &effect.after)
            && manager.is_before(after, before)?
        {
            earlier.push(effect);
        }
    }
    Ok(earlier)
}

/// Whether this version can be installed again.
pub(super) fn can_be_had(
    manager: &dyn PackageManager,
    name: &PackageName,
    version: &PackageVersion,
) -> Result<bool, HostError> {
    Ok(manager.is_kept(name, version)? || manager.available(name)?.contains(version))
}

/// Whether everything that is replaced or removed can be had again.
pub(super) fn way_back(
    manager: &dyn PackageManager,
    plan: &[Effect],
    is_required: bool,
) -> Result<Result<String, String>, HostError> {
    let mut lost = Vec::new();
    for Effect { name, before, .. } in plan {
        if let Some(before) = before
            && !can_be_had(manager, name, before)?
        {
            lost.push(format!("{name} {before}"));
        }
    }
    if lost.is_empty() {
        let text = "everything that is replaced or removed can be had again, and is fetched and kept first";
        return Ok(Ok(text.to_owned()));
    }
    let text = lost.join(", ");
    let text = format!("the host's sources do not have any more what is there now: {text}");
    Ok(one_way(text, is_required))
}

/// What cannot be undone is refused unless that is wanted.
pub(super) fn one_way(why: String, is_required: bool) -> Result<String, String> {
    if is_required { Err(why) } else { Ok(format!("{why}; this cannot be undone")) }
}

pub(super) const fn way_back_sentence(is_required: bool) -> &'static str {
    if is_required {
        "The host keeps those versions: they are fetched before anything is changed."
    } else {
        "Only possible if those versions can be had: see the check way_back. Those that can are fetched before \
         anything is changed, and kept."
    }
}
