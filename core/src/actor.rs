//! Who did it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{HostId, PersonId};

/// Who caused an event. People appear by id only; their names live in the erasable directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Actor {
    pub kind: ActorKind,
    pub id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person, signed in.
    User,
    /// An API token of a person, for programs, or a schedule of theirs: may propose, never decide. `id` is
    /// the person's.
    Machine,
    /// A host agent. `id` is the host's.
    Agent,
    /// Nexplane itself: process managers, timers, discovery.
    System,
}

impl Actor {
    pub const SYSTEM: Self = Self { kind: ActorKind::System, id: Uuid::nil() };

    pub const fn user(id: PersonId) -> Self {
        Self { kind: ActorKind::User, id: id.0 }
    }

    pub const fn machine(owner: PersonId) -> Self {
        Self { kind: ActorKind::Machine, id: owner.0 }
    }

    pub const fn agent(id: HostId) -> Self {
        Self { kind: ActorKind::Agent, id: id.0 }
    }

    /// The person behind a user or a machine token.
    pub const fn person(self) -> Option<PersonId> {
        match self.kind {
            ActorKind::User | ActorKind::Machine => Some(PersonId(self.id)),
            ActorKind::Agent | ActorKind::System => None,
        }
    }
}

/// What a person may do; a person can hold several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Operator,
    Approver,
    Auditor,
    Responder,
    Admin,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Operator, Self::Approver, Self::Auditor, Self::Responder, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Responder => "responder",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a role: use viewer, operator, approver, auditor, responder or admin")]
pub struct UnknownRole(pub String);
