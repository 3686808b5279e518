//! Blast radius: what depends on an asset, directly or through others.
//!
//! A relation is directed, `from -kind-> to`. What it says about dependency:
//!
//! | Kind | `from` | Who depends on whom |
//! |---|---|---|
//! | `runs_on`, `hosted_on`, `attached_to` | a service, a container | `from` on `to` |
//! | `member_of` | a user, a group | `from` on `to`: what the group may do, its members may |
//! | `uses`, `depends_on`, `has_access_to` | an application, a role | `from` on `to` |
//! | `owns` | a role | `to` on `from`: what is owned loses its owner |
//! | `contains` | a container, a volume group | `to` on `from` |
//! | any other | | `from` on `to` |
//!
//! A kind that nobody has thought about counts like `uses`: one more dependant never lowers a risk.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use nexplane_core::api::{AssetView, BlastRadius, ChangeRadius, DependantView, ViaView};
use nexplane_core::id::AssetId;
use nexplane_core::risk::Dependant;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::page::{self, QueryError};

/// Steps that the walk goes away from the asset, at most.
pub const MAX_DEPTH: u32 = 10;

/// Dependants that are told, at most; the nearest.
pub const MAX_DEPENDANTS: u32 = 10_000;

/// Targets of a change that are named beside what depends on them.
const SHOWN_TARGETS: usize = 8;

/// Relations that are told of a page of dependants, at most.
const MAX_EDGES: i64 = 400;

/// Kinds where the asset that is pointed to depends on the one that points.
const BACKWARD: [&str; 2] = ["contains", "owns"];

/// Rows of a walk that is not gone to its end, those that are nearest.
const WALKED: i64 = 2_000;

/// Assets that one statement starts from.
const ROOTS_AT_ONCE: usize = 500;

/// From each of the assets in $1 everything that depends on it, `nearest` to it first; $2 is [`BACKWARD`], $3
/// [`MAX_DEPTH`]. UNION drops a repeated row, so a cycle costs at most that many rounds.
const WALK: &str = "WITH RECURSIVE walk (root, id, depth, via) AS ( \
         SELECT root, root, 0, ''::text FROM unnest($1::uuid[]) wanted (root) \
         UNION \
         SELECT walk.root, next.id, walk.depth + 1, next.kind FROM walk \
         CROSS JOIN LATERAL ( \
             SELECT r.from_asset AS id, r.kind FROM nexplane.rm_relations r \
             WHERE r.to_asset = walk.id AND r.kind <> ALL($2) \
             UNION ALL \
             SELECT r.to_asset, r.kind FROM nexplane.rm_relations r \
             WHERE r.from_asset = walk.id AND r.kind = ANY($2) \
         ) next \
         JOIN nexplane.rm_assets present ON present.id = next.id AND NOT present.is_gone \
         WHERE walk.depth < $3 AND next.id <> walk.root \
     )";

/// The dependants of [`WALK`], each once.
const NEAREST: &str = ", nearest AS ( \
         SELECT DISTINCT ON (id) id, depth, via FROM walk WHERE depth > 0 \
         ORDER BY id, depth, via COLLATE \"C\" \
     )";

/// What depends on an asset, nearest first. Cycles end the walk; gone assets depend on nothing. The
/// asset itself is not among them.
pub async fn blast_radius(pool: &PgPool, asset: AssetId) -> Result<BlastRadius, QueryError> {
    let rows: Vec<(Uuid, String, String, i32, bool, String)> =
        sqlx::query_as(AssertSqlSafe(format!(
            "{WALK}{NEAREST} SELECT n.id, a.name, a.asset_type, n.depth, a.critical, n.via \
             FROM nearest n JOIN nexplane.rm_assets a ON a.id = n.id \
             ORDER BY n.depth, a.sort_name, n.id LIMIT $4"
        )))
        .bind(vec![asset.0])
        .bind(BACKWARD.map(str::to_owned).to_vec())
        .bind(i32::try_from(MAX_DEPTH).unwrap_or(i32::MAX))
        .bind(i64::from(MAX_DEPENDANTS))
        .persistent(false)
        .fetch_all(pool)
        .await?;
    Ok(BlastRadius {
        asset,
        dependants: rows
            .into_iter()
            .map(|(id, name, kind, depth, critical, via)| DependantView {
                id: AssetId(id),
                name,
                kind,
                depth: depth.unsigned_abs(),
                critical,
                via,
            })
            .collect(),
    })
}

