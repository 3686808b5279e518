//! An update of the agent itself: the process that begins it is not the one that says what came of it.
//!
//! The new program says only that it went well, once the control plane has answered a poll of it. In every other
//! case the earlier one is put back in its place, and says why when it runs again.

use std::sync::Arc;
use std::time::Duration;

use nexplane_core::job::{JobResult, PollRequest};
use uuid::Uuid;

use super::confirm::Stuck;
use super::effect::{Goal, success};
use super::{Runner, RunnerError};
use crate::host::{HostError, Standing};
use crate::operation::{Bound, Observation};
use crate::snapshot::Saved;
use crate::vital::STEP;

/// Longest time that one poll of a trial may take, and between two of them.
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

impl Runner {
    /// Puts the other program in place.
    ///
    /// # Errors
    /// [`RunnerError::HandedOver`] when it is.
    pub(super) fn hand_over(
        &self,
        bound: &dyn Bound,
        before: &Observation,
        goal: &Goal,
    ) -> Result<JobResult, RunnerError> {
        let host = self.host.as_ref();
        let done = match goal {
            Goal::Apply => bound.apply(host, before),
            Goal::Restore(state) => bound.revert(host, state),
        };
        if let Err(error) = done {
            return Ok(JobResult::Failed { detail: error.sentence() });
        }
        match self.reached(bound, goal) {
            // It ran already.
            Ok((true, now)) => Ok(success(before, now, goal)),
            Ok((false, _)) | Err(_) => Err(RunnerError::HandedOver),
        }
    }

    /// Says what came of an update that an earlier process began.
    ///
    /// # Errors
    /// As [`Runner::hand_over`].
    pub(super) fn settle_update(
        &mut self,
        bound: &dyn Bound,
        saved: &Saved,
        goal: &Goal,
    ) -> Result<Result<JobResult, Stuck>, RunnerError> {
        let (reached, now) = match self.reached(bound, goal) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.into())),
        };
        if !reached {
            return Ok(self.not_updated(&saved.before, &now, goal));
        }
        match self.try_trial() {
            Ok(()) => Ok(Ok(success(&saved.before, now, goal))),
            Err(why) => {
                tracing::error!(
                    why,
                    "This program of the agent does not stay; the earlier one is put back"
                );
                if let Err(error) = self.program(|program| program.put_back(&why)) {
                    let error = error.sentence();
                    tracing::error!(
                        error,
                        "The earlier program is not back yet; it is tried again"
                    );
                }
                // Also then: what came of it is the earlier one's to say, and the guard brings it back.
                Err(RunnerError::HandedOver)
            }
        }
    }

    /// The earlier program runs, or one that nobody ordered.
    fn not_updated(
        &self,
        before: &Observation,
        now: &Observation,
        goal: &Goal,
    ) -> Result<JobResult, Stuck> {
        if now.fingerprint != before.fingerprint {
            let why = "neither the earlier program of the agent runs nor the one that was ordered: somebody else \
                       put another one there";
            return Err(Stuck::for_good(why));
        }
        let why = match self.program(|program| program.standing())? {
            Standing::Over { why } => why,
            Standing::None | Standing::Open { .. } | Standing::Confirmed => {
                "the agent was stopped before the other program ran".to_owned()
            }
        };
        self.program(|program| program.put_back(&why))?;
        let what = match goal {
            Goal::Apply => "not updated",
            Goal::Restore(_) => "not undone",
        };
        let detail = format!("{what}: the earlier program of the agent runs again, because {why}");
        Ok(JobResult::Failed { detail })
    }

    /// Polls the control plane until the time of the trial is over.
    ///
    /// # Errors
    /// Why this program may not stay.
    fn try_trial(&self) -> Result<(), String> {
        let sentence = |error: HostError| error.sentence();
        let mut request = PollRequest {
            wait_s: 0,
            have: self.journal.high_water(),
            instance: Uuid::new_v4(),
            number: 0,
            policy_hash: self.policy_hash(),
            distrusted: Vec::new(),
        };
        let mut last = None;
        loop {
            let left = match self.program(|program| program.standing()).map_err(sentence)? {
                Standing::None | Standing::Confirmed => return Ok(()),
                Standing::Over { why } => {
                    return Err(last.map_or(why.clone(), |last| format!("{why} ({last})")));
                }
                Standing::Open { left } => left,
            };
            let Some(line) = self.dead_man.line.as_ref().map(Arc::clone) else {
                return Err("this agent has no line to the control plane".to_owned());
            };
            self.vital.within(ATTEMPT + STEP);
            request.number += 1;
            match line.poll(&request, left.min(ATTEMPT)) {
                Ok(()) => return self.program(|program| program.confirm()).map_err(sentence),
                Err(why) => {
                    tracing::warn!(why, "The control plane has not answered this program yet");
                    last = Some(why);
                }
            }
            self.dead_man.watch.sleep(left.min(PAUSE));
        }
    }

    /// Whether the program that runs has to be answered by the control plane before it counts as being there.
    pub(super) fn is_on_trial(&self, bound: &dyn Bound) -> bool {
        let standing = || self.program(|program| program.standing());
        bound.replaces_agent() && !matches!(standing(), Ok(Standing::None | Standing::Confirmed))
    }

    /// Forgets a trial that ended, once its result is in the journal.
    pub(super) fn end_trial(&self) {
        if !self.journal.unfinished().is_empty() {
            return;
        }
        self.tell_program(|program| program.settled());
    }

    /// Takes note of which program runs here.
    pub(super) fn note_program(&self) {
        self.tell_program(|program| program.noted());
    }

    fn program<T>(
        &self,
        ask: impl FnOnce(&dyn crate::host::OwnProgram) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        self.host.own_program().and_then(ask)
    }

    fn tell_program(
        &self,
        tell: impl FnOnce(&dyn crate::host::OwnProgram) -> Result<(), HostError>,
    ) {
        // Where there is none, there is nothing to tell.
        let Ok(program) = self.host.own_program() else { return };
        if let Err(error) = tell(program) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "What there is to know of the agent's program was not kept");
        }
    }
}
