//! Questions about assets and connections.

use std::collections::HashMap;

use nexplane_core::api::{AssetView, ConnectionView, Page, PlaceTarget, RelationView, VaultSource};
use nexplane_core::connection::event::Limits;
use nexplane_core::id::{AssetId, ConnectionId};
use nexplane_core::plan::Check;
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::grams;
use crate::page::{self, QueryError};

/// The label that counts: an operator's, or the connection's as it is now.
const ENVIRONMENT: &str = "coalesce(a.environment_override, c.environment, a.environment)";

/// What is not there any more, itself or with its connection.
const IS_GONE: &str = "(a.is_gone OR coalesce(c.is_removed, false))";

/// Assets after the cursor that are looked at one by one before the index of words is asked.
const NEAR: i64 = 2000;
/// Relations of an asset that are told, at most, in each direction.
const MAX_RELATIONS: i64 = 200;

/// Keys that one statement asks for.
const KEYS_AT_ONCE: usize = 500;

/// A present asset was seen by every later discovery of its connection.
fn assets() -> String {
    assets_of("nexplane.rm_assets")
}

/// The same of some of them.
fn assets_of(some: &str) -> String {
    format!(
        "SELECT a.id, a.connection, coalesce(c.name, a.connection::text) AS connection_name, \
             a.asset_type, a.external_key, a.name, a.sort_name, {ENVIRONMENT} AS environment, \
             a.metadata, a.owner, a.tags, a.critical, {IS_GONE} AS is_gone, a.first_seen_us, \
             CASE WHEN a.is_gone THEN a.last_seen_us \
                  ELSE greatest(a.last_seen_us, c.discovered_us) END AS last_seen_us, \
             a.version, a.position \
         FROM {some} a LEFT JOIN nexplane.rm_connections c ON c.id = a.connection "
    )
}

#[derive(FromRow)]
struct Shown {
    id: Uuid,
    connection: Uuid,
    connection_name: String,
    asset_type: String,
    external_key: String,
    name: String,
    sort_name: String,
    environment: String,
    metadata: Option<Value>,
    owner: Option<String>,
    tags: Vec<String>,
    critical: bool,
    is_gone: bool,
    first_seen_us: i64,
    last_seen_us: i64,
    version: i64,
    position: i64,
}

impl Shown {
    fn view(self, (relations, relation_count): (Vec<RelationView>, u64)) -> AssetView {
        AssetView {
            id: AssetId(self.id),
            key: format!("{}/{}", self.connection_name, self.external_key),
            kind: self.asset_type,
            name: self.name,
            connection_id: ConnectionId(self.connection),
            connection_name: self.connection_name,
            external_key: self.external_key,
            environment: environment(&self.environment),
            metadata: self.metadata.unwrap_or_default(),
            owner: self.owner,
            tags: self.tags,
            critical: self.critical,
            status: if self.is_gone { "gone" } else { "present" }.to_owned(),
            relations,
            relation_count,
            first_seen: Timestamp::from_micros(self.first_seen_us),
            last_seen: Timestamp::from_micros(self.last_seen_us),
            version: self.version.unsigned_abs(),
            position: self.position.unsigned_abs(),
        }
    }
}

/// The column holds nothing but what `Environment::as_str` wrote.
pub(super) fn environment(text: &str) -> Environment {
    match text {
        "dev" => Environment::Dev,
        "staging" => Environment::Staging,
        // What is not known is treated with the most care.
        _ => Environment::Prod,
    }
}

/// Which assets a list has; what is `None` does not restrict it.
#[derive(Clone, Debug, Default)]
pub struct AssetFilter {
    pub asset_type: Option<String>,
    pub connection: Option<ConnectionId>,
    /// The label that counts: an operator's, or the connection's.
    pub environment: Option<Environment>,
    pub tag: Option<String>,
    /// Words or parts of them, in any order: name, key, owner.
    pub q: Option<String>,
    /// `true`: only what is gone; `false`: only what is present.
    pub gone: Option<bool>,
}

