//! The agent, from the outside.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on has failed"
)]

mod cli;
mod conformance;
mod crash;
mod linux;
mod order;
mod rig;
