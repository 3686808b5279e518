//! A freeze: a time in which nothing may be approved or executed.
//!
//! ```text
//! absent ──declare──→ declared ──end──→ ended
//! ```
//!
//! This stream guarantees: a freeze is declared once, by an admin, with a reason, for a bounded time
//! that is not over yet; what it covers and how long never changes afterwards but for an early end;
//! an end stays an end. That its time is over is not an event: it follows from the clock.
//!
//! Deliberately absent: maintenance windows (slots in which alone changes may run; they will be
//! streams of this category of their own) and the override of a freeze for one change, which is an
//! event of that change (`change.freeze_overridden`).

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

#[cfg(feature = "decide")]
pub use self::{
    command::CalendarCommand,
    decide::{Calendar, MAX_FREEZE_S},
    rejection::CalendarRejection,
    state::*,
};
