//! Which freezes were in force, and which assets they cover by a tag.

use std::collections::{BTreeMap, BTreeSet};

use super::{CLOCK_SKEW_S, Seen};
use crate::asset::event::AssetEvent;
use crate::calendar::event::{CalendarEvent, Scope};
use crate::id::{AssetId, FreezeId};
use crate::risk::Environment;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Freezes {
    declared: BTreeMap<FreezeId, Declared>,
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
        let is_tagged = |tag: &String| {
            targets.iter().any(|target| self.tags.get(target).is_some_and(|t| t.contains(tag)))
        };
        self.declared
            .iter()
            .filter(|(_, declared)| declared.start <= at && at < declared.end)
            .filter(|(_, declared)| match &declared.scope {
                Scope::All => true,
                Scope::Environment { environment: frozen } => environment == Some(*frozen),
                Scope::Tag { tag } => is_tagged(tag),
            })
            .map(|(id, _)| *id)
            .collect()
    }
}
