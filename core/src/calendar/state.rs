//! The freezes that still matter and the maintenance windows, and the one question that each kind answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::event::Scope;
use crate::freeze::{Closed, Frozen, Reach};
use crate::id::{FreezeId, WindowId};
use crate::recurrence::Recurrence;
use crate::time::Timestamp;

/// Freezes that are long over are forgotten when the next one is declared; the log keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalendarState {
    pub freezes: BTreeMap<FreezeId, Freeze>,
    pub windows: BTreeMap<WindowId, Window>,
}

/// A maintenance window, as defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub name: String,
    pub scope: Scope,
    pub slots: Recurrence,
    pub removed: bool,
}

/// As declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub scope: Scope,
    pub start: Timestamp,
    /// The first moment that is free again.
    pub end: Timestamp,
    pub reason: String,
    /// Set when an admin ended it before its time was over.
    pub ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at: Timestamp,
    pub reason: String,
}

impl CalendarState {
    /// The freezes that hold a change up at this moment, those that end last first.
    ///
    /// The only place that decides this: approvals, executions, rollbacks and every intent of a run
    /// ask here, and so does whatever says what a change waits for.
    pub fn in_the_way(
        &self,
        at: Timestamp,
        reach: &Reach,
        overridden: &BTreeSet<FreezeId>,
    ) -> Vec<Frozen> {
        let mut frozen: Vec<_> = self
            .freezes
            .iter()
            .filter(|(id, freeze)| {
                freeze.is_in_force(at) && freeze.scope.covers(reach) && !overridden.contains(id)
            })
            .map(|(id, freeze)| Frozen {
                freeze: *id,
                reason: freeze.reason.clone(),
                end: freeze.end,
            })
            .collect();
        frozen.sort_by_key(|frozen| std::cmp::Reverse(frozen.end));
        frozen
    }

    /// The maintenance windows that this moment is outside of, when a change has to be inside of one.
    ///
    /// A change that no window covers may run at any time; one that several cover, in the slots of each.
    /// The only place that decides this, like [`Self::in_the_way`].
    pub fn closed(&self, at: Timestamp, reach: &Reach) -> Option<Closed> {
        let covering = || self.standing().filter(|window| window.scope.covers(reach));
        let first = covering().next()?;
        if covering().any(|window| window.slots.open(at).is_some()) {
            return None;
        }
        let next =
            covering().filter_map(|w| Some((w.slots.next_start(at)?, w))).min_by_key(|n| n.0);
        let opens = next.map(|(start, _)| start);
        Some(Closed { window: next.map_or(first, |(_, window)| window).name.clone(), opens })
    }

    /// Those that were not removed.
    pub fn standing(&self) -> impl Iterator<Item = &Window> {
        self.windows.values().filter(|window| !window.removed)
    }

    /// What is in force at this moment, whatever it covers.
    pub fn in_force(&self, at: Timestamp) -> impl Iterator<Item = &Freeze> {
        self.freezes.values().filter(move |freeze| freeze.is_in_force(at))
    }
}

impl Freeze {
    /// From its start until just before its end, unless an admin ended it.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.ended.is_none() && self.start <= at && at < self.end
    }
}

impl Scope {
    pub fn covers(&self, reach: &Reach) -> bool {
        match self {
            Self::All => true,
            Self::Environment { environment } => reach.environments.contains(environment),
            Self::Tag { tag } => reach.tags.contains(tag),
        }
    }
}
