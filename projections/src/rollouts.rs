//! Every target of a change with many: where it is, why it did not end well, and how many there are of
//! each.
//!
//! The rows of a manifest are there before anybody has approved it; which manifest counts is for the
//! change's newest plan, and for its rollout, to say.

mod query;

pub use query::{
    Standing, TargetFilter, changed_since, find, numbered, order, planned_at, progress, standing,
    targets,
};

use std::collections::BTreeSet;

use async_trait::async_trait;
use nexplane_core::api::TargetState;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, ChangeId, RunId};
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::rollout::event::{RolloutEvent, Strategy};
use nexplane_core::run::event::{RunEvent, RunOutcome};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::projection::{ApplyError, Notice, Projection};
use crate::table::{self, Generation, Table, column, optional};

const TARGETS: Table = Table {
    name: "rm_rollout_targets",
    columns: &[
        column("manifest", "uuid"),
        column("no", "bigint"),
        column("asset", "uuid"),
        column("name", "text"),
        // Its state, as the place of that in `TargetState::ALL`: the order of lists.
        column("rank", "smallint"),
        optional("reason", "text"),
        optional("run", "uuid"),
        column("since_us", "bigint"),
        // Of the event that brought it into this state.
        column("position", "bigint"),
        // Of the event that has its step as planned.
        column("planned_at", "bigint"),
    ],
    key: &["manifest", "no"],
    indexes: &[
        "(run)",
        "(manifest, rank, no)",
        "(manifest, position, no)",
        // What a rollback undoes is found by its asset.
        "(manifest, asset)",
    ],
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
        column("strategy", "jsonb"),
        optional("undoes", "uuid"),
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
    rank: i16,
    reason: Option<String>,
    run: Option<Uuid>,
    since_us: i64,
    position: u64,
    planned_at: u64,
}

/// The place of a state in the order of lists.
fn rank(state: TargetState) -> i16 {
    let place = TargetState::ALL.iter().position(|other| *other == state);
    place.and_then(|place| i16::try_from(place).ok()).unwrap_or(i16::MAX)
}

#[async_trait]
impl Projection for Rollouts {
    fn name(&self) -> &'static str {
        "rollouts"
    }

    fn version(&self) -> u32 {
        2
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
                            rank: rank(TargetState::Waiting),
                            reason: None,
                            run: None,
                            since_us: recorded.header.at.as_micros(),
                            position: recorded.position,
                            planned_at: recorded.position,
                        })
                        .collect();
                    table::upsert(db, at, &TARGETS, &rows).await?;
                }
                Event::Rollout(event) => rollout(db, at, recorded, event).await?,
                Event::Run(event) if RunId(stream).is_part() => {
                    part(db, at, recorded, event).await?;
                }
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
            // Of a rollback, what it undoes has moved with it.
            "WITH moved AS (SELECT change, position, undoes FROM nexplane.rm_rollouts \
                 WHERE id = ANY($1) OR manifest IN \
                     (SELECT manifest FROM nexplane.rm_rollout_targets WHERE run = ANY($2))) \
             SELECT change, position FROM moved UNION \
             SELECT change, position FROM nexplane.rm_rollouts \
             WHERE id IN (SELECT undoes FROM moved)",
        )
        .bind(rollouts.into_iter().collect::<Vec<_>>())
        .bind(runs.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let last = events.last().map_or(0, |recorded| recorded.position);
        let mut notices = Vec::with_capacity(moved.len());
        for (change, _) in moved {
            let Some(progress) = query::progress_of(&mut *db, ChangeId(change)).await? else {
                continue;
            };
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
        strategy: Strategy,
        undoes: Option<Uuid>,
        position: u64,
    }
    let id = recorded.header.stream.id;
    let (state, reason, batch) = match event {
        E::Started { change, manifest, size, strategy, undoes, .. } => {
            let row = Row {
                id,
                change: change.0,
                manifest: manifest.0,
                size: *size,
                state: "running",
                reason: None,
                batches: 0,
                strategy: *strategy,
                undoes: undoes.map(|run| run.0),
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
    .bind(position_of(recorded))
    .execute(&mut *db)
    .await?;
    if matches!(event, E::Finished { .. }) {
        // What was left when it stopped has no run to say so.
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {} SET rank = $2, since_us = $4, position = $5 WHERE rank = $3 AND manifest = \
             (SELECT manifest FROM {} WHERE id = $1)",
            at.of(&TARGETS),
            at.of(&ROLLOUTS)
        )))
        .bind(id)
        .bind(rank(TargetState::NotStarted))
        .bind(rank(TargetState::Waiting))
        .bind(recorded.header.at.as_micros())
        .bind(position_of(recorded))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

fn position_of(recorded: &Recorded) -> i64 {
    i64::try_from(recorded.position).unwrap_or(i64::MAX)
}

async fn part(
    db: &mut PgConnection,
    at: Generation,
    recorded: &Recorded,
    event: &RunEvent,
) -> Result<(), ApplyError> {
    use RunEvent as E;
    let run = recorded.header.stream.id;
    let (state, reason) = match event {
        E::Started { part: Some(part), .. } => {
            sqlx::query(AssertSqlSafe(format!(
                "UPDATE {} SET run = $3, rank = $4, since_us = $5, position = $6 \
                 WHERE manifest = $1 AND no = $2",
                at.of(&TARGETS)
            )))
            .bind(part.manifest.0)
            .bind(i64::from(part.no))
            .bind(run)
            .bind(rank(TargetState::Executing))
            .bind(recorded.header.at.as_micros())
            .bind(position_of(recorded))
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
        "UPDATE {} SET rank = $2, reason = $3, since_us = $5, position = $6 \
         WHERE run = $1 AND rank <> $4",
        at.of(&TARGETS)
    )))
    .bind(run)
    .bind(rank(state))
    .bind(reason)
    .bind(rank(TargetState::NotStarted))
    .bind(recorded.header.at.as_micros())
    .bind(position_of(recorded))
    .execute(&mut *db)
    .await?;
    if state == TargetState::Complete {
        undo(db, at, recorded).await?;
    }
    Ok(())
}

/// When this is the run of a rollback's target: the same target of the rollout that is undone is not as it was
/// left any more.
async fn undo(
    db: &mut PgConnection,
    at: Generation,
    recorded: &Recorded,
) -> Result<(), ApplyError> {
    let (targets, rollouts) = (at.of(&TARGETS), at.of(&ROLLOUTS));
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE {targets} undone SET rank = $2, since_us = $4, position = $5 \
         FROM {targets} mine JOIN {rollouts} back ON back.manifest = mine.manifest \
         JOIN {rollouts} original ON original.id = back.undoes \
         WHERE mine.run = $1 AND undone.manifest = original.manifest \
           AND undone.asset = mine.asset AND undone.rank = $3"
    )))
    .bind(recorded.header.stream.id)
    .bind(rank(TargetState::RolledBack))
    .bind(rank(TargetState::Complete))
    .bind(recorded.header.at.as_micros())
    .bind(position_of(recorded))
    .execute(db)
    .await?;
    Ok(())
}
