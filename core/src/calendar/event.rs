//! What can happen in the calendar.

use serde::{Deserialize, Serialize};

use crate::id::{FreezeId, WindowId};
use crate::recurrence::Recurrence;
use crate::risk::Environment;
use crate::time::Timestamp;

/// What a freeze or a maintenance window covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    All,
    /// Changes submitted for this environment.
    Environment {
        environment: Environment,
    },
    /// Changes with a target that operators gave this tag.
    Tag {
        tag: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum CalendarEvent {
    /// From `start`, but not before this event, and until just before `end`.
    #[serde(rename = "calendar.freeze_declared")]
    FreezeDeclared {
        freeze: FreezeId,
        scope: Scope,
        start: Timestamp,
        end: Timestamp,
        reason: String,
    },
    /// Before its time was over.
    #[serde(rename = "calendar.freeze_ended")]
    FreezeEnded { freeze: FreezeId, reason: String },
    /// From here on, what it covers runs in its slots alone, or in those of another that covers it.
    #[serde(rename = "calendar.window_defined")]
    WindowDefined { window: WindowId, name: String, scope: Scope, slots: Recurrence },
    #[serde(rename = "calendar.window_removed")]
    WindowRemoved { window: WindowId, reason: String },
}
