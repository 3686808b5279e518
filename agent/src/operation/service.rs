//! `host.enable_service` and `host.disable_service`: one pair, two directions.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Meta, Operation, check, line};
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

/// Whether it runs, and whether it starts with the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    enabled: bool,
    active: bool,
}

const UP: State = State { enabled: true, active: true };
const DOWN: State = State { enabled: false, active: false };

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
            format!("Makes {} run, and start with the host, as it did before.", self.unit)
        }

        fn validate(&self, host: &dyn Host) -> Vec<Check> {
            validate(host, &self.unit, &$goal)
        }

        fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
            state(&found(host, &self.unit)?)
        }

        fn intended(&self, _host: &dyn Host, _before: &State) -> Result<State, HostError> {
            Ok($goal)
        }

        /// What systemd starts again and again does not run.
        fn verify(&self, host: &dyn Host) -> Result<(bool, State), HostError> {
            let unit = found(host, &self.unit)?;
            let now = state(&unit)?;
            Ok((now == $goal && !unit.waiting, now))
        }

        fn fields(state: &State) -> Vec<Field> {
            vec![Field::new("enabled", state.enabled), Field::new("active", state.active)]
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

fn state(unit: &Unit) -> Result<State, HostError> {
    let refused = |why| Err(HostError::Service { unit: unit.id.clone(), why });
    if unit.stopping {
        return refused("it is about to stop; ask again when it has".to_owned());
    }
    match unit.enabled() {
        Some(enabled) => Ok(State { enabled, active: unit.active }),
        None => {
            refused(format!("it is {}, so it can be neither enabled nor disabled", unit.file_state))
        }
    }
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

/// What bringing it there would do besides, that undoing would not put back.
fn side_effect(unit: &Unit, now: &State, to: &State) -> Option<String> {
    let names = |units: &[String]| units.join(", ");
    if to.active && !now.active {
        if unit.ends_by_itself {
            return Some("it does its work once and ends, so it cannot be kept running".to_owned());
        }
        if !unit.displaces.is_empty() {
            return Some(format!("starting it would stop {}", names(&unit.displaces)));
        }
    }
    if now.active && !to.active && !unit.stops.is_empty() {
        return Some(format!("stopping it would stop {}, too", names(&unit.stops)));
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
    let unit = found(host, name)?;
    if let Some(why) = untouchable(name, &unit) {
        return Err(refused(name, why));
    }
    let now = state(&unit)?;
    if from.is_some_and(|from| *from != now) {
        return Err(refused(name, "it was switched by somebody else in the meantime"));
    }
    if let Some(why) = side_effect(&unit, &now, to) {
        return Err(refused(name, why));
    }
    if now.enabled != to.enabled {
        host.set_enabled(name, to.enabled)?;
    }
    if now.active != to.active {
        host.set_active(name, to.active)?;
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
    if let Ok(now) = now {
        checks.push(check("nothing_else", nothing_else(name, &unit, &now, goal)));
    }
    checks
}

fn nothing_else(name: &UnitName, unit: &Unit, now: &State, goal: &State) -> Result<String, String> {
    if let Some(why) = side_effect(unit, now, goal) {
        return Err(format!("{name}: {why}"));
    }
    if !goal.active && !unit.triggers.is_empty() {
        let triggers = unit.triggers.join(", ");
        return Ok(format!("no other unit is switched, but {triggers} can start {name} again"));
    }
    if !goal.enabled && !unit.partners.is_empty() {
        let partners = unit.partners.join(", ");
        return Ok(format!(
            "{partners} starts with the host as long as {name} does, and no longer"
        ));
    }
    Ok("no other unit is switched".to_owned())
}
