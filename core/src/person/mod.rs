//! A person's account, without personal data.
//!
//! ```text
//! absent ──add──→ active ──disable──→ disabled
//!                   ↑                    │
//!                   └───────enable───────┘
//! active: change roles, set password, sign in and out, tokens, invitations of agents, delegations
//! disabled: change roles, set password (not by oneself), revoke tokens
//! ```
//!
//! This stream guarantees: a person has at least one role; the last enabled admin stays one; a
//! disabled person neither signs in nor gets tokens, and disabling ends every session for good; a
//! revoked token stays revoked; a delegation ends with the account or the role that it hands on; a machine never acts as the person it belongs to, here it may do
//! nothing at all.
//!
//! Deliberately absent: names, e-mail addresses and password hashes (the directory, where they can
//! be erased), how long a session lives, and how many other admins there are: the caller counts
//! them and guards the count.

#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
#[cfg(feature = "decide")]
mod delegation;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::{
    command::PersonCommand,
    decide::{MAX_INVITATION_S, Person},
    delegation::{Delegation, MAX_DELEGATION_S, MAX_DELEGATIONS},
    rejection::PersonRejection,
    state::*,
};
