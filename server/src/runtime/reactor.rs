//! Follows the log and performs what the process managers ask for.
//!
//! One reactor is at work per installation (an advisory lock in the database); the others wait for
//! the lock. One that hangs, or is cut off, has no right to it: the database ends the session of a
//! holder that it has not heard for the length of a lease. Effects are repeatable, so a position is
//! stored after its effects, and what a crash interrupted, or two reactors did at once, is done again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use nexplane_core::aggregate::Principal;
use nexplane_core::change::event::Produced;
use nexplane_core::change::{BEFOREHAND_VALID_S, Change, ChangeCommand, ChangeState, checked_size};
use nexplane_core::connection::{Connection, ConnectionCommand};
use nexplane_core::event::Recorded;
use nexplane_core::host::Host;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId, RolloutId, RunId, ScheduleId};
use nexplane_core::process::{Effect, react};
use nexplane_core::risk::Environment;
use nexplane_core::rollout::event::Strategy;
use nexplane_core::rollout::{Rollout, RolloutCommand, RolloutState};
use nexplane_core::run::event::RunOutcome;
use nexplane_core::run::{Run, RunCommand, RunState};
use nexplane_core::time::Timestamp;
use nexplane_projections::{Projections, changes, inventory, projects, schedules, upkeep};
use nexplane_store::log::{Cursor, Log};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::back;
use super::discovery::{Discoverer, UnderWay};
use super::engine::Engine;
use super::planner::Planner;
use super::projects::Carrier;
use super::recurring::Maker;
use super::schedule;
use super::targets::Targets;
use crate::problem::chain;
use crate::stream::{self, LoadError, Request, StreamError};

/// Key of the advisory lock: the first eight bytes of SHA-256("nexplane reactor").
const LOCK: i64 = 0x5d0b_6b4e_9a3c_1f27;

/// How long the start of a rollback waits for the read model that says what was applied since.
const WAIT_FOR_LATER: Duration = Duration::from_secs(10);

/// Scheduled changes that are looked at, and whose targets are read, at the same time.
static STARTS: Semaphore = Semaphore::const_new(16);

/// Hosts that are connected, and hosts whose facts are read, at the same time: thousands may come at
/// once, and all of them go through the same few connections to the database.
const HOSTS_AT_ONCE: usize = 32;
static DISCOVERIES: Semaphore = Semaphore::const_new(HOSTS_AT_ONCE);

/// How long a connection is left alone whose discovery could not even be recorded.
const PAUSE: Duration = Duration::from_mins(1);

/// How often in the length of a lease the database hears of the holder of the lock, and how often runs
/// and approvals are looked at that nobody woke anybody for: every 5 s when a lease is 30 s.
const BEATS: u32 = 6;

/// What is looked at when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Change(ChangeId),
    Schedule(ScheduleId),
    Discovery(ConnectionId),
}

#[derive(Clone)]
pub struct Reactor {
    pub discoveries: UnderWay,
    pub pool: PgPool,
    pub log: Log,
    pub projections: Projections,
    pub engine: Engine,
    pub discoverer: Discoverer,
    pub planner: Planner,
    pub targets: Targets,
    /// How long a reactor that went silent keeps the lock; as long as it keeps its runs.
    pub lease: Duration,
}

