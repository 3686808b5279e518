//! After a crash: what the journal shows open is finished or put back, before any network.

use nexplane_core::id::JobId;
use nexplane_core::job::{Envelope, Job, JobResult, Order, RefusalCode};

use super::check::Refusal;
use super::confirm::Stuck;
use super::effect::{Goal, success};
use super::{Runner, RunnerError};
use crate::deadman::{self, Next};
use crate::journal::{Record, payload_hash};
use crate::operation::{self, Bound};
use crate::snapshot::{Saved, SnapshotError};
use crate::vital::STEP;

/// An effect that was begun and has no result.
struct Begun {
    bound: Box<dyn Bound>,
    saved: Saved,
    goal: Goal,
}

/// What became of armed effects before the network was up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early {
    pub taken_back: Vec<JobId>,
    /// The agent settles them when it starts, and why that was not done here.
    pub left: Vec<(JobId, String)>,
}

impl Runner {
    /// Gives every open order a result. An order that did not come to its intent is checked again
    /// and carried out, or refused; one that did is read from the target: finished if the effect is
    /// there, put back and done again if there is time, put back and failed otherwise, unknown if
    /// somebody else was at it. One that was armed and not confirmed is taken back if its time is over,
    /// before any network; otherwise the line is tried for what is left of it. What of that cannot be read or
    /// settled at the moment is tried again for minutes before it is given up as unknown. Then deletes
    /// before-states whose time is over.
    ///
    /// # Errors
    /// As [`Runner::handle`].
    pub fn recover(&mut self) -> Result<Vec<JobId>, RunnerError> {
        let mut settled = Vec::new();
        for (id, envelope) in self.journal.unfinished() {
            tracing::warn!(job.id = %id, "Settling an order that was interrupted");
            self.vital.within(STEP);
            let (seq, result) = self.settle(id, &envelope)?;
            self.conclude(id, seq, payload_hash(&envelope.payload), true, result)?;
            settled.push(id);
        }
        self.disarm();
        self.end_trial();
        self.note_program();
        self.expire();
        Ok(settled)
    }

    /// For the start of a machine, before anything of its network is read: takes back the files of armed effects
    /// that nobody can confirm any more. One attempt each and no bus, so that no start waits for it; what does
    /// not work out is left open for [`Runner::recover`].
    ///
    /// # Errors
    /// As [`Runner::handle`].
    pub fn take_back_early(&mut self) -> Result<Early, RunnerError> {
        let mut early = Early::default();
        let now = self.dead_man.watch.moment();
        for (id, envelope) in self.journal.unfinished() {
            let over = self.journal.job(&id).is_some_and(|entry| {
                entry.intent.is_some()
                    && deadman::is_over_at_start(entry.armed.as_ref(), entry.confirmed, &now)
            });
            if !over {
                continue;
            }
            match self.try_early(&envelope) {
                Ok((seq, result)) => {
                    self.conclude(id, seq, payload_hash(&envelope.payload), true, result)?;
                    early.taken_back.push(id);
                }
                Err(why) => early.left.push((id, why)),
            }
        }
        self.disarm();
        Ok(early)
    }

