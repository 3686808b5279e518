//! What is asked of the targets of a rollout: pages in their order, where all of them are, and what moved.

use nexplane_core::api::{
    Page, RolloutProgress, RolloutTargetGroup, RolloutTargetOrder, RolloutTargetView, TargetState,
};
use nexplane_core::id::{AssetId, ChangeId, ManifestId, RunId};
use nexplane_core::rollout::event::{Strategy, Tally};
use nexplane_core::time::Timestamp;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::rank;
use crate::page::{self, QueryError};

const SELECT: &str = "SELECT no, asset, name, rank, reason, run, since_us, position \
     FROM nexplane.rm_rollout_targets WHERE manifest = ";

#[derive(FromRow)]
struct Row {
    no: i64,
    asset: Uuid,
    name: String,
    rank: i16,
    reason: Option<String>,
    run: Option<Uuid>,
    since_us: i64,
    position: i64,
}

impl Row {
    fn view(self) -> RolloutTargetView {
        RolloutTargetView {
            no: small(self.no),
            asset: AssetId(self.asset),
            name: self.name,
            state: state_of(self.rank),
            reason: self.reason,
            run: self.run.map(RunId),
            since: Timestamp::from_micros(self.since_us),
            position: self.position.unsigned_abs(),
            waiting_for: None,
        }
    }
}

/// Written by this version of the projection; what it does not know is not known.
fn state_of(rank: i16) -> TargetState {
    let state = usize::try_from(rank).ok().and_then(|place| TargetState::ALL.get(place));
    state.copied().unwrap_or(TargetState::OutcomeUnknown)
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What the targets of a rollout are waiting for depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub manifest: ManifestId,
    pub strategy: Strategy,
    /// As [`RolloutProgress::state`].
    pub state: String,
    /// Batches that have begun.
    pub batches: u32,
}

/// Where the rollout of a change stands, without its targets; `None` when none has begun.
pub async fn standing(pool: &PgPool, change: ChangeId) -> Result<Option<Standing>, QueryError> {
    type Found = (Uuid, Json<Strategy>, String, i64);
    let row: Option<Found> = sqlx::query_as(
        "SELECT manifest, strategy, state, batches FROM nexplane.rm_rollouts WHERE change = $1",
    )
    .bind(change.0)
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(manifest, Json(strategy), state, batches)| Standing {
        manifest: ManifestId(manifest),
        strategy,
        state,
        batches: small(batches),
    }))
}

/// How far the rollout of a change is; `None` when none has begun.
pub async fn progress(
    pool: &PgPool,
    change: ChangeId,
) -> Result<Option<RolloutProgress>, QueryError> {
    let mut connection = pool.acquire().await?;
    Ok(progress_of(&mut connection, change).await?)
}

pub(super) async fn progress_of(
    db: &mut PgConnection,
    change: ChangeId,
) -> Result<Option<RolloutProgress>, sqlx::Error> {
    type Found = (Uuid, i64, String, Option<String>, i64, Json<Strategy>);
    let row: Option<Found> = sqlx::query_as(
        "SELECT manifest, size, state, reason, batches, strategy \
         FROM nexplane.rm_rollouts WHERE change = $1",
    )
    .bind(change.0)
    .persistent(false)
    .fetch_optional(&mut *db)
    .await?;
    let Some((manifest, size, state, reason, batches, Json(strategy))) = row else {
        return Ok(None);
    };
    let counts: Vec<(i16, i64)> = sqlx::query_as(
        "SELECT rank, count(*) FROM nexplane.rm_rollout_targets WHERE manifest = $1 GROUP BY rank",
    )
    .bind(manifest)
    .persistent(false)
    .fetch_all(db)
    .await?;
    let count = |wanted: TargetState| {
        let found = counts.iter().find(|(rank, _)| state_of(*rank) == wanted);
        found.map_or(0, |(_, count)| small(*count))
    };
    Ok(Some(RolloutProgress {
        state,
        reason,
        size: small(size),
        waiting: count(TargetState::Waiting),
        executing: count(TargetState::Executing),
        tally: Tally {
            complete: count(TargetState::Complete),
            failed: count(TargetState::Failed),
            unknown: count(TargetState::OutcomeUnknown),
            not_started: count(TargetState::NotStarted),
        },
        rolled_back: count(TargetState::RolledBack),
        batches: small(batches),
        batches_planned: strategy.batches(small(size)),
    }))
}

/// Which targets of a manifest a list has.
#[derive(Clone, Debug, Default)]
pub struct TargetFilter {
    /// Empty for all states.
    pub states: Vec<TargetState>,
    /// A part of the target's name.
    pub q: Option<String>,
}

impl TargetFilter {
    fn restrict(&self, sql: &mut QueryBuilder<Postgres>) {
        if !self.states.is_empty() {
            let ranks: Vec<_> = self.states.iter().map(|state| rank(*state)).collect();
            sql.push(" AND rank = ANY(").push_bind(ranks).push(")");
        }
        if let Some(q) = self.q.as_deref().map(str::trim).filter(|q| !q.is_empty()) {
            sql.push(" AND strpos(lower(name), ").push_bind(q.to_lowercase()).push(") > 0");
        }
    }
}

