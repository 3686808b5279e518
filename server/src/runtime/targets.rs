//! Sessions with targets: credentials out of the secret table, with an event, into a connector.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use nexplane_connectors::host::{HostJobs, HostPort};
use nexplane_connectors::sdk::{
    AnyAction, AnySession, CALL_TIMEOUT, ConnectorError, DigestKey, Egress, OpenContext, Registry,
    SecretJson,
};
use nexplane_core::asset::{Asset, AssetState, Present};
use nexplane_core::catalog::ActionSpec;
use nexplane_core::change::event::Draft;
use nexplane_core::connection::{
    Active, ConnectionCommand, ConnectionRejection, ConnectionState, Purpose,
};
use nexplane_core::host::Host;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId};
use nexplane_core::plan::TargetRef;
use nexplane_core::risk::Environment;
use nexplane_store::log::Log;

use super::limiter::{Limiter, Turn};
use super::secret_refs::Use;
use crate::secret_folder::SecretFolder;
use crate::stream::{self, LoadError, Request, StreamError, recent};
use crate::vault::{Vault, VaultError};

/// The way to targets.
#[derive(Clone)]
pub struct Targets {
    pub log: Log,
    pub registry: Arc<Registry>,
    pub vault: Vault,
    pub egress: Arc<Egress>,
    pub folder: SecretFolder,
    pub digest_key: DigestKey,
    pub hosts: Arc<dyn HostJobs>,
    pub limiter: Limiter,
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").finish_non_exhaustive()
    }
}

/// An open session and the connection it belongs to.
pub struct Opened {
    pub session: Box<dyn AnySession>,
    pub connection: Active,
    _turn: Turn,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("connection", &self.connection.name).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no such connection")]
    NoConnection,
    #[error("connector '{0}' is not in this build")]
    NoConnector(String),
    #[error("there is no such action: '{0}'")]
    NoAction(String),
    #[error(transparent)]
    Connection(#[from] StreamError<ConnectionRejection>),
    #[error("could not read the log")]
    Load(#[from] LoadError),
    #[error("could not open the credentials")]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Connector(#[from] ConnectorError),
}

impl OpenError {
    /// Our own database did not answer: it says nothing of the target.
    pub const fn is_away(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_away(),
            Self::Load(error) => error.is_away(),
            Self::Vault(error) => error.is_away(),
            Self::NoConnection | Self::NoConnector(_) | Self::NoAction(_) | Self::Connector(_) => {
                false
            }
        }
    }
}

impl Targets {
    pub fn action(&self, id: &str) -> Result<&dyn AnyAction, OpenError> {
        self.registry.action(id).ok_or_else(|| OpenError::NoAction(id.to_owned()))
    }

    /// The connection as its stream says.
    pub async fn connection(&self, id: ConnectionId) -> Result<Active, OpenError> {
        match recent::load(&self.log, id).await?.state {
            ConnectionState::Active(active) => Ok(active),
            ConnectionState::Absent | ConnectionState::Removed(_) => Err(OpenError::NoConnection),
        }
    }

    /// Assets that are there, as targets of their connections, in the order in which they are named; `None` for
    /// one that is not there.
    pub async fn locate(&self, assets: &[AssetId]) -> Result<Vec<Option<Located>>, OpenError> {
        let streams: Vec<_> = assets.iter().map(|asset| (*asset).into()).collect();
        let mut found = stream::load_each::<Asset>(&self.log, &streams).await?;
        let present: Vec<Option<Present>> = streams
            .iter()
            .map(|stream| match found.remove(stream)?.state {
                AssetState::Present(present) => Some(present),
                AssetState::Absent | AssetState::Gone(_) => None,
            })
            .collect();
        let homes: BTreeSet<_> =
            present.iter().flatten().map(|present| present.identity.connection).collect();
        let homes: BTreeMap<ConnectionId, Arc<Active>> = recent::load_each(&self.log, homes)
            .await?
            .into_iter()
            .filter_map(|(home, loaded)| match loaded.state {
                ConnectionState::Active(active) => Some((home, Arc::new(active))),
                ConnectionState::Absent | ConnectionState::Removed(_) => None,
            })
            .collect();
        let located = assets.iter().zip(present).map(|(asset, present)| {
            let Present { identity, facts, annotations, .. } = present?;
            let target = TargetRef {
                asset: *asset,
                kind: identity.asset_type,
                external_key: identity.external_key,
                name: facts.name,
            };
            let home = homes.get(&identity.connection).map(Arc::clone)?;
            Some(Located {
                target,
                connection: identity.connection,
                home,
                environment: annotations.environment,
                critical: annotations.critical,
            })
        });
        Ok(located.collect())
    }

