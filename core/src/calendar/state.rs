//! One struct per phase: a field that makes no sense in a phase does not exist there.

use crate::calendar::event::Scope;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CalendarState {
    #[default]
    Absent,
    Declared(Freeze),
    Ended(Ended),
}

/// As declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub scope: Scope,
    pub start: Timestamp,
    /// The first moment that is free again.
    pub end: Timestamp,
    pub reason: String,
}

/// Ended by an admin, before its time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub freeze: Freeze,
    pub at: Timestamp,
    pub reason: String,
}

impl CalendarState {
    /// Whether it holds anything up at this moment.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        match self {
            Self::Absent | Self::Ended(_) => false,
            Self::Declared(freeze) => freeze.start <= at && at < freeze.end,
        }
    }
}
