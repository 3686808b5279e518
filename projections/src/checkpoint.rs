//! Checkpoints and leases: how far a read model has come, and who may move it.
//!
//! One row per generation of a read model; the one behind the views is `is_current`. Every
//! statement that changes a row names the epoch under which its author holds the lease. Taking the
//! lease makes a new epoch, so whoever lost it cannot change anything any more, whatever it
//! believes. Moments are the database's: servers' clocks may disagree.

use std::time::Duration;

use nexplane_core::record::LeafHash;
use nexplane_store::log::Cursor;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::table::Generation;

const TABLE: &str = "
CREATE TABLE nexplane.projection_checkpoints (
    name text NOT NULL,
    -- Of the projection's tables; with the generation the suffix of their names.
    version integer NOT NULL,
    generation integer NOT NULL,
    -- The generation behind the views. Others are being built.
    is_current boolean NOT NULL,
    -- Counts the leases; a transaction of an earlier one changes nothing.
    epoch bigint NOT NULL,
    holder uuid,
    lease_until timestamptz,
    incarnation uuid NOT NULL,
    -- The next position to read.
    position bigint NOT NULL CHECK (position >= 0),
    -- Of the event before it.
    last_leaf_hash bytea,
    state text NOT NULL CHECK (state IN ('live', 'rebuilding', 'stalled')),
    error text,
    PRIMARY KEY (name, generation)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX projection_checkpoints_current
    ON nexplane.projection_checkpoints (name) WHERE is_current;
";

/// Makes the table if it is not there. The caller holds a lock, so that nobody else does.
///
/// `IF NOT EXISTS` would not do for the index: it waits for everybody who is writing to the table
/// before it looks.
pub async fn create_table(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('nexplane.projection_checkpoints') IS NOT NULL")
            .fetch_one(&mut *db)
            .await?;
    if !exists {
        sqlx::raw_sql(TABLE).execute(db).await?;
    }
    Ok(())
}

/// A row, as everybody may see it.
#[derive(Clone, Debug, FromRow)]
pub struct Row {
    pub name: String,
    version: i32,
    generation: i32,
    pub is_current: bool,
    pub epoch: i64,
    pub holder: Option<Uuid>,
    /// Milliseconds until the lease ends; zero or less, or nobody holds it: it is free.
    lease_ms: Option<i64>,
    incarnation: Uuid,
    position: i64,
    last_leaf_hash: Option<Vec<u8>>,
    pub state: String,
    pub error: Option<String>,
}

const COLUMNS: &str = "name, version, generation, is_current, epoch, holder, \
    ceil(extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint AS lease_ms, \
    incarnation, position, last_leaf_hash, state, error";

impl Row {
    pub fn at(&self) -> Generation {
        Generation { version: self.version.unsigned_abs(), number: self.generation.unsigned_abs() }
    }

    pub fn position(&self) -> u64 {
        self.position.unsigned_abs()
    }

    /// How long the lease still lasts; zero when it is free.
    pub fn lease(&self) -> Duration {
        match (self.holder, self.lease_ms) {
            (Some(_), Some(ms)) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
            (_, _) => Duration::ZERO,
        }
    }

    pub fn cursor(&self) -> Cursor {
        Cursor {
            incarnation: self.incarnation,
            position: self.position(),
            last_leaf_hash: self.last_leaf_hash.as_deref().and_then(|hash| hash.try_into().ok()),
        }
    }
}

/// The right to move a read model, and where it is.
#[derive(Clone, Debug)]
pub struct Claim {
    pub name: &'static str,
    pub at: Generation,
    pub holder: Uuid,
    pub epoch: i64,
    pub cursor: Cursor,
    /// How long the lease lasts when nothing renews it.
    pub ttl: Duration,
}

/// Whether the lease was still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Yes,
    Lost,
}

fn held(changed: u64) -> Held {
    if changed == 1 { Held::Yes } else { Held::Lost }
}

/// All rows: for each projection the current one first.
pub async fn all(db: &mut PgConnection) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM nexplane.projection_checkpoints \
         ORDER BY name, is_current DESC, generation"
    )))
    .fetch_all(db)
    .await
}

