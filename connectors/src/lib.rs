//! How Nexplane acts on the world.
//!
//! | Module | Holds |
//! |---|---|
//! | [`sdk`] | how connectors are written and called: traits, layer, egress guard, registry |
//! | [`aws`] | connector `aws`: users, keys, instances and buckets of an AWS account |
//! | [`host`] | connector `host`: the operations of the Nexplane agent |
//! | [`ldap`] | connector `ldap`: users and groups of OpenLDAP and Active Directory |
//! | [`postgres`] | connector `postgres`: roles and privileges of PostgreSQL |
//! | [`redis`] | connector `redis`: users, passwords and keys of Redis |
//! | [`vault`] | connector `vault`: secrets, policies and tokens of HashiCorp Vault and OpenBao |
//! | [`ssh`] | connector `ssh`: accounts, files and services of a Linux host |
//!
//! A connector never decides whether something may happen, and never remembers that it did.

pub mod aws;
pub mod host;
pub mod ldap;
pub mod postgres;
pub mod redis;
pub mod sdk;
pub mod ssh;
pub mod vault;
