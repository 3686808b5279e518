//! Who may approve: people, for themselves or for somebody who delegated it to them; and the seats that a
//! policy reserves for the owners of targets or for people whom it names.
//!
//! Everybody counts once in a quorum, whether as who gives an approval or as who it is given for. So a
//! delegation never makes two approvals of one, and nobody approves what they wrote through somebody else.

use crate::actor::Role;
use crate::aggregate::Principal;
use crate::change::decide::{A_PERSON, approved, person, wrong_state};
use crate::change::event::{ChangeEvent, Quorum};
use crate::change::freeze::unfrozen;
use crate::change::rejection::ChangeRejection as No;
use crate::change::state::{ChangeState, Given, Submission};
use crate::freeze::Frozen;
use crate::id::PersonId;
use crate::person::PersonState;
use crate::policy::{Known, Pool, seats};
use crate::time::Timestamp;

const MAX_COMMENT: usize = 2000;

/// Whose approval it is to be.
pub(super) struct OnBehalf<'a> {
    pub delegator: PersonId,
    pub account: &'a PersonState,
}

impl Given {
    /// Whom it counts for.
    pub fn of(&self) -> PersonId {
        self.delegator.unwrap_or(self.by)
    }

    /// Whether somebody is in both.
    fn shares(&self, other: &Self) -> bool {
        let people = [other.by, other.of()];
        people.contains(&self.by) || people.contains(&self.of())
    }
}

impl Submission {
    /// How many approvals are missing that have to be of somebody in particular.
    pub fn seats_lack(&self) -> u32 {
        let lacking = self.quorum.seats.iter().map(|seat| self.lacks(seat.approvals, &seat.people));
        lacking.fold(0, u32::saturating_add)
    }

    fn lacks(&self, wanted: u32, people: &[PersonId]) -> u32 {
        let given = self.approvals.iter().filter(|given| people.contains(&given.of())).count();
        wanted.saturating_sub(u32::try_from(given).unwrap_or(u32::MAX))
    }

    /// Whether it would bring the quorum nearer. One that would not is refused, so that nobody believes
    /// to have done what is left for those whom the policy names.
    fn gains(&self, given: &Given) -> bool {
        let count = u32::try_from(self.approvals.len()).unwrap_or(u32::MAX);
        let takes_seat = self.quorum.seats.iter().any(|seat| {
            seat.people.contains(&given.of()) && self.lacks(seat.approvals, &seat.people) > 0
        });
        let is_admin_wanted =
            self.quorum.admin && !self.approvals.iter().any(|given| given.as_admin);
        takes_seat
            || (is_admin_wanted && given.as_admin)
            || self.quorum.approvals.saturating_sub(count) > self.seats_lack()
            || self.quorum.seats.is_empty()
    }
}

/// What is in review, or why it is not.
pub(super) fn in_review(state: &ChangeState) -> Result<&Submission, No> {
    match state {
        ChangeState::Submitted(submission) => Ok(submission),
        ChangeState::Approved(approval) => Ok(&approval.submission),
        ChangeState::Absent => Err(No::NotFound),
        ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => {
            Err(wrong_state(state, "only a submitted change can be approved"))
        }
    }
}

/// With what the delegator has now, and only for the time that they said.
pub(super) fn approve_for(
    state: &ChangeState,
    by: &Principal,
    at: Timestamp,
    on_behalf: OnBehalf<'_>,
    digest: String,
    comment: Option<String>,
    frozen: Vec<Frozen>,
) -> Result<Vec<ChangeEvent>, No> {
    let OnBehalf { delegator, account } = on_behalf;
    let submission = in_review(state)?;
    person(by)?;
    let Some(approver) = by.actor.person() else {
        return Err(No::Denied { needed: A_PERSON });
    };
    // Both ways it would be their own: what they wrote, and what they have somebody say for them.
    if [approver, delegator].into_iter().any(|person| submission.subject.is_own(person)) {
        return Err(No::OwnApproval);
    }
    let roles = account
        .delegates(approver, at)
        .filter(|_| approver != delegator)
        .ok_or(No::NotDelegated)?;
    let as_admin = roles.contains(&Role::Admin);
    let given = Given { by: approver, at, as_admin, delegator: Some(delegator) };
    give(state, submission, given, digest, comment, frozen)
}

/// An approval by somebody who may.
pub(super) fn give(
    state: &ChangeState,
    submission: &Submission,
    given: Given,
    digest: String,
    comment: Option<String>,
    frozen: Vec<Frozen>,
) -> Result<Vec<ChangeEvent>, No> {
    if submission.plan.digest != digest {
        return Err(No::StaleDigest);
    }
    if comment.as_ref().is_some_and(|comment| comment.len() > MAX_COMMENT) {
        return Err(No::Invalid { field: "comment", problem: "at most 2,000 bytes".to_owned() });
    }
    let Given { at, as_admin, delegator, .. } = given;
    let same = |other: &Given| (other.by, other.delegator) == (given.by, given.delegator);
    if submission.standing(at).any(same) {
        return Ok(Vec::new());
    }
    if matches!(state, ChangeState::Approved(_)) {
        return Err(wrong_state(state, "its quorum is complete, it needs no more approvals"));
    }
    if submission.standing(at).any(|other| other.shares(&given)) {
        return Err(No::ApprovedAlready);
    }
    let before =
        Submission { approvals: submission.standing(at).copied().collect(), ..submission.clone() };
    if !before.gains(&given) {
        return Err(No::NotNamed { rule: submission.quorum.rule.clone() });
    }
    unfrozen(frozen)?;
    let mut after = before;
    after.add(given);
    let mut events =
        vec![ChangeEvent::ApprovalGiven { digest: digest.clone(), comment, as_admin, delegator }];
    if after.is_complete() {
        let oldest = after.approvals.iter().map(|given| given.at).min().unwrap_or(at);
        events.push(approved(digest, oldest, at, after.quorum.delay_s, after.quorum.valid_s));
    }
    Ok(events)
}

/// Puts into the quorum whom the policy's rule names, and refuses what none of them could approve.
pub(super) fn seat(
    state: &ChangeState,
    quorum: &mut Quorum,
    pool: Option<&Pool>,
    known: &Known,
) -> Result<(), No> {
    let (Some(pool), Some(subject)) = (pool, state.subject()) else { return Ok(()) };
    let (targets, rule) = (&subject.draft.targets, quorum.rule.clone());
    let taken = seats(pool, known, targets, |person| subject.is_own(person));
    quorum.seats = taken.map_err(|problem| No::NoApprover { rule, problem })?;
    // As many as there are owners, also where the rule asks for fewer.
    let reserved = quorum.seats.iter().map(|seat| seat.approvals).fold(0, u32::saturating_add);
    quorum.approvals = quorum.approvals.max(reserved);
    Ok(())
}