    /// # Errors
    /// Why the agent has to see to it.
    fn try_early(&self, envelope: &Envelope) -> Result<(u64, JobResult), String> {
        let job: Job = serde_json::from_str(&envelope.payload)
            .map_err(|error| format!("the order is not understood: {error}"))?;
        let Begun { bound, saved, goal } = self.begun(&job).map_err(|stuck| stuck.why)?;
        // Nobody reads packages, services and settings of the running kernel from a file.
        if bound.paths().is_empty() {
            return Err("it is not a matter of files".to_owned());
        }
        bound.settle(self.host.as_ref()).map_err(|error| error.sentence())?;
        self.put_back(bound.as_ref(), &saved.before, &goal).map_err(|stuck| stuck.why)?;
        let why = "before the machine was started again";
        Ok((job.seq, super::confirm::taken_back(&goal, why)))
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

    /// An armed effect is not given up because of what is in the way at the moment.
    fn settle_begun(&mut self, job: &Job) -> Result<JobResult, RunnerError> {
        let mut perseverance = self.persevere();
        loop {
            let stuck = match self.try_to_settle(job)? {
                Ok(result) => return Ok(result),
                Err(stuck) => stuck,
            };
            let armed = self.journal.job(&job.id).is_some_and(|entry| entry.armed.is_some());
            if stuck.is_final || !armed || !self.again(&mut perseverance, &stuck.why) {
                return Ok(JobResult::Unknown { detail: stuck.why });
            }
        }
    }

    fn try_to_settle(&mut self, job: &Job) -> Result<Result<JobResult, Stuck>, RunnerError> {
        let Begun { bound, saved, goal } = match self.begun(job) {
            Ok(begun) => begun,
            Err(stuck) => return Ok(Err(stuck)),
        };
        let bound = bound.as_ref();
        if bound.replaces_agent() {
            return self.settle_update(bound, &saved, &goal);
        }
        // Whatever takes its time from here on, the timer runs.
        self.next(job.id)?;
        if let Err(error) = bound.settle(self.host.as_ref()) {
            return Ok(Err(error.into()));
        }
        let next = self.next(job.id)?;
        if next == Next::TakeBack {
            let why = "in time: the agent was stopped before";
            return Ok(Ok(self.take_back(bound, &saved.before, &goal, why)));
        }
        match (self.reached(bound, &goal), next) {
            (Ok((true, now)), Next::Confirm(left)) => {
                let done = success(&saved.before, now, &goal);
                return self.confirm(job.id, bound, &saved.before, &goal, left, done).map(Ok);
            }
            (Ok((true, now)), Next::Settled | Next::TakeBack) => {
                return Ok(Ok(success(&saved.before, now, &goal)));
            }
            (Ok((false, _)), _) => {}
            (Err(error), _) => return Ok(Err(error.into())),
        }
        if let Err(Stuck { why, is_final }) = self.put_back(bound, &saved.before, &goal) {
            let why = format!("the agent stopped in the middle; {why}");
            return Ok(Err(Stuck { why, is_final }));
        }
        let may = self.may_still(job, bound, &saved).and_then(|()| self.check_line(bound));
        match may {
            Ok(()) => {
                self.arm(job.id, bound)?;
                self.carry_through(job.id, bound, &saved.before, &goal).map(Ok)
            }
            Err(refusal) => Ok(Ok(JobResult::Failed {
                detail: format!(
                    "the agent stopped in the middle and put the target back; {}",
                    refusal.detail
                ),
            })),
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
    /// Why it cannot be known.
    fn begun(&self, job: &Job) -> Result<Begun, Stuck> {
        let saved = self.snapshots.load(&job.id)?;
        let gone = || Stuck::for_good(format!("there is no operation '{}'", saved.operation));
        let bound = operation::find(&saved.operation)
            .ok_or_else(gone)?
            .bind_prepared(&saved.parameters, job.order.prepared())
            .map_err(|error| Stuck::for_good(error.to_string()))?;
        let goal = self.goal(job)?;
        for path in bound.paths() {
            self.host.discard_leftovers(path)?;
        }
        Ok(Begun { bound, saved, goal })
    }

    fn goal(&self, job: &Job) -> Result<Goal, Stuck> {
        match &job.order {
            Order::Apply { .. } => Ok(Goal::Apply),
            Order::Revert { undoes, .. } => Ok(Goal::Restore(self.snapshots.load(undoes)?.before)),
            Order::Inspect { .. } | Order::Verify { .. } | Order::CollectFacts => {
                Err(Stuck::for_good("the order has no effect"))
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

impl From<SnapshotError> for Stuck {
    fn from(error: SnapshotError) -> Self {
        let is_final = match error {
            SnapshotError::Missing { .. } | SnapshotError::Damaged { .. } => true,
            SnapshotError::Io { .. } | SnapshotError::Full { .. } => false,
        };
        Self { why: crate::sentence::of(&error), is_final }
    }
}
