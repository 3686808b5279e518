//! Questions about changes.

use std::collections::HashMap;

use nexplane_core::api::{ChangeState, ChangeView, Page};
use nexplane_core::event::Recorded;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RolloutId, RunId, StreamId};
use nexplane_core::policy::Replayed;
use nexplane_core::risk::{Environment, History, RiskLevel};
use nexplane_core::time::Timestamp;
use nexplane_store::log::Log;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::fold::Decided;
use super::{assemble, fold_change, position};
use crate::grams;
use crate::page::{self, QueryError};
use crate::projection::{DecodeError, decode};

/// Changes after the cursor that are looked at one by one before the index of words is asked.
const NEAR: i64 = 1000;

/// Which changes a list has; what is `None` or empty does not restrict it, but for `ids`.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    /// Any of these.
    pub states: Vec<ChangeState>,
    /// Words or parts of them, in any order: title, reason, ticket, type, `#<number>`.
    pub q: Option<String>,
    pub requester: Option<PersonId>,
    pub change_type: Option<String>,
    pub connection: Option<ConnectionId>,
    pub target: Option<AssetId>,
    /// The rollbacks of a change.
    pub rollback_of: Option<ChangeId>,
    /// Any of these levels; what has no plan has none.
    pub risk: Vec<RiskLevel>,
    /// The label that the change's connection has now.
    pub environment: Option<Environment>,
    /// Only these.
    pub ids: Option<Vec<ChangeId>>,
    /// Only what waits for a review after it ended.
    pub to_review: bool,
}

/// In which order a list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeOrder {
    /// Newest drafts first. Pages are stable.
    #[default]
    Number,
    /// Last changed first. A change that moves while pages are read moves to the first page.
    Updated,
}

/// Changes without plan and run (`plan` and `run` are `None`). At most 200 per page, 50 when no
/// limit is given.
pub async fn list(
    pool: &PgPool,
    filter: &ChangeFilter,
    order: ChangeOrder,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ChangeView>, QueryError> {
    let (column, probe) = match order {
        ChangeOrder::Number => ("number", page::probe(limit)),
        ChangeOrder::Updated => ("position", page::probe(limit)),
    };
    let before = page::number(cursor)?;
    let words: Vec<String> = filter.words().map(str::to_lowercase).collect();
    if !words.is_empty() {
        // What many changes have is among the next ones; what few have is found by its index.
        let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(format!(
            "SELECT {column}, view FROM (SELECT * FROM nexplane.rm_changes WHERE true"
        ));
        cut(&mut sql, column, before, NEAR);
        sql.push(") near WHERE true");
        restrict(&mut sql, filter, &words);
        cut(&mut sql, column, None, probe);
        let rows: Vec<(i64, Value)> =
            sql.build_query_as().persistent(false).fetch_all(pool).await?;
        if i64::try_from(rows.len()) == Ok(probe) {
            return finish(rows, probe);
        }
    }
    let mut sql: QueryBuilder<Postgres> =
        QueryBuilder::new(format!("SELECT {column}, view FROM nexplane.rm_changes WHERE true"));
    restrict(&mut sql, filter, &words);
    if let Some(grams) = grams::of_words(words.iter().map(String::as_str)) {
        sql.push(" AND id IN (SELECT change FROM nexplane.rm_change_search WHERE grams @> ")
            .push_bind(grams)
            .push(")");
    }
    cut(&mut sql, column, before, probe);
    finish(sql.build_query_as().persistent(false).fetch_all(pool).await?, probe)
}

/// From a cursor on, in the order of a list.
fn cut(sql: &mut QueryBuilder<Postgres>, column: &str, before: Option<i64>, limit: i64) {
    if let Some(before) = before {
        sql.push(format!(" AND {column} < ")).push_bind(before);
    }
    sql.push(format!(" ORDER BY {column} DESC LIMIT ")).push_bind(limit);
}

fn finish(rows: Vec<(i64, Value)>, probe: i64) -> Result<Page<ChangeView>, QueryError> {
    page::page(rows, probe, |(key, _)| key.to_string(), |(_, view)| Ok(assemble(view, None, None)?))
}

impl ChangeFilter {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.q.iter().flat_map(|q| q.split_whitespace())
    }
}

