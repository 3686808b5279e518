//! What can be asked of a project. What a person asks is an operator's, signed in.

use std::collections::BTreeMap;

use crate::id::{ChangeId, PersonId, ProjectId};
use crate::project::back::Stands;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectCommand {
    Create {
        /// 1–100 characters.
        name: String,
        /// At most 2,000 characters.
        description: String,
    },
    /// Nothing happens when it says the same.
    Rename {
        name: String,
        description: String,
    },
    AddMember {
        change: ChangeId,
        after: Vec<ChangeId>,
        /// The project that the change's own stream says it joined.
        joined: Option<ProjectId>,
        /// This one.
        this: ProjectId,
    },
    /// Nothing happens when it is none.
    RemoveMember {
        change: ChangeId,
    },
    /// Nothing happens when it says the same.
    Depend {
        change: ChangeId,
        after: Vec<ChangeId>,
    },
    Execute,
    /// Have all of it undone that was applied. Nothing happens when the same person has asked already.
    GoBack {
        /// 1–500 characters.
        reason: String,
    },
    /// By the runtime: what stands of the members. Nothing happens while the going back goes on.
    LookBack {
        stands: BTreeMap<ChangeId, Stands>,
    },
    /// By the runtime: a member could not be undone.
    BlockBack {
        change: ChangeId,
        reason: String,
        /// Whoever had asked for it.
        asked_by: PersonId,
    },
    /// Nothing happens when it was closed already.
    Close {
        /// 1–500 characters.
        reason: String,
    },
    /// By the runtime: what has become of the members. Nothing happens while they go on.
    Advance {
        became: BTreeMap<ChangeId, Became>,
    },
    /// By the runtime: a member that was ready could not be started.
    Block {
        change: ChangeId,
        reason: String,
        /// Whoever had asked for it.
        asked_by: PersonId,
    },
}

/// What has become of a member, as far as its project goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is a draft, in review, waits for a window, or executes.
    UnderWay,
    /// It is approved, and nobody has started it.
    Approved,
    Complete,
    /// It will not be complete by itself; why, in a sentence.
    Stopped {
        reason: String,
    },
}
