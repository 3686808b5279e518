//! Commit-confirmed: an effect that may cut the agent's line stands only when the control plane was reached
//! after it, over a connection that was made after it. Otherwise the agent takes it back by itself, and does not
//! give up at the first hindrance.

use std::io;
use std::time::Duration;

use nexplane_core::id::JobId;
use nexplane_core::job::{JobResult, RefusalCode};
use nexplane_core::plan::Check;

use super::check::Refusal;
use super::effect::Goal;
use super::{Runner, RunnerError};
use crate::deadman::Armed;
use crate::host::HostError;
use crate::journal::Record;
use crate::keep::write_private;
use crate::operation::{Bound, Observation};
use crate::vital::STEP;

/// Longest time that one attempt at the line may take: one that hangs must not use up all of them.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Between attempts at the line, and before the second attempt at taking an effect back.
const PAUSE: Duration = Duration::from_secs(1);
/// Each pause between attempts at taking an effect back is twice the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Attempts at reading, settling or taking back an effect, and how long they are begun for: a package manager
/// that is at work, or a bus that is started anew, is back within minutes.
const ATTEMPTS: u32 = 30;
const PERSEVERANCE: Duration = Duration::from_mins(10);

/// Why an effect could not be read, settled or taken back.
pub(super) struct Stuck {
    pub why: String,
    /// Another attempt would find the same.
    pub is_final: bool,
}

impl Stuck {
    pub fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: true }
    }

    pub fn for_now(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: false }
    }
}

impl From<HostError> for Stuck {
    fn from(error: HostError) -> Self {
        let is_final = match error {
            HostError::Denied { .. } | HostError::Unsupported { .. } | HostError::BadState(..) => {
                true
            }
            HostError::Unsafe { .. }
            | HostError::TooLarge { .. }
            | HostError::Missing { .. }
            | HostError::Moved { .. }
            | HostError::UnknownName { .. }
            | HostError::Io { .. }
            | HostError::Package { .. }
            | HostError::Unplanned { .. }
            | HostError::Service { .. }
            | HostError::Item { .. } => false,
        };
        Self { why: error.sentence(), is_final }
    }
}

/// What is left of the attempts at something that the host may not let happen at the moment.
pub(super) struct Perseverance {
    until: Duration,
    pause: Duration,
    attempts: u32,
}

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
            // Before the record, so that no armed effect is overlooked when the machine starts.
            if let Some(marker) = &self.dead_man.marker {
                write_private(marker, b"").map_err(RunnerError::Marker)?;
            }
            let armed = Armed::new(self.dead_man.watch.moment(), self.dead_man.limit);
            self.journal.append(&Record::Armed { job, armed })?;
        }
        Ok(())
    }

    /// Takes the marker away once nothing armed is open. One that stays costs a look at the next start.
    pub(super) fn disarm(&self) {
        let Some(marker) = &self.dead_man.marker else { return };
        let is_armed = |id: &JobId| self.journal.job(id).is_some_and(|entry| entry.armed.is_some());
        if self.journal.unfinished().iter().any(|(id, _)| is_armed(id)) {
            return;
        }
        if let Err(error) = std::fs::remove_file(marker)
            && error.kind() != io::ErrorKind::NotFound
        {
            let marker = marker.display().to_string();
            tracing::warn!(marker, %error, "The mark of an armed effect could not be removed");
        }
    }

    /// Does it, reads it back, and has it confirmed if it was armed.
    pub(super) fn carry_through(
        &mut self,
        job: JobId,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> Result<JobResult, RunnerError> {
        let (done, is_left) = self.perform(bound, before, goal);
        if !bound.may_cut_line() {
            return Ok(done);
        }
        if done.is_success() {
            // The operation had its own time; the line gets all of its.
            let limit = self.dead_man.limit.duration();
            return self.confirm(job, bound, before, goal, limit, done);
        }
        // A part of it may be there, and the line may hang on that part.
        if is_left
            && let JobResult::Unknown { detail } = &done
            && self.put_back_in_the_end(bound, before, goal).is_ok()
        {
            return Ok(JobResult::Failed { detail: format!("{detail}; put back later") });
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
            self.vital.within(ATTEMPT + STEP);
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
        match self.put_back_in_the_end(bound, before, goal) {
            Ok(()) => taken_back(goal, why),
            Err(left) => JobResult::Unknown {
                detail: format!("the control plane could not be reached {why}, and then: {left}"),
            },
        }
    }

    /// Makes the target as it was, with as many attempts as that takes, within bounds.
    ///
    /// # Errors
    /// What the last attempt met.
    fn put_back_in_the_end(
        &self,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> Result<(), String> {
        let mut perseverance = self.persevere();
        loop {
            match self.put_back(bound, before, goal) {
                Ok(()) => return Ok(()),
                Err(stuck) if stuck.is_final || !self.again(&mut perseverance, &stuck.why) => {
                    return Err(stuck.why);
                }
                Err(_) => {}
            }
        }
    }

    pub(super) fn persevere(&self) -> Perseverance {
        self.vital.within(STEP);
        let until = self.dead_man.watch.running().saturating_add(PERSEVERANCE);
        Perseverance { until, pause: PAUSE, attempts: ATTEMPTS }
    }

    /// Waits before another attempt, each time longer; false when it was tried often or long enough. The
    /// service manager hears of each attempt, so that only one that hangs is ended by it.
    pub(super) fn again(&self, left: &mut Perseverance, why: &str) -> bool {
        let watch = &self.dead_man.watch;
        left.attempts = left.attempts.saturating_sub(1);
        if left.attempts == 0 || watch.running().saturating_add(left.pause) >= left.until {
            return false;
        }
        let pause_s = left.pause.as_secs();
        tracing::warn!(
            why,
            pause_s,
            "An armed effect is not settled yet; tried again after a pause"
        );
        self.vital.within(left.pause + STEP);
        watch.sleep(left.pause);
        left.pause = left.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.vital.within(STEP);
        true
    }
}

/// What is reported of an effect that the agent took back.
pub(super) fn taken_back(goal: &Goal, why: &str) -> JobResult {
    let what = match goal {
        Goal::Apply => "not applied",
        Goal::Restore(_) => "not undone",
    };
    JobResult::Failed {
        detail: format!(
            "{what}: reverted by itself because the control plane could not be reached {why}"
        ),
    }
}
