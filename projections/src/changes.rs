//! Change requests: the list, each with plan, approvals and run, now and as of any moment.
//!
//! A row is the fold of the change's events and of its runs' events ([`fold`]), stored as JSON in
//! three parts so that lists need not read plans and runs, with columns for what is searched by.

mod fold;
mod meeting;
mod personal;
mod query;
mod similar;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::api::ChangeView;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, Category, ChangeId, RunId};
use nexplane_core::rollout::event::RolloutEvent;
use nexplane_core::run::event::RunEvent;
use nexplane_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::checkpoint::signed;
use crate::grams;
use crate::projection::{ApplyError, Notice, Projection};
use crate::table::{self, Generation, Table, column, optional};

pub use fold::{Folded, Hidden, Outcome, apply, fold_change, fold_run, next_state, plan_view};
pub use meeting::{in_conflict, may_come_first, meetings_are_known};
pub use personal::{
    Asking, Candidate, ended, exists, gaps, of_requester, to_decide, unknown, unrevealed,
};
pub use query::{
    ChangeFilter, ChangeOrder, LaterChange, as_of, find, find_by_number, history, inbox,
    later_applied, list, overdue, runs, submissions, titles,
};
pub use similar::{Alike, Proof, similar, undo_proof};
pub use waiting::{up as minute, waiting_for};

const CHANGES: Table = Table {
    name: "rm_changes",
    columns: &[
        column("id", "uuid"),
        column("number", "bigint"),
        column("state", "text"),
        column("change_type", "text"),
        column("connection", "uuid"),
        column("requester", "uuid"),
        optional("risk_score", "smallint"),
        optional("risk_level", "text"),
        column("targets", "uuid[]"),
        column("applied", "uuid[]"),
        optional("executed", "bigint"),
        optional("outcome", "text"),
        // When its execution ended.
        optional("ended", "timestamptz"),
        // Its outcome is what a person found.
        column("settled", "boolean"),
        optional("rollback_of", "uuid"),
        optional("review_due", "timestamptz"),
        column("unrevealed", "boolean"),
        column("search", "text"),
        column("position", "bigint"),
        column("view", "jsonb"),
        optional("plan", "jsonb"),
        optional("run", "jsonb"),
        column("hidden", "jsonb"),
    ],
    key: &["id"],
    indexes: &[
        "(number)",
        "(position)",
        "(state, number)",
        "(connection, number)",
        "(requester, number)",
        "(requester, state, number)",
        "(requester, position)",
        "(requester, number) WHERE unrevealed",
        "(risk_level, number)",
        "(rollback_of)",
        "(number) WHERE review_due IS NOT NULL",
        // A name that is longer is compared as a whole afterwards.
        "(connection, left(change_type, 100), ended) WHERE rollback_of IS NULL AND ended IS NOT NULL",
        "(connection, left(change_type, 100), ended) WHERE rollback_of IS NOT NULL AND ended IS NOT NULL",
        "(left(change_type, 100), ended) WHERE rollback_of IS NOT NULL AND ended IS NOT NULL",
        "USING hash (change_type)",
        "USING gin (targets)",
        "USING gin (applied)",
    ],
};

const RUNS: Table = Table {
    name: "rm_change_runs",
    columns: &[column("run", "uuid"), column("change", "uuid")],
    key: &["run"],
    indexes: &["(change)"],
};

/// What is found by parts of words. Beside the changes, which are written with every event of theirs.
const SEARCH: Table = Table {
    name: "rm_change_search",
    columns: &[column("change", "uuid"), column("grams", "integer[]")],
    key: &["change"],
    indexes: &["USING gin (grams)"],
};

/// The projection `changes`.
#[derive(Clone, Copy, Debug)]
pub struct Changes;

#[derive(Serialize)]
struct Row {
    id: ChangeId,
    number: u64,
    state: &'static str,
    change_type: String,
    connection: Uuid,
    requester: Uuid,
    risk_score: Option<u8>,
    risk_level: Option<&'static str>,
    targets: Vec<AssetId>,
    applied: BTreeSet<AssetId>,
    executed: Option<u64>,
    outcome: Option<&'static str>,
    ended: Option<Timestamp>,
    settled: bool,
    rollback_of: Option<ChangeId>,
    review_due: Option<Timestamp>,
    /// A secret that it produced waits for its requester.
    unrevealed: bool,
    search: String,
    position: u64,
    view: ChangeView,
    plan: Value,
    run: Value,
    hidden: Hidden,
}

#[derive(Serialize)]
struct RunRow {
    run: Uuid,
    change: Uuid,
}

#[derive(Serialize)]
struct SearchRow {
    change: ChangeId,
    grams: Vec<i32>,
}

