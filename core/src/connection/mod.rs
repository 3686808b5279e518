//! One configured instance of a connector.
//!
//! ```text
//! absent ──create──→ active ──remove──→ removed
//! active: rename, relabel, limit, schedule discoveries, replace credentials, record tests and discoveries, open credentials
//! ```
//!
//! This stream guarantees: a removed connection stays removed and nothing opens its credentials;
//! every decryption of credentials is an event that says for what, and for which change; a machine
//! opens them to plan and for nothing else; the built-in connection of a host lives as long as the
//! host and is made by Nexplane only. No event carries a secret: credentials appear as the id of an
//! entry in the secret table.
//!
//! Deliberately absent: that names are unique (the read model's unique index says so, streams do
//! not know each other), which settings a connector takes (its own schema, checked before the
//! command), and the test and the discovery themselves: here are their results.

#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

pub use self::event::{Limits, Purpose};
#[cfg(feature = "decide")]
pub use self::{
    command::ConnectionCommand,
    decide::{BUILT_IN_CONNECTOR, Connection, MAX_NAME, checked_every},
    rejection::ConnectionRejection,
    state::*,
};
