//! `host.enable_service` and `host.disable_service`: one pair, two directions.
//!
//! What stops with a service, and what its start starts, belongs to its state: an undo starts the former again, and
//! stops the latter as long as nobody else needs it. What could not be brought back is refused; what an undo would
//! not stop is named.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Meta, Operation, check, field_diff, line};
use crate::host::{Host, HostError, HostPath, Unit, UnitName};

/// Starts a service, now and with every start of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableService {
    /// Its unit, by its own name: a service, socket, timer or path of systemd.
    #[schemars(example = "rsync.service")]
    pub unit: UnitName,
}

/// Stops a service, and keeps it from starting with the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableService {
    /// Its unit, by its own name: a service, socket, timer or path of systemd.
    #[schemars(example = "cron.service")]
    pub unit: UnitName,
}

/// Whether it runs, and whether it starts with the host; and what goes with it as long as it is not where it is
/// brought.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    enabled: bool,
    active: bool,
    /// Others, and whether they run: those that run and stop with it, or those that do not and that its start
    /// starts. Of the latter one that runs because somebody else needs it counts as one that does not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    others: BTreeMap<UnitName, bool>,
    /// Others that its start starts, too, and that nobody stops when that is undone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    stay: BTreeSet<String>,
}

const UP: State = State::of(true, true);
const DOWN: State = State::of(false, false);

impl State {
    const fn of(enabled: bool, active: bool) -> Self {
        Self { enabled, active, others: BTreeMap::new(), stay: BTreeSet::new() }
    }

    /// What it does to others on the way to `to`, for people.
    fn along(&self, to: &Self) -> Vec<String> {
        let names = |running: bool| {
            let others = self.others.iter().filter(|(_, is)| **is == running);
            others.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (stopped, started) = (names(true), names(false));
        let stay = self.stay.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut said = Vec::new();
        if !to.active && !stopped.is_empty() {
            said.push(format!("{stopped} stops with it, and an undo starts it again"));
        }
        if to.active && !started.is_empty() {
            said.push(format!(
                "{started} is started with it, and an undo stops it if nobody else needs it then"
            ));
        }
        if to.active && !stay.is_empty() {
            said.push(format!("{stay} is started with it, and stays when that is undone"));
        }
        said
    }
}

fn word(is_active: bool) -> &'static str {
    if is_active { "active" } else { "inactive" }
}

/// What the two have in common; `goal` is the state that they lead to.
macro_rules! direction {
    ($goal:expr) => {
        type State = State;

        fn paths(&self) -> Vec<&HostPath> {
            Vec::new()
        }

        fn may_cut_line(&self) -> bool {
            line::hangs_on_unit(&self.unit)
        }

        fn rollback(&self) -> String {
            format!(
                "Makes {} run, and start with the host, as it did before, and so what stopped or was \
                 started with it.",
                self.unit
            )
        }

        fn validate(&self, host: &dyn Host) -> Vec<Check> {
            validate(host, &self.unit, &$goal)
        }

        fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
            look(host, &self.unit, &$goal)
        }

        fn intended(&self, _host: &dyn Host, _before: &State) -> Result<State, HostError> {
            Ok($goal)
        }

        /// What systemd starts again and again does not run.
        fn verify(&self, host: &dyn Host) -> Result<(bool, State), HostError> {
            let now = look(host, &self.unit, &$goal)?;
            let waiting = found(host, &self.unit)?.waiting;
            Ok((now == $goal && !waiting, now))
        }

        fn reread(&self, host: &dyn Host, like: &State) -> Result<State, HostError> {
            reread(host, &self.unit, like)
        }

        fn fields(state: &State) -> Vec<Field> {
            fields(state)
        }

        fn diff(target: &str, before: &State, after: &State) -> Vec<DiffLine> {
            diff(target, before, after)
        }

        /// The others follow the unit, each in its time.
        fn is_between(now: &State, from: &State, to: &State) -> bool {
            let is_either = |part: fn(&State) -> bool| {
                part(now) == part(from) || part(now) == part(to)
            };
            is_either(|state| state.enabled) && is_either(|state| state.active)
        }

        fn bring(
            &self,
            host: &dyn Host,
            from: Option<&State>,
            to: &State,
        ) -> Result<(), HostError> {
            bring(host, &self.unit, from, to)
        }
    };
}

