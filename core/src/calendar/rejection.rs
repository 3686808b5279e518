//! Every "no" of the calendar.

use crate::aggregate::Reject;
use crate::calendar::decide::MAX_WINDOWS;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarRejection {
    #[error("This freeze was declared already. Declare another one under a new id.")]
    Exists,
    #[error("There is no such freeze or maintenance window, or it was over long ago.")]
    NotFound,
    #[error(
        "There is a maintenance window of that name already. Remove it first, or take another name."
    )]
    NameTaken,
    #[error(
        "There are {MAX_WINDOWS} maintenance windows, which is as many as can be. Remove one first."
    )]
    TooManyWindows,
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
            Self::NameTaken => "calendar.name_taken",
            Self::TooManyWindows => "calendar.too_many_windows",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Over { .. } => "calendar.freeze_over",
        }
    }
}
