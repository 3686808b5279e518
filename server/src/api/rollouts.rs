//! What one can ask of a change on many targets as a whole: how far it is, and the brakes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use nexplane_core::aggregate::{Asked, Decider as _};
use nexplane_core::api::{ChangeState as State_, ChangeView, ReasonRequest, RolloutProgress};
use nexplane_core::change::ChangeState;
use nexplane_core::id::{ChangeId, RolloutId};
use nexplane_core::rollout::{Rollout, RolloutCommand, RolloutRejection, RolloutState};
use nexplane_projections::rollouts;

use super::changes::{load, show};
use super::guard::{Id, JsonBody, WAIT_FOR_READ_MODELS};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

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
        // The brake is on; that it is not to be seen yet is no reason to say otherwise.
        let _ = app.projections.wait_for_some(&["rollouts"], position, WAIT_FOR_READ_MODELS).await;
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
    // A change that is over has no target left that is under way: this read model is to be no older
    // than the one that the rest comes from. Late is not wrong.
    if matches!(state, ChangeState::Executing(_) | ChangeState::Finished(_)) {
        let at = view.position;
        let _ = app.projections.wait_for_some(&["rollouts"], at, WAIT_FOR_READ_MODELS).await;
    }
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
