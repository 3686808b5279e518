//! One struct per phase: a field that makes no sense in a phase does not exist there.

use crate::asset::event::Facts;
use crate::id::ConnectionId;
use crate::risk::Environment;
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum AssetState {
    #[default]
    Absent,
    Present(Present),
    Gone(Gone),
}

/// What never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub connection: ConnectionId,
    /// Asset type, such as `postgres_role`.
    pub asset_type: String,
    /// Stable key within the connection.
    pub external_key: String,
    /// Label of the connection when the asset was discovered.
    pub environment: Environment,
}

/// The fields that belong to operators. Discovery never writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    pub owner: Option<String>,
    /// Sorted, without repetition.
    pub tags: Vec<String>,
    pub critical: bool,
    /// In place of the label of the connection.
    pub environment: Option<Environment>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    pub identity: Identity,
    pub facts: Facts,
    pub annotations: Annotations,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub identity: Identity,
    /// As it was when it was last seen.
    pub last_facts: Facts,
    pub annotations: Annotations,
    pub since: Timestamp,
}
