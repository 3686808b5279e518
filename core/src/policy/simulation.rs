//! A draft held against what was really submitted: what it would have asked for, and how those
//! changes ended. Counts only, and the first few by name, so it is small however long the history.
//!
//! A change counts once, by its newest submission: that is the one which its outcome belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::ChangeState;
use crate::change::event::Quorum;
use crate::id::ChangeId;
use crate::policy::analysis::less;
use crate::policy::case::Case;
use crate::policy::document::{Ask, PolicyDocument, Then};
use crate::policy::pool::Pool;

/// How many changes are named.
pub const MAX_EXAMPLES: usize = 50;

/// One submission of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    pub change: ChangeId,
    /// As people call it.
    pub number: u64,
    /// How the change is now.
    pub state: ChangeState,
    pub case: Case,
    /// Whether the tags of its targets were recorded.
    pub has_tags: bool,
    /// What was asked for.
    pub quorum: Quorum,
}

/// What a draft would have changed for one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    Refused,
    Stricter,
    Looser,
    /// Stricter in one respect, looser in another.
    Mixed,
}

/// The draft against the past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Simulation {
    /// Changes that were compared.
    pub compared: u64,
    pub refused: u64,
    pub stricter: u64,
    pub looser: u64,
    pub mixed: u64,
    /// Not compared: the draft looks at tags, which were not recorded at the time.
    pub unknown: u64,
    /// How they ended, of each kind that occurs.
    pub by_outcome: BTreeMap<Shift, BTreeMap<String, u64>>,
    /// The newest, at most 50.
    pub changed: Vec<SimulatedChange>,
    pub sentence: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimulatedChange {
    pub id: ChangeId,
    pub number: u64,
    pub change_type: String,
    pub state: ChangeState,
    pub shift: Shift,
    /// The rule that decided it.
    pub was: String,
    /// The rule of the draft.
    pub would_be: String,
}

/// What a draft makes of what was asked for; `None` when it asks for the same.
fn shift(was: &Then, now: &Then) -> Option<Shift> {
    if matches!(now, Then::Refuse { .. }) {
        return Some(Shift::Refused);
    }
    match (less(was, now).is_empty(), less(now, was).is_empty()) {
        (true, true) => None,
        (true, false) => Some(Shift::Stricter),
        (false, true) => Some(Shift::Looser),
        (false, false) => Some(Shift::Mixed),
    }
}

impl Simulation {
    /// Holds the draft against one more submission, newest first.
    pub fn replay(&mut self, draft: &PolicyDocument, replayed: &Replayed) {
        let Replayed { change, number, state, case, has_tags, quorum } = replayed;
        if !has_tags && draft.names_tags() {
            self.unknown += 1;
            return;
        }
        // A draft that was checked has a rule for everything.
        let Some(rule) = draft.matching(case) else { return };
        self.compared += 1;
        let Quorum { rule: was, approvals, admin, delay_s, valid_s, break_glass, seats, .. } =
            quorum;
        let (approvals, admin, delay_s, valid_s) = (*approvals, *admin, *delay_s, *valid_s);
        let (break_glass, from) = (*break_glass, Pool::replayed(seats, &rule.then));
        let asked = Then::Ask(Ask { approvals, admin, from, delay_s, valid_s, break_glass });
        let Some(shift) = shift(&asked, &rule.then) else { return };
        *match shift {
            Shift::Refused => &mut self.refused,
            Shift::Stricter => &mut self.stricter,
            Shift::Looser => &mut self.looser,
            Shift::Mixed => &mut self.mixed,
        } += 1;
        let outcomes = self.by_outcome.entry(shift).or_default();
        *outcomes.entry(state.as_str().to_owned()).or_default() += 1;
        if self.changed.len() < MAX_EXAMPLES {
            self.changed.push(SimulatedChange {
                id: *change,
                number: *number,
                change_type: case.change_type.clone(),
                state: *state,
                shift,
                was: was.clone(),
                would_be: rule.sentence(),
            });
        }
    }

    /// With its sentence.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.sentence = self.say();
        self
    }

    fn say(&self) -> String {
        let compared = thousands(self.compared);
        let mut parts = Vec::new();
        for (shift, what) in [
            (Shift::Refused, "refused"),
            (Shift::Stricter, "asked for more in"),
            (Shift::Looser, "asked for less in"),
            (Shift::Mixed, "asked for more in one way and less in another in"),
        ] {
            let Some(outcomes) = self.by_outcome.get(&shift) else { continue };
            let count: u64 = outcomes.values().sum();
            let of = if parts.is_empty() {
                format!("{} of {compared} changes", thousands(count))
            } else {
                thousands(count)
            };
            parts.push(format!("It would have {what} {of}: {}.", endings(outcomes)));
        }
        if parts.is_empty() {
            parts.push(match self.compared {
                0 => "There is no submission to compare with.".to_owned(),
                1 => "It would have asked the same of the one change there is.".to_owned(),
                _ => format!("It would have asked the same of all {compared} changes."),
            });
        }
        if self.unknown > 0 {
            parts.push(format!(
                "{} could not be compared: the tags of their targets were not recorded.",
                thousands(self.unknown)
            ));
        }
        parts.join(" ")
    }
}

/// `3 failed, 38 were fine`
fn endings(outcomes: &BTreeMap<String, u64>) -> String {
    use ChangeState as S;

    let (mut failed, mut undone, mut fine, mut open) = (0, 0, 0, 0);
    for state in S::ALL {
        let count = outcomes.get(state.as_str()).copied().unwrap_or_default();
        *match state {
            S::Failed | S::OutcomeUnknown => &mut failed,
            S::RollingBack | S::RolledBack | S::RollbackPartial | S::RollbackBlocked => &mut undone,
            S::Complete => &mut fine,
            S::Draft
            | S::Submitted
            | S::Approved
            | S::Scheduled
            | S::Executing
            | S::Rejected
            | S::Cancelled
            | S::Expired => &mut open,
        } += count;
    }
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    let have = if open == 1 { "has" } else { "have" };
    let parts = [
        (failed, format!("{} failed", thousands(failed))),
        (undone, format!("{} {} rolled back", thousands(undone), were(undone))),
        (fine, format!("{} {} fine", thousands(fine), were(fine))),
        (open, format!("{} {have} no outcome", thousands(open))),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
    parts.join(", ")
}

/// `3,212`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
