//! Who may approve for whom, and whether those approved whom a policy names.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Auditor, Rule, Seen};
use crate::actor::{ActorKind, Role};
use crate::asset::event::AssetEvent;
use crate::change::event::Quorum;
use crate::id::{AssetId, PersonId};
use crate::person::event::PersonEvent;
use crate::policy::{Known, Pool, Seat};
use crate::time::Timestamp;

/// Who may approve for whom, and whose the assets are, as the log says.
#[derive(Debug, Default)]
pub(super) struct Approvers {
    /// Delegations that were not ended, of everybody whose stream is known from its beginning on, or who
    /// delegated something.
    standing: BTreeMap<Uuid, BTreeMap<Uuid, Delegation>>,
    /// Whose stream cannot be judged.
    unknown: BTreeSet<Uuid>,
    /// As addresses are compared.
    owners: BTreeMap<AssetId, String>,
}

#[derive(Clone, Copy, Debug)]
struct Delegation {
    to: PersonId,
    from: Timestamp,
    until: Timestamp,
}

impl Approvers {
    pub fn forget(&mut self, person: Uuid) {
        self.unknown.insert(person);
    }

    pub fn asset(&mut self, seen: Seen, event: &AssetEvent) {
        let id = AssetId(seen.stream.id);
        match event {
            AssetEvent::Annotated { owner: Some(owner), .. } => {
                self.owners.insert(id, Known::key(owner));
            }
            AssetEvent::Annotated { owner: None, .. } => {
                self.owners.remove(&id);
            }
            AssetEvent::Discovered { .. }
            | AssetEvent::Drifted { .. }
            | AssetEvent::Gone {}
            | AssetEvent::Returned { .. } => {}
        }
    }

    fn end_all(&mut self, person: Uuid) {
        if let Some(own) = self.standing.get_mut(&person) {
            own.clear();
        }
    }

    fn stands(&self, from: PersonId, to: PersonId, at: Timestamp) -> bool {
        let own = self.standing.get(&from.0);
        own.is_some_and(|own| {
            own.values().any(|given| given.to == to && given.from <= at && at < given.until)
        })
    }
}

impl Auditor {
    pub(super) fn person(&mut self, seen: Seen, event: &PersonEvent) {
        use PersonEvent as E;
        let person = seen.stream.id;
        match event {
            E::ApprovalsDelegated { delegation, to, from, until, reason: _ } => {
                if seen.by.kind != ActorKind::User {
                    let sentence = "No person delegated these approvals.";
                    self.accuse(seen, Rule::NotAPerson, sentence);
                } else if to.0 == person || seen.by.person() == Some(*to) {
                    let sentence =
                        format!("Person {to} may approve for {person} by their own word.");
                    self.accuse(seen, Rule::DelegationUnfounded, sentence);
                } else {
                    let given = Delegation { to: *to, from: *from, until: *until };
                    self.approvers.standing.entry(person).or_default().insert(*delegation, given);
                }
            }
            E::DelegationEnded { delegation } => {
                if let Some(own) = self.approvers.standing.get_mut(&person) {
                    own.remove(delegation);
                }
            }
            E::Added { .. } => {
                self.approvers.standing.entry(person).or_default();
            }
            E::Disabled {} => self.approvers.end_all(person),
            E::RolesChanged { roles } if !roles.contains(&Role::Approver) => {
                self.approvers.end_all(person);
            }
            E::RolesChanged { .. }
            | E::Enabled {}
            | E::PasswordSet {}
            | E::SignedIn { .. }
            | E::SignedOut { .. }
            | E::TokenCreated { .. }
            | E::TokenRevoked { .. }
            | E::AgentInvited { .. } => {}
        }
    }

    /// Whether somebody could approve for another at that moment.
    pub(super) fn is_delegated(&mut self, seen: Seen, from: PersonId, to: PersonId) -> bool {
        if self.approvers.stands(from, to, seen.at) {
            return true;
        }
        let is_before = self.is_partial() && !self.approvers.standing.contains_key(&from.0);
        if is_before || self.approvers.unknown.contains(&from.0) {
            let sentence = format!("What person {from} delegated is not provable.");
            self.miss(seen.position, seen.stream, sentence);
            return true;
        }
        let sentence = format!("Person {to} approved for {from}, who had not delegated it.");
        self.accuse(seen, Rule::DelegationUnfounded, sentence);
        false
    }

    /// Whether a submission names fewer people than its policy asks for.
    pub(super) fn lacks_seats(&self, pool: &Pool, targets: &[AssetId], quorum: &Quorum) -> bool {
        let seats = &quorum.seats;
        if !pool.owners {
            return seats.iter().all(|seat| seat.approvals < pool.at_least);
        }
        // Whose assets were before the first event is not known.
        if self.is_partial() {
            return seats.is_empty();
        }
        let owners: Option<BTreeSet<_>> =
            targets.iter().map(|target| self.approvers.owners.get(target)).collect();
        let asked = usize::try_from(quorum.approvals).unwrap_or(usize::MAX);
        owners.is_none_or(|owners| seats.len().min(asked) < owners.len())
            || seats.iter().any(|seat| seat.approvals == 0)
    }

    /// Whether each seat has its approvals.
    pub(super) fn seated(&mut self, seen: Seen, seats: &[Seat], approvals: &[PersonId]) {
        for seat in seats {
            let given = approvals.iter().filter(|person| seat.people.contains(person)).count();
            let wanted = usize::try_from(seat.approvals).unwrap_or(usize::MAX);
            if given < wanted {
                let sentence = format!(
                    "{given} of {wanted} approvals are of the people whom the policy names for it."
                );
                self.accuse(seen, Rule::SeatEmpty, sentence);
            }
        }
    }
}
