//! What can happen to a gateway.

use serde::{Deserialize, Serialize};

use crate::refusal::Cause;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum GatewayEvent {
    /// Somebody was refused of whom it is not known which host they are, if any.
    #[serde(rename = "gateway.refused")]
    Refused {
        cause: Cause,
        /// How often, since `since`.
        count: u64,
        since: Timestamp,
        /// The network that they came from; none when there were too many to tell apart.
        source: Option<String>,
    },
}