impl Row {
    fn of(folded: Folded) -> Result<Self, ApplyError> {
        let Folded { mut view, hidden } = folded;
        let id = view.id;
        let unreadable =
            |source| ApplyError::Row { table: CHANGES.name, id: id.to_string(), source };
        Ok(Self {
            plan: serde_json::to_value(view.plan.take()).map_err(unreadable)?,
            run: serde_json::to_value(view.run.take()).map_err(unreadable)?,
            id,
            number: view.number,
            state: view.state.as_str(),
            change_type: view.change_type.clone(),
            connection: view.connection_id.0,
            requester: view.requester.0,
            risk_score: view.risk.as_ref().map(|risk| risk.score),
            risk_level: view.risk.as_ref().map(|risk| risk.level.as_str()),
            targets: if hidden.targets.is_empty() {
                view.targets.clone()
            } else {
                hidden.targets.clone()
            },
            applied: hidden.applied.values().copied().collect(),
            executed: hidden.executed,
            outcome: hidden.outcome.map(Outcome::as_str),
            ended: hidden.ended,
            settled: view.settled.is_some(),
            rollback_of: view.rollback_of,
            review_due: view.review_due,
            unrevealed: view.secrets.iter().any(|secret| !secret.revealed),
            search: searched(&view),
            position: view.position,
            view,
            hidden,
        })
    }
}

/// What a person may remember of a change, in lower case.
fn searched(view: &ChangeView) -> String {
    let ticket = view.ticket.as_deref().unwrap_or_default();
    format!("#{} {} {ticket} {} {}", view.number, view.title, view.change_type, view.reason)
        .to_lowercase()
}

/// Puts a change together again.
fn assemble(
    view: Value,
    plan: Option<Value>,
    run: Option<Value>,
) -> Result<ChangeView, serde_json::Error> {
    let mut view: ChangeView = serde_json::from_value(view)?;
    view.plan = plan.map(serde_json::from_value).transpose()?;
    view.run = run.map(serde_json::from_value).transpose()?;
    Ok(view)
}

/// All but the events of single parts of rollouts: those are the projection `rollouts`' to show, and would
/// each write the whole row.
fn own(events: &[Recorded]) -> Vec<&Recorded> {
    let is_part = |recorded: &Recorded| {
        matches!(recorded.event, Event::Run(_)) && RunId(recorded.header.stream.id).is_part()
    };
    events.iter().filter(|recorded| !is_part(recorded)).collect()
}

/// The changes that events are about: run events by what is known of their runs.
struct Subjects {
    runs: BTreeMap<Uuid, ChangeId>,
}

impl Subjects {
    /// The runs that the events themselves name.
    fn new(events: &[&Recorded]) -> Self {
        let runs = events.iter().filter_map(|recorded| {
            let stream = recorded.header.stream;
            match &recorded.event {
                Event::Change(ChangeEvent::ExecutionStarted { run, .. }) => {
                    Some((run.0, ChangeId(stream.id)))
                }
                Event::Rollout(RolloutEvent::Started { change, .. })
                | Event::Run(RunEvent::Started { change, .. }) => Some((stream.id, *change)),
                Event::Asset(_)
                | Event::Calendar(_)
                | Event::Change(_)
                | Event::Connection(_)
                | Event::Gateway(_)
                | Event::Host(_)
                | Event::Manifest(_)
                | Event::Person(_)
                | Event::Policy(_)
                | Event::Project(_)
                | Event::Rollout(_)
                | Event::Run(_)
                | Event::Schedule(_) => None,
            }
        });
        Self { runs: runs.collect() }
    }

    /// Runs whose change is not known yet.
    fn unknown(&self, events: &[&Recorded]) -> Vec<Uuid> {
        let unknown: BTreeSet<_> = events
            .iter()
            .filter(|recorded| matches!(recorded.event, Event::Rollout(_) | Event::Run(_)))
            .map(|recorded| recorded.header.stream.id)
            .filter(|run| !self.runs.contains_key(run))
            .collect();
        unknown.into_iter().collect()
    }

    fn learn(&mut self, rows: Vec<(Uuid, Uuid)>) {
        self.runs.extend(rows.into_iter().map(|(run, change)| (run, ChangeId(change))));
    }

    fn of(&self, recorded: &Recorded) -> Option<ChangeId> {
        let stream = recorded.header.stream;
        match &recorded.event {
            Event::Change(_) => Some(ChangeId(stream.id)),
            Event::Rollout(_) | Event::Run(_) => self.runs.get(&stream.id).copied(),
            Event::Asset(_)
            | Event::Calendar(_)
            | Event::Connection(_)
            | Event::Gateway(_)
            | Event::Host(_)
            | Event::Manifest(_)
            | Event::Person(_)
            | Event::Policy(_)
            | Event::Project(_)
            | Event::Schedule(_) => None,
        }
    }
}

