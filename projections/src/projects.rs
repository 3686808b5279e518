//! Ordered groups of changes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::api::{BlockedView, GoingBackView, MemberView, Page, ProjectState, ProjectView};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{Category, ChangeId, PersonId, ProjectId};
use nexplane_core::project::event::ProjectEvent;
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::checkpoint::signed;
use crate::page::{self, QueryError};
use crate::projection::{ApplyError, Projection};
use crate::table::{self, Generation, Table, column};

const PROJECTS: Table = Table {
    name: "rm_projects",
    columns: &[
        column("id", "uuid"),
        column("created", "bigint"),
        column("state", "text"),
        column("view", "jsonb"),
    ],
    key: &["id"],
    indexes: &["(created)", "(state)"],
};

/// The projection `projects`.
#[derive(Clone, Copy, Debug)]
pub struct Projects;

#[derive(Serialize)]
struct Row {
    id: Uuid,
    /// Position of its first event.
    created: i64,
    state: &'static str,
    view: ProjectView,
}

#[async_trait]
impl Projection for Projects {
    fn name(&self) -> &'static str {
        "projects"
    }

    fn version(&self) -> u32 {
        2
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Project]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PROJECTS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let ids: BTreeSet<_> = events.iter().map(|e| e.header.stream.id).collect();
        let stored: Vec<(Uuid, i64, Value)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT id, created, view FROM {} WHERE id = ANY($1)",
            at.of(&PROJECTS)
        )))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *db)
        .await?;
        let mut rows = BTreeMap::new();
        for (id, created, view) in stored {
            let view: ProjectView = serde_json::from_value(view).map_err(|source| {
                ApplyError::Row { table: PROJECTS.name, id: id.to_string(), source }
            })?;
            rows.insert(id, Row { id, created, state: view.state.as_str(), view });
        }
        for recorded in events {
            let Event::Project(event) = &recorded.event else { continue };
            let id = recorded.header.stream.id;
            if let Some(row) = fold(rows.remove(&id), event, recorded) {
                rows.insert(id, row);
            }
        }
        let rows: Vec<_> = rows.into_values().collect();
        table::upsert(db, at, &PROJECTS, &rows).await?;
        Ok(())
    }
}

fn fold(row: Option<Row>, event: &ProjectEvent, recorded: &Recorded) -> Option<Row> {
    let header = &recorded.header;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, ProjectEvent::Created { name, description }) => Row {
            id: header.stream.id,
            created: signed(recorded.position),
            state: "",
            view: created(recorded, name, description),
        },
        (None, _) => return None,
    };
    apply(&mut row.view, event, recorded);
    row.state = row.view.state.as_str();
    row.view.version = header.version;
    row.view.position = recorded.position;
    row.view.updated_at = header.at;
    Some(row)
}

fn created(recorded: &Recorded, name: &str, description: &str) -> ProjectView {
    let header = &recorded.header;
    ProjectView {
        id: ProjectId(header.stream.id),
        state: ProjectState::Open,
        name: name.to_owned(),
        description: description.to_owned(),
        members: Vec::new(),
        waiting_for: None,
        asked_by: None,
        asked_at: None,
        blocked: None,
        back: None,
        closed_reason: None,
        created_by: header.actor.person().unwrap_or(PersonId(header.actor.id)),
        created_at: header.at,
        updated_at: header.at,
        version: header.version,
        position: recorded.position,
        names: BTreeMap::new(),
    }
}

