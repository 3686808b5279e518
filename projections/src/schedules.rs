//! Recurring changes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::aggregate::Decider as _;
use nexplane_core::api::{LastChange, Page, ScheduleState, ScheduleView, SkippedView};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, PersonId, ScheduleId};
use nexplane_core::schedule::event::{ScheduleEvent, Template, Timing};
use nexplane_core::schedule::{Schedule, ScheduleState as Folded, Standing};
use nexplane_core::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::checkpoint::signed;
use crate::page::{self, QueryError};
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column, optional};

/// Skipped ticks that are kept for people; the audit view has all.
const KEPT: usize = 20;

const SCHEDULES: Table = Table {
    name: "rm_schedules",
    columns: &[
        column("id", "uuid"),
        column("created", "bigint"),
        column("state", "text"),
        optional("next_us", "bigint"),
        column("ticked_us", "bigint"),
        column("view", "jsonb"),
    ],
    key: &["id"],
    indexes: &["(created)", "(next_us) WHERE next_us IS NOT NULL"],
};

/// The projection `schedules`.
#[derive(Clone, Copy, Debug)]
pub struct Schedules;

#[derive(Serialize)]
struct Row {
    id: Uuid,
    /// Position of its first event.
    created: i64,
    state: &'static str,
    /// The first tick that was neither fired nor skipped.
    next_us: Option<i64>,
    ticked_us: i64,
    view: ScheduleView,
}

#[async_trait]
impl Projection for Schedules {
    fn name(&self) -> &'static str {
        "schedules"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Schedule]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&SCHEDULES]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let stored: Vec<(Uuid, i64, i64, Value)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT id, created, ticked_us, view FROM {} WHERE id = ANY($1)",
            at.of(&SCHEDULES)
        )))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut rows = BTreeMap::new();
        for (id, created, ticked_us, view) in stored {
            let view: ScheduleView = serde_json::from_value(view).map_err(|source| {
                ApplyError::Row { table: SCHEDULES.name, id: id.to_string(), source }
            })?;
            rows.insert(id, Row { id, created, state: "", next_us: None, ticked_us, view });
        }
        for recorded in events {
            let Event::Schedule(event) = &recorded.event else { continue };
            let id = recorded.header.stream.id;
            if let Some(row) = fold(rows.remove(&id), event, recorded) {
                rows.insert(id, row);
            }
        }
        let rows: Vec<_> = rows.into_values().collect();
        table::upsert(db, at, &SCHEDULES, &rows).await?;
        Ok(())
    }
}

/// The schedule after one more event: when it comes next is what the aggregate says.
fn fold(row: Option<Row>, event: &ScheduleEvent, recorded: &Recorded) -> Option<Row> {
    let header = &recorded.header;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, ScheduleEvent::Created { template, timing }) => Row {
            id: header.stream.id,
            created: signed(recorded.position),
            state: "",
            next_us: None,
            ticked_us: 0,
            view: created(recorded, template, timing),
        },
        (None, _) => return None,
    };
    let before = state_of(&row);
    if !matches!(event, ScheduleEvent::Created { .. }) {
        apply(&mut row.view, event, &before);
    }
    let after = Schedule::evolve(before, event, header.actor, header.at);
    if let Folded::Standing(standing) | Folded::Deleted(standing) = &after {
        row.ticked_us = standing.ticked.as_micros();
        row.view.editors = standing.editors.iter().copied().collect();
    }
    row.next_us = match &after {
        Folded::Standing(standing) => standing.next().map(Timestamp::as_micros),
        Folded::Absent | Folded::Deleted(_) => None,
    };
    row.state = row.view.state.as_str();
    row.view.version = header.version;
    row.view.position = recorded.position;
    row.view.updated_at = header.at;
    Some(row)
}

/// The aggregate again, out of its row.
fn state_of(row: &Row) -> Folded {
    let view = &row.view;
    if row.ticked_us == 0 {
        return Folded::Absent;
    }
    let standing = Box::new(Standing {
        owner: view.owner,
        editors: view.editors.iter().copied().collect(),
        template: Template {
            title: view.title.clone(),
            reason: view.reason.clone(),
            ticket: view.ticket.clone(),
            change_type: view.change_type.clone(),
            connection: view.connection_id,
            targets: view.targets.clone(),
            parameters: view.parameters.clone(),
        },
        timing: Timing { cron: view.cron.clone(), zone: view.zone.clone() },
        paused: view.state == ScheduleState::Paused,
        ticked: Timestamp::from_micros(row.ticked_us),
        last: view.last_change.as_ref().map(|last| last.id),
    });
    match view.state {
        ScheduleState::Active | ScheduleState::Paused => Folded::Standing(standing),
        ScheduleState::Deleted => Folded::Deleted(standing),
    }
}

