//! What every handler may use.

use std::sync::Arc;

use nexplane_core::time::Timestamp;
use nexplane_projections::Projections;
use nexplane_store::log::Log;
use nexplane_store::log::seal::{SealError, Seals};
use sqlx::PgPool;

use crate::auth::People;
use crate::directory::Directory;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::problem::ApiError;
use crate::replay::Guest;
use crate::runtime::{AssessError, Discoverer, Engine, OpenError, PlanError, Planner, Targets};
use crate::vault::Vault;

/// The server's parts, shared by all requests.
#[derive(Clone)]
pub struct App(pub Arc<Parts>);

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

pub struct Parts {
    pub pool: PgPool,
    pub log: Log,
    pub seals: Seals,
    /// The log's public key, when this server seals it.
    pub log_key: Option<String>,
    pub projections: Projections,
    pub directory: Directory,
    pub people: People,
    pub vault: Vault,
    pub targets: Targets,
    pub planner: Planner,
    pub discoverer: Discoverer,
    pub engine: Engine,
    pub gateway: Option<Gateway>,
    /// Who looks at it, when it is a replay of an earlier moment.
    pub guest: Option<Guest>,
    /// It is a sandbox.
    pub demo: bool,
    pub metrics: Metrics,
    pub throttle: crate::auth::Throttle,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The moment that is shown, when it is not the present.
    pub fn moment(&self) -> Option<Timestamp> {
        self.guest.as_ref().map(Guest::moment)
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoConnection => Self::not_found("connection"),
            OpenError::NoConnector(_) | OpenError::NoAction(_) => Self::invalid_field(
                "/change_type",
                format!("{error}; GET /api/v1/catalog lists what there is"),
            ),
            OpenError::Connection(error) => error.into(),
            OpenError::Load(error) => error.into(),
            OpenError::Vault(error) => Self::internal(error),
            OpenError::Connector(error) => error.into(),
        }
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Open(error) => error.into(),
            PlanError::Parameters(errors) => Self::invalid(errors),
            PlanError::Target(index, why) => Self::invalid_field(&format!("/targets/{index}"), why),
            PlanError::Write(error) => error.into(),
            PlanError::NothingToUndo => Self::conflict(
                "change.not_in_state",
                "None of its steps took effect, so there is nothing to undo.",
            ),
        }
    }
}

impl From<AssessError> for ApiError {
    fn from(error: AssessError) -> Self {
        match error {
            AssessError::Open(error) => error.into(),
            AssessError::Query(error) => error.into(),
        }
    }
}

impl From<crate::vault::VaultError> for ApiError {
    fn from(error: crate::vault::VaultError) -> Self {
        Self::internal(error)
    }
}

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Unavailable(error) => error.into(),
            SealError::NotNewest { .. } | SealError::Forked { .. } => Self::internal(error),
        }
    }
}

impl From<nexplane_projections::QueryError> for ApiError {
    fn from(error: nexplane_projections::QueryError) -> Self {
        match error {
            nexplane_projections::QueryError::Cursor => {
                Self::malformed("The cursor is not one that this list gave out.")
            }
            nexplane_projections::QueryError::Database(error) => error.into(),
            nexplane_projections::QueryError::Row(_)
            | nexplane_projections::QueryError::Log(_)
            | nexplane_projections::QueryError::Event(_) => Self::internal(error),
        }
    }
}

impl From<crate::runtime::DiscoverError> for ApiError {
    fn from(error: crate::runtime::DiscoverError) -> Self {
        use crate::runtime::DiscoverError as E;
        match error {
            E::Open(error) => error.into(),
            E::Asset(error) => error.into(),
            E::Inventory(error) => error.into(),
        }
    }
}
