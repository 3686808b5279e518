//! Carries out rollouts: batch after batch, in each as many parts at the same time as was approved.
//!
//! Where it stands is in the log: batches in the rollout's stream, every target in the run of its part. Who
//! takes it over looks at the parts of the open batch first, and goes on with what is left. One lease covers
//! the rollout and all of its parts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use nexplane_core::aggregate::Principal;
use nexplane_core::change::Execution;
use nexplane_core::id::{ChangeId, ManifestId, RolloutId, RunId};
use nexplane_core::plan::Step;
use nexplane_core::rollout::event::{Part, Tally};
use nexplane_core::rollout::{
    Batch, Hold as Brake, Next, Rolling, Rollout, RolloutCommand, RolloutRejection, RolloutState,
};
use nexplane_core::run::event::{Reason, RunOutcome};
use nexplane_core::run::{Finished, Run, RunCommand, RunState, StepPhase};
use nexplane_core::time::Timestamp;

use super::engine::{Engine, Left};
use super::lease::Lease;
use super::manifest;
use super::round::Round;
use super::step::STOPPED;
use crate::problem::chain;
use crate::stream::{self, Request, StreamError};

/// How often a rollout that waits looks for what another server wrote.
const LOOK: Duration = Duration::from_secs(1);

/// Parts that are looked at, at the same time, when a batch is taken up.
const SURVEY: usize = 16;

/// One worker's hold on a rollout.
pub(super) struct Driver<'a> {
    pub engine: &'a Engine,
    pub change: ChangeId,
    pub change_version: u64,
    pub execution: &'a Execution,
    pub lease: &'a Lease,
    rollout: RolloutId,
    manifest: ManifestId,
    steps: Vec<Step>,
    /// The earliest limit to undoing what its parts did, of those that were looked at.
    undo_until: Mutex<Option<Timestamp>>,
}

/// Where a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Complete,
    Failed,
    Unknown,
    /// Stopped before anything was sent.
    NotStarted,
    /// On the way back: nothing could be undone, and nothing was sent. It counts as failed, but is no
    /// reason to leave others of its batch as they are.
    Blocked,
    /// The same, because somebody moved it, or took it away, since: how it went says nothing of others.
    Moved,
    /// To be carried out.
    Open,
    /// To be gone on with.
    Begun,
}

/// What one round over a batch led to.
struct Driven {
    tally: Tally,
    /// Of those that failed.
    moved: u32,
    /// Parts that are still to be begun.
    open: u32,
}

impl<'a> Driver<'a> {
    /// `None` when the execution is not a rollout's.
    pub(super) async fn of(
        engine: &'a Engine,
        change: ChangeId,
        change_version: u64,
        execution: &'a Execution,
        lease: &'a Lease,
    ) -> Result<Option<Self>, Left> {
        let Some(parts) = &execution.plan.parts else { return Ok(None) };
        let steps = manifest::read(engine.log(), parts.manifest).await?;
        let (rollout, manifest) = (RolloutId::from(execution.run), parts.manifest);
        Ok(Some(Self {
            engine,
            change,
            change_version,
            execution,
            lease,
            rollout,
            manifest,
            steps,
            undo_until: Mutex::default(),
        }))
    }

    /// To its end, or until this worker has to leave it.
    pub(super) async fn drive(&self) -> Result<(), Left> {
        if !self.execution.plan.is_made_of(&self.steps) {
            let reason = "Its manifest is not the one that was approved.".to_owned();
            self.tell(RolloutCommand::Stop { reason }).await?;
        }
        // Nothing of the open batch is left to do until the pause is over.
        let mut rests = false;
        loop {
            if self.engine.is_stopping() {
                return Err(Left::Stopping);
            }
            let moved = self.engine.moved();
            let RolloutState::Rolling(rolling) = self.load().await? else { return Ok(()) };
            let now = stream::now();
            rests &= matches!(rolling.hold, Brake::Paused { .. });
            match rolling.next(now) {
                Next::Begin => self.tell(RolloutCommand::BeginBatch).await?,
                Next::Drive(_) if rests => self.wait(moved, LOOK).await,
                Next::Drive(batch) => {
                    let Driven { tally, moved, open } = match self.round(&rolling, batch).await {
                        Ok(driven) => driven,
                        // Nothing was sent to any target, and nothing will be.
                        Err(Left::NotBegun(reason)) => {
                            self.tell(RolloutCommand::Stop { reason }).await?;
                            continue;
                        }
                        Err(left) => return Err(left),
                    };
                    if open == 0 {
                        let (no, undo_until) = (batch.no, *self.limit());
                        let end = RolloutCommand::EndBatch { no, tally, moved, undo_until };
                        self.tell(end).await?;
                    } else {
                        rests = true;
                    }
                }
                Next::WaitUntil(moment) => self.wait(moved, until(now, moment).min(LOOK)).await,
                Next::Wait => self.wait(moved, LOOK).await,
                Next::Finish => {
                    self.tell(RolloutCommand::Finish).await?;
                    return Ok(());
                }
            }
        }
    }

