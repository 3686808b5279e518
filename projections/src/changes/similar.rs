//! How changes like one ended before, and whether undoing them ever worked.

use nexplane_core::api::{ChangeState, SimilarChange, SimilarTally, SimilarView};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId};
use nexplane_core::time::Timestamp;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::page::QueryError;

/// How far back (days) endings are counted.
const EARLIER_DAYS: u32 = 90;

/// Endings that are counted, at most.
const COUNTED: u32 = 1000;

/// Changes that are named.
const NAMED: u32 = 5;

/// Rollbacks that are looked at for one that worked.
const ATTEMPTS: u32 = 50;

/// Of a change with more targets it is not counted which others had one of them: that compares each of these
/// with each of theirs.
const TARGETS: usize = 20;

/// What others are compared with: those that are no rollbacks, or those that are.
#[derive(Clone, Copy, Debug)]
pub struct Alike<'a> {
    pub change: ChangeId,
    pub change_type: &'a str,
    pub connection: ConnectionId,
    pub targets: &'a [AssetId],
    pub is_rollback: bool,
}

/// Executions of the same action on the same connection that ended: [`EARLIER_DAYS`] before `now` or later, and
/// the newest of all.
pub async fn similar(
    pool: &PgPool,
    alike: &Alike<'_>,
    now: Timestamp,
) -> Result<SimilarView, QueryError> {
    let comparable = alike.targets.len() <= TARGETS;
    let targets: Vec<Uuid> =
        alike.targets.iter().filter(|_| comparable).map(|asset| asset.0).collect();
    let since = now.plus_seconds(-i64::from(EARLIER_DAYS) * 24 * 60 * 60);
    // Written out, so that it is the condition of an index.
    let rollbacks = if alike.is_rollback { "IS NOT NULL" } else { "IS NULL" };
    let of = format!(
        "FROM nexplane.rm_changes WHERE connection = $1 AND left(change_type, 100) = left($2, 100) \
         AND change_type = $2 AND rollback_of {rollbacks} AND ended IS NOT NULL AND id <> $3"
    );
    let counts: Vec<(String, bool, bool, i64)> = sqlx::query_as(AssertSqlSafe(format!(
        "WITH recent AS (SELECT state, settled, targets && $4 AS same {of} \
             AND ended >= $5::text::timestamptz ORDER BY ended DESC LIMIT {}) \
         SELECT state, settled, same, count(*) FROM recent GROUP BY state, settled, same",
        COUNTED + 1
    )))
    .bind(alike.connection.0)
    .bind(alike.change_type)
    .bind(alike.change.0)
    .bind(&targets)
    .bind(since.to_string())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let (mut all, mut on_targets) = (SimilarTally::default(), SimilarTally::default());
    for (state, settled, same, count) in counts {
        let (state, count) = (read_state(state)?, u32::try_from(count).unwrap_or(u32::MAX));
        all.add(state, settled, count);
        if same {
            on_targets.add(state, settled, count);
        }
    }
    let rows: Vec<(Uuid, i64, String, String, bool, i64, bool)> =
        sqlx::query_as(AssertSqlSafe(format!(
            "SELECT id, number, view->>'title', state, settled, {ENDED}, targets && $4 {of} \
             ORDER BY ended DESC LIMIT {NAMED}"
        )))
        .bind(alike.connection.0)
        .bind(alike.change_type)
        .bind(alike.change.0)
        .bind(&targets)
        .persistent(false)
        .fetch_all(pool)
        .await?;
    let mut last = Vec::with_capacity(rows.len());
    for (id, number, title, state, settled, ended, same_target) in rows {
        last.push(SimilarChange {
            id: ChangeId(id),
            number: number.unsigned_abs(),
            title,
            state: read_state(state)?,
            settled,
            at: Timestamp::from_micros(ended),
            same_target,
        });
    }
    Ok(SimilarView {
        days: EARLIER_DAYS,
        first_here: last.is_empty(),
        counts: all,
        on_targets: comparable.then_some(on_targets),
        capped: all.total > COUNTED,
        last,
    })
}

const ENDED: &str = "(extract(epoch FROM ended) * 1000000)::bigint";

/// A rollback that worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub rollback: ChangeId,
    pub number: u64,
    pub title: String,
    /// When its execution ended.
    pub at: Timestamp,
    pub connection: ConnectionId,
}

/// The newest rollback of the action that worked, here or, when none did here, on another connection; and how
/// many of the rollbacks here did not since.
///
/// It worked when each of its steps was verified by a reading of the target. What a person found is no reading,
/// and one that touched nothing proves nothing.
pub async fn undo_proof(
    pool: &PgPool,
    alike: &Alike<'_>,
) -> Result<(Option<Proof>, u32), QueryError> {
    let here = attempts(pool, alike, true).await?;
    let place = here.iter().position(|attempt| attempt.worked);
    let failed_since = u32::try_from(place.unwrap_or(here.len())).unwrap_or(u32::MAX);
    if let Some(place) = place {
        return Ok((here.into_iter().nth(place).map(|found| found.proof), failed_since));
    }
    let elsewhere = attempts(pool, alike, false).await?;
    let found = elsewhere.into_iter().find(|attempt| attempt.worked);
    Ok((found.map(|found| found.proof), failed_since))
}

struct Attempt {
    proof: Proof,
    worked: bool,
}

/// The newest first.
async fn attempts(
    pool: &PgPool,
    alike: &Alike<'_>,
    here: bool,
) -> Result<Vec<Attempt>, QueryError> {
    type Found = (Uuid, i64, String, String, bool, i64, Uuid, bool);
    let on = if here { "connection = $1" } else { "connection <> $1" };
    let rows: Vec<Found> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT id, number, view->>'title', state, settled, {ENDED}, connection, \
                 cardinality(applied) > 0 \
             FROM nexplane.rm_changes WHERE {on} AND left(change_type, 100) = left($2, 100) \
             AND change_type = $2 AND rollback_of IS NOT NULL AND ended IS NOT NULL AND id <> $3 \
             ORDER BY ended DESC LIMIT {ATTEMPTS}"
    )))
    .bind(alike.connection.0)
    .bind(alike.change_type)
    .bind(alike.change.0)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|(id, number, title, state, settled, ended, connection, touched)| {
            let worked = read_state(state)? == ChangeState::Complete && !settled && touched;
            let proof = Proof {
                rollback: ChangeId(id),
                number: number.unsigned_abs(),
                title,
                at: Timestamp::from_micros(ended),
                connection: ConnectionId(connection),
            };
            Ok(Attempt { proof, worked })
        })
        .collect()
}

fn read_state(state: String) -> Result<ChangeState, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(state))
}
