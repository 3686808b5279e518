//! What enabling and disabling share: whether a unit runs, and whether it starts with the host.
//!
//! Deliberately refused is what could not be undone exactly: a unit that takes others down with it or brings
//! them up, one that something else starts again, and one whose links systemd would not make again. The agent
//! can do more of that, because it sees more.

use std::collections::BTreeSet;

use nexplane_agent::host::UnitName;
use nexplane_core::plan::{Check, DiffLine, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::permission_checks;
use super::command::{Command, Switch};
use super::end::End;
use super::session::Session;
use super::unit::{Links, Unit, install_section, service_of};
use crate::sdk::{
    Advice, ConnectorError, DigestKey, ErrorKind, StepContext, TargetState, check, line,
};

/// Other units that stop when one stops (`systemd.unit(5)`).
const STOP_WITH_IT: [&str; 4] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"];
/// Other units that start when one starts.
const START_WITH_IT: [&str; 3] = ["Requires", "BindsTo", "Wants"];
/// What `enable` makes a link for, and in which directory of the other unit (`systemd.unit(5)`).
const LINKS: [(&str, &str); 2] = [("WantedBy", "wants"), ("RequiredBy", "requires")];
/// Beginnings of names of units: filters, whose start can shut us out, and networks and directories that we may come
/// in through.
const LINE: [&str; 20] = [
    "ferm.",
    "firewalld.",
    "ip6tables.",
    "ipsec.",
    "iptables.",
    "netfilter-persistent.",
    "nftables.",
    "nslcd.",
    "openvpn",
    "shorewall",
    "sssd",
    "strongswan",
    "tailscaled.",
    "tinc",
    "ufw.",
    "wg-quick@",
    "winbind.",
    "wireguard",
    "xl2tpd.",
    "zerotier-one.",
];
/// Where an administrator's links are.
const UNITS: &str = "/etc/systemd/system";

/// What is there of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Service {
    /// There is no such unit.
    Absent,
    /// It cannot be switched; systemd's word for it, such as `static` or `masked`.
    Fixed(String),
    Switched(Switched),
}

/// A unit that can be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switched {
    /// It starts with the host.
    pub enabled: bool,
    /// The links that say so, by their paths on disk.
    pub links: BTreeSet<String>,
    /// It runs, or is about to.
    pub active: bool,
    /// Neither is about to change by itself. It moves, so it is verified but not fingerprinted.
    pub settled: bool,
}

impl TargetState for Service {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Fixed(word) => vec![Field::new("state", word.as_str())],
            Self::Switched(it) => {
                let links: Vec<_> = it.links.iter().map(String::as_str).collect();
                vec![
                    Field::new("enabled", it.enabled),
                    Field::new("active", it.active),
                    Field::new("links", links),
                ]
            }
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "exists": false }),
            Self::Fixed(word) => json!({ "exists": true, "fixed": word }),
            Self::Switched(it) => {
                json!({ "enabled": it.enabled, "links": it.links, "active": it.active })
            }
        }
    }
}

/// Where an action leads: both on, or both off.
pub type Goal = bool;

fn state(unit: &Unit, links: Links) -> Service {
    if !unit.is_loaded() && links.state.is_empty() {
        return Service::Absent;
    }
    match links.enabled() {
        None => {
            let words = [links.state.as_str(), unit.get("LoadState")];
            let word = words.into_iter().find(|word| !word.is_empty()).unwrap_or("unknown");
            Service::Fixed(word.to_owned())
        }
        Some(enabled) => Service::Switched(Switched {
            enabled,
            links: links.paths,
            active: unit.is_active(),
            settled: unit.is_settled(),
        }),
    }
}

