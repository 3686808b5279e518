//! `/projects`: ordered groups of changes.
//!
//! What is shown is the read model's; what has become of the members is added when it is read.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{
    AddMemberRequest, ChangeState as State_, ChangeView, DependenciesRequest, EditProjectRequest,
    MemberBack, NewProjectRequest, ProjectState, ProjectView, ReasonRequest, RemoveMemberRequest,
};
use nexplane_core::change::{Change, ChangeState};
use nexplane_core::freeze::{Dependency, names as phrase};
use nexplane_core::id::{ChangeId, ProjectId};
use nexplane_core::project::{
    Project, ProjectCommand, ProjectRejection, ProjectState as Folded, may_add,
};
use nexplane_projections::projects;
use serde::Deserialize;
use uuid::Uuid;

use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS, answer};
use crate::app::App;
use crate::problem::{ApiError, ApiResult, FromRejection, rejected};
use crate::project::{Adding, Joining};
use crate::stream::{self, Request, StreamError};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    state: Option<ProjectState>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /projects`: newest first.
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> ApiResult<Response> {
    let limit = super::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    let mut page = projects::list(&app.pool, query.state, cursor, limit).await?;
    complete(&app, &mut page.items).await?;
    Ok(axum::Json(page).into_response())
}

/// `GET /projects/{id}`
pub async fn show_one(State(app): State<App>, Id(project): Id<ProjectId>) -> ApiResult<Response> {
    show(&app, project, StatusCode::OK, None).await
}

/// `POST /projects`
pub async fn create(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<NewProjectRequest>,
) -> ApiResult<Response> {
    let NewProjectRequest { name, description } = body;
    let project = ProjectId(request.command.0);
    let command = ProjectCommand::Create { name, description };
    let mut response = tell(&app, &request, project, command, StatusCode::CREATED).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/projects/{project}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /projects/{id}`
pub async fn edit(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<EditProjectRequest>,
) -> ApiResult<Response> {
    let (name, description) = match load(&app, project).await? {
        Folded::Standing(standing) | Folded::Closed(standing) => {
            (standing.name, standing.description)
        }
        Folded::Absent => return Err(rejected(&ProjectRejection::NotFound)),
    };
    let name = body.name.unwrap_or(name);
    let description = body.description.unwrap_or(description);
    let command = ProjectCommand::Rename { name, description };
    tell(&app, &request, project, command, StatusCode::OK).await
}

/// `POST /projects/{id}/members`: the change joins first, and is added then; whoever comes in between is
/// noticed by one of the two.
pub async fn add_member(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<AddMemberRequest>,
) -> ApiResult<Response> {
    let AddMemberRequest { change, after } = body;
    if stream::written(&app.log, &request).await?.is_none() {
        if let Err(no) = may_add(&load(&app, project).await?, &request.by, change, &after) {
            return Err(named(&app, no).await);
        }
        let joining = Joining { log: &app.log, change, project };
        let asked = request.also("join project");
        stream::execute_prepared::<Change>(&app.log, change.into(), &asked, &joining).await?;
    }
    let adding = Adding { log: &app.log, change, project, after };
    let done = stream::execute_prepared(&app.log, project.into(), &request, &adding).await;
    answered(&app, project, done, StatusCode::OK).await
}

/// `POST /projects/{id}/remove-member`
pub async fn remove_member(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<RemoveMemberRequest>,
) -> ApiResult<Response> {
    let command = ProjectCommand::RemoveMember { change: body.change };
    tell(&app, &request, project, command, StatusCode::OK).await
}

/// `POST /projects/{id}/dependencies`
pub async fn depend(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<DependenciesRequest>,
) -> ApiResult<Response> {
    let DependenciesRequest { change, after } = body;
    let command = ProjectCommand::Depend { change, after };
    tell(&app, &request, project, command, StatusCode::OK).await
}

/// `POST /projects/{id}/execute`
pub async fn execute(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
) -> ApiResult<Response> {
    tell(&app, &request, project, ProjectCommand::Execute, StatusCode::OK).await
}

/// `POST /projects/{id}/rollback`: has all of it undone that was applied, newest first.
pub async fn rollback(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = ProjectCommand::GoBack { reason: body.reason };
    tell(&app, &request, project, command, StatusCode::OK).await
}

/// `POST /projects/{id}/close`
pub async fn close(
    State(app): State<App>,
    request: Request,
    Id(project): Id<ProjectId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = ProjectCommand::Close { reason: body.reason };
    tell(&app, &request, project, command, StatusCode::OK).await
}

async fn load(app: &App, project: ProjectId) -> ApiResult<Folded> {
    Ok(stream::load::<Project>(&app.log, project.into()).await?.state)
}

async fn tell(
    app: &App,
    request: &Request,
    project: ProjectId,
    command: ProjectCommand,
    status: StatusCode,
) -> ApiResult<Response> {
    let done = stream::execute::<Project>(&app.log, project.into(), request, command).await;
    answered(app, project, done, status).await
}

