//! What the calendar has for the next 24 hours, by the clock.

use nexplane_core::api::{AgendaItem, AgendaKind, WindowState};
use nexplane_core::calendar::event::Scope;
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use nexplane_projections::{changes, schedules, upkeep};

use crate::api::{freezes, windows};
use crate::app::App;
use crate::problem::ApiResult;

/// Seconds that are looked ahead.
const AHEAD_S: i64 = 24 * 3_600;
/// Of each kind.
const AT_MOST: u32 = 20;

/// What there is, and whether there is more.
pub async fn of(app: &App, at: Timestamp) -> ApiResult<(Vec<AgendaItem>, bool)> {
    let end = at.plus_seconds(AHEAD_S);
    let mut all = freezes(app, at, end).await?;
    all.extend(windows(app, at, end).await?);
    all.extend(scheduled(app, at, end).await?);
    let (ticks, mut more) = schedules::until(&app.pool, end, AT_MOST).await?;
    all.extend(ticks.into_iter().map(|(next, schedule)| AgendaItem {
        kind: AgendaKind::Schedule,
        id: schedule.id.0,
        title: schedule.title,
        about: schedule.description,
        from: next.max(at),
        until: None,
        now: false,
    }));
    all.sort_by_key(|item| (!item.now, item.from, item.until));
    let most = usize::try_from(AT_MOST).unwrap_or(usize::MAX);
    more |= all.len() > most;
    all.truncate(most);
    Ok((all, more))
}

async fn freezes(app: &App, at: Timestamp, end: Timestamp) -> ApiResult<Vec<AgendaItem>> {
    let all = freezes::all(app).await?.into_iter();
    let ahead =
        all.filter(|freeze| freeze.ended_at.is_none() && freeze.end > at && freeze.start < end);
    Ok(ahead
        .map(|freeze| AgendaItem {
            kind: AgendaKind::Freeze,
            id: freeze.id.0,
            title: freeze.reason,
            about: about(&freeze.scope),
            from: freeze.start,
            until: Some(freeze.end),
            now: freeze.start <= at,
        })
        .collect())
}

async fn windows(app: &App, at: Timestamp, end: Timestamp) -> ApiResult<Vec<AgendaItem>> {
    let mut found = Vec::new();
    for window in windows::all(app).await? {
        if window.state == WindowState::Removed {
            continue;
        }
        let lasts = i64::from(window.slots.duration_s);
        let open = window.closes.map(|closes| (closes.plus_seconds(-lasts), closes, true));
        let next = window.next.iter().filter(|start| **start < end);
        let next = next.map(|start| (*start, start.plus_seconds(lasts), false));
        for (from, until, now) in open.into_iter().chain(next) {
            found.push(AgendaItem {
                kind: AgendaKind::Window,
                id: window.id.0,
                title: window.name.clone(),
                about: about(&window.scope),
                from,
                until: Some(until),
                now: now && from <= at,
            });
        }
    }
    Ok(found)
}

async fn scheduled(app: &App, at: Timestamp, end: Timestamp) -> ApiResult<Vec<AgendaItem>> {
    let opens = upkeep::scheduled(&app.pool, Some(end)).await?;
    let ids: Vec<ChangeId> = opens.iter().map(|(change, _)| *change).collect();
    let titles = changes::titles(&app.pool, &ids).await?;
    let item = |(change, opens): (ChangeId, Timestamp)| {
        let (number, title) = titles.get(&change)?;
        Some(AgendaItem {
            kind: AgendaKind::Change,
            id: change.0,
            title: format!("#{number} {title}"),
            about: "starts by itself".to_owned(),
            from: opens.max(at),
            until: None,
            now: false,
        })
    };
    Ok(opens.into_iter().filter_map(item).collect())
}

fn about(scope: &Scope) -> String {
    match scope {
        Scope::All => "every change".to_owned(),
        Scope::Environment { environment } => format!("changes in {}", environment.as_str()),
        Scope::Tag { tag } => format!("changes of targets with the tag {tag}"),
    }
}
