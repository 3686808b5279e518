//! Delegations as the API shows them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::PersonId;
use crate::time::Timestamp;

/// `POST /users/{id}/delegations`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    /// Who may approve: an e-mail address, or the id of a person.
    pub to: String,
    /// At once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// At most 30 days after its beginning.
    pub until: Timestamp,
    /// 1–500 characters; it is kept for good, so it names no illness.
    pub reason: String,
}

/// Somebody may approve for somebody else, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DelegationView {
    pub id: Uuid,
    /// Whose approvals they are.
    pub of: PersonId,
    pub of_name: Option<String>,
    pub to: PersonId,
    pub to_name: Option<String>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub reason: String,
}
