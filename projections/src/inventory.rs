//! Everything that can be a target: assets, their relations, and the connections they come from.
//!
//! Names and labels of connections are joined when they are read, so renaming a connection renames
//! the keys of its assets at once.

mod blast;
mod fold;
mod past;
mod query;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use nexplane_core::asset::event::AssetEvent;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::Category;
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::projection::{ApplyError, Notice, Projection};
use crate::table::{self, Generation, Table, column, optional};
use fold::{AssetRow, ConnectionRow, RelationRow};

pub use blast::{
    Around, MAX_DEPENDANTS, MAX_DEPTH, around, blast_radius, change_radius, dependants,
};
pub use past::{Difference, as_of, differences, judge};
pub use query::{
    AssetFilter, ConnectionHealth, any_asset, by_keys, connection, connection_by_name,
    connection_health, connections, find, find_all, history, list, places, relations, vaults,
};

const ASSETS: Table = Table {
    name: "rm_assets",
    columns: &[
        column("id", "uuid"),
        column("connection", "uuid"),
        column("asset_type", "text"),
        column("external_key", "text"),
        column("name", "text"),
        column("sort_name", "text"),
        column("environment", "text"),
        optional("environment_override", "text"),
        optional("metadata", "jsonb"),
        optional("owner", "text"),
        column("tags", "text[]"),
        column("grams", "integer[]"),
        column("critical", "boolean"),
        column("is_gone", "boolean"),
        column("first_seen_us", "bigint"),
        column("last_seen_us", "bigint"),
        column("version", "bigint"),
        column("position", "bigint"),
    ],
    key: &["id"],
    indexes: &[
        "(sort_name, id)",
        "USING hash (asset_type)",
        "(connection)",
        "USING hash (external_key)",
        "USING gin (tags)",
        "USING gin (grams)",
    ],
};

const CONNECTIONS: Table = Table {
    name: "rm_connections",
    columns: &[
        column("id", "uuid"),
        column("name", "text"),
        column("connector", "text"),
        column("environment", "text"),
        optional("settings", "jsonb"),
        column("is_removed", "boolean"),
        optional("test_ok", "boolean"),
        column("checks", "jsonb"),
        optional("tested_us", "bigint"),
        optional("discovered_us", "bigint"),
        optional("discovery_error", "text"),
        optional("host", "uuid"),
        column("limits", "jsonb"),
        optional("discover_every_s", "integer"),
        optional("discover_next_us", "bigint"),
        column("version", "bigint"),
        column("position", "bigint"),
        column("created_us", "bigint"),
        column("updated_us", "bigint"),
    ],
    key: &["id"],
    indexes: &[
        "USING hash (name)",
        "(discover_next_us)",
        // Built-in connections, as many as there are hosts, have no place in a list by connector.
        "(connector, name) WHERE host IS NULL",
        "(name) WHERE discovery_error IS NOT NULL AND NOT is_removed",
    ],
};

const RELATIONS: Table = Table {
    name: "rm_relations",
    columns: &[column("from_asset", "uuid"), column("kind", "text"), column("to_asset", "uuid")],
    key: &["from_asset", "kind", "to_asset"],
    indexes: &["(to_asset)"],
};

const HISTORY: Table = Table {
    name: "rm_asset_history",
    columns: &[column("asset", "uuid"), column("position", "bigint")],
    key: &["asset", "position"],
    indexes: &[],
};

/// The projection `inventory`.
#[derive(Clone, Copy, Debug)]
pub struct Inventory;

#[derive(Serialize)]
struct HistoryRow {
    asset: Uuid,
    position: u64,
}

#[async_trait]
impl Projection for Inventory {
    fn name(&self) -> &'static str {
        "inventory"
    }

    fn version(&self) -> u32 {
        4
    }

    fn reads(&self) -> &'static [Category] {
        &[Category::Asset, Category::Connection]
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&ASSETS, &HISTORY, &CONNECTIONS, &RELATIONS]
    }

    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError> {
        let mut rows = Rows::load(db, at, events).await?;
        for recorded in events {
            rows.fold(recorded);
        }
        rows.store(db, at).await
    }

    async fn notices(
        &self,
        db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let (assets, connections) = ids(events);
        let rows: Vec<(String, i64, Uuid, String, String)> = sqlx::query_as(
            "SELECT 'assets', position, id, name, CASE WHEN is_gone THEN 'gone' ELSE 'present' END \
             FROM nexplane.rm_assets WHERE id = ANY($1) \
             UNION ALL \
             SELECT 'connections', position, id, name, \
                 CASE WHEN is_removed THEN 'removed' WHEN test_ok THEN 'ok' \
                      WHEN NOT test_ok THEN 'failing' ELSE 'untested' END \
             FROM nexplane.rm_connections WHERE id = ANY($2) \
             ORDER BY 2",
        )
        .bind(assets)
        .bind(connections)
        .fetch_all(db)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(topic, position, id, name, status)| Notice {
                topic,
                position: position.unsigned_abs(),
                changed: json!({ "id": id, "name": name, "status": status }),
            })
            .collect())
    }
}

