//! Which other changes under way meet one: a target in common, or a target of one that is directly related to
//! a target of the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nexplane_core::api::{ChangeState, ConflictKind, ConflictView, ViaView};
use nexplane_core::id::{AssetId, ChangeId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::page::QueryError;
use crate::upkeep;

/// Other changes that are shown, the newest.
const SHOWN: i64 = 20;
/// Other changes that are looked at when one of them may keep this one from being executed.
const LOOKED_AT: i64 = 1000;
/// Relations that are told of each.
const VIA: usize = 20;

/// Other changes that are in review, waiting or executing, and meet one of these; of each the newest 20.
/// What meets nothing is left out.
pub async fn in_conflict(
    pool: &PgPool,
    with: &[ChangeId],
) -> Result<HashMap<ChangeId, Vec<ConflictView>>, QueryError> {
    use ChangeState::{Approved, Executing, Scheduled, Submitted};
    meeting(pool, with, &[Submitted, Approved, Scheduled, Executing], SHOWN).await
}

/// Those of them that may come first: they are approved, or execute.
pub async fn may_come_first(
    pool: &PgPool,
    with: ChangeId,
) -> Result<Vec<ConflictView>, QueryError> {
    use ChangeState::{Approved, Executing, Scheduled};
    let mut found = meeting(pool, &[with], &[Approved, Scheduled, Executing], LOOKED_AT).await?;
    Ok(found.remove(&with).unwrap_or_default())
}

/// Whether the read models that say so contain everything before a position of the log.
pub async fn meetings_are_known(pool: &PgPool, before: u64) -> Result<bool, QueryError> {
    let models = ["changes", "inventory"];
    let there: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM nexplane.projection_checkpoints \
         WHERE is_current AND name = ANY($1) AND position >= $2",
    )
    .bind(models)
    .bind(super::position(before))
    .persistent(false)
    .fetch_one(pool)
    .await?;
    Ok(usize::try_from(there).is_ok_and(|there| there == models.len()))
}

/// A change, and a relation between a target of it and another asset.
type Edge = (Uuid, Uuid, String, Uuid, Uuid);

/// The change that is met, and of the other one id, number, title, state, common targets, and targets that are
/// related to the former's.
type Row = (Uuid, Uuid, i64, String, String, Vec<Uuid>, Vec<Uuid>);

