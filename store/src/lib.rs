//! What Nexplane remembers: the event log, the secret table, the embedded PostgreSQL.
//!
//! | Module | Holds |
//! |---|---|
//! | [`database`] | the connection pool and the migrations |
//! | [`embedded`] | a private PostgreSQL for machines that have no other |
//! | [`log`] | the event log: append, read, subscribe |
//! | [`eventually_store`] | the same log behind the `EventStore` trait of the eventually-rs family |
//! | [`secret`] | envelope-encrypted secrets |
//! | [`testing`] | a database for every test |
//!
//! No other package names the event table. Nothing here decides: a caller brings events that were
//! decided in `nexplane-core`, and the log answers whether they became facts.

pub mod database;
pub mod embedded;
pub mod eventually_store;
pub mod log;
pub mod secret;
pub mod testing;
