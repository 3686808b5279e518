//! What a project is, and which of its members come before which.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChangeId, PersonId};
use crate::project::command::Became;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProjectState {
    #[default]
    Absent,
    Standing(Box<Standing>),
    Closed(Box<Standing>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub name: String,
    pub description: String,
    /// Each with the members that have to be complete before it may start.
    pub members: BTreeMap<ChangeId, BTreeSet<ChangeId>>,
    pub phase: Phase,
    /// How many times somebody asked for it to go back.
    pub askings_back: u32,
    /// When somebody last had it go back, or closed it.
    pub stopped: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// In whose name members are started.
    Running {
        asked_by: PersonId,
    },
    Blocked {
        change: ChangeId,
        reason: String,
    },
    Complete,
    /// In whose name members are undone.
    GoingBack {
        asked_by: PersonId,
    },
    BackBlocked {
        change: ChangeId,
        reason: String,
    },
    WentBack,
}

impl ProjectState {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Closed(_) => "closed",
            Self::Standing(standing) => match standing.phase {
                Phase::Open => "open",
                Phase::Running { .. } => "running",
                Phase::Blocked { .. } => "blocked",
                Phase::Complete => "complete",
                Phase::GoingBack { .. } => "going back",
                Phase::BackBlocked { .. } => "blocked in its going back",
                Phase::WentBack => "undone",
            },
        }
    }

    /// What a change has to come after here: nothing when it is no member, or the project is closed.
    pub fn before(&self, change: ChangeId) -> impl Iterator<Item = ChangeId> {
        let members = match self {
            Self::Standing(standing) => standing.members.get(&change),
            Self::Absent | Self::Closed(_) => None,
        };
        members.into_iter().flatten().copied()
    }

    /// What the project of a member is, when somebody had it go back or closed it after that moment. That a
    /// member ended badly does not stop those that were started before.
    pub fn stopped_since(&self, change: ChangeId, moment: Timestamp) -> Option<&'static str> {
        let (Self::Standing(standing) | Self::Closed(standing)) = self else { return None };
        let is_since = standing.stopped.is_some_and(|stopped| stopped >= moment);
        (is_since && standing.members.contains_key(&change)).then(|| self.name())
    }

    /// Whether a change is a member of it, and it is not closed.
    pub fn has(&self, change: ChangeId) -> bool {
        matches!(self, Self::Standing(standing) if standing.members.contains_key(&change))
    }
}

impl Standing {
    /// The members that may be started now.
    pub fn ready(&self, became: &BTreeMap<ChangeId, Became>) -> Vec<ChangeId> {
        let is = |change: &ChangeId, wanted: &Became| became.get(change) == Some(wanted);
        let ready = |(change, after): (&ChangeId, &BTreeSet<ChangeId>)| {
            let free = after.iter().all(|before| is(before, &Became::Complete));
            (free && is(change, &Became::Approved)).then_some(*change)
        };
        self.members.iter().filter_map(ready).collect()
    }

    /// A circle that there would be if the change came after these: from it to what it comes after, and so
    /// on. Members that are on no way back to the change are visited once.
    pub fn cycle(&self, change: ChangeId, after: &BTreeSet<ChangeId>) -> Option<Vec<ChangeId>> {
        let mut seen = BTreeSet::new();
        let mut ways: Vec<Vec<ChangeId>> = after.iter().map(|first| vec![change, *first]).collect();
        while let Some(way) = ways.pop() {
            let Some(&last) = way.last() else { continue };
            if last == change {
                let mut cycle = way;
                cycle.pop();
                return Some(cycle);
            }
            if !seen.insert(last) {
                continue;
            }
            for next in self.members.get(&last).into_iter().flatten() {
                ways.push(way.iter().copied().chain([*next]).collect());
            }
        }
        None
    }
}
