//! Units of systemd.
//!
//! What could not be brought back exactly is not switched: of such a unit it is said instead of its state.

use std::collections::BTreeSet;

use nexplane_agent::host::{HostError, Unit, UnitName};

use super::super::command::{Command, Switch};
use super::super::switch::{Switched, hindrance};
use super::super::unit::{Links, Unit as Shown};
use super::Remote;
use crate::sdk::ConnectorError;

/// Other units that stop when one stops (`systemd.unit(5)`).
const STOP_WITH_IT: [&str; 5] =
    ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];
/// Most units that are looked at because of one.
const MANY: usize = 256;

/// Others that run, and that stop with it or start it again; and what runs and stops when it starts.
#[derive(Default)]
struct Others {
    stops: Vec<String>,
    triggers: Vec<String>,
    displaces: Vec<String>,
}

impl Remote {
    pub(super) fn service(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.left()?;
        self.runtime.block_on(self.shown(name)).map_err(|error| self.lost(error))
    }

    async fn shown(&self, name: &UnitName) -> Result<Option<Unit>, ConnectorError> {
        let unit = Shown::find(&self.session, name).await?;
        let links = Links::find(&self.session, name).await?;
        if !unit.is_loaded() && links.state.is_empty() {
            return Ok(None);
        }
        let others = self.others(name, &unit).await?;
        let mut file_state = links.state.clone();
        if let Some(enabled) = links.enabled() {
            let now = Switched {
                enabled,
                links: links.paths,
                active: unit.is_active(),
                settled: unit.is_settled(),
            };
            let fixed = others.stops.iter().find(|other| {
                other.parse::<UnitName>().map_or(true, |other| other.denied().is_some())
            });
            let links = hindrance(&self.session, name, &now).await?;
            let why = fixed.map(|other| format!("{other} would stop with it")).or(links);
            if let Some(why) = why {
                file_state = format!("{file_state}, which is not switched over SSH because {why},");
            }
        }
        Ok(Some(Unit {
            id: unit.get("Id").to_owned(),
            file_state,
            active: unit.is_active(),
            sub_state: unit.get("SubState").to_owned(),
            waiting: unit.get("SubState").starts_with("auto-restart"),
            stopping: unit.get("ActiveState") == "deactivating",
            ends_by_itself: unit.ends_by_itself(),
            stops: others.stops,
            displaces: others.displaces,
            triggers: others.triggers,
            ..Unit::default()
        }))
    }

    async fn others(&self, name: &UnitName, unit: &Shown) -> Result<Others, ConnectorError> {
        if !unit.is_active() {
            let displaces = self.running(&unit.list("Conflicts"), false).await?;
            let displaces = displaces.into_iter().map(|(name, _)| name).collect();
            return Ok(Others { displaces, ..Others::default() });
        }
        let triggers = self.running(&unit.list("TriggeredBy"), false).await?;
        let mut found = BTreeSet::from([name.to_string()]);
        let mut next = vec![unit.clone()];
        while let Some(unit) = next.pop() {
            let names = STOP_WITH_IT.iter().flat_map(|property| unit.list(property)).collect();
            for (other, unit) in self.running(&names, true).await? {
                if found.len() > MANY {
                    break;
                }
                if found.insert(other) {
                    next.extend(unit);
                }
            }
        }
        found.remove(name.as_str());
        let triggers = triggers.into_iter().map(|(name, _)| name).collect();
        Ok(Others { stops: found.into_iter().collect(), triggers, ..Others::default() })
    }

    /// Of these units those that run. Of what is no service, socket, timer or path nothing is known here; with
    /// `also` it is there as well.
    async fn running(
        &self,
        names: &BTreeSet<&str>,
        also: bool,
    ) -> Result<Vec<(String, Option<Shown>)>, ConnectorError> {
        let known: Vec<UnitName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let shown = Shown::all(&self.session, &known).await?;
        let running = shown.into_iter().filter(|unit| unit.is_loaded() && unit.is_active());
        let mut found: Vec<_> =
            running.map(|unit| (unit.get("Id").to_owned(), Some(unit))).collect();
        if also {
            let others = names.iter().filter(|name| name.parse::<UnitName>().is_err());
            found.extend(others.map(|&name| (name.to_owned(), None)));
        }
        Ok(found)
    }

    pub(super) fn enable(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        let to = if enabled { Switch::Enable } else { Switch::Disable };
        self.change(&Command::Switch { unit: name, to })
    }

    pub(super) fn activate(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        let to = if active { Switch::Start } else { Switch::Stop };
        self.change(&Command::Switch { unit: name, to })
    }
}
