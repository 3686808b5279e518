//! The audit view: every event as one line that can be searched.
//!
//! Who, when, what, on what, for which change, with which payload. The words of a line are computed
//! here and not by PostgreSQL's parser, which cuts identifiers and digests into surprising pieces.

mod query;
mod resource;
mod summary;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::actor::{Actor, ActorKind};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::Category;
use nexplane_core::rollout::event::RolloutEvent;
use nexplane_core::run::event::RunEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column, optional};

pub use query::{AuditFilter, AuditOrder, at_positions, before, find, list, of_change};
pub use summary::summary;
pub use words::{Term, terms};

const AUDIT: Table = Table {
    name: "rm_audit",
    columns: &[
        column("position", "bigint"),
        column("id", "uuid"),
        column("at_us", "bigint"),
        column("actor_kind", "text"),
        column("actor", "uuid"),
        column("type", "text"),
        column("category", "text"),
        column("stream", "uuid"),
        column("version", "bigint"),
        column("resources", "uuid[]"),
        optional("change", "uuid"),
        column("summary", "text"),
        // The payload, which may be null in JSON, under one key, which is not.
        column("payload", "jsonb"),
        column("words", "tsvector"),
    ],
    key: &["position"],
    indexes: &[
        "(at_us, position)",
        "(actor, position)",
        "(type, position)",
        "(category, position)",
        "(change, position) WHERE change IS NOT NULL",
        "USING gin (resources)",
        "USING gin (words)",
    ],
};

const RUNS: Table = Table {
    name: "rm_audit_runs",
    columns: &[column("run", "uuid"), column("change", "uuid")],
    key: &["run"],
    indexes: &[],
};

/// The projection `audit`.
#[derive(Clone, Copy, Debug)]
pub struct Audit;

#[derive(Serialize)]
struct Row<'a> {
    position: u64,
    id: Uuid,
    at_us: i64,
    actor_kind: &'static str,
    actor: Uuid,
    #[serde(rename = "type")]
    kind: &'a str,
    category: &'static str,
    stream: Uuid,
    version: u64,
    resources: BTreeSet<Uuid>,
    change: Option<Uuid>,
    summary: String,
    payload: Payload,
    words: String,
}

#[derive(Serialize)]
struct Payload {
    data: Box<RawValue>,
}

#[derive(Serialize)]
struct RunRow {
    run: Uuid,
    change: Uuid,
}

#[async_trait]
impl Projection for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[
            Category::Asset,
            Category::Calendar,
            Category::Change,
            Category::Connection,
            Category::Gateway,
            Category::Host,
            Category::Manifest,
            Category::Person,
            Category::Policy,
            Category::Rollout,
            Category::Project,
            Category::Run,
            Category::Schedule,
        ]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&AUDIT, &RUNS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let mut runs: BTreeMap<Uuid, Uuid> = events.iter().filter_map(run_of_change).collect();
        let new_runs: Vec<_> =
            runs.iter().map(|(run, change)| RunRow { run: *run, change: *change }).collect();
        let unknown: BTreeSet<_> = events
            .iter()
            .filter(|recorded| matches!(recorded.event, Event::Rollout(_) | Event::Run(_)))
            .map(|recorded| recorded.header.stream.id)
            .filter(|run| !runs.contains_key(run))
            .collect();
        if !unknown.is_empty() {
            let sql = format!("SELECT run, change FROM {} WHERE run = ANY($1)", at.of(&RUNS));
            let known: Vec<(Uuid, Uuid)> = sqlx::query_as(AssertSqlSafe(sql))
                .bind(unknown.into_iter().collect::<Vec<_>>())
                .fetch_all(&mut *db)
                .await?;
            runs.extend(known);
        }
        let rows: Vec<_> = events.iter().map(|recorded| row(recorded, &runs)).collect();
        table::upsert(db, at, &AUDIT, &rows).await?;
        table::upsert(db, at, &RUNS, &new_runs).await?;
        Ok(())
    }
}

/// A run and the change it belongs to, when the event says so.
fn run_of_change(recorded: &Recorded) -> Option<(Uuid, Uuid)> {
    let stream = recorded.header.stream.id;
    match &recorded.event {
        Event::Change(ChangeEvent::ExecutionStarted { run, .. }) => Some((run.0, stream)),
        Event::Rollout(RolloutEvent::Started { change, .. })
        | Event::Run(RunEvent::Started { change, .. }) => Some((stream, change.0)),
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
}

fn row<'a>(recorded: &'a Recorded, runs: &BTreeMap<Uuid, Uuid>) -> Row<'a> {
    let Recorded { position, header, event } = recorded;
    let change = match event {
        Event::Rollout(_) | Event::Run(_) => runs.get(&header.stream.id).copied(),
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
        | Event::Schedule(_) => event.change(header.stream).map(|change| change.0),
    };
    let mut resources = resource::mentioned(event);
    resources.insert(header.stream.id);
    resources.extend(change);
    let data = event.encode().data;
    let summary = summary(event);
    let words = words::lexemes(&[&summary, &header.kind], &resources, data.get());
    Row {
        position: *position,
        id: header.id,
        at_us: header.at.as_micros(),
        actor_kind: kind_of(header.actor),
        actor: header.actor.id,
        kind: &header.kind,
        category: header.stream.category.as_str(),
        stream: header.stream.id,
        version: header.version,
        resources,
        change,
        summary,
        payload: Payload { data },
        words,
    }
}

/// As in the record.
const fn kind_of(actor: Actor) -> &'static str {
    match actor.kind {
        ActorKind::User => "user",
        ActorKind::Machine => "machine",
        ActorKind::Agent => "agent",
        ActorKind::System => "system",
    }
}
