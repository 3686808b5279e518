//! What a client writes of a change: new, and edited.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use nexplane_core::api::{DraftRequest, EditRequest, FieldError};
use nexplane_core::catalog::ActionSpec;
use nexplane_core::change::event::{Draft, Window};
use nexplane_core::change::{Change, ChangeCommand, ChangeRejection, MAX_STEPS, MAX_TARGETS};
use nexplane_core::id::{AssetId, ChangeId};
use nexplane_core::rollout::event::Strategy;
use nexplane_projections::inventory;

use super::changes::{load, show, tell};
use super::guard::{Id, JsonBody};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::runtime::OpenError;
use crate::stream::{self, Request};

/// `POST /change-requests`
pub async fn draft(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    JsonBody(body): JsonBody<DraftRequest>,
) -> ApiResult<Response> {
    let draft = resolve(&app, body).await?;
    let change = ChangeId(request.command.0);
    let command = ChangeCommand::Draft { draft, rollback_of: None };
    let done = stream::execute::<Change>(&app.log, change.into(), &request, command).await?;
    let mut response = show(&app, &caller, change, StatusCode::CREATED, done.position).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/change-requests/{change}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /change-requests/{id}`
pub async fn edit(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<EditRequest>,
) -> ApiResult<Response> {
    let state = load(&app, id).await?.state;
    let subject = state.subject().ok_or(ChangeRejection::NotFound)?;
    let mut draft = subject.draft.clone();
    let EditRequest {
        title,
        reason,
        ticket,
        targets,
        parameters,
        window,
        rollout: strategy,
        auto_rollback,
    } = body;
    draft.title = title.unwrap_or(draft.title);
    draft.reason = reason.unwrap_or(draft.reason);
    draft.ticket = ticket.or(draft.ticket);
    let is_retargeted = targets.is_some();
    if let Some(targets) = targets {
        draft.targets = resolve_targets(&app, &targets).await?;
    }
    if let Some(parameters) = parameters {
        check_parameters(&app, &draft.change_type, &parameters)?;
        draft.parameters = parameters;
    }
    draft.window = window.map(|w| Window { start: w.start, end: w.end }).or(draft.window);
    let spec = app.targets.action(&draft.change_type)?.spec();
    draft.rollout = rollout(spec, &draft.targets, strategy.or(draft.rollout))?;
    if is_retargeted {
        check_targets(&app, &draft, spec).await?;
    }
    draft.auto_rollback = auto_rollback.unwrap_or(draft.auto_rollback);
    tell(&app, &caller, &request, id, ChangeCommand::Edit { draft }).await
}

/// From what a client sends to a draft: keys become ids, parameters are checked.
pub(super) async fn resolve(app: &App, body: DraftRequest) -> ApiResult<Draft> {
    check_parameters(app, &body.change_type, &body.parameters)?;
    let spec = app.targets.action(&body.change_type)?.spec();
    let connection = match app.targets.connection(body.connection_id).await {
        Ok(connection) => connection,
        Err(OpenError::NoConnection) => {
            return Err(ApiError::invalid_field(
                "/connection_id",
                "there is no such connection; GET /api/v1/connections lists them",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if !spec.id.starts_with(&format!("{}.", connection.connector)) {
        return Err(ApiError::invalid_field(
            "/connection_id",
            format!(
                "'{}' is a {} connection, {} needs another",
                connection.name, connection.connector, spec.id
            ),
        ));
    }
    let targets = resolve_targets(app, &body.targets).await?;
    let draft = Draft {
        title: body.title,
        reason: body.reason,
        ticket: body.ticket,
        change_type: body.change_type,
        connection: body.connection_id,
        rollout: rollout(spec, &targets, body.rollout)?,
        targets,
        parameters: body.parameters,
        window: body.window.map(|w| Window { start: w.start, end: w.end }),
        auto_rollback: body.auto_rollback,
    };
    check_targets(app, &draft, spec).await?;
    Ok(draft)
}

/// How many targets are gone through: more than one run has need a strategy, and get one.
fn rollout(
    spec: &ActionSpec,
    targets: &[AssetId],
    asked: Option<Strategy>,
) -> ApiResult<Option<Strategy>> {
    let needed = (targets.len() > MAX_STEPS).then(|| Strategy::for_targets(targets.len()));
    let strategy = asked.or(needed);
    if strategy.is_some() && !spec.produces.is_empty() {
        let why = format!(
            "{} hands over a secret for every target: name at most {MAX_STEPS} targets, without a rollout",
            spec.id
        );
        return Err(ApiError::invalid_field("/targets", why));
    }
    Ok(strategy)
}

/// Every target is in the inventory, and the action fits it.
async fn check_targets(app: &App, draft: &Draft, spec: &ActionSpec) -> ApiResult<()> {
    for (index, located) in app.targets.locate(&draft.targets).await?.into_iter().enumerate() {
        let invalid = |why: &str| ApiError::invalid_field(&format!("/targets/{index}"), why);
        located
            .ok_or_else(|| invalid("there is no such asset in the inventory"))?
            .fits(draft, spec)
            .map_err(|why| invalid(&why))?;
    }
    Ok(())
}

pub(super) fn check_parameters(
    app: &App,
    change_type: &str,
    parameters: &serde_json::Value,
) -> ApiResult<()> {
    app.targets.action(change_type)?.validate(parameters).map_err(|errors| {
        ApiError::invalid(
            errors
                .into_iter()
                .map(|e| FieldError::new(format!("/parameters{}", e.pointer), e.reason))
                .collect(),
        )
    })
}

/// Asset ids, or keys `<connection name>/<external key>`.
pub(super) async fn resolve_targets(app: &App, targets: &[String]) -> ApiResult<Vec<AssetId>> {
    if targets.len() > MAX_TARGETS {
        let why = format!("at most {MAX_TARGETS} targets in one change");
        return Err(ApiError::invalid_field("/targets", why));
    }
    let keys: Vec<&str> = targets
        .iter()
        .filter(|target| target.parse::<AssetId>().is_err())
        .map(String::as_str)
        .collect();
    let keyed = inventory::by_keys(&app.pool, &keys).await?;
    let mut ids = Vec::with_capacity(targets.len());
    let mut unknown = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        let id = target.parse().ok().or_else(|| keyed.get(target.as_str()).copied());
        match id {
            Some(id) if seen.insert(id) => ids.push(id),
            Some(_) => {
                let error = FieldError::new(format!("/targets/{index}"), "named twice");
                unknown.push(error);
            }
            None => unknown.push(FieldError::new(
                format!("/targets/{index}"),
                "there is no such asset; GET /api/v1/assets lists ids and keys",
            )),
        }
    }
    if unknown.is_empty() { Ok(ids) } else { Err(ApiError::invalid(unknown)) }
}
