//! A machine with an agent.
//!
//! ```text
//! absent ──enrol──→ offline ←──go offline / come online──→ online
//!                      │                                     │
//!                      ├──────────────lock───────────────────┤
//!                      │                ↓                    │
//!                      │              locked                 │
//!                      │                │                    │
//!                      └──────────────revoke─────────────────┘
//!                                       ↓
//!                                    revoked
//! offline, online: renew, report policy
//! ```
//!
//! This stream guarantees: a host is enrolled once; a revoked host stays revoked and everything it
//! says is refused; a locked host is offline until somebody revokes it (two live users of one key
//! cannot be told apart, so nothing that key says may unlock it); an agent speaks for its own host
//! and no other; the certificate that counts is the newest one recorded.
//!
//! Deliberately absent: when a host counts as offline (the gateway's timer), one-time enrolment
//! tokens (the gateway; that one was made is an event of the person who made it), the deny list
//! (a read model of this stream), and jobs.

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
pub mod version;

#[cfg(feature = "decide")]
pub use self::{
    command::HostCommand,
    decide::{Host, MAX_HOSTNAME, is_hostname},
    rejection::HostRejection,
    state::*,
};
