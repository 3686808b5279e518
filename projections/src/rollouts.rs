//! Every target of a change with many: where it is, why it did not end well, and how many there are of
//! each.
//!
//! The rows of a manifest are there before anybody has approved it; which manifest counts is for the
//! change's newest plan, and for its rollout, to say.

use std::collections::BTreeSet;

use async_trait::async_trait;
use nexplane_core::api::{Page, RolloutProgress, RolloutTargetView, TargetState};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, Category, ChangeId, ManifestId, RunId};
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::rollout::event::{RolloutEvent, Tally};
use nexplane_core::run::event::{RunEvent, RunOutcome};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, QueryError};
use crate::projection::{ApplyError, Notice, Projection};
use crate::table::{self, Generation, Table, column, optional};

const TARGETS: Table = Table {
    name: "rm_rollout_targets",
    columns: &[
        column("manifest", "uuid"),
        column("no", "bigint"),
        column("asset", "uuid"),
        column("name", "text"),
        column("state", "text"),
        optional("reason", "text"),
        optional("run", "uuid"),
    ],
    key: &["manifest", "no"],
    indexes: &["(run)", "(manifest, state, no)", "(asset)"],
};

const ROLLOUTS: Table = Table {
    name: "rm_rollouts",
    columns: &[
        column("id", "uuid"),
        column("change", "uuid"),
        column("manifest", "uuid"),
        column("size", "bigint"),
        column("state", "text"),
        optional("reason", "text"),
        column("batches", "bigint"),
        column("position", "bigint"),
    ],
    key: &["id"],
    indexes: &["(change)", "(manifest)"],
};

/// Why a step of a part was not started: the rollout was stopped.
const STOPPED: &str = "stopped";

/// The projection `rollouts`.
#[derive(Clone, Copy, Debug)]
pub struct Rollouts;

#[derive(Serialize)]
struct TargetRow<'a> {
    manifest: Uuid,
    no: u32,
    asset: Uuid,
    name: &'a str,
    state: &'static str,
    reason: Option<String>,
    run: Option<Uuid>,
}

#[async_trait]
impl Projection for Rollouts {
    fn name(&self) -> &'static str {
        "rollouts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Manifest, Category::Rollout, Category::Run]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&ROLLOUTS, &TARGETS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let stream = recorded.header.stream.id;
            match &recorded.event {
                Event::Manifest(ManifestEvent::PageAdded { change: _, steps }) => {
                    let rows: Vec<_> = steps
                        .iter()
                        .map(|step| TargetRow {
                            manifest: stream,
                            no: step.no,
                            asset: step.target.asset.0,
                            name: &step.target.name,
                            state: TargetState::Waiting.as_str(),
                            reason: None,
                            run: None,
                        })
                        .collect();
                    table::upsert(db, at, &TARGETS, &rows).await?;
                }
                Event::Rollout(event) => rollout(db, at, recorded, event).await?,
                Event::Run(event) if RunId(stream).is_part() => part(db, at, stream, event).await?,
                Event::Asset(_)
                | Event::Calendar(_)
                | Event::Change(_)
                | Event::Connection(_)
                | Event::Gateway(_)
                | Event::Host(_)
                | Event::Person(_)
                | Event::Policy(_)
                | Event::Project(_)
                | Event::Run(_)
                | Event::Schedule(_) => {}
            }
        }
        Ok(())
    }

    async fn notices(
        &self,
        db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let (mut rollouts, mut runs) = (BTreeSet::new(), BTreeSet::new());
        for recorded in events {
            let stream = recorded.header.stream.id;
            match &recorded.event {
                Event::Rollout(_) => {
                    rollouts.insert(stream);
                }
                Event::Run(_) if RunId(stream).is_part() => {
                    runs.insert(stream);
                }
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
                | Event::Run(_)
                | Event::Schedule(_) => {}
            }
        }
        let moved: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT change, position FROM nexplane.rm_rollouts WHERE id = ANY($1) OR manifest IN \
             (SELECT manifest FROM nexplane.rm_rollout_targets WHERE run = ANY($2))",
        )
        .bind(rollouts.into_iter().collect::<Vec<_>>())
        .bind(runs.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let last = events.last().map_or(0, |recorded| recorded.position);
        let mut notices = Vec::with_capacity(moved.len());
        for (change, _) in moved {
            let Some(progress) = progress_of(&mut *db, ChangeId(change)).await? else { continue };
            notices.push(Notice {
                topic: format!("rollout:{change}"),
                position: last,
                changed: json!({ "id": change, "progress": progress }),
            });
        }
        Ok(notices)
    }
}