/// Assets by name. Relations are left out (`relations` is empty, `relation_count` 0). At most 200 per page, 50 when no
/// limit is given.
pub async fn list(
    pool: &PgPool,
    filter: &AssetFilter,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<AssetView>, QueryError> {
    let probe = page::probe(limit);
    let after = cursor.map(cursor_of).transpose()?;
    let words: Vec<String> =
        filter.q.iter().flat_map(|q| q.split_whitespace()).map(str::to_lowercase).collect();
    if !words.is_empty() {
        // What many assets have is among the next ones; what few have is found by its index.
        let mut sql: QueryBuilder<Postgres> =
            QueryBuilder::new("WITH near AS (SELECT * FROM nexplane.rm_assets a WHERE true");
        cut(&mut sql, after.as_ref(), NEAR);
        sql.push(") ").push(assets_of("near")).push(" WHERE true");
        restrict(&mut sql, filter, &words);
        cut(&mut sql, None, probe);
        let rows: Vec<Shown> = sql.build_query_as().persistent(false).fetch_all(pool).await?;
        if i64::try_from(rows.len()) == Ok(probe) {
            return finish(rows, probe);
        }
    }
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(assets());
    sql.push(" WHERE true");
    restrict(&mut sql, filter, &words);
    for hint in hints(pool, &words).await? {
        sql.push(" AND (a.grams @> ").push_bind(hint.grams);
        if !hint.connections.is_empty() {
            sql.push(" OR a.connection = ANY(").push_bind(hint.connections).push(")");
            if let Some(rest) = hint.rest {
                sql.push(" AND a.grams @> ").push_bind(rest);
            }
        }
        sql.push(")");
    }
    cut(&mut sql, after.as_ref(), probe);
    finish(sql.build_query_as().persistent(false).fetch_all(pool).await?, probe)
}

fn finish(rows: Vec<Shown>, probe: i64) -> Result<Page<AssetView>, QueryError> {
    page::page(
        rows,
        probe,
        |row| format!("{}~{}", row.id, hex::encode(&row.sort_name)),
        |row| Ok(row.view((Vec::new(), 0))),
    )
}

/// Name and id of the last asset of the page before.
fn cursor_of(cursor: &str) -> Result<(String, Uuid), QueryError> {
    let (id, name) = cursor.split_once('~').ok_or(QueryError::Cursor)?;
    let id = id.parse().map_err(|_| QueryError::Cursor)?;
    let name = hex::decode(name).ok().and_then(|name| String::from_utf8(name).ok());
    Ok((name.filter(|name| !name.contains('\0')).ok_or(QueryError::Cursor)?, id))
}

/// From a cursor on, in the order of the list.
fn cut(sql: &mut QueryBuilder<Postgres>, after: Option<&(String, Uuid)>, limit: i64) {
    if let Some((name, id)) = after {
        sql.push(" AND (a.sort_name, a.id) > (")
            .push_bind(name.clone())
            .push(", ")
            .push_bind(*id)
            .push(")");
    }
    sql.push(" ORDER BY a.sort_name, a.id LIMIT ").push_bind(limit);
}

fn restrict(sql: &mut QueryBuilder<Postgres>, filter: &AssetFilter, words: &[String]) {
    let AssetFilter { asset_type, connection, environment, tag, q: _, gone } = filter;
    if let Some(asset_type) = asset_type {
        sql.push(" AND a.asset_type = ").push_bind(asset_type.clone());
    }
    if let Some(connection) = connection {
        sql.push(" AND a.connection = ").push_bind(connection.0);
    }
    if let Some(environment) = environment {
        sql.push(format!(" AND {ENVIRONMENT} = ")).push_bind(environment.as_str());
    }
    if let Some(tag) = tag {
        sql.push(" AND a.tags @> ").push_bind(vec![tag.clone()]);
    }
    for word in words {
        sql.push(
            " AND strpos(lower(concat_ws(' ', c.name || '/' || a.external_key, a.name, a.owner)), ",
        )
        .push_bind(word.clone())
        .push(") > 0");
    }
    if let Some(gone) = gone {
        sql.push(format!(" AND {IS_GONE} = ")).push_bind(*gone);
    }
}

/// What an asset has in whose key, name, owner or connection's name a word is.
struct Hint {
    grams: Vec<i32>,
    /// Or it is of one of these.
    connections: Vec<Uuid>,
    /// And has these then: of what is after the first slash.
    rest: Option<Vec<i32>>,
}

/// What has a word has its grams, or is of a connection whose name has it; or has what is before the first slash
/// in the name, and the rest in the key. Of words that are too short nothing is known.
async fn hints(pool: &PgPool, words: &[String]) -> Result<Vec<Hint>, QueryError> {
    let known = words.iter().filter_map(|word| {
        let (in_name, rest) = word.split_once('/').unwrap_or((word, ""));
        let rest = grams::of_words(std::iter::once(rest));
        let grams = grams::of_words(std::iter::once(&**word)).filter(|_| !in_name.is_empty())?;
        Some((in_name.to_owned(), Hint { grams, connections: Vec::new(), rest }))
    });
    let (names, mut hints): (Vec<String>, Vec<Hint>) = known.unzip();
    // Asked before, so that the planner sees how many there are.
    let rows: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT wanted.no, c.id FROM unnest($1::text[]) WITH ORDINALITY wanted (name, no) \
         JOIN nexplane.rm_connections c ON strpos(lower(c.name), wanted.name) > 0",
    )
    .bind(names)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    for (no, connection) in rows {
        let hint = usize::try_from(no - 1).ok().and_then(|no| hints.get_mut(no));
        if let Some(hint) = hint {
            hint.connections.push(connection);
        }
    }
    Ok(hints)
}