    async fn load(&self) -> Result<RolloutState, Left> {
        Ok(stream::load::<Rollout>(self.engine.log(), self.rollout.into()).await?.state)
    }

    /// What a person did in the same moment is looked at, and not an error.
    async fn tell(&self, command: RolloutCommand) -> Result<(), Left> {
        self.has_lease()?;
        let mut request = Request::once(Principal::SYSTEM, stream::now());
        (request.correlation, request.causation) = (self.change.0, self.rollout.0);
        let log = self.engine.log();
        match stream::execute::<Rollout>(log, self.rollout.into(), &request, command).await {
            Ok(_)
            | Err(StreamError::Rejected(
                RolloutRejection::Paused { .. }
                | RolloutRejection::Stopped { .. }
                | RolloutRejection::TooEarly { .. }
                | RolloutRejection::Finished,
            )) => Ok(()),
            Err(error) => Err(Left::Rollout(error)),
        }
    }

    async fn wait(&self, moved: tokio::sync::futures::Notified<'_>, length: Duration) {
        tokio::select! {
            () = moved => {}
            () = tokio::time::sleep(length) => {}
            () = self.engine.stopped() => {}
        }
    }

    /// Every part of a batch once: those that have begun first are looked at, so that what failed before a
    /// crash counts.
    async fn round(&self, rolling: &Rolling, batch: Batch) -> Result<Driven, Left> {
        let parts = batch.first..batch.first.saturating_add(batch.count);
        let mut known = futures_util::stream::iter(parts)
            .map(|no| async move { Ok::<_, Left>((no, self.standing(no).await?)) })
            .buffered(SURVEY);
        let (mut tally, mut moved, mut bad) = (Tally::default(), 0, 0);
        let (mut begun, mut open, mut has_begun) = (Vec::new(), Vec::new(), false);
        while let Some(part) = known.next().await {
            let (no, (at, was_intended)) = part?;
            has_begun |= was_intended;
            match at {
                At::Begun => begun.push(no),
                At::Open => open.push(no),
                At::Complete
                | At::Failed
                | At::Unknown
                | At::NotStarted
                | At::Blocked
                | At::Moved => {}
            }
            bad += u32::from(at.is_bad());
            moved += u32::from(at == At::Moved);
            count(&mut tally, at);
        }
        // Those that have begun may have a turn that the others would wait for.
        begun.append(&mut open);
        let has_begun = has_begun || self.has_begun(rolling).await?;
        let round = Round::new(rolling, bad, has_begun);
        let round = &round;
        let parallel = usize::try_from(rolling.strategy.parallel).unwrap_or(1);
        // What is under way is carried to its end also when this worker has to leave.
        let mut ends = futures_util::stream::iter(begun)
            .map(|no| async move {
                let end = self.part(no, round).await;
                match &end {
                    Ok(at) if at.is_bad() => round.count_bad(),
                    Ok(_) => {}
                    Err(_) => round.leave(),
                }
                end
            })
            .buffer_unordered(parallel);
        let mut waiting = 0;
        let mut left = None;
        while let Some(end) = ends.next().await {
            match end {
                Ok(At::Open) => waiting += 1,
                Ok(at) => {
                    moved += u32::from(at == At::Moved);
                    count(&mut tally, at);
                }
                Err(error) => {
                    let cause = chain(&error);
                    tracing::debug!(rollout.id = %self.rollout, %cause, "left a part for later");
                    // That nothing begins is why the others were left.
                    if left.is_none() || matches!(error, Left::NotBegun(_)) {
                        left = Some(error);
                    }
                }
            }
        }
        match left {
            // Another part was faster, and in time: the others are gone on with.
            Some(Left::NotBegun(_)) if round.has_begun() => {
                Ok(Driven { tally, moved, open: waiting + 1 })
            }
            Some(error) => Err(error),
            None => Ok(Driven { tally, moved, open: waiting }),
        }
    }

