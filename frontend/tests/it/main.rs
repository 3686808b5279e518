//! The dashboard in a real browser (Chromium), against the real server with its sandbox: a real
//! PostgreSQL target and a real host agent.
//!
//! Elements are found by `data-testid` only; `frontend/README.md` lists the ids. What the page throws,
//! logs as an error or is refused by its content security policy fails the test that made it so.
//!
//! Needs `chromium` and `chromedriver`, the server and agent executables and the compiled dashboard:
//! `cargo build -p nexplane-server -p nexplane-agent && frontend/build`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests may fail like a test"
)]

mod accessibility;
mod browser;
mod browser_admin;
mod browser_approve;
mod browser_change;
mod browser_emergency;
mod browser_event;
mod browser_first_run;
mod browser_grid;
mod browser_home;
mod browser_host;
mod browser_operations;
mod browser_page;
mod browser_paint;
mod browser_replay;
mod browser_restart;
mod browser_rollout;
mod browser_session;
mod browser_unverified;
mod chromedriver;
mod demo;
mod rollout_log;
mod sandbox;
