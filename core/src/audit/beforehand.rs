//! Rollbacks that were approved together with the change that they undo.

use std::collections::BTreeSet;

use super::change::Track;
use super::outcome::How;
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::change::event::Beforehand;
use crate::id::ChangeId;

impl Auditor {
    /// A submission that says so.
    pub(super) fn beforehand(&mut self, seen: Seen, original: Option<ChangeId>, told: &Beforehand) {
        if seen.by.kind != ActorKind::System {
            self.accuse(seen, Rule::BeforehandUnfounded, "Nexplane itself did not submit it.");
        }
        let Some(original) = original else {
            return self.accuse(seen, Rule::BeforehandUnfounded, "It is no rollback.");
        };
        let settled = match self.changes.get(&original.0) {
            Some(Track::Settled(settled)) => settled,
            Some(Track::Unknown) => return,
            None if self.is_partial() => {
                let sentence = format!("What was approved of change {original} is not known.");
                return self.miss(seen.position, seen.stream, sentence);
            }
            None | Some(Track::Open(_) | Track::Closed) => {
                let sentence = format!("Change {original} has not been executed.");
                return self.accuse(seen, Rule::BeforehandUnfounded, sentence);
            }
        };
        let approvers: BTreeSet<_> = told.approvers.iter().copied().collect();
        let sentence = if settled.goes_back.as_ref().is_none_or(|people| *people != approvers) {
            format!("That change {original} goes back was not approved by these people.")
        } else if settled.run != Some(told.run) || settled.how != How::Known {
            format!("Run {} is not the one of change {original} that failed.", told.run)
        } else {
            return;
        };
        self.accuse(seen, Rule::BeforehandUnfounded, sentence);
    }
}