async fn meeting(
    pool: &PgPool,
    with: &[ChangeId],
    states: &[ChangeState],
    limit: i64,
) -> Result<HashMap<ChangeId, Vec<ConflictView>>, QueryError> {
    let with: Vec<Uuid> = with.iter().map(|id| id.0).collect();
    // What has not changed since it was discovered has one row per relation, whichever end is the target.
    let edges: Vec<Edge> = sqlx::query_as(
        "WITH mine AS ( \
             SELECT id AS change, unnest(targets) AS asset FROM nexplane.rm_changes \
             WHERE id = ANY($1) \
         ) \
         SELECT mine.change, r.from_asset, r.kind, r.to_asset, r.to_asset \
         FROM mine JOIN nexplane.rm_relations r ON r.from_asset = mine.asset \
         UNION ALL \
         SELECT mine.change, r.from_asset, r.kind, r.to_asset, r.from_asset \
         FROM mine JOIN nexplane.rm_relations r ON r.to_asset = mine.asset",
    )
    .bind(&with)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let mut related: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
    for (own, .., other) in &edges {
        related.entry(*own).or_default().insert(*other);
    }
    let (owners, others): (Vec<Uuid>, Vec<Uuid>) = related
        .into_iter()
        .flat_map(|(own, others)| others.into_iter().map(move |other| (own, other)))
        .unzip();
    let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    // The lateral has each change looked up in the index over targets, however many are asked for.
    let rows: Vec<Row> = sqlx::query_as(
        "WITH related AS MATERIALIZED ( \
             SELECT own, array_agg(other) AS others \
             FROM unnest($2::uuid[], $3::uuid[]) pair (own, other) GROUP BY own \
         ) \
         SELECT own.id, met.* \
         FROM nexplane.rm_changes own LEFT JOIN related ON related.own = own.id \
         CROSS JOIN LATERAL ( \
             SELECT other.id, other.number, other.view->>'title', other.state, \
                 ARRAY(SELECT unnest(other.targets) INTERSECT SELECT unnest(own.targets) \
                       LIMIT 100), \
                 ARRAY(SELECT unnest(other.targets) INTERSECT SELECT unnest(related.others) \
                       LIMIT 100) \
             FROM nexplane.rm_changes other \
             WHERE (other.targets && own.targets \
                    OR other.targets && coalesce(related.others, '{}')) \
                 AND other.id <> own.id AND other.state = ANY($4) \
             ORDER BY other.number DESC LIMIT $5 \
         ) met \
         WHERE own.id = ANY($1) ORDER BY met.number DESC",
    )
    .bind(&with)
    .bind(owners)
    .bind(others)
    .bind(states)
    .bind(limit)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    let mut by_other: BTreeMap<(Uuid, Uuid), Vec<&Edge>> = BTreeMap::new();
    for edge in &edges {
        by_other.entry((edge.0, edge.4)).or_default().push(edge);
    }
    let mut names = BTreeSet::new();
    let mut found = Vec::with_capacity(rows.len());
    for (own, id, number, title, state, common, related) in rows {
        let Ok(state) = state.parse() else { continue };
        let edges: Vec<&Edge> = related
            .iter()
            .flat_map(|other| by_other.get(&(own, *other)).into_iter().flatten().copied())
            .take(VIA)
            .collect();
        names.extend(common.first().copied());
        names.extend(edges.iter().flat_map(|(_, from, _, to, _)| [*from, *to]));
        let kind = if common.is_empty() { ConflictKind::Related } else { ConflictKind::SameTarget };
        let view = ConflictView {
            id: ChangeId(id),
            number: number.unsigned_abs(),
            title,
            state,
            targets: common.into_iter().map(AssetId).collect(),
            kind,
            via: edges.iter().map(|edge| via(edge)).collect(),
            how: String::new(),
        };
        let outward = edges.first().is_some_and(|(.., to, other)| to == other);
        found.push((ChangeId(own), view, outward));
    }
    let names: Vec<Uuid> = names.into_iter().collect();
    let names = upkeep::names(pool, &names).await?;
    let mut told_of: HashMap<ChangeId, Vec<ConflictView>> = HashMap::new();
    for (own, view, outward) in found {
        told_of.entry(own).or_default().push(told(view, outward, &names));
    }
    Ok(told_of)
}

fn via((_, from, kind, to, _): &Edge) -> ViaView {
    ViaView { from: AssetId(*from), kind: kind.clone(), to: AssetId(*to) }
}

/// With its sentence. `outward`: the first relation is one of this change's target to one of the other's.
fn told(mut view: ConflictView, outward: bool, names: &HashMap<Uuid, String>) -> ConflictView {
    let name = |asset: AssetId| {
        names.get(&asset.0).cloned().unwrap_or_else(|| "an asset that is not known".to_owned())
    };
    let number = view.number;
    view.how = match (view.targets.as_slice(), view.via.first()) {
        ([one], _) => format!("Both change {}.", name(*one)),
        ([first, rest @ ..], _) => {
            format!("Both change {} and {} more.", name(*first), rest.len())
        }
        ([], Some(via)) => {
            let (from, to, is) = (name(via.from), name(via.to), words(&via.kind));
            if outward {
                format!("{from} {is} {to}, which change #{number} changes.")
            } else {
                format!("Change #{number} changes {from}, which {is} {to}.")
            }
        }
        ([], None) => String::new(),
    };
    view
}

fn words(kind: &str) -> String {
    match kind {
        "member_of" => "is a member of".to_owned(),
        "attached_to" | "hosted_on" => format!("is {}", kind.replace('_', " ")),
        other => other.replace('_', " "),
    }
}
