//! What a freeze and a change have to know of each other. Pure facts, of no aggregate: the calendar
//! says which freezes are in force, the change which of them it may pass.

use std::collections::BTreeSet;
use std::fmt;

use crate::id::FreezeId;
use crate::risk::Environment;
use crate::time::Timestamp;

/// What a change touches, as of the moment that is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The one that it was submitted for, and every label that its connection and its targets have.
    pub environments: Vec<Environment>,
    /// Of its targets.
    pub tags: BTreeSet<String>,
}

/// A freeze that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    pub freeze: FreezeId,
    pub reason: String,
    /// The first moment that is free again.
    pub end: Timestamp,
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the freeze “{}” until {}", self.reason, self.end)
    }
}

/// All of them, in one phrase.
pub fn phrase(frozen: &[Frozen]) -> String {
    let all: Vec<_> = frozen.iter().map(ToString::to_string).collect();
    all.join(" and ")
}
