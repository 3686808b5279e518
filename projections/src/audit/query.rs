//! Questions about what happened.

use nexplane_core::actor::{Actor, ActorKind};
use nexplane_core::api::{EventView, Page};
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::words::Term;
use crate::checkpoint::signed;
use crate::page::{self, QueryError};

/// Lines after the cursor that are looked at one by one before an index is asked.
const NEAR: i64 = 2000;

/// For the hits of an index. With less, PostgreSQL forgets which lines of a page they are in, and
/// compares all of them: seven times slower with 100,000 hits among 1,000,000 lines.
const WORK_MEM: &str = "64MB";

const COLUMNS: &str = "position, id, at_us, actor_kind, actor, type AS kind, category, stream, \
    version, change, summary, payload->'data' AS data";

#[derive(FromRow)]
struct Row {
    position: i64,
    id: Uuid,
    at_us: i64,
    actor_kind: String,
    actor: Uuid,
    kind: String,
    category: String,
    stream: Uuid,
    version: i64,
    change: Option<Uuid>,
    summary: String,
    data: Value,
}

impl Row {
    fn view(self) -> EventView {
        let kind = match self.actor_kind.as_str() {
            "user" => ActorKind::User,
            "machine" => ActorKind::Machine,
            "agent" => ActorKind::Agent,
            _ => ActorKind::System,
        };
        EventView {
            position: self.position.unsigned_abs(),
            id: self.id,
            kind: self.kind,
            at: Timestamp::from_micros(self.at_us),
            actor: Actor { kind, id: self.actor },
            actor_name: None,
            stream_name: None,
            stream: format!("{}-{}", self.category, self.stream),
            version: self.version.unsigned_abs(),
            summary: self.summary,
            change_request_id: self.change.map(ChangeId),
            data: self.data,
        }
    }
}

/// Which events a list has; what is `None` does not restrict it.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Recorded at or after this moment.
    pub from: Option<Timestamp>,
    /// Recorded before this moment.
    pub to: Option<Timestamp>,
    /// Done by this person, host or, with the nil id, by Nexplane itself.
    pub actor: Option<Uuid>,
    /// An event type such as `change.submitted`, or a category such as `change`.
    pub kind: Option<String>,
    /// Not of this event type.
    pub without: Option<&'static str>,
    /// The event is about this asset, change, connection, host, run, person or secret.
    pub resource: Option<Uuid>,
    /// Events of a change, of its runs, and others that name it as theirs.
    pub change: Option<ChangeId>,
    /// Words in summary, type, ids and payload, or people; all of them ([`terms`](super::terms)).
    pub q: Vec<Term>,
    /// Only of a change as a whole: without manifests, the runs of single targets, and the sessions for them.
    pub whole: bool,
}

/// In which order a list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditOrder {
    #[default]
    NewestFirst,
    OldestFirst,
}

impl AuditFilter {
    /// Whether some index has what is asked for in the order of a list.
    const fn has_ordered_index(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.resource.is_none() && self.q.is_empty()
    }
}

impl AuditOrder {
    const fn direction(self) -> &'static str {
        match self {
            Self::NewestFirst => "DESC",
            Self::OldestFirst => "ASC",
        }
    }
}

/// Events. Pages are complete and without repetition, also while new events arrive. At most 200 per
/// page, 50 when no limit is given. Names are not filled in.
pub async fn list(
    pool: &PgPool,
    filter: &AuditFilter,
    order: AuditOrder,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<EventView>, QueryError> {
    let probe = page::probe(limit);
    let cursor = page::number(cursor)?;
    if filter.has_ordered_index() {
        let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS} FROM nexplane.rm_audit"));
        conditions(&mut sql, filter, order, cursor);
        sql.push(format!(" ORDER BY position {} LIMIT ", order.direction())).push_bind(probe);
        let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
        return finish(rows, probe);
    }

    // What happens all the time is found in the lines that come next.
    let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS} FROM nexplane.rm_audit"));
    conditions(&mut sql, filter, order, cursor);
    match (order, cursor) {
        (AuditOrder::NewestFirst, Some(last)) => {
            sql.push(" AND position >= ").push_bind(last.saturating_sub(NEAR));
        }
        (AuditOrder::NewestFirst, None) => {
            sql.push(" AND position > (SELECT max(position) FROM nexplane.rm_audit) - ");
            sql.push_bind(NEAR);
        }
        (AuditOrder::OldestFirst, last) => {
            sql.push(" AND position <= ").push_bind(last.unwrap_or(0).saturating_add(NEAR));
        }
    }
    sql.push(format!(" ORDER BY position {} LIMIT ", order.direction())).push_bind(probe);
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    if i64::try_from(rows.len()).is_ok_and(|found| found >= probe) {
        return finish(rows, probe);
    }

    // What is rare or long ago is found through its own index: all of it, then the page. The
    // planner, which takes hits for evenly spread, would walk along the positions; a sum has no
    // index to walk along. Lines are read only once they are known to be on the page.
    let mut sql =
        QueryBuilder::new("WITH found AS MATERIALIZED (SELECT position FROM nexplane.rm_audit");
    conditions(&mut sql, filter, order, cursor);
    let direction = order.direction();
    sql.push(format!(" ORDER BY position + 0 {direction} LIMIT ")).push_bind(probe);
    sql.push(format!(
        ") SELECT {COLUMNS} FROM nexplane.rm_audit JOIN found USING (position) \
         ORDER BY position {direction}"
    ));
    let mut tx = pool.begin().await?;
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), \
         set_config('work_mem', $1, true)",
    )
    .bind(WORK_MEM)
    .execute(&mut *tx)
    .await?;
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    finish(rows, probe)
}

