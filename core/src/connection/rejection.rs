//! Every "no" of a connection.

use crate::aggregate::Reject;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRejection {
    #[error("This connection exists already.")]
    Exists,
    #[error("There is no such connection.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The connection '{name}' was removed. Create a new one and run a discovery.")]
    Removed { name: String },
    #[error("'{name}' is the built-in connection of a host; {wanted}.")]
    BuiltIn { name: String, wanted: &'static str },
}

impl Reject for ConnectionRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "connection.exists",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Removed { .. } => "connection.removed",
            Self::BuiltIn { .. } => "connection.built_in",
        }
    }
}
