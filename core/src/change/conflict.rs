//! Changes under way that meet: which comes first, and what becomes of the second.
//!
//! Two changes meet where one writes what the other writes or reads. A change writes its targets; it reads
//! what these are related to. Who that is, is looked up by the caller; that they run one after the other
//! is the runtime's to see to, whatever is decided here.

use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{Approval, ChangeState};
use crate::freeze::Meeting;
use crate::id::ChangeId;
use crate::policy::OnConflict;

/// Whether a change that meets this one comes first: it executes, or was approved before. Of two that were
/// approved in the same moment it is the one with the lower id, so that they never wait for each other.
pub fn comes_first(own: (ChangeId, &Approval), other: (ChangeId, &ChangeState)) -> bool {
    match other.1 {
        ChangeState::Executing(_) => true,
        ChangeState::Approved(approval) => (approval.since, other.0) < (own.1.since, own.0),
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => false,
    }
}

/// What the policy says of those that come first.
pub(super) fn first_of_all(approval: &Approval, meets: Vec<Meeting>) -> Result<(), No> {
    match approval.submission.quorum.on_conflict {
        OnConflict::Refuse if !meets.is_empty() => Err(No::Conflict { meets }),
        OnConflict::Refuse | OnConflict::Wait => Ok(()),
    }
}