impl Reactor {
    /// Works until `stop`; starts over after an error, with a pause.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let worked = tokio::select! {
                worked = self.work() => worked,
                () = stop.cancelled() => return,
            };
            if let Err(error) = worked {
                tracing::warn!(cause = %chain(&*error), "the reactor starts over");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn work(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut lock = PgConnection::connect_with(&self.pool.connect_options()).await?;
        sqlx::query("SELECT set_config('idle_session_timeout', $1, false)")
            .bind(format!("{}ms", self.lease.as_millis()))
            .execute(&mut lock)
            .await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut lock).await?;
        let next: i64 = sqlx::query_scalar("SELECT next_position FROM nexplane.reactor")
            .fetch_one(&mut lock)
            .await?;
        let head = self.log.head().await?;
        let mut subscription = self.log.subscribe(Cursor {
            incarnation: head.incarnation,
            position: u64::try_from(next)?,
            last_leaf_hash: None,
        });
        let beat = self.lease / BEATS;
        let mut sweep = tokio::time::interval(beat);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Opens before the sweep would find it.
        let mut due: BinaryHeap<Reverse<(Timestamp, Due)>> = BinaryHeap::new();
        loop {
            let next = due.peek().map(|Reverse((opens, _))| *opens);
            tokio::select! {
                batch = subscription.next() => {
                    let batch = batch?;
                    let mut heard = Instant::now();
                    let events: Vec<_> = batch.iter().map(stream::recorded).collect::<Result<_, _>>()?;
                    self.connect_hosts(&events).await?;
                    for ((stored, event), left) in batch.iter().zip(&events).zip((0..batch.len()).rev()) {
                        self.perform_all(event, &mut due).await?;
                        if left == 0 || heard.elapsed() > beat {
                            // Also says whether the lock's connection is still there.
                            sqlx::query("UPDATE nexplane.reactor SET next_position = $1")
                                .bind(i64::try_from(stored.position + 1)?)
                                .execute(&mut lock)
                                .await?;
                            heard = Instant::now();
                        }
                    }
                }
                () = until(next) => {
                    match due.pop() {
                        Some(Reverse((_, Due::Change(change)))) => self.start_scheduled(change),
                        Some(Reverse((_, Due::Schedule(schedule)))) => self.tick(schedule),
                        Some(Reverse((_, Due::Discovery(connection)))) => {
                            self.discover(connection);
                        }
                        None => {}
                    }
                }
                _ = sweep.tick() => {
                    sqlx::query("SELECT 1").execute(&mut lock).await?;
                    self.sweep().await?;
                    let soon = stream::now().plus_seconds(seconds(beat));
                    let opening = upkeep::scheduled(&self.pool, Some(soon)).await?;
                    let opening = opening.into_iter().map(|(id, opens)| (opens, Due::Change(id)));
                    let ticking = schedules::due(&self.pool, soon).await?;
                    let ticking = ticking.into_iter().map(|(id, tick)| (tick, Due::Schedule(id)));
                    let looking = upkeep::discoveries_due(&self.pool, soon).await?;
                    let looking = looking.into_iter().map(|(id, next)| (next, Due::Discovery(id)));
                    due = opening.chain(ticking).chain(looking).map(Reverse).collect();
                }
            }
        }
    }

    async fn perform_all(
        &self,
        recorded: &Recorded,
        due: &mut BinaryHeap<Reverse<(Timestamp, Due)>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for effect in react(recorded) {
            let cause = recorded.header.id;
            let correlation = recorded.header.correlation;
            let purpose = format!("{effect:?}");
            let request = Request::following(cause, correlation, &purpose, stream::now());
            match effect {
                Effect::BeginRun { change, run } => self.begin_run(change, run, &request).await?,
                Effect::ReportOutcome { run } => self.report_outcome(run, &request).await?,
                Effect::ReportRollout { rollout } => {
                    self.report_outcome(RunId(rollout.0), &request).await?;
                }
                Effect::ReportRollback { change } => self.report_rollback(change, &request).await?,
                Effect::GoBack { change } => self.go_back(change),
                Effect::StartAt { change, opens } => {
                    // What opens later is found by the sweep, also after a restart.
                    if opens <= stream::now().plus_seconds(seconds(self.lease / BEATS)) {
                        due.push(Reverse((opens, Due::Change(change))));
                    }
                }
                Effect::LookAtScheduled => {
                    for (change, _) in upkeep::scheduled(&self.pool, None).await? {
                        self.start_scheduled(change);
                    }
                }
                // Was done for all hosts of the batch.
                Effect::ConnectHost { .. } => {}
                Effect::AdvanceProjectOf { change } => {
                    let carrier = self.carrier();
                    tokio::spawn(async move { carrier.advance_of(change).await });
                }
                Effect::AdvanceProject { project } => {
                    let carrier = self.carrier();
                    tokio::spawn(async move { carrier.advance(project).await });
                }
                Effect::MakeChange { schedule, change } => {
                    let maker = self.maker();
                    tokio::spawn(async move { maker.make(schedule, change, &request).await });
                }
                Effect::DiscoverHost { host } => {
                    let discoverer = self.discoverer.clone();
                    tokio::spawn(async move {
                        let Ok(_turn) = DISCOVERIES.acquire().await else { return };
                        let connection = ConnectionId(host.0);
                        if let Err(error) = discoverer.discover(connection, &request).await {
                            tracing::warn!(host.id = %host, cause = %chain(&error), "could not read the facts of a host");
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Discovers a connection whose time has come, unless that is still under way.
    fn discover(&self, connection: ConnectionId) {
        let Some(turn) = self.discoveries.begin(connection) else { return };
        let discoverer = self.discoverer.clone();
        tokio::spawn(async move {
            let Ok(one) = DISCOVERIES.acquire().await else { return };
            let discovered = discoverer.discover_due(connection).await;
            drop(one);
            let Err(error) = discovered else { return };
            tracing::warn!(connection.id = %connection, cause = %chain(&error), "a connection could not be discovered");
            // What was recorded has moved the next time. All else would be tried again at once.
            if !error.is_recorded() {
                tokio::time::sleep(PAUSE).await;
            }
            drop(turn);
        });
    }

    /// Starts the run of a change; on a rollback, only once the change to be undone agrees.
    async fn begin_run(
        &self,
        change: ChangeId,
        run: RunId,
        request: &Request,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let state = stream::load::<Change>(&self.log, change.into()).await?.state;
        let ChangeState::Executing(execution) = state else { return Ok(()) };
        // It was started before that was asked. Tried again and again it would keep all others waiting.
        if let Err(no) = checked_size(&execution.plan) {
            return self.refuse(change, run, no.to_string(), request).await;
        }
        let mut undoes = None;
        if let Some(original) = execution.subject.rollback_of {
            let Some(later) =
                self.later_applied(original, &execution.subject.draft.targets).await?
            else {
                let why = "What was applied to the target since is not known: the read model of \
                           changes is late. Nothing was undone.";
                return self.refuse(change, run, why.to_owned(), request).await;
            };
            let command = ChangeCommand::StartRollback { rollback: change, run, later };
            let asked = request.also("start rollback");
            match stream::execute::<Change>(&self.log, original.into(), &asked, command).await {
                Ok(done) => {
                    if let ChangeState::Finished(finish) = done.state {
                        undoes = Some(finish.execution.run);
                    }
                }
                Err(StreamError::Rejected(rejection)) => {
                    let why = rejection.to_string();
                    return self.refuse(change, run, why, request).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let is_started = match &execution.plan.parts {
            None => {
                let command = RunCommand::Start {
                    change,
                    plan: execution.plan,
                    approvals: execution.approvers,
                    undoes,
                    part: None,
                };
                let started = stream::execute::<Run>(&self.log, run.into(), request, command).await;
                begun(started.map(drop)).map_err(Box::<dyn std::error::Error + Send + Sync>::from)
            }
            Some(parts) => {
                let targets = &execution.subject.draft.targets;
                let strategy = execution.plan.header.rollout;
                let command = RolloutCommand::Start {
                    change,
                    digest: execution.plan.digest.clone(),
                    manifest: parts.manifest,
                    size: parts.count,
                    strategy: strategy.unwrap_or_else(|| Strategy::for_targets(targets.len())),
                    approvals: execution.approvers,
                    undoes,
                };
                let rollout = RolloutId::from(run);
                let started =
                    stream::execute::<Rollout>(&self.log, rollout.into(), request, command).await;
                begun(started.map(drop)).map_err(Into::into)
            }
        };
        is_started?;
        self.engine.start(change, run);
        Ok(())
    }

    /// What was applied after the change and still stands; none when that is not known.
    async fn later_applied(
        &self,
        change: ChangeId,
        targets: &[AssetId],
    ) -> Result<Option<Vec<ChangeId>>, Box<dyn std::error::Error + Send + Sync>> {
        let last = self.log.head().await?.next_position.saturating_sub(1);
        let waited = self.projections.wait_for_some(&["changes"], last, WAIT_FOR_LATER).await;
        if waited.is_err() {
            return Ok(None);
        }
        let later = changes::later_applied(&self.pool, change, targets).await?;
        Ok(Some(later.into_iter().map(|later| later.id).collect()))
    }

    /// It ends without a run.
    async fn refuse(
        &self,
        change: ChangeId,
        run: RunId,
        reason: String,
        request: &Request,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let command = ChangeCommand::RecordOutcome {
            this: change,
            run,
            outcome: RunOutcome::Failed,
            reason,
            secrets: Vec::new(),
            undo_until: None,
        };
        let asked = request.also("refuse rollback");
        stream::execute::<Change>(&self.log, change.into(), &asked, command).await?;
        Ok(())
    }

    async fn report_outcome(
        &self,
        run: RunId,
        request: &Request,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(ended) = self.ended(run).await? else { return Ok(()) };
        let Ended { change, outcome, reason, secrets, undo_until } = ended;
        let this = change;
        let command =
            ChangeCommand::RecordOutcome { this, run, outcome, reason, secrets, undo_until };
        match stream::execute::<Change>(&self.log, change.into(), request, command).await {
            Ok(_) | Err(StreamError::Rejected(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn report_rollback(
        &self,
        rollback: ChangeId,
        request: &Request,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let state = stream::load::<Change>(&self.log, rollback.into()).await?.state;
        let ChangeState::Finished(finish) = state else { return Ok(()) };
        let Some(original) = finish.execution.subject.rollback_of else { return Ok(()) };
        let run = finish.execution.run;
        let Some(Ended { outcome, reason, .. }) = self.ended(run).await? else { return Ok(()) };
        let command = ChangeCommand::RecordRollback { rollback, run, outcome, reason };
        match stream::execute::<Change>(&self.log, original.into(), request, command).await {
            Ok(_) | Err(StreamError::Rejected(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How a run, or the rollout that is in its place, ended; none when it has not.
    async fn ended(&self, run: RunId) -> Result<Option<Ended>, LoadError> {
        if let RunState::Finished(finished) =
            stream::load::<Run>(&self.log, run.into()).await?.state
        {
            return Ok(Some(Ended {
                undo_until: finished.run.undo_until(),
                change: finished.run.change,
                outcome: finished.outcome,
                reason: finished.reason.unwrap_or_default(),
                secrets: finished.run.produced,
            }));
        }
        let rollout = RolloutId::from(run);
        Ok(match stream::load::<Rollout>(&self.log, rollout.into()).await?.state {
            RolloutState::Finished(rolling, outcome) => Some(Ended {
                change: rolling.change,
                outcome,
                reason: rolling.outcome().and_then(|(_, reason, _)| reason).unwrap_or_default(),
                secrets: Vec::new(),
                undo_until: rolling.undo_until,
            }),
            RolloutState::Absent | RolloutState::Rolling(_) => None,
        })
    }

    /// In a task of its own: it reads a target.
    fn start_scheduled(&self, change: ChangeId) {
        let reactor = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = STARTS.acquire().await else { return };
            let Self { pool, log, planner, .. } = &reactor;
            if let Err(error) = schedule::start(pool, log, planner, change).await {
                tracing::warn!(change.id = %change, cause = %chain(&error), "a scheduled change could not be started; trying again");
            }
        });
    }

    /// Makes the connections of the hosts that enrolled in a batch.
    async fn connect_hosts(
        &self,
        batch: &[Recorded],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut enrolled = Vec::new();
        for event in batch {
            for effect in react(event) {
                if let Effect::ConnectHost { host } = effect {
                    let (cause, correlation) = (event.header.id, event.header.correlation);
                    let purpose = format!("{effect:?}");
                    let at = stream::now();
                    enrolled.push((host, Request::following(cause, correlation, &purpose, at)));
                }
            }
        }
        let connected = enrolled.into_iter().map(|(host, request)| {
            let reactor = self.clone();
            async move { reactor.connect_host(host, &request).await }
        });
        futures_util::stream::iter(connected).buffer_unordered(HOSTS_AT_ONCE).try_collect().await
    }

    /// In a task of its own: it reads a target.
    fn go_back(&self, change: ChangeId) {
        let Some(maker) = back::Maker::of(change) else { return };
        let reactor = self.clone();
        tokio::spawn(async move {
            let _maker = maker;
            let Ok(_turn) = STARTS.acquire().await else { return };
            let means = back::Means {
                pool: &reactor.pool,
                log: &reactor.log,
                projections: &reactor.projections,
                planner: &reactor.planner,
                targets: &reactor.discoverer.targets,
            };
            if let Err(error) = back::go_back(means, change).await {
                tracing::warn!(change.id = %change, cause = %chain(&error), "a change could not go back by itself; trying again");
            }
        });
    }

    /// In a task of its own: a few streams are read, and others wait.
    fn tick(&self, schedule: ScheduleId) {
        let maker = self.maker();
        tokio::spawn(async move { maker.tick(schedule).await });
    }

    fn carrier(&self) -> Carrier {
        Carrier {
            pool: self.pool.clone(),
            log: self.log.clone(),
            planner: self.planner.clone(),
            targets: self.targets.clone(),
        }
    }

    fn maker(&self) -> Maker {
        Maker {
            pool: self.pool.clone(),
            log: self.log.clone(),
            planner: self.planner.clone(),
            targets: self.targets.clone(),
        }
    }

    /// A host's connection has the host's own id and name.
    async fn connect_host(
        &self,
        host: HostId,
        request: &Request,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let state = stream::load::<Host>(&self.log, host.into()).await?.state;
        let Some(enrolment) = state.enrolment() else { return Ok(()) };
        let mut name = enrolment.hostname.clone();
        if inventory::connection_by_name(&self.pool, &name).await?.is_some_and(|c| c.id.0 != host.0)
        {
            name = format!("{name}-{}", host.0.simple());
        }
        let command = ConnectionCommand::Create {
            name,
            connector: "host".to_owned(),
            environment: Environment::Prod,
            settings: serde_json::json!({}),
            credentials: None,
            host: Some(host),
        };
        let connection = ConnectionId(host.0);
        match stream::execute::<Connection>(&self.log, connection.into(), request, command).await {
            Ok(_) | Err(StreamError::Rejected(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs whose worker went away, and approvals whose time is over.
    async fn sweep(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for (change, run) in upkeep::open_runs(&self.pool).await? {
            self.engine.start(change, run);
        }
        for project in projects::running(&self.pool).await? {
            let carrier = self.carrier();
            tokio::spawn(async move { carrier.advance(project).await });
        }
        let now = stream::now();
        let after = now.plus_seconds(-i64::from(BEFOREHAND_VALID_S));
        for change in upkeep::to_go_back(&self.pool, after).await? {
            self.go_back(change);
        }
        for change in upkeep::expired_approvals(&self.pool, now).await? {
            let request = Request::once(Principal::SYSTEM, now);
            let expire = ChangeCommand::Expire;
            match stream::execute::<Change>(&self.log, change.into(), &request, expire).await {
                Ok(_) | Err(StreamError::Rejected(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What a run or a rollout came to.
struct Ended {
    change: ChangeId,
    outcome: RunOutcome,
    reason: String,
    secrets: Vec<Produced>,
    undo_until: Option<Timestamp>,
}

/// What was started before the crash that made us come here again is no error.
fn begun<R: std::error::Error + 'static>(
    started: Result<(), StreamError<R>>,
) -> Result<(), StreamError<R>> {
    match started {
        Ok(()) | Err(StreamError::Rejected(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whole ones, not fewer.
fn seconds(duration: Duration) -> i64 {
    duration.as_secs().saturating_add(1).cast_signed()
}

/// Returns at a moment, or never.
async fn until(moment: Option<Timestamp>) {
    let Some(moment) = moment else { return std::future::pending().await };
    let micros = moment.as_micros().saturating_sub(stream::now().as_micros());
    tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or_default())).await;
}
