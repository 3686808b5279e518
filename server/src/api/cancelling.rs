//! The wish to cancel a change that executes: its run begins no further step.
//!
//! Whether it is in time, and who may ask, is the run's to decide.

use std::time::{Duration, Instant};

use nexplane_core::aggregate::{Asked, Decider as _};
use nexplane_core::api::ChangeView;
use nexplane_core::change::{Change, ChangeCommand, ChangeRejection, ChangeState};
use nexplane_core::id::{ChangeId, RunId};
use nexplane_core::run::{Run, RunCommand, RunRejection, RunState, StepPhase};

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request, StreamError};

/// How long the wish waits for a run that is about to begin.
const BEGINS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// Cancels the change, or asks that of its run when it executes. Where the answer to it is.
pub async fn cancel(
    app: &App,
    request: &Request,
    id: ChangeId,
    reason: String,
) -> ApiResult<Option<u64>> {
    let command = ChangeCommand::Cancel { reason: reason.clone() };
    let no = match stream::execute::<Change>(&app.log, id.into(), request, command).await {
        Ok(done) => return Ok(done.position),
        Err(StreamError::Rejected(no @ ChangeRejection::NotInState { .. })) => no,
        Err(error) => return Err(error.into()),
    };
    let state = stream::load::<Change>(&app.log, id.into()).await?.state;
    let Some(run) = under_way(&state) else { return Err(no.into()) };
    let request = Request { if_match: None, correlation: id.0, ..request.clone() };
    let command = RunCommand::AskCancel { reason };
    let begun = Instant::now();
    loop {
        let asked = stream::execute::<Run>(&app.log, run.into(), &request, command.clone()).await;
        match asked {
            Err(StreamError::Rejected(RunRejection::NotFound)) if begun.elapsed() < BEGINS => {
                tokio::time::sleep(LOOK).await;
            }
            Err(StreamError::Rejected(RunRejection::NotFound)) => {
                return Err(ApiError::conflict(
                    "run.not_begun",
                    "Its run has not begun yet. Ask again in a moment.",
                ));
            }
            asked => {
                app.engine.look_at_runs();
                return Ok(asked?.position);
            }
        }
    }
}

/// The run by which a change executes that is no rollout.
fn under_way(state: &ChangeState) -> Option<RunId> {
    match state {
        ChangeState::Executing(execution) => {
            Some(execution.run).filter(|_| execution.plan.parts.is_none())
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    }
}

/// Adds that somebody asked to cancel it and what comes of that, and gives back whether the caller may ask.
pub async fn follow(
    app: &App,
    caller: &Caller,
    state: &ChangeState,
    view: &mut ChangeView,
) -> ApiResult<Option<Result<bool, RunRejection>>> {
    let Some(id) = under_way(state) else { return Ok(None) };
    let run = stream::load::<Run>(&app.log, id.into()).await?.state;
    if let RunState::Running(running) = &run
        && let Some(reason) = &running.cancel
    {
        let done = running.steps.iter().filter(|step| matches!(step, StepPhase::Verified(_)));
        let (done, all) = (done.count(), running.steps.len());
        let under_way = running.steps.iter().any(|step| {
            matches!(
                step,
                StepPhase::Intended(_) | StepPhase::Succeeded(_) | StepPhase::Unknown { .. }
            )
        });
        let until =
            if under_way { "It ends after the step that is under way" } else { "It ends now" };
        view.waiting_for = Some(format!(
            "{until}; {done} of {all} steps are done, and no other begins. Cancelled: {reason}"
        ));
    }
    let command = RunCommand::AskCancel { reason: "probe".to_owned() };
    let asked = Asked { by: caller.principal.clone(), at: stream::now(), command };
    Ok(match Run::decide(&run, asked) {
        Err(RunRejection::NotFound) => None,
        answer => Some(answer.map(|events| !events.is_empty())),
    })
}