fn finish(rows: Vec<Row>, probe: i64) -> Result<Page<EventView>, QueryError> {
    page::page(rows, probe, |row| row.position.to_string(), |row| Ok(row.view()))
}

/// The condition of a list, from the cursor on.
fn conditions(
    sql: &mut QueryBuilder<Postgres>,
    filter: &AuditFilter,
    order: AuditOrder,
    cursor: Option<i64>,
) {
    sql.push(" WHERE true");
    restrict(sql, filter);
    if let Some(last) = cursor {
        let beyond = match order {
            AuditOrder::NewestFirst => "<",
            AuditOrder::OldestFirst => ">",
        };
        sql.push(format!(" AND position {beyond} ")).push_bind(last);
    }
}

fn restrict(sql: &mut QueryBuilder<Postgres>, filter: &AuditFilter) {
    let AuditFilter { from, to, actor, kind, without, resource, change, q, whole } = filter;
    if let Some(from) = from {
        sql.push(" AND at_us >= ").push_bind(from.as_micros());
    }
    if let Some(to) = to {
        sql.push(" AND at_us < ").push_bind(to.as_micros());
    }
    if let Some(actor) = actor {
        sql.push(" AND actor = ").push_bind(*actor);
    }
    if let Some(kind) = kind {
        let column = if kind.contains('.') { "type" } else { "category" };
        sql.push(format!(" AND {column} = ")).push_bind(kind.clone());
    }
    if let Some(without) = without {
        sql.push(" AND type <> ").push_bind(*without);
    }
    if let Some(resource) = resource {
        sql.push(" AND resources @> ").push_bind(vec![*resource]);
    }
    if let Some(change) = change {
        sql.push(" AND change = ").push_bind(change.0);
    }
    if *whole {
        // The run of a part has an id of version 8.
        sql.push(
            " AND category NOT IN ('connection', 'manifest') \
             AND NOT (category = 'run' AND get_byte(uuid_send(stream), 6) >> 4 = 8)",
        );
    }
    for term in q {
        let Some(query) = term.query() else {
            // Nothing that could be searched for was given: signs only.
            sql.push(" AND false");
            continue;
        };
        sql.push(" AND (words @@ ").push_bind(query).push("::tsquery");
        if !term.people.is_empty() {
            sql.push(" OR actor = ANY(").push_bind(term.people.clone());
            sql.push(") OR resources && ").push_bind(term.people.clone());
        }
        sql.push(")");
    }
}

/// The events of a change and of its runs, oldest first; of a rollout, only those of the whole.
pub async fn of_change(
    pool: &PgPool,
    change: ChangeId,
    whole: bool,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<EventView>, QueryError> {
    let filter = AuditFilter { change: Some(change), whole, ..AuditFilter::default() };
    list(pool, &filter, AuditOrder::OldestFirst, cursor, limit).await
}

/// One event.
pub async fn find(pool: &PgPool, position: u64) -> Result<Option<EventView>, QueryError> {
    Ok(at_positions(pool, &[position]).await?.pop())
}

/// The position of the event with this id, if it is at most [`NEAR`] events before another one: what
/// causes something does so soon, and ids have no index.
pub async fn before(pool: &PgPool, position: u64, id: Uuid) -> Result<Option<u64>, QueryError> {
    let last = signed(position);
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM nexplane.rm_audit WHERE position >= $1 AND position < $2 AND id = $3",
    )
    .bind(last.saturating_sub(NEAR))
    .bind(last)
    .bind(id)
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(found.map(i64::unsigned_abs))
}

/// The events at these positions, newest first.
pub async fn at_positions(pool: &PgPool, positions: &[u64]) -> Result<Vec<EventView>, QueryError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM nexplane.rm_audit WHERE position = ANY($1) ORDER BY position DESC"
    )))
    .bind(positions.iter().map(|position| signed(*position)).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Row::view).collect())
}
