//! Changes on many targets as the API shows them.

use serde::{Deserialize, Serialize};

use crate::id::{AssetId, RunId};
use crate::rollout::event::{Strategy, Tally};

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
    /// Batches that have begun; the first is the canary.
    pub batches: u32,
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
}

impl TargetState {
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::OutcomeUnknown,
        Self::Executing,
        Self::Waiting,
        Self::NotStarted,
        Self::Complete,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Executing => "executing",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NotStarted => "not_started",
        }
    }
}
