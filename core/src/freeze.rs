//! What the calendar, a project and a change have to know of each other. Pure facts, of no aggregate: the
//! calendar says which freezes are in force and whether a maintenance window is open, the change which of them it
//! may pass; a project says which other changes have to be complete before it.

use std::collections::BTreeSet;
use std::fmt;

use crate::id::{ChangeId, FreezeId};
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

/// No maintenance window is open that covers the change, and some do cover it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the one that opens next.
    pub window: String,
    /// `None` when none of them ever opens again.
    pub opens: Option<Timestamp>,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { window, opens } = self;
        match opens {
            Some(opens) => write!(f, "the maintenance window “{window}” opens at {opens}"),
            None => write!(f, "the maintenance window “{window}” never opens again"),
        }
    }
}

/// What is in the way of a change at one moment, and no responder let it pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InTheWay {
    /// Forbids to approve and to execute.
    pub frozen: Vec<Frozen>,
    /// Forbids to execute.
    pub closed: Option<Closed>,
    /// What it comes after, and is not complete. Forbids to execute.
    pub waits_for: Vec<Dependency>,
    /// Changes under way that it meets, and that come first. Forbids to execute where the policy that it
    /// was submitted under says so.
    pub meets: Vec<Meeting>,
}

/// A change under way that comes first at something that both touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    pub change: ChangeId,
    /// The one that people know it by, where that is known.
    pub number: Option<u64>,
    /// What it is, such as `executing`.
    pub state: &'static str,
    /// A sentence.
    pub how: String,
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, number, state, how } = self;
        match number {
            Some(number) => write!(f, "#{number} ({state}): {how}"),
            None => write!(f, "{change} ({state}): {how}"),
        }
    }
}

/// All that a change meets, in one phrase.
pub fn meetings(meets: &[Meeting]) -> String {
    let all: Vec<_> = meets.iter().map(ToString::to_string).collect();
    all.join(" ")
}

/// A change that has to be complete first, and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub change: ChangeId,
    /// The one that people know it by, where that is known.
    pub number: Option<u64>,
    /// What it is, such as `approved`.
    pub state: &'static str,
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "#{number} ({})", self.state),
            None => write!(f, "{} ({})", self.change, self.state),
        }
    }
}

/// All that a change waits for, in one phrase.
pub fn names(waits_for: &[Dependency]) -> String {
    let all: Vec<_> = waits_for.iter().map(ToString::to_string).collect();
    all.join(" and ")
}

/// All of them, in one phrase.
pub fn phrase(frozen: &[Frozen]) -> String {
    let all: Vec<_> = frozen.iter().map(ToString::to_string).collect();
    all.join(" and ")
}