fn created(recorded: &Recorded, template: &Template, timing: &Timing) -> ScheduleView {
    let header = &recorded.header;
    let mut view = ScheduleView {
        id: ScheduleId(header.stream.id),
        state: ScheduleState::Active,
        title: String::new(),
        reason: String::new(),
        ticket: None,
        change_type: String::new(),
        connection_id: template.connection,
        targets: Vec::new(),
        parameters: Value::Null,
        cron: String::new(),
        zone: String::new(),
        description: String::new(),
        owner: header.actor.person().unwrap_or(PersonId(header.actor.id)),
        editors: Vec::new(),
        next: Vec::new(),
        waiting_for: None,
        last_change: None,
        skipped: Vec::new(),
        skipped_in_all: 0,
        stopped_reason: None,
        created_at: header.at,
        updated_at: header.at,
        version: header.version,
        position: recorded.position,
        names: BTreeMap::new(),
    };
    set(&mut view, template, timing);
    view
}

fn apply(view: &mut ScheduleView, event: &ScheduleEvent, before: &Folded) {
    use ScheduleEvent as E;
    if !matches!(before, Folded::Standing(_)) {
        return;
    }
    match event {
        E::Created { .. } => {}
        E::Edited { template, timing } => set(view, template, timing),
        E::Paused { reason } => {
            view.state = ScheduleState::Paused;
            view.stopped_reason = Some(reason.clone());
        }
        E::Resumed {} => {
            view.state = ScheduleState::Active;
            view.stopped_reason = None;
        }
        E::Deleted { reason } => {
            view.state = ScheduleState::Deleted;
            view.stopped_reason = Some(reason.clone());
        }
        E::Fired { tick, change } => {
            view.last_change = Some(LastChange {
                id: *change,
                tick: *tick,
                number: None,
                state: None,
                settled: false,
                problem: None,
            });
        }
        E::Skipped { tick, ticks, why } => {
            view.skipped.insert(0, SkippedView { tick: *tick, ticks: *ticks, why: why.clone() });
            view.skipped.truncate(KEPT);
            view.skipped_in_all = view.skipped_in_all.saturating_add(u64::from(*ticks));
        }
        E::Stalled { change, reason } => {
            if let Some(last) = view.last_change.as_mut().filter(|last| last.id == *change) {
                last.problem = Some(reason.clone());
            }
        }
    }
}

fn set(view: &mut ScheduleView, template: &Template, timing: &Timing) {
    let Template { title, reason, ticket, change_type, connection, targets, parameters } =
        template.clone();
    (view.title, view.reason, view.ticket) = (title, reason, ticket);
    (view.change_type, view.connection_id) = (change_type, connection);
    (view.targets, view.parameters) = (targets, parameters);
    (view.cron, view.zone) = (timing.cron.clone(), timing.zone.clone());
    view.description = timing.slots().describe();
}

/// Schedules, newest first. What only the present says of them is added by who shows them.
pub async fn list(
    pool: &PgPool,
    state: Option<ScheduleState>,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ScheduleView>, QueryError> {
    let probe = page::probe(limit);
    let before = page::number(cursor)?.unwrap_or(i64::MAX);
    let rows: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT created, view FROM nexplane.rm_schedules \
         WHERE created < $1 AND coalesce(state = $2, true) ORDER BY created DESC LIMIT $3",
    )
    .bind(before)
    .bind(state.map(ScheduleState::as_str))
    .bind(probe)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    page::page(
        rows,
        probe,
        |(created, _)| created.to_string(),
        |(_, view)| Ok(serde_json::from_value(view)?),
    )
}

/// One schedule.
pub async fn find(pool: &PgPool, id: ScheduleId) -> Result<Option<ScheduleView>, QueryError> {
    let view: Option<Value> =
        sqlx::query_scalar("SELECT view FROM nexplane.rm_schedules WHERE id = $1")
            .bind(id.0)
            .persistent(false)
            .fetch_optional(pool)
            .await?;
    Ok(view.map(serde_json::from_value).transpose()?)
}

/// Schedules with a tick at this moment or before, with that tick, those that come first first; and whether
/// there are others.
pub async fn until(
    pool: &PgPool,
    until: Timestamp,
    limit: u32,
) -> Result<(Vec<(Timestamp, ScheduleView)>, bool), QueryError> {
    let rows: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT next_us, view FROM nexplane.rm_schedules WHERE next_us <= $1 \
         ORDER BY next_us LIMIT $2",
    )
    .bind(until.as_micros())
    .bind(i64::from(limit) + 1)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    let read = |(next, view)| Ok((Timestamp::from_micros(next), serde_json::from_value(view)?));
    Ok((rows.into_iter().take(limit).map(read).collect::<Result<_, QueryError>>()?, more))
}

/// Schedules with a tick at this moment or before that was neither fired nor skipped, with that tick,
/// those that come first first; at most 1,000. A hint: it is decided again on the stream itself.
pub async fn due(
    pool: &PgPool,
    until: Timestamp,
) -> Result<Vec<(ScheduleId, Timestamp)>, QueryError> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT id, next_us FROM nexplane.rm_schedules WHERE next_us <= $1 \
         ORDER BY next_us LIMIT 1000",
    )
    .bind(until.as_micros())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(id, next)| (ScheduleId(id), Timestamp::from_micros(next))).collect())
}
