//! Every "no" of a schedule.

use crate::aggregate::Reject;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRejection {
    #[error("This schedule exists already.")]
    Exists,
    #[error("There is no such schedule.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The schedule was deleted. Create another one.")]
    Deleted,
}

impl Reject for ScheduleRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "schedule.exists",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Deleted => "schedule.deleted",
        }
    }
}
