//! What the calendar answers: whether a change may run at a moment, and what is in a span of time.

use serde::{Deserialize, Serialize};

use crate::api::FreezeView;
use crate::calendar::event::Scope;
use crate::id::{ChangeId, FreezeId, ScheduleId, WindowId};
use crate::risk::Environment;
use crate::time::Timestamp;

/// `GET /calendar/open`: whether a change may run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenView {
    pub at: Timestamp,
    pub open: bool,
    /// The answer, and what decides it.
    pub sentence: String,
    /// While it is open: when that ends; absent when nothing that is known ends it.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// While it is not: when it opens; absent when no such moment is known.
    #[serde(default)]
    pub opens: Option<Timestamp>,
    /// The freezes in force then; those that end last first.
    pub freezes: Vec<FreezeId>,
    /// The maintenance window that it waits for.
    #[serde(default)]
    pub window: Option<String>,
    /// The environments that it was judged by.
    pub environments: Vec<Environment>,
    /// The tags that it was judged by.
    pub tags: Vec<String>,
}

/// `GET /calendar`: everything in a span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CalendarView {
    pub from: Timestamp,
    pub until: Timestamp,
    /// Those that hold at some moment of it, oldest start first.
    pub freezes: Vec<FreezeView>,
    /// When maintenance windows are open, in order.
    pub slots: Vec<SlotView>,
    /// Changes that start by themselves, in order.
    pub changes: Vec<StartView>,
    /// When recurring changes are made, in order.
    pub ticks: Vec<TickView>,
    /// There is more of one of them than fits.
    pub cut: bool,
}

/// One time in which a maintenance window is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlotView {
    pub window: WindowId,
    pub name: String,
    pub scope: Scope,
    pub start: Timestamp,
    /// The first moment at which it is closed again.
    pub end: Timestamp,
}

/// A scheduled change, at the moment at which it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StartView {
    pub change: ChangeId,
    pub number: u64,
    pub title: String,
    pub at: Timestamp,
}

/// A recurring change, at the moment at which it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TickView {
    pub schedule: ScheduleId,
    pub title: String,
    pub at: Timestamp,
}
