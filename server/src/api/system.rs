//! Health, metrics, projections and the catalog.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{Page, ProjectionView};
use nexplane_core::catalog::Catalog;
use serde_json::json;

use crate::app::App;
use crate::gateway::Gateway;
use crate::operations;
use crate::problem::{ApiError, ApiResult};

/// `GET /health`: 200 while the process works, whatever the database does.
pub async fn health(State(app): State<App>) -> Response {
    let alive = tokio::time::timeout(
        std::time::Duration::from_secs(2),
        sqlx::query("SELECT 1").execute(&app.pool),
    );
    let db = if matches!(alive.await, Ok(Ok(_))) { "connected" } else { "unreachable" };
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "status": "ok", "db": db, "version": version })).into_response()
}

/// `GET /ready`: 503 while requests cannot be served well.
pub async fn ready(State(app): State<App>) -> Response {
    let problem = match app.projections.status().await {
        Err(error) => Some(error.to_string()),
        Ok(rows) => rows
            .iter()
            .find(|row| row.state == "stalled")
            .map(|row| format!("projection {} is stalled", row.name)),
    };
    match problem {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(why) => {
            let body = Json(json!({ "status": "not ready", "why": why }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// `GET /metrics`, in the Prometheus text format.
pub async fn metrics(State(app): State<App>) -> ApiResult<Response> {
    let rows = app.projections.status().await.map_err(ApiError::unavailable)?;
    let refused = app.gateway.as_ref().map(Gateway::refused).unwrap_or_default();
    let operations = operations::read(&app).await?;
    let text = app.metrics.text(&rows, &refused, &operations);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /projections`
pub async fn projections(State(app): State<App>) -> ApiResult<Json<Page<ProjectionView>>> {
    let items = app.projections.status().await.map_err(ApiError::unavailable)?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// `GET /catalog`
pub async fn catalog(State(app): State<App>) -> Json<Catalog> {
    Json(app.targets.registry.catalog())
}
