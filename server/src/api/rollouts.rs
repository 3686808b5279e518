//! What one can ask of a change on many targets: every target, and the brakes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use nexplane_core::aggregate::{Asked, Decider as _};
use nexplane_core::api::{
    ChangeState as State_, ChangeView, Page, ReasonRequest, RolloutProgress, RolloutTargetView,
    TargetState,
};
use nexplane_core::change::ChangeState;
use nexplane_core::id::{ChangeId, RolloutId};
use nexplane_core::rollout::{Rollout, RolloutCommand, RolloutRejection, RolloutState};
use nexplane_projections::rollouts;
use serde::Deserialize;

use super::changes::{load, show};
use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetsQuery {
    /// One or more states, separated by commas.
    state: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /change-requests/{id}/targets`: the targets of its newest plan, when that is a rollout's.
pub async fn targets(
    State(app): State<App>,
    Id(id): Id<ChangeId>,
    Query(query): Query<TargetsQuery>,
) -> ApiResult<axum::Json<Page<RolloutTargetView>>> {
    let state = load(&app, id).await?.state;
    let states = query
        .state
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|word| !word.is_empty())
        .map(state_of)
        .collect::<ApiResult<Vec<_>>>()?;
    let Some(parts) = state.plan().and_then(|plan| plan.parts.as_ref()) else {
        return Ok(axum::Json(Page { items: Vec::new(), next_cursor: None }));
    };
    let limit = super::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    let page = rollouts::targets(&app.pool, parts.manifest, &states, cursor, limit).await?;
    Ok(axum::Json(page))
}

fn state_of(word: &str) -> ApiResult<TargetState> {
    TargetState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let names: Vec<_> = TargetState::ALL.iter().map(|state| state.as_str()).collect();
        let why = format!("state: '{word}' is not a state; use one of {}", names.join(", "));
        ApiError::invalid_field("", why)
    })
}

/// `POST …/pause`
pub async fn pause(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    tell(&app, &caller, &request, id, RolloutCommand::Pause { reason: body.reason }).await
}

/// `POST …/resume`
pub async fn resume(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    tell(&app, &caller, &request, id, RolloutCommand::Resume).await
}

/// `POST …/stop`
pub async fn stop(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    tell(&app, &caller, &request, id, RolloutCommand::Stop { reason: body.reason }).await
}

async fn tell(
    app: &App,
    caller: &Caller,
    request: &Request,
    id: ChangeId,
    command: RolloutCommand,
) -> ApiResult<Response> {
    let state = load(app, id).await?.state;
    let rollout = under_way(&state).ok_or(RolloutRejection::NotFound);
    let rollout = rollout.map_err(|no| ApiError::from(stream::StreamError::Rejected(no)))?;
    let request = Request { if_match: None, ..request.clone() };
    let done = stream::execute::<Rollout>(&app.log, rollout.into(), &request, command).await?;
    app.engine.look_at_rollouts();
    if let Some(position) = done.position {
        let waited = app.projections.wait_for_some(&["rollouts"], position, WAIT_FOR_READ_MODELS);
        waited.await.map_err(ApiError::unavailable)?;
    }
    show(app, caller, id, StatusCode::OK, done.position).await
}

/// The rollout by which a change executes.
fn under_way(state: &ChangeState) -> Option<RolloutId> {
    match state {
        ChangeState::Executing(execution) => {
            execution.plan.parts.as_ref().map(|_| RolloutId::from(execution.run))
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    }
}

/// What a rollout that is under way waits for.
fn waits_for(progress: &RolloutProgress) -> String {
    let over = format!("{} of {} targets are over", progress.tally.sum(), progress.size);
    match (progress.state.as_str(), &progress.reason) {
        ("paused", Some(reason)) => {
            format!("{over}. Waits for an operator to let it go on. Paused: {reason}")
        }
        ("stopped", _) => format!("{over}. It was stopped, and ends with what is under way."),
        _ => format!("{over}. Goes on by itself."),
    }
}

/// Adds how far the rollout is, and gives back what the caller may do to it.
pub async fn follow(
    app: &App,
    caller: &Caller,
    state: &ChangeState,
    view: &mut ChangeView,
) -> ApiResult<Vec<(&'static str, Result<bool, RolloutRejection>)>> {
    let Some(rollout) = view.rollout.as_mut() else { return Ok(Vec::new()) };
    rollout.progress = rollouts::progress(&app.pool, view.id).await?;
    if view.state == State_::Executing
        && let Some(progress) = &rollout.progress
    {
        view.waiting_for = Some(waits_for(progress));
    }
    let Some(id) = under_way(state) else { return Ok(Vec::new()) };
    let rolling = stream::load::<Rollout>(&app.log, id.into()).await?.state;
    if !matches!(rolling, RolloutState::Rolling(_)) {
        return Ok(Vec::new());
    }
    let ask = |command| {
        let asked = Asked { by: caller.principal.clone(), at: stream::now(), command };
        Rollout::decide(&rolling, asked).map(|events| !events.is_empty())
    };
    let reason = || "probe".to_owned();
    Ok(vec![
        ("pause", ask(RolloutCommand::Pause { reason: reason() })),
        ("resume", ask(RolloutCommand::Resume)),
        ("stop", ask(RolloutCommand::Stop { reason: reason() })),
    ])
}
