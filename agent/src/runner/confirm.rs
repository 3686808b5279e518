//! Commit-confirmed: an effect that may cut the agent's line stands only when the control plane was reached
//! after it, over a connection that was made after it. Otherwise the agent takes it back by itself.

use std::time::Duration;

use nexplane_core::id::JobId;
use nexplane_core::job::{JobResult, RefusalCode};
use nexplane_core::plan::Check;

use super::check::Refusal;
use super::effect::Goal;
use super::{Runner, RunnerError};
use crate::deadman::Armed;
use crate::journal::Record;
use crate::operation::{Bound, Observation};

/// Longest time that one attempt at the line may take: one that hangs must not use up all of them.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Between attempts at the line.
const PAUSE: Duration = Duration::from_secs(1);
/// Attempts at taking an effect back, a pause apart: a service or a file may be busy for a moment.
const TAKE_BACK_ATTEMPTS: u32 = 5;

impl Runner {
    /// What the operation asks of the host, and what becomes of the line.
    pub(super) fn checks(&self, bound: &dyn Bound) -> Vec<Check> {
        let mut checks = bound.validate(self.host.as_ref());
        if bound.may_cut_line() {
            checks.push(self.line_check());
        }
        checks
    }

    fn line_check(&self) -> Check {
        let name = "commit_confirmed".to_owned();
        if self.dead_man.line.is_some() {
            let limit_s = self.dead_man.limit.seconds();
            let detail = format!(
                "armed: reverts by itself when the control plane is not reached within {limit_s} s"
            );
            Check { name, ok: true, detail }
        } else {
            let detail = "it may cut the line to the control plane, and this agent has no line over which \
                          it could be confirmed";
            Check { name, ok: false, detail: detail.to_owned() }
        }
    }

    /// Refuses what could never be confirmed.
    pub(super) fn check_line(&self, bound: &dyn Bound) -> Result<(), Refusal> {
        if !bound.may_cut_line() || self.dead_man.line.is_some() {
            return Ok(());
        }
        Err(Refusal::new(RefusalCode::CheckFailed, self.line_check().detail))
    }

    /// Makes the timer durable, when the operation needs one.
    pub(super) fn arm(&mut self, job: JobId, bound: &dyn Bound) -> Result<(), RunnerError> {
        if bound.may_cut_line() {
            let armed = Armed::new(self.dead_man.watch.moment(), self.dead_man.limit);
            self.journal.append(&Record::Armed { job, armed })?;
        }
        Ok(())
    }

    /// Does it, reads it back, and has it confirmed if it was armed.
    pub(super) fn carry_through(
        &mut self,
        job: JobId,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> Result<JobResult, RunnerError> {
        let done = self.perform(bound, before, goal);
        if done.is_success() && bound.may_cut_line() {
            // The operation had its own time; the line gets all of its.
            let limit = self.dead_man.limit.duration();
            return self.confirm(job, bound, before, goal, limit, done);
        }
        Ok(done)
    }

    /// Tries the line for as long as `left`. What came of it stands when it is reached, and is taken back
    /// otherwise.
    pub(super) fn confirm(
        &mut self,
        job: JobId,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
        left: Duration,
        done: JobResult,
    ) -> Result<JobResult, RunnerError> {
        match self.reach(left) {
            Ok(()) => {
                let at = (self.clock)();
                self.journal.append(&Record::Confirmed { job, at })?;
                Ok(done)
            }
            Err(why) => {
                tracing::error!(job.id = %job, why, "The control plane is not reached any more; the effect is taken back");
                let limit_s = self.journal.job(&job).and_then(|entry| entry.armed.as_ref());
                let limit_s = limit_s.map_or(left.as_secs(), |armed| u64::from(armed.limit_s));
                Ok(self.take_back(bound, before, goal, &format!("within {limit_s} s: {why}")))
            }
        }
    }

    /// # Errors
    /// What the last attempt met.
    fn reach(&self, left: Duration) -> Result<(), String> {
        let Some(line) = &self.dead_man.line else {
            return Err("this agent has no line".to_owned());
        };
        let watch = &self.dead_man.watch;
        let end = watch.running().saturating_add(left);
        let mut last = "there was no time to try".to_owned();
        loop {
            let rest = end.saturating_sub(watch.running());
            if rest.is_zero() {
                return Err(last);
            }
            match line.reach(rest.min(ATTEMPT)) {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
            let rest = end.saturating_sub(watch.running());
            watch.sleep(rest.min(PAUSE));
        }
    }

    /// Makes the target as it was, and says so. Needs no network.
    pub(super) fn take_back(
        &self,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
        why: &str,
    ) -> JobResult {
        let what = match goal {
            Goal::Apply => "not applied",
            Goal::Restore(_) => "not undone",
        };
        let mut attempt = 1;
        loop {
            match self.put_back(bound, before, goal) {
                Ok(()) => {
                    let detail = format!(
                        "{what}: reverted by itself because the control plane could not be reached {why}"
                    );
                    return JobResult::Failed { detail };
                }
                Err(_) if attempt < TAKE_BACK_ATTEMPTS => {
                    attempt += 1;
                    self.dead_man.watch.sleep(PAUSE);
                }
                Err(left) => {
                    let detail =
                        format!("the control plane could not be reached {why}, and then: {left}");
                    return JobResult::Unknown { detail };
                }
            }
        }
    }
}
