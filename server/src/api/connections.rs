//! `/connections`: configured connectors. Credentials go in and never come out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexplane_connectors::sdk::{AnyConnector, FieldError as SdkFieldError, SecretJson, SecretText};
use nexplane_core::api::{
    ConnectionView, EditConnectionRequest, EventView, FieldError, NewConnectionRequest, Page,
    SecretSources, TestResult,
};
use nexplane_core::connection::{
    Connection, ConnectionCommand, ConnectionState, Purpose, checked_every,
};
use nexplane_core::host::{Host, HostState};
use nexplane_core::id::{Category, ConnectionId, HostId, SecretId};
use nexplane_core::plan::Check;
use nexplane_core::secret_ref::SecretRef;
use nexplane_projections::audit::AuditFilter;
use nexplane_projections::inventory;
use serde_json::Value;

use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS, answer, placed};
use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use crate::runtime::{self, OpenError, READER, connection_owner};
use crate::secret_folder::not_configured;
use crate::stream::{self, Request, StreamError};
use crate::vault::Kind;

/// `GET /connections`
pub async fn list(
    State(app): State<App>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<Page<ConnectionView>>> {
    let limit = super::limit(query.limit)?;
    let page = inventory::connections(&app.pool, query.cursor.as_deref(), limit).await?;
    Ok(Json(page))
}

/// `GET /connections/{id}`
pub async fn show_one(State(app): State<App>, Id(id): Id<ConnectionId>) -> ApiResult<Response> {
    show(&app, id, StatusCode::OK, None).await
}

/// `GET /connections/{id}/history`: its events, newest first, but for those that say what its credentials
/// were opened for: there is one for every change.
pub async fn history(
    State(app): State<App>,
    Id(id): Id<ConnectionId>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<Page<EventView>>> {
    if inventory::connection(&app.pool, id).await?.is_none() {
        return Err(ApiError::not_found("connection"));
    }
    let filter = AuditFilter {
        kind: Some(Category::Connection.as_str().to_owned()),
        without: Some("connection.credentials_opened"),
        resource: Some(id.0),
        ..AuditFilter::default()
    };
    super::audit::page(&app, &filter, query.cursor.as_deref(), query.limit).await
}

/// `POST /connections`
pub async fn add(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<NewConnectionRequest>,
) -> ApiResult<Response> {
    let connector = app
        .targets
        .registry
        .connector(&body.kind)
        .filter(|connector| connector.spec().managed)
        .ok_or_else(|| {
            let known: Vec<_> = app
                .targets
                .registry
                .connectors()
                .filter(|connector| connector.spec().managed)
                .map(|connector| connector.spec().id.as_str())
                .collect();
            ApiError::invalid_field("/type", format!("use one of {}", known.join(", ")))
        })?;
    let credentials = checked(&app, connector, body.credentials.clone()).await?;
    let every_s = interval(body.discover_every_s)?;
    let id = ConnectionId(request.command.0);
    let mut position = stream::written(&app.log, &request).await?;
    if position.is_none() {
        position = create(&app, id, connector, &request, &body, &credentials).await?;
    }
    if every_s.is_some() {
        let command = ConnectionCommand::ScheduleDiscovery { every_s };
        let asked = request.also("schedule discovery");
        let done = stream::execute::<Connection>(&app.log, id.into(), &asked, command).await?;
        position = done.position.or(position);
    }
    show(&app, id, StatusCode::CREATED, position).await
}

async fn create(
    app: &App,
    id: ConnectionId,
    connector: &dyn AnyConnector,
    request: &Request,
    body: &NewConnectionRequest,
    credentials: &Checked,
) -> ApiResult<Option<u64>> {
    name_is_free(app, &body.name, id).await?;
    let (settings, secret) = seal(app, id, connector, credentials).await?;
    let command = ConnectionCommand::Create {
        name: body.name.clone(),
        connector: body.kind.clone(),
        environment: body.environment,
        settings,
        credentials: Some(secret),
        host: None,
    };
    let done = stream::execute::<Connection>(&app.log, id.into(), request, command).await;
    // The same request at the same moment sealed one of its own.
    let in_use = matches!(&done, Ok(done) if uses(&done.state, secret));
    if !in_use {
        app.vault.delete(&connection_owner(id), secret).await?;
    }
    Ok(done?.position)
}

fn uses(state: &ConnectionState, secret: SecretId) -> bool {
    matches!(state, ConnectionState::Active(active) if active.credentials == Some(secret))
}

async fn name_is_free(app: &App, name: &str, id: ConnectionId) -> ApiResult<()> {
    match inventory::connection_by_name(&app.pool, name).await? {
        Some(other) if other.id != id => Err(ApiError::conflict(
            "connection.name_taken",
            format!("There is a connection called '{name}' already. Choose another name."),
        )),
        Some(_) | None => Ok(()),
    }
}

/// `PATCH /connections/{id}`
pub async fn edit(
    State(app): State<App>,
    request: Request,
    Id(id): Id<ConnectionId>,
    JsonBody(body): JsonBody<EditConnectionRequest>,
) -> ApiResult<Response> {
    let active = app.targets.connection(id).await?;
    let EditConnectionRequest { name, environment, credentials, limits, discover_every_s } = body;
    let every_s = discover_every_s.map(|every_s| interval(Some(every_s))).transpose()?;
    if let Some(name) = &name {
        name_is_free(&app, name, id).await?;
    }
    let mut position = None;
    // The first command moves the version, and the others are of the same request.
    let mut if_match = request.if_match;
    let mut tell = async |purpose: &str, command| -> ApiResult<ConnectionState> {
        let asked = Request { if_match: if_match.take(), ..request.also(purpose) };
        let done = stream::execute::<Connection>(&app.log, id.into(), &asked, command).await?;
        position = done.position.or(position);
        Ok(done.state)
    };
    if let Some(credentials) = credentials {
        let connector = app
            .targets
            .registry
            .connector(&active.connector)
            .ok_or_else(|| OpenError::NoConnector(active.connector.clone()))?;
        let credentials = checked(&app, connector, credentials).await?;
        let (settings, secret) = seal(&app, id, connector, &credentials).await?;
        let command = ConnectionCommand::ReplaceCredentials { settings, credentials: secret };
        let replaced = tell("credentials", command).await;
        let in_use = matches!(&replaced, Ok(state) if uses(state, secret));
        let unused = if in_use { active.credentials } else { Some(secret) };
        if let Some(unused) = unused {
            app.vault.delete(&connection_owner(id), unused).await?;
        }
        replaced?;
    }
    if let Some(name) = name {
        tell("rename", ConnectionCommand::Rename { name }).await?;
    }
    if let Some(environment) = environment {
        tell("relabel", ConnectionCommand::Relabel { environment }).await?;
    }
    if let Some(limits) = limits {
        tell("limit", ConnectionCommand::Limit { limits }).await?;
    }
    if let Some(every_s) = every_s {
        tell("schedule discovery", ConnectionCommand::ScheduleDiscovery { every_s }).await?;
    }
    show(&app, id, StatusCode::OK, position).await
}

/// `DELETE /connections/{id}`
pub async fn remove(
    State(app): State<App>,
    request: Request,
    Id(id): Id<ConnectionId>,
) -> ApiResult<Response> {
    let active = app.targets.connection(id).await?;
    let host_revoked = match active.host {
        Some(host) => {
            let host = stream::load::<Host>(&app.log, HostId(host.0).into()).await?;
            matches!(host.state, HostState::Revoked(_))
        }
        None => false,
    };
    let command = ConnectionCommand::Remove { host_revoked };
    let done = stream::execute::<Connection>(&app.log, id.into(), &request, command).await?;
    if let Some(secret) = active.credentials {
        app.vault.delete(&connection_owner(id), secret).await?;
    }
    Ok(placed(StatusCode::NO_CONTENT, done.position))
}

/// `POST /connections/{id}/test`: one line per permission.
pub async fn test(
    State(app): State<App>,
    request: Request,
    Id(id): Id<ConnectionId>,
) -> ApiResult<Response> {
    let checks = match app.targets.open(id, Purpose::Test, None, &request).await {
        Ok(opened) => opened.session.test().await,
        // That the target does not let us in is the result of the test, not its failure.
        Err(OpenError::Connector(error)) => {
            vec![Check { name: "connect".to_owned(), ok: false, detail: error.message.clone() }]
        }
        Err(error) => return Err(error.into()),
    };
    let command = ConnectionCommand::RecordTest { checks: checks.clone() };
    let asked = request.also("record test");
    let done = stream::execute::<Connection>(&app.log, id.into(), &asked, command).await?;
    let ok = !checks.is_empty() && checks.iter().all(|check| check.ok);
    Ok(placed(Json(TestResult { ok, checks }), done.position))
}

/// `POST /connections/{id}/discover`
pub async fn discover(
    State(app): State<App>,
    request: Request,
    Id(id): Id<ConnectionId>,
) -> ApiResult<Response> {
    let result = app.discoverer.discover(id, &request).await?;
    let head = app.log.head().await.map_err(ApiError::unavailable)?.next_position;
    let last = head.saturating_sub(1);
    // So that the assets can be listed right away.
    let _ = app.projections.wait_for(last, WAIT_FOR_READ_MODELS).await;
    Ok(placed(Json(result), Some(last)))
}

/// How often it is to be discovered; 0 is never by itself.
fn interval(every_s: Option<u32>) -> ApiResult<Option<u32>> {
    let every_s = checked_every(every_s.filter(|every_s| *every_s > 0));
    Ok(every_s.map_err(StreamError::Rejected)?)
}

/// Credentials that fit their connector, with references as they are stored.
struct Checked {
    credentials: SecretJson,
    references: Vec<(String, SecretRef)>,
}

/// All faults, not only the first. Nothing is read of what is referred to: that is for a test.
async fn checked(
    app: &App,
    connector: &dyn AnyConnector,
    credentials: Value,
) -> ApiResult<Checked> {
    let mut credentials = SecretJson::new(credentials);
    let mut faults = Vec::new();
    let mut references = Vec::new();
    match runtime::references(connector, credentials.expose()) {
        Ok(found) => {
            for (pointer, reference) in found {
                match usable(app, reference).await? {
                    Ok(reference) => references.push((pointer, reference)),
                    Err((below, reason)) => {
                        faults.push(SdkFieldError::new(format!("{pointer}{below}"), reason));
                    }
                }
            }
        }
        Err(found) => faults.extend(found),
    }
    // To the connector's schema a secret is a text, wherever it is kept.
    let any = SecretText::new("elsewhere".to_owned());
    for (pointer, _) in &references {
        credentials.put(pointer, &any);
    }
    if faults.is_empty()
        && let Err(found) = connector.validate_credentials(credentials.expose())
    {
        faults.extend(found);
    }
    if !faults.is_empty() {
        let in_body = |fault: SdkFieldError| {
            FieldError::new(format!("/credentials{}", fault.pointer), fault.reason)
        };
        return Err(ApiError::invalid(faults.into_iter().map(in_body).collect()));
    }
    for (pointer, reference) in &references {
        credentials.put_public(pointer, reference.to_field());
    }
    Ok(Checked { credentials, references })
}

/// The reference as it is stored, or where in it is what is wrong, and what.
async fn usable(
    app: &App,
    reference: SecretRef,
) -> ApiResult<Result<SecretRef, (&'static str, String)>> {
    let mut vault = match reference {
        SecretRef::File(_) if !app.targets.folder.is_configured() => {
            return Ok(Err(("", not_configured().message)));
        }
        SecretRef::File(_) => return Ok(Ok(reference)),
        SecretRef::Vault(vault) => vault,
    };
    // A name can come to mean another connection, an id cannot.
    let found = match vault.connection.parse::<ConnectionId>() {
        Ok(id) => inventory::connection(&app.pool, id).await?,
        Err(_) => inventory::connection_by_name(&app.pool, &vault.connection).await?,
    };
    let Some(found) = found.filter(|found| found.kind == READER) else {
        let reason = "there is no connection to Vault of this id or name".to_owned();
        return Ok(Err(("/secret_ref/vault/connection", reason)));
    };
    vault.connection = found.id.to_string();
    Ok(Ok(SecretRef::Vault(vault)))
}

/// `GET /secret-sources`
pub async fn secret_sources(State(app): State<App>) -> ApiResult<Json<SecretSources>> {
    let files = app.targets.folder.is_configured();
    Ok(Json(SecretSources { files, vaults: inventory::vaults(&app.pool).await? }))
}

/// Encrypts the credentials whole, and gives back what of them may be shown: settings, and references in the places of
/// secrets.
async fn seal(
    app: &App,
    id: ConnectionId,
    connector: &dyn AnyConnector,
    checked: &Checked,
) -> ApiResult<(Value, SecretId)> {
    let credentials = checked.credentials.expose();
    let mut settings = credentials.clone();
    for pointer in connector.secret_pointers() {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let is_reference = checked.references.iter().any(|(place, _)| place == pointer);
        if let Some(Value::Object(fields)) = settings.pointer_mut(parent)
            && !is_reference
        {
            fields.remove(name);
        }
    }
    let bytes =
        zeroize::Zeroizing::new(serde_json::to_vec(credentials).map_err(ApiError::internal)?);
    let kind = &connector.spec().id;
    let secret = app.vault.seal(&connection_owner(id), Kind::Credentials, kind, &bytes).await?;
    Ok((settings, secret))
}

async fn show(
    app: &App,
    id: ConnectionId,
    status: StatusCode,
    position: Option<u64>,
) -> ApiResult<Response> {
    let waited = match position {
        Some(position) => {
            app.projections.wait_for_some(&["inventory"], position, WAIT_FOR_READ_MODELS).await
        }
        None => Ok(()),
    };
    let view = match (inventory::connection(&app.pool, id).await?, waited) {
        (Some(view), _) => view,
        (None, Err(late)) => return Err(ApiError::behind(late)),
        (None, Ok(())) => return Err(ApiError::not_found("connection")),
    };
    Ok(answer(status, &view, view.version, position).into_response())
}
