//! What is asked before a package is installed or removed.

use nexplane_agent::host::package::{Effect, Wish};
use nexplane_agent::host::{PackageName, debian};
use nexplane_core::plan::{Check, TargetRef};

use super::account::permission_checks;
use super::command::{Apt, Command, How};
use super::host::host_check;
use super::package::{Goal, Known, State};
use super::session::Session;
use crate::sdk::{ConnectorError, check};

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &State,
    goal: Goal<'_>,
) -> Result<Vec<Check>, ConnectorError> {
    let mut checks = vec![host_check(target)?];
    match state {
        State::Elsewhere => {}
        State::Refused(why) => checks.push(check("apt knows the way", false, why.as_str())),
        State::Known(known) => {
            checks.push(check("apt knows the way", true, list(known.plan.iter())));
            checks.push(complete(session).await?);
            checks.extend(rules(known, goal));
            checks.push(way_back(session, known).await?);
        }
    }
    checks.extend(permissions(session, goal).await?);
    Ok(checks)
}

/// What must be true of the plan, whatever was approved.
pub fn rules(known: &Known, goal: Goal<'_>) -> Vec<Check> {
    let others = || known.plan.iter().filter(|effect| effect.name != known.name);
    let gone: Vec<_> = others().filter(|effect| effect.after.is_none()).collect();
    let allowed = known.plan.iter().find_map(|effect| {
        let why = match &effect.after {
            Some(_) => effect.name.own().or_else(|| starts_filter(effect)).map(str::to_owned),
            None => known.get(&effect.name).and_then(|kept| kept.needed_for(&effect.name)),
        };
        why.map(|why| format!("{} is not touched: {why}", effect.name))
    });
    let ok = "nothing that carries the host or the connection";
    let mut checks = vec![answer("the packages may be changed", allowed, ok)];
    let held: Vec<_> = known
        .plan
        .iter()
        .filter(|effect| known.get(&effect.name).is_some_and(|kept| kept.is_held))
        .map(|effect| effect.name.as_str())
        .collect();
    let why = (!held.is_empty()).then(|| {
        let held = held.join(", ");
        format!("somebody holds {held}: release that first, with apt-mark unhold on the host")
    });
    checks.push(answer("nothing that would change is held", why, "nothing is"));
    match goal {
        Goal::Installed(_) => {
            let why = (!gone.is_empty()).then(|| {
                format!("{}: remove that first, as a change of its own", list(gone.into_iter()))
            });
            checks.push(answer("no other package is removed", why, "none is"));
            let why = (!known.earlier.is_empty()).then(|| {
                let names = known.earlier.join(", ");
                format!("an earlier version would replace the one that is there of {names}")
            });
            checks.push(answer("no earlier version comes", why, "none does"));
        }
        Goal::Removed => {
            let others: Vec<_> = others().collect();
            let why = (!others.is_empty()).then(|| {
                format!(
                    "others would change with it: {}; remove those first",
                    list(others.into_iter())
                )
            });
            checks.push(answer("no other package needs it", why, "none does"));
        }
    }
    checks
}

/// Of what Debian has, only this one filters as soon as it is there, with rules of its own.
fn starts_filter(effect: &Effect) -> Option<&'static str> {
    let comes = effect.before.is_none() && effect.name.as_str() == "firewalld";
    comes.then_some(
        "it filters as soon as it is there, and could cut the connection, which nothing would take back; the agent \
         could",
    )
}

/// A check that fails when there is a reason.
fn answer(name: &str, why: Option<String>, ok: &str) -> Check {
    match why {
        Some(why) => check(name, false, why),
        None => check(name, true, ok),
    }
}

fn list<'a>(effects: impl Iterator<Item = &'a Effect>) -> String {
    let text = effects.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "nothing is left to do but a mark, if that".to_owned() } else { text }
}

/// Nothing was interrupted, which apt would not touch anything before.
async fn complete(session: &Session) -> Result<Check, ConnectorError> {
    let said = session.read(&Command::AllPackages).await?;
    let unsettled = debian::unsettled(&said);
    let why = (!unsettled.is_empty()).then(|| {
        let names = unsettled.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        format!(
            "an installation was interrupted: {names}; as root on the host: dpkg --configure -a"
        )
    });
    Ok(answer("every package is installed completely", why, "it is"))
}

/// What is replaced or removed can be had again.
async fn way_back(session: &Session, known: &Known) -> Result<Check, ConnectorError> {
    let gone = || known.plan.iter().filter_map(|it| Some((&it.name, it.before.as_ref()?)));
    let names: Vec<_> = gone().map(|(name, _)| name.clone()).collect();
    let mut lost = Vec::new();
    if !names.is_empty() {
        let said = session.read(&Command::Offers(&names)).await?;
        let lost_ones =
            gone().filter(|(name, version)| !debian::versions(&said, name).contains(*version));
        lost.extend(lost_ones.map(|(name, version)| format!("{name} {version}")));
    }
    let why = (!lost.is_empty()).then(|| {
        let lost = lost.join(", ");
        format!(
            "the host's sources do not have any more what is there now, so it could not be put back: {lost}; the \
             agent could keep it"
        )
    });
    let ok = "the host's sources have what is replaced or removed";
    Ok(answer("it can be undone", why, ok))
}

/// The rules for sudo are the same whatever apt and dpkg are asked for; the way back needs all of them.
async fn permissions(session: &Session, goal: Goal<'_>) -> Result<Vec<Check>, ConnectorError> {
    let name: PackageName =
        "dpkg".parse().map_err(|why| ConnectorError::invalid(format!("{why}")))?;
    let wish = Wish { install: [(name.clone(), None)].into(), ..Wish::default() };
    let apt = Apt::new(&wish, How::CarryOut).ok().flatten();
    let packages = [name];
    let mark =
        Command::SetAutomatic { packages: &packages, automatic: matches!(goal, Goal::Removed) };
    let needed: Vec<_> =
        apt.iter().map(Command::Apt).chain([Command::Remove(&packages), mark]).collect();
    permission_checks(session, &needed).await
}
