//! A change request: from a draft to an outcome, and back.
//!
//! ```text
//! draft ─submit→ submitted ─quorum→ approved ─execute→ executing ─→ complete | failed | unknown
//!   ↑ ↑             │ │                │ └─expire→ expired            │        │
//!   │ └──withdraw───┘ └─reject→ rejected                              └─rollback→ rolling back
//!   └──edit, or a plan with another digest (approvals are superseded)        ├→ rolled back
//! draft, submitted, approved ─cancel→ cancelled                              ├→ partial
//!                                                                            └→ blocked
//! ```
//!
//! This stream guarantees: what executes is the plan whose digest was approved; author and editors
//! never count as approvers; a quorum is complete, unexpired and of one digest when execution
//! starts; every settled state stays settled but for a rollback.
//!
//! Deliberately absent: how a plan is executed (`run`), and whether the target still is as planned
//! (the runtime reads it right before and the run refuses). No command overrides a freeze, because
//! freezes have no API yet; `change.freeze_overridden` exists because whoever verifies a log has to
//! know it.

#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::{
    command::ChangeCommand,
    decide::{Change, MAX_PLAN_AGE_S, MAX_TARGETS, may_edit, may_execute, may_plan, may_roll_back},
    rejection::ChangeRejection,
    state::*,
};
