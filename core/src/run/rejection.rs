//! Every "no" of a run.

use crate::aggregate::Reject;
use crate::freeze::{Closed, Frozen, phrase};
use crate::run::begin::Unbegun;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunRejection {
    #[error("This run has started already.")]
    Exists,
    #[error("Its plan has no steps: there is nothing to carry out.")]
    NoSteps,
    #[error("There is no such run.")]
    NotFound,
    #[error("Only Nexplane's runtime gives orders to a run.")]
    Denied,
    #[error("The run has finished.")]
    Finished,
    #[error("Epoch {asked} lost its lease; the run is in epoch {current}.")]
    Fenced { asked: u32, current: u32 },
    #[error("The plan has no step {step}.")]
    NoSuchStep { step: u32 },
    #[error("Step {step} is {state}; {wanted}.")]
    StepNotInState { step: u32, state: &'static str, wanted: &'static str },
    #[error("Step {step} has to wait for step {before}.")]
    OutOfOrder { step: u32, before: u32 },
    #[error(
        "Stopped by {in_the_way}: this step was not started, and nothing was sent for it.",
        in_the_way = phrase(frozen)
    )]
    Frozen { frozen: Vec<Frozen> },
    #[error("Stopped because {closed}: this step was not started, and nothing was sent for it.")]
    WindowClosed { closed: Closed },
    #[error(
        "Total time over: it had until {end}, and {done} of {of} steps are done. This step was not started, and nothing was sent for it."
    )]
    TimeOver { end: Timestamp, done: usize, of: usize },
    #[error("Not started, because {why}: nothing was sent.")]
    NotBegun { why: Unbegun },
    #[error("The rollout is paused.")]
    Paused,
    #[error("The rollout was stopped before anything was sent: {reason}")]
    Stopped { reason: String },
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    NeedsRole { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error(
        "Cancelled after {done} of {of} steps: this step was not started, and nothing was sent for it. {reason}"
    )]
    Cancelled { done: usize, of: usize, reason: String },
    #[error(
        "Too late to cancel it: {why}. If it did something that is to be undone, roll it back once it has ended."
    )]
    TooLate { why: &'static str },
    #[error("It is one target of a rollout. Stop the rollout.")]
    OfRollout,
    #[error("Epoch {epoch} has the run, and reports as usual.")]
    NotLate { epoch: u32 },
    #[error("Epoch {epoch} has nothing to report on step {step} any more.")]
    NothingDue { step: u32, epoch: u32 },
    #[error("Its steps have not come to an end.")]
    NotOver,
}

impl Reject for RunRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "run.exists",
            Self::NoSteps => "run.no_steps",
            Self::NotFound => "not_found",
            Self::Denied => "access.denied",
            Self::Finished => "run.finished",
            Self::Fenced { .. } => "run.fenced",
            Self::NoSuchStep { .. } => "run.no_such_step",
            Self::StepNotInState { .. } => "run.step_not_in_state",
            Self::OutOfOrder { .. } => "run.out_of_order",
            Self::Frozen { .. } => "run.frozen",
            Self::WindowClosed { .. } => "run.window_closed",
            Self::TimeOver { .. } => "run.time_over",
            Self::NotBegun { why } => why.code(),
            Self::Paused => "rollout.paused",
            Self::Stopped { .. } => "rollout.stopped",
            Self::NeedsRole { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::Cancelled { .. } => "run.cancelled",
            Self::TooLate { .. } => "run.too_late",
            Self::OfRollout => "run.of_rollout",
            Self::NotLate { .. } => "run.not_late",
            Self::NothingDue { .. } => "run.nothing_due",
            Self::NotOver => "run.not_over",
        }
    }
}
