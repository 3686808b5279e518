//! What a person says became of a change whose outcome is unknown.

use super::outcome::{How, Settled};
use super::{Auditor, Rule, Seen};
use crate::actor::ActorKind;
use crate::id::RunId;

impl Auditor {
    /// The finding stands whatever is wrong with it: what follows is judged by what was said.
    pub(super) fn found(&mut self, seen: Seen, mut settled: Settled, run: RunId) -> Settled {
        if settled.how != How::Unknown {
            let sentence = "A person settled what became of the change, and that was known.";
            self.accuse(seen, Rule::SettledKnown, sentence);
            return settled;
        }
        if seen.by.kind != ActorKind::User {
            self.accuse(seen, Rule::NotAPerson, "No person settled what became of the change.");
        } else if let Some(person) = seen.by.person().filter(|person| settled.own.contains(person))
        {
            let sentence = format!("Person {person} wrote or edited the change and settled it.");
            self.accuse(seen, Rule::SelfSettlement, sentence);
        }
        if settled.run.is_some_and(|own| own != run) {
            let sentence = format!("Run {run} is not the run of this change.");
            self.accuse(seen, Rule::ChangeOutcome, sentence);
        }
        settled.how = How::Known;
        settled
    }
}
