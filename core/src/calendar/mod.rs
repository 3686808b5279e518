//! The calendar: times in which nothing may be approved or executed, and times in which alone it may.
//!
//! ```text
//! each freeze:             absent ──declare──→ declared ──end──→ ended
//! each maintenance window: absent ──define──→ defined ──remove──→ removed
//! ```
//!
//! An installation has one calendar, in one stream with a fixed id, [`CALENDAR`]: whoever decides
//! something that a freeze would forbid guards the version of that stream, so that of a freeze and an
//! approval, an execution or an intent exactly one comes first.
//!
//! This stream guarantees: a freeze is declared once, by an admin, with a reason, for a bounded time
//! that is not over yet; what it covers and how long never changes afterwards but for an early end;
//! an end stays an end. That its time is over is not an event: it follows from the clock. A maintenance
//! window has slots that can be evaluated and come again; what it covers and when it opens never changes:
//! it is removed, and another one defined.
//!
//! Deliberately absent: overrides for one change, which are events of that change
//! (`change.freeze_overridden`, `change.window_overridden`).

#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod opening;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

use uuid::Uuid;

use crate::id::CalendarId;

/// The calendar of this installation: version 5 of `calendar` in the nil namespace.
pub const CALENDAR: CalendarId =
    CalendarId(Uuid::from_u128(0x7f6a_1039_0c48_5600_9132_cbc9_ba07_5aca));

#[cfg(feature = "decide")]
pub use self::{
    command::CalendarCommand,
    decide::{Calendar, MAX_FREEZE_S, MAX_WINDOWS},
    opening::{End, Opening},
    rejection::CalendarRejection,
    state::*,
};
