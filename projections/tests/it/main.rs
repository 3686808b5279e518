//! Projections against a real PostgreSQL and a real log.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests may fail like a test"
)]

mod audit;
mod changes;
mod history;
mod inventory;
mod lease;
mod order;
mod reads;
mod rebuild;
mod rollouts;
mod runner;
mod stall;
mod support;
mod upkeep;
mod waiting;
