//! Every "no" of a project.

use crate::aggregate::Reject;
use crate::id::ChangeId;
use crate::project::decide::MAX_MEMBERS;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectRejection {
    #[error("This project exists already.")]
    Exists,
    #[error("There is no such project.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error("The project is {state}; {wanted}.")]
    NotInState { state: &'static str, wanted: &'static str },
    #[error("The change is a member of this project already. Change what it comes after instead.")]
    MemberAlready,
    #[error("The change is no member of this project.")]
    NoMember { change: ChangeId },
    #[error("The change has joined another project meanwhile.")]
    JoinedAnother,
    #[error("Each would have to be complete before the next, in a circle: {}.", circle(.cycle))]
    Cycle {
        /// From a member to what it comes after, and so on; the last one comes after the first.
        cycle: Vec<ChangeId>,
    },
    #[error("Other members come after it. Change what they come after, or remove them first.")]
    Needed { by: Vec<ChangeId> },
    #[error("A project has at most {MAX_MEMBERS} members.")]
    TooManyMembers,
    #[error("It has no members. Add the changes that it is about.")]
    Empty,
}

fn circle(cycle: &[ChangeId]) -> String {
    let names: Vec<_> = cycle.iter().chain(cycle.first()).map(ToString::to_string).collect();
    names.join(" after ")
}

impl Reject for ProjectRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "project.exists",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::NotInState { .. } => "project.not_in_state",
            Self::MemberAlready => "project.member_already",
            Self::NoMember { .. } => "project.no_member",
            Self::JoinedAnother => "change.in_other_project",
            Self::Cycle { .. } => "project.cycle",
            Self::Needed { .. } => "project.member_needed",
            Self::TooManyMembers => "project.too_many_members",
            Self::Empty => "project.empty",
        }
    }
}
