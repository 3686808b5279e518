//! Change requests as the API shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::freeze::GlassView;
use crate::api::rollout::RolloutView;
use crate::catalog::{EffectClass, Reversibility};
use crate::change::event::Found;
use crate::id::{
    AssetId, ChangeId, ConnectionId, FreezeId, PersonId, ProjectId, RunId, ScheduleId, SecretId,
};
use crate::plan::{Check, DiffLine, Field, Step};
use crate::policy::Seat;
use crate::risk::Risk;
use crate::rollout::event::Strategy;
use crate::time::Timestamp;

/// Where a change is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    Draft,
    Submitted,
    Approved,
    Scheduled,
    Executing,
    Complete,
    Failed,
    OutcomeUnknown,
    RollingBack,
    RolledBack,
    RollbackPartial,
    RollbackBlocked,
    Rejected,
    Cancelled,
    Expired,
}

impl ChangeState {
    pub const ALL: [Self; 15] = [
        Self::Draft,
        Self::Submitted,
        Self::Approved,
        Self::Scheduled,
        Self::Executing,
        Self::Complete,
        Self::Failed,
        Self::OutcomeUnknown,
        Self::RollingBack,
        Self::RolledBack,
        Self::RollbackPartial,
        Self::RollbackBlocked,
        Self::Rejected,
        Self::Cancelled,
        Self::Expired,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Submitted => "submitted",
            Self::Approved => "approved",
            Self::Scheduled => "scheduled",
            Self::Executing => "executing",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackPartial => "rollback_partial",
            Self::RollbackBlocked => "rollback_blocked",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Nothing moves from here by itself.
    pub const fn is_settled(self) -> bool {
        !matches!(
            self,
            Self::Draft
                | Self::Submitted
                | Self::Approved
                | Self::Scheduled
                | Self::Executing
                | Self::RollingBack
        )
    }
}

impl std::str::FromStr for ChangeState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("'{text}' is not a state; use one of {}", names.join(", "))
        })
    }
}

/// A change request, in lists and alone. In lists `plan`, `run` and `parameters` may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeView {
    pub id: ChangeId,
    /// Short number for people, in order of drafting, from 1.
    pub number: u64,
    pub title: String,
    pub reason: String,
    #[serde(default)]
    pub ticket: Option<String>,
    pub state: ChangeState,
    pub change_type: String,
    pub connection_id: ConnectionId,
    /// Of a rollout the first 100; `GET …/targets` has all.
    pub targets: Vec<AssetId>,
    pub parameters: Value,
    /// What it did is undone when its run fails.
    #[serde(default)]
    pub auto_rollback: bool,
    pub requester: PersonId,
    #[serde(default)]
    pub editors: Vec<PersonId>,
    pub risk: Option<Risk>,
    pub plan: Option<PlanView>,
    pub approvals: Vec<ApprovalView>,
    /// How many approvals the policy wants for the submitted plan; 0 before submission.
    pub approvals_needed: u32,
    /// One of the approvers has to be an admin.
    #[serde(default)]
    pub admin_needed: bool,
    /// Whose approvals have to be among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
    /// Execution is not possible before this moment (delay of critical changes).
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// When the approvals run out.
    #[serde(default)]
    pub approved_until: Option<Timestamp>,
    /// One sentence: what it waits for, until when, who can move it. Null when it waits for nothing.
    pub waiting_for: Option<String>,
    /// Somebody asked for its execution, which waits for a window.
    #[serde(default)]
    pub scheduled: Option<ScheduledView>,
    /// Why it was rejected, cancelled, or failed.
    #[serde(default)]
    pub closing_reason: Option<String>,
    pub run: Option<RunView>,
    /// How its targets are gone through, and how far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// Set when its outcome was unknown: `complete` and `failed` are then what a person found, and
    /// not a reading of the target.
    #[serde(default)]
    pub settled: Option<SettledView>,
    pub rollback_of: Option<ChangeId>,
    pub rolled_back_by: Option<ChangeId>,
    /// What its targets say of undoing it, once it has executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackView>,
    /// The schedule that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
    /// The project that it joined last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    #[serde(default)]
    pub secrets: Vec<SecretView>,
    /// Freezes and maintenance windows that responders let it pass.
    #[serde(default)]
    pub overrides: Vec<OverrideView>,
    /// Each time that a responder broke glass for it: no approvals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub glass: Vec<GlassView>,
    /// Something was overridden or glass was broken, and nobody who had no part in it has looked at that yet.
    #[serde(default)]
    pub review_required: bool,
    /// Until when that has to be done, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_due: Option<Timestamp>,
    /// Of what responders did for it, after it had ended.
    #[serde(default)]
    pub review: Option<ReviewView>,
    /// Stream version: the `ETag`.
    pub version: u64,
    /// Position of the last event that is in this row.
    pub position: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Names of the people, assets and connections that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Other changes that are in review, waiting or executing, and meet this one: one changes what the other
    /// changes, or what its targets are related to; the newest 20; added when it is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<ConflictView>,
    /// Freezes that stand in the way now, those that end last first; added when it is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<FrozenView>,
    /// What the person who asks may do now, and why not; added when it is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Allowed>,
}

