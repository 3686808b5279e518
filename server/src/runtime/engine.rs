//! Carries out runs: claim, and for each step intent, effect, verification.
//!
//! The order of things is what makes a crash at any point harmless: a step's before-state is sealed and its intent durable before the effect is
//! sent; what was intended and has no answer is unknown and is settled by reading the target, never
//! by trying again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexplane_core::api::StepProgress;
use nexplane_core::change::{Change, ChangeState, Execution};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, RolloutId, RunId, SecretId, StreamId};
use nexplane_core::rollout::{Rollout, RolloutRejection};
use nexplane_core::run::{Finished, Held, Run, RunCommand, RunState, Running, Terms};
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::lease::{self, Lease};
use super::progress::Hearers;
use super::queue;
use super::rollout::Driver;
use super::round::{self, Round};
use super::spool::Spool;
use super::step;
use super::targets::{Targets, change_owner};
use crate::calendar::{self, About, Looked};
use crate::meeting;
use crate::problem::chain;
use crate::stream::{self, Done, LoadError, Loaded, Prepare, Prepared, Request, StreamError};
use crate::vault::Kind;

/// How long to wait before the database is asked again, at first and at the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a run that waits for its turn looks for turns that another server's run has ended.
const TURN: Duration = Duration::from_secs(1);

/// How often a run that waits for the end of a freeze looks at the calendar.
const THAW: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// How long a worker that went silent keeps its runs.
    pub lease: Duration,
    /// How long an effect may take.
    pub effect: Duration,
    /// How long an effect without an answer may still be on its way to the target.
    pub settle: Duration,
    /// How long reading a target is tried again before its outcome stays unknown.
    pub patience: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            effect: Duration::from_mins(1),
            settle: Duration::from_secs(3),
            patience: Duration::from_mins(1),
        }
    }
}

