//! Every "no" of the policy.

use crate::aggregate::Reject;
use crate::policy::floor::Fault;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRejection {
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The document is no policy: {}", first(faults))]
    Faulty { faults: Vec<Fault> },
    #[error(
        "Version {current} is in force, and this was written on version {based_on}. Look at what changed, and publish on top of it."
    )]
    Moved { based_on: u32, current: u32 },
    #[error("Version {version} says exactly this already.")]
    Unchanged { version: u32 },
}

fn first(faults: &[Fault]) -> String {
    faults.first().map_or_else(String::new, |fault| format!("{}: {}.", fault.pointer, fault.reason))
}

impl Reject for PolicyRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } | Self::Faulty { .. } => "validation.failed",
            Self::Moved { .. } => "policy.moved",
            Self::Unchanged { .. } => "policy.unchanged",
        }
    }
}