/// A freeze that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrozenView {
    pub freeze: FreezeId,
    pub reason: String,
    /// The first moment that is free again.
    pub end: Timestamp,
}

/// Another change that is under way. Of two that execute, the one that asked first has its turn first; what
/// it does to the common targets makes the other one's plan outdated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConflictView {
    pub id: ChangeId,
    pub number: u64,
    pub title: String,
    pub state: ChangeState,
    /// The common ones.
    pub targets: Vec<AssetId>,
    #[serde(default)]
    pub kind: ConflictKind,
    /// Relations between their targets, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<ViaView>,
    /// How they meet, in a sentence.
    #[serde(default)]
    pub how: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Both change it.
    #[default]
    SameTarget,
    /// A target of one is related to a target of the other.
    Related,
}

/// A relation of the inventory: `from -kind-> to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ViaView {
    pub from: AssetId,
    /// Such as `member_of` or `owns`.
    pub kind: String,
    pub to: AssetId,
}

/// Whether the reader may do something to a change now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Allowed {
    /// `plan`, `submit`, `approve`, `reject`, `withdraw`, `cancel`, `execute`, `rollback`, `edit`,
    /// `override_freeze` while a freeze is in the way, `override_window` outside of maintenance windows,
    /// `break_glass` while it is in review, `review` while one is due, `settle` while the outcome is unknown, `pause`, `resume` and `stop` while
    /// a rollout is under way.
    pub action: String,
    pub ok: bool,
    /// Code and sentence of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanView {
    pub digest: String,
    /// Of a rollout the first ones.
    pub steps: Vec<Step>,
    /// How many steps there are.
    #[serde(default)]
    pub step_count: u32,
    /// Of the steps above.
    pub diff: Vec<DiffLine>,
    pub checks: Vec<Check>,
    /// The weakest of the steps' classes.
    pub effect_class: EffectClass,
    /// How long (seconds) its run may take in total, from its start: no step begins after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_s: Option<u32>,
    /// Every step can be undone.
    pub reversible: bool,
    pub reversibility: Reversibility,
    pub computed_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovalView {
    pub by: PersonId,
    /// Who had delegated approving to them, and whose approval it is.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub delegator: Option<PersonId>,
    pub digest: String,
    pub at: Timestamp,
    pub comment: Option<String>,
    /// A later plan made it void; kept for the history.
    #[serde(default)]
    pub superseded: bool,
}

/// When it is to start by itself, and who asked for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduledView {
    pub by: PersonId,
    /// When they asked.
    pub at: Timestamp,
    /// When it may start, as far as is known; everything is checked again then.
    pub opens: Timestamp,
}

/// A freeze that does not hold up the plan that was in review then, or maintenance windows that do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverrideView {
    /// Null for maintenance windows.
    #[serde(default)]
    pub freeze: Option<FreezeId>,
    pub by: PersonId,
    pub at: Timestamp,
    pub justification: String,
    /// The review was reopened since; kept for the history.
    #[serde(default)]
    pub superseded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReviewView {
    pub by: PersonId,
    pub at: Timestamp,
    pub comment: String,
}

/// How long a change can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RollbackView {
    /// From this moment on a rollback is refused: a target may have forgotten what it was before.
    pub possible_until: Timestamp,
}

/// What undoing a change would do, field by field: `GET /change-requests/{id}/undo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndoView {
    /// What is known of the targets now, and since when, in a sentence.
    pub says: String,
    /// When they were read last for a rollback of it; absent: not since it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// The rollback that read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<ChangeId>,
    /// In the order in which they ran; undone are the last ones first.
    pub steps: Vec<UndoStepView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndoStepView {
    pub no: u32,
    pub target: String,
    /// What it did was read back: only that is undone.
    pub undone: bool,
    /// When it was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// What undoing does here, in a sentence.
    pub says: String,
    pub fields: Vec<UndoFieldView>,
}

