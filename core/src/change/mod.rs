//! A change request: from a draft to an outcome, and back.
//!
//! ```text
//! draft ─submit→ submitted ─quorum→ approved ─execute→ executing ─→ complete | failed | unknown
//!   ↑ ↑             │ │                │ │ └─outside its window→ scheduled ─when it opens→ executing
//!   ↑ ↑             │ │                │ └─expire→ expired            │        │
//!   │ └──withdraw───┘ └─reject→ rejected                              └─rollback→ rolling back
//!   └──edit, or a plan with another digest (approvals are superseded)        ├→ rolled back
//! draft, submitted, approved ─cancel→ cancelled                              ├→ partial
//!                                                                            └→ blocked
//! ```
//!
//! This stream guarantees: what executes is the plan whose digest was approved; author and editors
//! never count as approvers; a quorum is complete, unexpired and of one digest when execution
//! starts; every settled state stays settled but for a rollback, and for an unknown outcome that
//! somebody who did not write the change found out; nothing is undone once its target may have forgotten what it
//! was before; a broken glass stands for the quorum of one plan for a few
//! hours, where the rule of the submission allows that, and is reviewed as overrides are; nothing is approved or started that
//! the caller says is frozen, unless a responder who did not write the change let this very plan pass
//! that very freeze, and then somebody else has to review it. It starts inside of its own window and of a
//! maintenance window, if any covers it, and not before what it comes after in its project is complete; what an operator asked for outside of them starts by itself when
//! they open, if it still may and they still might ask for it.
//!
//! Deliberately absent: how a plan is executed (`run`), and whether the target still is as planned
//! (the runtime reads it right before and the run refuses); which freezes there are (`calendar`).

#[cfg(feature = "decide")]
mod approval;
#[cfg(feature = "decide")]
mod beforehand;
#[cfg(feature = "decide")]
mod behalf;
#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod conflict;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod freeze;
#[cfg(feature = "decide")]
mod glass;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod rollback;
#[cfg(feature = "decide")]
mod schedule;
#[cfg(feature = "decide")]
mod settle;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

/// How long (seconds) a broken glass lets a change start; less where approvals of its rule are valid for less.
pub const GLASS_VALID_S: u32 = 4 * 60 * 60;

/// How long (seconds) after a change has ended there is time to look back at what responders did for it.
pub const REVIEW_DUE_S: i64 = 72 * 60 * 60;

#[cfg(feature = "decide")]
pub use self::{
    beforehand::{BEFOREHAND_VALID_S, Back, may_go_back, subject_of_rollback},
    command::ChangeCommand,
    conflict::comes_first,
    decide::{
        Change, MAX_PLAN, MAX_PLAN_AGE_S, MAX_STEPS, MAX_TARGETS, checked_size, may_edit,
        may_execute, may_plan, may_submit,
    },
    freeze::may_override,
    rejection::ChangeRejection,
    rollback::{is_in_time, may_roll_back, rollback_draft},
    state::*,
};
