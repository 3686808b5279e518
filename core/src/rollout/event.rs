//! What can happen in a rollout.

use serde::{Deserialize, Serialize};

use crate::id::{ChangeId, ManifestId, PersonId, RunId};
use crate::plan::PlanDigest;
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

/// How the targets of a change are gone through. People approve it with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// Targets of the first batch, 1 to 1,000. If one of them does not end well, the rollout stops.
    pub canary: u32,
    /// Targets of each batch after that, 1 to 1,000.
    pub batch: u32,
    /// Targets that are worked on at the same time, 1 to 100.
    pub parallel: u32,
    /// Seconds between two batches, up to a day.
    #[serde(default)]
    pub pause_s: u32,
    /// How many targets may fail, or end with an unknown outcome, before the rollout stops.
    #[serde(default)]
    pub max_failed: u32,
    /// After the canary a person has to let it go on.
    #[serde(default)]
    pub hold_after_canary: bool,
}

/// How targets ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tally {
    pub complete: u32,
    pub failed: u32,
    pub unknown: u32,
    /// The rollout stopped before anything was sent to them.
    pub not_started: u32,
}

/// Which part of a rollout a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Part {
    pub rollout: crate::id::RolloutId,
    pub manifest: ManifestId,
    /// Number of the step in the manifest.
    pub no: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum RolloutEvent {
    #[serde(rename = "rollout.started")]
    Started {
        change: ChangeId,
        digest: PlanDigest,
        manifest: ManifestId,
        /// Number of parts.
        size: u32,
        strategy: Strategy,
        approvals: Vec<PersonId>,
        /// On a rollback: the rollout that it undoes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<RunId>,
    },
    #[serde(rename = "rollout.batch_begun")]
    BatchBegun {
        /// From 0, which is the canary.
        no: u32,
        /// Its first part.
        first: u32,
        count: u32,
    },
    #[serde(rename = "rollout.batch_ended")]
    BatchEnded {
        no: u32,
        tally: Tally,
        /// On a rollback, of those that failed: what somebody had moved, or taken away, since the change.
        /// Nothing was sent there.
        #[serde(default, skip_serializing_if = "none")]
        moved: u32,
        /// The earliest moment from which something that was done so far cannot be undone any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo_until: Option<Timestamp>,
    },
    /// No further target is begun until somebody lets it go on.
    #[serde(rename = "rollout.paused")]
    Paused { reason: String },
    #[serde(rename = "rollout.resumed")]
    Resumed {},
    /// No further target is begun, for good.
    #[serde(rename = "rollout.stopped")]
    Stopped { reason: String },
    #[serde(rename = "rollout.finished")]
    Finished { outcome: RunOutcome, reason: Option<String>, tally: Tally },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it like this")]
const fn none(count: &u32) -> bool {
    *count == 0
}

impl Tally {
    /// All of them.
    pub const fn sum(&self) -> u32 {
        self.complete
            .saturating_add(self.failed)
            .saturating_add(self.unknown)
            .saturating_add(self.not_started)
    }

    /// Those that something was sent to, when so many of the failed were moved before.
    pub const fn tried(&self, moved: u32) -> u32 {
        self.complete.saturating_add(self.bad().saturating_sub(moved))
    }

    /// Those that did not end well.
    pub const fn bad(&self) -> u32 {
        self.failed.saturating_add(self.unknown)
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            complete: self.complete.saturating_add(other.complete),
            failed: self.failed.saturating_add(other.failed),
            unknown: self.unknown.saturating_add(other.unknown),
            not_started: self.not_started.saturating_add(other.not_started),
        }
    }
}
