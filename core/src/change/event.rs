//! What can happen to a change.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{
    AssetId, ChangeId, ConnectionId, FreezeId, PersonId, ProjectId, RunId, ScheduleId, SecretId,
};
use crate::plan::{Plan, PlanDigest};
use crate::policy::{OnConflict, Seat};
use crate::risk::{Environment, Risk};
use crate::rollout::event::Strategy;
use crate::time::Timestamp;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Draft {
    pub title: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Action id.
    pub change_type: String,
    pub connection: ConnectionId,
    pub targets: Vec<AssetId>,
    pub parameters: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// How its targets are gone through; none when they are done one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Strategy>,
    /// Whether what it did is undone when its run fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
}

/// When a change may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// What the policy asks for, fixed at submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quorum {
    pub policy_version: u32,
    /// The rule that matched, in words.
    pub rule: String,
    pub approvals: u32,
    /// One of them has to be an admin's.
    pub admin: bool,
    /// Seconds between the last approval and the earliest execution.
    pub delay_s: u32,
    /// Seconds that approvals stay valid.
    pub valid_s: u32,
    /// What becomes of it while a change that meets it comes first.
    #[serde(default, skip_serializing_if = "OnConflict::is_usual")]
    pub on_conflict: OnConflict,
    /// Whether a responder may stand for all of it. Once nothing was said of that: then nobody may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// Whose approvals have to be among them; nobody's in particular when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
}

/// The approval that a rollback has of the change that it undoes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Beforehand {
    /// The run that failed.
    pub run: RunId,
    /// Who had approved the plan of that run, which said that it goes back.
    pub approvers: Vec<PersonId>,
}

/// A secret that an execution produced; its value is in the secret table only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Produced {
    pub id: SecretId,
    pub name: String,
}

/// What a person found when they looked at a target that could not be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The effect took place.
    Applied,
    /// It did not.
    NotApplied,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum ChangeEvent {
    #[serde(rename = "change.drafted")]
    Drafted {
        draft: Draft,
        /// Set on a rollback: the change that it undoes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollback_of: Option<ChangeId>,
    },
    /// A schedule made it of its template. Whoever edited that counts as an editor of the change.
    #[serde(rename = "change.made_by_schedule")]
    MadeBySchedule { schedule: ScheduleId, editors: Vec<PersonId> },
    /// It may be made a member of this project from here on, and of no other while it is one.
    #[serde(rename = "change.joined_project")]
    JoinedProject { project: ProjectId },
    #[serde(rename = "change.edited")]
    Edited { draft: Draft },
    #[serde(rename = "change.planned")]
    Planned { plan: Box<Plan> },
    #[serde(rename = "change.submitted")]
    Submitted {
        digest: PlanDigest,
        environment: Environment,
        risk: Risk,
        quorum: Quorum,
        /// The tags of its targets, as the policy was asked. Once they were not recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<BTreeSet<String>>,
        /// On a rollback that was approved together with the change that it undoes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beforehand: Option<Beforehand>,
    },
    #[serde(rename = "change.approval_given")]
    ApprovalGiven {
        digest: PlanDigest,
        comment: Option<String>,
        as_admin: bool,
        /// Who had delegated approving to the person who gave it, and whose approval it is.
        #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
        delegator: Option<PersonId>,
    },
    /// The quorum is complete.
    #[serde(rename = "change.approved")]
    Approved { digest: PlanDigest, not_before: Timestamp, until: Timestamp },
    #[serde(rename = "change.rejected")]
    Rejected { digest: PlanDigest, reason: String },
    #[serde(rename = "change.withdrawn")]
    Withdrawn {},
    #[serde(rename = "change.cancelled")]
    Cancelled { reason: String },
    #[serde(rename = "change.expired")]
    Expired {},
    /// A responder lets the plan in review pass a freeze. Void once the review is reopened.
    #[serde(rename = "change.freeze_overridden")]
    FreezeOverridden { freeze: FreezeId, justification: String },
    /// A responder lets the plan in review run outside of maintenance windows. Void once the review is
    /// reopened.
    #[serde(rename = "change.window_overridden")]
    WindowOverridden { justification: String },
    /// A responder stands for the whole quorum of the plan in review. Void once the review is reopened.
    #[serde(rename = "change.glass_broken")]
    GlassBroken { digest: PlanDigest, justification: String },
    /// Somebody asked for its execution, which has to wait until `opens`; or the timer found then that it
    /// has to wait longer.
    #[serde(rename = "change.scheduled")]
    Scheduled {
        opens: Timestamp,
        /// Set when Nexplane asked for somebody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_by: Option<PersonId>,
    },
    /// It is approved still, and somebody has to ask again.
    #[serde(rename = "change.unscheduled")]
    Unscheduled { reason: String },
    #[serde(rename = "change.execution_started")]
    ExecutionStarted { run: RunId, digest: PlanDigest },
    /// All that its run did can be undone until then, as the target says.
    #[serde(rename = "change.undo_limited")]
    UndoLimited { run: RunId, until: Timestamp },
    #[serde(rename = "change.completed")]
    Completed { run: RunId, secrets: Vec<Produced> },
    #[serde(rename = "change.failed")]
    Failed { run: RunId, reason: String, secrets: Vec<Produced> },
    #[serde(rename = "change.outcome_unknown")]
    OutcomeUnknown { run: RunId, reason: String, secrets: Vec<Produced> },
    /// A person looked at the target, and says what became of it. That is no reading of it.
    #[serde(rename = "change.settled")]
    Settled { run: RunId, finding: Found, evidence: String },
    /// A rollback of this change began to run.
    #[serde(rename = "change.rollback_started")]
    RollbackStarted { rollback: ChangeId, run: RunId },
    #[serde(rename = "change.rolled_back")]
    RolledBack { rollback: ChangeId, run: RunId },
    /// On the change and on its rollback: some steps are undone, some are not.
    #[serde(rename = "change.rollback_partial")]
    RollbackPartial { rollback: ChangeId, run: RunId, reason: String },
    /// On the change and on its rollback: somebody moved the target, nothing was undone there.
    #[serde(rename = "change.rollback_blocked")]
    RollbackBlocked { rollback: ChangeId, run: RunId, reason: String },
    /// Somebody who had no part in it looked at what was done in spite of a freeze.
    #[serde(rename = "change.reviewed")]
    Reviewed { comment: String },
    /// A produced secret was handed over.
    #[serde(rename = "change.secret_revealed")]
    SecretRevealed { secret: SecretId },
}
