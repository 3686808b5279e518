//! The agent, from the outside.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests may fail like a test"
)]

mod accounts;
mod cli;
mod conformance;
mod crash;
mod deadman;
#[allow(dead_code, reason = "the server's tests use the rest")]
mod disposable;
mod gateway;
mod hardening;
mod install;
mod linux;
mod order;
mod package;
mod password;
mod real;
mod retention;
mod rig;
mod services;
mod sysctl;
mod takeback;
mod update;