/// The assets and the connections that events are about.
fn ids(events: &[Recorded]) -> (Vec<Uuid>, Vec<Uuid>) {
    let of = |category| {
        let ids: BTreeSet<_> = events
            .iter()
            .map(|recorded| recorded.header.stream)
            .filter(|stream| stream.category == category)
            .map(|stream| stream.id)
            .collect();
        ids.into_iter().collect()
    };
    (of(Category::Asset), of(Category::Connection))
}

/// The rows that a batch changes.
struct Rows {
    assets: BTreeMap<Uuid, AssetRow>,
    connections: BTreeMap<Uuid, ConnectionRow>,
    /// Which of the connections have changed; the others are only looked at.
    changed: BTreeSet<Uuid>,
    /// The new relations of assets that were seen.
    relations: BTreeMap<Uuid, Vec<RelationRow>>,
    history: Vec<HistoryRow>,
}

impl Rows {
    async fn load(
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<Self, sqlx::Error> {
        let (asset_ids, mut connection_ids) = ids(events);
        let changed = connection_ids.iter().copied().collect();
        let assets: Vec<AssetRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT * FROM {} WHERE id = ANY($1)",
            at.of(&ASSETS)
        )))
        .bind(asset_ids)
        .fetch_all(&mut *db)
        .await?;
        // However the log is cut into batches, a fold sees the same connections.
        connection_ids.extend(assets.iter().map(|asset| asset.connection));
        connection_ids.extend(events.iter().filter_map(|recorded| match &recorded.event {
            Event::Asset(AssetEvent::Discovered { connection, .. }) => Some(connection.0),
            Event::Asset(_)
            | Event::Calendar(_)
            | Event::Change(_)
            | Event::Connection(_)
            | Event::Gateway(_)
            | Event::Host(_)
            | Event::Manifest(_)
            | Event::Person(_)
            | Event::Policy(_)
            | Event::Project(_)
            | Event::Rollout(_)
            | Event::Run(_)
            | Event::Schedule(_) => None,
        }));
        let connections: Vec<ConnectionRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT * FROM {} WHERE id = ANY($1)",
            at.of(&CONNECTIONS)
        )))
        .bind(connection_ids)
        .fetch_all(&mut *db)
        .await?;
        Ok(Self {
            assets: assets.into_iter().map(|row| (row.id, row)).collect(),
            connections: connections.into_iter().map(|row| (row.id, row)).collect(),
            changed,
            relations: BTreeMap::new(),
            history: Vec::new(),
        })
    }

    fn fold(&mut self, recorded: &Recorded) {
        let id = recorded.header.stream.id;
        match &recorded.event {
            Event::Asset(event) => {
                let row = self.assets.remove(&id);
                let discovered = row
                    .as_ref()
                    .and_then(|row| self.connections.get(&row.connection))
                    .and_then(|connection| connection.discovered_us);
                let Some((row, relations)) = fold::asset(row, event, recorded, discovered) else {
                    return;
                };
                self.assets.insert(id, row);
                if let Some(relations) = relations {
                    let rows = relations.into_iter().map(|relation| RelationRow {
                        from_asset: id,
                        kind: relation.kind,
                        to_asset: relation.to.0,
                    });
                    self.relations.insert(id, rows.collect());
                }
                self.history.push(HistoryRow { asset: id, position: recorded.position });
            }
            Event::Connection(event) => {
                let row = self.connections.remove(&id);
                if let Some(row) = fold::connection(row, event, recorded) {
                    self.connections.insert(id, row);
                }
            }
            Event::Calendar(_)
            | Event::Change(_)
            | Event::Gateway(_)
            | Event::Host(_)
            | Event::Manifest(_)
            | Event::Person(_)
            | Event::Policy(_)
            | Event::Project(_)
            | Event::Rollout(_)
            | Event::Run(_)
            | Event::Schedule(_) => {}
        }
    }

    async fn store(self, db: &mut PgConnection, at: Generation) -> Result<(), ApplyError> {
        let assets: Vec<_> = self.assets.into_values().collect();
        table::upsert(db, at, &ASSETS, &assets).await?;
        let changed = self.changed;
        let connections: Vec<_> =
            self.connections.into_values().filter(|row| changed.contains(&row.id)).collect();
        table::upsert(db, at, &CONNECTIONS, &connections).await?;
        if !self.relations.is_empty() {
            sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {} WHERE from_asset = ANY($1)",
                at.of(&RELATIONS)
            )))
            .bind(self.relations.keys().copied().collect::<Vec<_>>())
            .execute(&mut *db)
            .await?;
        }
        let relations: Vec<_> = self.relations.into_values().flatten().collect();
        table::upsert(db, at, &RELATIONS, &relations).await?;
        table::upsert(db, at, &HISTORY, &self.history).await?;
        Ok(())
    }
}
