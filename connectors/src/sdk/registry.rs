//! Every connector of this build, by id.

use std::fmt;

use nexplane_core::catalog::Catalog;

use super::connector::Connector;
use super::erased::{AnyAction, AnyConnector};
use super::typed::TypedConnector;
use crate::aws::Aws;
use crate::host::Host;
use crate::ldap::Directory;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::ssh::Ssh;
use crate::vault::Vault;

/// Every connector of this build.
pub struct Registry {
    connectors: Vec<Box<dyn AnyConnector>>,
}

impl Registry {
    /// All connectors, one line each.
    pub fn standard() -> Self {
        Self::of(vec![
            // Sorted by id when it is made; here by name.
            entry::<Aws>(),
            entry::<Directory>(),
            entry::<Host>(),
            entry::<Postgres>(),
            entry::<Redis>(),
            entry::<Ssh>(),
            entry::<Vault>(),
        ])
    }

    fn of(mut connectors: Vec<Box<dyn AnyConnector>>) -> Self {
        connectors.sort_by(|one, other| one.spec().id.cmp(&other.spec().id));
        Self { connectors }
    }

    /// Also this one.
    #[must_use]
    pub fn with<C: Connector>(mut self) -> Self {
        self.connectors.push(entry::<C>());
        Self::of(self.connectors)
    }

    /// What the connectors say of themselves.
    pub fn catalog(&self) -> Catalog {
        Catalog {
            connectors: self.connectors.iter().map(|connector| connector.spec().clone()).collect(),
        }
    }

    pub fn connectors(&self) -> impl Iterator<Item = &dyn AnyConnector> {
        self.connectors.iter().map(|connector| &**connector)
    }

    /// By connector id, such as `postgres`.
    pub fn connector(&self, id: &str) -> Option<&dyn AnyConnector> {
        self.connectors().find(|connector| connector.spec().id == id)
    }

    /// By action id, such as `postgres.lock_user`.
    pub fn action(&self, id: &str) -> Option<&dyn AnyAction> {
        self.connectors()
            .flat_map(AnyConnector::actions)
            .map(|action| &**action)
            .find(|action| action.spec().id == id)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.connectors().map(|connector| &connector.spec().id)).finish()
    }
}

fn entry<C: Connector>() -> Box<dyn AnyConnector> {
    Box::new(TypedConnector::<C>::new())
}
