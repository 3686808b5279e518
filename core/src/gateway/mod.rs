//! A process that listens to agents, by what it refused and could not lay to any host.
//!
//! ```text
//! absent ──record refused──→ with refusals ──record refused──→ with refusals …
//! ```
//!
//! Each process has a stream of its own, so that no stream grows for ever, and no two processes write one.
//!
//! This stream guarantees: it has what Nexplane itself refused, and nobody else writes it; nothing in it
//! was chosen by whoever was refused.
//!
//! Deliberately absent: what was refused in the name of a host, which is an event of that host; starting
//! and stopping, which is no news; and how often something is recorded (the gateway's timers).

#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::decide::{Gateway, GatewayCommand, GatewayRejection, GatewayState};
