//! Events of assets and connections, folded into rows. Pure.

use nexplane_core::asset::event::{AssetEvent, Facts, Relation};
use nexplane_core::connection::event::{ConnectionEvent, Limits};
use nexplane_core::event::Recorded;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::checkpoint::signed;
use crate::grams;
use nexplane_core::plan::Check;

/// Characters of a name that lists are sorted by: an index entry has to fit into a page.
const SORT_CHARS: usize = 100;

#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AssetRow {
    pub id: Uuid,
    pub connection: Uuid,
    pub asset_type: String,
    pub external_key: String,
    pub name: String,
    pub sort_name: String,
    /// Label of the connection when the asset was discovered.
    pub environment: String,
    /// An operator's label in its place.
    pub environment_override: Option<String>,
    pub metadata: Option<Value>,
    pub owner: Option<String>,
    pub tags: Vec<String>,
    /// Of key, name and owner: what it is found by, but for its connection's name.
    pub grams: Vec<i32>,
    pub critical: bool,
    pub is_gone: bool,
    pub first_seen_us: i64,
    pub last_seen_us: i64,
    pub version: i64,
    pub position: i64,
}

#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ConnectionRow {
    pub id: Uuid,
    pub name: String,
    pub connector: String,
    pub environment: String,
    pub settings: Option<Value>,
    pub is_removed: bool,
    /// Of the last test: `None` before the first and after new credentials.
    pub test_ok: Option<bool>,
    pub checks: Json<Vec<Check>>,
    pub tested_us: Option<i64>,
    pub discovered_us: Option<i64>,
    pub discovery_error: Option<String>,
    pub host: Option<Uuid>,
    pub limits: Json<Limits>,
    pub discover_every_s: Option<i32>,
    pub discover_next_us: Option<i64>,
    pub version: i64,
    pub position: i64,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationRow {
    pub from_asset: Uuid,
    pub kind: String,
    pub to_asset: Uuid,
}

/// An asset after one more event, and its relations when the event says what they are.
///
/// `discovered_us` is when its connection was last discovered as a whole: a discovery that finds
/// nothing new makes no event of the asset, but has seen it.
pub fn asset(
    row: Option<AssetRow>,
    event: &AssetEvent,
    recorded: &Recorded,
    discovered_us: Option<i64>,
) -> Option<(AssetRow, Option<Vec<Relation>>)> {
    use AssetEvent as E;

    let at = recorded.header.at.as_micros();
    let (version, position) = (signed(recorded.header.version), signed(recorded.position));
    let Some(mut row) = row else {
        let E::Discovered { connection, asset_type, external_key, environment, facts } = event
        else {
            return None;
        };
        let mut row = AssetRow {
            id: recorded.header.stream.id,
            connection: connection.0,
            asset_type: asset_type.clone(),
            external_key: external_key.clone(),
            name: String::new(),
            sort_name: String::new(),
            environment: environment.as_str().to_owned(),
            environment_override: None,
            metadata: None,
            owner: None,
            tags: Vec::new(),
            grams: Vec::new(),
            critical: false,
            is_gone: false,
            first_seen_us: at,
            last_seen_us: at,
            version,
            position,
        };
        let relations = see(&mut row, facts, at);
        return Some((row, Some(relations)));
    };
    (row.version, row.position) = (version, position);
    let relations = match event {
        E::Discovered { .. } => None,
        E::Drifted { facts, explained_by: _ } => Some(see(&mut row, facts, at)),
        E::Returned { facts } => {
            row.is_gone = false;
            Some(see(&mut row, facts, at))
        }
        E::Gone {} => {
            row.is_gone = true;
            row.last_seen_us = row.last_seen_us.max(discovered_us.unwrap_or(i64::MIN));
            None
        }
        E::Annotated { owner, tags, critical, environment } => {
            row.owner.clone_from(owner);
            row.grams = grams_of(&row);
            row.tags.clone_from(tags);
            row.critical = *critical;
            row.environment_override = environment.map(|label| label.as_str().to_owned());
            None
        }
    };
    Some((row, relations))
}

