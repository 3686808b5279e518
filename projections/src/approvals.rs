//! Approvals: what waits for some, and who gave which to what.
//!
//! One row per change that was ever submitted. Approvals that a new plan made void stay in its
//! history, marked.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::api::{ApprovalView, Page};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, ChangeId, PersonId};
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::page::{self, QueryError};
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column};

const APPROVALS: Table = Table {
    name: "rm_approvals",
    columns: &[
        column("change", "uuid"),
        column("is_open", "boolean"),
        column("position", "bigint"),
        column("state", "jsonb"),
    ],
    key: &["change"],
    indexes: &["(position) WHERE is_open"],
};

/// The projection `approvals`.
#[derive(Clone, Copy, Debug)]
pub struct Approvals;

/// What is known about the approval of one change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalState {
    pub change: ChangeId,
    pub author: PersonId,
    /// Everybody who edited it. Neither they nor the author count as approvers.
    pub editors: BTreeSet<PersonId>,
    /// Present while it waits for approvals.
    pub open: Option<OpenApproval>,
    /// Every approval ever given to it, oldest first.
    pub history: Vec<ApprovalView>,
    /// Position of the last event that is in this row.
    pub position: u64,
}

/// A submission that waits for approvals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenApproval {
    /// Of the plan that an approval has to name.
    pub digest: String,
    pub needed: u32,
    pub given: u32,
    /// One of the approvers has to be an admin.
    pub admin_needed: bool,
    pub admin_given: bool,
    /// The policy's rule, in words.
    pub rule: String,
    pub submitted_at: Timestamp,
}

#[derive(Serialize)]
struct Row {
    change: ChangeId,
    is_open: bool,
    position: u64,
    state: ApprovalState,
}

#[async_trait]
impl Projection for Approvals {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn version(&self) -> u32 {
        1
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Change]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&APPROVALS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let rows: Vec<(Uuid, Value)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT change, state FROM {} WHERE change = ANY($1)",
            at.of(&APPROVALS)
        )))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut states = BTreeMap::new();
        for (change, state) in rows {
            let state: ApprovalState = serde_json::from_value(state).map_err(|source| {
                ApplyError::Row { table: APPROVALS.name, id: change.to_string(), source }
            })?;
            states.insert(ChangeId(change), state);
        }
        for recorded in events {
            if let Event::Change(event) = &recorded.event {
                let id = ChangeId(recorded.header.stream.id);
                if let Some(after) = fold(states.remove(&id), id, event, recorded) {
                    states.insert(id, after);
                }
            }
        }
        let rows: Vec<_> = states
            .into_values()
            .map(|state| Row {
                change: state.change,
                is_open: state.open.is_some(),
                position: state.position,
                state,
            })
            .collect();
        table::upsert(db, at, &APPROVALS, &rows).await?;
        Ok(())
    }
}

fn fold(
    state: Option<ApprovalState>,
    change: ChangeId,
    event: &ChangeEvent,
    recorded: &Recorded,
) -> Option<ApprovalState> {
    use ChangeEvent as E;

    let header = &recorded.header;
    let person = header.actor.person();
    let Some(mut state) = state else {
        return matches!(event, E::Drafted { .. }).then(|| ApprovalState {
            change,
            author: person.unwrap_or(PersonId(header.actor.id)),
            editors: BTreeSet::new(),
            open: None,
            history: Vec::new(),
            position: recorded.position,
        });
    };
    state.position = recorded.position;
    match event {
        E::Edited { .. } => {
            state.editors.extend(person);
            supersede(&mut state);
        }
        E::MadeBySchedule { editors, schedule: _ } => state.editors.extend(editors),
        E::Planned { .. } | E::Withdrawn {} => supersede(&mut state),
        E::Submitted { digest, environment: _, risk: _, quorum, tags: _, beforehand: _ } => {
            state.open = Some(OpenApproval {
                digest: digest.clone(),
                needed: quorum.approvals,
                given: 0,
                admin_needed: quorum.admin,
                admin_given: false,
                rule: quorum.rule.clone(),
                submitted_at: header.at,
            });
        }
        E::ApprovalGiven { digest, comment, as_admin, delegator } => {
            state.history.push(ApprovalView {
                by: PersonId(header.actor.id),
                delegator: *delegator,
                digest: digest.clone(),
                at: header.at,
                comment: comment.clone(),
                superseded: false,
            });
            if let Some(open) = &mut state.open {
                open.given = open.given.saturating_add(1);
                open.admin_given |= *as_admin;
            }
        }
        E::Approved { .. } | E::Rejected { .. } | E::Cancelled { .. } | E::Expired {} => {
            state.open = None;
        }
        E::Drafted { .. }
        | E::JoinedProject { .. }
        | E::FreezeOverridden { .. }
        | E::WindowOverridden { .. }
        | E::GlassBroken { .. }
        | E::Scheduled { .. }
        | E::Unscheduled { .. }
        | E::Reviewed { .. }
        | E::ExecutionStarted { .. }
        | E::UndoLimited { .. }
        | E::Completed { .. }
        | E::Failed { .. }
        | E::OutcomeUnknown { .. }
        | E::Settled { .. }
        | E::RollbackStarted { .. }
        | E::RolledBack { .. }
        | E::RollbackPartial { .. }
        | E::RollbackBlocked { .. }
        | E::SecretRevealed { .. } => {}
    }
    Some(state)
}

/// The plan is another one: what was approved no longer counts.
fn supersede(state: &mut ApprovalState) {
    state.open = None;
    state.history.iter_mut().for_each(|approval| approval.superseded = true);
}

/// What waits for approvals, those that were moved longest ago first. Who may approve what is
/// core's to decide.
pub async fn waiting(
    pool: &PgPool,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ApprovalState>, QueryError> {
    let probe = page::probe(limit);
    let after = page::number(cursor)?.unwrap_or(-1);
    let rows: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT position, state FROM nexplane.rm_approvals \
         WHERE is_open AND position > $1 ORDER BY position LIMIT $2",
    )
    .bind(after)
    .bind(probe)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    page::page(
        rows,
        probe,
        |(position, _)| position.to_string(),
        |(_, state)| Ok(serde_json::from_value(state)?),
    )
}

/// What is known about the approval of a change; `None` when there is no such change.
pub async fn find(pool: &PgPool, change: ChangeId) -> Result<Option<ApprovalState>, QueryError> {
    let state: Option<Value> =
        sqlx::query_scalar("SELECT state FROM nexplane.rm_approvals WHERE change = $1")
            .bind(change.0)
            .fetch_optional(pool)
            .await?;
    Ok(state.map(serde_json::from_value).transpose()?)
}
