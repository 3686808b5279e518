//! Whose turn it is at a target: one run at a time, in the order in which they asked.
//!
//! Without it two runs could read the same before-state, and each undo what the other did. A run asks for
//! all of its targets, and all that these are related to, at once and gets one ticket, so no two of them ever wait for each other. The turn
//! is the run's and not its worker's: a crash does not give it away, and who takes the run over goes on
//! with it. It ends when the run has.
//!
//! Deliberately absent: turns of what only reads, and an order other than that of asking.

use std::collections::HashSet;

use nexplane_core::id::{AssetId, ChangeId, RunId};
use nexplane_core::run::{Run, RunState};
use nexplane_store::log::Log;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::stream::{self, LoadError};

/// Key of the advisory lock: the first eight bytes of SHA-256("nexplane target queue").
const LOCK: i64 = -0x55a9_a1c6_0115_45cc;

/// A run that asked before for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    pub run: RunId,
    pub change: ChangeId,
    pub asset: AssetId,
}

/// Asks for targets, and for what is only to stay as it is meanwhile; nothing happens when the run has asked
/// before. Reading is shared, writing is not.
pub async fn join(
    pool: &PgPool,
    change: ChangeId,
    run: RunId,
    targets: &[AssetId],
    reads: &[AssetId],
) -> Result<(), sqlx::Error> {
    // Tickets are given in the order in which they are seen: who has one sees all lower ones. One statement,
    // so that nobody who hangs or is cut off keeps the lock.
    sqlx::query(
        "WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock($4)), \
             mine AS MATERIALIZED (SELECT nextval('nexplane.target_tickets') AS ticket FROM locked) \
         INSERT INTO nexplane.target_queue (asset, run, change, ticket, reads) \
         SELECT asset, $2::uuid, $3::uuid, mine.ticket, bool_and(shared) FROM mine, \
             (SELECT unnest($1::uuid[]), false UNION ALL SELECT unnest($5::uuid[]), true) wanted (asset, shared) \
         WHERE NOT EXISTS (SELECT FROM nexplane.target_queue WHERE run = $2) \
         GROUP BY asset, mine.ticket",
    )
    .bind(targets.iter().map(|asset| asset.0).collect::<Vec<_>>())
    .bind(run.0)
    .bind(change.0)
    .bind(LOCK)
    .bind(reads.iter().map(|asset| asset.0).collect::<Vec<_>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// Of each target of a run, and of what it reads, that is not its turn yet: who is to be waited for.
pub async fn ahead(pool: &PgPool, run: RunId) -> Result<Vec<Ahead>, sqlx::Error> {
    let rows: Vec<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "SELECT first.run, first.change, own.asset FROM nexplane.target_queue own \
         CROSS JOIN LATERAL (SELECT run, change FROM nexplane.target_queue other \
                             WHERE other.asset = own.asset AND other.ticket < own.ticket \
                               AND NOT (other.reads AND own.reads) ORDER BY ticket LIMIT 1) first \
         WHERE own.run = $1 ORDER BY own.asset",
    )
    .bind(run.0)
    .fetch_all(pool)
    .await?;
    let ahead = |(run, change, asset)| Ahead {
        run: RunId(run),
        change: ChangeId(change),
        asset: AssetId(asset),
    };
    Ok(rows.into_iter().map(ahead).collect())
}

/// Those of these runs that wait for somebody else's turn on a target to end.
pub async fn behind(pool: &PgPool, runs: &[RunId]) -> Result<HashSet<RunId>, sqlx::Error> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT own.run FROM nexplane.target_queue own WHERE own.run = ANY($1) AND EXISTS \
             (SELECT FROM nexplane.target_queue other \
              WHERE other.asset = own.asset AND other.ticket < own.ticket \
                AND NOT (other.reads AND own.reads))",
    )
    .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(RunId).collect())
}

/// Ends a run's turn.
pub async fn leave(pool: &PgPool, run: RunId) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    delete(&mut connection, run).await
}

/// Ends the turns of runs that have ended, and whose worker went away before it said so here.
pub async fn clear_ended(pool: &PgPool, log: &Log, ahead: &[Ahead]) -> Result<(), ClearError> {
    let mut connection = pool.acquire().await?;
    for Ahead { run, .. } in ahead {
        let state = stream::load::<Run>(log, (*run).into()).await?.state;
        if matches!(state, RunState::Finished(_)) {
            delete(&mut connection, *run).await?;
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the database cannot be reached")]
    Database(#[from] sqlx::Error),
}

async fn delete(connection: &mut PgConnection, run: RunId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM nexplane.target_queue WHERE run = $1")
        .bind(run.0)
        .execute(connection)
        .await?;
    Ok(())
}
