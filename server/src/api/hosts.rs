//! `/hosts/…`: how many there are, and what one of them was ordered and has answered. The rows themselves are in
//! `inventory`.

use axum::Json;
use axum::extract::State;
use nexplane_core::api::{EventView, HostCounts, HostOrderView, Page};
use nexplane_core::id::{Category, ChangeId, HostId};
use nexplane_projections::{audit, changes, hosts};
use serde::Deserialize;

use super::guard::{Id, Query};
use crate::app::App;
use crate::gateway::ledger::{self, Wanted};
use crate::problem::{ApiError, ApiResult};

/// Orders on a page when nobody says how many.
const ORDERS: u32 = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SummaryQuery {
    q: Option<String>,
}

/// `GET /hosts/summary`: how many of those that fit have each status.
pub async fn summary(
    State(app): State<App>,
    Query(query): Query<SummaryQuery>,
) -> ApiResult<Json<HostCounts>> {
    let filter = hosts::HostFilter { status: None, q: query.q };
    Ok(Json(hosts::count(&app.pool, &filter).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderQuery {
    /// Also what was only asked, and changes nothing.
    questions: bool,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /hosts/{id}/orders`: newest first, each receipt checked while it is read.
pub async fn orders(
    State(app): State<App>,
    Id(id): Id<HostId>,
    Query(query): Query<OrderQuery>,
) -> ApiResult<Json<Page<HostOrderView>>> {
    known(&app, id).await?;
    let before = match query.cursor.as_deref().map(str::parse::<i64>) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => {
            return Err(ApiError::malformed("The cursor is not one that this list gave out."));
        }
    };
    let limit = super::limit(query.limit)?.unwrap_or(ORDERS);
    // One more, to see whether there is a next page.
    let wanted = Wanted { questions: query.questions, before, limit: limit + 1 };
    let mut items = ledger::orders(&app.pool, id, wanted).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > shown;
    items.truncate(shown);
    let next_cursor = items.last().filter(|_| more).map(|last| last.seq.to_string());
    name_changes(&app, &mut items).await?;
    Ok(Json(Page { items, next_cursor }))
}

async fn name_changes(app: &App, orders: &mut [HostOrderView]) -> ApiResult<()> {
    let ids: Vec<ChangeId> = orders.iter().filter_map(|order| order.change).collect();
    let titles = changes::titles(&app.pool, &ids).await?;
    for order in orders {
        if let Some((number, title)) = order.change.and_then(|change| titles.get(&change)) {
            order.change_number = Some(*number);
            order.change_title = Some(title.clone());
        }
    }
    Ok(())
}

/// `GET /hosts/{id}/history`: its events, newest first.
pub async fn history(
    State(app): State<App>,
    Id(id): Id<HostId>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<Page<EventView>>> {
    known(&app, id).await?;
    // Its connection has the same id, and is opened for every order.
    let kind = Some(Category::Host.as_str().to_owned());
    let filter = audit::AuditFilter { kind, resource: Some(id.0), ..Default::default() };
    super::audit::page(&app, &filter, query.cursor.as_deref(), query.limit).await
}

async fn known(app: &App, id: HostId) -> ApiResult<()> {
    let found = hosts::find(&app.pool, id).await?;
    found.map(drop).ok_or_else(|| ApiError::not_found("host"))
}
