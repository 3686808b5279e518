//! Projects, as the API shows and takes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::ChangeState;
use crate::id::{ChangeId, PersonId, ProjectId};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProjectState {
    Open,
    /// Every member is started as soon as it may.
    Running,
    /// A member has stopped; nothing more is started.
    Blocked,
    Complete,
    /// What was applied of it is undone, newest first.
    GoingBack,
    /// A member could not be undone; nothing more is.
    BackBlocked,
    /// Nothing that was applied of it stands.
    WentBack,
    Closed,
}

impl ProjectState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Complete => "complete",
            Self::GoingBack => "going_back",
            Self::BackBlocked => "back_blocked",
            Self::WentBack => "went_back",
            Self::Closed => "closed",
        }
    }
}

/// One row of `GET /projects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProjectView {
    pub id: ProjectId,
    pub state: ProjectState,
    pub name: String,
    pub description: String,
    /// In the order in which they were added.
    pub members: Vec<MemberView>,
    /// What it waits for, in one sentence.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// Who asked last for its execution.
    #[serde(default)]
    pub asked_by: Option<PersonId>,
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
    /// What stopped it.
    #[serde(default)]
    pub blocked: Option<BlockedView>,
    /// Its going back, once somebody has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<GoingBackView>,
    #[serde(default)]
    pub closed_reason: Option<String>,
    pub created_by: PersonId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
    pub position: u64,
    /// Names of the people that appear above; added when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberView {
    pub change: ChangeId,
    /// The members that have to be complete before it may start.
    pub after: Vec<ChangeId>,
    /// Of those, the ones that are not.
    #[serde(default)]
    pub waits_for: Vec<ChangeId>,
    /// As people see it; added when it is read.
    #[serde(default)]
    pub number: Option<u64>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub state: Option<ChangeState>,
    /// The newest change that is to undo it, and its number; added when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<ChangeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_number: Option<u64>,
    /// While its project goes back, and after that; added when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<MemberBack>,
}

/// How a project goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GoingBackView {
    /// Who asked last.
    pub asked_by: PersonId,
    pub asked_at: Timestamp,
    pub reason: String,
    /// What stopped it.
    #[serde(default)]
    pub blocked: Option<BlockedView>,
}

/// What has become of a member of a project that goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemberBack {
    Undone,
    /// Its rollback is in review or under way.
    UnderWay,
    /// What stopped the going back.
    Stopped,
    /// It stands, and its turn has not come.
    NotAttempted,
    /// Nothing of it was applied.
    Nothing,
}

impl MemberBack {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undone => "undone",
            Self::UnderWay => "under way",
            Self::Stopped => "stopped",
            Self::NotAttempted => "not attempted",
            Self::Nothing => "nothing to undo",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockedView {
    pub change: ChangeId,
    pub reason: String,
    pub at: Timestamp,
}

/// `POST /projects`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewProjectRequest {
    /// 1–100 characters.
    pub name: String,
    #[serde(default)]
    pub description: String,
}

/// `PATCH /projects/{id}`: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditProjectRequest {
    pub name: Option<String>,
    pub description: Option<String>,
}

/// `POST /projects/{id}/members`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddMemberRequest {
    pub change: ChangeId,
    /// Members that have to be complete before it may start.
    #[serde(default)]
    pub after: Vec<ChangeId>,
}

/// `POST /projects/{id}/remove-member`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoveMemberRequest {
    pub change: ChangeId,
}

/// `POST /projects/{id}/dependencies`: what the member comes after from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DependenciesRequest {
    pub change: ChangeId,
    pub after: Vec<ChangeId>,
}
