//! Risk: what is open, by level, and how changes of each type ended.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::api::{
    ChangeState, LikelyShare, RiskCalibration, RiskCounts, RiskHistory, RiskRow, RiskSummary,
    ScoreOutcome,
};
use nexplane_core::change::event::{ChangeEvent, Found};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, ChangeId};
use nexplane_core::risk::RiskLevel;
use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::changes::{Outcome, next_state};
use crate::page::QueryError;
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column, optional};

const RISK: Table = Table {
    name: "rm_risk",
    columns: &[
        column("change", "uuid"),
        column("number", "bigint"),
        column("title", "text"),
        column("change_type", "text"),
        column("is_rollback", "boolean"),
        column("state", "text"),
        column("is_open", "boolean"),
        optional("score", "smallint"),
        optional("level", "text"),
        optional("outcome", "text"),
        column("is_rolled_back", "boolean"),
        column("is_settled", "boolean"),
    ],
    key: &["change"],
    indexes: &["(number)", "(score, number) WHERE is_open AND score IS NOT NULL"],
};

/// The projection `risk`.
#[derive(Clone, Copy, Debug)]
pub struct RiskModel;

#[derive(Serialize, FromRow)]
#[allow(clippy::struct_excessive_bools, reason = "each is a column of its own")]
struct Row {
    change: Uuid,
    number: i64,
    title: String,
    change_type: String,
    is_rollback: bool,
    state: String,
    is_open: bool,
    score: Option<i16>,
    level: Option<String>,
    outcome: Option<String>,
    is_rolled_back: bool,
    /// Its outcome is what a person found.
    is_settled: bool,
}

#[async_trait]
impl Projection for RiskModel {
    fn name(&self) -> &'static str {
        "risk"
    }

    fn version(&self) -> u32 {
        2
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Change]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&RISK]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT * FROM {} WHERE change = ANY($1)",
            at.of(&RISK)
        )))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut rows: BTreeMap<Uuid, Row> = rows.into_iter().map(|row| (row.change, row)).collect();
        let mut number: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT coalesce(max(number), 0) FROM {}",
            at.of(&RISK)
        )))
        .fetch_one(&mut *db)
        .await?;
        for recorded in events {
            let id = recorded.header.stream.id;
            let Event::Change(event) = &recorded.event else { continue };
            if let Some(row) = rows.get_mut(&id) {
                change(row, event);
            } else if let ChangeEvent::Drafted { draft, rollback_of } = event {
                number += 1;
                let row = Row {
                    change: id,
                    number,
                    title: draft.title.clone(),
                    change_type: draft.change_type.clone(),
                    is_rollback: rollback_of.is_some(),
                    state: ChangeState::Draft.as_str().to_owned(),
                    is_open: true,
                    score: None,
                    level: None,
                    outcome: None,
                    is_rolled_back: false,
                    is_settled: false,
                };
                rows.insert(id, row);
            }
        }
        let rows: Vec<_> = rows.into_values().collect();
        table::upsert(db, at, &RISK, &rows).await?;
        Ok(())
    }
}

fn change(row: &mut Row, event: &ChangeEvent) {
    use ChangeEvent as E;

    let Some(next) = row.state.parse().ok().and_then(|now| next_state(now, event)) else { return };
    next.as_str().clone_into(&mut row.state);
    row.is_open = !next.is_settled();
    let mut ended = |outcome: Outcome| row.outcome = Some(outcome.as_str().to_owned());
    match event {
        E::Edited { draft } => {
            row.title.clone_from(&draft.title);
            row.change_type.clone_from(&draft.change_type);
            (row.score, row.level) = (None, None);
        }
        E::Planned { .. } => (row.score, row.level) = (None, None),
        E::Submitted { risk, .. } => {
            row.score = Some(i16::from(risk.score));
            row.level = Some(risk.level.as_str().to_owned());
        }
        E::Completed { .. } => ended(Outcome::Complete),
        E::Failed { .. } => ended(Outcome::Failed),
        E::OutcomeUnknown { .. } => ended(Outcome::OutcomeUnknown),
        E::Settled { finding, .. } => {
            ended(match finding {
                Found::Applied => Outcome::Complete,
                Found::NotApplied => Outcome::Failed,
            });
            row.is_settled = true;
        }
        E::RolledBack { .. } => row.is_rolled_back = true,
        E::Drafted { .. }
        | E::MadeBySchedule { .. }
        | E::JoinedProject { .. }
        | E::UndoLimited { .. }
        | E::ApprovalGiven { .. }
        | E::Approved { .. }
        | E::Rejected { .. }
        | E::Withdrawn {}
        | E::Cancelled { .. }
        | E::Expired {}
        | E::FreezeOverridden { .. }
        | E::WindowOverridden { .. }
        | E::GlassBroken { .. }
        | E::Scheduled { .. }
        | E::Unscheduled { .. }
        | E::Reviewed { .. }
        | E::ExecutionStarted { .. }
        | E::RollbackStarted { .. }
        | E::RollbackPartial { .. }
        | E::RollbackBlocked { .. }
        | E::SecretRevealed { .. } => {}
    }
}

