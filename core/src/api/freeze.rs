//! The calendar as the API shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calendar::event::Scope;
use crate::id::{FreezeId, PersonId};
use crate::risk::Environment;
use crate::time::Timestamp;

/// Where a freeze is in its life, at the moment that it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FreezeState {
    Upcoming,
    InForce,
    /// Its time is over.
    Over,
    /// An admin ended it before its time was over.
    Ended,
}

impl FreezeState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::InForce => "in_force",
            Self::Over => "over",
            Self::Ended => "ended",
        }
    }
}

/// One row of `GET /freeze-windows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FreezeView {
    pub id: FreezeId,
    pub state: FreezeState,
    pub scope: Scope,
    pub start: Timestamp,
    /// The first moment that is free again, unless it was ended earlier.
    pub end: Timestamp,
    pub reason: String,
    pub declared_by: PersonId,
    pub declared_at: Timestamp,
    #[serde(default)]
    pub ended_by: Option<PersonId>,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Why it was ended early.
    #[serde(default)]
    pub ended_reason: Option<String>,
    /// Names of the people that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// `POST /freeze-windows`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeclareFreezeRequest {
    pub scope: ScopeRequest,
    /// May have passed: then it begins at once.
    pub start: Timestamp,
    /// In the future, at most 366 days after the start.
    pub end: Timestamp,
    /// 1–500 characters; everybody whom it stops reads it.
    pub reason: String,
}

/// What a freeze is to cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScopeRequest {
    All {},
    Environment { environment: Environment },
    Tag { tag: String },
}

impl From<ScopeRequest> for Scope {
    fn from(scope: ScopeRequest) -> Self {
        match scope {
            ScopeRequest::All {} => Self::All,
            ScopeRequest::Environment { environment } => Self::Environment { environment },
            ScopeRequest::Tag { tag } => Self::Tag { tag },
        }
    }
}

/// `POST /change-requests/{id}/override-freeze`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OverrideFreezeRequest {
    pub freeze: FreezeId,
    /// 1–2,000 characters; whoever reviews it afterwards reads it.
    pub justification: String,
}

/// `POST /change-requests/{id}/break-glass`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRequest {
    pub plan_digest: String,
    /// 1–2,000 characters; whoever reviews it afterwards reads it.
    pub justification: String,
}

/// A responder stood for the whole quorum of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GlassView {
    pub by: PersonId,
    pub digest: String,
    pub at: Timestamp,
    pub justification: String,
    /// The review was reopened since; kept for the history.
    #[serde(default)]
    pub superseded: bool,
}

/// `POST /change-requests/{id}/review`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    /// 1–2,000 characters.
    pub comment: String,
}
