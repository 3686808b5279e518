//! What happens to a change in the name of somebody who asked for it beforehand: the owner of a schedule.
//!
//! The same decisions as when they ask themselves, with the roles that they have at that moment. Nothing
//! is ever approved, overridden or settled in somebody's name.

use crate::aggregate::{Asked, Principal};
use crate::change::command::ChangeCommand;
use crate::change::decide::{A_PERSON, decide, draft_new, system};
use crate::change::event::{ChangeEvent, Draft};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Finish, Outcome};
use crate::id::{PersonId, ScheduleId};
use crate::time::Timestamp;

const ITS_OWNER: &str = "the owner of the schedule that made it";

/// A program of the owner proposes: the schedule.
pub(super) fn draft_for_schedule(
    state: &ChangeState,
    by: &Principal,
    draft: Draft,
    schedule: ScheduleId,
    editors: Vec<PersonId>,
) -> Result<Vec<ChangeEvent>, No> {
    let mut events = draft_new(state, by, draft, None)?;
    events.push(ChangeEvent::MadeBySchedule { schedule, editors });
    Ok(events)
}

pub(super) fn on_behalf(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    asker: Principal,
    command: ChangeCommand,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    let Some(subject) = state.subject() else { return Err(No::NotFound) };
    let person = asker.actor.person();
    if subject.schedule.is_none() || person != Some(subject.author) {
        return Err(No::Denied { needed: ITS_OWNER });
    }
    if !matches!(command, ChangeCommand::Submit { .. } | ChangeCommand::StartExecution { .. }) {
        return Err(No::Denied { needed: A_PERSON });
    }
    let mut events = decide(state, Asked { by: asker, at, command })?;
    for event in &mut events {
        if let ChangeEvent::Scheduled { asked_by, .. } = event {
            *asked_by = person;
        }
    }
    Ok(events)
}

impl ChangeState {
    /// Whether something is still to come of it: it may yet execute, executes, or nobody knows what became
    /// of it.
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Draft(_) | Self::Submitted(_) | Self::Approved(_) | Self::Executing(_) => true,
            Self::Finished(Finish { how, .. }) => {
                matches!(how, Outcome::Unknown | Outcome::RollingBack { .. })
            }
            Self::Absent | Self::Closed(_) => false,
        }
    }
}
