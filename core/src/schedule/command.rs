//! What can be asked of a schedule.

use crate::aggregate::Principal;
use crate::id::ChangeId;
use crate::schedule::event::{Template, Timing};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleCommand {
    /// By an operator, signed in.
    Create { template: Template, timing: Timing },
    /// By an operator, signed in. Nothing happens when it says the same.
    Edit { template: Template, timing: Timing },
    /// By an operator or an admin. Nothing happens when it is paused.
    Pause {
        /// 1–500 characters.
        reason: String,
    },
    /// By an operator. Nothing happens when it is not paused.
    Resume,
    /// By an operator or an admin. Nothing happens when it was deleted already.
    Delete {
        /// 1–500 characters.
        reason: String,
    },
    /// By the timer. Nothing happens when no tick has come since the last one.
    Tick {
        /// With the roles that they have now; none when their account is disabled.
        owner: Principal,
        /// The change to be made.
        change: ChangeId,
        /// The change of an earlier tick, when that has not ended.
        open: Option<ChangeId>,
    },
    /// By the runtime: it could not prepare a change.
    Stall { change: ChangeId, reason: String },
}
