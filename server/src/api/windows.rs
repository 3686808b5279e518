//! `/maintenance-windows`, and what a responder lets a change do outside of them.
//!
//! Folded from the calendar's own stream, like freezes. Deliberately absent: editing a window, which is
//! removing it and defining another, so that the log says at every moment which one held.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{
    DefineWindowRequest, OverrideWindowRequest, Page, ReasonRequest, WindowState, WindowView,
};
use nexplane_core::calendar::event::CalendarEvent;
use nexplane_core::calendar::{CALENDAR, Calendar, CalendarCommand};
use nexplane_core::change::{ChangeCommand, ChangeRejection, may_override};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{ChangeId, PersonId, WindowId};
use nexplane_core::recurrence::Recurrence;
use nexplane_core::time::Timestamp;
use uuid::Uuid;

use super::changes::{load, tell, unless_done};
use super::guard::{Id, JsonBody, Query, answer};
use crate::app::App;
use crate::auth::Caller;
use crate::calendar::{About, Sheet};
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// Slots to come that are shown.
const NEXT: usize = 3;

/// `GET /maintenance-windows`: newest first.
pub async fn list(
    State(app): State<App>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Response> {
    let (mut items, next_cursor) = super::newest_first(all(&app).await?, &query)?;
    name(&app, &mut items).await?;
    Ok(axum::Json(Page { items, next_cursor }).into_response())
}

/// `POST /maintenance-windows`
pub async fn define(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<DefineWindowRequest>,
) -> ApiResult<Response> {
    let window = WindowId(request.command.0);
    let DefineWindowRequest { name, scope, cron, zone, duration_s } = body;
    let (scope, slots) = (scope.into(), Recurrence { cron, zone, duration_s });
    let command = CalendarCommand::DefineWindow { window, name, scope, slots };
    tell_calendar(&app, &request, window, command, StatusCode::CREATED).await
}

/// `POST /maintenance-windows/{id}/remove`
pub async fn remove(
    State(app): State<App>,
    request: Request,
    Id(window): Id<WindowId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let command = CalendarCommand::RemoveWindow { window, reason: body.reason };
    tell_calendar(&app, &request, window, command, StatusCode::OK).await
}

async fn tell_calendar(
    app: &App,
    request: &Request,
    window: WindowId,
    command: CalendarCommand,
    status: StatusCode,
) -> ApiResult<Response> {
    let done = stream::execute::<Calendar>(&app.log, CALENDAR.into(), request, command).await?;
    let found = all(app).await?.into_iter().find(|view| view.id == window);
    let mut views = [found.ok_or_else(|| ApiError::not_found("maintenance window"))?];
    name(app, &mut views).await?;
    let [view] = views;
    Ok(answer(status, &view, done.version, done.position))
}

/// `POST /change-requests/{id}/override-window`
pub async fn override_window(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<OverrideWindowRequest>,
) -> ApiResult<Response> {
    let state = load(&app, id).await?.state;
    if let Err(no) = may_override(&state, &request.by) {
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    let about = About::of(&state).ok_or(ChangeRejection::NotFound)?;
    let covers = Sheet::read(&app.log, None).await?.closed(&app.log, &about).await?.is_some();
    let command = ChangeCommand::OverrideWindow { covers, justification: body.justification };
    tell(&app, &caller, &request, id, command).await
}

/// Every maintenance window there ever was, in the order of definition.
pub async fn all(app: &App) -> ApiResult<Vec<WindowView>> {
    let events = stream::history(&app.log, CALENDAR.into(), None).await?;
    let at = app.moment().unwrap_or_else(stream::now);
    Ok(fold(&events, at))
}

fn fold(events: &[Recorded], at: Timestamp) -> Vec<WindowView> {
    let mut views: Vec<WindowView> = Vec::new();
    for Recorded { header, event, .. } in events {
        let Event::Calendar(event) = event else { continue };
        match event {
            CalendarEvent::WindowDefined { window, name, scope, slots } => {
                let open = slots.open(at);
                let state = if open.is_some() { WindowState::Open } else { WindowState::Closed };
                views.push(WindowView {
                    id: *window,
                    state,
                    name: name.clone(),
                    scope: scope.clone(),
                    slots: slots.clone(),
                    description: slots.describe(),
                    closes: open.map(|slot| slot.end),
                    next: std::iter::successors(slots.next_start(at), |start| {
                        slots.next_start(*start)
                    })
                    .take(NEXT)
                    .collect(),
                    defined_by: PersonId(header.actor.id),
                    defined_at: header.at,
                    removed_by: None,
                    removed_at: None,
                    removed_reason: None,
                    names: BTreeMap::new(),
                });
            }
            CalendarEvent::WindowRemoved { window, reason } => {
                let own = views.iter_mut().filter(|view| view.id == *window);
                for view in own.filter(|view| view.removed_at.is_none()) {
                    view.state = WindowState::Removed;
                    view.closes = None;
                    view.next.clear();
                    view.removed_by = Some(PersonId(header.actor.id));
                    view.removed_at = Some(header.at);
                    view.removed_reason = Some(reason.clone());
                }
            }
            CalendarEvent::FreezeDeclared { .. } | CalendarEvent::FreezeEnded { .. } => {}
        }
    }
    views
}

async fn name(app: &App, views: &mut [WindowView]) -> ApiResult<()> {
    let of = |view: &WindowView| std::iter::once(view.defined_by).chain(view.removed_by);
    let people: BTreeSet<Uuid> = views.iter().flat_map(of).map(|person| person.0).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = app.directory.names(&people).await?;
    for view in views {
        let ids = of(view).map(|person| person.0);
        view.names = ids.filter_map(|id| Some((id.to_string(), names.get(&id)?.clone()))).collect();
    }
    Ok(())
}