#[async_trait]
impl Projection for Changes {
    fn name(&self) -> &'static str {
        "changes"
    }

    fn version(&self) -> u32 {
        5
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Change, Category::Rollout, Category::Run]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CHANGES, &RUNS, &SEARCH]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let events = own(events);
        let events = events.as_slice();
        let mut subjects = Subjects::new(events);
        let new_runs: Vec<_> = subjects
            .runs
            .iter()
            .map(|(run, change)| RunRow { run: *run, change: change.0 })
            .collect();
        let unknown = subjects.unknown(events);
        if !unknown.is_empty() {
            let sql = format!("SELECT run, change FROM {} WHERE run = ANY($1)", at.of(&RUNS));
            let known =
                sqlx::query_as(AssertSqlSafe(sql)).bind(unknown).fetch_all(&mut *db).await?;
            subjects.learn(known);
        }

        let ids: BTreeSet<_> = events.iter().filter_map(|event| subjects.of(event)).collect();
        let mut folded = load(db, at, ids).await?;
        let before: BTreeMap<ChangeId, String> =
            folded.iter().map(|(id, folded)| (*id, searched(&folded.view))).collect();
        let mut number: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT coalesce(max(number), 0) FROM {}",
            at.of(&CHANGES)
        )))
        .fetch_one(&mut *db)
        .await?;
        for recorded in events {
            let stream = recorded.header.stream;
            let id = subjects.of(recorded).ok_or(ApplyError::UnknownRun { stream })?;
            let before = folded.remove(&id);
            let is_new = before.is_none();
            let after = apply(before, recorded, number.unsigned_abs() + 1);
            if let Some(after) = after {
                number += i64::from(is_new);
                folded.insert(id, after);
            }
        }
        let rows = folded.into_values().map(Row::of).collect::<Result<Vec<_>, _>>()?;
        table::upsert(db, at, &CHANGES, &rows).await?;
        let other = rows.iter().filter(|row| before.get(&row.id) != Some(&row.search));
        let search: Vec<_> =
            other.map(|row| SearchRow { change: row.id, grams: grams::of(&row.search) }).collect();
        table::upsert(db, at, &SEARCH, &search).await?;
        table::upsert(db, at, &RUNS, &new_runs).await?;
        Ok(())
    }

    async fn notices(
        &self,
        db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let events = own(events);
        let events = events.as_slice();
        let mut subjects = Subjects::new(events);
        let known =
            sqlx::query_as("SELECT run, change FROM nexplane.rm_change_runs WHERE run = ANY($1)")
                .bind(subjects.unknown(events))
                .fetch_all(&mut *db)
                .await?;
        subjects.learn(known);
        let ids: BTreeSet<_> = events.iter().filter_map(|event| subjects.of(event)).collect();
        let rows: Vec<(Uuid, i64, String, Option<String>, i64)> = sqlx::query_as(
            "SELECT id, number, state, view->>'waiting_for', position FROM nexplane.rm_changes \
             WHERE id = ANY($1) ORDER BY position",
        )
        .bind(ids.into_iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        Ok(rows
            .into_iter()
            .flat_map(|(id, number, state, waiting_for, position)| {
                let changed = json!({
                    "id": id, "number": number, "state": state, "waiting_for": waiting_for,
                });
                let position = position.unsigned_abs();
                ["changes".to_owned(), format!("change:{id}")].map(|topic| Notice {
                    topic,
                    position,
                    changed: changed.clone(),
                })
            })
            .collect())
    }
}

async fn load(
    db: &mut PgConnection,
    at: Generation,
    ids: BTreeSet<ChangeId>,
) -> Result<BTreeMap<ChangeId, Folded>, ApplyError> {
    type Stored = (Uuid, Value, Option<Value>, Option<Value>, Value);
    let rows: Vec<Stored> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT id, view, plan, run, hidden FROM {} WHERE id = ANY($1)",
        at.of(&CHANGES)
    )))
    .bind(ids.into_iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(id, view, plan, run, hidden)| {
            let read = || {
                let view = assemble(view, plan, run)?;
                Ok(Folded { view, hidden: serde_json::from_value(hidden)? })
            };
            let unreadable =
                |source| ApplyError::Row { table: CHANGES.name, id: id.to_string(), source };
            Ok((ChangeId(id), read().map_err(unreadable)?))
        })
        .collect()
}

/// A position as PostgreSQL counts it.
fn position(at: u64) -> i64 {
    signed(at)
}
