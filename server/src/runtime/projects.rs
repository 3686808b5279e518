//! Carries projects on: starts every member that may start, in the name of whoever asked for it, until all
//! are complete or one has stopped.
//!
//! Everything is read anew each time: the project, every member, and the roles that the person has now. A
//! member is started by the decision that everybody's executions go through, which asks again for what it
//! comes after; what speaks against it stops the project, with that reason, until somebody asks again.
//! Nothing is remembered in between, so that a crash loses nothing: the next look goes on.

use std::collections::BTreeMap;

use nexplane_core::aggregate::Principal;
use nexplane_core::change::{
    Approval, Change, ChangeCommand, ChangeRejection, ChangeState, Closed, Finish, Outcome,
};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{ChangeId, PersonId, ProjectId, RunId, StreamId};
use nexplane_core::project::{
    Became, Phase, Project, ProjectCommand, ProjectRejection, ProjectState, Standing,
};
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::assess::AssessError;
use super::planner::{PlanError, Planner};
use super::recurring::OnBehalf;
use super::targets::Targets;
use crate::calendar::Gated;
use crate::problem::{ApiError, chain};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request, StreamError};

/// Members that are started, and whose targets are read, at the same time.
pub(super) static STARTS: Semaphore = Semaphore::const_new(8);

#[derive(Debug, thiserror::Error)]
pub(super) enum AdvanceError {
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the project cannot be written")]
    Project(#[from] StreamError<ProjectRejection>),
    #[error("the target cannot be read")]
    Target(#[from] PlanError),
    #[error("the change cannot be written")]
    Change(#[from] StreamError<ChangeRejection>),
    #[error(transparent)]
    Refused(ChangeRejection),
    #[error("its risk cannot be assessed")]
    Assess(#[from] AssessError),
}

impl AdvanceError {
    /// What the domain or the target says no to; when it is our own database that does not answer, the next
    /// look tries again.
    pub fn reason(self) -> Result<String, Self> {
        match self {
            Self::Change(StreamError::Rejected(no)) | Self::Refused(no) => Ok(no.to_string()),
            Self::Target(error) if !is_away(&error) => {
                Ok(ApiError::from(error).detail().to_owned())
            }
            error @ (Self::Load(_)
            | Self::Project(_)
            | Self::Target(_)
            | Self::Change(_)
            | Self::Assess(_)) => Err(error),
        }
    }
}

/// What carrying a project on takes.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub pool: PgPool,
    pub log: Log,
    pub planner: Planner,
    pub targets: Targets,
}

impl Carrier {
    /// The project that a change is a member of, when it is running.
    pub async fn advance_of(&self, change: ChangeId) {
        match stream::load::<Change>(&self.log, change.into()).await {
            Ok(loaded) => {
                if let Some(project) = loaded.state.subject().and_then(|subject| subject.project) {
                    self.advance(project).await;
                }
            }
            Err(error) => {
                tracing::warn!(change.id = %change, cause = %chain(&error), "a member of a project could not be read; trying again");
            }
        }
    }

    pub async fn advance(&self, project: ProjectId) {
        if let Err(error) = self.try_advance(project).await {
            tracing::warn!(project.id = %project, cause = %chain(&error), "a project could not be carried on; trying again");
        }
    }

    async fn try_advance(&self, project: ProjectId) -> Result<(), AdvanceError> {
        let request = Request::once(Principal::SYSTEM, stream::now());
        let looking = Looking { log: &self.log };
        let done = stream::execute_prepared(&self.log, project.into(), &request, &looking).await?;
        let ProjectState::Standing(standing) = &done.state else { return Ok(()) };
        if matches!(standing.phase, Phase::GoingBack { .. }) {
            return self.go_back(project).await;
        }
        let Phase::Running { asked_by } = standing.phase else { return Ok(()) };
        let (became, _) = became(&self.log, &done.state).await?;
        for change in standing.ready(&became) {
            let Ok(_turn) = STARTS.acquire().await else { return Ok(()) };
            // Reading the target of the one before took a while, and may have ended all of it.
            let now = stream::load::<Project>(&self.log, project.into()).await?.state;
            let runs = |standing: &Standing| standing.phase == Phase::Running { asked_by };
            if !matches!(&now, ProjectState::Standing(standing) if runs(standing)) {
                return Ok(());
            }
            if let Err(error) = self.start(project, change, asked_by).await {
                return self.block(project, change, asked_by, error).await;
            }
        }
        Ok(())
    }

    /// Starts a member or the rollback of one, or schedules it for when its window opens.
    pub(super) async fn start(
        &self,
        project: ProjectId,
        change: ChangeId,
        asked_by: PersonId,
    ) -> Result<(), AdvanceError> {
        let request = Request::once(Principal::SYSTEM, stream::now());
        let state = stream::load::<Change>(&self.log, change.into()).await?.state;
        let ChangeState::Approved(approval) = &state else { return Ok(()) };
        let run = RunId(Uuid::now_v7());
        let starting = |in_the_way: InTheWay| ChangeCommand::StartExecution { run, in_the_way };
        let gated = Gated { log: &self.log, pool: &self.pool, command: starting };
        let command =
            OnBehalf { log: &self.log, of: asked_by, project: Some(project), command: gated };
        // A rollback compares with what its step left behind, right before it undoes it.
        if approval.submission.subject.rollback_of.is_none() {
            let plan = &approval.submission.plan;
            let moved = self.planner.moved(change, plan, &request).await?;
            if !moved.is_empty() {
                let no = ChangeRejection::PlanMoved { moved: moved.join(", ") };
                return Err(StreamError::Rejected(no).into());
            }
        }
        match stream::execute_prepared(&self.log, change.into(), &request, &command).await {
            Ok(_) => Ok(()),
            // Somebody was faster, or what it comes after was rolled back: the next look sees it.
            Err(StreamError::Rejected(
                ChangeRejection::NotInState { .. } | ChangeRejection::DependencyMissing { .. },
            )) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn block(
        &self,
        project: ProjectId,
        change: ChangeId,
        asked_by: PersonId,
        error: AdvanceError,
    ) -> Result<(), AdvanceError> {
        let reason = error.reason()?;
        let request = Request::once(Principal::SYSTEM, stream::now());
        let command = ProjectCommand::Block { change, reason, asked_by };
        stream::execute::<Project>(&self.log, project.into(), &request, command).await?;
        Ok(())
    }
}

const fn is_away(error: &PlanError) -> bool {
    match error {
        PlanError::Open(error) => error.is_away(),
        PlanError::Write(error) => error.is_away(),
        PlanError::Parameters(_) | PlanError::Target(..) | PlanError::NothingToUndo => false,
    }
}

/// What has become of the members of a project.
struct Looking<'a> {
    log: &'a Log,
}

impl Prepare<Project> for Looking<'_> {
    async fn prepare(&self, state: &ProjectState) -> Result<Prepared<ProjectCommand>, LoadError> {
        let (became, guards) = became(self.log, state).await?;
        Ok(Prepared { command: ProjectCommand::Advance { became }, at: None, guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}

/// What has become of each member, and guards under which it has. Nothing when it is not running.
async fn became(
    log: &Log,
    state: &ProjectState,
) -> Result<(BTreeMap<ChangeId, Became>, Vec<Guard>), LoadError> {
    let (mut became, mut guards) = (BTreeMap::new(), Vec::new());
    let ProjectState::Standing(standing) = state else { return Ok((became, guards)) };
    if !matches!(standing.phase, Phase::Running { .. }) {
        return Ok((became, guards));
    }
    for change in standing.members.keys() {
        let Loaded { state, version } = stream::load::<Change>(log, (*change).into()).await?;
        guards.push(Guard { stream: (*change).into(), version });
        became.insert(*change, of(&state));
    }
    Ok((became, guards))
}

fn of(state: &ChangeState) -> Became {
    let stopped = || Became::Stopped { reason: format!("The change is {}.", state.name()) };
    match state {
        ChangeState::Absent | ChangeState::Draft(_) | ChangeState::Submitted(_) => Became::UnderWay,
        ChangeState::Approved(Approval { scheduled: Some(_), .. }) | ChangeState::Executing(_) => {
            Became::UnderWay
        }
        ChangeState::Approved(_) => Became::Approved,
        ChangeState::Finished(Finish { how: Outcome::Complete, .. }) => Became::Complete,
        ChangeState::Finished(_) => stopped(),
        ChangeState::Closed(closing) => match closing.how {
            Closed::Rejected | Closed::Cancelled => stopped(),
            Closed::Expired => {
                Became::Stopped { reason: "The approvals of the change ran out.".to_owned() }
            }
        },
    }
}
