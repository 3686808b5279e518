//! Every "no" of a person's account.

use uuid::Uuid;

use crate::aggregate::Reject;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonRejection {
    #[error("This person exists already.")]
    Exists,
    #[error("There is no such person.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("This person was disabled at {since}. Ask an admin to enable the account first.")]
    Disabled { since: Timestamp },
    #[error(
        "This is the last admin. Make somebody else an admin first, or nobody could manage people."
    )]
    LastAdmin,
    #[error("This person has no token {token}. List the tokens to find its id.")]
    NoSuchToken { token: Uuid },
    #[error(
        "A token {token} was made before, with another kind or end, or it is revoked. Make a new token under a new id."
    )]
    TokenExists { token: Uuid },
    #[error(
        "Only somebody with the approver role has approving to delegate. Ask an admin for the role."
    )]
    NothingToDelegate,
    #[error("At most {most} delegations stand at a time. End one first.")]
    TooManyDelegations { most: usize },
    #[error("This person has no delegation {delegation}. List the delegations to find its id.")]
    NoSuchDelegation { delegation: Uuid },
    #[error("A delegation {delegation} stands already, and says something else.")]
    DelegationExists { delegation: Uuid },
}

impl Reject for PersonRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "person.exists",
            Self::NotFound | Self::NoSuchToken { .. } | Self::NoSuchDelegation { .. } => {
                "not_found"
            }
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Disabled { .. } => "person.disabled",
            Self::LastAdmin => "person.last_admin",
            Self::TokenExists { .. } => "person.token_exists",
            Self::NothingToDelegate => "person.nothing_to_delegate",
            Self::TooManyDelegations { .. } => "person.too_many_delegations",
            Self::DelegationExists { .. } => "person.delegation_exists",
        }
    }
}
