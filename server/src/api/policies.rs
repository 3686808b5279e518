//! `/policies`: the approval policy in all its versions, and drafts of it held against the past.
//!
//! The list is folded from the policy's own stream, so it is never behind. A simulation reads the
//! newest submission of each change, newest first, in small portions; it stops after so many or so
//! long and says so. Two run at a time in one process.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{
    FieldError, Page, PolicyView, PublishPolicyRequest, SimulatePolicyRequest, SimulationView,
};
use nexplane_core::event::Event;
use nexplane_core::id::PersonId;
use nexplane_core::policy::event::PolicyEvent;
use nexplane_core::policy::{
    Analysis, Ask, Fault, Known, POLICY, Policy, PolicyCommand, PolicyDocument, PolicyState,
    Simulation, Then, analyse, faults,
};
use nexplane_projections::changes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use super::guard::{JsonBody, Query, answer, catch_up};
use crate::app::App;
use crate::policy::current;
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// Changes that one simulation compares at most.
const MAX_COMPARED: u64 = 50_000;
/// How long one simulation compares at most.
const MAX_TIME: Duration = Duration::from_secs(10);
/// Changes that are in memory at a time.
const PORTION: u32 = 500;

static SIMULATIONS: Semaphore = Semaphore::const_new(2);

/// What was found in a document and the one before it never changes. Held while one is examined.
static EXAMINED: LazyLock<Mutex<HashMap<[u8; 32], Analysis>>> = LazyLock::new(Mutex::default);

/// More than an installation has versions.
const MAX_EXAMINED: usize = 1000;

