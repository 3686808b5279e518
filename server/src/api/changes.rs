//! `/change-requests` and what one can do with them.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::aggregate::{Asked, Decider as _, Reject as _};
use nexplane_core::api::{
    ApproveRequest, ChangeState as State_, ChangeView, EventView, InboxItem, Page, ReasonRequest,
    SettleRequest,
};
use nexplane_core::change::{
    Change, ChangeCommand, ChangeRejection, ChangeState, is_in_time, may_execute, may_plan,
    may_roll_back, rollback_draft,
};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId, StreamId};
use nexplane_core::plan::Plan;
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes;
use serde::Deserialize;
use uuid::Uuid;

use super::guard::{Id, JsonBody, Query, WAIT_FOR_READ_MODELS, answer, catch_up};
use super::{approvers, cancelling, freezes, glass, home, names, projects, reading, rollouts};
use crate::app::App;
use crate::approving::{self, ApprovingFor};
use crate::auth::Caller;
use crate::calendar::{About, Gated, Sheet};
use crate::policy::{self, Submitting};
use crate::problem::{ApiError, ApiResult};
use crate::runtime::{self, reread};
use crate::stream::{self, Done, Loaded, Request, StreamError};

/// How often a change that is edited meanwhile is assessed again before it is submitted.
const ASSESSMENTS: u32 = 4;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// One or more states, separated by commas.
    state: Option<String>,
    q: Option<String>,
    requester: Option<PersonId>,
    change_type: Option<String>,
    connection: Option<ConnectionId>,
    target: Option<AssetId>,
    /// One or more levels, separated by commas.
    risk: Option<String>,
    environment: Option<Environment>,
    /// `me`: what asks something of whoever asks. `review`: what ended and is to be reviewed by anybody.
    waits: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// The names in a list with commas.
fn listed<T>(
    name: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> ApiResult<Vec<T>> {
    let names = text.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let read: Result<Vec<T>, String> = names.map(read).collect();
    read.map_err(|why| ApiError::invalid_field("", format!("{name}: {why}")))
}

fn risk_level(text: &str) -> Result<RiskLevel, String> {
    let all = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
    all.into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| format!("'{text}' is not a level; use one of low, medium, high, critical"))
}

/// `GET /change-requests`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Response> {
    let states = listed("state", query.state.as_deref(), str::parse::<State_>)?;
    let risk = listed("risk", query.risk.as_deref(), risk_level)?;
    let (ids, to_review) = match query.waits.as_deref() {
        None => (None, false),
        Some("me") => (Some(home::waiting_for(&app, &caller).await?), false),
        Some("review") => (None, true),
        Some(_) => return Err(ApiError::invalid_field("", "waits: use me or review")),
    };
    let filter = changes::ChangeFilter {
        states,
        q: query.q,
        requester: query.requester,
        change_type: query.change_type,
        connection: query.connection,
        target: query.target,
        rollback_of: None,
        risk,
        environment: query.environment,
        ids,
        to_review,
    };
    let order = changes::ChangeOrder::Number;
    let limit = super::limit(query.limit)?;
    let mut page = changes::list(&app.pool, &filter, order, query.cursor.as_deref(), limit).await?;
    freezes::mark(&app, &mut page.items).await?;
    names::of_changes(&app, page.items.iter_mut()).await?;
    Ok(axum::Json(page).into_response())
}

/// `GET /change-requests/{id}`, also as of any moment.
pub async fn show_one(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<super::AtQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let id = change_id(&app, &id).await?;
    let Some(position) = query.position(&app, "change request").await? else {
        let response = show(&app, &caller, id, StatusCode::OK, None).await?;
        let unchanged = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|tag| response.headers().get(header::ETAG) == Some(tag));
        if unchanged {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
        return Ok(response);
    };
    let mut view = changes::as_of(&app.pool, &app.log, id, position)
        .await?
        .ok_or_else(|| ApiError::not_found("change request at that moment"))?;
    names::of_changes(&app, std::iter::once(&mut view)).await?;
    Ok(answer(StatusCode::OK, &view, view.version, Some(view.position)))
}