    /// Opens a session, when the connection's limits allow one more. That the credentials were decrypted, by whom and why, is an event.
    pub async fn open(
        &self,
        id: ConnectionId,
        purpose: Purpose,
        change: Option<ChangeId>,
        request: &Request,
    ) -> Result<Opened, OpenError> {
        self.open_as(id, purpose, change, None, request).await
    }

    /// The same, to read a secret for another connection, if there is one.
    pub(super) async fn open_as(
        &self,
        id: ConnectionId,
        purpose: Purpose,
        change: Option<ChangeId>,
        reads_for: Option<ConnectionId>,
        request: &Request,
    ) -> Result<Opened, OpenError> {
        let command = ConnectionCommand::OpenCredentials { purpose, change, reads_for };
        let once = Request {
            command: nexplane_core::id::CommandId(uuid::Uuid::now_v7()),
            if_match: None,
            ..request.clone()
        };
        let done = recent::execute(&self.log, id, &once, command).await?;
        let ConnectionState::Active(connection) = done.state else {
            return Err(OpenError::NoConnection);
        };
        let turn = self.limiter.turn(id, connection.limits).await?;
        let connector = self
            .registry
            .connector(&connection.connector)
            .ok_or_else(|| OpenError::NoConnector(connection.connector.clone()))?;
        let mut credentials = match connection.credentials {
            Some(secret) => self.vault.open_json(&owner(id), secret).await?,
            None => SecretJson::new(connection.settings.clone()),
        };
        let host = match connection.host {
            Some(host) => {
                let state = stream::load::<Host>(&self.log, host.into()).await?.state;
                let enrolment = state.enrolment().ok_or(OpenError::NoConnection)?;
                let name = enrolment.hostname.clone();
                Some(HostPort { id: host, name, jobs: Arc::clone(&self.hosts) })
            }
            None => None,
        };
        let used = Use { connection: id, purpose, change, request };
        let egress = self.resolve(connector, &mut credentials, used).await?;
        let cx = OpenContext { connection: id, egress, host, ..self.context(id) };
        let session = connector.open(credentials, &cx).await?;
        Ok(Opened { session, connection, _turn: turn })
    }

    /// What sessions need besides credentials, for a connection without an agent.
    pub fn context(&self, connection: ConnectionId) -> OpenContext {
        OpenContext {
            connection,
            egress: Arc::clone(&self.egress),
            digest_key: self.digest_key.clone(),
            call_timeout: CALL_TIMEOUT,
            host: None,
        }
    }
}

/// A target, where it is, and what operators say about it.
#[derive(Clone, Debug)]
pub struct Located {
    pub target: TargetRef,
    pub connection: ConnectionId,
    pub home: Arc<Active>,
    pub environment: Option<Environment>,
    pub critical: bool,
}

impl Located {
    /// Why an action of a draft does not fit the target, if it does not. The targets of a rollout may be on
    /// any connection of the action's connector, all others on that of the draft.
    pub fn fits(&self, draft: &Draft, spec: &ActionSpec) -> Result<(), String> {
        let TargetRef { name, kind, .. } = &self.target;
        let is_at_home = self.connection == draft.connection
            || (draft.rollout.is_some() && spec.id.split('.').next() == Some(&self.home.connector));
        if !is_at_home {
            return Err(format!("'{name}' belongs to another connection"));
        }
        if !spec.target_types.contains(kind) {
            let wanted = spec.target_types.join(" or ");
            return Err(format!("'{name}' is a {kind}, {} needs a {wanted}", spec.id));
        }
        Ok(())
    }
}

/// Who owns a connection's credentials in the secret table.
pub fn owner(connection: ConnectionId) -> String {
    format!("connection:{connection}")
}

/// Who owns a change's before-states and produced secrets in the secret table.
pub fn change_owner(change: ChangeId) -> String {
    format!("change:{change}")
}
