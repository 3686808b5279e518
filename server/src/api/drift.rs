//! `GET /assets/{id}/drift`: what differed between looks of discovery, and whether a change of ours explains it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use nexplane_core::api::{
    ChangeView, DriftChange, DriftKind, DriftVerdict, DriftView, Page, StepState,
};
use nexplane_core::id::{AssetId, ChangeId};
use nexplane_projections::{changes, inventory};

use super::guard::{Id, Query};
use crate::app::App;
use crate::problem::{ApiError, ApiResult};

/// The newest first.
pub async fn list(
    State(app): State<App>,
    Id(id): Id<AssetId>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<Page<DriftView>>> {
    let limit = super::limit(query.limit)?;
    if inventory::find(&app.pool, id).await?.is_none() {
        return Err(ApiError::not_found("asset"));
    }
    let cursor = query.cursor.as_deref();
    let page = inventory::differences(&app.pool, &app.log, id, cursor, limit).await?;
    // A page has few changes: what explains one difference often explains those beside it.
    let mut known: BTreeMap<ChangeId, ChangeView> = BTreeMap::new();
    for change in page.items.iter().filter_map(|difference| difference.change) {
        if !known.contains_key(&change)
            && let Some(view) = changes::find(&app.pool, change).await?
        {
            known.insert(change, view);
        }
    }
    let items = page
        .items
        .into_iter()
        .map(|difference| {
            let change = difference.change.and_then(|change| known.get(&change));
            judged(id, difference, change)
        })
        .collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

fn judged(
    id: AssetId,
    difference: inventory::Difference,
    change: Option<&ChangeView>,
) -> DriftView {
    let inventory::Difference { position, at, kind, mut facts, fact_count, change: _ } = difference;
    let read_back = change.map(|change| read_back(change, id));
    let verdict = inventory::judge(kind, &mut facts, read_back.as_deref());
    let because = because(kind, verdict, change);
    let change = change.map(|change| DriftChange {
        id: change.id,
        number: change.number,
        title: change.title.clone(),
        state: change.state,
    });
    DriftView { position, at, kind, facts, fact_count, verdict, change, because }
}

/// The names of the fields that the steps of a change read back from an asset.
fn read_back(change: &ChangeView, id: AssetId) -> Vec<String> {
    let planned = change.plan.iter().flat_map(|plan| &plan.steps);
    let ours: Vec<u32> =
        planned.filter(|step| step.target.asset == id).map(|step| step.no).collect();
    let ran = change.run.iter().flat_map(|run| &run.steps);
    ran.filter(|step| step.state == StepState::Verified && ours.contains(&step.no))
        .flat_map(|step| &step.after)
        .map(|field| field.name.clone())
        .collect()
}

fn because(kind: DriftKind, verdict: DriftVerdict, change: Option<&ChangeView>) -> String {
    let Some(change) = change else {
        return match kind {
            DriftKind::Differs => "No change was carried out on it between the two looks.",
            DriftKind::Gone => {
                "It was no longer found, and no change was carried out on it before."
            }
            DriftKind::Returned => {
                "It was found again, and no change was carried out on it while it was gone."
            }
        }
        .to_owned();
    };
    let number = change.number;
    match (kind, verdict) {
        (DriftKind::Gone, _) => {
            format!("It was no longer found, after #{number} was carried out on it.")
        }
        (DriftKind::Returned, _) => {
            format!("It was found again, after #{number} was carried out on it.")
        }
        (DriftKind::Differs, DriftVerdict::Explained) => {
            format!(
                "#{number} was carried out on it between the two looks, and read back what differs."
            )
        }
        (DriftKind::Differs, DriftVerdict::Partly) => format!(
            "#{number} was carried out on it between the two looks, but did not read back everything that differs."
        ),
        (DriftKind::Differs, DriftVerdict::Unexplained) => format!(
            "#{number} was carried out on it since it differed last, but read back nothing of what differs: it need \
             not be behind it."
        ),
    }
}
