//! Delegation: somebody else approves for a person, for a while.
//!
//! It hands on what the person has at the moment of an approval: the approver role, being an admin,
//! being one of those whom a policy names. It ends by itself at its time, and for good when the person's
//! account is disabled or loses the approver role.
//!
//! Deliberately absent: chains. What was delegated to somebody is not theirs to delegate: whoever
//! approves for them approves with what they have themselves.

use uuid::Uuid;

use crate::actor::Role;
use crate::aggregate::Principal;
use crate::id::PersonId;
use crate::person::event::PersonEvent;
use crate::person::rejection::PersonRejection as No;
use crate::person::state::{Active, PersonState};
use crate::time::Timestamp;

/// The longest delegation, in seconds: thirty days.
pub const MAX_DELEGATION_S: i64 = 30 * 86_400;
/// The most delegations of one person that have not run out.
pub const MAX_DELEGATIONS: usize = 3;
/// How long ahead (seconds) one may begin: a year.
const MAX_AHEAD_S: i64 = 365 * 86_400;
/// How far back (seconds) a beginning still is now: as long as a request may take.
const MAX_BACK_S: i64 = 30;
const MAX_REASON: usize = 500;

const ANOTHER_ADMIN: &str =
    "another admin: nobody takes the approvals of somebody else for themself";

/// Who may approve for a person, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub to: PersonId,
    pub from: Timestamp,
    pub until: Timestamp,
    pub reason: String,
}

impl Delegation {
    pub fn stands(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

impl PersonState {
    /// The roles that somebody may approve with for this person, when they may at all.
    pub fn delegates(&self, to: PersonId, at: Timestamp) -> Option<&[Role]> {
        let Self::Active(active) = self else { return None };
        let stands = active.delegations.values().any(|given| given.to == to && given.stands(at));
        (stands && active.roles.contains(&Role::Approver)).then_some(active.roles.as_slice())
    }
}

pub(super) fn permitted_delegate(
    by: &Principal,
    person: PersonId,
    to: PersonId,
    to_is_enabled: bool,
) -> Result<(), No> {
    let invalid = |problem: &str| No::Invalid { field: "to", problem: problem.to_owned() };
    if to == person {
        return Err(invalid("name somebody else"));
    }
    if by.actor.person() == Some(to) {
        return Err(No::Denied { needed: ANOTHER_ADMIN });
    }
    if !to_is_enabled {
        return Err(invalid("nobody with an enabled account"));
    }
    Ok(())
}

pub(super) fn delegate(
    active: &Active,
    at: Timestamp,
    delegation: Uuid,
    given: Delegation,
) -> Result<Vec<PersonEvent>, No> {
    let reason = given.reason.trim().to_owned();
    let given = Delegation { reason, ..given };
    if let Some(known) = active.delegations.get(&delegation) {
        let is_same = *known == given;
        return if is_same { Ok(Vec::new()) } else { Err(No::DelegationExists { delegation }) };
    }
    if !active.roles.contains(&Role::Approver) {
        return Err(No::NothingToDelegate);
    }
    let Delegation { to, from, until, reason } = given;
    let invalid = |field, problem: String| Err(No::Invalid { field, problem });
    if until <= from || until <= at {
        return invalid("until", "must be in the future, and after its beginning".to_owned());
    }
    if until.seconds_since(from) > MAX_DELEGATION_S {
        return invalid("until", "at most 30 days after its beginning".to_owned());
    }
    if at.seconds_since(from) > MAX_BACK_S || from.seconds_since(at) > MAX_AHEAD_S {
        return invalid("from", "not in the past, and at most a year ahead".to_owned());
    }
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.contains(char::is_control)
    {
        return invalid("reason", format!("1 to {MAX_REASON} characters, on one line"));
    }
    let standing = active.delegations.values().filter(|known| at < known.until).count();
    if standing >= MAX_DELEGATIONS {
        return Err(No::TooManyDelegations { most: MAX_DELEGATIONS });
    }
    Ok(vec![PersonEvent::ApprovalsDelegated { delegation, to, from, until, reason }])
}

pub(super) fn end_delegation(active: &Active, delegation: Uuid) -> Result<Vec<PersonEvent>, No> {
    match active.delegations.get(&delegation) {
        Some(_) => Ok(vec![PersonEvent::DelegationEnded { delegation }]),
        None => Err(No::NoSuchDelegation { delegation }),
    }
}
