//! Who broke glass, whether they might, and who looked back at what responders did.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::change::{Given, Open, Phase, Track};
use super::{Auditor, CLOCK_SKEW_S, Rule, Seen};
use crate::actor::ActorKind;
use crate::change::REVIEW_DUE_S;
use crate::change::event::ChangeEvent;
use crate::id::PersonId;
use crate::plan::PlanDigest;
use crate::time::Timestamp;

/// What was done for changes and nobody has reviewed.
#[derive(Debug, Default)]
pub(super) struct Reviews(BTreeMap<Uuid, Due>);

#[derive(Debug, Default)]
struct Due {
    /// Author and editors.
    own: BTreeSet<PersonId>,
    /// Who overrode something or broke glass.
    responders: BTreeSet<PersonId>,
    /// Who broke glass.
    broke: BTreeSet<PersonId>,
    ended: Option<Timestamp>,
}

impl Reviews {
    /// Somebody overrode something for the change.
    pub fn overridden(&mut self, change: Uuid, by: PersonId) {
        self.0.entry(change).or_default().responders.insert(by);
    }

    pub fn forget(&mut self, change: Uuid) {
        self.0.remove(&change);
    }

    /// After an event of the change, which made this of it.
    pub fn follow(&mut self, change: Uuid, track: &Track, at: Timestamp) {
        let Some(due) = self.0.get_mut(&change) else { return };
        match track {
            Track::Unknown => self.forget(change),
            Track::Open(open) => due.own = open.own(),
            Track::Settled(_) | Track::Closed => {
                due.ended.get_or_insert(at);
            }
        }
    }

    /// Whether somebody broke glass for another change, of which the review is overdue for certain.
    fn is_overdue(&self, by: PersonId, change: Uuid, at: Timestamp) -> bool {
        let late = |ended: Timestamp| ended.plus_seconds(REVIEW_DUE_S + CLOCK_SKEW_S) <= at;
        let others = self.0.iter().filter(|(other, _)| **other != change);
        others.into_iter().any(|(_, due)| due.broke.contains(&by) && due.ended.is_some_and(late))
    }
}

impl Auditor {
    pub(super) fn glass_broken(&mut self, seen: Seen, open: &mut Open, digest: &PlanDigest) {
        let is_own = seen.by.person().is_some_and(|person| open.own().contains(&person));
        let submission = match &open.phase {
            Phase::Submitted(submission) => submission,
            Phase::Approved(approval) if seen.at < approval.not_before => &approval.submission,
            Phase::Draft | Phase::Approved(_) | Phase::Executing(_) => {
                return self.out_of_order(seen, &open.phase);
            }
        };
        let person = match (seen.by.kind, seen.by.person()) {
            (ActorKind::User, Some(person)) => person,
            (ActorKind::User | ActorKind::Machine | ActorKind::Agent | ActorKind::System, _) => {
                return self.accuse(seen, Rule::NotAPerson, "No person broke the glass.");
            }
        };
        if is_own {
            let sentence = format!("Person {person} wrote or edited the change and broke glass.");
            return self.accuse(seen, Rule::SelfApproval, sentence);
        }
        if submission.digest != *digest {
            let sentence = format!("Glass was broken for {digest}, another plan was submitted.");
            return self.accuse(seen, Rule::ForeignDigest, sentence);
        }
        if !submission.needed.break_glass {
            let sentence = "The rule that it was submitted under does not let glass be broken.";
            return self.accuse(seen, Rule::GlassUnfounded, sentence);
        }
        if self.reviews.is_overdue(person, seen.stream.id, seen.at) {
            let sentence =
                format!("Person {person} broke glass while a review of that is overdue.");
            self.accuse(seen, Rule::GlassUnreviewed, sentence);
        }
        let mut submission = submission.clone();
        submission.glass = Some(Given { by: person, of: person, admin: false, at: seen.at });
        open.phase = Phase::Submitted(submission);
        let due = self.reviews.0.entry(seen.stream.id).or_default();
        due.responders.insert(person);
        due.broke.insert(person);
    }

    /// Somebody looked back at what was done for a change that has ended.
    pub(super) fn reviewed(&mut self, seen: Seen, event: &ChangeEvent) {
        if !matches!(event, ChangeEvent::Reviewed { .. }) {
            return;
        }
        let Some(due) = self.reviews.0.remove(&seen.stream.id) else { return };
        let person = seen.by.person().filter(|_| seen.by.kind == ActorKind::User);
        let Some(person) = person else {
            self.accuse(seen, Rule::NotAPerson, "No person reviewed it.");
            self.reviews.0.insert(seen.stream.id, due);
            return;
        };
        if due.own.contains(&person) || due.responders.contains(&person) {
            let sentence = format!("Person {person} had a part in it and reviewed it.");
            self.accuse(seen, Rule::SelfReview, sentence);
            self.reviews.0.insert(seen.stream.id, due);
        }
    }
}
