//! What a schedule is, and when it comes next.

use std::collections::BTreeSet;

use crate::id::{ChangeId, PersonId};
use crate::schedule::event::{Template, Timing};
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScheduleState {
    #[default]
    Absent,
    Standing(Box<Standing>),
    Deleted(Box<Standing>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub owner: PersonId,
    /// People other than the owner who edited it.
    pub editors: BTreeSet<PersonId>,
    pub template: Template,
    pub timing: Timing,
    pub paused: bool,
    /// Every tick until this moment was fired or skipped, or does not count.
    pub ticked: Timestamp,
    /// The change of the last tick that was fired.
    pub last: Option<ChangeId>,
}

impl Standing {
    /// The first tick that was neither fired nor skipped; none while it is paused.
    pub fn next(&self) -> Option<Timestamp> {
        if self.paused { None } else { self.timing.slots().next_start(self.ticked) }
    }
}
