//! Making a read model again, beside the live one.
//!
//! New tables with a checkpoint of their own are filled from the beginning of the log while the
//! live ones go on. Once they are level, one transaction stops the live checkpoint by locking it,
//! applies what is left, points the views at the new tables and puts the new checkpoint in the old
//! one's place. Readers never see a read model that is behind what they saw before.

use std::time::Duration;

use nexplane_store::log::{Cursor, READ_LIMIT, ReadError, Stored};
use sqlx::{Connection, PgConnection, PgPool};

use super::batch::{self, Batch, Interrupted, Stall};
use super::seat::{Seat, Shared};
use crate::checkpoint::{self, Claim, Held};
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation};

/// Events that the last transaction may have to apply while the live worker waits.
const LEVEL: u64 = 500;

/// How long the last transaction waits for readers of the views before it lets them through.
const SWAP_LOCK: &str = "2s";

/// How often the last transaction is tried.
const SWAP_TRIES: u32 = 30;

/// How often an interruption by the database is waited out.
const TRIES: u32 = 10;

const PAUSE: Duration = Duration::from_millis(500);

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildProgress {
    /// The next position that it will apply.
    pub position: u64,
    /// The position behind the log's last event, when it was last looked at.
    pub head: u64,
}

/// What a rebuild has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The next position that the read model will apply.
    pub position: u64,
    /// The generation that the views show now.
    pub generation: Generation,
}

/// Why a read model was not rebuilt. The live one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no projection '{0}'")]
    Unknown(String),
    #[error("projection '{name}' is being rebuilt already")]
    Running { name: &'static str },
    #[error("projection '{name}' is of version {version}, made by a newer program")]
    Newer { name: &'static str, version: u32 },
    #[error("the event at position {position} cannot be applied: {error}")]
    Stalled { position: u64, error: String },
    /// The new tables are complete, but the views were in use without a pause.
    #[error("no moment was found to exchange the read model")]
    Busy,
    /// This process was so slow that its lease ended and another rebuild began.
    #[error("another process took the rebuild over")]
    Lost,
    #[error("could not read the event log")]
    Log(#[from] ReadError),
    #[error("the database interrupted the rebuild")]
    Database(#[from] sqlx::Error),
    #[error("could not write the read model")]
    Apply(#[source] ApplyError),
}

impl From<Interrupted> for RebuildError {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Stale => Self::Lost,
            Interrupted::Transient(error) => Self::Database(error),
        }
    }
}

type OnProgress<'a> = &'a mut (dyn FnMut(RebuildProgress) + Send);

/// Rebuilds one read model, as the version of this program, and swaps it in.
pub async fn run(
    shared: &Shared,
    seat: &Seat,
    on_progress: OnProgress<'_>,
) -> Result<Rebuilt, RebuildError> {
    let claim = begin(shared, &*seat.projection).await?;
    let mut rebuild = Rebuild { shared, projection: &*seat.projection, claim };
    let outcome = rebuild.run(on_progress).await;
    match &outcome {
        Ok(rebuilt) => {
            tracing::info!(
                projection.name = seat.name(),
                position = rebuilt.position,
                generation = rebuilt.generation.number,
                "projection rebuilt"
            );
            seat.again.notify_one();
        }
        // Not ours to remove any more.
        Err(RebuildError::Lost) => {}
        Err(_) => {
            if let Err(error) = abandon(&shared.pool, &*seat.projection, &rebuild.claim).await {
                tracing::warn!(projection.name = seat.name(), %error,
                    "tables of an unfinished rebuild stay until the next start");
            }
        }
    }
    outcome
}

/// Makes the tables and the checkpoint of a new generation. Unfinished ones whose builder is gone
/// are removed.
async fn begin(shared: &Shared, projection: &dyn Projection) -> Result<Claim, RebuildError> {
    let (name, holder, ttl) = (projection.name(), shared.holder, shared.options.lease);
    let incarnation = shared.log.head().await?.incarnation;
    let mut tx = shared.pool.begin().await?;
    lock_name(&mut tx, name).await?;
    let mut number = 0;
    for row in checkpoint::of(&mut tx, name).await? {
        number = number.max(row.at().number);
        if row.is_current {
            if row.at().version > projection.version() {
                return Err(RebuildError::Newer { name, version: row.at().version });
            }
        } else {
            let is_own = row.holder == Some(holder);
            if (is_own && !row.lease().is_zero())
                || checkpoint::remove(&mut tx, name, row.at(), holder).await? == Held::Lost
            {
                return Err(RebuildError::Running { name });
            }
            table::drop_tables(&mut tx, row.at(), projection.tables()).await?;
        }
    }
    let at = Generation { version: projection.version(), number: number + 1 };
    table::drop_tables(&mut tx, at, projection.tables()).await?;
    table::create(&mut tx, at, projection.tables()).await?;
    checkpoint::insert(&mut tx, name, at, incarnation, Some((holder, ttl))).await?;
    tx.commit().await?;
    let cursor = Cursor::start(incarnation);
    Ok(Claim { name, at, holder, epoch: 0, cursor, ttl })
}

/// Rebuilds and clean-ups of one projection come one after the other.
pub async fn lock_name(db: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('nexplane.projection.' || $1, 0))")
        .bind(name)
        .execute(db)
        .await?;
    Ok(())
}

async fn abandon(
    pool: &PgPool,
    projection: &dyn Projection,
    claim: &Claim,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    lock_name(&mut tx, claim.name).await?;
    match checkpoint::remove(&mut tx, claim.name, claim.at, claim.holder).await? {
        Held::Yes => table::drop_tables(&mut tx, claim.at, projection.tables()).await?,
        Held::Lost => {}
    }
    tx.commit().await
}

struct Rebuild<'a> {
    shared: &'a Shared,
    projection: &'a dyn Projection,
    claim: Claim,
}

