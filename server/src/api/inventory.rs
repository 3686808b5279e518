//! `/assets`, `/hosts`, `/risk` and `/secrets`: what is there.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use nexplane_core::api::{
    AssetView, BlastRadius, EditAssetRequest, EnrollmentToken, EnrollmentTokenRequest, EventView,
    HostView, Page, RevealedSecret, RiskCalibration, RiskSummary,
};
use nexplane_core::asset::{Asset, AssetCommand, AssetState};
use nexplane_core::change::event::Produced;
use nexplane_core::change::{Change, ChangeCommand, ChangeState};
use nexplane_core::host::{Host, HostCommand};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId, SecretId};
use nexplane_core::person::{Person, PersonCommand};
use nexplane_core::risk::Environment;
use nexplane_core::run::{Run, RunState};
use nexplane_projections::{audit, hosts, inventory, risk};
use serde::Deserialize;

use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS, answer, placed};
use super::names;
use super::people::secret_is_new;
use crate::app::App;
use crate::auth::Caller;
use crate::gateway::token;
use crate::problem::{ApiError, ApiResult};
use crate::runtime::change_owner;
use crate::stream::{self, Request};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssetQuery {
    #[serde(rename = "type")]
    kind: Option<String>,
    connection: Option<ConnectionId>,
    environment: Option<Environment>,
    tag: Option<String>,
    q: Option<String>,
    status: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /assets`
pub async fn assets(
    State(app): State<App>,
    Query(query): Query<AssetQuery>,
) -> ApiResult<Json<Page<AssetView>>> {
    let filter = inventory::AssetFilter {
        asset_type: query.kind,
        connection: query.connection,
        environment: query.environment,
        tag: query.tag,
        q: query.q,
        gone: match query.status.as_deref() {
            None | Some("") => None,
            Some("present") => Some(false),
            Some("gone") => Some(true),
            Some(_) => return Err(ApiError::invalid_field("", "status: present or gone")),
        },
    };
    let limit = super::limit(query.limit)?;
    Ok(Json(inventory::list(&app.pool, &filter, query.cursor.as_deref(), limit).await?))
}

/// `GET /assets/{id}`, also as it was known at any moment.
pub async fn asset(
    State(app): State<App>,
    Id(id): Id<AssetId>,
    Query(query): Query<super::AtQuery>,
) -> ApiResult<Response> {
    let Some(position) = query.position(&app, "asset").await? else {
        return show_asset(&app, id, None).await;
    };
    let view = inventory::as_of(&app.pool, &app.log, id, position)
        .await?
        .ok_or_else(|| ApiError::not_found("asset at that moment"))?;
    Ok(answer(StatusCode::OK, &view, view.version, Some(view.position)))
}

async fn show_asset(app: &App, id: AssetId, position: Option<u64>) -> ApiResult<Response> {
    if let Some(position) = position {
        let names = &["inventory"];
        let _ = app.projections.wait_for_some(names, position, WAIT_FOR_READ_MODELS).await;
    }
    let view = inventory::find(&app.pool, id).await?.ok_or_else(|| ApiError::not_found("asset"))?;
    let position = position.unwrap_or(view.position).max(view.position);
    Ok(answer(StatusCode::OK, &view, view.version, Some(position)))
}

/// `PATCH /assets/{id}`: what is absent stays.
pub async fn edit_asset(
    State(app): State<App>,
    request: Request,
    Id(id): Id<AssetId>,
    JsonBody(body): JsonBody<EditAssetRequest>,
) -> ApiResult<Response> {
    let loaded = stream::load::<Asset>(&app.log, id.into()).await?;
    let old = match loaded.state {
        AssetState::Absent => return Err(ApiError::not_found("asset")),
        AssetState::Present(present) => present.annotations,
        AssetState::Gone(gone) => gone.annotations,
    };
    let EditAssetRequest { owner, tags, critical, environment } = body;
    let owner = match owner.as_deref() {
        Some("") => None,
        Some(owner) => Some(owner.to_owned()),
        None => old.owner,
    };
    let command = AssetCommand::Annotate {
        owner,
        tags: tags.unwrap_or(old.tags),
        critical: critical.unwrap_or(old.critical),
        environment: environment.or(old.environment),
    };
    // What was merged is of the version that was read.
    let merged = Request { if_match: request.if_match.or(Some(loaded.version)), ..request.clone() };
    let done = match stream::execute::<Asset>(&app.log, id.into(), &merged, command).await {
        Err(stream::StreamError::Stale { .. }) if request.if_match.is_none() => {
            return Err(ApiError::conflict(
                "conflict.version",
                "Somebody edited it at the same moment. Reload it and try again.",
            ));
        }
        done => done?,
    };
    show_asset(&app, id, done.position).await
}

/// `GET /assets/{id}/blast-radius`
pub async fn blast_radius(
    State(app): State<App>,
    Id(id): Id<AssetId>,
) -> ApiResult<Json<BlastRadius>> {
    if inventory::find(&app.pool, id).await?.is_none() {
        return Err(ApiError::not_found("asset"));
    }
    Ok(Json(inventory::blast_radius(&app.pool, id).await?))
}

/// `GET /assets/{id}/history`: its events, newest first.
pub async fn asset_history(
    State(app): State<App>,
    Id(id): Id<AssetId>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<Page<EventView>>> {
    if inventory::find(&app.pool, id).await?.is_none() {
        return Err(ApiError::not_found("asset"));
    }
    let filter = audit::AuditFilter { resource: Some(id.0), ..Default::default() };
    super::audit::page(&app, &filter, query.cursor.as_deref(), query.limit).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostQuery {
    status: Option<String>,
    q: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

const HOST_STATUSES: [&str; 4] = ["online", "offline", "locked", "revoked"];

/// `GET /hosts`
pub async fn hosts(
    State(app): State<App>,
    Query(query): Query<HostQuery>,
) -> ApiResult<Json<Page<HostView>>> {
    let limit = super::limit(query.limit)?;
    let status = query.status.filter(|status| !status.is_empty());
    if status.as_ref().is_some_and(|status| !HOST_STATUSES.contains(&status.as_str())) {
        let why = format!("status: one of {}", HOST_STATUSES.join(", "));
        return Err(ApiError::invalid_field("", why));
    }
    let filter = hosts::HostFilter { status, q: query.q };
    let mut page = hosts::list(&app.pool, &filter, query.cursor.as_deref(), limit).await?;
    names::of_hosts(&app, page.items.iter_mut()).await?;
    Ok(Json(page))
}

/// `GET /hosts/{id}`
pub async fn host(State(app): State<App>, Id(id): Id<HostId>) -> ApiResult<Response> {
    show_host(&app, id, None).await
}

async fn show_host(app: &App, id: HostId, position: Option<u64>) -> ApiResult<Response> {
    if let Some(position) = position {
        let _ = app.projections.wait_for_some(&["hosts"], position, WAIT_FOR_READ_MODELS).await;
    }
    let mut view = hosts::find(&app.pool, id).await?.ok_or_else(|| ApiError::not_found("host"))?;
    names::of_hosts(app, std::iter::once(&mut view)).await?;
    Ok(answer(StatusCode::OK, &view, view.version, position))
}

/// `POST /hosts/enrollment-tokens`
pub async fn invite_host(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    JsonBody(body): JsonBody<EnrollmentTokenRequest>,
) -> ApiResult<Response> {
    let gateway = app.gateway.as_ref().ok_or_else(|| {
        ApiError::conflict("gateway.absent", "This server runs no agent gateway (--roles).")
    })?;
    let ttl_s = body.ttl_s.unwrap_or(900);
    if !(60..=86_400).contains(&ttl_s) {
        return Err(ApiError::invalid_field("/ttl_s", "60 to 86,400 seconds"));
    }
    let expires_at = request.at.plus_seconds(i64::from(ttl_s));
    let command = PersonCommand::InviteAgent {
        person: caller.person,
        hostname: body.hostname.clone(),
        expires_at,
    };
    let done = stream::execute::<Person>(&app.log, caller.person.into(), &request, command).await?;
    secret_is_new(&done)?;
    let token = gateway.invite(body.hostname.as_deref(), ttl_s, caller.person).await?;
    let host_id = token::host(&app.pool, &token).await?;
    let url = gateway.url();
    // On standard input: what is in the arguments of a process everybody on the host can read.
    let command = format!(
        "./nexplane-agent install --control-plane {url} --ca ca.pem --token-stdin <<'END'\n{token}\nEND"
    );
    let body = EnrollmentToken {
        token,
        host_id,
        ca_pem: gateway.ca_pem().to_owned(),
        gateway: url,
        expires_at,
        command,
    };
    Ok(placed((StatusCode::CREATED, Json(body)), done.position))
}

/// `POST /hosts/{id}/revoke`: for good, and at once.
pub async fn revoke_host(
    State(app): State<App>,
    request: Request,
    Id(id): Id<HostId>,
    JsonBody(body): JsonBody<RevokeRequest>,
) -> ApiResult<Response> {
    let reason = body.reason.unwrap_or_else(|| "revoked by an admin".to_owned());
    let command = HostCommand::Revoke { reason };
    let done = stream::execute::<Host>(&app.log, id.into(), &request, command).await?;
    if let Some(gateway) = &app.gateway {
        gateway.revoke(id).await;
    }
    show_host(&app, id, done.position).await
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeRequest {
    reason: Option<String>,
}

/// Open changes that the risk page names.
const TOP_RISKS: u32 = 20;

/// `GET /risk/summary`
pub async fn risk_summary(State(app): State<App>) -> ApiResult<Json<RiskSummary>> {
    Ok(Json(risk::summary(&app.pool, TOP_RISKS).await?))
}

/// `GET /risk/calibration`
pub async fn risk_calibration(State(app): State<App>) -> ApiResult<Json<RiskCalibration>> {
    Ok(Json(risk::calibration(&app.pool).await?))
}

/// What the run of a change was told of, also after it had ended.
async fn late_secrets(app: &App, change: ChangeId) -> ApiResult<Vec<Produced>> {
    let ChangeState::Finished(finish) =
        stream::load::<Change>(&app.log, change.into()).await?.state
    else {
        return Ok(Vec::new());
    };
    let run = finish.execution.run;
    Ok(match stream::load::<Run>(&app.log, run.into()).await?.state {
        RunState::Finished(finished) => finished.run.produced,
        RunState::Absent | RunState::Running(_) => Vec::new(),
    })
}

/// `POST /secrets/{id}/reveal`: once, to the requester of the change that produced it.
pub async fn reveal(
    State(app): State<App>,
    request: Request,
    Id(id): Id<SecretId>,
) -> ApiResult<Response> {
    let (change, name) = nexplane_projections::upkeep::change_of_secret(&app.pool, id)
        .await?
        .ok_or_else(|| ApiError::not_found("secret"))?;
    let late = late_secrets(&app, change).await?;
    let command = ChangeCommand::RevealSecret { secret: id, late };
    let done = stream::execute::<Change>(&app.log, change.into(), &request, command).await?;
    let value = app.vault.reveal(&change_owner(change), id).await?;
    let revealed = RevealedSecret { id, name, value: value.expose().to_owned() };
    Ok(placed(Json(revealed), done.position))
}
