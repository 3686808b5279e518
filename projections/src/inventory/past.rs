//! An asset as it was known at an earlier moment, and how what discovery saw of it differed from look to look.
//! Both are folded from the asset's own events.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::api::{AssetView, DriftKind, DriftVerdict, FactChange, Page, RelationView};
use nexplane_core::asset::event::{AssetEvent, Facts, Relation};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, StreamId};
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use nexplane_store::log::Log;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::fold;
use super::query::environment;
use crate::page::{self, QueryError};
use crate::projection::{DecodeError, decode};

/// Relations that are told of an earlier moment, at most.
const MAX_RELATIONS: usize = 200;

/// Facts that one difference names, at most.
const MAX_FACTS: usize = 100;

/// An asset as it was known when the event at `until` was the last: from its own events, with the name and the
/// label that its connection had. `None` when it was not discovered by then.
///
/// Only relations from it to others are known of the past; their names are those of today. `last_seen` is when it
/// was last seen to differ: looks that find nothing new leave no event of the asset.
pub async fn as_of(
    pool: &PgPool,
    log: &Log,
    id: AssetId,
    until: u64,
) -> Result<Option<AssetView>, QueryError> {
    let events = events(log, id, Some(until)).await?;
    let mut row = None;
    let mut relations: Vec<Relation> = Vec::new();
    for recorded in &events {
        let Event::Asset(event) = &recorded.event else { continue };
        let Some((next, seen)) = fold::asset(row.take(), event, recorded, None) else { continue };
        row = Some(next);
        if let Some(seen) = seen {
            relations = seen;
        }
    }
    let Some(row) = row else { return Ok(None) };
    let connection = connection_then(pool, log, ConnectionId(row.connection), until).await?;
    let relation_count = u64::try_from(relations.len()).unwrap_or(u64::MAX);
    let relations = named(pool, relations).await?;
    let label = match row.environment_override.as_deref() {
        Some(label) => environment(label),
        None => connection.label.unwrap_or_else(|| environment(&row.environment)),
    };
    Ok(Some(AssetView {
        id,
        key: format!("{}/{}", connection.name, row.external_key),
        kind: row.asset_type,
        name: row.name,
        connection_id: ConnectionId(row.connection),
        connection_name: connection.name,
        external_key: row.external_key,
        environment: label,
        metadata: row.metadata.unwrap_or_default(),
        owner: row.owner,
        tags: row.tags,
        critical: row.critical,
        status: if row.is_gone || connection.is_removed { "gone" } else { "present" }.to_owned(),
        relations,
        relation_count,
        first_seen: Timestamp::from_micros(row.first_seen_us),
        last_seen: Timestamp::from_micros(row.last_seen_us),
        version: row.version.unsigned_abs(),
        position: row.position.unsigned_abs(),
    }))
}

async fn events(log: &Log, id: AssetId, until: Option<u64>) -> Result<Vec<Recorded>, QueryError> {
    let stored = log.read_stream(StreamId::from(id), 1, until).await?;
    let decoded: Result<Vec<_>, DecodeError> = stored.iter().map(decode).collect();
    Ok(decoded?)
}

/// What a connection was at a moment.
struct ConnectionThen {
    name: String,
    /// The last one that it was given; none when it still had its first.
    label: Option<Environment>,
    is_removed: bool,
}

