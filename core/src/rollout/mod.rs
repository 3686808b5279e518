//! One execution of an approved plan for many targets: batches of parts, each of which is a run.
//!
//! ```text
//! started → batch 0 (canary) begun → ended → batch 1 begun → ended → … → finished(outcome)
//!              │     ⇅ paused / resumed │
//!              └─ stopped: by a person, or because too many targets did not end well
//! ```
//!
//! A target's own events are in a stream of its own, the run of its part ([`RunId::of_part`]). What is here
//! says how far the whole is, and whether it may go on: the intent of every part is guarded by the version of
//! this stream, so of a pause (or a stop) and an intent exactly one comes first.
//!
//! This stream guarantees: batches follow each other without a gap and one at a time; none begins while the
//! rollout is paused, after it was stopped, before the pause between batches is over, or after more targets
//! than agreed did not end well; the outcome follows from how the targets ended, and every target is
//! accounted for.
//!
//! Deliberately absent: an order of targets other than that of the change; trying a target again; and
//! the outcomes of single targets.
//!
//! [`RunId::of_part`]: crate::id::RunId::of_part

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
mod strategy;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::{command::RolloutCommand, decide::Rollout, rejection::RolloutRejection, state::*};
