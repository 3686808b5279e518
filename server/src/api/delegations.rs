//! `/users/{id}/delegations`

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use nexplane_core::actor::Role;
use nexplane_core::api::{DelegateRequest, DelegationView, Page};
use nexplane_core::id::PersonId;
use nexplane_core::person::{Delegation, Person, PersonCommand, PersonState};
use uuid::Uuid;

use super::guard::{Id, JsonBody, placed};
use crate::app::App;
use crate::approving;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// `GET /users/{id}/delegations`: what they gave and what they hold; one's own, and everybody's for admins
/// and auditors. To all others there is no such person.
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(person): Id<PersonId>,
) -> ApiResult<Json<Page<DelegationView>>> {
    if caller.person != person && !caller.has_any(&[Role::Admin, Role::Auditor]) {
        return Err(ApiError::not_found("user"));
    }
    let now = app.moment().unwrap_or_else(stream::now);
    let mut items = Vec::new();
    // A delegation is a fact of whoever gave it; who holds it is nowhere else.
    for entry in app.directory.list().await? {
        let PersonState::Active(active) = app.people.load(entry.id).await?.state else { continue };
        for (id, given) in active.delegations {
            if (entry.id == person || given.to == person) && now < given.until {
                items.push(view(&app, id, entry.id, given).await?);
            }
        }
    }
    items.sort_by_key(|item| (item.from, item.id));
    Ok(Json(Page { items, next_cursor: None }))
}

/// `POST /users/{id}/delegations`
pub async fn add(
    State(app): State<App>,
    request: Request,
    Id(person): Id<PersonId>,
    JsonBody(body): JsonBody<DelegateRequest>,
) -> ApiResult<Response> {
    let DelegateRequest { to, from, until, reason } = body;
    let to = approving::person(&app.directory, "/to", &to).await?;
    let to_is_enabled = app.people.roles(to).await?.is_some();
    let (from, delegation) = (from.unwrap_or(request.at), request.command.0);
    let given = Delegation { to, from, until, reason: reason.trim().to_owned() };
    let command =
        PersonCommand::Delegate { person, delegation, to, to_is_enabled, from, until, reason };
    let done = stream::execute::<Person>(&app.log, person.into(), &request, command).await?;
    let view = view(&app, delegation, person, given).await?;
    Ok(placed((StatusCode::CREATED, Json(view)), done.position))
}

/// `DELETE /users/{id}/delegations/{delegation}`
pub async fn end(
    State(app): State<App>,
    request: Request,
    Path((person, delegation)): Path<(String, String)>,
) -> ApiResult<Response> {
    let id = |text: &str| text.parse::<Uuid>().map_err(|_| ApiError::not_found("delegation"));
    let (person, delegation) = (PersonId(id(&person)?), id(&delegation)?);
    let command = PersonCommand::EndDelegation { person, delegation };
    let done = stream::execute::<Person>(&app.log, person.into(), &request, command).await?;
    Ok(placed(StatusCode::NO_CONTENT, done.position))
}

async fn view(app: &App, id: Uuid, of: PersonId, given: Delegation) -> ApiResult<DelegationView> {
    let Delegation { to, from, until, reason } = given;
    let names = app.directory.names(&[of.0, to.0]).await?;
    let (of_name, to_name) = (names.get(&of.0).cloned(), names.get(&to.0).cloned());
    Ok(DelegationView { id, of, of_name, to, to_name, from, until, reason })
}