/// All generations of a projection.
pub async fn of(db: &mut PgConnection, name: &str) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM nexplane.projection_checkpoints \
         WHERE name = $1 ORDER BY is_current DESC, generation"
    )))
    .bind(name)
    .fetch_all(db)
    .await
}

/// The generation behind the views.
pub async fn current(db: &mut PgConnection, name: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM nexplane.projection_checkpoints WHERE name = $1 AND is_current"
    )))
    .bind(name)
    .fetch_optional(db)
    .await
}

/// Enters a generation at the beginning of the log: the current one with nobody's lease, or one
/// being built with its builder's.
pub async fn insert(
    db: &mut PgConnection,
    name: &str,
    at: Generation,
    incarnation: Uuid,
    builder: Option<(Uuid, Duration)>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO nexplane.projection_checkpoints \
         (name, version, generation, is_current, epoch, holder, lease_until, incarnation, position, \
          state) \
         VALUES ($1, $2, $3, $4 IS NULL, 0, $4, clock_timestamp() + $5 * interval '1 ms', $6, 0, \
          CASE WHEN $4 IS NULL THEN 'live' ELSE 'rebuilding' END)",
    )
    .bind(name)
    .bind(signed32(at.version))
    .bind(signed32(at.number))
    .bind(builder.map(|(holder, _)| holder))
    .bind(builder.map(|(_, ttl)| millis(ttl)))
    .bind(incarnation)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the lease of the current generation, if it is free or was this holder's, and if the
/// generation is of this version. A stalled one is live again: the new holder tries.
pub async fn claim(
    db: &mut PgConnection,
    name: &'static str,
    version: u32,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<Claim>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "UPDATE nexplane.projection_checkpoints \
         SET epoch = epoch + 1, holder = $2, state = 'live', error = NULL, \
             lease_until = clock_timestamp() + $3 * interval '1 ms' \
         WHERE name = $1 AND is_current AND version = $4 \
           AND (holder IS NULL OR holder = $2 OR lease_until <= clock_timestamp()) \
         RETURNING {COLUMNS}"
    )))
    .bind(name)
    .bind(holder)
    .bind(millis(ttl))
    .bind(signed32(version))
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Claim {
        name,
        at: row.at(),
        holder,
        epoch: row.epoch,
        cursor: row.cursor(),
        ttl,
    }))
}

/// Moves a checkpoint from where the claim says it is, and renews the lease. Holds the row until
/// the transaction ends: nobody can take the lease meanwhile.
pub async fn advance(
    db: &mut PgConnection,
    claim: &Claim,
    position: u64,
    last_leaf_hash: &LeafHash,
) -> Result<Held, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE nexplane.projection_checkpoints \
         SET position = $1, last_leaf_hash = $2, \
             lease_until = clock_timestamp() + $3 * interval '1 ms' \
         WHERE name = $4 AND generation = $5 AND holder = $6 AND epoch = $7 AND position = $8 \
           AND last_leaf_hash IS NOT DISTINCT FROM $9 AND incarnation = $10",
    )
    .bind(signed(position))
    .bind(last_leaf_hash.as_slice())
    .bind(millis(claim.ttl))
    .bind(claim.name)
    .bind(signed32(claim.at.number))
    .bind(claim.holder)
    .bind(claim.epoch)
    .bind(signed(claim.cursor.position))
    .bind(claim.cursor.last_leaf_hash.map(|hash| hash.to_vec()))
    .bind(claim.cursor.incarnation)
    .execute(db)
    .await?;
    Ok(held(changed.rows_affected()))
}

/// Renews a lease that is still held, and tells the state of the row: somebody may have asked for
/// a stalled projection to go on.
pub async fn renew(db: &mut PgConnection, claim: &Claim) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "UPDATE nexplane.projection_checkpoints \
         SET lease_until = clock_timestamp() + $1 * interval '1 ms' \
         WHERE name = $2 AND generation = $3 AND holder = $4 AND epoch = $5 RETURNING state",
    )
    .bind(millis(claim.ttl))
    .bind(claim.name)
    .bind(signed32(claim.at.number))
    .bind(claim.holder)
    .bind(claim.epoch)
    .fetch_optional(db)
    .await
}

