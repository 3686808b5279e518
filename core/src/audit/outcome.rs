//! How changes end, held against their runs, and what becomes of undoing them.

use std::collections::BTreeSet;

use super::change::{Open, Phase, Track};
use super::{Auditor, Rule, Seen, run};
use crate::change::event::{ChangeEvent, Found};
use crate::id::{ChangeId, PersonId, RunId};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

/// After its execution.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub run: Option<RunId>,
    pub how: How,
    /// Its target was found to be as intended, and it was not undone since.
    pub is_complete: bool,
    /// Author and editors, while its outcome is unknown.
    pub own: BTreeSet<PersonId>,
    /// Who approved that it is undone, when it has failed and says that it goes back.
    pub goes_back: Option<BTreeSet<PersonId>>,
    /// Until when it can be undone, as its targets say.
    pub undo_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Known,
    Unknown,
    RollingBack { rollback: ChangeId, run: RunId },
    RolledBack,
}

impl Auditor {
    /// The end of an execution, held against that of its run.
    pub(super) fn ended(
        &mut self,
        seen: Seen,
        open: &Open,
        run: RunId,
        outcome: RunOutcome,
    ) -> Track {
        let own = match &open.phase {
            Phase::Executing(executing) => Some(executing.run),
            Phase::Draft | Phase::Submitted(_) | Phase::Approved(_) => None,
        };
        // A rollback that the change to be undone refuses fails without a run.
        let refused = open.rollback_of.is_some()
            && outcome == RunOutcome::Failed
            && !self.runs.contains_key(&run.0);
        if own == Some(run) {
            if !refused {
                self.agrees(seen, run, &[outcome], Rule::ChangeOutcome);
            }
        } else {
            let sentence = format!("Run {run} is not the run of this change.");
            self.accuse(seen, Rule::ChangeOutcome, sentence);
        }
        let how = match outcome {
            RunOutcome::OutcomeUnknown => How::Unknown,
            RunOutcome::Complete
            | RunOutcome::Failed
            | RunOutcome::RollbackPartial
            | RunOutcome::RollbackBlocked => How::Known,
        };
        let people = if how == How::Unknown { open.own() } else { BTreeSet::new() };
        let goes_back = open.approved_to_go_back().filter(|_| outcome == RunOutcome::Failed);
        let is_complete = outcome == RunOutcome::Complete;
        let undo_until = open.undo_until;
        Track::Settled(Settled { run: own, how, is_complete, own: people, goes_back, undo_until })
    }

    fn agrees(&mut self, seen: Seen, run: RunId, outcomes: &[RunOutcome], rule: Rule) {
        let ended = match self.runs.get(&run.0) {
            Some(run::Track::Unknown) => return,
            Some(run::Track::Finished(outcome)) if outcomes.contains(outcome) => return,
            Some(run::Track::Finished(outcome)) => outcome.as_str(),
            Some(run::Track::Open(_) | run::Track::Rolling) => "not over",
            None => "not begun",
        };
        self.accuse(seen, rule, format!("Its run {run} says: {ended}."));
    }

    pub(super) fn settled(
        &mut self,
        seen: Seen,
        mut settled: Settled,
        event: &ChangeEvent,
    ) -> Settled {
        use ChangeEvent as E;
        use RunOutcome as O;
        let (how, rollback, run, outcomes): (How, ChangeId, RunId, &[O]) = match event {
            E::RollbackStarted { rollback, run } => {
                self.rollback_started(seen, settled.how, *rollback, *run);
                self.newest_first(seen, *rollback);
                if let Some(until) = settled.undo_until.filter(|until| seen.at >= *until) {
                    let sentence = format!("It could be undone until {until}.");
                    self.accuse(seen, Rule::RollbackTooLate, sentence);
                }
                settled.how = How::RollingBack { rollback: *rollback, run: *run };
                settled.is_complete = false;
                return settled;
            }
            E::SecretRevealed { .. } | E::Reviewed { .. } => return settled,
            E::JoinedProject { project } => {
                self.projects.joined(ChangeId(seen.stream.id), *project);
                return settled;
            }
            E::Settled { run, finding, evidence: _ } => {
                if settled.how == How::Unknown {
                    settled.is_complete = *finding == Found::Applied;
                }
                return self.found(seen, settled, *run);
            }
            E::RolledBack { rollback, run } => (How::RolledBack, *rollback, *run, &[O::Complete]),
            E::RollbackPartial { rollback, run, .. } => {
                let outcomes = &[O::Failed, O::OutcomeUnknown, O::RollbackPartial];
                (How::Known, *rollback, *run, outcomes)
            }
            E::RollbackBlocked { rollback, run, .. } => {
                (How::Known, *rollback, *run, &[O::RollbackBlocked])
            }
            E::Drafted { .. }
            | E::MadeBySchedule { .. }
            | E::Edited { .. }
            | E::Planned { .. }
            | E::Submitted { .. }
            | E::ApprovalGiven { .. }
            | E::Approved { .. }
            | E::Rejected { .. }
            | E::Withdrawn {}
            | E::Cancelled { .. }
            | E::Expired {}
            | E::FreezeOverridden { .. }
            | E::WindowOverridden { .. }
            | E::GlassBroken { .. }
            | E::Scheduled { .. }
            | E::Unscheduled { .. }
            | E::ExecutionStarted { .. }
            | E::UndoLimited { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. } => {
                self.accuse(seen, Rule::AfterTheEnd, "The change had been executed.");
                return settled;
            }
        };
        if settled.how == (How::RollingBack { rollback, run }) {
            self.agrees(seen, run, outcomes, Rule::RollbackOutcome);
        } else {
            let sentence = format!("Change {rollback} was not rolling this one back by run {run}.");
            self.accuse(seen, Rule::RollbackOutcome, sentence);
        }
        settled.how = how;
        settled.is_complete = false;
        settled
    }

    fn rollback_started(&mut self, seen: Seen, how: How, rollback: ChangeId, run: RunId) {
        match how {
            How::Known => {}
            How::Unknown => self.accuse(
                seen,
                Rule::RollbackOfUnknown,
                "What became of the change is unknown, and a rollback of it starts.",
            ),
            How::RollingBack { .. } => {
                self.accuse(seen, Rule::OutOfOrder, "A rollback was under way already.");
            }
            How::RolledBack => {
                self.accuse(seen, Rule::OutOfOrder, "The change was rolled back already.");
            }
        }
        let named = match self.changes.get(&rollback.0) {
            Some(Track::Unknown) => true,
            None => self.is_partial(),
            Some(Track::Open(open)) => {
                open.rollback_of == Some(ChangeId(seen.stream.id))
                    && matches!(&open.phase, Phase::Executing(executing) if executing.run == run)
            }
            Some(Track::Settled(_) | Track::Closed) => false,
        };
        if !named {
            let sentence =
                format!("Change {rollback} is not a rollback of this one that runs {run}.");
            self.accuse(seen, Rule::RollbackUnnamed, sentence);
        }
    }
}
