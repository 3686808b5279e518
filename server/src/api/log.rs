//! `/log`: the tree of the event log, as [C2SP tlog-tiles](https://c2sp.org/tlog-tiles), and proofs
//! from it.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::api::EventProof;
use nexplane_core::proof::bundle::{Bundle, Format};
use nexplane_core::proof::tile::Tile;
use nexplane_core::proof::tree;
use nexplane_store::log::seal::Sealed;

use crate::app::App;
use crate::problem::{ApiError, ApiResult};
use crate::seal;

/// What never changes may be kept for good.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// `GET /log/checkpoint`: the newest signed note.
pub async fn checkpoint(State(app): State<App>) -> ApiResult<Response> {
    let note = newest(&app).await?.note;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

async fn newest(app: &App) -> ApiResult<Sealed> {
    app.seals.newest().await?.ok_or_else(not_sealed_yet)
}

fn not_sealed_yet() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "log.not_sealed",
        "There is no signed checkpoint over this yet. One is made within a second or so; if none \
         comes, the server's log says why the sealer does not run.",
    )
}

/// `GET /log/key`: whoever asks the server for the key that checks the server believes the server.
pub async fn key(State(app): State<App>) -> ApiResult<Response> {
    let key = app.log_key.clone().ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "log.no_key",
            "This server does not seal the log. Ask the one that does: nexplane keys show log.",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], key + "\n").into_response())
}

/// `GET /log/tile/…`: hashes, and the records as lines.
pub async fn tile(State(app): State<App>, Path(path): Path<String>) -> ApiResult<Response> {
    let path = format!("tile/{path}");
    let nothing = || ApiError::not_found("tile");
    let size = newest(&app).await?.size;
    let (bytes, content, full) = if let Ok(bundle) = Bundle::parse(&path, Format::Records) {
        if bundle.positions().end > size {
            return Err(nothing());
        }
        let count = usize::from(bundle.width());
        let events =
            app.log.read(bundle.positions().start, count).await.map_err(ApiError::internal)?;
        let records: Vec<_> = events.iter().map(|event| event.record.as_bytes()).collect();
        let bytes = bundle.encode(Format::Records, &records).map_err(ApiError::internal)?;
        (bytes, "application/x-ndjson", bundle.width() == nexplane_core::proof::tile::WIDTH)
    } else {
        let tile: Tile = path.parse().map_err(|_| nothing())?;
        let under = tile.nodes().last().and_then(tree::Node::complete_from);
        if under.is_none_or(|end| end > size) {
            return Err(nothing());
        }
        let bytes = app.seals.tile(tile).await?.ok_or_else(nothing)?;
        (bytes, "application/octet-stream", tile.is_full())
    };
    let cache = if full { IMMUTABLE } else { "no-store" };
    Ok(([(header::CONTENT_TYPE, content), (header::CACHE_CONTROL, cache)], bytes).into_response())
}

/// `GET /audit/events/{position}/proof`: the record, the path from its hash to a signed root, and the
/// note.
pub async fn proof(
    State(app): State<App>,
    Path(position): Path<u64>,
) -> ApiResult<axum::Json<EventProof>> {
    if position >= app.log.head().await.map_err(ApiError::unavailable)?.next_position {
        return Err(ApiError::not_found("event"));
    }
    let proof =
        seal::proof::of(&app.log, &app.seals, position).await.map_err(ApiError::internal)?;
    proof.map(axum::Json).ok_or_else(not_sealed_yet)
}
