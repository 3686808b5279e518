//! What can be asked of a rollout.

use crate::id::{ChangeId, ManifestId, PersonId, RunId};
use crate::plan::PlanDigest;
use crate::rollout::event::{Strategy, Tally};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub enum RolloutCommand {
    /// By the runtime.
    Start {
        change: ChangeId,
        digest: PlanDigest,
        manifest: ManifestId,
        size: u32,
        strategy: Strategy,
        approvals: Vec<PersonId>,
        undoes: Option<RunId>,
    },
    /// By the runtime: the next one.
    BeginBatch,
    /// By the runtime: how all targets of the batch that is open ended.
    EndBatch {
        no: u32,
        tally: Tally,
        /// On a rollback, of those that failed: what was moved, or taken away, since the change.
        moved: u32,
        /// As [`crate::rollout::event::RolloutEvent::BatchEnded`] says it.
        undo_until: Option<Timestamp>,
    },
    /// By an operator or a responder.
    Pause { reason: String },
    /// By an operator.
    Resume,
    /// By an operator or a responder; by the runtime, when the manifest is not what was approved.
    Stop { reason: String },
    /// By the runtime.
    Finish,
}
