//! `/calendar`: whether a change may run at a moment, and what is in a span of time.
//!
//! Deliberately absent: what was open in the past. A freeze that was ended early, or is long over, no longer says so;
//! the log and a replay do.

use axum::Json;
use axum::extract::State;
use nexplane_core::api::{
    CalendarView, FreezeView, OpenView, ScheduleState, SlotView, StartView, TickView, WindowView,
};
use nexplane_core::change::Overrides;
use nexplane_core::freeze::Reach;
use nexplane_core::id::{AssetId, ConnectionId};
use nexplane_core::risk::Environment;
use nexplane_core::schedule::event::Timing;
use nexplane_core::time::Timestamp;
use nexplane_projections::{changes, inventory, schedules, upkeep};
use serde::Deserialize;

use super::guard::Query;
use super::{freezes, windows};
use crate::app::App;
use crate::calendar::{About, Sheet, reach_of};
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// How far a caller's clock may be behind, in seconds.
const GRACE_S: i64 = 120;
/// How far ahead is asked, in seconds: five years, for what comes on leap days.
const MAX_AHEAD_S: i64 = 5 * 366 * 86_400;
/// The longest span, in seconds.
const MAX_SPAN_S: i64 = 31 * 86_400;
/// Slots, starts and ticks of one span, each.
const MAX_ENTRIES: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenQuery {
    at: Option<Timestamp>,
    asset: Option<AssetId>,
    connection: Option<ConnectionId>,
    environment: Option<Environment>,
}

/// `GET /calendar/open`: of now, when no moment is given.
pub async fn open(
    State(app): State<App>,
    Query(query): Query<OpenQuery>,
) -> ApiResult<Json<OpenView>> {
    let now = app.moment().unwrap_or_else(stream::now);
    let at = query.at.unwrap_or(now);
    if at < now.plus_seconds(-GRACE_S) {
        return Err(ApiError::invalid_field(
            "/at",
            "is over: ask about now or later. The audit page says what happened before",
        ));
    }
    if at > now.plus_seconds(MAX_AHEAD_S) {
        return Err(ApiError::invalid_field("/at", "at most five years ahead"));
    }
    let (what, reach) = reach(&app, &query).await?;
    let opening = Sheet::read(&app.log, Some(at)).await?.opening(&reach);
    Ok(Json(OpenView {
        at,
        open: opening.is_open(),
        sentence: opening.sentence(&what),
        until: opening.ends.as_ref().map(nexplane_core::calendar::End::at),
        opens: opening.opens,
        freezes: opening.frozen.iter().map(|frozen| frozen.freeze).collect(),
        window: opening.closed.map(|closed| closed.window),
        environments: reach.environments,
        tags: reach.tags.into_iter().collect(),
    }))
}

