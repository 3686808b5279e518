//! `/freeze-windows`, and what becomes of them for a change.
//!
//! The list is folded from the calendar's own stream, so it is never behind, and what it says of the
//! present follows from the clock. Deliberately absent: notices to browsers when a freeze begins or
//! ends (a change's row does not change with it), and what was frozen in an answer to `?at=`.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{
    ChangeState as State_, ChangeView, DeclareFreezeRequest, FreezeState, FreezeView, FrozenView,
    OverrideFreezeRequest, Page, ReasonRequest, ReviewRequest,
};
use nexplane_core::calendar::event::CalendarEvent;
use nexplane_core::calendar::{CALENDAR, Calendar, CalendarCommand};
use nexplane_core::change::{ChangeCommand, ChangeRejection, ChangeState, may_override};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::freeze::{Frozen, InTheWay};
use nexplane_core::id::{ChangeId, FreezeId, PersonId};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::minute;
use uuid::Uuid;

use super::changes::{load, tell, unless_done};
use super::guard::{Id, JsonBody, Query, answer};
use super::projects;
use crate::app::App;
use crate::auth::Caller;
use crate::calendar::{About, Sheet, reach_of};
use crate::meeting;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// `GET /freeze-windows`: newest first.
pub async fn list(
    State(app): State<App>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Response> {
    let (mut items, next_cursor) = super::newest_first(all(&app).await?, &query)?;
    name(&app, &mut items).await?;
    Ok(axum::Json(Page { items, next_cursor }).into_response())
}

/// `POST /freeze-windows`
pub async fn declare(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<DeclareFreezeRequest>,
) -> ApiResult<Response> {
    let freeze = FreezeId(request.command.0);
    let DeclareFreezeRequest { scope, start, end, reason } = body;
    let scope = scope.into();
    let command = CalendarCommand::DeclareFreeze { freeze, scope, start, end, reason };
    tell_calendar(&app, &request, freeze, command, StatusCode::CREATED).await
}

/// `POST /freeze-windows/{id}/end`
pub async fn end(
    State(app): State<App>,
    request: Request,
    Id(freeze): Id<FreezeId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = CalendarCommand::EndFreeze { freeze, reason: body.reason };
    tell_calendar(&app, &request, freeze, command, StatusCode::OK).await
}

async fn tell_calendar(
    app: &App,
    request: &Request,
    freeze: FreezeId,
    command: CalendarCommand,
    status: StatusCode,
) -> ApiResult<Response> {
    let done = stream::execute::<Calendar>(&app.log, CALENDAR.into(), request, command).await?;
    let found = all(app).await?.into_iter().find(|view| view.id == freeze);
    let mut views = [found.ok_or_else(|| ApiError::not_found("freeze"))?];
    name(app, &mut views).await?;
    let [view] = views;
    Ok(answer(status, &view, done.version, done.position))
}

/// `POST /change-requests/{id}/override-freeze`
pub async fn override_freeze(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<OverrideFreezeRequest>,
) -> ApiResult<Response> {
    let OverrideFreezeRequest { freeze, justification } = body;
    let state = load(&app, id).await?.state;
    if let Err(no) = may_override(&state, &request.by) {
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    let about = About::of(&state).ok_or(ChangeRejection::NotFound)?;
    let sheet = Sheet::read(&app.log, None).await?;
    let covers = match sheet.open(freeze) {
        Ok(found) => found.scope.covers(&reach_of(&app.log, &about).await?.0),
        Err(no) => {
            let refused = crate::problem::rejected(&no);
            return unless_done(&app, &caller, &request, id, refused).await;
        }
    };
    let command = ChangeCommand::OverrideFreeze { freeze, covers, justification };
    tell(&app, &caller, &request, id, command).await
}

/// `POST /change-requests/{id}/review`
pub async fn review(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ReviewRequest>,
) -> ApiResult<Response> {
    let command = ChangeCommand::Review { comment: body.comment };
    tell(&app, &caller, &request, id, command).await
}

/// What is in the way of a change that waits for an approval or its execution.
pub async fn in_the_way(app: &App, state: &ChangeState) -> ApiResult<InTheWay> {
    match state {
        ChangeState::Submitted(_) | ChangeState::Approved(_) => {}
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => return Ok(InTheWay::default()),
    }
    let Some(about) = About::of(state) else { return Ok(InTheWay::default()) };
    let sheet = Sheet::read(&app.log, app.moment()).await?;
    let mut in_the_way = sheet.look(&app.log, &about).await?.in_the_way;
    in_the_way.waits_for = projects::waits_for(app, state).await?;
    in_the_way.meets = meeting::look(&app.pool, &app.log, state).await?.0;
    Ok(in_the_way)
}

/// Says in each row what it waits for, when that is the end of a freeze.
pub async fn mark(app: &App, views: &mut [ChangeView]) -> ApiResult<()> {
    let sheet = Sheet::read(&app.log, app.moment()).await?;
    if sheet.is_free() {
        return Ok(());
    }
    for view in views {
        if !matches!(view.state, State_::Submitted | State_::Approved | State_::Scheduled) {
            continue;
        }
        let state = load(app, view.id).await?.state;
        if let Some(about) = About::of(&state) {
            wait(view, &sheet.look(&app.log, &about).await?.in_the_way.frozen);
        }
    }
    Ok(())
}

/// Says that a change waits for the end of what is in its way.
pub fn wait(view: &mut ChangeView, frozen: &[Frozen]) {
    let Some(last) = frozen.first() else { return };
    let stands = |frozen: &Frozen| FrozenView {
        freeze: frozen.freeze,
        reason: frozen.reason.clone(),
        end: frozen.end,
    };
    view.frozen = frozen.iter().map(stands).collect();
    let more = match frozen.len() - 1 {
        0 => String::new(),
        1 => " and one more".to_owned(),
        n => format!(" and {n} more"),
    };
    let what = if matches!(view.state, State_::Submitted) { "approved" } else { "executed" };
    view.waiting_for = Some(format!(
        "Frozen until {}: waits for the end of “{}”{more} before it can be {what}, unless a responder overrides that.",
        minute(last.end),
        last.reason
    ));
}

/// Every freeze there ever was, in the order of declaration.
pub async fn all(app: &App) -> ApiResult<Vec<FreezeView>> {
    let events = stream::history(&app.log, CALENDAR.into(), None).await?;
    let at = app.moment().unwrap_or_else(stream::now);
    Ok(fold(&events, at))
}

fn fold(events: &[Recorded], at: Timestamp) -> Vec<FreezeView> {
    let mut views: Vec<FreezeView> = Vec::new();
    for Recorded { header, event, .. } in events {
        let Event::Calendar(event) = event else { continue };
        match event {
            CalendarEvent::FreezeDeclared { freeze, scope, start, end, reason } => {
                views.push(FreezeView {
                    id: *freeze,
                    state: state(*start, *end, at),
                    scope: scope.clone(),
                    start: *start,
                    end: *end,
                    reason: reason.clone(),
                    declared_by: PersonId(header.actor.id),
                    declared_at: header.at,
                    ended_by: None,
                    ended_at: None,
                    ended_reason: None,
                    names: std::collections::BTreeMap::new(),
                });
            }
            CalendarEvent::FreezeEnded { freeze, reason } => {
                let own = views.iter_mut().filter(|view| view.id == *freeze);
                for view in own.filter(|view| view.ended_at.is_none()) {
                    view.state = FreezeState::Ended;
                    view.ended_by = Some(PersonId(header.actor.id));
                    view.ended_at = Some(header.at);
                    view.ended_reason = Some(reason.clone());
                }
            }
            CalendarEvent::WindowDefined { .. } | CalendarEvent::WindowRemoved { .. } => {}
        }
    }
    views
}

fn state(start: Timestamp, end: Timestamp, at: Timestamp) -> FreezeState {
    if at < start {
        FreezeState::Upcoming
    } else if at < end {
        FreezeState::InForce
    } else {
        FreezeState::Over
    }
}

async fn name(app: &App, views: &mut [FreezeView]) -> ApiResult<()> {
    let people: BTreeSet<Uuid> = views
        .iter()
        .flat_map(|view| std::iter::once(view.declared_by).chain(view.ended_by))
        .map(|person| person.0)
        .collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = app.directory.names(&people).await?;
    for view in views {
        let ids = std::iter::once(view.declared_by.0).chain(view.ended_by.map(|person| person.0));
        view.names = ids.filter_map(|id| Some((id.to_string(), names.get(&id)?.clone()))).collect();
    }
    Ok(())
}