impl Rebuild<'_> {
    async fn run(&mut self, on_progress: OnProgress<'_>) -> Result<Rebuilt, RebuildError> {
        self.catch_up(on_progress).await?;
        self.index().await?;
        for _ in 0..SWAP_TRIES {
            self.catch_up(on_progress).await?;
            match self.swap().await {
                Ok(Some(old)) => {
                    self.drop_old(old).await;
                    return Ok(Rebuilt {
                        position: self.claim.cursor.position,
                        generation: self.claim.at,
                    });
                }
                Ok(None) => {}
                // Somebody reads through the views for so long: they come first.
                Err(RebuildError::Database(error)) if is_locked(&error) => {
                    self.renew().await?;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(RebuildError::Busy)
    }

    /// Applies the log to its end. The next events are read and decoded while PostgreSQL works.
    async fn catch_up(&mut self, on_progress: OnProgress<'_>) -> Result<(), RebuildError> {
        let (shared, projection) = (self.shared, self.projection);
        let mut tries = 0;
        let mut ready = self.fetch(self.claim.cursor.position).await?;
        loop {
            let head = (*shared.log.watch().borrow()).max(self.claim.cursor.position);
            on_progress(RebuildProgress { position: self.claim.cursor.position, head });
            shared.publish_progress(self.claim.name, self.claim.cursor.position, "rebuilding");
            let Some((batches, end)) = ready.take() else { return Ok(()) };
            let following = fetch(shared, projection, end);
            let (applied, following) = tokio::join!(self.apply_all(&batches), following);
            match applied {
                Ok(()) => {
                    ready = following?;
                    tries = 0;
                }
                Err(RebuildError::Database(error)) if tries < TRIES => {
                    tracing::info!(projection.name = self.claim.name, %error, "rebuild interrupted");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                    // The transaction may have been committed although its answer was lost.
                    self.reload().await?;
                    ready = self.fetch(self.claim.cursor.position).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn fetch(&self, from: u64) -> Result<Option<Fetched>, ReadError> {
        fetch(self.shared, self.projection, from).await
    }

    async fn apply_all(&mut self, batches: &[Batch]) -> Result<(), RebuildError> {
        for batch in batches {
            let stalled =
                batch::apply(&self.shared.pool, self.projection, &mut self.claim, batch).await?;
            if let Some(Stall { position, error }) = stalled {
                return Err(RebuildError::Stalled { position, error });
            }
        }
        Ok(())
    }

    /// Reads the own checkpoint again and makes sure that the lease is still held.
    async fn reload(&mut self) -> Result<(), RebuildError> {
        self.renew().await?;
        let mut db = self.shared.pool.acquire().await?;
        let rows = checkpoint::of(&mut db, self.claim.name).await?;
        let own = rows.iter().find(|row| row.at() == self.claim.at).ok_or(RebuildError::Lost)?;
        self.claim.cursor = own.cursor();
        Ok(())
    }

    async fn renew(&self) -> Result<(), RebuildError> {
        let mut db = self.shared.pool.acquire().await?;
        checkpoint::renew(&mut db, &self.claim).await?.map(drop).ok_or(RebuildError::Lost)
    }

    /// Makes the indexes; much faster at once than row by row. Keeps the lease meanwhile.
    async fn index(&self) -> Result<(), RebuildError> {
        let build = async {
            let mut tx = self.shared.pool.begin().await?;
            table::create_indexes(&mut tx, self.claim.at, self.projection.tables()).await?;
            tx.commit().await
        };
        tokio::pin!(build);
        loop {
            tokio::select! {
                built = &mut build => return Ok(built?),
                () = tokio::time::sleep(self.shared.options.heartbeat) => self.renew().await?,
            }
        }
    }

    /// The last transaction. `None` when the live read model is too far ahead to wait for.
    /// `Some` with the generation that was replaced.
    async fn swap(&mut self) -> Result<Option<Option<Generation>>, RebuildError> {
        let (shared, projection) = (self.shared, self.projection);
        // The events are read before the live worker is stopped, on another connection.
        let pending = shared.log.read(self.claim.cursor.position, READ_LIMIT).await?;
        let batch = Batch::decode(&pending, projection.reads());

        let mut db = shared.pool.acquire().await?;
        let mut tx = db.begin().await?;
        sqlx::query("SELECT set_config('lock_timeout', $1, true)")
            .bind(SWAP_LOCK)
            .execute(&mut *tx)
            .await?;
        let live = checkpoint::lock_current(&mut tx, self.claim.name).await?;
        let mut claim = self.claim.clone();
        if let Some(live) = &live {
            let missing = live.position().saturating_sub(claim.cursor.position);
            if missing > LEVEL {
                return Ok(None);
            }
            // A part of what was read: not further than the live one is.
            let Some((hash, events)) = batch.first(missing) else { return Ok(None) };
            if let Some(hash) = hash {
                let position = live.position();
                if checkpoint::advance(&mut tx, &claim, position, &hash).await? == Held::Lost {
                    return Err(RebuildError::Lost);
                }
                projection.apply(&mut tx, claim.at, events).await.map_err(apply_error)?;
                claim.cursor.position = position;
                claim.cursor.last_leaf_hash = Some(hash);
            }
        }
        if checkpoint::replace_current(&mut tx, &claim).await? == Held::Lost {
            return Err(RebuildError::Lost);
        }
        table::show(&mut tx, claim.at, projection.tables()).await?;
        tx.commit().await?;
        self.claim = claim;
        Ok(Some(live.map(|row| row.at())))
    }

    /// Drops the replaced tables once nobody reads them. Left for the next start if that takes too
    /// long.
    async fn drop_old(&self, old: Option<Generation>) {
        let Some(old) = old else { return };
        let dropped = async {
            let mut tx = self.shared.pool.begin().await?;
            sqlx::query("SELECT set_config('lock_timeout', $1, true)")
                .bind(SWAP_LOCK)
                .execute(&mut *tx)
                .await?;
            table::drop_tables(&mut tx, old, self.projection.tables()).await?;
            tx.commit().await
        };
        if let Err(error) = dropped.await {
            tracing::info!(projection.name = self.claim.name, %error,
                "tables that a rebuild replaced stay until the next start");
        }
    }
}

type Fetched = (Vec<Batch>, u64);

/// Reads and decodes the next events; `None` at the end of the log.
async fn fetch(
    shared: &Shared,
    projection: &dyn Projection,
    from: u64,
) -> Result<Option<Fetched>, ReadError> {
    let stored: Vec<Stored> = shared.log.read(from, shared.options.batch).await?;
    let Some(last) = stored.last() else { return Ok(None) };
    let end = last.position + 1;
    let reads = projection.reads();
    let batches = batch::cut(&stored, shared.options.batch)
        .into_iter()
        .map(|part| Batch::decode(part, reads))
        .collect();
    Ok(Some((batches, end)))
}

fn apply_error(error: ApplyError) -> RebuildError {
    match error {
        ApplyError::Database(error) => RebuildError::Database(error),
        ApplyError::Row { .. } | ApplyError::UnknownRun { .. } => RebuildError::Apply(error),
    }
}

/// `lock_not_available` or `deadlock_detected` (PostgreSQL manual, appendix A).
fn is_locked(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| matches!(code.as_ref(), "55P03" | "40P01"))
}
