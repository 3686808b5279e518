//! Recurring changes, as the API shows and takes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::ChangeState;
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId, ScheduleId};
use crate::schedule::event::Skip;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScheduleState {
    Active,
    Paused,
    Deleted,
}

impl ScheduleState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Deleted => "deleted",
        }
    }
}

/// One row of `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduleView {
    pub id: ScheduleId,
    pub state: ScheduleState,
    /// Title, reason and so on are those of every change that it makes.
    pub title: String,
    pub reason: String,
    #[serde(default)]
    pub ticket: Option<String>,
    pub change_type: String,
    pub connection_id: ConnectionId,
    pub targets: Vec<AssetId>,
    pub parameters: Value,
    pub cron: String,
    pub zone: String,
    /// The pattern in English.
    pub description: String,
    /// In whose name changes are made.
    pub owner: PersonId,
    /// Like the owner, they never approve what is made from now on.
    pub editors: Vec<PersonId>,
    /// The next ticks; none when it is paused or deleted.
    pub next: Vec<Timestamp>,
    /// What it waits for, or why it does not; in one sentence.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// The change of the last tick at which one was made.
    #[serde(default)]
    pub last_change: Option<LastChange>,
    /// The last ticks at which nothing was made, newest first.
    pub skipped: Vec<SkippedView>,
    /// All of them.
    pub skipped_in_all: u64,
    /// Why it is paused or deleted.
    #[serde(default)]
    pub stopped_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
    pub position: u64,
    /// Names of the people that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastChange {
    pub id: ChangeId,
    pub tick: Timestamp,
    /// As people see it; added when it is read.
    #[serde(default)]
    pub number: Option<u64>,
    #[serde(default)]
    pub state: Option<ChangeState>,
    /// That is what a person found; added when it is read.
    #[serde(default)]
    pub settled: bool,
    /// Why it could not be prepared.
    #[serde(default)]
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SkippedView {
    /// The last of them.
    pub tick: Timestamp,
    pub ticks: u32,
    pub why: Skip,
}

/// `POST /schedules`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewScheduleRequest {
    pub title: String,
    pub reason: String,
    #[serde(default)]
    pub ticket: Option<String>,
    pub change_type: String,
    pub connection_id: ConnectionId,
    /// Asset ids, or keys `<connection name>/<external key>`.
    pub targets: Vec<String>,
    #[serde(default = "nothing")]
    pub parameters: Value,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// IANA name of the time zone that `cron` is in.
    pub zone: String,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// `PATCH /schedules/{id}`: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditScheduleRequest {
    pub title: Option<String>,
    pub reason: Option<String>,
    pub ticket: Option<String>,
    pub targets: Option<Vec<String>>,
    pub parameters: Option<Value>,
    pub cron: Option<String>,
    pub zone: Option<String>,
}
