//! From `received` to the result of an order that changes the host.

use std::sync::Arc;

use nexplane_core::id::JobId;
use nexplane_core::job::{Authority, JobEvent, JobResult, RefusalCode};
use nexplane_core::plan::Step;

use super::check::{Refusal, Work, seen, unreadable};
use super::confirm::Stuck;
use super::{Progress, Runner, RunnerError, failed_checks};
use crate::host::HostError;
use crate::journal::Record;
use crate::operation::{Bound, Observation};
use crate::snapshot::Saved;

/// What an effect brings about.
pub(super) enum Goal {
    /// What the operation intends.
    Apply,
    /// An earlier state.
    Restore(Observation),
}

impl Runner {
    pub(super) fn effect(
        &mut self,
        job: JobId,
        work: Work,
        progress: Progress<'_>,
    ) -> Result<JobResult, RunnerError> {
        let (bound, step, authority, not_after, goal) = match work {
            Work::Apply { bound, step, authority, not_after } => {
                (bound, step, authority, not_after, Goal::Apply)
            }
            Work::Revert { bound, step, authority, not_after, saved } => {
                (bound, step, authority, not_after, Goal::Restore(saved.before))
            }
            Work::CollectFacts | Work::Inspect { .. } | Work::Verify { .. } => {
                let detail = "the order has no effect".to_owned();
                return Ok(JobResult::Failed { detail });
            }
        };
        let before = match self.prepare(job, bound.as_ref(), &step, &authority, &goal) {
            Ok(before) => before,
            Err(refusal) => return Ok(refusal.into()),
        };
        // Fetching takes time, and the control plane may have given the order up.
        if (self.clock)() >= not_after {
            let detail = "the order ended while what it needs was fetched; nothing was changed";
            return Ok(Refusal::new(RefusalCode::Expired, detail).into());
        }
        self.arm(job, bound.as_ref())?;
        let at = (self.clock)();
        let fingerprint = before.fingerprint.clone();
        self.journal.append(&Record::Intent { job, at, before: fingerprint })?;
        progress(job, JobEvent::Intent { at });
        if bound.replaces_agent() {
            return self.hand_over(bound.as_ref(), &before, &goal);
        }
        self.carry_through(job, bound.as_ref(), &before, &goal)
    }

    /// Asks the host, fetches what is needed, then captures and saves the before-state. Changes nothing.
    fn prepare(
        &mut self,
        job: JobId,
        bound: &dyn Bound,
        step: &Step,
        authority: &Authority,
        goal: &Goal,
    ) -> Result<Observation, Refusal> {
        let host = Arc::clone(&self.host);
        let host = host.as_ref();
        self.check_line(bound)?;
        // The way back was possible when the way there was; only reading has to work.
        if matches!(goal, Goal::Apply)
            && let Some(refusal) = failed_checks(&bound.validate(host))
        {
            return Err(refusal);
        }
        let before = match goal {
            Goal::Apply => bound.snapshot(host),
            Goal::Restore(state) => seen(bound, host, state, &[&authority.precondition]),
        };
        let before = before.map_err(unreadable)?;
        if before.fingerprint != authority.precondition {
            let detail = "the target moved right before the effect";
            return Err(Refusal::drift(detail, before.fields));
        }
        let before = match goal {
            Goal::Apply => before,
            // What is gone back to may cover more, and that may have to come back, too.
            Goal::Restore(state) => bound.reread(host, state).map_err(unreadable)?,
        };
        // There may be more room afterwards.
        self.expire();
        let back_to = match goal {
            Goal::Apply => None,
            Goal::Restore(state) => Some(state),
        };
        bound.provide(host, &job, &before, back_to).map_err(|error| {
            let why = error.sentence();
            let detail = format!("what it needs could not be had, so nothing was changed: {why}");
            Refusal::new(RefusalCode::CheckFailed, detail)
        })?;
        let saved = Saved {
            job,
            run: authority.run,
            step: step.no,
            operation: step.action.clone(),
            parameters: step.parameters.clone(),
            before,
            until: Some(self.snapshots.until((self.clock)())),
        };
        match self.snapshots.save(&saved) {
            Ok(()) => Ok(saved.before),
            Err(error) => {
                tracing::error!(job.id = %job, error = &error as &dyn std::error::Error,
                    "The before-state could not be saved, so nothing is changed");
                Err(Refusal::new(RefusalCode::NoSnapshot, error.to_string()))
            }
        }
    }

    /// Does it, reads it back, and puts it back when it did not come out. Says besides whether a part of it is
    /// left that may be put back later.
    pub(super) fn perform(
        &self,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> (JobResult, bool) {
        let host = self.host.as_ref();
        let done = match goal {
            Goal::Apply => bound.apply(host, before),
            Goal::Restore(state) => bound.revert(host, state),
        };
        // What stands in no before-state is not put back with it.
        let is_beyond = matches!(done, Err(HostError::Unplanned { .. }));
        let problem = match done {
            Ok(()) => match self.reached(bound, goal) {
                Ok((true, now)) => return (success(before, now, goal), false),
                Ok((false, _)) => "it was done, but reading back did not find it".to_owned(),
                Err(error) => format!("it was done but not read back: {}", error.sentence()),
            },
            Err(error) => error.sentence(),
        };
        match self.put_back(bound, before, goal) {
            Ok(()) if is_beyond => {
                let detail = format!("{problem}; what was planned was put back, and that was not");
                (JobResult::Unknown { detail }, false)
            }
            Ok(()) => (JobResult::Failed { detail: problem }, false),
            Err(left) => {
                (JobResult::Unknown { detail: format!("{problem}; {}", left.why) }, !left.is_final)
            }
        }
    }

    /// Whether the goal is there, read from the target alone.
    pub(super) fn reached(
        &self,
        bound: &dyn Bound,
        goal: &Goal,
    ) -> Result<(bool, Observation), HostError> {
        let host = self.host.as_ref();
        match goal {
            Goal::Apply => bound.verify(host),
            Goal::Restore(state) => {
                let now = bound.reread(host, state)?;
                Ok((now.fingerprint == state.fingerprint, now))
            }
        }
    }

    /// Makes the target as it was before, if what is there now can only be our own doing.
    ///
    /// # Errors
    /// Why the state is not known or not ours to undo.
    pub(super) fn put_back(
        &self,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> Result<(), Stuck> {
        let host = self.host.as_ref();
        let now = bound.reread(host, before)?;
        if now.fingerprint == before.fingerprint {
            return Ok(());
        }
        let ours = match goal {
            Goal::Apply => {
                let intended = bound.intended(host, before)?;
                bound.is_between(&now, before, &intended)
            }
            Goal::Restore(state) => bound.is_between(&now, before, state),
        };
        if !ours {
            let why = "somebody else changed the target meanwhile; it is left as it is";
            return Err(Stuck::for_good(why));
        }
        bound.revert(host, before)?;
        let now = bound.reread(host, before)?;
        if now.fingerprint == before.fingerprint {
            Ok(())
        } else {
            Err(Stuck::for_now("putting back the earlier state did not succeed"))
        }
    }
}

pub(super) fn success(before: &Observation, now: Observation, goal: &Goal) -> JobResult {
    match goal {
        Goal::Apply => JobResult::Applied {
            changed: now.fingerprint != before.fingerprint,
            before: before.fields.clone(),
            before_fingerprint: before.fingerprint.clone(),
            observed: now.fields,
            after_fingerprint: now.fingerprint,
        },
        Goal::Restore(_) => {
            JobResult::Reverted { observed: now.fields, after_fingerprint: now.fingerprint }
        }
    }
}
