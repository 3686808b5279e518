//! The tests of the store that need a real PostgreSQL.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests may fail like a test"
)]

mod embedded_cluster;
mod log_append;
mod log_contention;
mod log_eventually;
mod log_faults;
mod log_fixture;
mod log_protection;
mod log_read;
mod log_subscription;
mod secret_store;
mod testing_database;