/// One asset with its relations.
pub async fn find(pool: &PgPool, id: AssetId) -> Result<Option<AssetView>, QueryError> {
    let Some(row) = rows(pool, &[id]).await?.pop() else { return Ok(None) };
    Ok(Some(row.view(relations(pool, id).await?)))
}

/// Those of these assets that exist, without relations, in no particular order.
pub async fn find_all(pool: &PgPool, ids: &[AssetId]) -> Result<Vec<AssetView>, QueryError> {
    Ok(rows(pool, ids).await?.into_iter().map(|row| row.view((Vec::new(), 0))).collect())
}

async fn rows(pool: &PgPool, ids: &[AssetId]) -> Result<Vec<Shown>, QueryError> {
    Ok(sqlx::query_as(AssertSqlSafe(format!("{} WHERE a.id = ANY($1)", assets())))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(pool)
        .await?)
}

/// Those of these assets that are known: the first `shown`, critical ones first, and how many of all are critical.
pub async fn places(
    pool: &PgPool,
    ids: &[AssetId],
    shown: u32,
) -> Result<(Vec<PlaceTarget>, u32), QueryError> {
    type Found = (Uuid, String, String, bool, Option<String>, bool, i64);
    let rows: Vec<Found> = sqlx::query_as(
        "SELECT id, name, asset_type, critical, owner, is_gone, \
             count(*) FILTER (WHERE critical) OVER () \
         FROM nexplane.rm_assets WHERE id = ANY($1) ORDER BY NOT critical, sort_name, id LIMIT $2",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(i64::from(shown))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let all_critical = rows.first().map_or(0, |row| u32::try_from(row.6).unwrap_or(u32::MAX));
    let targets = rows
        .into_iter()
        .map(|(id, name, kind, critical, owner, gone, _)| PlaceTarget {
            id: AssetId(id),
            name,
            kind,
            critical,
            owner,
            gone,
        })
        .collect();
    Ok((targets, all_critical))
}

/// The assets with these keys, each `<connection name>/<external key>`; keys that no asset has are left out.
/// Connection names have no slash, external keys may. Assets of removed connections have no key.
pub async fn by_keys<'a>(
    pool: &PgPool,
    keys: &[&'a str],
) -> Result<HashMap<&'a str, AssetId>, QueryError> {
    let mut found = HashMap::with_capacity(keys.len());
    for some in keys.chunks(KEYS_AT_ONCE) {
        let parts = || some.iter().filter_map(|key| Some((*key, key.split_once('/')?)));
        let (connections, externals): (Vec<_>, Vec<_>) = parts().map(|(_, parts)| parts).unzip();
        let rows: Vec<(i64, Uuid)> = sqlx::query_as(
            "SELECT wanted.no, a.id \
             FROM unnest($1::text[], $2::text[]) WITH ORDINALITY wanted (connection, external, no) \
             CROSS JOIN LATERAL ( \
                 SELECT a.id FROM nexplane.rm_assets a \
                 JOIN nexplane.rm_connections c ON c.id = a.connection \
                 WHERE c.name = wanted.connection AND a.external_key = wanted.external \
                     AND NOT c.is_removed \
                 ORDER BY a.is_gone, a.position DESC LIMIT 1 \
             ) a",
        )
        .bind(connections)
        .bind(externals)
        .persistent(false)
        .fetch_all(pool)
        .await?;
        let rows: HashMap<i64, Uuid> = rows.into_iter().collect();
        let named = (1_i64..).zip(parts());
        found.extend(named.filter_map(|(no, (key, _))| Some((key, AssetId(*rows.get(&no)?)))));
    }
    Ok(found)
}