async fn answered(
    app: &App,
    project: ProjectId,
    done: stream::Outcome<Project>,
    status: StatusCode,
) -> ApiResult<Response> {
    match done {
        Ok(done) => show(app, project, status, done.position).await,
        Err(StreamError::Rejected(no)) => Err(named(app, no).await),
        Err(error) => Err(error.into()),
    }
}

/// A rejection in which changes have the numbers that people know them by.
async fn named(app: &App, no: ProjectRejection) -> ApiError {
    let (changes, sentence): (_, fn(&[String]) -> String) = match &no {
        ProjectRejection::Cycle { cycle } => {
            (cycle.iter().chain(cycle.first()).copied().collect(), |numbers| {
                format!(
                    "Each would have to be complete before the next, in a circle: {}.",
                    numbers.join(" after ")
                )
            })
        }
        ProjectRejection::Needed { by } => (by.clone(), |numbers| {
            format!(
                "Other members come after it: {}. Change what they come after, or remove them first.",
                numbers.join(", ")
            )
        }),
        ProjectRejection::NoMember { change } => (vec![*change], |numbers| {
            format!("The change {} is no member of this project.", numbers.join(", "))
        }),
        ProjectRejection::Exists
        | ProjectRejection::NotFound
        | ProjectRejection::Denied { .. }
        | ProjectRejection::Invalid { .. }
        | ProjectRejection::NotInState { .. }
        | ProjectRejection::MemberAlready
        | ProjectRejection::JoinedAnother
        | ProjectRejection::TooManyMembers
        | ProjectRejection::Empty => return ApiError::from_rejection(no),
    };
    match numbers(app, &changes).await {
        Ok(numbers) => rejected(&no).about(&changes, sentence(&numbers)),
        Err(_) => rejected(&no),
    }
}

/// What a change still has to come after, with the numbers that people know it by.
pub async fn waits_for(app: &App, state: &ChangeState) -> ApiResult<Vec<Dependency>> {
    let (mut waits_for, _) = crate::project::waits_for(&app.log, state).await?;
    let ids: Vec<Uuid> = waits_for.iter().map(|missing| missing.change.0).collect();
    let seen =
        if ids.is_empty() { BTreeMap::new() } else { projects::members(&app.pool, &ids).await? };
    for missing in &mut waits_for {
        missing.number = seen.get(&missing.change).map(|(number, ..)| *number);
    }
    Ok(waits_for)
}

/// Says that a change waits for what it comes after.
pub fn wait(view: &mut ChangeView, waits_for: &[Dependency]) {
    if !waits_for.is_empty() && matches!(view.state, State_::Approved | State_::Scheduled) {
        view.waiting_for = Some(format!(
            "Waits for the end of what it comes after in its project: {}.",
            phrase(waits_for)
        ));
    }
}

/// Numbers of changes, as people see them; the id of what cannot be seen yet.
pub async fn numbers(app: &App, changes: &[ChangeId]) -> ApiResult<Vec<String>> {
    let ids: Vec<Uuid> = changes.iter().map(|change| change.0).collect();
    let seen = projects::members(&app.pool, &ids).await?;
    let number = |change: &ChangeId| {
        seen.get(change).map_or_else(|| change.to_string(), |(number, ..)| format!("#{number}"))
    };
    Ok(changes.iter().map(number).collect())
}

async fn show(
    app: &App,
    project: ProjectId,
    status: StatusCode,
    position: Option<u64>,
) -> ApiResult<Response> {
    let waited = match position {
        Some(position) => {
            app.projections.wait_for_some(&["projects"], position, WAIT_FOR_READ_MODELS).await
        }
        None => Ok(()),
    };
    let view = match (projects::find(&app.pool, project).await?, waited) {
        (Some(view), _) => view,
        (None, Err(late)) => return Err(ApiError::behind(late)),
        (None, Ok(())) => return Err(ApiError::not_found("project")),
    };
    let mut views = [view];
    complete(app, &mut views).await?;
    let [view] = views;
    let position = position.unwrap_or(view.position).max(view.position);
    Ok(answer(status, &view, view.version, Some(position)))
}

