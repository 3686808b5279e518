//! Workers that keep the read models, and everything else that is the same for all of them.
//!
//! # What it promises
//!
//! - **Once.** A read model and its checkpoint change in one transaction, and the checkpoint only
//!   from where the worker believes it to be: every event is applied exactly once, whatever crashes.
//! - **One writer.** A worker holds a lease with an epoch. A process that lost its lease, however
//!   late it notices, cannot commit any more.
//! - **In order, nothing skipped.** An event that cannot be applied stops its projection at that
//!   position, visibly; the others go on. It is tried again when somebody asks ([`Projections::retry`]),
//!   when the lease changes hands and when the process starts.
//! - **Rebuilds aside.** A rebuild fills new tables while the old ones are served and updated, and
//!   takes their place in one transaction that never shows a reader less than before.
//! - **No polling for work.** Workers are woken by the log. The lease is renewed once a second;
//!   while nothing happens that is the only statement.
//!
//! # What it does not do
//!
//! It decides nothing and has no effect outside of its tables. Notices may be lost; read models
//! may not.

mod batch;
mod rebuild;
mod seat;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexplane_core::api::ProjectionView;
use nexplane_store::log::{Log, ReadError};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::checkpoint::{self, Held};
use crate::projection::{Notice, Projection};
use crate::table::{self, Generation};
use seat::{Seat, Shared};

pub use rebuild::{RebuildError, RebuildProgress, Rebuilt};
pub use seat::Options;

/// How often the checkpoint of another process's worker is looked at for a waiting request.
const WAIT_POLL: Duration = Duration::from_millis(50);

/// How long [`Projections::stop`] waits for a worker in the middle of a transaction.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Whether a process works on the read models or only looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes leases, applies events, builds what is missing.
    Worker,
    /// Only hears what others apply, for its own waiting requests and browsers.
    Follower,
}

