//! What is decided about undoing a change, on the change itself.

use crate::aggregate::Principal;
use crate::catalog::Reversibility;
use crate::change::decide::{proposer, system, wrong_state};
use crate::change::event::{ChangeEvent, Draft};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Execution, Outcome};
use crate::id::{ChangeId, RunId};
use crate::time::Timestamp;

/// Why this change may not be rolled back, or the execution that would be undone.
///
/// `later` are changes that were applied to one of its targets afterwards and still stand.
pub fn may_roll_back<'a>(
    state: &'a ChangeState,
    by: &Principal,
    at: Timestamp,
    later: &[ChangeId],
) -> Result<&'a Execution, No> {
    let finish = match state {
        ChangeState::Finished(finish) => finish,
        ChangeState::Absent => return Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "only an executed change can be rolled back"));
        }
    };
    proposer(by)?;
    match finish.how {
        Outcome::Complete
        | Outcome::Failed
        | Outcome::RollbackPartial
        | Outcome::RollbackBlocked => {}
        Outcome::Unknown => {
            return Err(wrong_state(
                state,
                "what is unknown has to be settled before it is undone",
            ));
        }
        Outcome::RollingBack { .. } => {
            return Err(wrong_state(state, "a rollback of it is running already"));
        }
        Outcome::RolledBack => return Err(wrong_state(state, "there is nothing left to undo")),
    }
    undoable(&finish.execution, at, later)
}

/// Why this execution is not undone, whoever asks.
pub(super) fn undoable<'a>(
    execution: &'a Execution,
    at: Timestamp,
    later: &[ChangeId],
) -> Result<&'a Execution, No> {
    if execution.subject.rollback_of.is_some() {
        return Err(No::NotInState {
            state: "a rollback",
            wanted: "to go forward again, make a new change",
        });
    }
    for step in execution.plan.shown() {
        match &step.reversibility {
            Reversibility::OneWay { why } => return Err(No::OneWay { why: why.clone() }),
            Reversibility::Reversible | Reversibility::CompensateOnly { .. } => {}
        }
    }
    in_time(execution, at)?;
    if !later.is_empty() {
        return Err(No::OutOfOrderRollback { blocking: later.to_vec() });
    }
    Ok(execution)
}

/// Whether a rollback of the change may go on, as far as time is concerned: asked again at every step of its
/// way, and last when it begins to run.
pub fn is_in_time(undone: &ChangeState, at: Timestamp) -> Result<(), No> {
    match undone {
        ChangeState::Finished(finish) => in_time(&finish.execution, at),
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Closed(_) => Ok(()),
    }
}

/// The limit itself is too late: what it is needed for may be gone by then.
fn in_time(execution: &Execution, at: Timestamp) -> Result<(), No> {
    match execution.undo_until {
        Some(until) if at >= until => Err(No::TooLateToUndo { until }),
        Some(_) | None => Ok(()),
    }
}

/// What the rollback of a change is a request for.
pub fn rollback_draft(undone: ChangeId, draft: &Draft) -> Draft {
    Draft {
        title: format!("Roll back: {}", draft.title).chars().take(200).collect(),
        reason: format!("Undoes change {undone}."),
        window: None,
        rollout: draft.rollout.map(|strategy| strategy.back(draft.targets.len())),
        auto_rollback: false,
        ..draft.clone()
    }
}

pub(super) fn start_rollback(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    rollback: ChangeId,
    run: RunId,
    later: Vec<ChangeId>,
) -> Result<Vec<ChangeEvent>, No> {
    system(by)?;
    match state {
        ChangeState::Finished(finish) => match finish.how {
            Outcome::Complete
            | Outcome::Failed
            | Outcome::RollbackPartial
            | Outcome::RollbackBlocked => {
                in_time(&finish.execution, at)?;
                // Asked for, and perhaps approved, when none of them was there.
                if later.is_empty() {
                    Ok(vec![ChangeEvent::RollbackStarted { rollback, run }])
                } else {
                    Err(No::OutOfOrderRollback { blocking: later })
                }
            }
            Outcome::RollingBack { run: running, .. } if running == run => Ok(Vec::new()),
            Outcome::Unknown | Outcome::RollingBack { .. } | Outcome::RolledBack => {
                Err(wrong_state(state, "it cannot be rolled back now"))
            }
        },
        ChangeState::Absent => Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Closed(_) => {
            Err(wrong_state(state, "only an executed change can be rolled back"))
        }
    }
}