/// The stream of a connection has an event per discovery: only those that say what it is are read.
async fn connection_then(
    pool: &PgPool,
    log: &Log,
    id: ConnectionId,
    until: u64,
) -> Result<ConnectionThen, QueryError> {
    use nexplane_core::connection::event::ConnectionEvent as E;

    let mut then = ConnectionThen { name: id.to_string(), label: None, is_removed: false };
    let first = log.positions(id.into(), &[1]).await?.remove(&1);
    let later: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM nexplane.rm_audit \
         WHERE type = ANY(ARRAY['connection.renamed', 'connection.relabelled', 'connection.removed']) \
             AND stream = $1 AND position <= $2 ORDER BY position",
    )
    .bind(id.0)
    .bind(i64::try_from(until).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    for position in first.into_iter().chain(later.into_iter().map(i64::unsigned_abs)) {
        for stored in log.read(position, 1).await? {
            match decode(&stored)?.event {
                Event::Connection(E::Created { name, .. } | E::Renamed { name }) => {
                    then.name = name;
                }
                Event::Connection(E::Relabelled { environment }) => then.label = Some(environment),
                Event::Connection(E::Removed {}) => then.is_removed = true,
                Event::Connection(
                    E::Limited { .. }
                    | E::DiscoveryScheduled { .. }
                    | E::CredentialsReplaced { .. }
                    | E::Tested { .. }
                    | E::Discovered { .. }
                    | E::DiscoveryFailed { .. }
                    | E::CredentialsOpened { .. },
                )
                | Event::Asset(_)
                | Event::Calendar(_)
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
    }
    Ok(then)
}

/// Relations to others, with their names of today; those that are not known any more are left out.
async fn named(pool: &PgPool, relations: Vec<Relation>) -> Result<Vec<RelationView>, QueryError> {
    let relations: Vec<_> = relations.into_iter().take(MAX_RELATIONS).collect();
    let ids: Vec<AssetId> = relations.iter().map(|relation| relation.to).collect();
    let known: BTreeMap<AssetId, AssetView> =
        super::find_all(pool, &ids).await?.into_iter().map(|asset| (asset.id, asset)).collect();
    let view = |relation: Relation| {
        let other = known.get(&relation.to)?;
        Some(RelationView {
            kind: relation.kind,
            direction: "out".to_owned(),
            asset: relation.to,
            name: other.name.clone(),
            asset_type: other.kind.clone(),
            critical: other.critical,
        })
    };
    Ok(relations.into_iter().filter_map(view).collect())
}

/// A difference between two looks, before anybody has judged it.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub position: u64,
    pub at: Timestamp,
    pub kind: DriftKind,
    /// At most 100; none is marked as verified.
    pub facts: Vec<FactChange>,
    pub fact_count: u64,
    /// The change that was carried out on it between the two looks.
    pub change: Option<ChangeId>,
}

/// How an asset differed from look to look, the newest first. At most 200 per page, 50 when no limit is given.
pub async fn differences(
    pool: &PgPool,
    log: &Log,
    id: AssetId,
    cursor: Option<&str>,
    limit: Option<u32>,
) -> Result<Page<Difference>, QueryError> {
    let until = match cursor.map(str::parse::<u64>) {
        None => None,
        // What is told already, and all that is later.
        Some(Ok(told)) => Some(told.checked_sub(1).ok_or(QueryError::Cursor)?),
        Some(Err(_)) => return Err(QueryError::Cursor),
    };
    let recorded = events(log, id, until).await?;
    let mut found = walk(&recorded);
    found.reverse();
    let probe = page::probe(limit);
    found.truncate(usize::try_from(probe).unwrap_or(usize::MAX));
    let mut page = page::page(found, probe, |difference| difference.position.to_string(), Ok)?;
    for item in &mut page.items {
        if item.change.is_none() && item.kind != DriftKind::Differs {
            item.change = carried_out_before(pool, id, item.position, &recorded).await?;
        }
    }
    Ok(page)
}

/// The differences of the events of an asset, from its discovery on, the oldest first.
fn walk(recorded: &[Recorded]) -> Vec<Difference> {
    let mut before: Option<&Facts> = None;
    let mut found = Vec::new();
    for one in recorded {
        let Event::Asset(event) = &one.event else { continue };
        let (kind, after, change) = match event {
            AssetEvent::Annotated { .. } => continue,
            AssetEvent::Discovered { facts, .. } => {
                before = Some(facts);
                continue;
            }
            AssetEvent::Drifted { facts, explained_by } => {
                (DriftKind::Differs, Some(facts), *explained_by)
            }
            AssetEvent::Gone {} => (DriftKind::Gone, None, None),
            AssetEvent::Returned { facts } => (DriftKind::Returned, Some(facts), None),
        };
        let facts = match (before, after) {
            (Some(before), Some(after)) => difference(before, after),
            (_, None) | (None, _) => Vec::new(),
        };
        let fact_count = u64::try_from(facts.len()).unwrap_or(u64::MAX);
        let facts = facts.into_iter().take(MAX_FACTS).collect();
        let (position, at) = (one.position, one.header.at);
        found.push(Difference { position, at, kind, facts, fact_count, change });
        if let Some(after) = after {
            before = Some(after);
        }
    }
    found
}

/// What is different between two looks, by name.
fn difference(before: &Facts, after: &Facts) -> Vec<FactChange> {
    let fields = |facts: &Facts| -> BTreeMap<String, Value> {
        let mut fields: BTreeMap<String, Value> = match &facts.metadata {
            Value::Object(object) => {
                object.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
            Value::Null => BTreeMap::new(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                BTreeMap::from([("metadata".to_owned(), other.clone())])
            }
        };
        fields.insert("name".to_owned(), facts.name.clone().into());
        let relations = facts.relations.iter().map(|one| format!("{} {}", one.kind, one.to));
        fields.insert("relations".to_owned(), relations.collect());
        fields
    };
    let (old, new) = (fields(before), fields(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |fields: &BTreeMap<String, Value>, name: &str| {
        fields.get(name).cloned().unwrap_or(Value::Null)
    };
    names
        .into_iter()
        .map(|name| FactChange {
            name: name.clone(),
            before: value(&old, name),
            after: value(&new, name),
            verified: false,
        })
        .filter(|fact| fact.before != fact.after)
        .collect()
}

/// The last change that was carried out on an asset between its event before this one and this one. Events of
/// assets that went or came back do not say.
async fn carried_out_before(
    pool: &PgPool,
    id: AssetId,
    position: u64,
    recorded: &[Recorded],
) -> Result<Option<ChangeId>, QueryError> {
    let before = recorded.iter().map(|one| one.position).filter(|at| *at < position).max();
    let signed = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
    let change: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM nexplane.rm_changes \
         WHERE applied @> ARRAY[$1::uuid] AND executed > $2 AND executed < $3 \
         ORDER BY executed DESC LIMIT 1",
    )
    .bind(id.0)
    .bind(before.map_or(-1, signed))
    .bind(signed(position))
    .persistent(false)
    .fetch_optional(pool)
    .await?;
    Ok(change.map(ChangeId))
}

/// Whether a change that was carried out between two looks explains what differs, by the names of the fields that
/// it read back, and which of the facts those are. An asset that went or came back is explained by any.
///
/// Discovery and actions name the same thing a little differently (`can_login`, `login`): a field is a fact's when
/// all words of the shorter name are in the other.
pub fn judge(
    kind: DriftKind,
    facts: &mut [FactChange],
    read_back: Option<&[String]>,
) -> DriftVerdict {
    let Some(read_back) = read_back else { return DriftVerdict::Unexplained };
    for fact in facts.iter_mut() {
        fact.verified = read_back.iter().any(|field| is_same(field, &fact.name));
    }
    let verified = facts.iter().filter(|fact| fact.verified).count();
    match kind {
        DriftKind::Gone | DriftKind::Returned => DriftVerdict::Explained,
        DriftKind::Differs if verified == 0 => DriftVerdict::Unexplained,
        DriftKind::Differs if verified < facts.len() => DriftVerdict::Partly,
        DriftKind::Differs => DriftVerdict::Explained,
    }
}

fn is_same(field: &str, fact: &str) -> bool {
    let words = |name: &str| -> BTreeSet<String> {
        name.split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (field, fact) = (words(field), words(fact));
    let (few, many) = if field.len() < fact.len() { (field, fact) } else { (fact, field) };
    !few.is_empty() && few.is_subset(&many)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fact(name: &str) -> FactChange {
        FactChange { name: name.to_owned(), before: json!(1), after: json!(2), verified: false }
    }

    #[test]
    fn only_what_a_change_read_back_is_explained_by_it() {
        let verdict = |names: &[&str], read_back: Option<&[&str]>| {
            let mut facts: Vec<_> = names.iter().map(|name| fact(name)).collect();
            let read_back: Option<Vec<String>> =
                read_back.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
            judge(DriftKind::Differs, &mut facts, read_back.as_deref())
        };
        assert_eq!(verdict(&["can_login"], Some(&["login"])), DriftVerdict::Explained);
        assert_eq!(verdict(&["can_login", "superuser"], Some(&["login"])), DriftVerdict::Partly);
        assert_eq!(verdict(&["superuser"], Some(&["login"])), DriftVerdict::Unexplained);
        assert_eq!(verdict(&["superuser"], Some(&[])), DriftVerdict::Unexplained);
        assert_eq!(verdict(&["can_login"], None), DriftVerdict::Unexplained);
        let went = |read_back| judge(DriftKind::Gone, &mut [], read_back);
        assert_eq!(went(Some(&[][..])), DriftVerdict::Explained);
        assert_eq!(went(None), DriftVerdict::Unexplained);
    }

    #[test]
    fn names_are_the_same_by_their_words() {
        assert!(is_same("login", "can_login"));
        assert!(is_same("connection_limit", "connection_limit"));
        assert!(!is_same("connection_limit", "connection_owner"));
        assert!(!is_same("log", "login"));
        assert!(!is_same("", "login"));
    }

    #[test]
    fn what_differs_is_named_with_what_it_was_and_is() {
        let to = |id| Relation { kind: "member_of".to_owned(), to: AssetId(Uuid::from_u128(id)) };
        let facts = |metadata: Value, relations: &[u128]| Facts {
            name: "a".to_owned(),
            metadata,
            relations: relations.iter().map(|id| to(*id)).collect(),
        };
        let old = facts(json!({ "same": 1, "gone": 2, "other": 3 }), &[1]);
        let new = facts(json!({ "same": 1, "other": 4, "new": null }), &[1, 2]);
        let found = difference(&old, &new);
        let names: Vec<_> = found.iter().map(|fact| fact.name.as_str()).collect();
        assert_eq!(names, ["gone", "other", "relations"]);
        assert_eq!((&found[1].before, &found[1].after), (&json!(3), &json!(4)));
        assert_eq!((&found[0].before, &found[0].after), (&json!(2), &Value::Null));
        assert!(difference(&old, &old).is_empty());
    }
}
