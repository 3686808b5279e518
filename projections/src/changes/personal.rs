//! Questions about what one person has to do, or has done. Each is answered from an index and is bounded.

use nexplane_core::api::{ChangeState, ChangeView};
use nexplane_core::change::event::Window;
use nexplane_core::id::PersonId;
use serde_json::Value;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::{assemble, position};
use crate::page::QueryError;

/// A change that may ask something of somebody. Whether it does is core's to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Without plan and run.
    pub view: ChangeView,
    /// When its requester wants it to run.
    pub window: Option<Window>,
}

/// Some of those that there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asking {
    pub changes: Vec<Candidate>,
    /// There are others.
    pub more: bool,
}

const COLUMNS: &str = "SELECT view, hidden->'window' FROM nexplane.rm_changes WHERE ";

async fn read(
    pool: &PgPool,
    mut sql: QueryBuilder<Postgres>,
    limit: u32,
) -> Result<Asking, QueryError> {
    // One more, to see whether there are others.
    sql.push(" LIMIT ").push_bind(i64::from(limit) + 1);
    let rows: Vec<(Value, Option<Value>)> =
        sql.build_query_as().persistent(false).fetch_all(pool).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    let changes = rows.into_iter().take(limit).map(|(view, window)| {
        let window = window.map(serde_json::from_value::<Option<Window>>).transpose()?.flatten();
        Ok(Candidate { view: assemble(view, None, None)?, window })
    });
    Ok(Asking { changes: changes.collect::<Result<_, QueryError>>()?, more })
}

/// Changes in review, and those that wait for a review after they ended: of each those with the lowest numbers.
pub async fn to_decide(pool: &PgPool, limit: u32) -> Result<Asking, QueryError> {
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("state = 'submitted' ORDER BY number");
    let mut found = read(pool, sql, limit).await?;
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("review_due IS NOT NULL AND state <> 'submitted' ORDER BY number");
    let to_review = read(pool, sql, limit).await?;
    found.changes.extend(to_review.changes);
    found.more |= to_review.more;
    Ok(found)
}

/// A person's changes in these states, newest first.
pub async fn of_requester(
    pool: &PgPool,
    requester: PersonId,
    states: &[ChangeState],
    limit: u32,
) -> Result<Asking, QueryError> {
    let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("requester = ").push_bind(requester.0);
    sql.push(" AND state = ANY(").push_bind(states).push(") ORDER BY number DESC");
    read(pool, sql, limit).await
}

/// Changes of which nobody knows the outcome, newest first.
pub async fn unknown(pool: &PgPool, limit: u32) -> Result<Asking, QueryError> {
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("state = 'outcome_unknown' ORDER BY number DESC");
    read(pool, sql, limit).await
}

/// A person's changes whose secrets wait for them, newest first.
pub async fn unrevealed(
    pool: &PgPool,
    requester: PersonId,
    limit: u32,
) -> Result<Asking, QueryError> {
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("unrevealed AND requester = ").push_bind(requester.0).push(" ORDER BY number DESC");
    read(pool, sql, limit).await
}

/// A person's changes that have ended and moved after a position, the last first.
pub async fn ended(
    pool: &PgPool,
    requester: PersonId,
    after: Option<u64>,
    limit: u32,
) -> Result<Asking, QueryError> {
    let settled = ChangeState::ALL.into_iter().filter(|state| state.is_settled());
    let settled: Vec<_> = settled.map(ChangeState::as_str).collect();
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("requester = ").push_bind(requester.0);
    sql.push(" AND position > ").push_bind(after.map_or(-1, position));
    sql.push(" AND state = ANY(").push_bind(settled).push(") ORDER BY position DESC");
    read(pool, sql, limit).await
}

/// What was done past the rules and is not reviewed, and unknown outcomes; the last first.
pub async fn gaps(pool: &PgPool, limit: u32) -> Result<Asking, QueryError> {
    let mut found = unknown(pool, limit).await?;
    let mut sql = QueryBuilder::new(COLUMNS);
    sql.push("review_due IS NOT NULL AND state <> 'outcome_unknown' ORDER BY number DESC");
    let to_review = read(pool, sql, limit).await?;
    found.changes.extend(to_review.changes);
    found.changes.sort_by_key(|candidate| std::cmp::Reverse(candidate.view.position));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    found.more |= to_review.more || found.changes.len() > limit;
    found.changes.truncate(limit);
    Ok(found)
}

/// Whether anybody ever drafted one.
pub async fn exists(pool: &PgPool) -> Result<bool, QueryError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM nexplane.rm_changes)")
        .fetch_one(pool)
        .await?)
}
