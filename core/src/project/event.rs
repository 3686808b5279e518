//! What can happen to a project.

use serde::{Deserialize, Serialize};

use crate::id::ChangeId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum ProjectEvent {
    #[serde(rename = "project.created")]
    Created { name: String, description: String },
    #[serde(rename = "project.renamed")]
    Renamed { name: String, description: String },
    /// `after`: the members that have to be complete before it may start.
    #[serde(rename = "project.member_added")]
    MemberAdded { change: ChangeId, after: Vec<ChangeId> },
    #[serde(rename = "project.member_removed")]
    MemberRemoved { change: ChangeId },
    #[serde(rename = "project.dependencies_changed")]
    DependenciesChanged { change: ChangeId, after: Vec<ChangeId> },
    /// From here on every member is started, in the name of whoever asked, as soon as it may.
    #[serde(rename = "project.execution_asked")]
    ExecutionAsked {},
    /// Nothing more is started until somebody asks again.
    #[serde(rename = "project.blocked")]
    Blocked { change: ChangeId, reason: String },
    /// Every member is.
    #[serde(rename = "project.completed")]
    Completed {},
    /// From here on what was applied of it is undone, newest first, in the name of whoever asked.
    #[serde(rename = "project.going_back")]
    GoingBack { reason: String },
    /// Nothing more is undone until somebody asks again.
    #[serde(rename = "project.back_blocked")]
    BackBlocked { change: ChangeId, reason: String },
    /// Nothing that was applied of it stands.
    #[serde(rename = "project.went_back")]
    WentBack {},
    /// Its members are free: they wait for each other no more, and may join other projects.
    #[serde(rename = "project.closed")]
    Closed { reason: String },
}
