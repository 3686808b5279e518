//! What somebody has to know before they approve a change, beside the change itself.

use serde::{Deserialize, Serialize};

use crate::actor::Role;
use crate::api::change::ChangeState;
use crate::api::inventory::DependantView;
use crate::change::event::Window;
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId};
use crate::risk::Environment;
use crate::time::Timestamp;

/// The answer of `GET /change-requests/{id}/context`, for who asks and at this moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeContext {
    /// One sentence: what will happen to what, and where.
    pub headline: String,
    /// The digest of the plan that this is about; null before there is one.
    pub plan_digest: Option<String>,
    pub place: PlaceView,
    pub timing: TimingView,
    pub approving: ApprovingView,
    pub undo: UndoOutlook,
    pub similar: SimilarView,
}

/// Where it happens, and what depends on that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlaceView {
    pub connection: ConnectionId,
    pub connection_name: String,
    /// Connector id; null when the connection was removed.
    pub connector: Option<String>,
    /// The one that it was submitted for; before that the connection's. Null when that was removed.
    pub environment: Option<Environment>,
    /// The first 20, critical ones first.
    pub targets: Vec<PlaceTarget>,
    pub target_count: u32,
    /// How many of all targets are critical.
    pub critical_targets: u32,
    /// What depends on the first 100 targets, directly or through others, the nearest 12 first.
    pub dependants: Vec<DependantView>,
    pub dependant_count: u32,
    pub critical_dependants: u32,
    /// There are more than were counted.
    pub more_dependants: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlaceTarget {
    pub id: AssetId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub critical: bool,
    /// As operators wrote it.
    pub owner: Option<String>,
    /// It was not there at the last discovery.
    pub gone: bool,
}

/// When it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimingView {
    /// What the requester asked for.
    pub window: Option<Window>,
    /// The maintenance window that it waits for, when it is in one's reach and none is open.
    pub closed: Option<ClosedView>,
    /// Seconds between the last approval and the earliest execution.
    pub delay_s: u32,
    /// Seconds that an approval counts; null before submission.
    pub valid_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClosedView {
    /// Name of the maintenance window that opens next.
    pub window: String,
    /// Null when none ever opens again.
    pub opens: Option<Timestamp>,
}

/// Why the reader may approve, who else may, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovingView {
    /// The rule of the policy that asked for approvals when it was submitted, in words.
    pub rule: Option<String>,
    pub policy_version: Option<u32>,
    /// How the reader can approve, first for themself, then for each who delegated it to them; or why not.
    pub ways: Vec<WayView>,
    /// Who never approves it, in a sentence.
    pub four_eyes: String,
    /// What is missing before any further approval, in a sentence; null when nothing is.
    pub needed: Option<String>,
    /// What is missing after the reader's approval, in a sentence; null when they may not give one.
    pub after_mine: Option<String>,
    /// Others who may approve it now, at most 20, by name.
    pub others: Vec<PersonName>,
    /// There are more of them.
    pub more_others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PersonName {
    pub id: PersonId,
    pub name: String,
}

/// One way for the reader to approve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WayView {
    /// Who delegated it to them; null for the reader's own approval.
    #[serde(rename = "for")]
    pub delegator: Option<PersonName>,
    /// Until when that stands.
    pub until: Option<Timestamp>,
    /// The roles that it is given with.
    pub roles: Vec<Role>,
    pub ok: bool,
    /// Of the refusal.
    pub code: Option<String>,
    /// Why, or why not.
    pub because: String,
}

/// What undoing it does, and whether that has ever worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndoOutlook {
    pub possible: bool,
    /// What it does, or why it is not possible, in a sentence.
    pub what: String,
    /// The newest rollback of a change of the same action whose every step was read back from its target: on
    /// this connection if there is one, otherwise on another.
    pub proven: Option<UndoProof>,
    /// Rollbacks of this action on this connection that ended otherwise since then, of the newest 50; of all of
    /// them when none is proven.
    pub failed_since: u32,
}

/// A rollback that worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndoProof {
    pub rollback: ChangeId,
    pub number: u64,
    pub title: String,
    /// When its execution ended.
    pub at: Timestamp,
    /// On the connection of this change.
    pub here: bool,
    pub connection_name: String,
}

/// How earlier executions of the same action on the same connection ended. Rollbacks are compared with
/// rollbacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimilarView {
    /// How far back the counts go.
    pub days: u32,
    /// It was never executed on this connection before.
    pub first_here: bool,
    pub counts: SimilarTally,
    /// Of those, the ones that had one of its targets; null for a change with more than 20 targets.
    pub on_targets: Option<SimilarTally>,
    /// There are more than the 1,000 that were counted, the newest.
    pub capped: bool,
    /// The newest five, however long ago.
    pub last: Vec<SimilarChange>,
}

/// How many are how now. Each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimilarTally {
    pub total: u32,
    /// Every step was read back from its target.
    pub complete: u32,
    pub failed: u32,
    pub outcome_unknown: u32,
    pub rolled_back: u32,
    /// Being rolled back, or stuck in that.
    pub rolling_back: u32,
    /// Its outcome is what a person found: no reading of a target.
    pub settled: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SimilarChange {
    pub id: ChangeId,
    pub number: u64,
    pub title: String,
    pub state: ChangeState,
    /// That is what a person found.
    pub settled: bool,
    /// When its execution ended.
    pub at: Timestamp,
    /// It had one of this change's targets.
    pub same_target: bool,
}

impl SimilarTally {
    /// Adds `count` that are in this state.
    pub fn add(&mut self, state: ChangeState, settled: bool, count: u32) {
        use ChangeState as S;
        let place = match (state, settled) {
            (S::RolledBack, _) => &mut self.rolled_back,
            (S::RollingBack | S::RollbackPartial | S::RollbackBlocked, _) => &mut self.rolling_back,
            (S::Complete | S::Failed, true) => &mut self.settled,
            (S::Complete, false) => &mut self.complete,
            (S::Failed, false) => &mut self.failed,
            // None of the others has ended; should a row say so, nobody knows how.
            (
                S::OutcomeUnknown
                | S::Draft
                | S::Submitted
                | S::Approved
                | S::Scheduled
                | S::Executing
                | S::Rejected
                | S::Cancelled
                | S::Expired,
                _,
            ) => &mut self.outcome_unknown,
        };
        *place = place.saturating_add(count);
        self.total = self.total.saturating_add(count);
    }
}
