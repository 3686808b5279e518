//! Whether a change may run at a moment, until when that stays so, and when it is otherwise.
//!
//! Asks the two questions that the gates ask, [`CalendarState::in_the_way`] and [`CalendarState::closed`], of one
//! moment after another; it decides nothing by itself. Deliberately absent: overrides, which are of one change.

use std::collections::BTreeSet;

use crate::calendar::state::{CalendarState, Window};
use crate::freeze::{Closed, Frozen, Reach, phrase};
use crate::time::Timestamp;

/// Slots that follow each other without a gap are looked at so far ahead.
const MAX_SLOTS: usize = 200;

/// What the calendar answers of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub at: Timestamp,
    /// The freezes that are in force then, those that end last first.
    pub frozen: Vec<Frozen>,
    /// The maintenance windows that it is outside of.
    pub closed: Option<Closed>,
    /// While it is open: what ends that first. `None` when nothing that is known does, or not within 200 slots.
    pub ends: Option<End>,
    /// While it is not: the first moment at which it is. `None` when there is none.
    pub opens: Option<Timestamp>,
}

/// What ends the time in which a change may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Freeze { at: Timestamp, reason: String },
    Window { at: Timestamp },
}

impl End {
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Freeze { at, .. } | Self::Window { at } => *at,
        }
    }
}

impl Opening {
    pub const fn is_open(&self) -> bool {
        self.frozen.is_empty() && self.closed.is_none()
    }

    /// For people. `what` is such as `Changes of app_orders`.
    pub fn sentence(&self, what: &str) -> String {
        let at = self.at;
        let next = match self.opens {
            Some(opens) => format!("They may run from {opens} on."),
            None => "No moment is known at which they may run again.".to_owned(),
        };
        match (self.frozen.as_slice(), &self.closed) {
            ([], None) => match &self.ends {
                None => format!(
                    "{what} may run at {at}: no freeze holds them up, and no maintenance window is closed to them."
                ),
                Some(End::Freeze { at: end, reason }) => {
                    format!(
                        "{what} may run at {at} and until {end}, when the freeze “{reason}” begins."
                    )
                }
                Some(End::Window { at: end }) => {
                    format!(
                        "{what} may run at {at} and until {end}, when the maintenance window closes."
                    )
                }
            },
            ([], Some(closed)) => format!(
                "{what} may be approved and not run at {at}: they have to wait until {closed}. {next}"
            ),
            (frozen, _) => {
                format!(
                    "{what} may be neither approved nor run at {at}: {}. {next}",
                    phrase(frozen)
                )
            }
        }
    }
}

impl CalendarState {
    /// What is in the way of a change at this moment, and until when.
    pub fn opening(&self, at: Timestamp, reach: &Reach) -> Opening {
        let frozen = self.in_the_way(at, reach, &BTreeSet::new());
        let closed = self.closed(at, reach);
        let is_open = frozen.is_empty() && closed.is_none();
        Opening {
            at,
            ends: if is_open { self.end(at, reach) } else { None },
            opens: if is_open { None } else { self.opens(at, reach) },
            frozen,
            closed,
        }
    }

    /// The first moment from this one on at which nothing is in the way.
    fn opens(&self, at: Timestamp, reach: &Reach) -> Option<Timestamp> {
        let mut moment = at;
        // Each freeze is left behind once, and between two of them lies one slot that has to begin.
        for _ in 0..=2 * self.freezes.len() + 1 {
            let frozen = self.in_the_way(moment, reach, &BTreeSet::new());
            moment = match (frozen.first(), self.closed(moment, reach)) {
                (Some(longest), _) => longest.end,
                (None, None) => return Some(moment),
                (None, Some(closed)) => closed.opens?,
            };
        }
        None
    }

    fn end(&self, at: Timestamp, reach: &Reach) -> Option<End> {
        let freeze = self
            .freezes
            .values()
            .filter(|freeze| freeze.ended.is_none() && freeze.start > at)
            .filter(|freeze| freeze.scope.covers(reach))
            .min_by_key(|freeze| freeze.start)
            .map(|freeze| End::Freeze { at: freeze.start, reason: freeze.reason.clone() });
        let window = self.closes(at, reach).map(|at| End::Window { at });
        freeze.into_iter().chain(window).min_by_key(End::at)
    }

    /// When the last of the slots closes that follow each other from this moment on.
    fn closes(&self, at: Timestamp, reach: &Reach) -> Option<Timestamp> {
        let covering: Vec<&Window> =
            self.standing().filter(|window| window.scope.covers(reach)).collect();
        let mut moment = at;
        for _ in 0..MAX_SLOTS {
            let open = covering.iter().filter_map(|window| window.slots.open(moment));
            match open.map(|slot| slot.end).max() {
                Some(end) => moment = end,
                None => return (moment > at).then_some(moment),
            }
        }
        None
    }
}
