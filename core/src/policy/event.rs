//! What can happen to the policy.

use serde::{Deserialize, Serialize};

use crate::policy::document::PolicyDocument;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum PolicyEvent {
    /// In force from here on, for submissions that come after it. The version before is retired.
    #[serde(rename = "policy.published")]
    Published {
        /// From 2; version 1 is built in.
        version: u32,
        document: PolicyDocument,
        /// Why, in the words of who published it.
        note: String,
    },
}
