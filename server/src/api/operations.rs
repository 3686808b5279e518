//! `/operations`: how the installation is.

use axum::Json;
use axum::extract::State;
use nexplane_core::api::OperationsView;
use nexplane_core::id::RunId;
use nexplane_core::time::Timestamp;
use nexplane_projections::audit::{AuditFilter, AuditOrder, list};

use crate::app::App;
use crate::operations::read;
use crate::problem::ApiResult;

/// Leases of which the log is asked since when they are held.
const LOOKED_UP: usize = 50;

/// `GET /operations`
pub async fn show(State(app): State<App>) -> ApiResult<Json<OperationsView>> {
    let mut view = read(&app).await?;
    for lease in view.leases.iter_mut().take(LOOKED_UP) {
        lease.since = claimed_at(&app, lease.run).await?;
    }
    view.leases.sort_by_key(|lease| (lease.since.is_none(), lease.since));
    Ok(Json(view))
}

/// When a run was last taken over.
async fn claimed_at(app: &App, run: RunId) -> ApiResult<Option<Timestamp>> {
    let filter = AuditFilter {
        resource: Some(run.0),
        kind: Some("run.claimed".to_owned()),
        ..AuditFilter::default()
    };
    let page = list(&app.pool, &filter, AuditOrder::NewestFirst, None, Some(1)).await?;
    Ok(page.items.first().map(|event| event.at))
}
