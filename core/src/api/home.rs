//! What `GET /home` shows: what there is to do, what runs, what is ahead today, and whether all is well.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::ChangeView;
use crate::time::Timestamp;

/// The reader's own day, in one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HomeView {
    /// When it was put together.
    pub at: Timestamp,
    /// What waits for the reader's approval or review: what is due within a day first, then the riskiest, then
    /// the oldest.
    pub decide: HomeList,
    /// What else waits for the reader: own drafts, own approved changes, secrets to reveal, rollbacks that got
    /// stuck, and unknown outcomes that they may settle.
    pub next: HomeList,
    /// The reader's changes that execute or go back.
    pub running: HomeList,
    /// The reader's changes that ended, the last first.
    pub ended: HomeList,
    /// For auditors and admins: what was done past the rules and not reviewed yet, and what has an unknown
    /// outcome; the last first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaps: Option<HomeList>,
    /// Freezes, maintenance windows, scheduled and recurring changes of the next 24 hours, by the clock.
    pub agenda: Vec<AgendaItem>,
    /// There is more than is shown.
    #[serde(default)]
    pub agenda_more: bool,
    pub health: Vec<HealthLine>,
    /// The first three steps of a new installation.
    pub steps: Vec<FirstStep>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HomeList {
    pub items: Vec<HomeItem>,
    /// There is more than is shown.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HomeItem {
    /// Without plan and run.
    pub change: ChangeView,
    /// What the reader can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<HomeAsk>,
    /// From when on that is too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a change asks of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HomeAsk {
    Approve,
    Review,
    Plan,
    Submit,
    Execute,
    Settle,
    Reveal,
    RollBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgendaKind {
    Freeze,
    Window,
    /// A change that starts by itself.
    Change,
    /// A tick at which a change is made.
    Schedule,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgendaItem {
    pub kind: AgendaKind,
    /// Of the freeze, window, change or schedule.
    pub id: Uuid,
    pub title: String,
    /// What it is about, in a few words.
    pub about: String,
    pub from: Timestamp,
    /// The first moment that it does not cover; absent for what begins and has no known end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// It covers this moment.
    pub now: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthPart {
    Projections,
    Hosts,
    Connections,
    Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It was looked at, and is as it should be.
    Good,
    /// There is nothing to look at, or nobody can tell.
    Unknown,
    /// Somebody should look.
    Attention,
    /// It does not work.
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HealthLine {
    pub part: HealthPart,
    pub state: HealthState,
    /// One sentence.
    pub sentence: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    Connect,
    Discover,
    Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FirstStep {
    pub step: StepName,
    pub done: bool,
}

/// A set of filters of the list of changes that somebody gave a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SavedView {
    /// 1–40 characters, unlike all others of the same person.
    pub name: String,
    /// What follows the `?` in the list's address; at most 1,000 characters.
    pub query: String,
}

/// `POST /saved-views`: all of them, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SaveViewsRequest {
    /// At most 20.
    pub items: Vec<SavedView>,
}
