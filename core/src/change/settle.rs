//! What became of a change that nobody could read back: a person looks, and says so.
//!
//! The run has tried before, for as long as it may (`server: runtime::settle`). What a person finds is
//! not a reading of the target: it has its own event, with their evidence, and stays. Where the target
//! can be read after all, nobody says the opposite of it.

use crate::actor::Role;
use crate::aggregate::Principal;
use crate::change::decide::{A_PERSON, checked_text, person, wrong_state};
use crate::change::event::{ChangeEvent, Found};
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Finish, Outcome};

/// The most characters of evidence.
const MAX_EVIDENCE: usize = 4000;

const OPERATOR_OR_ADMIN: &str = "the operator or the admin role";

/// As with approvals, the question whether it is their own comes first: author and editors want it
/// to have one of the two outcomes.
pub(super) fn settle(
    state: &ChangeState,
    by: &Principal,
    finding: Found,
    evidence: String,
    read: Option<Found>,
) -> Result<Vec<ChangeEvent>, No> {
    let execution = match state {
        ChangeState::Finished(Finish { execution, how: Outcome::Unknown, .. }) => execution,
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            return Err(wrong_state(state, "only an unknown outcome is settled by a person"));
        }
    };
    person(by)?;
    let finder = by.actor.person().ok_or(No::Denied { needed: A_PERSON })?;
    if execution.subject.is_own(finder) {
        return Err(No::OwnSettlement);
    }
    if !by.has_any(&[Role::Operator, Role::Admin]) {
        return Err(No::Denied { needed: OPERATOR_OR_ADMIN });
    }
    let evidence = checked_text("evidence", evidence, MAX_EVIDENCE)?;
    if read.is_some_and(|read| read != finding) {
        return Err(No::FindingContradicted);
    }
    Ok(vec![ChangeEvent::Settled { run: execution.run, finding, evidence }])
}
