//! The gate that a project is: which changes a member has to come after, and are not complete, with the
//! guards that make an append fail when that is no longer so.
//!
//! A change's own stream says which project it joined, and a change that is a member of an open project never
//! joins another: so that one stream to guard is known from the change alone. What it comes after is guarded as
//! well: what was complete may be rolled back.

use nexplane_core::change::{Change, ChangeCommand, ChangeState, Execution, Finish, Outcome};
use nexplane_core::freeze::Dependency;
use nexplane_core::id::{ChangeId, ProjectId, StreamId};
use nexplane_core::project::{Project, ProjectCommand, ProjectState};
use nexplane_core::run::Terms;
use nexplane_store::log::{Guard, Log};

use crate::stream::{self, LoadError, Loaded, Prepare, Prepared};

/// What a change still has to wait for, and guards under which it does.
pub async fn waits_for(
    log: &Log,
    state: &ChangeState,
) -> Result<(Vec<Dependency>, Vec<Guard>), LoadError> {
    let joined = state.subject().and_then(|subject| subject.project);
    let (Some(joined), Some(plan)) = (joined, state.plan()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let (_, missing, guards) = of_member(log, joined, plan.header.change).await?;
    Ok((missing, guards))
}

/// What an execution of which nothing was sent was started under, as it is now, and guards under which it is.
pub async fn terms(
    log: &Log,
    change: ChangeId,
    execution: &Execution,
) -> Result<(Terms, Vec<Guard>), LoadError> {
    let Some(joined) = execution.subject.project else {
        return Ok((Terms::of(change, execution, None, Vec::new()), Vec::new()));
    };
    let (project, missing, guards) = of_member(log, joined, change).await?;
    Ok((Terms::of(change, execution, Some(&project), missing), guards))
}

/// A project, and what this change still comes after in it.
async fn of_member(
    log: &Log,
    joined: ProjectId,
    member: ChangeId,
) -> Result<(ProjectState, Vec<Dependency>, Vec<Guard>), LoadError> {
    let project = stream::load::<Project>(log, joined.into()).await?;
    let mut missing = Vec::new();
    let mut guards = vec![Guard { stream: joined.into(), version: project.version }];
    for change in project.state.before(member) {
        let Loaded { state, version } = stream::load::<Change>(log, change.into()).await?;
        guards.push(Guard { stream: change.into(), version });
        if !matches!(state, ChangeState::Finished(Finish { how: Outcome::Complete, .. })) {
            missing.push(Dependency { change, number: None, state: state.name() });
        }
    }
    Ok((project.state, missing, guards))
}

/// Lets a change join a project, unless it is a member of another one that is open.
pub struct Joining<'a> {
    pub log: &'a Log,
    pub change: ChangeId,
    pub project: ProjectId,
}

impl Prepare<Change> for Joining<'_> {
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let (mut member_of, mut guards) = (None, Vec::new());
        let joined = state.subject().and_then(|subject| subject.project);
        if let Some(other) = joined.filter(|joined| *joined != self.project) {
            let Loaded { state, version } = stream::load::<Project>(self.log, other.into()).await?;
            guards.push(Guard { stream: other.into(), version });
            member_of = state.has(self.change).then_some(other);
        }
        let command = ChangeCommand::JoinProject { project: self.project, member_of };
        Ok(Prepared { command, at: None, guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}

/// Adds what has joined, as long as it has not joined another project since.
pub struct Adding<'a> {
    pub log: &'a Log,
    pub change: ChangeId,
    pub project: ProjectId,
    pub after: Vec<ChangeId>,
}

impl Prepare<Project> for Adding<'_> {
    async fn prepare(&self, _: &ProjectState) -> Result<Prepared<ProjectCommand>, LoadError> {
        let Loaded { state, version } =
            stream::load::<Change>(self.log, self.change.into()).await?;
        let command = ProjectCommand::AddMember {
            change: self.change,
            after: self.after.clone(),
            joined: state.subject().and_then(|subject| subject.project),
            this: self.project,
        };
        let guards = vec![Guard { stream: self.change.into(), version }];
        Ok(Prepared { command, at: None, guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}
