//! `/schedules`: recurring changes.
//!
//! What is shown is the read model's; the next ticks, and what has become of the last change, are added
//! when it is read.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{
    DraftRequest, EditScheduleRequest, NewScheduleRequest, ReasonRequest, ScheduleState,
    ScheduleView,
};
use nexplane_core::id::ScheduleId;
use nexplane_core::schedule::event::{Template, Timing};
use nexplane_core::schedule::{
    Schedule, ScheduleCommand, ScheduleRejection, ScheduleState as Folded,
};
use nexplane_core::time::Timestamp;
use nexplane_projections::{changes, schedules, upkeep};
use serde::Deserialize;
use uuid::Uuid;

use super::drafts::{check_parameters, resolve, resolve_targets};
use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS, answer};
use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// Ticks to come that are shown.
const NEXT: usize = 3;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    state: Option<ScheduleState>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /schedules`: newest first.
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> ApiResult<Response> {
    let limit = super::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    let mut page = schedules::list(&app.pool, query.state, cursor, limit).await?;
    complete(&app, &mut page.items).await?;
    Ok(axum::Json(page).into_response())
}

/// `GET /schedules/{id}`
pub async fn show_one(State(app): State<App>, Id(schedule): Id<ScheduleId>) -> ApiResult<Response> {
    show(&app, schedule, StatusCode::OK, None).await
}

/// `POST /schedules`
pub async fn create(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<NewScheduleRequest>,
) -> ApiResult<Response> {
    let timing = Timing { cron: body.cron, zone: body.zone };
    let asked = DraftRequest {
        title: body.title,
        reason: body.reason,
        ticket: body.ticket,
        change_type: body.change_type,
        connection_id: body.connection_id,
        targets: body.targets,
        parameters: body.parameters,
        window: None,
        auto_rollback: false,
        rollout: None,
    };
    let template = Template::from(resolve(&app, asked).await?);
    let schedule = ScheduleId(request.command.0);
    let command = ScheduleCommand::Create { template, timing };
    let mut response = tell(&app, &request, schedule, command, StatusCode::CREATED).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/schedules/{schedule}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /schedules/{id}`
pub async fn edit(
    State(app): State<App>,
    request: Request,
    Id(schedule): Id<ScheduleId>,
    JsonBody(body): JsonBody<EditScheduleRequest>,
) -> ApiResult<Response> {
    let standing = match stream::load::<Schedule>(&app.log, schedule.into()).await?.state {
        Folded::Standing(standing) => standing,
        Folded::Absent => return Err(crate::problem::rejected(&ScheduleRejection::NotFound)),
        Folded::Deleted(_) => return Err(crate::problem::rejected(&ScheduleRejection::Deleted)),
    };
    let (mut template, mut timing) = (standing.template, standing.timing);
    let EditScheduleRequest { title, reason, ticket, targets, parameters, cron, zone } = body;
    template.title = title.unwrap_or(template.title);
    template.reason = reason.unwrap_or(template.reason);
    template.ticket = ticket.or(template.ticket);
    if let Some(targets) = targets {
        template.targets = resolve_targets(&app, &targets).await?;
    }
    if let Some(parameters) = parameters {
        check_parameters(&app, &template.change_type, &parameters)?;
        template.parameters = parameters;
    }
    timing.cron = cron.unwrap_or(timing.cron);
    timing.zone = zone.unwrap_or(timing.zone);
    let command = ScheduleCommand::Edit { template, timing };
    tell(&app, &request, schedule, command, StatusCode::OK).await
}

/// `POST /schedules/{id}/pause`
pub async fn pause(
    State(app): State<App>,
    request: Request,
    Id(schedule): Id<ScheduleId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = ScheduleCommand::Pause { reason: body.reason };
    tell(&app, &request, schedule, command, StatusCode::OK).await
}

/// `POST /schedules/{id}/resume`
pub async fn resume(
    State(app): State<App>,
    request: Request,
    Id(schedule): Id<ScheduleId>,
) -> ApiResult<Response> {
    tell(&app, &request, schedule, ScheduleCommand::Resume, StatusCode::OK).await
}

/// `POST /schedules/{id}/delete`
pub async fn delete(
    State(app): State<App>,
    request: Request,
    Id(schedule): Id<ScheduleId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = ScheduleCommand::Delete { reason: body.reason };
    tell(&app, &request, schedule, command, StatusCode::OK).await
}

