//! `GET /home`: the reader's own day, from the same read models and decisions as the lists themselves.
//!
//! Every part is bounded, and read from an index: what an installation has a hundred times more of does not make
//! this slower. Deliberately absent: whatever a list says anyway; each part leads to its list.

mod agenda;
mod asks;
mod health;

use axum::Json;
use axum::extract::State;
use nexplane_core::actor::Role;
use nexplane_core::api::{FirstStep, HomeItem, HomeList, HomeView, StepName};
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use nexplane_projections::{changes, inventory};
use serde::Deserialize;

use super::guard::Query;
use super::names;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// Rows of each part.
const SHOWN: u32 = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomeQuery {
    /// What ended after this moment is shown; without it, what ended within the last seven days.
    since: Option<Timestamp>,
}

/// Seconds of seven days.
const WEEK_S: i64 = 7 * 24 * 3_600;

/// `GET /home`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HomeQuery>,
) -> ApiResult<Json<HomeView>> {
    let at = app.moment().unwrap_or_else(stream::now);
    let (asks, running, ended, gaps, (agenda, agenda_more), (health, connections)) = tokio::try_join!(
        asks::of(&app, &caller, at),
        async {
            let found = changes::of_requester(&app.pool, caller.person, &asks::RUNNING, SHOWN);
            Ok(list(found.await?))
        },
        ended(&app, &caller, query.since, at),
        gaps(&app, &caller),
        agenda::of(&app, at),
        health::of(&app, at),
    )?;
    let (mut decide, mut next) = (asks.decide, asks.next);
    for part in [&mut decide, &mut next] {
        let shown = usize::try_from(SHOWN).unwrap_or(usize::MAX);
        part.more |= part.items.len() > shown;
        part.items.truncate(shown);
    }
    let mut view = HomeView {
        at,
        decide,
        next,
        running,
        ended,
        gaps,
        agenda,
        agenda_more,
        health,
        steps: steps(&app, connections).await?,
    };
    let gaps = view.gaps.iter_mut().flat_map(|gaps| &mut gaps.items);
    let rest = [&mut view.decide, &mut view.next, &mut view.running, &mut view.ended];
    let shown = rest.into_iter().flat_map(|part| &mut part.items).chain(gaps);
    names::of_changes(&app, shown.map(|item| &mut item.change)).await?;
    Ok(Json(view))
}

/// The changes that ask something of the caller, as far as the home page would look.
pub async fn waiting_for(app: &App, caller: &Caller) -> ApiResult<Vec<ChangeId>> {
    let at = app.moment().unwrap_or_else(stream::now);
    let asks::Asks { decide, next } = asks::of(app, caller, at).await?;
    Ok(decide.items.iter().chain(&next.items).map(|item| item.change.id).collect())
}

fn list(found: changes::Asking) -> HomeList {
    let item =
        |candidate: changes::Candidate| HomeItem { change: candidate.view, ask: None, until: None };
    HomeList { items: found.changes.into_iter().map(item).collect(), more: found.more }
}

async fn ended(
    app: &App,
    caller: &Caller,
    since: Option<Timestamp>,
    at: Timestamp,
) -> ApiResult<HomeList> {
    let since = since.unwrap_or_else(|| at.plus_seconds(-WEEK_S));
    let after = app.log.position_at(since).await.map_err(ApiError::unavailable)?;
    Ok(list(changes::ended(&app.pool, caller.person, after, SHOWN).await?))
}

async fn gaps(app: &App, caller: &Caller) -> ApiResult<Option<HomeList>> {
    if !caller.has_any(&[Role::Auditor, Role::Admin]) {
        return Ok(None);
    }
    Ok(Some(list(changes::gaps(&app.pool, SHOWN).await?)))
}

async fn steps(app: &App, connections: inventory::ConnectionHealth) -> ApiResult<Vec<FirstStep>> {
    let discovered = connections.discovered || inventory::any_asset(&app.pool).await?;
    Ok(vec![
        FirstStep { step: StepName::Connect, done: connections.total > 0 },
        FirstStep { step: StepName::Discover, done: discovered },
        FirstStep { step: StepName::Change, done: changes::exists(&app.pool).await? },
    ])
}