impl Operation for EnableService {
    const META: Meta = Meta {
        id: "host.enable_service",
        title: "Enable service",
        description: "Starts a service of systemd, now and with every start of the host. Undone by \
                      making both as they were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        permissions: &["root, to manage units of systemd"],
    };

    fn example() -> Self {
        Self { unit: "rsync.service".parse().expect("the name is well formed") }
    }

    fn summary(&self, target: &str) -> String {
        format!("Starts {} on {target}, now and with every start.", self.unit)
    }

    direction!(UP);
}

impl Operation for DisableService {
    const META: Meta = Meta {
        id: "host.disable_service",
        title: "Disable service",
        description: "Stops a service of systemd and keeps it from starting with the host. Undone by \
                      making both as they were.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        permissions: &["root, to manage units of systemd"],
    };

    fn example() -> Self {
        Self { unit: "cron.service".parse().expect("the name is well formed") }
    }

    fn summary(&self, target: &str) -> String {
        format!("Stops {} on {target}, and keeps it from starting again.", self.unit)
    }

    direction!(DOWN);
}

fn found(host: &dyn Host, name: &UnitName) -> Result<Unit, HostError> {
    host.unit(name)?.ok_or_else(|| HostError::UnknownName { kind: "unit", name: name.to_string() })
}

fn refused(name: &UnitName, why: impl Into<String>) -> HostError {
    HostError::Service { unit: name.to_string(), why: why.into() }
}

/// The unit alone.
fn state(unit: &Unit) -> Result<State, HostError> {
    let refused = |why| Err(HostError::Service { unit: unit.id.clone(), why });
    if unit.stopping {
        return refused("it is about to stop; ask again when it has".to_owned());
    }
    match unit.enabled() {
        Some(enabled) => Ok(State::of(enabled, unit.active)),
        None => {
            refused(format!("it is {}, so it can be neither enabled nor disabled", unit.file_state))
        }
    }
}

/// The unit with what stops, or is started, when it is brought to the goal.
fn look(host: &dyn Host, name: &UnitName, goal: &State) -> Result<State, HostError> {
    let unit = found(host, name)?;
    let mut state = state(&unit)?;
    if state.active && !goal.active {
        let back = unit.stops.iter().filter_map(|other| switchable(name, other).ok());
        state.others = back.map(|other| (other, true)).collect();
    }
    if !state.active && goal.active {
        let family: BTreeSet<&str> =
            unit.starts.iter().map(String::as_str).chain([name.as_str()]).collect();
        for other in &unit.starts {
            let own = match switchable(name, other) {
                Ok(own) => is_needed_by(host, &own, &family)?.is_none().then_some(own),
                Err(_) => None,
            };
            match own {
                Some(own) => {
                    state.others.insert(own, false);
                }
                None => {
                    state.stay.insert(other.clone());
                }
            }
        }
    }
    Ok(state)
}

/// Another unit that is stopped and started with this one.
///
/// # Errors
/// Why it is not.
fn switchable(name: &UnitName, other: &str) -> Result<UnitName, String> {
    let other: UnitName =
        other.parse().map_err(|_| format!("{other} is no service, socket, timer or path"))?;
    if let Some(why) = other.denied() {
        return Err(format!("{other} is not switched: {why}"));
    }
    // Whether it is armed is decided by the unit that is asked for.
    if line::hangs_on_unit(&other) && !line::hangs_on_unit(name) {
        return Err(format!("the line may hang on {other}, which is switched by itself"));
    }
    Ok(other)
}

/// Who needs or wants the unit, of those that run and are not of the family.
fn is_needed_by(
    host: &dyn Host,
    name: &UnitName,
    family: &BTreeSet<&str>,
) -> Result<Option<String>, HostError> {
    let Some(unit) = host.unit(name)? else { return Ok(None) };
    let mut others = unit.needed_by.into_iter().chain(unit.stops);
    Ok(others.find(|other| !family.contains(other.as_str())))
}

