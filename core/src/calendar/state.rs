//! The freezes that still matter, and the one question that all of them answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::event::Scope;
use crate::freeze::{Frozen, Reach};
use crate::id::FreezeId;
use crate::time::Timestamp;

/// Freezes that are long over are forgotten when the next one is declared; the log keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalendarState {
    pub freezes: BTreeMap<FreezeId, Freeze>,
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