/// Records that the event at the checkpoint could not be applied, or with `None` that it is tried
/// again.
pub async fn set_stalled(
    db: &mut PgConnection,
    claim: &Claim,
    error: Option<&str>,
) -> Result<Held, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE nexplane.projection_checkpoints \
         SET state = CASE WHEN $1::text IS NULL THEN 'live' ELSE 'stalled' END, error = $1 \
         WHERE name = $2 AND generation = $3 AND holder = $4 AND epoch = $5",
    )
    .bind(error)
    .bind(claim.name)
    .bind(signed32(claim.at.number))
    .bind(claim.holder)
    .bind(claim.epoch)
    .execute(db)
    .await?;
    Ok(held(changed.rows_affected()))
}

/// Records that a read model of an earlier version could not be built as `version`.
pub async fn mark_outdated(
    db: &mut PgConnection,
    name: &str,
    version: u32,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE nexplane.projection_checkpoints SET state = 'stalled', error = $1 \
         WHERE name = $2 AND is_current AND version < $3",
    )
    .bind(error)
    .bind(name)
    .bind(signed32(version))
    .execute(db)
    .await?;
    Ok(())
}

/// Asks whoever holds the lease of a stalled projection to try again. False: it is not stalled.
pub async fn ask_again(db: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE nexplane.projection_checkpoints SET state = 'live', error = NULL \
         WHERE name = $1 AND is_current AND state = 'stalled'",
    )
    .bind(name)
    .execute(db)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Gives the lease back.
pub async fn release(db: &mut PgConnection, claim: &Claim) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE nexplane.projection_checkpoints SET holder = NULL, lease_until = NULL \
         WHERE name = $1 AND generation = $2 AND holder = $3 AND epoch = $4",
    )
    .bind(claim.name)
    .bind(signed32(claim.at.number))
    .bind(claim.holder)
    .bind(claim.epoch)
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the current row and says where it is.
pub async fn lock_current(db: &mut PgConnection, name: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM nexplane.projection_checkpoints \
         WHERE name = $1 AND is_current FOR UPDATE"
    )))
    .bind(name)
    .fetch_optional(db)
    .await
}

/// Puts a built generation in the current one's place, with an epoch above both and a free lease.
pub async fn replace_current(db: &mut PgConnection, claim: &Claim) -> Result<Held, sqlx::Error> {
    let epoch: Option<i64> = sqlx::query_scalar(
        "DELETE FROM nexplane.projection_checkpoints WHERE name = $1 AND is_current RETURNING epoch",
    )
    .bind(claim.name)
    .fetch_optional(&mut *db)
    .await?;
    let changed = sqlx::query(
        "UPDATE nexplane.projection_checkpoints \
         SET is_current = true, epoch = greatest(epoch, $1) + 1, holder = NULL, \
             lease_until = NULL, state = 'live', error = NULL \
         WHERE name = $2 AND generation = $3 AND holder = $4 AND epoch = $5",
    )
    .bind(epoch.unwrap_or(0))
    .bind(claim.name)
    .bind(signed32(claim.at.number))
    .bind(claim.holder)
    .bind(claim.epoch)
    .execute(db)
    .await?;
    Ok(held(changed.rows_affected()))
}

/// Removes the row of a generation that is not current, unless somebody else is building it.
pub async fn remove(
    db: &mut PgConnection,
    name: &str,
    at: Generation,
    by: Uuid,
) -> Result<Held, sqlx::Error> {
    // The builder's transaction may hold the row and have renewed the lease: PostgreSQL waits for it
    // and then asks these conditions of the row as it is.
    let changed = sqlx::query(
        "DELETE FROM nexplane.projection_checkpoints \
         WHERE name = $1 AND generation = $2 AND NOT is_current \
           AND (holder IS NULL OR holder = $3 OR lease_until <= clock_timestamp())",
    )
    .bind(name)
    .bind(signed32(at.number))
    .bind(by)
    .execute(db)
    .await?;
    Ok(held(changed.rows_affected()))
}

/// PostgreSQL's bigint is signed; positions and counts stay far below its limit.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn signed32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
