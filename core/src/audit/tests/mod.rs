//! A legitimate history is silent, and every rule has a history that it speaks up about.
//!
//! Legitimate histories are made by the deciders. What breaks a rule is planted in them afterwards.

mod approvers;
mod beforehand;
mod changes;
mod freezes;
mod glass;
mod log;
mod order;
mod policies;
mod project;
mod rollouts;
mod runs;
mod schedules;
mod settled;

use self::log::{Log, at, codes};