/// `POST …/plan`
pub async fn plan(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    let state = load(&app, id).await?.state;
    if let Err(no) = may_plan(&state, &request.by) {
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    if let Err(no) = undo_is_in_time(&app, &state, request.at).await? {
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    let plan = make_plan(&app, id, &state, &request).await?;
    let command = ChangeCommand::RecordPlan { plan: Box::new(plan) };
    tell(&app, &caller, &request, id, command).await
}

async fn make_plan(
    app: &App,
    id: ChangeId,
    state: &ChangeState,
    request: &Request,
) -> ApiResult<Plan> {
    let subject = state.subject().ok_or(ChangeRejection::NotFound)?;
    Ok(match subject.rollback_of {
        None => app.planner.plan(id, subject, request).await?,
        Some(original) => {
            let undone = load(app, original).await?.state;
            app.planner.plan_rollback(id, subject, &undone, request).await?
        }
    })
}

/// `POST …/submit`
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    let mut attempts = 0;
    let done = loop {
        attempts += 1;
        let Loaded { state, version } = load(&app, id).await?;
        if let Err(no) = undo_is_in_time(&app, &state, request.at).await? {
            return unless_done(&app, &caller, &request, id, no.into()).await;
        }
        let (environment, risk) = assess(&app, &state).await?;
        let submitting = Submitting { log: &app.log, directory: &app.directory, environment, risk };
        // What is submitted is what was assessed.
        let asked = Request { if_match: request.if_match.or(Some(version)), ..request.clone() };
        match stream::execute_prepared(&app.log, id.into(), &asked, &submitting).await {
            Err(StreamError::Stale { .. })
                if request.if_match.is_none() && attempts < ASSESSMENTS => {}
            answer => break answer?,
        }
    };
    show(&app, &caller, id, StatusCode::OK, done.position).await
}

/// Whether what a rollback undoes can be undone still. Asked again when the run begins.
async fn undo_is_in_time(
    app: &App,
    state: &ChangeState,
    at: Timestamp,
) -> ApiResult<Result<(), ChangeRejection>> {
    match state.subject().and_then(|subject| subject.rollback_of) {
        Some(original) => Ok(is_in_time(&load(app, original).await?.state, at)),
        None => Ok(Ok(())),
    }
}

/// What the environment is, and how risky the planned change.
async fn assess(app: &App, state: &ChangeState) -> ApiResult<(Environment, Risk)> {
    let subject = state.subject().ok_or(ChangeRejection::NotFound)?;
    Ok(runtime::assess(&app.targets, &app.pool, &subject.draft).await?)
}

/// `POST …/approve`
pub async fn approve(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ApproveRequest>,
) -> ApiResult<Response> {
    let ApproveRequest { plan_digest: digest, comment, delegator } = body;
    if let Some(name) = delegator {
        let delegator = approving::person(&app.directory, "/for", &name).await?;
        let approving = ApprovingFor { pool: &app.pool, log: &app.log, delegator, digest, comment };
        let done = stream::execute_prepared(&app.log, id.into(), &request, &approving).await?;
        return show(&app, &caller, id, StatusCode::OK, done.position).await;
    }
    let command = |in_the_way: InTheWay| {
        let (digest, comment) = (digest.clone(), comment.clone());
        ChangeCommand::Approve { digest, comment, frozen: in_the_way.frozen }
    };
    tell_gated(&app, &caller, &request, id, command).await
}

/// `POST …/reject`
pub async fn reject(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    tell(&app, &caller, &request, id, ChangeCommand::Reject { reason: body.reason }).await
}

/// `POST …/withdraw`
pub async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    tell(&app, &caller, &request, id, ChangeCommand::Withdraw).await
}

/// `POST …/cancel`: for good while nothing runs; while it executes, no further step begins.
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> ApiResult<Response> {
    let position = cancelling::cancel(&app, &request, id, body.reason).await?;
    show(&app, &caller, id, StatusCode::OK, position).await
}