/// How finished changes went, by the score that they were submitted with.
pub async fn calibration(pool: &PgPool) -> Result<RiskCalibration, QueryError> {
    let rows: Vec<(i16, i64, i64)> = sqlx::query_as(
        "SELECT score, count(*), \
                count(*) FILTER (WHERE outcome IN ('failed', 'outcome_unknown') OR is_rolled_back) \
         FROM nexplane.rm_risk \
         WHERE outcome IS NOT NULL AND score IS NOT NULL AND NOT is_rollback GROUP BY score",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let of = |score: u8| {
        let row = rows.iter().find(|(found, _, _)| *found == i16::from(score));
        let count = |count: fn(&(i16, i64, i64)) -> i64| row.map_or(0, count).unsigned_abs();
        let (finished, went_wrong) = (count(|row| row.1), count(|row| row.2));
        ScoreOutcome {
            score,
            level: RiskLevel::of(score),
            finished,
            went_wrong,
            likely: LikelyShare::of(went_wrong, finished),
        }
    };
    Ok(RiskCalibration { scores: (1..=10).map(of).collect() })
}

/// Open changes by level, the `top` riskiest of them, and how finished changes of each type ended.
/// Changes whose risk is not computed yet (drafts) are in none of them; rollbacks are not history.
pub async fn summary(pool: &PgPool, top: u32) -> Result<RiskSummary, QueryError> {
    let (low, medium, high, critical): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE level = 'low'), count(*) FILTER (WHERE level = 'medium'), \
                count(*) FILTER (WHERE level = 'high'), \
                count(*) FILTER (WHERE level = 'critical') \
         FROM nexplane.rm_risk WHERE is_open AND score IS NOT NULL",
    )
    .persistent(false)
    .fetch_one(pool)
    .await?;
    let riskiest: Vec<(Uuid, i64, String, i16, String)> = sqlx::query_as(
        "SELECT change, number, title, score, state FROM nexplane.rm_risk \
         WHERE is_open AND score IS NOT NULL ORDER BY score DESC, number DESC LIMIT $1",
    )
    .bind(i64::from(top))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let history: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT change_type, count(*), count(*) FILTER (WHERE outcome = 'failed'), \
                count(*) FILTER (WHERE outcome = 'outcome_unknown'), \
                count(*) FILTER (WHERE is_rolled_back), \
                count(*) FILTER (WHERE is_settled AND outcome = 'complete' AND NOT is_rolled_back) \
         FROM nexplane.rm_risk WHERE outcome IS NOT NULL AND NOT is_rollback \
         GROUP BY change_type ORDER BY change_type COLLATE \"C\"",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(RiskSummary {
        open: RiskCounts {
            low: low.unsigned_abs(),
            medium: medium.unsigned_abs(),
            high: high.unsigned_abs(),
            critical: critical.unsigned_abs(),
        },
        top: riskiest
            .into_iter()
            .map(|(change, number, title, score, state)| {
                let score = u8::try_from(score).unwrap_or(10);
                RiskRow {
                    change: ChangeId(change),
                    number: number.unsigned_abs(),
                    title,
                    score,
                    level: RiskLevel::of(score),
                    state,
                }
            })
            .collect(),
        history: history
            .into_iter()
            .map(|(change_type, finished, failed, unknown, rolled_back, settled)| RiskHistory {
                change_type,
                finished: finished.unsigned_abs(),
                failed: failed.unsigned_abs(),
                outcome_unknown: unknown.unsigned_abs(),
                rolled_back: rolled_back.unsigned_abs(),
                settled: settled.unsigned_abs(),
            })
            .collect(),
    })
}
