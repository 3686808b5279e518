//! What can happen to a schedule.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::event::Draft;
use crate::id::{AssetId, ChangeId, ConnectionId};
use crate::recurrence::Recurrence;
use crate::time::Timestamp;

/// What every change that it makes asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Template {
    pub title: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Action id.
    pub change_type: String,
    pub connection: ConnectionId,
    pub targets: Vec<AssetId>,
    pub parameters: Value,
}

/// When it makes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timing {
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// IANA name of the time zone that `cron` is in, such as `Europe/Vienna`.
    pub zone: String,
}

/// Why nothing was made at a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Skip {
    /// Nobody was there to see it; the server was down, or could not reach its database.
    Missed,
    /// The change of an earlier tick has not ended.
    Open { change: ChangeId },
    /// Its owner may not propose changes.
    Owner { problem: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum ScheduleEvent {
    /// Whoever does it owns it.
    #[serde(rename = "schedule.created")]
    Created { template: Template, timing: Timing },
    /// Whoever does it is an editor of the changes that are made from now on.
    #[serde(rename = "schedule.edited")]
    Edited { template: Template, timing: Timing },
    #[serde(rename = "schedule.paused")]
    Paused { reason: String },
    #[serde(rename = "schedule.resumed")]
    Resumed {},
    #[serde(rename = "schedule.deleted")]
    Deleted { reason: String },
    /// The tick has come, and this change is made of the template.
    #[serde(rename = "schedule.fired")]
    Fired { tick: Timestamp, change: ChangeId },
    /// Nothing is made at this tick, nor at those right before it when there are several.
    #[serde(rename = "schedule.skipped")]
    Skipped { tick: Timestamp, ticks: u32, why: Skip },
    /// The change was not brought to where it waits for people, or starts.
    #[serde(rename = "schedule.stalled")]
    Stalled { change: ChangeId, reason: String },
}

impl Template {
    /// The change that is asked for.
    pub fn draft(&self) -> Draft {
        let Self { title, reason, ticket, change_type, connection, targets, parameters } =
            self.clone();
        Draft {
            title,
            reason,
            ticket,
            change_type,
            connection,
            targets,
            parameters,
            window: None,
            auto_rollback: false,
            rollout: None,
        }
    }
}

impl From<Draft> for Template {
    /// Without a window: each of its changes would need another one. Many targets have the usual rollout.
    fn from(draft: Draft) -> Self {
        let Draft {
            title,
            reason,
            ticket,
            change_type,
            connection,
            targets,
            parameters,
            window: _,
            rollout: _,
            auto_rollback: _,
        } = draft;
        Self { title, reason, ticket, change_type, connection, targets, parameters }
    }
}

impl Timing {
    /// As a slot that comes again; how long it lasts means nothing here.
    pub fn slots(&self) -> Recurrence {
        Recurrence { cron: self.cron.clone(), zone: self.zone.clone(), duration_s: 60 }
    }
}