    /// Whether something was intended in a batch that has ended. What was complete was; only where nothing was,
    /// as on a way back that finds every target moved, are the parts asked.
    async fn has_begun(&self, rolling: &Rolling) -> Result<bool, Left> {
        let Tally { complete, unknown, .. } = rolling.tally;
        if complete > 0 || unknown > 0 {
            return Ok(true);
        }
        let mut known = futures_util::stream::iter(0..rolling.tally.sum())
            .map(|no| self.standing(no))
            .buffered(SURVEY);
        while let Some(part) = known.next().await {
            if part?.1 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Of a part: where it stands, and whether it was ever intended.
    async fn standing(&self, no: u32) -> Result<(At, bool), Left> {
        let run = RunId::of_part(self.rollout, no);
        let state = stream::load::<Run>(self.engine.log(), run.into()).await?.state;
        Ok(match state {
            RunState::Absent => (At::Open, false),
            RunState::Running(run) => (At::Begun, run.has_begun),
            RunState::Finished(finished) => (self.ended(&finished), finished.run.has_begun),
        })
    }

    /// Without it another worker may be at the parts, and at the batch, by now.
    fn has_lease(&self) -> Result<(), Left> {
        self.lease.time_left().map(drop).ok_or(Left::LeaseLost)
    }

    /// Carries out one part. One that has begun goes on, whatever is in the way of others.
    async fn part(&self, no: u32, round: &Round<'_>) -> Result<At, Left> {
        let run = RunId::of_part(self.rollout, no);
        let log = self.engine.log();
        let state = stream::load::<Run>(log, run.into()).await?.state;
        self.has_lease()?;
        if round.is_left() {
            return Err(Left::Leaving);
        }
        let running = match state {
            RunState::Finished(finished) => return Ok(self.ended(&finished)),
            RunState::Running(running) => running,
            RunState::Absent => {
                if self.engine.is_stopping() {
                    return Err(Left::Stopping);
                }
                let RolloutState::Rolling(rolling) = self.load().await? else {
                    return Err(Left::Taken);
                };
                match rolling.hold {
                    Brake::Free if round.held().is_none() => {}
                    Brake::Free | Brake::Stopped { .. } => return Ok(At::NotStarted),
                    Brake::Paused { .. } => return Ok(At::Open),
                }
                match self.begin(no, run).await? {
                    RunState::Running(running) => running,
                    RunState::Absent | RunState::Finished(_) => return Err(Left::Taken),
                }
            }
        };
        match self.engine.carry_part(self, run, (self.rollout, round), running).await {
            Ok(finished) => Ok(self.ended(&finished)),
            Err(Left::Paused) => Ok(At::Open),
            Err(left) => Err(left),
        }
    }

    /// How a part ended, with a note of how long it can be undone.
    fn ended(&self, finished: &Finished) -> At {
        let mut limit = self.limit();
        *limit = limit.into_iter().chain(finished.run.undo_until()).min();
        ended(finished)
    }

    fn limit(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.undo_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin(&self, no: u32, run: RunId) -> Result<RunState, Left> {
        let step = usize::try_from(no).ok().and_then(|no| self.steps.get(no));
        let step = step.ok_or(Left::Taken)?;
        let command = RunCommand::Start {
            change: self.change,
            plan: Box::new(self.execution.plan.part(step)),
            approvals: self.execution.approvers.clone(),
            undoes: step.undoes.map(|undoes| undoes.run),
            part: Some(Part { rollout: self.rollout, manifest: self.manifest, no }),
        };
        let purpose = format!("part {no}");
        let request = Request::following(self.rollout.0, self.change.0, &purpose, stream::now());
        let log = self.engine.log();
        Ok(stream::execute::<Run>(log, run.into(), &request, command).await?.state)
    }
}

impl At {
    /// Whether it counts towards what was agreed.
    const fn is_bad(self) -> bool {
        match self {
            Self::Failed | Self::Unknown => true,
            Self::Complete
            | Self::NotStarted
            | Self::Blocked
            | Self::Moved
            | Self::Open
            | Self::Begun => false,
        }
    }
}

/// How a part ended.
fn ended(finished: &Finished) -> At {
    match finished.outcome {
        RunOutcome::Complete => At::Complete,
        RunOutcome::OutcomeUnknown => At::Unknown,
        RunOutcome::Failed | RunOutcome::RollbackPartial | RunOutcome::RollbackBlocked => {
            let blocked = finished.run.steps.iter().find_map(|phase| {
                if let StepPhase::Blocked { reason } = phase { Some(reason) } else { None }
            });
            match finished.outcome {
                _ if blocked.is_some_and(|reason| reason.kind == STOPPED) => At::NotStarted,
                RunOutcome::RollbackBlocked if blocked.is_some_and(Reason::is_moved) => At::Moved,
                RunOutcome::RollbackBlocked => At::Blocked,
                RunOutcome::Complete
                | RunOutcome::Failed
                | RunOutcome::OutcomeUnknown
                | RunOutcome::RollbackPartial => At::Failed,
            }
        }
    }
}

const fn count(tally: &mut Tally, at: At) {
    match at {
        At::Complete => tally.complete += 1,
        At::Failed | At::Blocked | At::Moved => tally.failed += 1,
        At::Unknown => tally.unknown += 1,
        At::NotStarted => tally.not_started += 1,
        At::Open | At::Begun => {}
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    let micros = then.as_micros().saturating_sub(now.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