fn restrict(sql: &mut QueryBuilder<Postgres>, filter: &ChangeFilter, words: &[String]) {
    let ChangeFilter {
        states,
        q: _,
        requester,
        change_type,
        connection,
        target,
        rollback_of,
        risk,
        environment,
        ids,
        to_review,
    } = filter;
    if !states.is_empty() {
        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        sql.push(" AND state = ANY(").push_bind(states).push(")");
    }
    for word in words {
        sql.push(" AND strpos(search, ").push_bind(word.clone()).push(") > 0");
    }
    if let Some(requester) = requester {
        sql.push(" AND requester = ").push_bind(requester.0);
    }
    if let Some(change_type) = change_type {
        sql.push(" AND change_type = ").push_bind(change_type.clone());
    }
    if let Some(connection) = connection {
        sql.push(" AND connection = ").push_bind(connection.0);
    }
    if let Some(target) = target {
        sql.push(" AND targets @> ").push_bind(vec![target.0]);
    }
    if let Some(rollback_of) = rollback_of {
        sql.push(" AND rollback_of = ").push_bind(rollback_of.0);
    }
    if !risk.is_empty() {
        let levels: Vec<_> = risk.iter().map(|level| level.as_str()).collect();
        sql.push(" AND risk_level = ANY(").push_bind(levels).push(")");
    }
    if let Some(environment) = environment {
        sql.push(" AND connection IN (SELECT id FROM nexplane.rm_connections WHERE environment = ")
            .push_bind(environment.as_str())
            .push(")");
    }
    if *to_review {
        sql.push(" AND review_due IS NOT NULL");
    }
    if let Some(ids) = ids {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        sql.push(" AND id = ANY(").push_bind(ids).push(")");
    }
}

/// One change with plan and run.
pub async fn find(pool: &PgPool, id: ChangeId) -> Result<Option<ChangeView>, QueryError> {
    let row: Option<(Value, Option<Value>, Option<Value>)> =
        sqlx::query_as("SELECT view, plan, run FROM nexplane.rm_changes WHERE id = $1")
            .bind(id.0)
            .fetch_optional(pool)
            .await?;
    Ok(row.map(|(view, plan, run)| assemble(view, plan, run)).transpose()?)
}

/// The change that people call by this number.
pub async fn find_by_number(pool: &PgPool, number: u64) -> Result<Option<ChangeId>, QueryError> {
    let id: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM nexplane.rm_changes WHERE number = $1")
            .bind(position(number))
            .fetch_optional(pool)
            .await?;
    Ok(id.map(ChangeId))
}

/// Numbers and titles of changes, as far as they exist.
pub async fn titles(
    pool: &PgPool,
    ids: &[ChangeId],
) -> Result<HashMap<ChangeId, (u64, String)>, QueryError> {
    let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(
        "SELECT id, number, view->>'title' FROM nexplane.rm_changes WHERE id = ANY($1)",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let titled =
        |(id, number, title): (Uuid, i64, String)| (ChangeId(id), (number.unsigned_abs(), title));
    Ok(rows.into_iter().map(titled).collect())
}

/// The runs of a change, oldest first.
pub async fn runs(pool: &PgPool, id: ChangeId) -> Result<Vec<RunId>, QueryError> {
    let runs: Vec<Uuid> = sqlx::query_scalar(
        "SELECT run FROM nexplane.rm_change_runs WHERE change = $1 ORDER BY run",
    )
    .bind(id.0)
    .fetch_all(pool)
    .await?;
    Ok(runs.into_iter().map(RunId).collect())
}

/// A change as it was when the event at `until` was the last. Folded from the log; the read model
/// only tells its number and its runs. `None` when it was not drafted by then.
pub async fn as_of(
    pool: &PgPool,
    log: &Log,
    id: ChangeId,
    until: u64,
) -> Result<Option<ChangeView>, QueryError> {
    let number: Option<i64> =
        sqlx::query_scalar("SELECT number FROM nexplane.rm_changes WHERE id = $1")
            .bind(id.0)
            .fetch_optional(pool)
            .await?;
    let Some(number) = number else { return Ok(None) };
    let mut streams = vec![StreamId::from(id)];
    for run in runs(pool, id).await? {
        streams.extend([StreamId::from(run), StreamId::from(RolloutId::from(run))]);
    }
    let mut events: Vec<Recorded> = Vec::new();
    for stream in streams {
        let stored = log.read_stream(stream, 1, Some(until)).await?;
        let decoded: Result<Vec<_>, DecodeError> = stored.iter().map(decode).collect();
        events.extend(decoded?);
    }
    events.sort_by_key(|recorded| recorded.position);
    Ok(fold_change(number.unsigned_abs(), &events))
}

/// A change that stands in the way of undoing an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaterChange {
    pub id: ChangeId,
    pub number: u64,
    pub title: String,
}

