//! What is added to a change when somebody reads it: what it meets, and what the reader may do.

use nexplane_core::aggregate::{Asked, Decider as _, Reject};
use nexplane_core::api::{Allowed, ChangeState as State_, ChangeView};
use nexplane_core::change::event::Found;
use nexplane_core::change::{
    Change, ChangeCommand, ChangeState, Outcome, may_edit, may_override, may_plan, may_roll_back,
    may_submit,
};
use nexplane_core::freeze::{InTheWay, Meeting, meetings};
use nexplane_core::id::{ChangeId, RunId};
use nexplane_core::rollout::RolloutRejection;
use nexplane_core::run::RunRejection;
use nexplane_projections::changes;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::runtime::queue;
use crate::stream;

/// Adds what else is under way with the same targets, and whose turn it waits for.
pub async fn meet(app: &App, view: &mut ChangeView) -> ApiResult<()> {
    if !may_meet(view.state) {
        return Ok(());
    }
    meet_each(app, std::slice::from_mut(view)).await?;
    let Some(run) = view.run.as_ref().filter(|run| run.finished_at.is_none()) else {
        return Ok(());
    };
    let ahead = queue::ahead(&app.pool, run.id).await.map_err(ApiError::unavailable)?;
    let first = ahead.first().and_then(|ahead| {
        let mut conflicts = view.conflicts.iter();
        conflicts.find(|conflict| conflict.id == ahead.change).map(|found| found.number)
    });
    if let Some(number) = first {
        view.waiting_for = Some(format!(
            "Waits for its turn: change #{number} is at a target that both have, or that is related to one of this change. It goes on by itself."
        ));
    }
    Ok(())
}

/// Adds what else is under way with the same targets to many changes.
pub async fn meet_each(app: &App, views: &mut [ChangeView]) -> ApiResult<()> {
    let ids: Vec<ChangeId> =
        views.iter().filter(|view| may_meet(view.state)).map(|view| view.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut conflicts = changes::in_conflict(&app.pool, &ids).await?;
    for view in views {
        view.conflicts = conflicts.remove(&view.id).unwrap_or_default();
    }
    Ok(())
}

/// Whether it has not ended.
const fn may_meet(state: State_) -> bool {
    match state {
        State_::Draft
        | State_::Submitted
        | State_::Approved
        | State_::Scheduled
        | State_::Executing => true,
        State_::Complete
        | State_::Failed
        | State_::OutcomeUnknown
        | State_::RollingBack
        | State_::RolledBack
        | State_::RollbackPartial
        | State_::RollbackBlocked
        | State_::Rejected
        | State_::Cancelled
        | State_::Expired => false,
    }
}

/// Says that a change waits for the end of what it meets, where the policy refuses its execution until then.
pub fn wait(view: &mut ChangeView, meets: &[Meeting]) {
    if !meets.is_empty() && matches!(view.state, State_::Approved | State_::Scheduled) {
        view.waiting_for = Some(format!(
            "Waits for the end of what it meets, and cannot be executed before: {}",
            meetings(meets)
        ));
    }
}

/// What the caller may do now, asked of the decisions themselves.
pub fn allowed(
    state: &ChangeState,
    caller: &Caller,
    (in_the_way, overdue): &(InTheWay, Vec<ChangeId>),
    policy_version: u32,
    review_required: bool,
    rollout: Vec<(&'static str, Result<bool, RolloutRejection>)>,
) -> Vec<Allowed> {
    use ChangeCommand as C;
    let (by, at) = (&caller.principal, stream::now());
    let digest = state.plan().map(|plan| plan.digest.clone()).unwrap_or_default();
    let reason = || "probe".to_owned();
    // What is done already is accepted, and does nothing.
    let ask = |command: C| {
        Change::decide(state, Asked { by: by.clone(), at, command })
            .map(|events| !events.is_empty())
    };
    let mut questions = vec![
        ("edit", may_edit(state, by).map(|_| true)),
        ("plan", may_plan(state, by).map(|_| true)),
        ("submit", may_submit(state, by, at, policy_version).map(|plan| plan.is_some())),
        (
            "approve",
            ask(C::Approve {
                digest: digest.clone(),
                comment: None,
                frozen: in_the_way.frozen.clone(),
            }),
        ),
        ("reject", ask(C::Reject { reason: reason() })),
        ("withdraw", ask(C::Withdraw)),
        ("cancel", ask(C::Cancel { reason: reason() })),
        (
            "execute",
            ask(C::StartExecution { run: RunId(Uuid::nil()), in_the_way: in_the_way.clone() }),
        ),
        ("rollback", may_roll_back(state, by, at, &[]).map(|_| true)),
    ];
    if matches!(state, ChangeState::Submitted(_) | ChangeState::Approved(_)) {
        let (frozen, overdue) = (in_the_way.frozen.clone(), overdue.clone());
        let command = C::BreakGlass { digest, justification: reason(), frozen, overdue };
        questions.push(("break_glass", ask(command)));
    }
    if in_the_way.closed.is_some() {
        questions.push(("override_window", may_override(state, by).map(|_| true)));
    }
    if !in_the_way.frozen.is_empty() {
        questions.push(("override_freeze", may_override(state, by).map(|_| true)));
    }
    if matches!(state, ChangeState::Finished(finish) if finish.how == Outcome::Unknown) {
        let finding = Found::Applied;
        questions.push(("settle", ask(C::Settle { finding, evidence: reason(), read: None })));
    }
    if review_required {
        questions.push(("review", ask(C::Review { comment: reason() })));
    }
    questions
        .into_iter()
        .filter_map(answered)
        .chain(rollout.into_iter().filter_map(answered))
        .collect()
}

/// While it executes, whether it may be cancelled is for its run to say.
pub fn allow_cancel(allowed: &mut Vec<Allowed>, asked: Option<Result<bool, RunRejection>>) {
    if let Some(asked) = asked {
        allowed.retain(|known| known.action != "cancel");
        allowed.extend(answered(("cancel", asked)));
    }
}

/// What the answer to a question is for the reader; none when there is nothing to do.
fn answered<R: Reject>((action, asked): (&str, Result<bool, R>)) -> Option<Allowed> {
    let (code, why_not) = match asked {
        Ok(false) => return None,
        Ok(true) => (None, None),
        Err(no) => (Some(no.code().to_owned()), Some(no.to_string())),
    };
    Some(Allowed { action: action.to_owned(), ok: code.is_none(), code, why_not })
}
