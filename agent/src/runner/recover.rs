//! After a crash: what the journal shows open is finished or put back, before any network.

use nexplane_core::id::JobId;
use nexplane_core::job::{Envelope, Job, JobResult, Order, RefusalCode};

use super::check::Refusal;
use super::effect::{Goal, success};
use super::{Runner, RunnerError};
use crate::journal::payload_hash;
use crate::operation::{self, Bound};
use crate::snapshot::Saved;

impl Runner {
    /// Gives every open order a result. An order that did not come to its intent is checked again
    /// and carried out, or refused; one that did is read from the target: finished if the effect is
    /// there, put back and done again if there is time, put back and failed otherwise, unknown if
    /// somebody else was at it. Then deletes before-states whose time is over.
    ///
    /// # Errors
    /// As [`Runner::handle`].
    pub fn recover(&mut self) -> Result<Vec<JobId>, RunnerError> {
        let mut settled = Vec::new();
        for (id, envelope) in self.journal.unfinished() {
            tracing::warn!(job.id = %id, "Settling an order that was interrupted");
            let (seq, result) = self.settle(id, &envelope)?;
            self.conclude(id, seq, payload_hash(&envelope.payload), true, result)?;
            settled.push(id);
        }
        self.expire();
        Ok(settled)
    }

    fn settle(&mut self, id: JobId, envelope: &Envelope) -> Result<(u64, JobResult), RunnerError> {
        let seq = self.journal.job(&id).map_or(0, |entry| entry.seq);
        let Ok(job) = serde_json::from_str::<Job>(&envelope.payload) else {
            let detail = "this agent does not understand the order that an earlier one began";
            return Ok((seq, JobResult::Unknown { detail: detail.to_owned() }));
        };
        let begun = self.journal.job(&id).is_some_and(|entry| entry.intent.is_some());
        if begun {
            return Ok((seq, self.settle_begun(&job)));
        }
        let result = match self.examine(&job, (self.clock)()) {
            Ok(work) => self.effect(id, work, &mut |_, _| {})?,
            Err(refusal) => refusal.into(),
        };
        Ok((seq, result))
    }

    fn settle_begun(&self, job: &Job) -> JobResult {
        let unknown = |detail: String| JobResult::Unknown { detail };
        let saved = match self.snapshots.load(&job.id) {
            Ok(saved) => saved,
            Err(error) => return unknown(error.to_string()),
        };
        let bound = match operation::find(&saved.operation).map(|e| e.bind(&saved.parameters)) {
            Some(Ok(bound)) => bound,
            Some(Err(error)) => return unknown(error.to_string()),
            None => return unknown(format!("there is no operation '{}'", saved.operation)),
        };
        let goal = match self.goal(job) {
            Ok(goal) => goal,
            Err(detail) => return unknown(detail),
        };
        if let Err(error) = bound.settle(self.host.as_ref()) {
            return unknown(error.sentence());
        }
        match self.reached(bound.as_ref(), &goal) {
            Ok((true, now)) => return success(&saved.before, now, &goal),
            Ok((false, _)) => {}
            Err(error) => return unknown(error.sentence()),
        }
        if let Err(why) = self.put_back(bound.as_ref(), &saved.before, &goal) {
            return unknown(format!("the agent stopped in the middle; {why}"));
        }
        match self.may_still(job, bound.as_ref(), &saved) {
            Ok(()) => self.perform(bound.as_ref(), &saved.before, &goal),
            Err(refusal) => JobResult::Failed {
                detail: format!(
                    "the agent stopped in the middle and put the target back; {}",
                    refusal.detail
                ),
            },
        }
    }

    fn goal(&self, job: &Job) -> Result<Goal, String> {
        match &job.order {
            Order::Apply { .. } => Ok(Goal::Apply),
            Order::Revert { undoes, .. } => self
                .snapshots
                .load(undoes)
                .map(|saved| Goal::Restore(saved.before))
                .map_err(|error| error.to_string()),
            Order::Inspect { .. } | Order::Verify { .. } | Order::CollectFacts => {
                Err("the order has no effect".to_owned())
            }
        }
    }

    /// Time and the owner's policy; everything else was checked before the intent and is unchanged.
    fn may_still(&self, job: &Job, bound: &dyn Bound, saved: &Saved) -> Result<(), Refusal> {
        if (self.clock)() >= job.not_after {
            return Err(Refusal::new(RefusalCode::Expired, "the order has expired meanwhile"));
        }
        let approvals = match &job.order {
            Order::Apply { authority, .. } | Order::Revert { authority, .. } => {
                authority.approvals.as_slice()
            }
            Order::Inspect { .. } | Order::Verify { .. } | Order::CollectFacts => &[],
        };
        let veto = |detail| Refusal::new(RefusalCode::LocalPolicy, detail);
        let policy = self.policy.load().map_err(|error| veto(error.to_string()))?;
        policy.check_reach(&saved.operation, &bound.paths()).map_err(veto)?;
        policy.check_effect(approvals).map_err(veto)
    }
}