/// `GET /policies`: newest first.
pub async fn list(
    State(app): State<App>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Response> {
    let limit = usize::try_from(super::limit(query.limit)?.unwrap_or(50)).unwrap_or(50);
    let before = match query.cursor.as_deref().map(str::parse::<u32>) {
        None => u32::MAX,
        Some(Ok(before)) => before,
        Some(Err(_)) => {
            return Err(ApiError::malformed("The cursor is not one that this list gave out."));
        }
    };
    let mut items = views(&app).await?;
    items.retain(|view| view.version < before);
    let rest = items.split_off(items.len().saturating_sub(limit));
    // What comes before the page is what its oldest version is compared with.
    let older = items.last().map(|view| view.document.clone());
    let next_cursor = older.as_ref().and(rest.first()).map(|view| view.version.to_string());
    let mut items = examined(rest, older).await?;
    items.reverse();
    name(&app, &mut items).await?;
    Ok(axum::Json(Page { items, next_cursor }).into_response())
}

/// `POST /policies`
pub async fn publish(
    State(app): State<App>,
    request: Request,
    JsonBody(body): JsonBody<PublishPolicyRequest>,
) -> ApiResult<Response> {
    let PublishPolicyRequest { document, note, based_on } = body;
    name_people(&app, &document).await?;
    // The same request again is answered with what it published, whatever is in force by now.
    let version = based_on.saturating_add(1);
    let command = PolicyCommand::Publish { document, note, based_on };
    let done = stream::execute::<Policy>(&app.log, POLICY.into(), &request, command).await?;
    let mut items = views(&app).await?;
    let place = items.iter().position(|view| view.version == version);
    let place = place.ok_or_else(|| ApiError::not_found("policy version"))?;
    let view = items.swap_remove(place);
    let older = place.checked_sub(1).and_then(|before| items.get(before));
    let mut items = examined(vec![view], older.map(|view| view.document.clone())).await?;
    name(&app, &mut items).await?;
    let view = items.pop().ok_or_else(|| ApiError::not_found("policy version"))?;
    Ok(answer(StatusCode::CREATED, &view, done.version, done.position))
}

/// `POST /policies/simulate`: changes nothing.
pub async fn simulate(
    State(app): State<App>,
    JsonBody(body): JsonBody<SimulatePolicyRequest>,
) -> ApiResult<axum::Json<SimulationView>> {
    let draft = body.document;
    let _turn = SIMULATIONS.try_acquire().map_err(|_| ApiError::overloaded())?;
    let checked = draft.clone();
    let checking = tokio::task::spawn_blocking(move || faults(&checked));
    let wrong = checking.await.map_err(ApiError::internal)?;
    if !wrong.is_empty() {
        return Err(ApiError::invalid(in_body(wrong)));
    }
    name_people(&app, &draft).await?;
    let in_force = current(&app.log).await?.state.document;
    let analysis = examine(draft.clone(), Some(in_force)).await?;
    catch_up(&app, &["changes"]).await?;
    let (simulation, cut) = replay(&app, &draft).await?;
    Ok(axum::Json(SimulationView { simulation, cut, text: draft.text(), analysis }))
}

async fn replay(app: &App, draft: &PolicyDocument) -> ApiResult<(Simulation, bool)> {
    let begun = Instant::now();
    let mut simulation = Simulation::default();
    let (mut seen, mut before) = (0, None);
    loop {
        let portion = changes::submissions(&app.pool, before, PORTION).await?;
        let Some(last) = portion.last() else { return Ok((simulation.finish(), false)) };
        if seen >= MAX_COMPARED || begun.elapsed() > MAX_TIME {
            return Ok((simulation.finish(), true));
        }
        before = Some(last.number);
        seen += portion.len() as u64;
        for submission in &portion {
            simulation.replay(draft, submission);
        }
    }
}

/// Every version, oldest first, not yet examined.
async fn views(app: &App) -> ApiResult<Vec<PolicyView>> {
    let events = stream::history(&app.log, POLICY.into(), None).await?;
    let PolicyState { version, document } = PolicyState::default();
    let mut views = vec![view(version, document)];
    for recorded in events {
        let Event::Policy(PolicyEvent::Published { version, document, note }) = recorded.event
        else {
            continue;
        };
        views.push(PolicyView {
            note: Some(note),
            published_by: Some(PersonId(recorded.header.actor.id)),
            published_at: Some(recorded.header.at),
            ..view(version, document)
        });
    }
    if let Some(last) = views.last_mut() {
        last.current = true;
    }
    Ok(views)
}

fn view(version: u32, document: PolicyDocument) -> PolicyView {
    PolicyView {
        version,
        current: false,
        text: document.text(),
        document,
        analysis: Analysis::default(),
        note: None,
        published_by: None,
        published_at: None,
        names: std::collections::BTreeMap::new(),
    }
}

/// Examines versions that follow each other, each against the one before.
async fn examined(
    views: Vec<PolicyView>,
    older: Option<PolicyDocument>,
) -> ApiResult<Vec<PolicyView>> {
    let mut before = older;
    let mut done = Vec::with_capacity(views.len());
    for view in views {
        let document = view.document.clone();
        let analysis = examine(document.clone(), before.replace(document)).await?;
        done.push(PolicyView { analysis, ..view });
    }
    Ok(done)
}

/// It takes a moment of computing, which is not to hold anybody else up: one at a time, and each once.
async fn examine(document: PolicyDocument, before: Option<PolicyDocument>) -> ApiResult<Analysis> {
    let key: [u8; 32] =
        Sha256::digest(serde_json::to_vec(&(&document, &before)).map_err(ApiError::internal)?)
            .into();
    let mut known = EXAMINED.lock().await;
    if let Some(analysis) = known.get(&key) {
        return Ok(analysis.clone());
    }
    let examining = tokio::task::spawn_blocking(move || analyse(&document, before.as_ref()));
    let analysis = examining.await.map_err(ApiError::internal)?;
    if known.len() >= MAX_EXAMINED {
        known.clear();
    }
    known.insert(key, analysis.clone());
    Ok(analysis)
}

/// Nobody is waited for whom nobody knows: a slip of the pen would keep changes from being submitted.
async fn name_people(app: &App, document: &PolicyDocument) -> ApiResult<()> {
    let named: Vec<String> =
        document.pools().flat_map(|pool| &pool.people).map(|name| Known::key(name)).collect();
    let known = app.directory.called(&named).await?;
    let mut faults = Vec::new();
    for (no, rule) in document.rules.iter().enumerate() {
        let Then::Ask(Ask { from: Some(pool), .. }) = &rule.then else { continue };
        for (place, name) in pool.people.iter().enumerate() {
            if !known.contains_key(&Known::key(name)) {
                faults.push(Fault {
                    pointer: format!("/rules/{no}/then/ask/from/people/{place}"),
                    reason: "nobody here has this e-mail address, or this id".to_owned(),
                });
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(in_body(faults))) }
}

/// What is wrong with a document, where it stands in a request.
pub fn in_body(faults: Vec<Fault>) -> Vec<FieldError> {
    faults
        .into_iter()
        .map(|fault| FieldError::new(format!("/document{}", fault.pointer), fault.reason))
        .collect()
}

async fn name(app: &App, views: &mut [PolicyView]) -> ApiResult<()> {
    let people: BTreeSet<Uuid> =
        views.iter().filter_map(|view| view.published_by).map(|person| person.0).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = app.directory.names(&people).await?;
    for view in views {
        let ids = view.published_by.map(|person| person.0);
        view.names = ids
            .into_iter()
            .filter_map(|id| Some((id.to_string(), names.get(&id)?.clone())))
            .collect();
    }
    Ok(())
}