fn apply(view: &mut ProjectView, event: &ProjectEvent, recorded: &Recorded) {
    use ProjectEvent as E;
    if view.state == ProjectState::Closed {
        return;
    }
    let header = &recorded.header;
    match event {
        E::Created { .. } => {}
        E::Renamed { name, description } => {
            view.name.clone_from(name);
            view.description.clone_from(description);
        }
        E::MemberAdded { change, after } | E::DependenciesChanged { change, after } => {
            set(view, *change, after);
            open(view);
        }
        E::MemberRemoved { change } => {
            view.members.retain(|member| member.change != *change);
            open(view);
        }
        E::ExecutionAsked {} => {
            view.state = ProjectState::Running;
            view.asked_by = Some(header.actor.person().unwrap_or(PersonId(header.actor.id)));
            view.asked_at = Some(header.at);
            view.blocked = None;
        }
        E::Blocked { change, reason } => {
            view.state = ProjectState::Blocked;
            let (change, reason, at) = (*change, reason.clone(), header.at);
            view.blocked = Some(BlockedView { change, reason, at });
        }
        E::Completed {} => view.state = ProjectState::Complete,
        E::GoingBack { reason } => {
            view.state = ProjectState::GoingBack;
            view.blocked = None;
            view.back = Some(GoingBackView {
                asked_by: header.actor.person().unwrap_or(PersonId(header.actor.id)),
                asked_at: header.at,
                reason: reason.clone(),
                blocked: None,
            });
        }
        E::BackBlocked { change, reason } => {
            view.state = ProjectState::BackBlocked;
            if let Some(back) = &mut view.back {
                let (change, reason, at) = (*change, reason.clone(), header.at);
                back.blocked = Some(BlockedView { change, reason, at });
            }
        }
        E::WentBack {} => view.state = ProjectState::WentBack,
        E::Closed { reason } => {
            view.state = ProjectState::Closed;
            view.closed_reason = Some(reason.clone());
        }
    }
}

fn open(view: &mut ProjectView) {
    view.state = ProjectState::Open;
    view.blocked = None;
    view.back = None;
}

fn set(view: &mut ProjectView, change: ChangeId, after: &[ChangeId]) {
    if let Some(member) = view.members.iter_mut().find(|member| member.change == change) {
        member.after = after.to_vec();
        return;
    }
    view.members.push(MemberView {
        change,
        after: after.to_vec(),
        waits_for: Vec::new(),
        number: None,
        title: None,
        state: None,
        rollback: None,
        rollback_number: None,
        back: None,
    });
}

/// Projects, newest first. What has become of their members is added by who shows them.
pub async fn list(
    pool: &PgPool,
    state: Option<ProjectState>,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ProjectView>, QueryError> {
    let probe = page::probe(limit);
    let before = page::number(cursor)?.unwrap_or(i64::MAX);
    let rows: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT created, view FROM nexplane.rm_projects \
         WHERE created < $1 AND coalesce(state = $2, true) ORDER BY created DESC LIMIT $3",
    )
    .bind(before)
    .bind(state.map(ProjectState::as_str))
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

/// One project.
pub async fn find(pool: &PgPool, id: ProjectId) -> Result<Option<ProjectView>, QueryError> {
    let view: Option<Value> =
        sqlx::query_scalar("SELECT view FROM nexplane.rm_projects WHERE id = $1")
            .bind(id.0)
            .persistent(false)
            .fetch_optional(pool)
            .await?;
    Ok(view.map(serde_json::from_value).transpose()?)
}

/// Projects that are running or go back; at most 1,000. A hint: it is decided again on the stream itself.
pub async fn running(pool: &PgPool) -> Result<Vec<ProjectId>, QueryError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_projects WHERE state IN ('running', 'going_back') \
         ORDER BY created LIMIT 1000",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(ProjectId).collect())
}

/// The newest rollback of each of these changes that has one, with its number and state.
pub async fn rollbacks(
    pool: &PgPool,
    ids: &[Uuid],
) -> Result<BTreeMap<ChangeId, (ChangeId, u64, nexplane_core::api::ChangeState)>, QueryError> {
    let rows: Vec<(Uuid, Uuid, i64, String)> = sqlx::query_as(
        "SELECT DISTINCT ON (rollback_of) rollback_of, id, number, state \
         FROM nexplane.rm_changes WHERE rollback_of = ANY($1) ORDER BY rollback_of, number DESC",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let row = |(of, id, number, state): (Uuid, Uuid, i64, String)| {
        Some((ChangeId(of), (ChangeId(id), number.unsigned_abs(), state.parse().ok()?)))
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Number, title and state of changes, as people see them.
pub async fn members(
    pool: &PgPool,
    ids: &[Uuid],
) -> Result<BTreeMap<ChangeId, (u64, String, nexplane_core::api::ChangeState)>, QueryError> {
    let rows: Vec<(Uuid, i64, Option<String>, String)> = sqlx::query_as(
        "SELECT id, number, view->>'title', state FROM nexplane.rm_changes WHERE id = ANY($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, number, title, state)| {
            let seen = (number.unsigned_abs(), title.unwrap_or_default(), state.parse().ok()?);
            Some((ChangeId(id), seen))
        })
        .collect())
}
