//! Tests of the connectors against real peers. `real_`: the peer is the product itself.
//! `contract_`: a stand-in that keeps the peer's contract.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    dead_code,
    reason = "a helper of tests may fail like a test"
)]

mod aws;
mod catalog;
mod docs;

mod fixture;
mod host;
mod ldap;
mod postgres;
mod redis;
mod ssh;
mod suite;
mod template;
mod vault;