/// Adds what only the present says.
async fn complete(app: &App, views: &mut [ProjectView]) -> ApiResult<()> {
    // A project that has gone back has no member on its way back: what members are is to be no older
    // than what the project is. Late is not wrong.
    let begun = views.iter().filter(|view| view.state != ProjectState::Open);
    if let Some(position) = begun.map(|view| view.position).max() {
        let _ = app.projections.wait_for_some(&["changes"], position, WAIT_FOR_READ_MODELS).await;
    }
    let people: BTreeSet<Uuid> = views.iter().flat_map(people_of).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = app.directory.names(&people).await?;
    let ids: Vec<Uuid> =
        views.iter().flat_map(|view| view.members.iter().map(|member| member.change.0)).collect();
    let seen = projects::members(&app.pool, &ids).await?;
    let rollbacks = projects::rollbacks(&app.pool, &ids).await?;
    for view in views {
        let stopped = view.back.as_ref().and_then(|back| back.blocked.as_ref()).map(|b| b.change);
        for member in &mut view.members {
            let rollback = rollbacks.get(&member.change);
            member.rollback = rollback.map(|(rollback, ..)| *rollback);
            member.rollback_number = rollback.map(|(_, number, _)| *number);
            if let Some((number, title, state)) = seen.get(&member.change) {
                member.number = Some(*number);
                member.title = Some(title.clone());
                member.state = Some(*state);
            }
            let is_missing = |change: &ChangeId| {
                seen.get(change).is_none_or(|(.., state)| *state != State_::Complete)
            };
            member.back = view.back.as_ref().map(|_| {
                let state = rollback.map(|(.., state)| *state);
                back_of(member.state, state, stopped == Some(member.change))
            });
            member.waits_for = member.after.iter().copied().filter(is_missing).collect();
        }
        view.waiting_for = waiting_for(view);
        view.names = people_of(view)
            .filter_map(|id| Some((id.to_string(), names.get(&id)?.clone())))
            .collect();
    }
    Ok(())
}

fn people_of(view: &ProjectView) -> impl Iterator<Item = Uuid> {
    std::iter::once(view.created_by.0)
        .chain(view.asked_by.map(|person| person.0))
        .chain(view.back.as_ref().map(|back| back.asked_by.0))
}

/// What has become of a member of a project that goes back.
fn back_of(member: Option<State_>, rollback: Option<State_>, is_stopped: bool) -> MemberBack {
    if is_stopped && member != Some(State_::RolledBack) {
        return MemberBack::Stopped;
    }
    match member {
        Some(State_::RolledBack) => MemberBack::Undone,
        Some(State_::RollingBack) => MemberBack::UnderWay,
        Some(
            State_::Complete
            | State_::Failed
            | State_::OutcomeUnknown
            | State_::RollbackPartial
            | State_::RollbackBlocked
            | State_::Executing,
        ) => match rollback {
            Some(state) if !state.is_settled() => MemberBack::UnderWay,
            Some(_) | None => MemberBack::NotAttempted,
        },
        Some(
            State_::Draft
            | State_::Submitted
            | State_::Approved
            | State_::Scheduled
            | State_::Rejected
            | State_::Cancelled
            | State_::Expired,
        )
        | None => MemberBack::Nothing,
    }
}

/// What a project that goes back waits for.
fn back_waits(view: &ProjectView) -> String {
    let under_way: Vec<_> = view
        .members
        .iter()
        .filter(|member| member.back == Some(MemberBack::UnderWay))
        .filter_map(|member| Some((member.number?, member.rollback_number?)))
        .map(|(number, rollback)| format!("#{rollback}, which undoes #{number}"))
        .collect();
    if under_way.is_empty() {
        "Goes back by itself, newest first.".to_owned()
    } else {
        format!("Waits for {}, and goes back by itself.", under_way.join(", "))
    }
}

/// One sentence for every state that waits for something.
fn waiting_for(view: &ProjectView) -> Option<String> {
    let numbers: BTreeMap<ChangeId, u64> =
        view.members.iter().filter_map(|member| Some((member.change, member.number?))).collect();
    let name = |change: &ChangeId| {
        numbers.get(change).map_or_else(|| change.to_string(), |number| format!("#{number}"))
    };
    Some(match view.state {
        ProjectState::Open if view.members.is_empty() => {
            "Waits for the changes that it is about.".to_owned()
        }
        ProjectState::Open => "Waits for an operator to have it executed.".to_owned(),
        ProjectState::Running => {
            let mut states: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for member in view.members.iter().filter(|member| member.waits_for.is_empty()) {
                let state = match member.state {
                    Some(State_::Complete) => continue,
                    Some(state) => state.as_str(),
                    None => "not to be seen yet",
                };
                states.entry(state).or_default().push(name(&member.change));
            }
            let waits: Vec<_> = states
                .into_iter()
                .map(|(state, members)| format!("{} ({state})", members.join(", ")))
                .collect();
            if waits.is_empty() {
                "Goes on by itself.".to_owned()
            } else {
                format!("Waits for {}, and goes on by itself.", waits.join(", "))
            }
        }
        ProjectState::Blocked => {
            let (change, reason) = view.blocked.as_ref().map_or_else(
                || ("a member".to_owned(), ""),
                |blocked| (name(&blocked.change), blocked.reason.as_str()),
            );
            format!(
                "Stopped at {change}: {reason} Put that right, or remove the member, and have the project executed again."
            )
        }
        ProjectState::GoingBack => back_waits(view),
        ProjectState::BackBlocked => {
            let blocked = view.back.as_ref().and_then(|back| back.blocked.as_ref());
            let (change, reason) = blocked.map_or_else(
                || ("a member".to_owned(), ""),
                |blocked| (name(&blocked.change), blocked.reason.as_str()),
            );
            format!(
                "Its going back stopped at {change}: {reason} Put that right, or remove the member, and ask for the rollback of the project again."
            )
        }
        ProjectState::Complete | ProjectState::WentBack | ProjectState::Closed => return None,
    })
}
