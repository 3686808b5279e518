//! Recurring changes: a template, and when a change of its own is made of it.
//!
//! ```text
//! absent ──create──→ standing ──delete──→ deleted
//!                      │   ↑  each tick: fired (a change is made) or skipped (and why)
//!                      └───┘  pause, resume, edit
//! ```
//!
//! This stream guarantees: a tick is fired or skipped once, in order; nothing is fired while the change of
//! the tick before is open, while it is paused, or when its owner may no longer propose; ticks that nobody
//! was there for are skipped, and one event says how many. Whoever made or edited the template is author or
//! editor of what is made from then on.
//!
//! Deliberately absent: approving and executing. What is made is a change like any other, with its own
//! plan, digest and approvals; only where the policy asks for no approval is it also started, by the same
//! decision as everybody else's, and in the name of the owner.

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
    command::ScheduleCommand,
    decide::{GRACE_S, MAX_COUNTED, Schedule},
    rejection::ScheduleRejection,
    state::*,
};