/// One field of a target, before and after a change, and after it is undone. Null means absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndoFieldView {
    pub name: String,
    /// Captured right before the effect.
    pub before: Value,
    /// Read back after it; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Value>,
    /// What a later reading found; absent when nobody has read it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
    /// What undoing it sets; absent when it is not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<Value>,
    /// Known to be another thing than what the change made of it.
    pub moved: bool,
    /// A secret: the values above describe it and cannot be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// What a person found when they looked at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettledView {
    pub by: PersonId,
    pub at: Timestamp,
    pub finding: Found,
    pub evidence: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunView {
    pub id: RunId,
    pub started_at: Timestamp,
    /// When its time in total is over: no step begins after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_by: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// `running`, `complete`, `failed`, `outcome_unknown`, `rollback_partial`, `rollback_blocked`.
    pub state: String,
    pub epoch: u32,
    pub steps: Vec<StepView>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepView {
    pub no: u32,
    pub action: String,
    pub target: String,
    pub state: StepState,
    pub attempt: u32,
    /// Captured right before the effect.
    pub before: Vec<Field>,
    /// Read after the effect.
    pub after: Vec<Field>,
    /// On a blocked rollback: what the target is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Vec<Field>>,
    pub reason: Option<String>,
    /// What workers said of it after their turn was over: evidence only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Planned,
    Intended,
    Succeeded,
    Verified,
    Failed,
    Unknown,
    Reconciled,
    Blocked,
}

impl StepState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Intended => "intended",
            Self::Succeeded => "succeeded",
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Reconciled => "reconciled",
            Self::Blocked => "blocked",
        }
    }
}

/// A secret that an execution produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SecretView {
    pub id: SecretId,
    pub name: String,
    pub revealed: bool,
}

/// `POST /secrets/{id}/reveal`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RevealedSecret {
    pub id: SecretId,
    pub name: String,
    pub value: String,
}

/// `POST /change-requests/{id}/settle`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    pub finding: Found,
    /// 1–4,000 characters: what you looked at, and what was there.
    pub evidence: String,
}

/// `POST /change-requests`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DraftRequest {
    pub title: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    pub change_type: String,
    pub connection_id: ConnectionId,
    /// Asset ids, or keys `<connection name>/<external key>`.
    pub targets: Vec<String>,
    #[serde(default = "empty_object")]
    pub parameters: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRequest>,
    /// How the targets are gone through. More than 100 have a careful one when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Strategy>,
    /// Whether what it did is undone when its run fails. Its approvals cover that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// When the change may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WindowRequest {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// `PATCH /change-requests/{id}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Strategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_rollback: Option<bool>,
}

/// `POST …/approve`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    pub plan_digest: String,
    #[serde(default)]
    pub comment: Option<String>,
    /// Whose approval it is, when somebody delegated theirs: an e-mail address, or the id of a person.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub delegator: Option<String>,
}

/// `POST …/reject`, `POST …/cancel`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    pub reason: String,
}

/// One row of `GET /approvals/inbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InboxItem {
    pub change: ChangeView,
    pub may_approve: bool,
    /// It has ended, and what responders did for it is to be reviewed.
    #[serde(default)]
    pub may_review: bool,
    /// Code and sentence when neither.
    pub code: Option<String>,
    pub why_not: Option<String>,
}

/// One event as `GET /change-requests/{id}/events` and `GET /audit` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventView {
    pub position: u64,
    pub id: uuid::Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    pub at: Timestamp,
    pub actor: crate::actor::Actor,
    /// Name of the person, or of the agent's host, when it still has one.
    pub actor_name: Option<String>,
    pub stream: String,
    /// Name of what the stream is about, when it has one: a person, an asset, a connection, a host, a change, a
    /// project or a recurring change.
    pub stream_name: Option<String>,
    pub version: u64,
    /// One sentence: what happened.
    pub summary: String,
    pub change_request_id: Option<ChangeId>,
    pub data: Value,
}

/// One event with its record and what is around it: `GET /audit/events/{position}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: EventView,
    /// The record's text as it is stored, byte for byte.
    pub record: String,
    /// Position of the next event of the log, when there is one.
    pub next: Option<u64>,
    pub previous_in_stream: Option<u64>,
    pub next_in_stream: Option<u64>,
    /// Where the events of the command are, of the first command of the chain, and of the cause.
    /// `None` when the log knows no such command, or the cause is an event far away.
    pub command_at: Option<Positions>,
    pub correlation_at: Option<Positions>,
    pub causation_at: Option<Positions>,
}

/// Events that follow each other in the log, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Positions {
    pub first: u64,
    pub last: u64,
}

/// Everything that is needed to check that a record is in the log, but the log's public key: that has
/// to come from somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventProof {
    pub position: u64,
    /// The record's text, byte for byte what was hashed.
    pub record: String,
    /// `SHA-256(0x00 || record)`, hexadecimal.
    pub leaf_hash: String,
    /// How many events the tree has.
    pub size: u64,
    /// Of the tree, hexadecimal.
    pub root: String,
    /// Inclusion proof, RFC 9162 section 2.1.3: hashes in hexadecimal, from the leaf upwards.
    pub path: Vec<String>,
    /// Signed note (c2sp.org/signed-note) over origin, size and root.
    pub checkpoint: String,
}