/// What depends on any of these assets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// The nearest, without the assets themselves.
    pub nearest: Vec<DependantView>,
    pub count: u32,
    pub critical: u32,
    /// The walk was given up before it had found all.
    pub more: bool,
}

/// How many there are, and the `named` nearest of them. The walk ends after [`WALKED`] rows, so that a hub costs
/// no more than anything else.
pub async fn around(pool: &PgPool, assets: &[AssetId], named: u32) -> Result<Around, QueryError> {
    type Found = (Uuid, String, String, i32, bool, String, i64, i64, i64);
    let rows: Vec<Found> = sqlx::query_as(AssertSqlSafe(format!(
        "{WALK}, walked AS (SELECT id, depth, via FROM walk WHERE depth > 0 LIMIT $4), nearest AS ( \
             SELECT DISTINCT ON (id) id, depth, via FROM walked WHERE id <> ALL($1) \
             ORDER BY id, depth, via COLLATE \"C\" \
         ) SELECT n.id, a.name, a.asset_type, n.depth, a.critical, n.via, count(*) OVER (), \
             count(*) FILTER (WHERE a.critical) OVER (), (SELECT count(*) FROM walked) \
         FROM nearest n JOIN nexplane.rm_assets a ON a.id = n.id \
         ORDER BY n.depth, NOT a.critical, a.sort_name, n.id LIMIT $5"
    )))
    .bind(assets.iter().map(|asset| asset.0).collect::<Vec<_>>())
    .bind(BACKWARD.map(str::to_owned).to_vec())
    .bind(i32::try_from(MAX_DEPTH).unwrap_or(i32::MAX))
    .bind(WALKED)
    .bind(i64::from(named))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let small = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    let mut around = Around::default();
    for (id, name, kind, depth, critical, via, count, of_them_critical, walked) in rows {
        around.count = small(count);
        around.critical = small(of_them_critical);
        around.more = walked >= WALKED;
        let depth = depth.unsigned_abs();
        around.nearest.push(DependantView { id: AssetId(id), name, kind, depth, critical, via });
    }
    Ok(around)
}

/// What depends on any of these assets, each as near as it is to the nearest of them. One of them is among
/// the dependants when it depends on another.
pub async fn dependants(
    pool: &PgPool,
    assets: &[AssetId],
) -> Result<BTreeMap<AssetId, Dependant>, QueryError> {
    let near = nearest(pool, assets).await?;
    let dependant = |near: Near| Dependant { depth: near.depth, critical: near.critical };
    Ok(near.into_iter().map(|(id, near)| (id, dependant(near))).collect())
}

/// A dependant: how far it is from the nearest asset it depends on, and by which relation it does.
struct Near {
    depth: u32,
    critical: bool,
    via: String,
}

async fn nearest(pool: &PgPool, assets: &[AssetId]) -> Result<BTreeMap<AssetId, Near>, QueryError> {
    let mut found: BTreeMap<AssetId, Near> = BTreeMap::new();
    for some in assets.chunks(ROOTS_AT_ONCE) {
        let rows: Vec<(Uuid, i32, bool, String)> = sqlx::query_as(AssertSqlSafe(format!(
            "{WALK}{NEAREST} SELECT n.id, n.depth, a.critical, n.via \
             FROM nearest n JOIN nexplane.rm_assets a ON a.id = n.id"
        )))
        .bind(some.iter().map(|asset| asset.0).collect::<Vec<_>>())
        .bind(BACKWARD.map(str::to_owned).to_vec())
        .bind(i32::try_from(MAX_DEPTH).unwrap_or(i32::MAX))
        .persistent(false)
        .fetch_all(pool)
        .await?;
        for (id, depth, critical, via) in rows {
            let near = Near { depth: depth.unsigned_abs(), critical, via };
            match found.entry(AssetId(id)) {
                Entry::Occupied(known) if known.get().depth <= near.depth => {}
                Entry::Occupied(mut known) => {
                    known.insert(near);
                }
                Entry::Vacant(free) => {
                    free.insert(near);
                }
            }
        }
    }
    Ok(found)
}