/// What is asked about, in words, and what the calendar judges it by.
async fn reach(app: &App, query: &OpenQuery) -> ApiResult<(String, Reach)> {
    let asset = match query.asset {
        Some(id) => {
            let found = inventory::find(&app.pool, id).await?;
            Some(found.ok_or_else(|| ApiError::not_found("asset"))?)
        }
        None => None,
    };
    let connection = match query.connection {
        Some(id) => {
            let found = inventory::connection(&app.pool, id).await?;
            Some(found.ok_or_else(|| ApiError::not_found("connection"))?)
        }
        None => None,
    };
    let overrides = Overrides::default();
    let targets: Vec<AssetId> = query.asset.into_iter().collect();
    let about = About::asked(query.environment, query.connection, &targets, &overrides);
    let (reach, _) = reach_of(&app.log, &about).await?;
    let what = match (asset, connection, query.environment) {
        (Some(asset), ..) => format!("Changes of {}", asset.name),
        (None, Some(connection), _) => format!("Changes through {}", connection.name),
        (None, None, Some(environment)) => format!("Changes in {}", environment.as_str()),
        (None, None, None) => "Changes of what has no environment and no tag".to_owned(),
    };
    Ok((what, reach))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanQuery {
    from: Timestamp,
    until: Timestamp,
}

/// `GET /calendar`
pub async fn span(
    State(app): State<App>,
    Query(SpanQuery { from, until }): Query<SpanQuery>,
) -> ApiResult<Json<CalendarView>> {
    if until <= from || until.seconds_since(from) > MAX_SPAN_S {
        return Err(ApiError::invalid_field("/until", "after from, and at most 31 days after it"));
    }
    let mut freezes: Vec<FreezeView> = freezes::all(&app).await?;
    freezes.retain(|freeze| {
        freeze.start < until && freeze.ended_at.unwrap_or(freeze.end).min(freeze.end) > from
    });
    freezes.sort_by_key(|freeze| freeze.start);
    let mut cut = false;
    let slots = slots(&windows::all(&app).await?, from, until, &mut cut);
    let changes = starts(&app, from, until, &mut cut).await?;
    let ticks = ticks(&app, from, until, &mut cut).await?;
    Ok(Json(CalendarView { from, until, freezes, slots, changes, ticks, cut }))
}

fn slots(
    windows: &[WindowView],
    from: Timestamp,
    until: Timestamp,
    cut: &mut bool,
) -> Vec<SlotView> {
    let mut slots = Vec::new();
    for view in windows {
        let stands_until = view.removed_at.unwrap_or(until).min(until);
        let first = from.max(view.defined_at);
        let begun = view.slots.open(first).map(|slot| slot.start);
        let starts = begun.into_iter().chain(view.slots.starts(first));
        for start in starts.take_while(|start| *start < stands_until) {
            if slots.len() >= MAX_ENTRIES {
                *cut = true;
                break;
            }
            let end = start.plus_seconds(i64::from(view.slots.duration_s));
            slots.push(SlotView {
                window: view.id,
                name: view.name.clone(),
                scope: view.scope.clone(),
                start: start.max(view.defined_at),
                end: view.removed_at.map_or(end, |removed| end.min(removed)),
            });
        }
    }
    slots.sort_by_key(|slot| slot.start);
    slots
}

async fn starts(
    app: &App,
    from: Timestamp,
    until: Timestamp,
    cut: &mut bool,
) -> ApiResult<Vec<StartView>> {
    let mut scheduled = upkeep::scheduled(&app.pool, Some(until)).await?;
    scheduled.retain(|(_, at)| *at >= from && *at < until);
    *cut |= scheduled.len() > MAX_ENTRIES;
    scheduled.truncate(MAX_ENTRIES);
    let ids: Vec<_> = scheduled.iter().map(|(change, _)| *change).collect();
    let titles = changes::titles(&app.pool, &ids).await?;
    let start = |(change, at)| {
        let (number, title) = titles.get(&change)?.clone();
        Some(StartView { change, number, title, at })
    };
    Ok(scheduled.into_iter().filter_map(start).collect())
}

async fn ticks(
    app: &App,
    from: Timestamp,
    until: Timestamp,
    cut: &mut bool,
) -> ApiResult<Vec<TickView>> {
    let active = Some(ScheduleState::Active);
    let page = schedules::list(&app.pool, active, None, Some(200)).await?;
    *cut |= page.next_cursor.is_some();
    // What has passed was made, or skipped, and is in the log.
    let after = from.max(app.moment().unwrap_or_else(stream::now)).plus_seconds(-1);
    let mut ticks = Vec::new();
    for view in page.items {
        let timing = Timing { cron: view.cron, zone: view.zone };
        for at in timing.slots().starts(after).take_while(|at| *at < until) {
            if ticks.len() >= MAX_ENTRIES {
                *cut = true;
                break;
            }
            ticks.push(TickView { schedule: view.id, title: view.title.clone(), at });
        }
    }
    ticks.sort_by_key(|tick| tick.at);
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexplane_core::api::WindowState;
    use nexplane_core::calendar::event::Scope;
    use nexplane_core::id::{PersonId, WindowId};
    use nexplane_core::recurrence::Recurrence;
    use uuid::Uuid;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(cron: &str) -> WindowView {
        WindowView {
            id: WindowId(Uuid::nil()),
            state: WindowState::Closed,
            name: "Nightly".to_owned(),
            scope: Scope::All,
            slots: Recurrence { cron: cron.to_owned(), zone: "UTC".to_owned(), duration_s: 7200 },
            description: String::new(),
            closes: None,
            next: Vec::new(),
            defined_by: PersonId(Uuid::nil()),
            defined_at: at("2026-11-01T00:00:00Z"),
            removed_by: None,
            removed_at: None,
            removed_reason: None,
            names: BTreeMap::new(),
        }
    }

    #[test]
    fn slots_are_those_that_reach_into_the_span_while_the_window_stood() {
        let (from, until) = (at("2026-11-23T00:00:00Z"), at("2026-11-25T00:00:00Z"));
        let mut cut = false;
        let mut of = |window: WindowView| {
            let slots = slots(&[window], from, until, &mut cut);
            slots.iter().map(|slot| (slot.start.to_string(), slot.end)).collect::<Vec<_>>()
        };
        let nightly = of(window("0 23 * * *"));
        let starts: Vec<_> = nightly.iter().map(|(start, _)| start.get(..13).unwrap()).collect();
        assert_eq!(starts, ["2026-11-22T23", "2026-11-23T23", "2026-11-24T23"]);
        let removed =
            WindowView { removed_at: Some(at("2026-11-24T00:00:00Z")), ..window("0 23 * * *") };
        let slots = of(removed);
        assert_eq!(slots.len(), 2);
        assert_eq!(
            slots.last().unwrap().1,
            at("2026-11-24T00:00:00Z"),
            "it was removed while open"
        );
        let defined = WindowView { defined_at: at("2026-11-23T23:30:00Z"), ..window("0 23 * * *") };
        let slots = of(defined);
        assert_eq!(slots.first().unwrap().0, at("2026-11-23T23:30:00Z").to_string());
        assert!(!cut);
    }

    #[test]
    fn there_is_an_end_to_slots() {
        let (from, until) = (at("2026-11-23T00:00:00Z"), at("2026-11-25T00:00:00Z"));
        let mut cut = false;
        let all = slots(&[window("* * * * *")], from, until, &mut cut);
        assert_eq!((all.len(), cut), (MAX_ENTRIES, true));
    }
}
