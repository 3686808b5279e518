//! One projection's worker: takes the lease and applies, or follows whoever has it.

use std::sync::Arc;
use std::time::Duration;

use nexplane_core::event::Recorded;
use nexplane_store::log::{Cursor, ReadError, Stored};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::batch::{self, Batch, Interrupted, Stall};
use super::rebuild::{self, RebuildError};
use super::seat::{Seat, Shared};
use crate::checkpoint::{self, Claim, Held, Row};
use crate::projection::decode_if;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often another process's progress is looked at while it is behind the log.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

/// Events that a follower keeps to tell browsers about; beyond that they only see the last ones.
const FOLLOW_EVENTS: usize = 2000;

/// Events behind the head from which on nobody is told about single rows: they see the end.
const QUIET_LAG: u64 = 2000;

/// How a turn ended.
enum Turn {
    /// Look at the lease again.
    Over,
    Stop,
}

/// Why the turn broke off.
enum Broken {
    Interrupted(Interrupted),
    /// The read model's tables are of another version of the program.
    Rebuild(RebuildError),
}

impl From<Interrupted> for Broken {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Self::Interrupted(Interrupted::Transient(error))
    }
}

/// Works until it is told to stop. `lead` is false in a process that only follows.
pub async fn run(
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    lead: bool,
    mut stop: watch::Receiver<bool>,
) {
    let name = seat.name();
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        let began = Instant::now();
        let turn = turn(&shared, &seat, lead, &mut stop).await;
        let position = seat.progress.borrow().position;
        seat.report(position, false, false);
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match turn {
            Ok(Turn::Over) => continue,
            Ok(Turn::Stop) => return,
            Err(Broken::Interrupted(Interrupted::Stale)) => {
                tracing::info!(
                    projection.name = name,
                    position,
                    "the lease went to another process"
                );
                continue;
            }
            Err(Broken::Interrupted(Interrupted::Transient(error))) => {
                tracing::warn!(projection.name = name, position, %error,
                    "projection interrupted, trying again");
            }
            Err(Broken::Rebuild(error)) => {
                tracing::error!(
                    projection.name = name,
                    error = batch::chain(&error),
                    "the read model could not be brought to this version"
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn turn(
    shared: &Shared,
    seat: &Seat,
    lead: bool,
    stop: &mut watch::Receiver<bool>,
) -> Result<Turn, Broken> {
    let (name, version) = (seat.name(), seat.projection.version());
    if lead {
        let claimed = {
            let mut db = shared.pool.acquire().await?;
            checkpoint::claim(&mut db, name, version, shared.holder, shared.options.lease).await?
        };
        if let Some(claim) = claimed {
            return Leader { shared, seat, claim }.run(stop).await;
        }
    }
    let row = {
        let mut db = shared.pool.acquire().await?;
        checkpoint::current(&mut db, name).await?.ok_or(sqlx::Error::RowNotFound)?
    };
    if lead && row.at().version < version {
        tracing::info!(
            projection.name = name,
            from = row.at().version,
            to = version,
            "building the read model of this version"
        );
        return match rebuild::run(shared, seat, &mut |_| {}).await {
            // Whoever else builds it is waited for like any lease.
            Err(RebuildError::Running { .. }) => sleep(shared.options.lease, stop).await,
            // Trying the whole log again and again would not help.
            Err(RebuildError::Stalled { position, error }) => {
                let stall = Stall { position, error };
                stay_outdated(shared, seat, &stall, stop).await
            }
            built => built.map(|_| Turn::Over).map_err(Broken::Rebuild),
        };
    }
    // An older program leaves the read model to newer ones.
    let lead = lead && row.at().version == version;
    follow(shared, seat, lead, row, stop).await
}

/// Waits for somebody to ask again, after an event that this version cannot apply kept it from
/// building its read model. The one of the earlier version is served meanwhile, marked.
async fn stay_outdated(
    shared: &Shared,
    seat: &Seat,
    stall: &Stall,
    stop: &mut watch::Receiver<bool>,
) -> Result<Turn, Broken> {
    let name = seat.name();
    let Stall { position, error } = stall;
    tracing::error!(
        projection.name = name,
        position,
        error,
        "projection stalled: this version cannot apply the event"
    );
    let error = format!("at position {position}, while building a new version: {error}");
    let mut db = shared.pool.acquire().await?;
    checkpoint::mark_outdated(&mut db, name, seat.projection.version(), &error).await?;
    drop(db);
    shared.publish_progress(name, *position, "stalled");
    loop {
        tokio::select! {
            () = stopped(stop) => return Ok(Turn::Stop),
            () = seat.again.notified() => return Ok(Turn::Over),
            () = tokio::time::sleep(shared.options.lease) => {
                let mut db = shared.pool.acquire().await?;
                let row = checkpoint::current(&mut db, name).await?;
                if row.is_none_or(|row| row.state != "stalled") {
                    return Ok(Turn::Over);
                }
            }
        }
    }
}

/// Returns when everything is to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could say so is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn sleep(pause: Duration, stop: &mut watch::Receiver<bool>) -> Result<Turn, Broken> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(Turn::Over),
        () = stopped(stop) => Ok(Turn::Stop),
    }
}

/// A worker that holds the lease.
struct Leader<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    claim: Claim,
}

impl Leader<'_> {
    async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Result<Turn, Broken> {
        let shared = self.shared;
        self.report("live", false);
        let mut subscription = shared.log.subscribe(self.claim.cursor);
        let mut beat = tokio::time::interval(shared.options.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let delivered = tokio::select! {
                () = stopped(stop) => {
                    shared.release(&self.claim).await;
                    return Ok(Turn::Stop);
                }
                _ = beat.tick() => {
                    if self.renew().await?.is_none() {
                        return Ok(Turn::Over);
                    }
                    continue;
                }
                delivered = subscription.next() => delivered,
            };
            let stalled = match delivered {
                Ok(stored) => self.apply(&stored).await?,
                Err(ReadError::Closed) => {
                    shared.release(&self.claim).await;
                    return Ok(Turn::Stop);
                }
                Err(ReadError::Unavailable(error)) => return Err(error.into()),
                Err(
                    error @ (ReadError::Hole { .. }
                    | ReadError::StreamHole { .. }
                    | ReadError::Incarnation { .. }
                    | ReadError::Behind { .. }
                    | ReadError::Rewritten { .. }
                    | ReadError::Damaged { .. }),
                ) => Some(Stall {
                    position: self.claim.cursor.position,
                    error: batch::chain(&error),
                }),
            };
            if let Some(stall) = stalled {
                match self.stay_stalled(stall, stop).await? {
                    None => {
                        self.report("live", false);
                        subscription = shared.log.subscribe(self.claim.cursor);
                    }
                    Some(turn) => return Ok(turn),
                }
            }
        }
    }

    /// Applies a delivery; `Some` when an event stands in the way.
    async fn apply(&mut self, stored: &[Stored]) -> Result<Option<Stall>, Interrupted> {
        let Self { shared, seat, .. } = *self;
        let reads = seat.projection.reads();
        for part in batch::cut(stored, shared.options.batch) {
            let batch = Batch::decode(part, reads);
            let stalled =
                batch::apply(&shared.pool, &*seat.projection, &mut self.claim, &batch).await?;
            self.report("live", false);
            tell(shared, seat, self.claim.cursor.position, &batch.events).await;
            if stalled.is_some() {
                return Ok(stalled);
            }
        }
        Ok(None)
    }

    /// Keeps the lease until somebody asks to try again (`None`), or it is lost, or all stops.
    async fn stay_stalled(
        &mut self,
        stall: Stall,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Turn>, Broken> {
        let Self { shared, seat, .. } = *self;
        let Stall { position, error } = stall;
        tracing::error!(
            projection.name = seat.name(),
            position,
            error,
            "projection stalled: the event cannot be applied"
        );
        let error = format!("at position {position}: {error}");
        if self.set_stalled(Some(&error)).await? == Held::Lost {
            return Ok(Some(Turn::Over));
        }
        self.report("stalled", true);
        loop {
            tokio::select! {
                () = stopped(stop) => {
                    shared.release(&self.claim).await;
                    return Ok(Some(Turn::Stop));
                }
                () = seat.again.notified() => {
                    return Ok(match self.set_stalled(None).await? {
                        Held::Yes => None,
                        Held::Lost => Some(Turn::Over),
                    });
                }
                () = tokio::time::sleep(shared.options.heartbeat) => {
                    match self.renew().await? {
                        None => return Ok(Some(Turn::Over)),
                        Some(state) if state != "stalled" => return Ok(None),
                        Some(_) => {}
                    }
                }
            }
        }
    }

    async fn renew(&self) -> Result<Option<String>, sqlx::Error> {
        let mut tx = self.shared.pool.begin().await?;
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
        let state = checkpoint::renew(&mut tx, &self.claim).await?;
        tx.commit().await?;
        Ok(state)
    }

    async fn set_stalled(&self, error: Option<&str>) -> Result<Held, sqlx::Error> {
        let mut db = self.shared.pool.acquire().await?;
        checkpoint::set_stalled(&mut db, &self.claim, error).await
    }

    fn report(&self, state: &str, stalled: bool) {
        let position = self.claim.cursor.position;
        self.seat.report(position, true, stalled);
        self.shared.publish_progress(self.claim.name, position, state);
    }
}

/// Tells browsers what changed, unless this is far behind and there is too much to tell.
async fn tell(shared: &Shared, seat: &Seat, position: u64, events: &[Recorded]) {
    let behind = shared.log.watch().borrow().saturating_sub(position);
    if events.is_empty() || behind > QUIET_LAG || !shared.has_listeners() {
        return;
    }
    let notices = async {
        let mut db = shared.pool.acquire().await?;
        seat.projection.notices(&mut db, events).await
    };
    match notices.await {
        Ok(notices) => notices.into_iter().for_each(|notice| shared.publish(notice)),
        Err(error) => {
            tracing::info!(projection.name = seat.name(), position, %error, "notices lost");
        }
    }
}

/// Watches a read model that another process moves, and tells this process's browsers, until the
/// lease is free (or, when not to lead, for one lease's time).
async fn follow(
    shared: &Shared,
    seat: &Seat,
    lead: bool,
    row: Row,
    stop: &mut watch::Receiver<bool>,
) -> Result<Turn, Broken> {
    let mut row = row;
    let mut delivered: Vec<Stored> = Vec::new();
    let mut end = row.position();
    // Only positions matter here: what the log says about its past is the leader's alarm.
    let cursor = Cursor { last_leaf_hash: None, ..row.cursor() };
    let mut subscription = shared.log.subscribe(cursor);
    seat.report(row.position(), false, false);
    loop {
        let free = if lead { row.lease() } else { shared.options.lease };
        let is_coming = row.position() < end && row.state != "stalled";
        let look_again = if is_coming { FOLLOW_EVERY.min(free) } else { free };
        tokio::select! {
            () = stopped(stop) => return Ok(Turn::Stop),
            events = subscription.next(), if delivered.len() < FOLLOW_EVENTS => match events {
                Ok(events) => {
                    end = events.last().map_or(end, |event| event.position + 1);
                    delivered.extend(events);
                }
                Err(ReadError::Closed) => return Ok(Turn::Stop),
                Err(ReadError::Unavailable(error)) => return Err(error.into()),
                Err(
                    ReadError::Hole { .. }
                    | ReadError::StreamHole { .. }
                    | ReadError::Incarnation { .. }
                    | ReadError::Behind { .. }
                    | ReadError::Rewritten { .. }
                    | ReadError::Damaged { .. },
                ) => return sleep(shared.options.lease, stop).await,
            },
            () = tokio::time::sleep(look_again) => {
                let mut db = shared.pool.acquire().await?;
                let Some(now) = checkpoint::current(&mut db, seat.name()).await? else {
                    return Ok(Turn::Over);
                };
                drop(db);
                if now.position() > row.position() {
                    let position = now.position();
                    let applied = delivered.partition_point(|event| event.position < position);
                    let applied: Vec<_> = delivered.drain(..applied).collect();
                    let reads = seat.projection.reads();
                    // What cannot be read was not applied either.
                    let events: Vec<_> = applied
                        .iter()
                        .filter_map(|event| decode_if(event, reads).ok().flatten())
                        .collect();
                    seat.report(position, false, false);
                    shared.publish_progress(seat.name(), position, &now.state);
                    tell(shared, seat, position, &events).await;
                }
                row = now;
                if lead && row.lease().is_zero() {
                    return Ok(Turn::Over);
                }
            }
        }
    }
}