/// An asset's relations in both directions, gone assets included: the first [`MAX_RELATIONS`] of each, and how
/// many there are.
pub async fn relations(pool: &PgPool, id: AssetId) -> Result<(Vec<RelationView>, u64), QueryError> {
    let rows: Vec<(String, String, Uuid, String, String, bool)> = sqlx::query_as(
        "(SELECT r.kind, 'out' AS direction, o.id, o.name, o.asset_type, o.critical \
         FROM nexplane.rm_relations r JOIN nexplane.rm_assets o ON o.id = r.to_asset \
         WHERE r.from_asset = $1 ORDER BY r.kind, o.name, o.id LIMIT $2) \
         UNION ALL \
         (SELECT r.kind, 'in', o.id, o.name, o.asset_type, o.critical \
         FROM nexplane.rm_relations r JOIN nexplane.rm_assets o ON o.id = r.from_asset \
         WHERE r.to_asset = $1 ORDER BY r.kind, o.name, o.id LIMIT $2) \
         ORDER BY direction DESC, kind, name, id",
    )
    .bind(id.0)
    .bind(MAX_RELATIONS)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    // Where neither direction was cut off, all of them were read.
    let few = i64::try_from(rows.len()).is_ok_and(|read| read < MAX_RELATIONS);
    let count = if few {
        i64::try_from(rows.len()).unwrap_or(i64::MAX)
    } else {
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM nexplane.rm_relations WHERE from_asset = $1) \
                  + (SELECT count(*) FROM nexplane.rm_relations WHERE to_asset = $1)",
        )
        .bind(id.0)
        .persistent(false)
        .fetch_one(pool)
        .await?
    };
    let relations = rows
        .into_iter()
        .map(|(kind, direction, asset, name, asset_type, critical)| RelationView {
            kind,
            direction,
            asset: AssetId(asset),
            name,
            asset_type,
            critical,
        })
        .collect();
    Ok((relations, count.unsigned_abs()))
}

/// Positions of the events of an asset, the newest first.
pub async fn history(
    pool: &PgPool,
    id: AssetId,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<u64>, QueryError> {
    let probe = page::probe(limit);
    let before = page::number(cursor)?.unwrap_or(i64::MAX);
    let rows: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM nexplane.rm_asset_history \
         WHERE asset = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
    )
    .bind(id.0)
    .bind(before)
    .bind(probe)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    page::page(rows, probe, ToString::to_string, |position| Ok(position.unsigned_abs()))
}

#[derive(FromRow)]
struct ShownConnection {
    id: Uuid,
    name: String,
    connector: String,
    environment: String,
    settings: Option<Value>,
    test_ok: Option<bool>,
    checks: Json<Vec<Check>>,
    tested_us: Option<i64>,
    discovered_us: Option<i64>,
    discovery_error: Option<String>,
    limits: Json<Limits>,
    discover_every_s: Option<i32>,
    discover_next_us: Option<i64>,
    version: i64,
    created_us: i64,
    updated_us: i64,
    assets: i64,
}

impl ShownConnection {
    fn view(self) -> ConnectionView {
        let status = match self.test_ok {
            None => "untested",
            Some(true) => "ok",
            Some(false) => "failing",
        };
        ConnectionView {
            id: ConnectionId(self.id),
            name: self.name,
            kind: self.connector,
            environment: environment(&self.environment),
            settings: self.settings.unwrap_or_default(),
            limits: self.limits.0,
            discover_every_s: self.discover_every_s.and_then(|every| u32::try_from(every).ok()),
            discover_next: self.discover_next_us.map(Timestamp::from_micros),
            status: status.to_owned(),
            checks: self.checks.0,
            tested_at: self.tested_us.map(Timestamp::from_micros),
            discovered_at: self.discovered_us.map(Timestamp::from_micros),
            discovery_error: self.discovery_error,
            assets: self.assets.unsigned_abs(),
            version: self.version.unsigned_abs(),
            created_at: Timestamp::from_micros(self.created_us),
            updated_at: Timestamp::from_micros(self.updated_us),
        }
    }
}

