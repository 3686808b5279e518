//! Every "no" of the calendar.

use crate::aggregate::Reject;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarRejection {
    #[error("This freeze was declared already. Declare another one under a new id.")]
    Exists,
    #[error("There is no such freeze, or it was over long ago.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The freeze was over at {end} and holds nothing up any more.")]
    Over { end: Timestamp },
}

impl Reject for CalendarRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "calendar.exists",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Over { .. } => "calendar.freeze_over",
        }
    }
}