fn see(row: &mut AssetRow, facts: &Facts, at: i64) -> Vec<Relation> {
    row.name.clone_from(&facts.name);
    row.sort_name = facts.name.to_lowercase().chars().take(SORT_CHARS).collect();
    row.grams = grams_of(row);
    row.metadata = Some(facts.metadata.clone());
    row.last_seen_us = at;
    let mut relations = facts.relations.clone();
    relations.sort_unstable();
    relations.dedup();
    relations
}

fn grams_of(row: &AssetRow) -> Vec<i32> {
    let owner = row.owner.as_deref().unwrap_or_default();
    grams::of_words([&*row.external_key, &row.name, owner].into_iter()).unwrap_or_default()
}

/// A connection after one more event.
pub fn connection(
    row: Option<ConnectionRow>,
    event: &ConnectionEvent,
    recorded: &Recorded,
) -> Option<ConnectionRow> {
    use ConnectionEvent as E;

    let at = recorded.header.at.as_micros();
    let (version, position) = (signed(recorded.header.version), signed(recorded.position));
    let Some(mut row) = row else {
        let E::Created { name, connector, environment, settings, credentials: _, host } = event
        else {
            return None;
        };
        return Some(ConnectionRow {
            id: recorded.header.stream.id,
            name: name.clone(),
            connector: connector.clone(),
            environment: environment.as_str().to_owned(),
            settings: Some(settings.clone()),
            is_removed: false,
            test_ok: None,
            checks: Json(Vec::new()),
            tested_us: None,
            discovered_us: None,
            discovery_error: None,
            host: host.map(|host| host.0),
            limits: Json(Limits::default()),
            discover_every_s: None,
            discover_next_us: None,
            version,
            position,
            created_us: at,
            updated_us: at,
        });
    };
    (row.version, row.position) = (version, position);
    match event {
        E::Created { .. } => {}
        E::Renamed { name } => {
            row.name.clone_from(name);
            row.updated_us = at;
        }
        E::Relabelled { environment } => {
            environment.as_str().clone_into(&mut row.environment);
            row.updated_us = at;
        }
        E::Limited { limits } => {
            row.limits.0 = *limits;
            row.updated_us = at;
        }
        E::DiscoveryScheduled { every_s } => {
            row.discover_every_s = every_s.map(|every| i32::try_from(every).unwrap_or(i32::MAX));
            // The first one is now; those that follow count from the one before, whoever asked for it.
            row.discover_next_us = every_s.map(|_| at);
            row.updated_us = at;
        }
        E::CredentialsReplaced { settings, credentials: _ } => {
            row.settings = Some(settings.clone());
            (row.test_ok, row.tested_us) = (None, None);
            row.checks.clear();
            row.updated_us = at;
        }
        E::Removed {} => {
            row.is_removed = true;
            row.discover_next_us = None;
            row.updated_us = at;
        }
        E::Tested { ok, checks } => {
            (row.test_ok, row.tested_us) = (Some(*ok), Some(at));
            row.checks.0.clone_from(checks);
            row.updated_us = at;
        }
        E::Discovered { .. } => {
            (row.discovered_us, row.discovery_error) = (Some(at), None);
            row.discover_next_us = next_discovery(row.discover_every_s, at);
            row.updated_us = at;
        }
        E::DiscoveryFailed { kind: _, reason } => {
            row.discovery_error = Some(reason.clone());
            row.discover_next_us = next_discovery(row.discover_every_s, at);
            row.updated_us = at;
        }
        // A fact for the audit; nothing about the connection changes.
        E::CredentialsOpened { .. } => {}
    }
    Some(row)
}

fn next_discovery(every_s: Option<i32>, at: i64) -> Option<i64> {
    every_s.map(|every| at.saturating_add(i64::from(every) * 1_000_000))
}
