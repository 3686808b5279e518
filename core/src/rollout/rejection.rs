//! Every "no" of a rollout.

use crate::aggregate::Reject;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutRejection {
    #[error("There is no such rollout.")]
    NotFound,
    #[error("The rollout has started already.")]
    Exists,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The rollout is over.")]
    Finished,
    #[error("The rollout was stopped: {reason} It cannot go on; make a new change for the rest.")]
    Stopped { reason: String },
    #[error("The rollout is paused: {reason}")]
    Paused { reason: String },
    #[error("The rollout is not paused.")]
    NotPaused,
    #[error("Batch {no} is not the one that is under way.")]
    NotUnderWay { no: u32 },
    #[error("A batch is under way.")]
    UnderWay,
    #[error("The next batch begins at {at}.")]
    TooEarly { at: Timestamp },
    #[error("There is no target left to begin.")]
    NothingLeft,
    #[error("{tallied} targets are accounted for; the batch has {count}.")]
    Miscounted { tallied: u32, count: u32 },
    #[error("Its batches have not come to an end.")]
    NotOver,
}

impl Reject for RolloutRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "rollout.exists",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Finished => "rollout.finished",
            Self::Stopped { .. } => "rollout.stopped",
            Self::Paused { .. } => "rollout.paused",
            Self::NotPaused => "rollout.not_paused",
            Self::NotUnderWay { .. } => "rollout.not_under_way",
            Self::UnderWay => "rollout.under_way",
            Self::TooEarly { .. } => "rollout.too_early",
            Self::NothingLeft => "rollout.nothing_left",
            Self::Miscounted { .. } => "rollout.miscounted",
            Self::NotOver => "rollout.not_over",
        }
    }
}
