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

#[cfg(target_os = "linux")]
mod accounts;
#[cfg(target_os = "linux")]
mod cli;
mod conformance;
mod crash;
mod deadman;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the server's tests use the rest")]
mod disposable;
mod gateway;
#[cfg(target_os = "linux")]
mod hardening;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod macos;
mod order;
mod package;
#[cfg(target_os = "linux")]
mod password;
#[cfg(target_os = "linux")]
mod real;
mod retention;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the tests of Linux use the rest"))]
mod rig;
mod services;
#[cfg(target_os = "linux")]
mod sysctl;
#[cfg(target_os = "linux")]
mod takeback;
#[cfg(windows)]
mod windows;
