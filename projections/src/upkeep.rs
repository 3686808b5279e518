//! What the runtime looks for: work that nobody was woken for. Hints only: every hit is decided
//! again on the stream itself.

use std::collections::HashMap;

use nexplane_core::api::ChangeState;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, RunId, SecretId};
use nexplane_core::time::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use crate::page::QueryError;

/// Changes that are executing, with their runs, oldest first; at most 1,000.
pub async fn open_runs(pool: &PgPool) -> Result<Vec<(ChangeId, RunId)>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, run->>'id' FROM nexplane.rm_changes \
         WHERE state = 'executing' AND run IS NOT NULL ORDER BY position LIMIT 1000",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(change, run)| Some((ChangeId(change), run.parse().ok()?)))
        .collect())
}

/// Scheduled changes that may start at this moment or before, those that may first first; at most 1,000.
/// All that are scheduled, without a moment.
pub async fn scheduled(
    pool: &PgPool,
    until: Option<Timestamp>,
) -> Result<Vec<(ChangeId, Timestamp)>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, view->'scheduled'->>'opens' FROM nexplane.rm_changes \
         WHERE state = 'scheduled' AND view->'scheduled'->>'opens' <= coalesce($1, '9999-12-31') \
         ORDER BY 2 LIMIT 1000",
    )
    .bind(until.map(|until| until.to_string()))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(change, opens)| Some((ChangeId(change), opens.parse().ok()?)))
        .collect())
}

/// Changes that failed after a moment, are to go back by themselves, and have not begun to; at most 1,000.
pub async fn to_go_back(pool: &PgPool, after: Timestamp) -> Result<Vec<ChangeId>, QueryError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_changes c WHERE state = 'failed' \
         AND view->'auto_rollback' = 'true' AND coalesce(view->'settled', 'null') = 'null' \
         AND (view->>'updated_at')::timestamptz > $1::text::timestamptz \
         AND NOT EXISTS (SELECT FROM nexplane.rm_changes b \
                         WHERE b.rollback_of = c.id AND b.state <> 'approved') LIMIT 1000",
    )
    .bind(after.to_string())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(ChangeId).collect())
}

/// Changes whose approvals have run out; at most 1,000.
pub async fn expired_approvals(pool: &PgPool, now: Timestamp) -> Result<Vec<ChangeId>, QueryError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_changes WHERE state IN ('approved', 'scheduled') \
         AND (view->>'approved_until')::timestamptz <= $1::text::timestamptz LIMIT 1000",
    )
    .bind(now.to_string())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(ChangeId).collect())
}

/// Changes that moved after a position, with their state and the position of their last event.
pub async fn changed_since(
    pool: &PgPool,
    position: u64,
) -> Result<Vec<(ChangeId, ChangeState, u64)>, QueryError> {
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "SELECT id, state, position FROM nexplane.rm_changes WHERE position > $1 ORDER BY position",
    )
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, state, position)| {
            Some((ChangeId(id), state.parse().ok()?, u64::try_from(position).ok()?))
        })
        .collect())
}

/// The change that produced a secret, and what the secret is called.
pub async fn change_of_secret(
    pool: &PgPool,
    secret: SecretId,
) -> Result<Option<(ChangeId, String)>, QueryError> {
    let row: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT c.id, s->>'name' FROM nexplane.rm_changes c, jsonb_array_elements(c.view->'secrets') s \
         WHERE c.view->'secrets' @> jsonb_build_array(jsonb_build_object('id', $1::text)) \
           AND s->>'id' = $1::text LIMIT 1",
    )
    .bind(secret.to_string())
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(id, name)| (ChangeId(id), name)))
}

/// The last change that was carried out on an asset after a position: what may explain that the
/// asset differs from what was seen then.
pub async fn change_of_asset_since(
    pool: &PgPool,
    asset: AssetId,
    position: u64,
) -> Result<Option<ChangeId>, QueryError> {
    let row: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_changes WHERE applied @> ARRAY[$1::uuid] AND position > $2 \
         ORDER BY position DESC LIMIT 1",
    )
    .bind(asset.0)
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(ChangeId))
}

/// The present assets of a connection, with the position of the last event of each.
pub async fn present_assets(
    pool: &PgPool,
    connection: ConnectionId,
) -> Result<HashMap<AssetId, u64>, QueryError> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT id, position FROM nexplane.rm_assets WHERE connection = $1 AND NOT is_gone",
    )
    .bind(connection.0)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, position)| Some((AssetId(id), u64::try_from(position).ok()?)))
        .collect())
}

/// Names of assets and connections, by id.
pub async fn names(pool: &PgPool, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, name FROM nexplane.rm_assets WHERE id = ANY($1) \
         UNION ALL SELECT id, name FROM nexplane.rm_connections WHERE id = ANY($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Names of what streams are about, of all kinds but people.
pub async fn subjects(pool: &PgPool, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, name FROM nexplane.rm_assets WHERE id = ANY($1) \
         UNION ALL SELECT id, name FROM nexplane.rm_connections WHERE id = ANY($1) \
         UNION ALL SELECT id, hostname FROM nexplane.rm_hosts WHERE id = ANY($1) \
         UNION ALL SELECT id, '#' || number || ' ' || (view->>'title') \
             FROM nexplane.rm_changes WHERE id = ANY($1) \
         UNION ALL SELECT id, view->>'name' FROM nexplane.rm_projects WHERE id = ANY($1) \
         UNION ALL SELECT id, view->>'title' FROM nexplane.rm_schedules WHERE id = ANY($1)",
    )
    .bind(ids)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Connections whose next discovery is at this moment or before, with that moment, those that come first
/// first; at most 1,000.
pub async fn discoveries_due(
    pool: &PgPool,
    until: Timestamp,
) -> Result<Vec<(ConnectionId, Timestamp)>, QueryError> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT id, discover_next_us FROM nexplane.rm_connections \
         WHERE discover_next_us <= $1 AND NOT is_removed ORDER BY discover_next_us LIMIT 1000",
    )
    .bind(until.as_micros())
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let due = |(id, next)| (ConnectionId(id), Timestamp::from_micros(next));
    Ok(rows.into_iter().map(due).collect())
}