async fn read(session: &Session, name: &UnitName) -> Result<(Unit, Service), ConnectorError> {
    let unit = Unit::find(session, name).await?;
    let service = state(&unit, Links::find(session, name).await?);
    Ok((unit, service))
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Service, ConnectorError> {
    Ok(read(session, &service_of(target)?).await?.1)
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    goal: Goal,
) -> Result<Vec<Check>, ConnectorError> {
    let name = service_of(target)?;
    let (unit, state) = read(session, &name).await?;
    let mut checks = vec![match name.denied().or_else(|| way_in(&name)) {
        Some(why) => check("the unit may be switched", false, format!("{name} is not: {why}")),
        None => check(
            "the unit may be switched",
            true,
            "nothing that carries the host or the connection",
        ),
    }];
    let found = match &state {
        Service::Absent => Err(format!("there is no unit {name} on the host: run discovery again")),
        Service::Fixed(word) => {
            Err(format!("{name} is {word}, so it can be neither enabled nor disabled"))
        }
        Service::Switched(_) if unit.get("Id") != name.as_str() => {
            Err(format!("it is another name of {}: take that one as target", unit.get("Id")))
        }
        Service::Switched(it) if !it.settled => {
            Err(format!("{name} is {}: wait until that is over", unit.get("ActiveState")))
        }
        Service::Switched(_) if goal && unit.ends_by_itself() => {
            Err(format!("{name} ends when its work is done, so it cannot be kept running"))
        }
        Service::Switched(it) => Ok(format!("{name} is {}", words(it.enabled, it.active))),
    };
    let is_switched = found.is_ok();
    let (Ok(detail) | Err(detail)) = found;
    checks.push(check("the unit can be enabled and disabled", is_switched, detail));
    if let (Service::Switched(it), true) = (&state, is_switched) {
        let why = hindrance(session, &name, it).await?;
        let detail =
            why.clone().unwrap_or_else(|| "they are those of its [Install] section".to_owned());
        checks.push(check("its links can be made again", why.is_none(), detail));
        checks.push(others(session, &unit, goal).await?);
    }
    let (unit, to) = (&name, if goal { Switch::Enable } else { Switch::Disable });
    checks.extend(permission_checks(session, &[Command::Switch { unit, to }]).await?);
    Ok(checks)
}

/// Why the connection may hang on the unit: a start or a stop could cut it, and nothing would take that back.
fn way_in(name: &UnitName) -> Option<&'static str> {
    let hangs = LINE.iter().any(|beginning| name.as_str().starts_with(beginning));
    let may_hang =
        "the connection may hang on it, and who is cut off takes nothing back; the agent could";
    let is_way_in = name.is_way_in().then_some("the connection itself comes in through it");
    is_way_in.or_else(|| hangs.then_some(may_hang))
}

/// `disable` removes every link to the unit; `enable` makes those of `[Install]` and no others. So on disk there
/// must be exactly these, or none, according to whether it is enabled.
pub async fn hindrance(
    session: &Session,
    name: &UnitName,
    now: &Switched,
) -> Result<Option<String>, ConnectorError> {
    let files = session.read(&Command::UnitFiles(name)).await?;
    let install = install_section(&files);
    let others: Vec<_> = ["Also", "Alias", "DefaultInstance", "UpheldBy"]
        .into_iter()
        .filter(|option| install.contains_key(*option))
        .collect();
    if !others.is_empty() {
        let others = others.join(", ");
        return Ok(Some(format!("its [Install] section says {others}, which is not handled")));
    }
    let mut made = BTreeSet::new();
    for (option, directory) in LINKS {
        for by in install.get(option).into_iter().flatten() {
            made.insert(format!("{UNITS}/{by}.{directory}/{name}"));
        }
    }
    if made.is_empty() {
        return Ok(Some("its files have no [Install] section".to_owned()));
    }
    let list =
        |links: Vec<&String>| links.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let nothing = BTreeSet::new();
    let expected = if now.enabled { &made } else { &nothing };
    let foreign: Vec<_> = now.links.difference(expected).collect();
    let missing: Vec<_> = expected.difference(&now.links).collect();
    Ok(if !foreign.is_empty() {
        Some(format!("{} is there without its [Install] section saying so", list(foreign)))
    } else if !missing.is_empty() {
        Some(format!("{} is not there, although its [Install] section says so", list(missing)))
    } else {
        None
    })
}

/// Nothing else moves with the unit, and nothing starts it again.
async fn others(session: &Session, unit: &Unit, goal: Goal) -> Result<Check, ConnectorError> {
    let name =
        if goal { "nothing else starts or stops with it" } else { "nothing else stops with it" };
    let (properties, running): (&[&str], bool) =
        if goal { (&START_WITH_IT, false) } else { (&STOP_WITH_IT, true) };
    let mut found = Vec::new();
    if unit.is_active() != goal {
        found = of_state(session, unit, properties, running).await?;
        if goal {
            found.extend(of_state(session, unit, &["Conflicts"], true).await?);
        } else {
            found.extend(of_state(session, unit, &["TriggeredBy"], true).await?);
        }
    }
    let detail = if found.is_empty() {
        "none does".to_owned()
    } else if goal {
        format!(
            "{} would start or stop, too, and an undo could not tell: switch that first, by itself",
            found.join(", ")
        )
    } else {
        format!(
            "{} would stop with it or start it again: switch that first, by itself",
            found.join(", ")
        )
    };
    Ok(check(name, found.is_empty(), detail))
}

/// Of the units that stand in these properties those that run, or those that do not. Of those that are neither
/// services, sockets, timers nor paths nothing is known here: what would stop, such as a mount, is named; what
/// would start is there in any case.
async fn of_state(
    session: &Session,
    unit: &Unit,
    properties: &[&str],
    running: bool,
) -> Result<Vec<String>, ConnectorError> {
    let names: BTreeSet<_> = properties.iter().flat_map(|property| unit.list(property)).collect();
    let mut known = Vec::new();
    let mut moves = Vec::new();
    for name in names {
        match name.parse::<UnitName>() {
            Ok(name) => known.push(name),
            Err(_) if properties == STOP_WITH_IT => moves.push(name.to_owned()),
            Err(_) => {}
        }
    }
    let units = Unit::all(session, &known).await?;
    let others = units.iter().filter(|other| other.is_loaded() && other.is_active() == running);
    moves.extend(others.map(|other| other.get("Id").to_owned()));
    Ok(moves)
}