/// Of these units those that run, and only because of the unit or of each other.
fn only_for(
    host: &dyn Host,
    name: &UnitName,
    units: impl Iterator<Item = UnitName>,
) -> Result<BTreeSet<UnitName>, HostError> {
    let mut own = BTreeSet::new();
    for unit in units {
        if is_active(host, &unit)? {
            own.insert(unit);
        }
    }
    // Who stays keeps what it needs, so each that falls out is a reason to look at the others again.
    loop {
        let family: BTreeSet<&str> =
            own.iter().map(UnitName::as_str).chain([name.as_str()]).collect();
        let mut needed = None;
        for unit in &own {
            if is_needed_by(host, unit, &family)?.is_some() {
                needed = Some(unit.clone());
                break;
            }
        }
        match needed {
            Some(unit) => {
                own.remove(&unit);
            }
            None => return Ok(own),
        }
    }
}

fn is_active(host: &dyn Host, name: &UnitName) -> Result<bool, HostError> {
    Ok(host.unit(name)?.is_some_and(|unit| unit.active))
}

/// The unit, and the others that another state has.
fn reread(host: &dyn Host, name: &UnitName, like: &State) -> Result<State, HostError> {
    let mut now = state(&found(host, name)?)?;
    let started = like.others.iter().filter(|(_, was)| !**was).map(|(other, _)| other.clone());
    let own = only_for(host, name, started)?;
    for (other, was) in &like.others {
        let is = if *was { is_active(host, other)? } else { own.contains(other) };
        now.others.insert(other.clone(), is);
    }
    now.stay.clone_from(&like.stay);
    Ok(now)
}

fn fields(state: &State) -> Vec<Field> {
    let own = [("enabled", state.enabled), ("active", state.active)];
    let own = own.into_iter().map(|(name, is)| Field::new(name, is));
    let others = state.others.iter().map(|(other, is)| Field::new(other.as_str(), word(*is)));
    own.chain(others).collect()
}

/// The unit's own switches, then what happens to others because of it.
pub(super) fn diff(target: &str, before: &State, after: &State) -> Vec<DiffLine> {
    let alone = |state: &State| fields(&State::of(state.enabled, state.active));
    let mut lines = field_diff(target, &alone(before), &alone(after));
    if before.active == after.active {
        return lines;
    }
    let mut other = |name: &str, was: bool, then: String| {
        lines.push(DiffLine {
            target: target.to_owned(),
            field: name.to_owned(),
            before: word(was).into(),
            after: then.into(),
        });
    };
    for (name, was) in &before.others {
        other(name.as_str(), *was, word(!*was).to_owned());
    }
    for name in &before.stay {
        other(name, false, format!("{}, and stays when this is undone", word(true)));
    }
    lines
}

/// Why the unit is not touched, whatever its state.
fn untouchable(name: &UnitName, unit: &Unit) -> Option<String> {
    if let Some(why) = name.denied() {
        return Some(why.to_owned());
    }
    if unit.is_own {
        return Some("the agent itself runs in it".to_owned());
    }
    (unit.id != name.as_str()).then(|| format!("it is another name of {}: use that one", unit.id))
}

/// What bringing it there would do besides, that undoing would not put back. `known` are the others of which it is
/// known how they were.
fn side_effect(
    name: &UnitName,
    unit: &Unit,
    now: &State,
    to: &State,
    known: &BTreeSet<UnitName>,
) -> Option<String> {
    let names = |units: &[String]| units.join(", ");
    if to.active && !now.active {
        if unit.ends_by_itself {
            return Some("it does its work once and ends, so it cannot be kept running".to_owned());
        }
        if !unit.displaces.is_empty() {
            return Some(format!("starting it would stop {}", names(&unit.displaces)));
        }
    }
    if now.active && !to.active {
        let known: BTreeSet<&str> = known.iter().map(UnitName::as_str).collect();
        let stranger = unit.stops.iter().find(|other| !known.contains(other.as_str()));
        if let Some(other) = stranger {
            let why = switchable(name, other).err();
            let why = why.map_or_else(String::new, |why| format!("; {why}"));
            return Some(format!("stopping it would stop {other}, too{why}"));
        }
    }
    if to.enabled && !now.enabled && !unit.partners.is_empty() {
        let partners = names(&unit.partners);
        return Some(format!("{partners} is enabled with it, and is already without it"));
    }
    None
}