/// Changes that were executed after this one, had an effect (or may have had one) on any of these
/// assets, and are not rolled back; the latest first. Rollbacks themselves are not in the way: they
/// took back what stood in between. Nothing is in the way of a change that was not executed.
pub async fn later_applied(
    pool: &PgPool,
    after: ChangeId,
    assets: &[AssetId],
) -> Result<Vec<LaterChange>, QueryError> {
    let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(
        "SELECT later.id, later.number, later.view->>'title' FROM nexplane.rm_changes later \
         WHERE later.applied && $2 AND later.id <> $1 AND later.rollback_of IS NULL \
           AND later.state <> 'rolled_back' \
           AND later.executed > (SELECT executed FROM nexplane.rm_changes WHERE id = $1) \
         ORDER BY later.executed DESC",
    )
    .bind(after.0)
    .bind(assets.iter().map(|asset| asset.0).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, number, title)| LaterChange {
            id: ChangeId(id),
            number: number.unsigned_abs(),
            title,
        })
        .collect())
}

/// How earlier changes of a type ended: what risk is computed from. Rollbacks do not count.
pub async fn history(pool: &PgPool, change_type: &str) -> Result<History, QueryError> {
    let (finished, failed): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE outcome = 'failed') FROM nexplane.rm_changes \
         WHERE change_type = $1 AND outcome IS NOT NULL AND rollback_of IS NULL",
    )
    .bind(change_type)
    .persistent(false)
    .fetch_one(pool)
    .await?;
    let small = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(History { finished: small(finished), failed: small(failed) })
}

/// The newest submissions of up to `limit` changes with a number below `before`, newest first, with
/// how those changes are now.
pub async fn submissions(
    pool: &PgPool,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Replayed>, QueryError> {
    let rows: Vec<(Uuid, i64, String, Value)> = sqlx::query_as(
        "SELECT id, number, state, hidden->'decided' FROM nexplane.rm_changes \
         WHERE number < $1 AND jsonb_typeof(hidden->'decided') = 'object' \
         ORDER BY number DESC LIMIT $2",
    )
    .bind(before.map_or(i64::MAX, position))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|(id, number, state, decided)| {
            let Decided { case, has_tags, quorum } = serde_json::from_value(decided)?;
            let state = serde_json::from_value(Value::String(state))?;
            let (change, number) = (ChangeId(id), number.unsigned_abs());
            Ok(Replayed { change, number, state, case, has_tags, quorum })
        })
        .collect()
}

/// Changes for which somebody broke glass, and of which the review was due by this moment.
pub async fn overdue(
    pool: &PgPool,
    by: PersonId,
    at: Timestamp,
) -> Result<Vec<ChangeId>, QueryError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_changes WHERE review_due IS NOT NULL \
         AND review_due <= $1::text::timestamptz AND view->'glass' @> $2 ORDER BY number LIMIT 100",
    )
    .bind(at.to_string())
    .bind(json!([{ "by": by }]))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(ChangeId).collect())
}

/// Changes that wait for approvals with their plans, and those that wait for a review after they ended; those that
/// wait longest first: candidates for an inbox. Who may do it is core's to decide.
pub async fn inbox(
    pool: &PgPool,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ChangeView>, QueryError> {
    let probe = page::probe(limit);
    let after = page::number(cursor)?.unwrap_or(0);
    let rows: Vec<(i64, Value, Option<Value>)> = sqlx::query_as(
        "SELECT number, view, plan FROM nexplane.rm_changes \
         WHERE (state = 'submitted' OR review_due IS NOT NULL) AND number > $1 ORDER BY number LIMIT $2",
    )
    .bind(after)
    .bind(probe)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    page::page(
        rows,
        probe,
        |(number, ..)| number.to_string(),
        |(_, view, plan)| Ok(assemble(view, plan, None)?),
    )
}
