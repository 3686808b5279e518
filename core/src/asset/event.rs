//! What can happen to an asset.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{AssetId, ChangeId, ConnectionId};
use crate::risk::Environment;

/// A directed relation, such as `member_of`, to another asset of the same connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Relation {
    pub kind: String,
    pub to: AssetId,
}

/// What discovery says of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Facts {
    pub name: String,
    pub metadata: Value,
    /// Sorted.
    pub relations: Vec<Relation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum AssetEvent {
    #[serde(rename = "asset.discovered")]
    Discovered {
        connection: ConnectionId,
        /// Asset type, such as `postgres_role`.
        asset_type: String,
        external_key: String,
        environment: Environment,
        facts: Facts,
    },
    /// A later discovery differs from the last one.
    #[serde(rename = "asset.drifted")]
    Drifted {
        facts: Facts,
        /// The change that explains it; none means that nobody here did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explained_by: Option<ChangeId>,
    },
    #[serde(rename = "asset.gone")]
    Gone {},
    #[serde(rename = "asset.returned")]
    Returned { facts: Facts },
    /// The fields that belong to operators.
    #[serde(rename = "asset.annotated")]
    Annotated {
        owner: Option<String>,
        tags: Vec<String>,
        critical: bool,
        environment: Option<Environment>,
    },
}