pub fn diff(target: &TargetRef, state: &Service, goal: Goal) -> Vec<DiffLine> {
    let Service::Switched(it) = state else { return Vec::new() };
    let mut diff = Vec::new();
    if it.enabled != goal {
        diff.push(line(target, "enabled", it.enabled, goal));
    }
    if it.active != goal {
        diff.push(line(target, "active", it.active, goal));
    }
    diff
}

/// Brings the unit to the goal.
pub async fn go(
    session: &Session,
    cx: &StepContext,
    before: &Service,
    goal: Goal,
) -> Result<bool, ConnectorError> {
    let from = switched(before)?;
    bring(session, cx, from, (from.enabled, from.active), (goal, goal)).await
}

/// Brings it back.
pub async fn back(
    session: &Session,
    cx: &StepContext,
    before: &Service,
    goal: Goal,
) -> Result<bool, ConnectorError> {
    let to = switched(before)?;
    bring(session, cx, to, (goal, goal), (to.enabled, to.active)).await
}

pub fn is_there(now: &Service, goal: Goal) -> bool {
    matches!(now, Service::Switched(it) if it.enabled == goal && it.active == goal && it.settled)
}

fn switched(state: &Service) -> Result<&Switched, ConnectorError> {
    match state {
        Service::Switched(it) => Ok(it),
        Service::Absent | Service::Fixed(_) => Err(ConnectorError::invalid(
            "the unit could not be switched before; nothing was changed",
        )),
    }
}

/// Each of the two is as it was or as it will be, or somebody else was at it.
async fn bring(
    session: &Session,
    cx: &StepContext,
    before: &Switched,
    from: (bool, bool),
    to: (bool, bool),
) -> Result<bool, ConnectorError> {
    let (name, end) = (service_of(&cx.step.target)?, End::of(cx));
    if let Some(why) = name.denied().or_else(|| way_in(&name)) {
        return Err(ConnectorError::invalid(format!("{name} is not switched: {why}")));
    }
    let moved = || {
        ConnectorError::conflict(format!(
            "somebody changed {name} since it was read; nothing was changed: plan again"
        ))
    };
    let (_, Service::Switched(now)) = read(session, &name).await? else { return Err(moved()) };
    let is_either = |now: bool, from: bool, to: bool| now == from || now == to;
    if !is_either(now.enabled, from.0, to.0) || !is_either(now.active, from.1, to.1) {
        return Err(moved());
    }
    if now.enabled == before.enabled && now.links != before.links {
        return Err(moved());
    }
    // What somebody else linked since would go with ours.
    if now.enabled
        && !to.0
        && let Some(why) = hindrance(session, &name, &now).await?
    {
        return Err(ConnectorError::conflict(format!("{name}: {why}; nothing was changed")));
    }
    let mut changed = false;
    for (is, wanted, on, off) in [
        (now.enabled, to.0, Switch::Enable, Switch::Disable),
        (now.active, to.1, Switch::Start, Switch::Stop),
    ] {
        if is != wanted {
            let switch = Command::Switch { unit: &name, to: if wanted { on } else { off } };
            if !changed {
                end.check()?;
            }
            let done = session.change(&switch, end.left()).await;
            done.map_err(|error| if changed { in_between(error, &name) } else { error })?;
            changed = true;
        }
    }
    Ok(changed)
}

fn in_between(mut error: ConnectorError, name: &UnitName) -> ConnectorError {
    if error.kind == ErrorKind::Unexpected || error.advice != Advice::OutcomeUnknown {
        error.message =
            format!("whether {name} starts with the host was changed, but then: {}", error.message);
    }
    error.advice = Advice::OutcomeUnknown;
    error
}

fn words(enabled: bool, active: bool) -> String {
    let enabled = if enabled { "enabled" } else { "disabled" };
    let active = if active { "active" } else { "inactive" };
    format!("{enabled} and {active}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_connection_may_hang_on_is_not_switched() {
        for unit in [
            "ssh.service",
            "firewalld.service",
            "nftables.service",
            "ufw.service",
            "wg-quick@wg0.service",
            "tailscaled.service",
            "sssd.service",
            "sssd-nss.socket",
        ] {
            assert!(way_in(&unit.parse().unwrap()).is_some(), "{unit}");
        }
        for unit in ["nginx.service", "haproxy.service", "docker.service", "cron.service"] {
            assert!(way_in(&unit.parse().unwrap()).is_none(), "{unit}");
        }
    }
}
