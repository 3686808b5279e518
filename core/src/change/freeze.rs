//! The emergency path: a responder lets one plan pass one freeze, or run outside of maintenance windows,
//! or breaks glass for it (`glass`), and somebody else looks at it afterwards.

use crate::actor::Role;
use crate::aggregate::Principal;
use crate::change::decide::{A_PERSON, checked_text, person, wrong_state};
use crate::change::event::ChangeEvent;
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Submission};
use crate::freeze::{Dependency, Frozen};
use crate::id::FreezeId;

const MAX_TEXT: usize = 2000;

const RESPONDER: &str = "the responder role";
const REVIEWER: &str = "the approver or the admin role";

/// Why somebody may not override anything, or break glass, for this change now, or what is in review.
///
/// As with approvals, the question whether it is their own comes first.
pub fn may_override<'a>(state: &'a ChangeState, by: &Principal) -> Result<&'a Submission, No> {
    let submission = match state {
        ChangeState::Submitted(submission) => submission,
        ChangeState::Approved(approval) => &approval.submission,
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "the emergency path is for a plan that is in review"));
        }
    };
    person(by)?;
    if by.actor.person().is_some_and(|person| submission.subject.is_own(person)) {
        return Err(No::OwnOverride);
    }
    if !by.has(Role::Responder) {
        return Err(No::Denied { needed: RESPONDER });
    }
    Ok(submission)
}

pub(super) fn override_freeze(
    state: &ChangeState,
    by: &Principal,
    freeze: FreezeId,
    covers: bool,
    justification: String,
) -> Result<Vec<ChangeEvent>, No> {
    let submission = may_override(state, by)?;
    let justification = checked_text("justification", justification, MAX_TEXT)?;
    if submission.subject.overrides.standing.contains(&freeze) {
        return Ok(Vec::new());
    }
    if !covers {
        return Err(No::NotCovered);
    }
    Ok(vec![ChangeEvent::FreezeOverridden { freeze, justification }])
}

pub(super) fn override_window(
    state: &ChangeState,
    by: &Principal,
    covers: bool,
    justification: String,
) -> Result<Vec<ChangeEvent>, No> {
    let submission = may_override(state, by)?;
    let justification = checked_text("justification", justification, MAX_TEXT)?;
    if submission.subject.overrides.windows {
        return Ok(Vec::new());
    }
    if !covers {
        return Err(No::NoWindow);
    }
    Ok(vec![ChangeEvent::WindowOverridden { justification }])
}

/// Once it has ended, one way or the other: before that there is nothing to look back at.
pub(super) fn review(
    state: &ChangeState,
    by: &Principal,
    comment: String,
) -> Result<Vec<ChangeEvent>, No> {
    let subject = match state {
        ChangeState::Finished(finish) => &finish.execution.subject,
        ChangeState::Closed(closing) => &closing.subject,
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_) => {
            return Err(wrong_state(
                state,
                "what responders did for it is reviewed after it has ended",
            ));
        }
    };
    person(by)?;
    let reviewer = by.actor.person().ok_or(No::Denied { needed: A_PERSON })?;
    if subject.overrides.unreviewed.is_empty() {
        return Err(No::NoReviewDue);
    }
    if subject.is_own(reviewer) || subject.overrides.unreviewed.contains(&reviewer) {
        return Err(No::OwnReview);
    }
    if !by.has_any(&[Role::Approver, Role::Admin]) {
        return Err(No::Denied { needed: REVIEWER });
    }
    let comment = checked_text("comment", comment, MAX_TEXT)?;
    Ok(vec![ChangeEvent::Reviewed { comment }])
}

/// Nothing passes what it comes after.
pub(super) fn independent(waits_for: Vec<Dependency>) -> Result<(), No> {
    if waits_for.is_empty() { Ok(()) } else { Err(No::DependencyMissing { waits_for }) }
}

/// Nothing passes a freeze.
pub(super) fn unfrozen(frozen: Vec<Frozen>) -> Result<(), No> {
    if frozen.is_empty() { Ok(()) } else { Err(No::Frozen { frozen }) }
}
