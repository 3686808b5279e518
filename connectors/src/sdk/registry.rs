//! Every connector of this build, by id.

use std::fmt;

use nexplane_core::catalog::Catalog;

use super::connector::Connector;
use super::erased::{AnyAction, AnyConnector};
use super::typed::TypedConnector;
use crate::aws::Aws;
use crate::host::Host;
use crate::postgres::Postgres;

/// Every connector of this build.
pub struct Registry {
    connectors: Vec<Box<dyn AnyConnector>>,
}

impl Registry {
    /// All connectors, alphabetical, one line each.
    pub fn standard() -> Self {
        Self { connectors: vec![entry::<Aws>(), entry::<Host>(), entry::<Postgres>()] }
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
