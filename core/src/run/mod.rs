//! One execution of an approved plan, forward or back.
//!
//! ```text
//! started → claimed(epoch) → for each step, in order:
//!
//! planned ─intend→ intended ─→ succeeded ─→ verified
//!    │                │            └──────→ unverified
//!    │                ├─→ failed          the target said no, nothing changed
//!    │                └─→ unknown ─→ reconciled(applied)      → verified | unverified
//!    │                          └──→ reconciled(not_applied)  → again, unless unprotected
//!    │                          └──→ reconciled(conflict)     → a person
//!    └─→ blocked      the target is not what the plan says, a freeze began, its time is over, or it was not
//!                     to begin any more; nothing was sent
//!
//! → finished(outcome), derived from the steps
//!
//! cancel_asked: no step is intended any more      late_reported: evidence, also after the end
//! ```
//!
//! This stream guarantees: an intent exists before its effect; only the newest epoch can add one;
//! steps run in order and a verified step is never intended again; exactly one outcome per
//! intent; no intent after a cancel; the outcome of the run follows from its steps, and what an epoch says
//! that was fenced off changes none of that.
//!
//! Deliberately absent: leases (a claim only fences off older epochs; who is alive is the runtime's
//! to know) and waiting.

#[cfg(feature = "decide")]
mod bare;
#[cfg(feature = "decide")]
mod begin;
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
    bare::UNSTORABLE,
    begin::{Terms, Unbegun},
    command::{Held, RunCommand},
    decide::Run,
    rejection::RunRejection,
    state::*,
};
