//! Breaking glass for a change, and what is to be reviewed after that.

use axum::extract::State;
use axum::response::Response;
use nexplane_core::actor::Role;
use nexplane_core::aggregate::{Asked, Decider as _, Principal, Reject as _};
use nexplane_core::api::{BreakGlassRequest, ChangeView, InboxItem};
use nexplane_core::change::{Change, ChangeCommand, ChangeRejection, ChangeState};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use nexplane_projections::changes;

use super::changes::tell_gated;
use super::guard::{Id, JsonBody, catch_up};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::ApiResult;
use crate::stream::{self, Request};

/// `POST /change-requests/{id}/break-glass`
pub async fn break_glass(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<BreakGlassRequest>,
) -> ApiResult<Response> {
    let BreakGlassRequest { plan_digest, justification } = body;
    // A late read model would miss what is overdue.
    catch_up(&app, &["changes"]).await?;
    let overdue = overdue(&app, &request.by, request.at).await?;
    let command = |in_the_way: InTheWay| ChangeCommand::BreakGlass {
        digest: plan_digest.clone(),
        justification: justification.clone(),
        frozen: in_the_way.frozen,
        overdue: overdue.clone(),
    };
    tell_gated(&app, &caller, &request, id, command).await
}

/// Changes for which they broke glass, and which nobody has reviewed in time.
pub async fn overdue(app: &App, by: &Principal, at: Timestamp) -> ApiResult<Vec<ChangeId>> {
    match by.actor.person().filter(|_| by.has(Role::Responder)) {
        Some(person) => Ok(changes::overdue(&app.pool, person, at).await?),
        None => Ok(Vec::new()),
    }
}

/// The row of an inbox for a change that has ended; none when it was reviewed meanwhile.
pub fn to_review(caller: &Caller, change: ChangeView, state: &ChangeState) -> Option<InboxItem> {
    let command = ChangeCommand::Review { comment: "probe".to_owned() };
    let asked = Asked { by: caller.principal.clone(), at: stream::now(), command };
    let (code, why_not) = match Change::decide(state, asked) {
        Ok(_) => (None, None),
        Err(ChangeRejection::NoReviewDue) => return None,
        Err(no) => (Some(no.code().to_owned()), Some(no.to_string())),
    };
    Some(InboxItem { change, may_approve: false, may_review: code.is_none(), code, why_not })
}
