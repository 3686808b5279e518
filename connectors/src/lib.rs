//! How Nexplane acts on the world.
//!
//! | Module | Holds |
//! |---|---|
//! | [`sdk`] | how connectors are written and called: traits, layer, egress guard, registry |
//! | [`aws`] | connector `aws`: users, keys, instances and buckets of an AWS account |
//! | [`host`] | connector `host`: the operations of the Nexplane agent |
//! | [`postgres`] | connector `postgres`: roles and privileges of PostgreSQL |
//!
//! A connector never decides whether something may happen, and never remembers that it did.

pub mod aws;
pub mod host;
pub mod postgres;
pub mod sdk;
