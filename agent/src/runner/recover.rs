//! After a crash: what the journal shows open is finished or put back, before any network.

use nexplane_core::id::JobId;
use nexplane_core::job::{Envelope, Job, JobResult, Order, RefusalCode};

use super::check::Refusal;
use super::effect::{Goal, success};
use super::{Runner, RunnerError};
use crate::deadman::{self, Next};
use crate::journal::{Record, payload_hash};
use crate::operation::{self, Bound};
use crate::snapshot::Saved;

/// An effect that was begun and has no result.
struct Begun {
    bound: Box<dyn Bound>,
    saved: Saved,
    goal: Goal,
}

impl Runner {
    /// Gives every open order a result. An order that did not come to its intent is checked again
    /// and carried out, or refused; one that did is read from the target: finished if the effect is
    /// there, put back and done again if there is time, put back and failed otherwise, unknown if
    /// somebody else was at it. One that was armed and not confirmed is taken back if its time is over,
    /// before any network; otherwise the line is tried for what is left of it. Then deletes before-states whose time is over.
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
            return Ok((seq, self.settle_begun(&job)?));
        }
        let result = match self.examine(&job, (self.clock)()) {
            Ok(work) => self.effect(id, work, &mut |_, _| {})?,
            Err(refusal) => refusal.into(),
        };
        Ok((seq, result))
    }

    fn settle_begun(&mut self, job: &Job) -> Result<JobResult, RunnerError> {
        let Begun { bound, saved, goal } = match self.begun(job) {
            Ok(begun) => begun,
            Err(detail) => return Ok(JobResult::Unknown { detail }),
        };
        let bound = bound.as_ref();
        if let Err(error) = bound.settle(self.host.as_ref()) {
            return Ok(JobResult::Unknown { detail: error.sentence() });
        }
        let next = self.next(job.id)?;
        if next == Next::TakeBack {
            let why = "in time: the agent was stopped before";
            return Ok(self.take_back(bound, &saved.before, &goal, why));
        }
        match (self.reached(bound, &goal), next) {
            (Ok((true, now)), Next::Confirm(left)) => {
                let done = success(&saved.before, now, &goal);
                return self.confirm(job.id, bound, &saved.before, &goal, left, done);
            }
            (Ok((true, now)), Next::Settled | Next::TakeBack) => {
                return Ok(success(&saved.before, now, &goal));
            }
            (Ok((false, _)), _) => {}
            (Err(error), _) => return Ok(JobResult::Unknown { detail: error.sentence() }),
        }
        if let Err(why) = self.put_back(bound, &saved.before, &goal) {
            let detail = format!("the agent stopped in the middle; {why}");
            return Ok(JobResult::Unknown { detail });
        }
        let may = self.may_still(job, bound, &saved).and_then(|()| self.check_line(bound));
        match may {
            Ok(()) => {
                self.arm(job.id, bound)?;
                self.carry_through(job.id, bound, &saved.before, &goal)
            }
            Err(refusal) => Ok(JobResult::Failed {
                detail: format!(
                    "the agent stopped in the middle and put the target back; {}",
                    refusal.detail
                ),
            }),
        }
    }

    /// What the dead-man says of it. A timer of an earlier start of the machine goes on in this one.
    fn next(&mut self, job: JobId) -> Result<Next, RunnerError> {
        let now = self.dead_man.watch.moment();
        let entry = self.journal.job(&job);
        let (armed, confirmed) =
            entry.map_or((None, false), |entry| (entry.armed.as_ref(), entry.confirmed));
        let next = deadman::next(armed, confirmed, &now);
        if matches!(next, Next::Confirm(_))
            && let Some(armed) = armed.and_then(|armed| armed.for_this_start(&now))
        {
            self.journal.append(&Record::Armed { job, armed })?;
        }
        Ok(next)
    }

    /// # Errors
    /// A sentence that says why it cannot be known.
    fn begun(&self, job: &Job) -> Result<Begun, String> {
        let saved = self.snapshots.load(&job.id).map_err(|error| error.to_string())?;
        let bound = operation::find(&saved.operation)
            .ok_or_else(|| format!("there is no operation '{}'", saved.operation))?
            .bind_prepared(&saved.parameters, job.order.prepared())
            .map_err(|error| error.to_string())?;
        let goal = self.goal(job)?;
        for path in bound.paths() {
            self.host.discard_leftovers(path).map_err(|error| error.sentence())?;
        }
        Ok(Begun { bound, saved, goal })
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
