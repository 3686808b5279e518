//! What can be asked of an asset.

use crate::asset::event::Facts;
use crate::id::{ChangeId, ConnectionId};
use crate::risk::Environment;

#[derive(Clone, Debug, PartialEq)]
pub enum AssetCommand {
    /// A discovery found it: by Nexplane, an operator or an admin. Nothing happens when the facts
    /// are those of the last time.
    Observe {
        connection: ConnectionId,
        /// Asset type, such as `postgres_role`.
        asset_type: String,
        /// Stable key within the connection.
        external_key: String,
        /// Label of the connection; counts when the asset is new.
        environment: Environment,
        /// In any order: relations are sorted and deduplicated here.
        facts: Facts,
        /// The change that made the difference to the last time, when there is one; counts when an
        /// asset that was there has changed.
        explained_by: Option<ChangeId>,
    },
    /// A complete discovery did not find it: by Nexplane, an operator or an admin. Nothing happens
    /// when it is gone already.
    MarkGone,
    /// By an operator or an admin: all the fields that belong to operators, those that stay as they
    /// are included. Also for an asset that is gone. Nothing happens when they are so already.
    Annotate {
        /// Who answers for it; 1–100 characters. A team and not a person: the log is never erased.
        owner: Option<String>,
        /// At most 20 of 1–40 characters; a set, sorted and deduplicated here.
        tags: Vec<String>,
        critical: bool,
        /// In place of the label of its connection.
        environment: Option<Environment>,
    },
}
