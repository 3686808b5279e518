//! What can happen to a person's account. No name, no e-mail address: those are in the directory,
//! where they can be erased.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::actor::Role;
use crate::id::PersonId;
use crate::time::Timestamp;

/// What an API token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Acts as the person.
    User,
    /// Proposes only: draft, plan, read.
    Machine,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data")]
pub enum PersonEvent {
    #[serde(rename = "person.added")]
    Added { roles: Vec<Role> },
    #[serde(rename = "person.roles_changed")]
    RolesChanged { roles: Vec<Role> },
    #[serde(rename = "person.disabled")]
    Disabled {},
    #[serde(rename = "person.enabled")]
    Enabled {},
    #[serde(rename = "person.password_set")]
    PasswordSet {},
    #[serde(rename = "person.signed_in")]
    SignedIn { session: Uuid },
    #[serde(rename = "person.signed_out")]
    SignedOut { session: Uuid },
    #[serde(rename = "person.token_created")]
    TokenCreated { token: Uuid, kind: TokenKind, expires_at: Option<Timestamp> },
    #[serde(rename = "person.token_revoked")]
    TokenRevoked { token: Uuid },
    /// An invitation for an agent was made.
    #[serde(rename = "person.agent_invited")]
    AgentInvited { hostname: Option<String>, expires_at: Timestamp },
    /// Somebody else may approve for the person of this stream, for a while.
    #[serde(rename = "person.approvals_delegated")]
    ApprovalsDelegated {
        delegation: Uuid,
        to: PersonId,
        from: Timestamp,
        until: Timestamp,
        reason: String,
    },
    #[serde(rename = "person.delegation_ended")]
    DelegationEnded { delegation: Uuid },
}
