//! The phases of a rollout.

use crate::id::{ChangeId, ManifestId, PersonId, RunId};
use crate::plan::PlanDigest;
use crate::rollout::event::{Strategy, Tally};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default)]
pub enum RolloutState {
    #[default]
    Absent,
    Rolling(Rolling),
    Finished(Rolling, RunOutcome),
}

#[derive(Clone, Debug)]
pub struct Rolling {
    pub change: ChangeId,
    pub digest: PlanDigest,
    pub manifest: ManifestId,
    pub size: u32,
    pub strategy: Strategy,
    pub approvals: Vec<PersonId>,
    pub undoes: Option<RunId>,
    pub hold: Hold,
    /// Batches that have ended.
    pub ended: u32,
    /// Over those.
    pub tally: Tally,
    /// On a rollback, of those that failed: what was moved, or taken away, since the change.
    pub moved: u32,
    /// Until when all that they have done can be undone, as far as targets say.
    pub undo_until: Option<Timestamp>,
    /// When the last of those ended.
    pub ended_at: Option<Timestamp>,
    /// The one that is under way.
    pub open: Option<Batch>,
}

/// Whether further targets may be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    Free,
    Paused { reason: String },
    Stopped { reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub no: u32,
    pub first: u32,
    pub count: u32,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Begin,
    /// Carry out what is left of this one.
    Drive(Batch),
    WaitUntil(Timestamp),
    /// Until a person says otherwise.
    Wait,
    Finish,
}

impl Rolling {
    /// What the runtime has to do at this moment.
    pub fn next(&self, at: Timestamp) -> Next {
        if let Some(batch) = self.open {
            return Next::Drive(batch);
        }
        if self.first_left().is_none() {
            return Next::Finish;
        }
        match &self.hold {
            Hold::Stopped { .. } => Next::Finish,
            Hold::Paused { .. } => Next::Wait,
            Hold::Free => match self.not_before() {
                Some(begin) if at < begin => Next::WaitUntil(begin),
                Some(_) | None => Next::Begin,
            },
        }
    }

    /// The first part that is in no batch yet.
    pub(super) fn first_left(&self) -> Option<u32> {
        let first = self.tally.sum();
        (first < self.size).then_some(first)
    }

    /// Of the next batch: when it may begin.
    pub(super) fn not_before(&self) -> Option<Timestamp> {
        Some(self.ended_at?.plus_seconds(i64::from(self.strategy.pause_s)))
    }

    /// The next batch, when no other is under way.
    pub(super) fn next_batch(&self) -> Option<Batch> {
        let first = self.first_left()?;
        let most = if self.is_canary() { self.strategy.canary } else { self.strategy.batch };
        Some(Batch { no: self.ended, first, count: most.min(self.size - first) })
    }

    /// Whether nothing says yet how targets go. On a rollback what was moved since the change says nothing of
    /// the others: the targets after it are the canary then.
    pub fn is_canary(&self) -> bool {
        self.tally.tried(self.moved) == 0
    }

    /// Whether so many in all, with these of a batch, are more than was agreed. Of a canary what was `moved`
    /// does not count; after it, it is one of the failures that were agreed to.
    pub fn is_too_bad(&self, batch: Tally, moved: u32) -> bool {
        if self.is_canary() {
            return batch.bad() > moved;
        }
        self.tally.bad().saturating_add(batch.bad()) > self.strategy.max_failed
    }

    /// How it has ended, once it has, with the reason when that is not well.
    pub fn outcome(&self) -> Option<(RunOutcome, Option<String>, Tally)> {
        if self.open.is_some() {
            return None;
        }
        let left = self.first_left().map_or(0, |first| self.size - first);
        let stopped = match &self.hold {
            Hold::Stopped { reason } => Some(reason.as_str()),
            Hold::Free | Hold::Paused { .. } if left == 0 => None,
            Hold::Free | Hold::Paused { .. } => return None,
        };
        let tally =
            Tally { not_started: self.tally.not_started.saturating_add(left), ..self.tally };
        let Tally { complete, failed, unknown, not_started } = tally;
        if complete == self.size {
            return Some((RunOutcome::Complete, None, tally));
        }
        let outcome = match self.undoes {
            _ if unknown > 0 => RunOutcome::OutcomeUnknown,
            Some(_) if complete > 0 => RunOutcome::RollbackPartial,
            Some(_) => RunOutcome::RollbackBlocked,
            None => RunOutcome::Failed,
        };
        let reason = format!(
            "Of {} targets {complete} are complete, {failed} failed, {unknown} are of unknown outcome, {not_started} were not started.{}{}",
            self.size,
            if stopped.is_some() { " " } else { "" },
            stopped.unwrap_or_default(),
        );
        Some((outcome, Some(reason), tally))
    }
}