/// `POST …/execute`: re-checks everything, reads the target once more, and hands over to the
/// runtime; or schedules it for when its window opens.
pub async fn execute(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    let state = load(&app, id).await?.state;
    let approval = match may_execute(&state, &request.by, request.at) {
        Ok(approval) => approval,
        Err(no) => return unless_done(&app, &caller, &request, id, no.into()).await,
    };
    // Asked again with the append; there is no need to read a target for nothing.
    let InTheWay { frozen, closed, waits_for, meets } = freezes::in_the_way(&app, &state).await?;
    if !frozen.is_empty() {
        let no = ChangeRejection::Frozen { frozen };
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    if !waits_for.is_empty() {
        let no = ChangeRejection::DependencyMissing { waits_for };
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    if !meets.is_empty() {
        let no = ChangeRejection::Conflict { meets };
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    let plan = &approval.submission.plan;
    let window = approval.submission.subject.draft.window;
    let waits = closed.is_some() || window.is_some_and(|window| request.at < window.start);
    // A rollback compares with what its step left behind, right before it undoes it.
    if waits {
        // It is looked at when it opens.
    } else if let Some(original) = approval.submission.subject.rollback_of {
        // Asked again when the run begins.
        let undone = load(&app, original).await?.state;
        let later = later_applied(&app, original, &undone).await?;
        if let Err(no) = may_roll_back(&undone, &request.by, request.at, &later) {
            return unless_done(&app, &caller, &request, id, no.into()).await;
        }
    } else {
        let moved = app.planner.moved(id, plan, &request).await?;
        if !moved.is_empty() {
            let no = ChangeRejection::PlanMoved { moved: moved.join(", ") };
            return unless_done(&app, &caller, &request, id, no.into()).await;
        }
    }
    let run = RunId(Uuid::now_v7());
    let command = |in_the_way| ChangeCommand::StartExecution { run, in_the_way };
    tell_gated(&app, &caller, &request, id, command).await
}

/// `POST …/settle`: what a person found, when nobody could read the target back.
pub async fn settle(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
    JsonBody(body): JsonBody<SettleRequest>,
) -> ApiResult<Response> {
    let SettleRequest { finding, evidence } = body;
    let command = |read| ChangeCommand::Settle { finding, evidence: evidence.clone(), read };
    let state = load(&app, id).await?.state;
    let asked = Asked { by: request.by.clone(), at: request.at, command: command(None) };
    if let Err(no) = Change::decide(&state, asked) {
        return unless_done(&app, &caller, &request, id, no.into()).await;
    }
    // The target may be back since the run gave up.
    let read = match &state {
        ChangeState::Finished(finish) => {
            let system = request.as_system("read again");
            reread(&app.targets, id, finish.execution.run, &system).await
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Executing(_)
        | ChangeState::Closed(_) => None,
    };
    tell(&app, &caller, &request, id, command(read)).await
}

/// `POST …/rollback`: drafts, plans and submits a change that undoes this one.
pub async fn rollback(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    Id(id): Id<ChangeId>,
) -> ApiResult<Response> {
    let original = load(&app, id).await?.state;
    let later = later_applied(&app, id, &original).await?;
    let change = ChangeId(request.command.0);
    let execution = match may_roll_back(&original, &request.by, request.at, &later) {
        Ok(execution) => execution,
        Err(no) => {
            let answer = unless_done(&app, &caller, &request, change, no.into()).await?;
            return Ok((StatusCode::CREATED, answer).into_response());
        }
    };
    let subject = &execution.subject;
    let draft = rollback_draft(id, &subject.draft);
    let request = Request { if_match: None, ..request };
    let command = ChangeCommand::Draft { draft, rollback_of: Some(id) };
    stream::execute::<Change>(&app.log, change.into(), &request, command).await?;
    let state = load(&app, change).await?.state;
    let plan = make_plan(&app, change, &state, &request).await?;
    let planned = request.also("plan");
    let command = ChangeCommand::RecordPlan { plan: Box::new(plan) };
    let done = stream::execute::<Change>(&app.log, change.into(), &planned, command).await?;
    let mut position = done.position;
    // A machine proposes; a person has to submit it.
    if !caller.is_machine() {
        let (environment, risk) = assess(&app, &done.state).await?;
        let submitted = Request { if_match: Some(done.version), ..request.also("submit") };
        let submitting = Submitting { log: &app.log, directory: &app.directory, environment, risk };
        let done =
            stream::execute_prepared(&app.log, change.into(), &submitted, &submitting).await?;
        position = done.position.or(position);
    }
    show(&app, &caller, change, StatusCode::CREATED, position).await
}

/// What was applied to a target of the change afterwards and still stands. Looked up in the read
/// model: a late one would miss some of it.
async fn later_applied(app: &App, id: ChangeId, change: &ChangeState) -> ApiResult<Vec<ChangeId>> {
    catch_up(app, &["changes"]).await?;
    let Some(subject) = change.subject() else { return Ok(Vec::new()) };
    let later = changes::later_applied(&app.pool, id, &subject.draft.targets).await?;
    Ok(later.into_iter().map(|later| later.id).collect())
}

/// `GET …/events`
pub async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<axum::Json<Page<EventView>>> {
    let id = change_id(&app, &id).await?;
    let state = load(&app, id).await?.state;
    let limit = super::limit(query.limit)?;
    let whole = state.subject().is_some_and(|subject| subject.draft.rollout.is_some());
    let cursor = query.cursor.as_deref();
    let mut page =
        nexplane_projections::audit::of_change(&app.pool, id, whole, cursor, limit).await?;
    names::of_events(&app, page.items.iter_mut()).await?;
    Ok(axum::Json(page))
}

/// `GET /approvals/inbox`
pub async fn inbox(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<axum::Json<Page<InboxItem>>> {
    let limit = super::limit(query.limit)?;
    let Page { items: mut views, next_cursor } =
        changes::inbox(&app.pool, query.cursor.as_deref(), limit).await?;
    let sheet = Sheet::read(&app.log, app.moment()).await?;
    // Everything is asked for all rows together: there may be as many as a page has.
    let streams: Vec<StreamId> = views.iter().map(|view| view.id.into()).collect();
    let loaded = stream::load_each::<Change>(&app.log, &streams).await?;
    views.retain(|view| loaded.contains_key(&view.id.into()));
    reading::meet_each(&app, &mut views).await?;
    names::of_changes(&app, views.iter_mut()).await?;
    let state = |view: &ChangeView| loaded.get(&view.id.into()).map(|loaded| &loaded.state);
    let abouts = views.iter().filter_map(|view| Some((view.id, About::of(state(view)?)?)));
    let (ids, abouts): (Vec<ChangeId>, Vec<About<'_>>) = abouts.unzip();
    let looked = sheet.look_each(&app.log, &abouts).await?.into_iter();
    let mut frozen: HashMap<_, _> =
        ids.into_iter().zip(looked.map(|looked| looked.in_the_way.frozen)).collect();
    let mut items = Vec::with_capacity(views.len());
    for mut change in views {
        let Some(state) = state(&change) else { continue };
        if change.review_due.is_some() {
            items.extend(glass::to_review(&caller, change, state));
            continue;
        }
        // The row may be a moment behind.
        let ChangeState::Submitted(submission) = state else { continue };
        let frozen = frozen.remove(&change.id).unwrap_or_default();
        let who = approvers::wait(&app, state, &mut change).await?;
        freezes::wait(&mut change, &frozen);
        let digest = submission.plan.digest.clone();
        let command = ChangeCommand::Approve { digest, comment: None, frozen };
        let asked = Asked { by: caller.principal.clone(), at: stream::now(), command };
        let given = submission.approvals.iter().any(|given| given.by == caller.person);
        let (code, why_not) = match Change::decide(state, asked) {
            Ok(_) if given => {
                (Some("change.approved_already".to_owned()), Some("You approved it.".to_owned()))
            }
            Ok(_) => (None, None),
            Err(no) => {
                (Some(no.code().to_owned()), Some(approvers::explained(&no, who.as_deref())))
            }
        };
        let may_approve = code.is_none();
        items.push(InboxItem { change, may_approve, may_review: false, code, why_not });
    }
    Ok(axum::Json(Page { items, next_cursor }))
}

/// The change as its stream says now.
pub async fn load(app: &App, id: ChangeId) -> ApiResult<Loaded<Change>> {
    let loaded = stream::load::<Change>(&app.log, id.into()).await?;
    if loaded.version == 0 {
        return Err(ApiError::not_found("change request"));
    }
    Ok(loaded)
}

/// Gives a command to a change and answers with the change.
pub async fn tell(
    app: &App,
    caller: &Caller,
    request: &Request,
    id: ChangeId,
    command: ChangeCommand,
) -> ApiResult<Response> {
    let done: Done<Change> =
        stream::execute::<Change>(&app.log, id.into(), request, command).await?;
    show(app, caller, id, StatusCode::OK, done.position).await
}

/// The same with a command that no freeze lets pass, made of what is in the way.
pub async fn tell_gated(
    app: &App,
    caller: &Caller,
    request: &Request,
    id: ChangeId,
    command: impl Fn(InTheWay) -> ChangeCommand + Send + Sync,
) -> ApiResult<Response> {
    let gated = Gated { log: &app.log, pool: &app.pool, command };
    let done = stream::execute_prepared(&app.log, id.into(), request, &gated).await?;
    show(app, caller, id, StatusCode::OK, done.position).await
}

/// Answers a request that cannot be carried out: with the change when it is because the same request
/// was carried out before, otherwise with the error.
pub async fn unless_done(
    app: &App,
    caller: &Caller,
    request: &Request,
    id: ChangeId,
    error: ApiError,
) -> ApiResult<Response> {
    match stream::written(&app.log, request).await? {
        Some(position) => show(app, caller, id, StatusCode::OK, Some(position)).await,
        None => Err(error),
    }
}

/// The change as its read model says, once that contains `position`.
pub async fn show(
    app: &App,
    caller: &Caller,
    id: ChangeId,
    status: StatusCode,
    position: Option<u64>,
) -> ApiResult<Response> {
    let waited = match position {
        Some(position) => {
            app.projections.wait_for_some(&["changes"], position, WAIT_FOR_READ_MODELS).await
        }
        None => Ok(()),
    };
    let mut view = match (changes::find(&app.pool, id).await?, waited) {
        // Late is not wrong: the answer says which position it is of.
        (Some(view), _) => view,
        // It was written; that it is not to be seen yet is not that there is none.
        (None, Err(late)) => return Err(ApiError::behind(late)),
        (None, Ok(())) => return Err(ApiError::not_found("change request")),
    };
    let state = load(app, id).await?.state;
    let in_the_way = freezes::in_the_way(app, &state).await?;
    projects::wait(&mut view, &in_the_way.waits_for);
    let who = approvers::wait(app, &state, &mut view).await?;
    freezes::wait(&mut view, &in_the_way.frozen);
    reading::meet(app, &mut view).await?;
    reading::wait(&mut view, &in_the_way.meets);
    let policy_version = policy::current(&app.log).await?.state.version;
    let rollout = rollouts::follow(app, caller, &state, &mut view).await?;
    let is_due = view.review_required;
    let cancel = cancelling::follow(app, caller, &state, &mut view).await?;
    let overdue = glass::overdue(app, &caller.principal, stream::now()).await?;
    let against = (in_the_way, overdue);
    view.allowed = reading::allowed(&state, caller, &against, policy_version, is_due, rollout);
    reading::allow_cancel(&mut view.allowed, cancel);
    approvers::explain(who.as_deref(), &mut view.allowed);
    names::of_changes(app, std::iter::once(&mut view)).await?;
    let position = position.unwrap_or(view.position).max(view.position);
    Ok(answer(status, &view, view.version, Some(position)))
}

/// A change by id, or by the number that people see.
pub async fn change_id(app: &App, text: &str) -> ApiResult<ChangeId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let number: u64 =
        text.trim_start_matches('#').parse().map_err(|_| ApiError::not_found("change request"))?;
    changes::find_by_number(&app.pool, number)
        .await?
        .ok_or_else(|| ApiError::not_found("change request"))
}
