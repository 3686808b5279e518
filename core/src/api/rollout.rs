//! Changes on many targets as the API shows them.

use serde::{Deserialize, Serialize};

use crate::api::RunView;
use crate::id::{AssetId, RunId};
use crate::plan::Step;
use crate::rollout::event::{Strategy, Tally};
use crate::time::Timestamp;

/// How the many targets of a change are gone through, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutView {
    pub strategy: Strategy,
    /// Number of targets of the change.
    pub targets: u32,
    /// Since it was executed; added when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RolloutProgress>,
}

/// Where a rollout is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutProgress {
    /// `running`, `paused`, `stopped`, or how it ended: `complete`, `failed`, `outcome_unknown`,
    /// `rollback_partial`, `rollback_blocked`.
    pub state: String,
    /// Why it is paused, was stopped, or did not end well.
    pub reason: Option<String>,
    /// Targets that take part: those of the plan.
    pub size: u32,
    /// Targets that are waiting for their turn.
    pub waiting: u32,
    pub executing: u32,
    #[serde(flatten)]
    pub tally: Tally,
    /// Targets that were complete, and that a rollback of the change has undone since.
    #[serde(default)]
    pub rolled_back: u32,
    /// Batches that have begun; the first is the canary.
    pub batches: u32,
    /// Batches that the strategy makes of all targets. On a rollback it can take more: what was moved since
    /// says nothing, and the targets after it are the canary then.
    #[serde(default)]
    pub batches_planned: u32,
}

/// `GET /change-requests/{id}/targets`: one target of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutTargetView {
    /// Its place in the order of the plan, from 0.
    pub no: u32,
    pub asset: AssetId,
    pub name: String,
    pub state: TargetState,
    /// Why it did not end well.
    pub reason: Option<String>,
    /// Its run, once it has begun.
    pub run: Option<RunId>,
    /// Since when it is where it is.
    pub since: Timestamp,
    /// Of the event that brought it there.
    pub position: u64,
    /// What it waits for, in one sentence, while it is not over; added when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// `GET /change-requests/{id}/targets/order`: where every target is, without its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutTargetOrder {
    /// What moved after it is what `since` asks for.
    pub position: u64,
    /// In the order of the list: those that need somebody first.
    pub groups: Vec<RolloutTargetGroup>,
}

/// All targets that are in one state, or those of them that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutTargetGroup {
    pub state: TargetState,
    /// Their numbers, ascending: first and last of each stretch without a gap.
    pub stretches: Vec<(u32, u32)>,
}

/// `GET /change-requests/{id}/targets/{no}`: one target of a rollout with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RolloutTargetDetail {
    pub target: RolloutTargetView,
    /// As planned.
    pub step: Step,
    /// How it went, once it has begun.
    pub run: Option<RunView>,
    /// When it did not end well: what one can do.
    pub advice: Option<String>,
}

/// Where one target of a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    Waiting,
    Executing,
    Complete,
    Failed,
    OutcomeUnknown,
    /// The rollout was stopped before anything was sent to it.
    NotStarted,
    /// It was complete, and a rollback of the change has undone it.
    RolledBack,
}

impl TargetState {
    /// In the order of lists: what needs somebody comes first.
    pub const ALL: [Self; 7] = [
        Self::Failed,
        Self::OutcomeUnknown,
        Self::Executing,
        Self::Waiting,
        Self::NotStarted,
        Self::Complete,
        Self::RolledBack,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Executing => "executing",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NotStarted => "not_started",
            Self::RolledBack => "rolled_back",
        }
    }
}
