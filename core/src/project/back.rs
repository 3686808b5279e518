//! Going back as a whole: what was applied of a project is undone, newest first.
//!
//! Newest is what was executed last, by its place in the log. Who comes after another has been executed after
//! it, so that this order is that of the project backwards; and it is the order that rollbacks of the same
//! target have to keep anyway. One member is undone at a time: what is not undone yet stands as it was
//! meant to, on all that came before it.

use std::collections::BTreeMap;

use crate::aggregate::Principal;
use crate::id::{ChangeId, PersonId};
use crate::project::decide::{cut, system};
use crate::project::event::ProjectEvent;
use crate::project::rejection::ProjectRejection as No;
use crate::project::state::{Phase, ProjectState, Standing};

/// What stands of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It has not executed, or had no effect.
    Nothing,
    Undone,
    /// It executes, or is being rolled back.
    UnderWay,
    Applied(Applied),
}

/// An effect that stands, at least in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Position of the start of its execution.
    pub executed: u64,
    pub back: Back,
}

/// What has become of the rollback of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// It is to be made, or to be gone on with, by the name of that asking.
    ToPropose {
        asking: u32,
    },
    /// It is in review, waits for a window, or executes.
    UnderWay,
    Approved {
        rollback: ChangeId,
    },
    /// It will not be carried out by itself; why, in a sentence.
    Stopped {
        reason: String,
    },
}

impl Standing {
    /// The member that is undone now: the newest, once none is under way.
    pub fn next_back<'a>(
        &self,
        stands: &'a BTreeMap<ChangeId, Stands>,
    ) -> Option<(ChangeId, &'a Applied)> {
        let of = |change: &ChangeId| stands.get(change).unwrap_or(&Stands::UnderWay);
        if self.members.keys().any(|change| *of(change) == Stands::UnderWay) {
            return None;
        }
        let applied = stands.iter().filter_map(|(change, stands)| match stands {
            Stands::Applied(applied) if self.members.contains_key(change) => {
                Some((*change, applied))
            }
            Stands::Applied(_) | Stands::Nothing | Stands::Undone | Stands::UnderWay => None,
        });
        applied.max_by_key(|(change, applied)| (applied.executed, *change))
    }
}

/// What follows from what stands of the members.
pub(super) fn look_back(
    state: &ProjectState,
    by: &Principal,
    stands: &BTreeMap<ChangeId, Stands>,
) -> Result<Vec<ProjectEvent>, No> {
    system(by)?;
    let ProjectState::Standing(standing) = state else { return Ok(Vec::new()) };
    if !goes_back(state, None) {
        return Ok(Vec::new());
    }
    if let Some((change, applied)) = standing.next_back(stands) {
        return Ok(match &applied.back {
            Back::Stopped { reason } => {
                vec![ProjectEvent::BackBlocked { change, reason: cut(reason) }]
            }
            Back::ToPropose { .. } | Back::UnderWay | Back::Approved { .. } => Vec::new(),
        });
    }
    let is_settled = |change| matches!(stands.get(change), Some(Stands::Nothing | Stands::Undone));
    if standing.members.keys().all(is_settled) {
        return Ok(vec![ProjectEvent::WentBack {}]);
    }
    Ok(Vec::new())
}

pub(super) fn block_back(
    state: &ProjectState,
    by: &Principal,
    change: ChangeId,
    reason: &str,
    asked_by: PersonId,
) -> Result<Vec<ProjectEvent>, No> {
    system(by)?;
    // Somebody who asked meanwhile is not held up by what was found before.
    if !goes_back(state, Some(asked_by)) || !state.has(change) {
        return Ok(Vec::new());
    }
    Ok(vec![ProjectEvent::BackBlocked { change, reason: cut(reason) }])
}

/// Whether it goes back by itself, for this person when one is named.
pub(super) fn goes_back(state: &ProjectState, by: Option<PersonId>) -> bool {
    let ProjectState::Standing(standing) = state else { return false };
    match standing.phase {
        Phase::GoingBack { asked_by } => by.is_none_or(|by| by == asked_by),
        Phase::Open
        | Phase::Running { .. }
        | Phase::Blocked { .. }
        | Phase::Complete
        | Phase::BackBlocked { .. }
        | Phase::WentBack => false,
    }
}