fn bring(
    host: &dyn Host,
    name: &UnitName,
    from: Option<&State>,
    to: &State,
) -> Result<(), HostError> {
    // Before anything is asked: of these not even the state matters.
    if let Some(why) = name.denied() {
        return Err(refused(name, why));
    }
    if let Some(from) = from
        && look(host, name, to)? != *from
    {
        return Err(refused(name, "it was switched by somebody else in the meantime"));
    }
    switch(host, name, from, to)
}

/// Brings it there, from a state of which it is known how the others were.
pub(super) fn switch(
    host: &dyn Host,
    name: &UnitName,
    from: Option<&State>,
    to: &State,
) -> Result<(), HostError> {
    if let Some(why) = name.denied() {
        return Err(refused(name, why));
    }
    let unit = found(host, name)?;
    if let Some(why) = untouchable(name, &unit) {
        return Err(refused(name, why));
    }
    let now = state(&unit)?;
    let states = from.into_iter().chain([to]);
    let known = states.flat_map(|state| state.others.keys().cloned()).collect();
    if let Some(why) = side_effect(name, &unit, &now, to, &known) {
        return Err(refused(name, why));
    }
    if now.enabled != to.enabled {
        host.set_enabled(name, to.enabled)?;
    }
    if now.active != to.active {
        host.set_active(name, to.active)?;
    }
    let those = |running: bool| {
        let others = to.others.iter().filter(move |(_, is)| **is == running);
        others.map(|(other, _)| other.clone())
    };
    for other in those(true) {
        if !is_active(host, &other)? {
            host.set_active(&other, true)?;
        }
    }
    // What came with it goes with it, unless somebody needs it now.
    for other in only_for(host, name, those(false))? {
        if is_active(host, &other)? {
            host.set_active(&other, false)?;
        }
    }
    Ok(())
}

fn validate(host: &dyn Host, name: &UnitName, goal: &State) -> Vec<Check> {
    if let Some(why) = name.denied() {
        return vec![check("unit_allowed", Err(format!("{name} is not switched: {why}")))];
    }
    let unit = match found(host, name) {
        Ok(unit) => unit,
        Err(error) => return vec![check("unit_switchable", Err(error.sentence()))],
    };
    let allowed = match untouchable(name, &unit) {
        Some(why) => Err(format!("{name} is not switched: {why}")),
        None if name.is_way_in() && !goal.active => Ok(format!(
            "{name} may be switched by the agent, but people sign in through it: afterwards only the \
             agent reaches the host"
        )),
        None => Ok(format!("{name} may be switched by the agent")),
    };
    let now = state(&unit);
    let switchable = match &now {
        Ok(_) => Ok(format!("{name} is {} and {}", unit.file_state, unit.sub_state)),
        Err(error) => Err(error.sentence()),
    };
    let mut checks = vec![check("unit_allowed", allowed), check("unit_switchable", switchable)];
    if now.is_ok() {
        let nothing_else = match look(host, name, goal) {
            Ok(now) => nothing_else(name, &unit, &now, goal),
            Err(error) => Err(error.sentence()),
        };
        checks.push(check("nothing_else", nothing_else));
    }
    checks
}

fn nothing_else(name: &UnitName, unit: &Unit, now: &State, goal: &State) -> Result<String, String> {
    let known = now.others.keys().cloned().collect();
    if let Some(why) = side_effect(name, unit, now, goal, &known) {
        return Err(format!("{name}: {why}"));
    }
    let mut said = now.along(goal);
    if !goal.active && !unit.triggers.is_empty() {
        let triggers = unit.triggers.join(", ");
        said.push(format!("{triggers} can start {name} again"));
    }
    if !goal.enabled && !unit.partners.is_empty() {
        let partners = unit.partners.join(", ");
        said.push(format!("{partners} starts with the host as long as {name} does, and no longer"));
    }
    if said.is_empty() {
        return Ok("no other unit is switched".to_owned());
    }
    Ok(said.join("; "))
}
