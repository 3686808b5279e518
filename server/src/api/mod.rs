//! The REST interface: one table of routes, from which come the router, the guards and the OpenAPI
//! document. A route that is not in the table does not exist; a role that is not in its row is
//! refused.

mod approvers;
mod audit;
mod calendar;
mod cancelling;
mod changes;
mod connections;
mod context;
mod delegations;
mod drafts;
mod drift;
mod freezes;
mod glass;
pub mod guard;
mod home;
mod hosts;
mod inventory;
mod live;
mod log;
mod names;
mod openapi;
mod operations;
pub mod people;
mod policies;
mod projects;
mod reading;
mod rollouts;
mod route;
mod routes;
mod schedules;
mod session;
mod system;
mod targets;
mod undo;
mod views;
mod windows;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use guard::{Policy, guard};
pub use openapi::document;
pub use policies::in_body;
pub use route::{Access, Route, Shape};
pub use routes::routes;

/// Query parameters of lists without filters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Of which moment something is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AtQuery {
    /// A position of the log, or a moment in RFC 3339.
    at: Option<String>,
}

impl AtQuery {
    /// The position of the last event until then; none is now. Before the first event there is no `what`.
    async fn position(&self, app: &App, what: &'static str) -> ApiResult<Option<u64>> {
        let Some(at) = self.at.as_deref() else { return Ok(None) };
        if let Ok(position) = at.parse::<u64>() {
            return Ok(Some(position));
        }
        let moment = at.parse().map_err(|_| {
            ApiError::invalid_field("", "at: give a position, or a moment in RFC 3339")
        })?;
        let position = app.log.position_at(moment).await.map_err(ApiError::unavailable)?;
        position.map(Some).ok_or_else(|| ApiError::not_found(&format!("{what} at that moment")))
    }
}

/// A page of a list that is in the order in which its items came to be: their numbers stay what they are.
fn newest_first<T>(all: Vec<T>, query: &PageQuery) -> ApiResult<(Vec<T>, Option<String>)> {
    let limit = usize::try_from(limit(query.limit)?.unwrap_or(50)).unwrap_or(50);
    let before = match query.cursor.as_deref().map(str::parse::<usize>) {
        None => usize::MAX,
        Some(Ok(before)) => before,
        Some(Err(_)) => {
            return Err(ApiError::malformed("The cursor is not one that this list gave out."));
        }
    };
    let mut items: Vec<_> = all.into_iter().enumerate().take(before).collect();
    let page = items.split_off(items.len().saturating_sub(limit));
    let next_cursor = match page.first() {
        Some((number, _)) if !items.is_empty() => Some(number.to_string()),
        Some(_) | None => None,
    };
    Ok((page.into_iter().rev().map(|(_, item)| item).collect(), next_cursor))
}

/// 1 to 200; 50 when absent.
fn limit(asked: Option<u32>) -> ApiResult<Option<u32>> {
    match asked {
        Some(limit) if !(1..=200).contains(&limit) => {
            Err(ApiError::invalid_field("", "limit: 1 to 200"))
        }
        limit => Ok(limit),
    }
}

/// The API, its documentation, health and metrics.
pub fn router(app: &App) -> Router {
    let mut v1 = Router::new();
    for route in routes() {
        let policy = Policy { access: route.access, secret_answer: route.secret_answer };
        let handler = route.handler.layer(from_fn_with_state((app.clone(), policy), guard));
        v1 = v1.route(route.path, handler);
    }
    let v1 = v1
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), guard::renew_cookie))
        .layer(from_fn_with_state(app.clone(), measure));
    Router::new()
        .nest("/api/v1", v1)
        .route("/health", axum::routing::get(system::health))
        .route("/ready", axum::routing::get(system::ready))
        .route("/metrics", axum::routing::get(system::metrics))
        .merge(openapi::router())
        .route("/api/{*rest}", axum::routing::any(nothing_here))
        .layer(from_fn(guard::name_the_path))
        .with_state(app.clone())
}

async fn nothing_here() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this address. /api/docs lists what there is.",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "request.method",
        "This address does not take this method. /api/docs lists what there is.",
    )
}

async fn measure(
    axum::extract::State(app): axum::extract::State<App>,
    path: Option<axum::extract::MatchedPath>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let begun = std::time::Instant::now();
    let method = request.method().clone();
    let response = next.run(request).await.into_response();
    let route = path.as_ref().map_or("none", |path| path.as_str());
    app.metrics.answered(method.as_str(), route, response.status().as_u16(), begun.elapsed());
    response
}