/// Why the read models could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not read the head of the event log")]
    Log(#[from] ReadError),
    #[error("could not prepare the tables of projection '{name}'")]
    Prepare {
        name: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("could not prepare the table of checkpoints")]
    Checkpoints(#[source] sqlx::Error),
}

/// A read model does not contain a position yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read model '{projection}' is not at position {wanted} yet")]
pub struct NotYet {
    pub projection: &'static str,
    pub wanted: u64,
    /// The next position that it will apply, as far as this process knows.
    pub position: u64,
    /// It cannot get there by itself.
    pub stalled: bool,
}

/// Why the progress of projections could not be told.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("could not read the event log")]
    Log(#[from] ReadError),
    #[error("could not read the checkpoints")]
    Database(#[from] sqlx::Error),
}

/// The read models of one database, as seen from one process. Clones share everything. When the
/// last one is dropped, the workers end wherever they are, as in a crash; [`Projections::stop`]
/// ends them well.
#[derive(Clone)]
pub struct Projections {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

struct Tasks {
    stop: watch::Sender<bool>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.iter().for_each(JoinHandle::abort);
    }
}

impl Projections {
    /// Makes the tables that do not exist yet and removes those that nothing uses. Starts nothing.
    ///
    /// `pool` has to lead to the log's database, as a role that may create tables in the schema
    /// `nexplane`. It should have a connection for each projection and a few for rebuilds.
    pub async fn open(
        pool: PgPool,
        log: Log,
        projections: Vec<Arc<dyn Projection>>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let incarnation = log.head().await?.incarnation;
        let mut seats = Vec::with_capacity(projections.len());
        {
            let mut tx = pool.begin().await.map_err(OpenError::Checkpoints)?;
            rebuild::lock_name(&mut tx, "").await.map_err(OpenError::Checkpoints)?;
            checkpoint::create_table(&mut tx).await.map_err(OpenError::Checkpoints)?;
            tx.commit().await.map_err(OpenError::Checkpoints)?;
        }
        for projection in projections {
            let name = projection.name();
            prepare(&pool, &*projection, incarnation)
                .await
                .map_err(|source| OpenError::Prepare { name, source })?;
            seats.push(Arc::new(Seat {
                projection,
                progress: watch::Sender::default(),
                again: Notify::new(),
            }));
        }
        let (notices, _) = broadcast::channel(options.notices.max(1));
        let holder = Uuid::now_v7();
        let shared = Shared { pool, log, holder, options, notices, seats };
        let tasks = Tasks { stop: watch::Sender::new(false), running: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), tasks: Arc::new(tasks) })
    }

    /// Starts one task per projection, once: a second start does nothing.
    pub fn start(&self, role: Role) {
        let mut running = self.tasks.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            return;
        }
        for seat in &self.shared.seats {
            running.push(tokio::spawn(worker::run(
                Arc::clone(&self.shared),
                Arc::clone(seat),
                role == Role::Worker,
                self.tasks.stop.subscribe(),
            )));
        }
    }

    /// Lets every worker finish its transaction and give its lease back.
    pub async fn stop(&self) {
        self.tasks.stop.send_replace(true);
        let running = {
            let mut running = self.tasks.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        let deadline = Instant::now() + STOP_WITHIN;
        for mut task in running {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }

    /// Waits until every read model contains the event at a position, at most for `timeout`.
    pub async fn wait_for(&self, position: u64, timeout: Duration) -> Result<(), NotYet> {
        let names: Vec<_> = self.shared.seats.iter().map(|seat| seat.name()).collect();
        self.wait_for_some(&names, position, timeout).await
    }

    /// The same for the read models that a request is answered from. Names that no projection has
    /// are never waited for.
    pub async fn wait_for_some(
        &self,
        names: &[&str],
        position: u64,
        timeout: Duration,
    ) -> Result<(), NotYet> {
        let deadline = Instant::now() + timeout;
        for seat in self.shared.seats.iter().filter(|seat| names.contains(&seat.name())) {
            self.wait_for_one(seat, position, deadline).await?;
        }
        Ok(())
    }

    async fn wait_for_one(
        &self,
        seat: &Seat,
        wanted: u64,
        deadline: Instant,
    ) -> Result<(), NotYet> {
        let mut progress = seat.progress.subscribe();
        let mut at = progress.borrow_and_update().position;
        let not_yet =
            |position, stalled| NotYet { projection: seat.name(), wanted, position, stalled };
        loop {
            let now = *progress.borrow_and_update();
            at = at.max(now.position);
            if at > wanted {
                return Ok(());
            }
            if now.here && now.stalled {
                return Err(not_yet(at, true));
            }
            if !now.here && Instant::now() < deadline {
                // Not our worker: the row tells. When it cannot be read, time runs out.
                let looked = tokio::time::timeout_at(deadline, self.look(seat.name())).await;
                if let Ok(Ok(Some(row))) = looked {
                    at = at.max(row.position());
                    if at > wanted {
                        return Ok(());
                    }
                    if row.state == "stalled" {
                        return Err(not_yet(at, true));
                    }
                }
            }
            let next = if now.here { deadline } else { deadline.min(Instant::now() + WAIT_POLL) };
            let woken = tokio::time::timeout_at(next, progress.changed()).await;
            if woken.is_err() && Instant::now() >= deadline {
                return Err(not_yet(at, false));
            }
        }
    }

    async fn look(&self, name: &str) -> Result<Option<checkpoint::Row>, sqlx::Error> {
        let mut db = self.shared.pool.acquire().await?;
        checkpoint::current(&mut db, name).await
    }

    /// Messages that rows changed, from now on. A receiver that is too slow loses the oldest.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// Every projection, and every rebuild that is under way as a row of its own.
    pub async fn status(&self) -> Result<Vec<ProjectionView>, StatusError> {
        let rows = {
            let mut db = self.shared.pool.acquire().await?;
            checkpoint::all(&mut db).await?
        };
        let head = self.shared.log.head().await?.next_position;
        Ok(rows
            .into_iter()
            .filter(|row| row.is_current || !row.lease().is_zero())
            .map(|row| ProjectionView {
                version: row.at().version,
                position: row.position(),
                lag: head.saturating_sub(row.position()),
                name: row.name,
                state: row.state,
                error: row.error,
            })
            .collect())
    }

    /// Lets a stalled projection try its event again, in whichever process it is. False when it is
    /// not stalled or does not exist.
    pub async fn retry(&self, name: &str) -> Result<bool, StatusError> {
        let mut db = self.shared.pool.acquire().await?;
        let asked = checkpoint::ask_again(&mut db, name).await?;
        if asked {
            self.shared
                .seats
                .iter()
                .filter(|s| s.name() == name)
                .for_each(|s| s.again.notify_one());
        }
        Ok(asked)
    }

    /// Makes a read model again from the beginning of the log, beside the live one, and puts it in
    /// the live one's place. `progress` is called after every few hundred events.
    pub async fn rebuild(
        &self,
        name: &str,
        mut progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<Rebuilt, RebuildError> {
        let seat = self.shared.seats.iter().find(|seat| seat.name() == name);
        let seat = seat.ok_or_else(|| RebuildError::Unknown(name.to_owned()))?;
        rebuild::run(&self.shared, seat, &mut progress).await
    }

    /// The names of all projections, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.shared.seats.iter().map(|seat| seat.name()).collect()
    }
}

/// Makes a read model that does not exist, and drops tables that no checkpoint is about: left
/// behind by a process that ended in the middle.
async fn prepare(
    pool: &PgPool,
    projection: &dyn Projection,
    incarnation: Uuid,
) -> Result<(), sqlx::Error> {
    let name = projection.name();
    let mut tx = pool.begin().await?;
    rebuild::lock_name(&mut tx, name).await?;
    let mut kept = BTreeSet::new();
    let mut number = 0;
    let mut exists = false;
    for row in checkpoint::of(&mut tx, name).await? {
        exists |= row.is_current;
        number = number.max(row.at().number);
        // Nobody's id: a builder whose lease lasts keeps its generation.
        let used = row.is_current
            || checkpoint::remove(&mut tx, name, row.at(), Uuid::nil()).await? == Held::Lost;
        if used {
            kept.insert((row.at().version, row.at().number));
        }
    }
    if !exists {
        let at = Generation { version: projection.version(), number: number + 1 };
        table::drop_tables(&mut tx, at, projection.tables()).await?;
        table::create(&mut tx, at, projection.tables()).await?;
        table::create_indexes(&mut tx, at, projection.tables()).await?;
        table::show(&mut tx, at, projection.tables()).await?;
        checkpoint::insert(&mut tx, name, at, incarnation, None).await?;
        kept.insert((at.version, at.number));
    }
    for at in left_behind(&mut tx, projection, &kept).await? {
        // Readers of the old tables come first: what they hold is dropped at the next start.
        let mut attempt = tx.begin().await?;
        sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *attempt).await?;
        match table::drop_tables(&mut attempt, at, projection.tables()).await {
            Ok(()) => attempt.commit().await?,
            Err(error) => {
                tracing::info!(projection.name = name, %error, "old tables stay for now");
                attempt.rollback().await?;
            }
        }
    }
    tx.commit().await
}

async fn left_behind(
    db: &mut PgConnection,
    projection: &dyn Projection,
    kept: &BTreeSet<(u32, u32)>,
) -> Result<Vec<Generation>, sqlx::Error> {
    let mut left = Vec::new();
    for table in projection.tables() {
        for at in table::generations(db, table).await? {
            if !kept.contains(&(at.version, at.number)) && !left.contains(&at) {
                left.push(at);
            }
        }
    }
    Ok(left)
}
