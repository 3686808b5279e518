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
            vec![
                check("unit_allowed", allowed(&self.unit)),
                check("unit_switchable", switchable(host, &self.unit)),
            ]
        }

        fn snapshot(&self, host: &dyn Host) -> Result<State, HostError> {
            let unit = found(host, &self.unit)?;
            let enabled = unit.enabled().ok_or_else(|| fixed(&unit))?;
            Ok(State { enabled, active: unit.active })
        }

        fn intended(&self, _host: &dyn Host, _before: &State) -> Result<State, HostError> {
            Ok($goal)
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
            if let Some(why) = self.unit.denied() {
                return Err(HostError::Service {
                    unit: self.unit.to_string(),
                    why: why.to_owned(),
                });
            }
            let now = self.snapshot(host)?;
            if from.is_some_and(|from| *from != now) {
                let why = "it was switched by somebody else in the meantime".to_owned();
                return Err(HostError::Service { unit: self.unit.to_string(), why });
            }
            if now.enabled != to.enabled {
                host.set_enabled(&self.unit, to.enabled)?;
            }
            if now.active != to.active {
                host.set_active(&self.unit, to.active)?;
            }
            Ok(())
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

fn fixed(unit: &Unit) -> HostError {
    let why = format!("it is {}, so it can be neither enabled nor disabled", unit.file_state);
    HostError::Service { unit: unit.id.clone(), why }
}

fn allowed(name: &UnitName) -> Result<String, String> {
    match name.denied() {
        None => Ok(format!("{name} may be switched by the agent")),
        Some(why) => Err(format!("{name} is not switched: {why}")),
    }
}

fn switchable(host: &dyn Host, name: &UnitName) -> Result<String, String> {
    let unit = found(host, name).map_err(|error| error.sentence())?;
    if unit.id != name.as_str() {
        return Err(format!("{name} is another name of {}: use that one", unit.id));
    }
    match unit.enabled() {
        Some(_) => Ok(format!("{name} is {} and {}", unit.file_state, unit.sub_state)),
        None => Err(fixed(&unit).sentence()),
    }
}