/// A cursor of two numbers.
fn pair(cursor: Option<&str>) -> Result<Option<(i64, i64)>, QueryError> {
    let parse = |text: &str| text.parse().map_err(|_| QueryError::Cursor);
    cursor
        .map(|cursor| {
            let (first, second) = cursor.split_once('.').ok_or(QueryError::Cursor)?;
            Ok((parse(first)?, parse(second)?))
        })
        .transpose()
}

/// The targets of a manifest, those that need somebody first (see [`TargetState::ALL`]), then in the order of the
/// plan. At most 200 per page, 50 when no limit is given.
pub async fn targets(
    pool: &PgPool,
    manifest: ManifestId,
    filter: &TargetFilter,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<RolloutTargetView>, QueryError> {
    let probe = page::probe(limit);
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(SELECT);
    sql.push_bind(manifest.0);
    filter.restrict(&mut sql);
    if let Some((rank, no)) = pair(cursor)? {
        let rank = i16::try_from(rank).map_err(|_| QueryError::Cursor)?;
        sql.push(" AND (rank, no) > (").push_bind(rank).push(", ").push_bind(no).push(")");
    }
    sql.push(" ORDER BY rank, no LIMIT ").push_bind(probe);
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    page::page(rows, probe, |row| format!("{}.{}", row.rank, row.no), |row| Ok(row.view()))
}

/// The targets that moved after a position of the log, whatever their state is now, in the order in which they
/// did. Pages as of [`targets`].
pub async fn changed_since(
    pool: &PgPool,
    manifest: ManifestId,
    since: u64,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<RolloutTargetView>, QueryError> {
    let probe = page::probe(limit);
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    // Numbers end before this one: all of an event's targets are behind it.
    let (position, no) = pair(cursor)?.unwrap_or((since, i64::MAX));
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(SELECT);
    sql.push_bind(manifest.0);
    sql.push(" AND (position, no) > (").push_bind(position).push(", ").push_bind(no);
    sql.push(") ORDER BY position, no LIMIT ").push_bind(probe);
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    page::page(rows, probe, |row| format!("{}.{}", row.position, row.no), |row| Ok(row.view()))
}

/// The targets with these numbers, in the order of the plan.
pub async fn numbered(
    pool: &PgPool,
    manifest: ManifestId,
    numbers: &[u32],
) -> Result<Vec<RolloutTargetView>, QueryError> {
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(SELECT);
    let numbers: Vec<_> = numbers.iter().copied().map(i64::from).collect();
    sql.push_bind(manifest.0).push(" AND no = ANY(").push_bind(numbers).push(") ORDER BY no");
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    Ok(rows.into_iter().map(Row::view).collect())
}

/// One target.
pub async fn find(
    pool: &PgPool,
    manifest: ManifestId,
    no: u32,
) -> Result<Option<RolloutTargetView>, QueryError> {
    Ok(numbered(pool, manifest, &[no]).await?.pop())
}

/// The position of the event that has the step of a target as planned.
pub async fn planned_at(
    pool: &PgPool,
    manifest: ManifestId,
    no: u32,
) -> Result<Option<u64>, QueryError> {
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT planned_at FROM nexplane.rm_rollout_targets WHERE manifest = $1 AND no = $2",
    )
    .bind(manifest.0)
    .bind(i64::from(no))
    .fetch_optional(pool)
    .await?;
    Ok(position.map(i64::unsigned_abs))
}

/// Where every target is, in the order of [`targets`]. As long as its answer is: a change has 10,000 targets at
/// most.
pub async fn order(
    pool: &PgPool,
    manifest: ManifestId,
    filter: &TargetFilter,
) -> Result<RolloutTargetOrder, QueryError> {
    // Read first: what moves between both is told again, and not missed.
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT max(position) FROM nexplane.rm_rollout_targets WHERE manifest = $1",
    )
    .bind(manifest.0)
    .persistent(false)
    .fetch_one(pool)
    .await?;
    let mut sql: QueryBuilder<Postgres> =
        QueryBuilder::new("SELECT rank, no FROM nexplane.rm_rollout_targets WHERE manifest = ");
    sql.push_bind(manifest.0);
    filter.restrict(&mut sql);
    sql.push(" ORDER BY rank, no");
    let rows: Vec<(i16, i64)> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    let mut groups: Vec<RolloutTargetGroup> = Vec::new();
    for (rank, no) in rows {
        let (state, no) = (state_of(rank), small(no));
        match groups.last_mut() {
            Some(group) if group.state == state => match group.stretches.last_mut() {
                Some((_, last)) if last.saturating_add(1) == no => *last = no,
                Some(_) | None => group.stretches.push((no, no)),
            },
            Some(_) | None => {
                groups.push(RolloutTargetGroup { state, stretches: vec![(no, no)] });
            }
        }
    }
    Ok(RolloutTargetOrder { position: position.unwrap_or(0).unsigned_abs(), groups })
}
