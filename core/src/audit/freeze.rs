//! Which freezes were in force, which maintenance windows there were, and which assets they cover by a tag.

use std::collections::{BTreeMap, BTreeSet};

use super::{CLOCK_SKEW_S, Seen};
use crate::asset::event::AssetEvent;
use crate::calendar::event::{CalendarEvent, Scope};
use crate::id::{AssetId, FreezeId, WindowId};
use crate::recurrence::Recurrence;
use crate::risk::Environment;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Freezes {
    declared: BTreeMap<FreezeId, Declared>,
    windows: BTreeMap<WindowId, Defined>,
    /// Of assets that have any.
    tags: BTreeMap<AssetId, Vec<String>>,
    /// Whether the report says that earlier freezes are not known.
    pub told: bool,
}

#[derive(Debug)]
struct Declared {
    scope: Scope,
    start: Timestamp,
    end: Timestamp,
}

#[derive(Debug)]
struct Defined {
    name: String,
    scope: Scope,
    slots: Recurrence,
}

impl Freezes {
    pub fn calendar(&mut self, seen: Seen, event: &CalendarEvent) {
        match event {
            CalendarEvent::FreezeDeclared { freeze, scope, start, end, reason: _ } => {
                let over = seen.at.plus_seconds(-CLOCK_SKEW_S);
                self.declared.retain(|_, declared| declared.end > over);
                let declared = Declared { scope: scope.clone(), start: *start, end: *end };
                // A second declaration of one freeze changes nothing: not to narrow it either.
                self.declared.entry(*freeze).or_insert(declared);
            }
            CalendarEvent::FreezeEnded { freeze, reason: _ } => {
                self.declared.remove(freeze);
            }
            CalendarEvent::WindowDefined { window, name, scope, slots } => {
                let (name, scope, slots) = (name.clone(), scope.clone(), slots.clone());
                self.windows.entry(*window).or_insert(Defined { name, scope, slots });
            }
            CalendarEvent::WindowRemoved { window, reason: _ } => {
                self.windows.remove(window);
            }
        }
    }

    pub fn asset(&mut self, seen: Seen, event: &AssetEvent) {
        let id = AssetId(seen.stream.id);
        match event {
            AssetEvent::Annotated { tags, .. } if tags.is_empty() => {
                self.tags.remove(&id);
            }
            AssetEvent::Annotated { tags, .. } => {
                self.tags.insert(id, tags.clone());
            }
            AssetEvent::Discovered { .. }
            | AssetEvent::Drifted { .. }
            | AssetEvent::Gone {}
            | AssetEvent::Returned { .. } => {}
        }
    }

    /// All tags of these assets.
    pub fn tags_of(&self, assets: &[AssetId]) -> BTreeSet<String> {
        assets.iter().filter_map(|asset| self.tags.get(asset)).flatten().cloned().collect()
    }

    /// The freezes that cover a change at this moment.
    pub fn covering(
        &self,
        at: Timestamp,
        environment: Option<Environment>,
        targets: &[AssetId],
    ) -> Vec<FreezeId> {
        self.declared
            .iter()
            .filter(|(_, declared)| declared.start <= at && at < declared.end)
            .filter(|(_, declared)| self.covers(&declared.scope, environment, targets))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A maintenance window that covers a change, when no window at all is open at this moment. What
    /// covers a change by labels that are not in the log's records of it may be open: nobody is accused
    /// for that.
    pub fn outside(
        &self,
        at: Timestamp,
        environment: Option<Environment>,
        targets: &[AssetId],
    ) -> Option<&str> {
        let covering =
            self.windows.values().find(|w| self.covers(&w.scope, environment, targets))?;
        let is_open = self.windows.values().any(|window| window.slots.open(at).is_some());
        (!is_open).then_some(&*covering.name)
    }

    fn covers(&self, scope: &Scope, environment: Option<Environment>, targets: &[AssetId]) -> bool {
        match scope {
            Scope::All => true,
            Scope::Environment { environment: covered } => environment == Some(*covered),
            Scope::Tag { tag } => {
                let tags_of = |target| self.tags.get(target);
                targets.iter().any(|target| tags_of(target).is_some_and(|t| t.contains(tag)))
            }
        }
    }
}
