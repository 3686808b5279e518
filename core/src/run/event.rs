//! What can happen in a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::change::event::Produced;
use crate::id::{ChangeId, PersonId, RunId, SecretId};
use crate::plan::{Field, Fingerprint, Plan};
use crate::rollout::event::Part;
use crate::time::Timestamp;

/// A target's state as captured right before the effect. What must stay secret is in the secret
/// table under `sealed`; the fields are what people may see of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Captured {
    pub fields: Vec<Field>,
    pub fingerprint: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SecretId>,
}

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reason {
    /// Stable word: a connector's error kind, or `crash`, `unverified`, `moved`, `precheck`, `frozen`,
    /// `window_closed`, `stopped`, `cancelled`, `too_late`, `time_over`, `approval_expired`,
    /// `window_over`, `project_stopped`, `dependency_missing`.
    pub kind: String,
    /// For people; holds no secret.
    pub message: String,
}

impl Reason {
    /// On the way back: somebody moved the target, or took it away, since. Nothing was sent to it, and how it
    /// would have gone says nothing of others.
    pub fn is_moved(&self) -> bool {
        matches!(self.kind.as_str(), "moved" | "not_found")
    }
}

/// What reading the target said about an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Applied,
    NotApplied,
    Conflict,
}

/// What a worker says of its effect after it was fenced off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum LateReport {
    Succeeded {
        outcome: Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        produced: Vec<Produced>,
    },
    /// The target said no.
    Failed { reason: Reason },
    /// There was no answer that says what became of it.
    Unknown { reason: Reason },
}

impl LateReport {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "it had its effect",
            Self::Failed { .. } => "the target refused it",
            Self::Unknown { .. } => "there was no answer",
        }
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    Complete,
    Failed,
    OutcomeUnknown,
    RollbackPartial,
    RollbackBlocked,
}

impl RunOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RollbackPartial => "rollback_partial",
            Self::RollbackBlocked => "rollback_blocked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum RunEvent {
    #[serde(rename = "run.started")]
    Started {
        change: ChangeId,
        plan: Box<Plan>,
        approvals: Vec<PersonId>,
        /// On a rollback: the run that it undoes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<RunId>,
        /// Which part of a rollout it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<Part>,
    },
    /// A worker took the lease; all earlier epochs are fenced off.
    #[serde(rename = "run.claimed")]
    Claimed { epoch: u32, worker: Uuid },
    /// Durable before the effect is sent. Nothing is sent without it.
    #[serde(rename = "run.step_intended")]
    StepIntended { step: u32, epoch: u32, attempt: u32, key: String, before: Captured },
    #[serde(rename = "run.step_succeeded")]
    StepSucceeded {
        step: u32,
        epoch: u32,
        outcome: Value,
        produced: Vec<Produced>,
        /// Until when the target says that it can be undone; it says nothing of that when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo_until: Option<Timestamp>,
    },
    /// The target said no; nothing changed.
    #[serde(rename = "run.step_failed")]
    StepFailed { step: u32, epoch: u32, reason: Reason },
    #[serde(rename = "run.step_unknown")]
    StepUnknown { step: u32, epoch: u32, reason: Reason },
    #[serde(rename = "run.step_reconciled")]
    StepReconciled {
        step: u32,
        finding: Finding,
        /// What was read, or what the person who settled it wrote.
        evidence: String,
        observed: Vec<Field>,
        /// Secrets of an effect that turned out to have happened.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        produced: Vec<Produced>,
    },
    /// The target was read and has the intended state.
    #[serde(rename = "run.step_verified")]
    StepVerified { step: u32, observed: Vec<Field>, fingerprint: Fingerprint },
    /// The target was read and does not have it.
    #[serde(rename = "run.step_unverified")]
    StepUnverified { step: u32, observed: Vec<Field>, reason: Reason },
    /// The target is not what the plan, or the step to be undone, left behind; or a gate closed. Nothing
    /// was sent.
    #[serde(rename = "run.step_blocked")]
    StepBlocked {
        step: u32,
        before: Vec<Field>,
        after: Vec<Field>,
        now: Vec<Field>,
        reason: Reason,
    },
    /// Somebody asked that no further step begins. What is under way comes to its end.
    #[serde(rename = "run.cancel_asked")]
    CancelAsked { reason: String },
    /// Of an effect that an earlier epoch had sent. It is evidence for people, and changes nothing.
    #[serde(rename = "run.late_reported")]
    LateReported { step: u32, epoch: u32, report: LateReport },
    #[serde(rename = "run.finished")]
    Finished { outcome: RunOutcome, reason: Option<String>, secrets: Vec<Produced> },
}
