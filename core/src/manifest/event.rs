//! What can happen to a manifest.

use serde::{Deserialize, Serialize};

use crate::id::ChangeId;
use crate::plan::Step;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum ManifestEvent {
    /// More of its steps, in order; the number of each is its place, from 0.
    #[serde(rename = "manifest.page_added")]
    PageAdded { change: ChangeId, steps: Vec<Step> },
}