/// Connections that read secrets for others, by name; the first 200.
pub async fn vaults(pool: &PgPool) -> Result<Vec<VaultSource>, QueryError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, name FROM nexplane.rm_connections \
         WHERE connector = 'vault' AND host IS NULL AND NOT is_removed ORDER BY name LIMIT 200",
    )
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(id, name)| VaultSource { id: ConnectionId(id), name }).collect())
}

const CONNECTIONS: &str = "SELECT c.*, (SELECT count(*) FROM nexplane.rm_assets a \
        WHERE a.connection = c.id AND NOT a.is_gone) AS assets \
    FROM nexplane.rm_connections c WHERE NOT c.is_removed ";

/// Connections that are not removed, the newest first.
pub async fn connections(
    pool: &PgPool,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<ConnectionView>, QueryError> {
    let probe = page::probe(limit);
    let (before, id) = match cursor {
        None => (i64::MAX, Uuid::max()),
        Some(cursor) => {
            let (at, id) = cursor.split_once('.').ok_or(QueryError::Cursor)?;
            (
                at.parse().map_err(|_| QueryError::Cursor)?,
                id.parse().map_err(|_| QueryError::Cursor)?,
            )
        }
    };
    let rows: Vec<ShownConnection> = sqlx::query_as(AssertSqlSafe(format!(
        "{CONNECTIONS} AND (c.created_us, c.id) < ($1, $2) \
         ORDER BY c.created_us DESC, c.id DESC LIMIT $3"
    )))
    .bind(before)
    .bind(id)
    .bind(probe)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    page::page(rows, probe, |row| format!("{}.{}", row.created_us, row.id), |row| Ok(row.view()))
}

/// One connection; `None` when it does not exist or is removed.
pub async fn connection(
    pool: &PgPool,
    id: ConnectionId,
) -> Result<Option<ConnectionView>, QueryError> {
    let row: Option<ShownConnection> =
        sqlx::query_as(AssertSqlSafe(format!("{CONNECTIONS} AND c.id = $1")))
            .bind(id.0)
            .persistent(false)
            .fetch_optional(pool)
            .await?;
    Ok(row.map(ShownConnection::view))
}

/// The connection of this name, by which keys of assets begin. Of several, the oldest.
pub async fn connection_by_name(
    pool: &PgPool,
    name: &str,
) -> Result<Option<ConnectionView>, QueryError> {
    let row: Option<ShownConnection> = sqlx::query_as(AssertSqlSafe(format!(
        "{CONNECTIONS} AND c.name = $1 ORDER BY c.created_us, c.id LIMIT 1"
    )))
    .bind(name)
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(ShownConnection::view))
}

/// How the connections are that are not removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionHealth {
    pub total: u64,
    /// Those of which the last test failed.
    pub failing: u64,
    /// The first of them by name.
    pub first_failing: Option<String>,
    /// Those whose present credentials nobody has tried.
    pub untested: u64,
    /// One of them was discovered.
    pub discovered: bool,
}

/// How the connections are, all together.
pub async fn connection_health(pool: &PgPool) -> Result<ConnectionHealth, QueryError> {
    let (total, failing, first_failing, untested, discovered): (i64, i64, _, i64, bool) =
        sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE NOT test_ok), min(name) FILTER (WHERE NOT test_ok), \
             count(*) FILTER (WHERE test_ok IS NULL AND host IS NULL), count(discovered_us) > 0 \
             FROM nexplane.rm_connections WHERE NOT is_removed",
        )
        .fetch_one(pool)
        .await?;
    Ok(ConnectionHealth {
        total: total.unsigned_abs(),
        failing: failing.unsigned_abs(),
        first_failing,
        untested: untested.unsigned_abs(),
        discovered,
    })
}

/// Whether the inventory has anything.
pub async fn any_asset(pool: &PgPool) -> Result<bool, QueryError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM nexplane.rm_assets)").fetch_one(pool).await?)
}
