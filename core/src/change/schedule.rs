//! Execution that has been asked for, now or when it becomes possible: the change stays approved,
//! remembers who asked, and starts by itself once its window opens, after the same checks.

use crate::aggregate::Principal;
use crate::change::conflict::first_of_all;
use crate::change::decide::{checked_size, checked_text, may_execute, system, wrong_state};
use crate::change::event::ChangeEvent;
use crate::change::freeze::{independent, unfrozen};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{Approval, ChangeState};
use crate::freeze::{Closed, InTheWay};
use crate::id::RunId;
use crate::time::Timestamp;

const MAX_TEXT: usize = 2000;

/// An operator asks: it starts, or is scheduled for when it may.
pub(super) fn start(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    run: RunId,
    in_the_way: InTheWay,
) -> Result<Vec<ChangeEvent>, No> {
    let approval = may_execute(state, by, at)?;
    unfrozen(in_the_way.frozen)?;
    independent(in_the_way.waits_for)?;
    first_of_all(approval, in_the_way.meets)?;
    match opens(approval, at, in_the_way.closed)? {
        Some(opens) => Ok(schedule(approval, opens)),
        None => Ok(vec![started(approval, run)?]),
    }
}

/// The timer asks for whoever had asked, with the roles that they have now.
///
/// What speaks against it for good takes it out of the schedule, and says why; what will pass moves it.
pub(super) fn start_scheduled(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    asker: &Principal,
    run: RunId,
    in_the_way: InTheWay,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    let ChangeState::Approved(Approval { scheduled: Some(scheduled), .. }) = state else {
        return Err(wrong_state(state, "it is not scheduled"));
    };
    if asker.actor.person() != Some(scheduled.by) {
        return Err(No::Denied { needed: "the person who had asked for it" });
    }
    let thaw = in_the_way.frozen.iter().map(|frozen| frozen.end).max();
    let decided = may_execute(state, asker, at).and_then(|approval| {
        independent(in_the_way.waits_for)?;
        first_of_all(approval, in_the_way.meets)?;
        let opens = opens(approval, at, in_the_way.closed)?.max(thaw);
        match opens {
            Some(opens) => Ok(schedule(approval, opens)),
            None => Ok(vec![started(approval, run)?]),
        }
    });
    Ok(decided.unwrap_or_else(|no| vec![ChangeEvent::Unscheduled { reason: no.to_string() }]))
}

/// The runtime found that the target is not what was planned, or that nobody may have it run.
pub(super) fn unschedule(
    state: &ChangeState,
    by: &Principal,
    reason: String,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    match state {
        ChangeState::Approved(Approval { scheduled: Some(_), .. }) => {
            Ok(vec![ChangeEvent::Unscheduled { reason: checked_text("reason", reason, MAX_TEXT)? }])
        }
        ChangeState::Absent => Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Ok(Vec::new()),
    }
}

/// The first moment after this one at which its own window and a maintenance window are open, as far
/// as can be said now; `None` when they are open.
pub(super) fn opens(
    approval: &Approval,
    at: Timestamp,
    closed: Option<Closed>,
) -> Result<Option<Timestamp>, No> {
    let own = approval.submission.subject.draft.window;
    let maintenance = match closed {
        Some(Closed { opens: None, window }) => return Err(No::NeverOpens { window }),
        Some(Closed { opens, .. }) => opens,
        None => None,
    };
    let opens = own.map(|window| window.start).filter(|start| at < *start).max(maintenance);
    if let Some(opens) = opens {
        let end = own.map_or(approval.until, |window| window.end.min(approval.until));
        if opens >= end {
            return Err(No::OpensTooLate { opens, end });
        }
    }
    Ok(opens)
}

fn schedule(approval: &Approval, opens: Timestamp) -> Vec<ChangeEvent> {
    if approval.scheduled.is_some_and(|scheduled| scheduled.opens == opens) {
        return Vec::new();
    }
    vec![ChangeEvent::Scheduled { opens, asked_by: None }]
}

/// A plan that no run could begin with would execute for ever.
pub(super) fn started(approval: &Approval, run: RunId) -> Result<ChangeEvent, No> {
    let plan = &approval.submission.plan;
    checked_size(plan)?;
    Ok(ChangeEvent::ExecutionStarted { run, digest: plan.digest.clone() })
}
