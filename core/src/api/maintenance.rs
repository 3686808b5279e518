//! Maintenance windows, as the API shows and takes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::ScopeRequest;
use crate::calendar::event::Scope;
use crate::id::{PersonId, WindowId};
use crate::recurrence::Recurrence;
use crate::time::Timestamp;

/// Where a maintenance window is in its life, at the moment that it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// What it covers may run.
    Open,
    Closed,
    Removed,
}

impl WindowState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Removed => "removed",
        }
    }
}

/// One row of `GET /maintenance-windows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowView {
    pub id: WindowId,
    pub state: WindowState,
    pub name: String,
    pub scope: Scope,
    pub slots: Recurrence,
    /// The pattern in English.
    pub description: String,
    /// While it is open: when this slot ends.
    #[serde(default)]
    pub closes: Option<Timestamp>,
    /// When the next slots begin; none when it was removed.
    pub next: Vec<Timestamp>,
    pub defined_by: PersonId,
    pub defined_at: Timestamp,
    #[serde(default)]
    pub removed_by: Option<PersonId>,
    #[serde(default)]
    pub removed_at: Option<Timestamp>,
    #[serde(default)]
    pub removed_reason: Option<String>,
    /// Names of the people that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// `POST /maintenance-windows`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DefineWindowRequest {
    /// 1–100 characters; who waits for it reads it.
    pub name: String,
    pub scope: ScopeRequest,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// IANA name of the time zone that `cron` is in.
    pub zone: String,
    /// Seconds that a slot lasts: a minute to a week.
    pub duration_s: u32,
}

/// `POST /change-requests/{id}/override-window`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OverrideWindowRequest {
    /// 1–2,000 characters; whoever reviews it afterwards reads it.
    pub justification: String,
}