async fn tell(
    app: &App,
    request: &Request,
    schedule: ScheduleId,
    command: ScheduleCommand,
    status: StatusCode,
) -> ApiResult<Response> {
    let done = stream::execute::<Schedule>(&app.log, schedule.into(), request, command).await?;
    show(app, schedule, status, done.position).await
}

async fn show(
    app: &App,
    schedule: ScheduleId,
    status: StatusCode,
    position: Option<u64>,
) -> ApiResult<Response> {
    let waited = match position {
        Some(position) => {
            app.projections.wait_for_some(&["schedules"], position, WAIT_FOR_READ_MODELS).await
        }
        None => Ok(()),
    };
    let view = match (schedules::find(&app.pool, schedule).await?, waited) {
        (Some(view), _) => view,
        (None, Err(late)) => return Err(ApiError::behind(late)),
        (None, Ok(())) => return Err(ApiError::not_found("schedule")),
    };
    let mut views = [view];
    complete(app, &mut views).await?;
    let [view] = views;
    let position = position.unwrap_or(view.position).max(view.position);
    Ok(answer(status, &view, view.version, Some(position)))
}

/// Adds what only the present says.
async fn complete(app: &App, views: &mut [ScheduleView]) -> ApiResult<()> {
    let at = app.moment().unwrap_or_else(stream::now);
    let people: BTreeSet<Uuid> = views.iter().flat_map(people_of).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let things: BTreeSet<Uuid> = views
        .iter()
        .flat_map(|view| view.targets.iter().map(|target| target.0).chain([view.connection_id.0]))
        .collect();
    let things: Vec<Uuid> = things.into_iter().collect();
    let mut names = app.directory.names(&people).await?;
    names.extend(upkeep::names(&app.pool, &things).await?);
    // What its last change is, is to be no older than that it is its last. Late is not wrong.
    let made = views.iter().filter(|view| view.last_change.is_some());
    if let Some(position) = made.map(|view| view.position).max() {
        let _ = app.projections.wait_for_some(&["changes"], position, WAIT_FOR_READ_MODELS).await;
    }
    for view in views {
        if view.state == ScheduleState::Active {
            let timing = Timing { cron: view.cron.clone(), zone: view.zone.clone() };
            view.next = timing.slots().starts(at).take(NEXT).collect();
        }
        if let Some(last) = &mut view.last_change
            && let Some(change) = changes::find(&app.pool, last.id).await?
        {
            last.number = Some(change.number);
            last.state = Some(change.state);
            last.settled = change.settled.is_some();
        }
        view.waiting_for = waiting_for(view);
        let things = view.targets.iter().map(|target| target.0).chain([view.connection_id.0]);
        let ids = people_of(view).chain(things);
        view.names = ids.filter_map(|id| Some((id.to_string(), names.get(&id)?.clone()))).collect();
    }
    Ok(())
}

fn people_of(view: &ScheduleView) -> impl Iterator<Item = Uuid> {
    std::iter::once(view.owner.0).chain(view.editors.iter().map(|person| person.0))
}

fn waiting_for(view: &ScheduleView) -> Option<String> {
    let stopped = view.stopped_reason.as_deref().unwrap_or_default();
    match view.state {
        ScheduleState::Deleted => return None,
        ScheduleState::Paused => {
            return Some(format!("Paused: {stopped} Nothing is made until somebody resumes it."));
        }
        ScheduleState::Active => {}
    }
    let next = view.next.first().map_or_else(|| "no tick any more".to_owned(), minute);
    let open = view.last_change.as_ref().filter(|last| {
        last.state.is_some_and(|state| !state.is_settled()) && last.number.is_some()
    });
    Some(match open {
        Some(last) => {
            let number = last.number.unwrap_or_default();
            let problem = last.problem.as_deref().map(|problem| format!(" ({problem})"));
            let problem = problem.unwrap_or_default();
            format!(
                "Waits for the end of change #{number}{problem}: while it is open, ticks are skipped. The next one is {next}."
            )
        }
        None => format!("Waits for its next tick, {next}."),
    })
}

/// Without what is finer than a minute.
fn minute(at: &Timestamp) -> String {
    let text = at.to_string();
    text.get(..16)
        .map_or_else(|| text.clone(), |minute| format!("{} UTC", minute.replace('T', " ")))
}