/// What depends on the targets of a change, a page of it. The targets are not among the dependants. At most 200
/// per page, 50 when no limit is given.
pub async fn change_radius(
    pool: &PgPool,
    targets: &[AssetId],
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<ChangeRadius, QueryError> {
    let probe = page::probe(limit);
    let mut near = nearest(pool, targets).await?;
    for target in targets {
        near.remove(target);
    }
    let count = as_u64(near.len());
    let critical = as_u64(near.values().filter(|near| near.critical).count());
    let mut order: Vec<(Place, Near)> =
        near.into_iter().map(|(id, near)| ((near.depth, !near.critical, id), near)).collect();
    order.sort_unstable_by_key(|(place, _)| *place);
    if let Some(cursor) = cursor {
        let after = place(cursor)?;
        order.retain(|(place, _)| *place > after);
    }
    order.truncate(usize::try_from(probe).unwrap_or(usize::MAX));
    let page = page::page(order, probe, |(place, _)| cursor_of(*place), Ok)?;

    let shown: Vec<AssetId> = targets.iter().copied().take(SHOWN_TARGETS).collect();
    let all: Vec<AssetId> =
        shown.iter().copied().chain(page.items.iter().map(|((.., id), _)| *id)).collect();
    let known: HashMap<AssetId, AssetView> =
        super::find_all(pool, &all).await?.into_iter().map(|asset| (asset.id, asset)).collect();
    let view = |id: AssetId, depth: u32, via: String| {
        let asset = known.get(&id)?;
        let (name, kind) = (asset.name.clone(), asset.kind.clone());
        Some(DependantView { id, name, kind, depth, critical: asset.critical, via })
    };
    Ok(ChangeRadius {
        targets: shown.into_iter().filter_map(|id| view(id, 0, String::new())).collect(),
        target_count: as_u64(targets.len()),
        items: page
            .items
            .into_iter()
            .filter_map(|((depth, _, id), near)| view(id, depth, near.via))
            .collect(),
        count,
        critical,
        edges: edges(pool, &all).await?,
        next_cursor: page.next_cursor,
    })
}

/// Where a dependant is in the list: the nearest first, of those the critical ones.
type Place = (u32, bool, AssetId);

fn cursor_of((depth, usual, id): Place) -> String {
    format!("{depth}.{}.{id}", u8::from(usual))
}

fn place(cursor: &str) -> Result<Place, QueryError> {
    let read = || {
        let mut parts = cursor.splitn(3, '.');
        let depth = parts.next()?.parse().ok()?;
        let usual = match parts.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some((depth, usual, parts.next()?.parse().ok()?))
    };
    read().ok_or(QueryError::Cursor)
}

/// The relations between some assets.
async fn edges(pool: &PgPool, assets: &[AssetId]) -> Result<Vec<ViaView>, QueryError> {
    let rows: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "SELECT from_asset, kind, to_asset FROM nexplane.rm_relations \
         WHERE from_asset = ANY($1) AND to_asset = ANY($1) \
         ORDER BY from_asset, kind, to_asset LIMIT $2",
    )
    .bind(assets.iter().map(|asset| asset.0).collect::<Vec<_>>())
    .bind(MAX_EDGES)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let edge = |(from, kind, to)| ViaView { from: AssetId(from), kind, to: AssetId(to) };
    Ok(rows.into_iter().map(edge).collect())
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_place_and_nothing_else_is_one() {
        for usual in [false, true] {
            let here = (3, usual, AssetId(Uuid::from_u128(7)));
            assert_eq!(place(&cursor_of(here)).unwrap(), here);
        }
        let id = Uuid::nil();
        for wrong in ["", "3", "3.1", &format!("x.1.{id}"), &format!("3.2.{id}"), "3.1.x"] {
            assert!(matches!(place(wrong), Err(QueryError::Cursor)), "{wrong}");
        }
    }
}