/// Carries out runs, each in a task of its own.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    targets: Targets,
    options: EngineOptions,
    spool: Spool,
    worker: Uuid,
    running: Mutex<HashSet<RunId>>,
    /// A run of this engine has ended its turn at its targets.
    turns: Notify,
    /// Somebody did something to a rollout.
    moved: Notify,
    /// How far effects are that last.
    hearers: Hearers,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// Why a run was left alone. Somebody else, or a later attempt, goes on with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    #[error("another worker has the run")]
    Taken,
    #[error("the lease may have run out")]
    LeaseLost,
    #[error("the server is stopping")]
    Stopping,
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the run cannot be written")]
    Write(#[from] StreamError<nexplane_core::run::RunRejection>),
    #[error("the database cannot be reached")]
    Database(#[from] sqlx::Error),
    #[error("the runs before it cannot be looked at")]
    Queue(#[from] queue::ClearError),
    #[error("the rollout cannot be written")]
    Rollout(#[source] StreamError<RolloutRejection>),
    #[error("its rollout is paused")]
    Paused,
    #[error("its rollout is not to begin: {0}")]
    NotBegun(String),
    #[error("another part of its batch was left")]
    Leaving,
    #[error("the database is away")]
    Away,
    #[error("a secret cannot be stored or read")]
    Vault(#[from] crate::vault::VaultError),
}

impl Left {
    /// Our own database did not answer; it may later.
    pub(super) const fn is_away(&self) -> bool {
        match self {
            Self::Load(error) => error.is_away(),
            Self::Write(error) => error.is_away(),
            Self::Vault(error) => error.is_away(),
            Self::Database(_) | Self::Away => true,
            Self::Taken
            | Self::LeaseLost
            | Self::Stopping
            | Self::Queue(_)
            | Self::Rollout(_)
            | Self::Paused
            | Self::NotBegun(_)
            | Self::Leaving => false,
        }
    }
}

/// One worker's hold on one run.
pub(super) struct Hold<'a> {
    pub targets: &'a Targets,
    pub options: EngineOptions,
    pub(super) spool: &'a Spool,
    pub(super) hearers: &'a Hearers,
    pub run: RunId,
    pub change: ChangeId,
    /// The version of the change that is executing: every intent is guarded by it.
    change_version: u64,
    pub(super) execution: &'a Execution,
    pub(super) part: Option<PartOf<'a>>,
    pub epoch: u32,
    lease: &'a Lease,
    pub(super) stopping: &'a CancellationToken,
    correlation: Uuid,
}

/// What is particular to the run of a part.
#[derive(Clone, Copy)]
pub(super) struct PartOf<'a> {
    pub rollout: RolloutId,
    connection: ConnectionId,
    target: AssetId,
    pub round: &'a Round<'a>,
}

impl Engine {
    pub fn new(pool: PgPool, targets: Targets, options: EngineOptions, spool: Spool) -> Self {
        Self(Arc::new(Inner {
            pool,
            targets,
            options,
            spool,
            worker: Uuid::now_v7(),
            running: Mutex::default(),
            turns: Notify::new(),
            moved: Notify::new(),
            hearers: Hearers::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// Carries out a run unless this engine does so already. Returns at once.
    pub fn start(&self, change: ChangeId, run: RunId) {
        if self.0.stopping.is_cancelled() || !self.running().insert(run) {
            return;
        }
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            match engine.carry_out(change, run).await {
                Ok(()) | Err(Left::Taken | Left::Stopping) => {}
                Err(error) => {
                    let cause = chain(&error);
                    tracing::warn!(run.id = %run, change.id = %change, %cause, "left a run for later");
                }
            }
            engine.running().remove(&run);
        });
    }

    /// The id that this worker gave itself when it started.
    pub fn worker(&self) -> Uuid {
        self.0.worker
    }

    /// How far the effects are that this server is at, as it goes. Who falls behind misses some.
    pub fn progress(&self) -> broadcast::Receiver<(ChangeId, StepProgress)> {
        self.0.hearers.hear()
    }

    /// Starts nothing more, lets steps that are under way come to an end, and returns.
    pub async fn stop(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashSet<RunId>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(&self, change: ChangeId, run: RunId) -> Result<(), Left> {
        let inner = &*self.0;
        let lease = lease::take(&inner.pool, run, inner.worker, inner.options.lease)
            .await?
            .ok_or(Left::Taken)?;
        let state = stream::load::<Run>(self.log(), run.into()).await?.state;
        let owner = stream::load::<Change>(self.log(), change.into()).await?;
        let execution = match owner.state {
            ChangeState::Executing(execution) if execution.run == run => Some(execution),
            ChangeState::Absent
            | ChangeState::Draft(_)
            | ChangeState::Submitted(_)
            | ChangeState::Approved(_)
            | ChangeState::Executing(_)
            | ChangeState::Finished(_)
            | ChangeState::Closed(_) => None,
        };
        match (state, execution) {
            (RunState::Running(running), Some(execution)) => {
                let hold = self.hold(change, owner.version, &execution, &lease, run, None);
                self.carry(hold, running).await?;
            }
            (RunState::Running(_), None) => {}
            (RunState::Finished(_), _) => self.end_turn(run).await?,
            (RunState::Absent, Some(execution)) => {
                let driver = Driver::of(self, change, owner.version, &execution, &lease).await?;
                if let Some(driver) = driver {
                    driver.drive().await?;
                }
            }
            (RunState::Absent, None) => {}
        }
        lease.release().await?;
        Ok(())
    }

    fn hold<'a>(
        &'a self,
        change: ChangeId,
        change_version: u64,
        execution: &'a Execution,
        lease: &'a Lease,
        run: RunId,
        part: Option<PartOf<'a>>,
    ) -> Hold<'a> {
        Hold {
            targets: &self.0.targets,
            options: self.0.options,
            spool: &self.0.spool,
            hearers: &self.0.hearers,
            run,
            change,
            change_version,
            execution,
            part,
            epoch: 0,
            lease,
            stopping: &self.0.stopping,
            correlation: change.0,
        }
    }

    /// Carries out one part of a rollout that this worker has the lease of.
    pub(super) async fn carry_part(
        &self,
        driver: &Driver<'_>,
        run: RunId,
        (rollout, round): (RolloutId, &Round<'_>),
        running: Running,
    ) -> Result<Finished, Left> {
        let step = running.plan.steps.first().ok_or(Left::Taken)?;
        let part =
            PartOf { rollout, connection: step.connection, target: step.target.asset, round };
        let Driver { change, change_version, execution, lease, .. } = driver;
        let hold = self.hold(*change, *change_version, execution, lease, run, Some(part));
        self.carry(hold, running).await
    }

    /// Claims a run and carries it to its end.
    async fn carry(&self, mut hold: Hold<'_>, running: Running) -> Result<Finished, Left> {
        // What an earlier life knew comes before the claim that would make it late.
        self.tell_waiting(Some(hold.run)).await?;
        let claim = RunCommand::Claim { worker: self.0.worker, after: running.epoch };
        let mut state = hold.claim(claim).await?;
        hold.epoch = state.epoch;
        let end = self.carry_on(&hold, &mut state).await;
        if matches!(end, Err(Left::Paused)) && !state.has_begun {
            // Nobody has to wait for the end of a pause. It asks for its turn again, and reads again.
            self.end_turn(hold.run).await?;
        }
        end
    }

    async fn carry_on(&self, hold: &Hold<'_>, state: &mut Running) -> Result<Finished, Left> {
        self.wait_for_turn(hold, state).await?;
        while state.outcome().is_none() || step::can_settle(state) {
            if self.is_stopping() {
                return Err(Left::Stopping);
            }
            match step::advance(hold, state).await? {
                Some(next) => *state = next,
                None => break,
            }
        }
        let finished = hold.finish().await?;
        self.end_turn(hold.run).await?;
        Ok(finished)
    }

    /// Until no other run is at a target of this one.
    async fn wait_for_turn(&self, hold: &Hold<'_>, run: &mut Running) -> Result<(), Left> {
        let pool = &self.0.pool;
        let assets: Vec<_> = run.plan.steps.iter().map(|step| step.target.asset).collect();
        let reads = meeting::reads(self.log(), &assets).await?;
        queue::join(pool, hold.change, hold.run, &assets, &reads).await?;
        let mut look = None;
        loop {
            let ended = self.0.turns.notified();
            let ahead = queue::ahead(pool, hold.run).await?;
            if ahead.is_empty() || self.is_cancelled(hold.run).await? {
                return Ok(());
            }
            // Not for every turn that ends somewhere: of a large batch many do.
            if look.is_none_or(|look| look <= Instant::now()) {
                look = Some(Instant::now() + TURN);
                if let Some(stopped) = hold.gives_up(run).await? {
                    *run = stopped;
                    return Ok(());
                }
            }
            tokio::select! {
                () = ended => {}
                // Another server's, or one whose worker went away.
                waited = hold.pause(TURN) => {
                    waited?;
                    queue::clear_ended(pool, self.log(), &ahead).await?;
                }
            }
        }
    }

    /// Whether its steps are not to begin any more, so that it need not have a turn.
    async fn is_cancelled(&self, run: RunId) -> Result<bool, Left> {
        Ok(match stream::load::<Run>(self.log(), run.into()).await?.state {
            RunState::Running(running) => running.cancel.is_some(),
            RunState::Absent | RunState::Finished(_) => false,
        })
    }

    /// Runs that wait for their turn look at what somebody asked of them.
    pub fn look_at_runs(&self) {
        self.0.turns.notify_waiters();
    }

    /// Rollouts that wait look at what somebody did to them.
    pub fn look_at_rollouts(&self) {
        self.0.moved.notify_waiters();
    }

    pub(super) fn moved(&self) -> Notified<'_> {
        self.0.moved.notified()
    }

    pub(super) fn log(&self) -> &Log {
        &self.0.targets.log
    }

    pub(super) fn targets(&self) -> &Targets {
        &self.0.targets
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// Whether a task of this engine is at the run.
    pub(super) fn is_at(&self, run: RunId) -> bool {
        self.running().contains(&run)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    pub(super) async fn stopped(&self) {
        self.0.stopping.cancelled().await;
    }

    async fn end_turn(&self, run: RunId) -> Result<(), Left> {
        queue::leave(&self.0.pool, run).await?;
        self.0.turns.notify_waiters();
        Ok(())
    }
}

impl Hold<'_> {
    /// Gives the run a command of this epoch and returns the run as it then is. What cannot be stored is told
    /// without what the target said: it would not be stored later, either.
    pub(super) async fn tell(&self, command: RunCommand) -> Result<Running, Left> {
        let bare = command.bare();
        let told = match (self.append(&Order(command), || Ok(())).await, bare) {
            (Err(Left::Write(error)), Some(bare)) if error.is_unstorable() => {
                tracing::warn!(run.id = %self.run, cause = %chain(&error), "what a target answered cannot be stored");
                self.append(&Order(bare), || Ok(())).await
            }
            (told, _) => told,
        };
        running(told?)
    }

    /// Takes the run over, only while this worker certainly has the lease: its claim fences off every other.
    async fn claim(&self, command: RunCommand) -> Result<Running, Left> {
        let has_lease = || self.time_left().map(drop);
        has_lease()?;
        running(self.append(&Order(command), has_lease).await?)
    }

    /// The intent: the same, only while the change is still the one that was approved, the calendar lets
    /// it run, the first one of all also while what it was started under holds, and this worker certainly has the lease. `command` makes it of what is in the way.
    pub(super) async fn intend(
        &self,
        command: impl Fn(InTheWay, Option<Held>, Option<Terms>) -> RunCommand + Send + Sync,
    ) -> Result<Running, Left> {
        let has_lease = || self.time_left().map(drop);
        has_lease()?;
        let run = running(self.append(&Intent { hold: self, command }, has_lease).await?)?;
        if let Some(part) = self.part {
            part.round.begin();
        }
        Ok(run)
    }

    /// Waits for the end of what is in the way.
    pub(super) async fn wait_for_thaw(&self) -> Result<(), Left> {
        loop {
            if self.look().await?.in_the_way.frozen.is_empty() {
                return Ok(());
            }
            self.pause(THAW).await?;
        }
    }

    /// What the calendar says of the change.
    async fn look(&self) -> Result<Looked, LoadError> {
        let about = match &self.part {
            None => About::execution(self.execution),
            Some(part) => About::part(self.execution, part.connection, &part.target),
        };
        calendar::look(&self.targets.log, &about).await
    }

    fn change_guard(&self) -> Guard {
        Guard { stream: self.change.into(), version: self.change_version }
    }

    /// How long the effect may take: as long as nobody else can have the run.
    pub(super) fn time_left(&self) -> Result<Duration, Left> {
        let left = self.lease.time_left().ok_or(Left::LeaseLost)?;
        if left < Duration::from_secs(1) && left < self.options.lease / 4 {
            return Err(Left::LeaseLost);
        }
        Ok(left)
    }

    /// Waits, unless the server stops.
    pub(super) async fn pause(&self, length: Duration) -> Result<(), Left> {
        tokio::select! {
            () = tokio::time::sleep(length) => Ok(()),
            () = self.stopping.cancelled() => Err(Left::Stopping),
        }
    }

    pub(super) fn request(&self) -> Request {
        let mut request = Request::once(nexplane_core::aggregate::Principal::SYSTEM, stream::now());
        request.correlation = self.correlation;
        request.causation = self.run.0;
        request
    }

    async fn finish(&self) -> Result<Finished, Left> {
        let command = RunCommand::Finish { epoch: self.epoch };
        match self.append(&Order(command), || Ok(())).await?.state {
            RunState::Finished(finished) => Ok(finished),
            RunState::Absent | RunState::Running(_) => Err(Left::Taken),
        }
    }

    /// Appends; while the database is away it asks again with the same command id, so that an
    /// outcome is neither lost nor doubled. For as long as `may` says.
    async fn append(
        &self,
        prepare: &impl Prepare<Run>,
        may: impl Fn() -> Result<(), Left>,
    ) -> Result<Done<Run>, Left> {
        let mut request = self.request();
        let mut wait = FIRST_PAUSE;
        loop {
            let log = &self.targets.log;
            let answer = stream::execute_prepared(log, self.run.into(), &request, prepare).await;
            match answer {
                Err(error) if error.is_away() && !self.stopping.is_cancelled() => {
                    // It may have been written all the same.
                    request.repeated = true;
                    self.wait_for_database(&mut wait).await;
                    may()?;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// A pause, longer each time, before our own database is asked again.
    pub(super) async fn wait_for_database(&self, wait: &mut Duration) {
        tracing::warn!(run.id = %self.run, "the database is away; what is to be written waits");
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(LONGEST_PAUSE);
    }

    /// Stores a secret that an effect brought; while the database is away it is kept here.
    pub(super) async fn keep(&self, name: &str, value: &[u8]) -> Result<SecretId, Left> {
        let owner = change_owner(self.change);
        let mut wait = FIRST_PAUSE;
        loop {
            match self.targets.vault.seal(&owner, Kind::Produced, name, value).await {
                Err(error) if error.is_away() && !self.stopping.is_cancelled() => {
                    self.wait_for_database(&mut wait).await;
                }
                sealed => return Ok(sealed?),
            }
        }
    }
}

/// A command that depends on the run alone.
struct Order(RunCommand);

impl Prepare<Run> for Order {
    async fn prepare(&self, _: &RunState) -> Result<Prepared<RunCommand>, LoadError> {
        Ok(Prepared { command: self.0.clone(), at: None, guards: Vec::new() })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        false
    }
}

struct Intent<'a, F> {
    hold: &'a Hold<'a>,
    command: F,
}

impl<F> Prepare<Run> for Intent<'_, F>
where
    F: Fn(InTheWay, Option<Held>, Option<Terms>) -> RunCommand + Send + Sync,
{
    async fn prepare(&self, state: &RunState) -> Result<Prepared<RunCommand>, LoadError> {
        let (terms, project) = match state {
            RunState::Running(run) => self.hold.terms(run).await?,
            RunState::Absent | RunState::Finished(_) => (None, Vec::new()),
        };
        let Looked { at, in_the_way, mut guards } = self.hold.look().await?;
        guards.push(self.hold.change_guard());
        guards.extend(project);
        let mut held = None;
        if let Some(PartOf { rollout, round, .. }) = self.hold.part {
            let log = &self.hold.targets.log;
            let Loaded { state, version } = stream::load::<Rollout>(log, rollout.into()).await?;
            held = round::brake(state).or_else(|| round.held());
            guards.push(Guard { stream: rollout.into(), version });
        }
        Ok(Prepared { command: (self.command)(in_the_way, held, terms), at: Some(at), guards })
    }

    /// The change is what was approved, or the run is left alone.
    fn is_decided_again(&self, moved: StreamId) -> bool {
        moved != self.hold.change_guard().stream
    }
}

fn running(done: Done<Run>) -> Result<Running, Left> {
    running_of(done.state)
}

pub(super) fn running_of(state: RunState) -> Result<Running, Left> {
    match state {
        RunState::Running(running) => Ok(running),
        RunState::Finished(finished) => Ok(finished.run),
        RunState::Absent => Err(Left::Taken),
    }
}
