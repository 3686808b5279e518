//! The steps of a plan with more targets than one record holds, one for each target.
//!
//! ```text
//! absent ──add page──→ with pages ──add page──→ with pages …
//! ```
//!
//! It is written by the planner, page after page, before `change.planned` names it. Nothing binds it but
//! that name: the plan's digest covers the hash of all of its steps ([`Plan::of_parts`](crate::plan::Plan)), so
//! a page that is added or missing afterwards makes the plan another one, which nobody approved.
//!
//! This stream guarantees: it is of one change, and its steps are numbered without a gap.
//!
//! Deliberately absent: an end. What counts as whole is for the plan to say. A manifest whose plan was
//! never recorded, because its planner went away, stays behind without a meaning.

#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::decide::{Manifest, ManifestCommand, ManifestRejection, ManifestState};
