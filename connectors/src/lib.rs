//! How Nexplane acts on the world.
//!
//! | Module | Holds |
//! |---|---|
//! | [`sdk`] | how connectors are written and called: traits, layer, egress guard, registry |
//! | [`host`] | connector `host`: the operations of the Nexplane agent |
//! | [`postgres`] | connector `postgres`: roles and privileges of PostgreSQL |
//! | [`ssh`] | connector `ssh`: accounts, files and services of a Linux host |
//!
//! A connector never decides whether something may happen, and never remembers that it did.

pub mod host;
pub mod postgres;
pub mod sdk;
pub mod ssh;
