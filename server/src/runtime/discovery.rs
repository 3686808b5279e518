//! Discovery: what a connection sees becomes assets, and what it no longer sees is gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _};
use nexplane_core::aggregate::Principal;
use nexplane_core::api::DiscoverResult;
use nexplane_core::asset::event::{Facts, Relation};
use nexplane_core::asset::{Asset, AssetCommand};
use nexplane_core::connection::{ConnectionCommand, ConnectionState, Purpose};
use nexplane_core::id::{AssetId, ConnectionId};
use nexplane_projections::upkeep;
use nexplane_store::log::Log;
use sqlx::PgPool;
use uuid::Uuid;

use super::targets::{OpenError, Targets};
use crate::problem::chain;
use crate::stream::{self, Request, StreamError, recent};

/// Streams written at once: enough to fill the appender's batches.
const AT_ONCE: usize = 64;

#[derive(Clone, Debug)]
pub struct Discoverer {
    pub targets: Targets,
    pub log: Log,
    pub pool: PgPool,
}

/// Scheduled discoveries that have begun and not ended.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Mutex<HashSet<ConnectionId>>>);

/// As long as it is held, no other one of its connection begins.
#[derive(Debug)]
pub struct Beginning {
    connection: ConnectionId,
    all: UnderWay,
}

impl UnderWay {
    /// None when one of this connection is under way.
    pub fn begin(&self, connection: ConnectionId) -> Option<Beginning> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(connection).then(|| Beginning { connection, all: self.clone() })
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.connection);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("an asset could not be recorded")]
    Asset(#[from] StreamError<nexplane_core::asset::AssetRejection>),
    #[error("the inventory could not be read")]
    Inventory(#[from] nexplane_projections::QueryError),
}

impl DiscoverError {
    /// Whether it says something of the target, and is recorded. All else is for who asked, or of our own
    /// database.
    pub const fn is_recorded(&self) -> bool {
        match self {
            Self::Open(error) => matches!(error, OpenError::Connector(_)),
            Self::Asset(error) => !error.is_away(),
            Self::Inventory(_) => false,
        }
    }
}

/// An asset's id follows from its connection, type and key: discovering twice finds the same asset,
/// whoever does it first.
pub fn asset_id(connection: ConnectionId, kind: &str, external_key: &str) -> AssetId {
    AssetId(Uuid::new_v5(&connection.0, format!("{kind}\0{external_key}").as_bytes()))
}

impl Discoverer {
    /// [`Discoverer::discover`], when the connection says that its time has come: the read model that named it may be late.
    pub async fn discover_due(&self, connection: ConnectionId) -> Result<(), DiscoverError> {
        let now = stream::now();
        let state = recent::load(&self.log, connection).await.map_err(OpenError::from)?.state;
        let ConnectionState::Active(active) = state else { return Ok(()) };
        if active.discover_next.is_some_and(|next| next <= now) {
            let request = Request::once(Principal::SYSTEM, now);
            self.discover(connection, &request).await?;
        }
        Ok(())
    }

    /// Reads everything the connection sees. A failure is recorded and changes no asset.
    pub async fn discover(
        &self,
        connection: ConnectionId,
        request: &Request,
    ) -> Result<DiscoverResult, DiscoverError> {
        let begun = Instant::now();
        let found = self.observe(connection, request).await;
        let command = match &found {
            Ok(result) => ConnectionCommand::RecordDiscovery {
                found: result.found,
                new: result.new,
                changed: result.changed,
                gone: result.gone,
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            Err(DiscoverError::Open(OpenError::Connector(error))) => {
                ConnectionCommand::RecordDiscoveryFailure {
                    kind: error.kind.as_str().to_owned(),
                    reason: error.message.clone(),
                }
            }
            Err(error) if error.is_recorded() => ConnectionCommand::RecordDiscoveryFailure {
                kind: "unexpected".to_owned(),
                reason: chain(error),
            },
            Err(_) => return found,
        };
        let asked = request.as_system("record discovery");
        recent::execute(&self.log, connection, &asked, command).await.map_err(OpenError::from)?;
        found
    }

    async fn observe(
        &self,
        connection: ConnectionId,
        request: &Request,
    ) -> Result<DiscoverResult, DiscoverError> {
        let opened = self.targets.open(connection, Purpose::Discover, None, request).await?;
        // What nobody knew of before the target is read cannot be missing there: somebody else may be
        // discovering it at this moment, and see more.
        let known = upkeep::present_assets(&self.pool, connection).await?;
        let discovery = opened.session.discover().await.map_err(OpenError::from)?;
        let environment = opened.connection.environment;

        let mut seen = HashSet::with_capacity(discovery.assets.len());
        let mut commands = Vec::with_capacity(discovery.assets.len());
        for asset in discovery.assets {
            let id = asset_id(connection, &asset.kind, &asset.external_key);
            if !seen.insert(id) {
                continue;
            }
            let relations = asset
                .relations
                .into_iter()
                .map(|relation| Relation {
                    kind: relation.kind,
                    to: asset_id(connection, &relation.to_kind, &relation.to_external_key),
                })
                .collect();
            let explained_by = match known.get(&id) {
                Some(last_seen) => {
                    upkeep::change_of_asset_since(&self.pool, id, *last_seen).await?
                }
                None => None,
            };
            commands.push((
                id,
                AssetCommand::Observe {
                    connection,
                    asset_type: asset.kind,
                    external_key: asset.external_key,
                    environment,
                    facts: Facts { name: asset.name, metadata: asset.metadata, relations },
                    explained_by,
                },
            ));
        }
        let found = commands.len() as u64;
        let observed: Vec<bool> = futures_util::stream::iter(commands)
            .map(|(id, command)| self.tell(id, command, request))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let happened = observed.into_iter().filter(|happened| *happened).count() as u64;

        let vanished: Vec<AssetId> =
            known.keys().filter(|id| !seen.contains(id)).copied().collect();
        let gone: Vec<bool> = futures_util::stream::iter(vanished)
            .map(|id| self.tell(id, AssetCommand::MarkGone, request))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let gone = gone.into_iter().filter(|happened| *happened).count() as u64;
        let new = seen.iter().filter(|id| !known.contains_key(id)).count() as u64;
        Ok(DiscoverResult { found, new, changed: happened.saturating_sub(new), gone })
    }

    /// True when something happened.
    async fn tell(
        &self,
        id: AssetId,
        command: AssetCommand,
        request: &Request,
    ) -> Result<bool, DiscoverError> {
        let asked = request.as_system(&format!("asset {id}"));
        let done = stream::execute::<Asset>(&self.log, id.into(), &asked, command).await?;
        Ok(done.position.is_some())
    }
}