async fn rollout(
    db: &mut PgConnection,
    at: Generation,
    recorded: &Recorded,
    event: &RolloutEvent,
) -> Result<(), ApplyError> {
    use RolloutEvent as E;
    #[derive(Serialize)]
    struct Row {
        id: Uuid,
        change: Uuid,
        manifest: Uuid,
        size: u32,
        state: &'static str,
        reason: Option<String>,
        batches: u32,
        position: u64,
    }
    let id = recorded.header.stream.id;
    let (state, reason, batch) = match event {
        E::Started { change, manifest, size, .. } => {
            let row = Row {
                id,
                change: change.0,
                manifest: manifest.0,
                size: *size,
                state: "running",
                reason: None,
                batches: 0,
                position: recorded.position,
            };
            table::upsert(db, at, &ROLLOUTS, &[row]).await?;
            return Ok(());
        }
        E::BatchBegun { no, .. } => (None, None, Some(i64::from(*no) + 1)),
        E::BatchEnded { .. } => (None, None, None),
        E::Paused { reason } => (Some("paused"), Some(reason), None),
        E::Resumed {} => (Some("running"), None, None),
        E::Stopped { reason } => (Some("stopped"), Some(reason), None),
        E::Finished { outcome, reason, .. } => (Some(outcome.as_str()), reason.as_ref(), None),
    };
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {} SET state = coalesce($2, state), batches = coalesce($4, batches), position = $5, \
         reason = CASE WHEN $2 IS NULL THEN reason ELSE $3 END WHERE id = $1",
        at.of(&ROLLOUTS)
    )))
    .bind(id)
    .bind(state)
    .bind(reason)
    .bind(batch)
    .bind(i64::try_from(recorded.position).unwrap_or(i64::MAX))
    .execute(&mut *db)
    .await?;
    if matches!(event, E::Finished { .. }) {
        // What was left when it stopped has no run to say so.
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {} SET state = $2 WHERE state = $3 AND manifest = \
             (SELECT manifest FROM {} WHERE id = $1)",
            at.of(&TARGETS),
            at.of(&ROLLOUTS)
        )))
        .bind(id)
        .bind(TargetState::NotStarted.as_str())
        .bind(TargetState::Waiting.as_str())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn part(
    db: &mut PgConnection,
    at: Generation,
    run: Uuid,
    event: &RunEvent,
) -> Result<(), ApplyError> {
    use RunEvent as E;
    let (state, reason) = match event {
        E::Started { part: Some(part), .. } => {
            sqlx::query(AssertSqlSafe(format!(
                "UPDATE {} SET run = $3, state = $4 WHERE manifest = $1 AND no = $2",
                at.of(&TARGETS)
            )))
            .bind(part.manifest.0)
            .bind(i64::from(part.no))
            .bind(run)
            .bind(TargetState::Executing.as_str())
            .execute(db)
            .await?;
            return Ok(());
        }
        E::StepBlocked { reason, .. } if reason.kind == STOPPED => {
            (TargetState::NotStarted, Some(&reason.message))
        }
        E::Finished { outcome, reason, .. } => (
            match outcome {
                RunOutcome::Complete => TargetState::Complete,
                RunOutcome::OutcomeUnknown => TargetState::OutcomeUnknown,
                RunOutcome::Failed | RunOutcome::RollbackPartial | RunOutcome::RollbackBlocked => {
                    TargetState::Failed
                }
            },
            reason.as_ref(),
        ),
        E::Started { part: None, .. }
        | E::Claimed { .. }
        | E::StepIntended { .. }
        | E::StepSucceeded { .. }
        | E::StepFailed { .. }
        | E::StepUnknown { .. }
        | E::StepReconciled { .. }
        | E::StepVerified { .. }
        | E::StepUnverified { .. }
        | E::StepBlocked { .. }
        | E::CancelAsked { .. }
        | E::LateReported { .. } => return Ok(()),
    };
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {} SET state = $2, reason = $3 WHERE run = $1 AND state <> $4",
        at.of(&TARGETS)
    )))
    .bind(run)
    .bind(state.as_str())
    .bind(reason)
    .bind(TargetState::NotStarted.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// How far the rollout of a change is; `None` when none has begun.
pub async fn progress(
    pool: &PgPool,
    change: ChangeId,
) -> Result<Option<RolloutProgress>, QueryError> {
    let mut connection = pool.acquire().await?;
    Ok(progress_of(&mut connection, change).await?)
}

async fn progress_of(
    db: &mut PgConnection,
    change: ChangeId,
) -> Result<Option<RolloutProgress>, sqlx::Error> {
    type Row = (Uuid, i64, String, Option<String>, i64);
    let row: Option<Row> = sqlx::query_as(
        "SELECT manifest, size, state, reason, batches FROM nexplane.rm_rollouts WHERE change = $1",
    )
    .bind(change.0)
    .persistent(false)
    .fetch_optional(&mut *db)
    .await?;
    let Some((manifest, size, state, reason, batches)) = row else { return Ok(None) };
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT state, count(*) FROM nexplane.rm_rollout_targets WHERE manifest = $1 GROUP BY state",
    )
    .bind(manifest)
    .persistent(false)
    .fetch_all(db)
    .await?;
    let count = |wanted: TargetState| {
        let found = counts.iter().find(|(state, _)| state == wanted.as_str());
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
        batches: small(batches),
    }))
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The targets of a manifest in the order of the plan, all or those in these states. At most 200 per page, 50
/// when no limit is given.
pub async fn targets(
    pool: &PgPool,
    manifest: ManifestId,
    states: &[TargetState],
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<RolloutTargetView>, QueryError> {
    type Row = (i64, Uuid, String, String, Option<String>, Option<Uuid>);
    let probe = page::probe(limit);
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT no, asset, name, state, reason, run FROM nexplane.rm_rollout_targets WHERE manifest = ",
    );
    sql.push_bind(manifest.0);
    if !states.is_empty() {
        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        sql.push(" AND state = ANY(").push_bind(states).push(")");
    }
    if let Some(after) = page::number(cursor)? {
        sql.push(" AND no > ").push_bind(after);
    }
    sql.push(" ORDER BY no LIMIT ").push_bind(probe);
    let rows: Vec<Row> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
    page::page(
        rows,
        probe,
        |(no, ..)| no.to_string(),
        |(no, asset, name, state, reason, run)| {
            Ok(RolloutTargetView {
                no: small(no),
                asset: AssetId(asset),
                name,
                state: serde_json::from_value(json!(state))?,
                reason,
                run: run.map(RunId),
            })
        },
    )
}
