//! What happens to a change in the name of somebody who asked for it beforehand: the owner of a schedule, or
//! whoever had a project executed; and how it joins one.
//!
//! The same decisions as when they ask themselves, with the roles that they have at that moment. Nothing
//! is ever approved, overridden or settled in somebody's name.

use crate::aggregate::{Asked, Principal};
use crate::change::command::ChangeCommand;
use crate::change::decide::{A_PERSON, decide, draft_new, operator, person, system, wrong_state};
use crate::change::event::{ChangeEvent, Draft};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Finish, Outcome};
use crate::id::{ChangeId, PersonId, ProjectId, ScheduleId};
use crate::time::Timestamp;

const ITS_OWNER: &str =
    "the owner of the schedule that made it, or whoever had its project executed";

/// The most characters of why something was given up.
const MAX_WHY: usize = 2000;

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

/// A program of whoever asked proposes: the project. The rollback belongs to it, and is no member.
pub(super) fn draft_for_project(
    state: &ChangeState,
    by: &Principal,
    draft: Draft,
    rollback_of: ChangeId,
    project: ProjectId,
) -> Result<Vec<ChangeEvent>, No> {
    let mut events = draft_new(state, by, draft, Some(rollback_of))?;
    events.push(ChangeEvent::JoinedProject { project });
    Ok(events)
}

/// What a schedule made, and can not bring to where it waits for people, is not left in the schedule's way.
pub(super) fn give_up(
    state: &ChangeState,
    by: &Principal,
    reason: &str,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    match state {
        ChangeState::Draft(drafting) if drafting.subject.schedule.is_some() => {
            let reason = reason.chars().filter(|char| *char != '\0').take(MAX_WHY).collect();
            Ok(vec![ChangeEvent::Cancelled { reason }])
        }
        ChangeState::Draft(_) => Err(No::Denied { needed: ITS_OWNER }),
        ChangeState::Absent
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            Err(wrong_state(state, "only a draft that a schedule made can be given up"))
        }
    }
}

/// What has begun to execute has its place already; what is complete may be come after.
pub(super) fn join_project(
    state: &ChangeState,
    by: &Principal,
    project: ProjectId,
    member_of: Option<ProjectId>,
) -> Result<Vec<ChangeEvent>, No> {
    let subject = match state {
        ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Finished(Finish { how: Outcome::Complete, .. }) => state.subject(),
        ChangeState::Absent
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    };
    let wanted = "only what is yet to execute, or complete, joins a project";
    let subject = subject.ok_or_else(|| wrong_state(state, wanted))?;
    person(by)?;
    operator(by)?;
    if subject.project == Some(project) {
        return Ok(Vec::new());
    }
    match member_of {
        Some(project) => Err(No::InOtherProject { project }),
        None => Ok(vec![ChangeEvent::JoinedProject { project }]),
    }
}

pub(super) fn on_behalf(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    asker: Principal,
    project: Option<ProjectId>,
    command: ChangeCommand,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    let Some(subject) = state.subject() else { return Err(No::NotFound) };
    let person = asker.actor.person();
    let may = match project {
        // Members are submitted by people; the rollbacks that the project made, by whoever asked for them.
        Some(_) => {
            let is_own_back = subject.rollback_of.is_some() && person == Some(subject.author);
            subject.project == project && (is_own_back || !is_submission(&command))
        }
        None => subject.schedule.is_some() && person == Some(subject.author),
    };
    if !may {
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

const fn is_submission(command: &ChangeCommand) -> bool {
    matches!(command, ChangeCommand::Submit { .. })
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
