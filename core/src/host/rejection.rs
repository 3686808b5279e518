//! Every "no" of a host.

use crate::aggregate::Reject;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRejection {
    #[error("There is no such host.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error(
        "The host '{hostname}' is enrolled already. To enrol its agent again, revoke this host and make a new token."
    )]
    AlreadyEnrolled { hostname: String },
    #[error(
        "The host '{hostname}' is locked: {reason}. Find out who uses its key, then revoke it and enrol the agent again."
    )]
    Locked { hostname: String, reason: String },
    #[error("The host '{hostname}' was revoked: {reason}. Enrol the agent again as a new host.")]
    Revoked { hostname: String, reason: String },
}

impl Reject for HostRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::AlreadyEnrolled { .. } => "host.already_enrolled",
            Self::Locked { .. } => "host.locked",
            Self::Revoked { .. } => "host.revoked",
        }
    }
}
