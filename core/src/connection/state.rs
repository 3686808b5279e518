//! One struct per phase: a field that makes no sense in a phase does not exist there.

use serde_json::Value;

use crate::connection::event::Limits;
use crate::id::{HostId, SecretId};
use crate::risk::Environment;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum ConnectionState {
    #[default]
    Absent,
    Active(Active),
    Removed(Removed),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    pub name: String,
    /// Connector id.
    pub connector: String,
    pub environment: Environment,
    /// Credentials without their secret fields.
    pub settings: Value,
    pub credentials: Option<SecretId>,
    /// The host that a built-in connection belongs to.
    pub host: Option<HostId>,
    pub limits: Limits,
    /// Seconds from one discovery to the next; none: only when somebody asks.
    pub discover_every_s: Option<u32>,
    /// When the next one is to be.
    pub discover_next: Option<Timestamp>,
}

impl Active {
    /// Whether it belongs to a host, which makes it and takes it away.
    pub const fn is_built_in(&self) -> bool {
        self.host.is_some()
    }
}

/// What is left of a removed connection; its credentials are not.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    pub name: String,
    pub at: Timestamp,
}
