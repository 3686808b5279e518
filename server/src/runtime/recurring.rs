//! Makes changes of schedules: at each tick one that is drafted, planned and submitted in the name of the
//! schedule's owner, with the roles that they have then.
//!
//! The tick and what came of it are decided on the schedule's stream, with guards on the owner and on the
//! change before. Only then is the change made, step by step, each step on the change's stream; a crash in
//! between leaves a change that is open, which the next tick finds and goes on with. What cannot be
//! prepared is left to people, and the schedule says why.
//!
//! Deliberately absent: approving, and executing what the policy asks an approval for.

use nexplane_core::actor::Actor;
use nexplane_core::aggregate::Principal;
use nexplane_core::change::{
    Change, ChangeCommand, ChangeRejection, ChangeState, Drafting, Subject,
};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{ChangeId, PersonId, ProjectId, RunId, ScheduleId, StreamId};
use nexplane_core::schedule::{
    Schedule, ScheduleCommand, ScheduleRejection, ScheduleState, Standing,
};
use nexplane_store::log::{Guard, Log};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::assess::{AssessError, assess};
use super::planner::{PlanError, Planner};
use super::schedule::asker;
use super::targets::Targets;
use crate::calendar::Gated;
use crate::directory::Directory;
use crate::policy::Submitting;
use crate::problem::{ApiError, chain};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request, StreamError};

/// Changes that are made, and whose targets are read, at the same time.
static MAKING: Semaphore = Semaphore::const_new(8);

/// Events of a change that nobody but its schedule has touched: drafted, made by a schedule, planned.
const UNTOUCHED: u64 = 3;

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("the log cannot be read")]
    Load(#[from] LoadError),
    #[error("the schedule cannot be written")]
    Schedule(#[from] StreamError<ScheduleRejection>),
    #[error("the change cannot be written")]
    Change(#[from] StreamError<ChangeRejection>),
    #[error("the change cannot be planned")]
    Plan(#[from] PlanError),
    #[error("its risk cannot be told")]
    Assess(#[from] AssessError),
}

impl MakeError {
    /// For people: what they would have been told, had they asked themselves.
    fn sentence(self) -> String {
        let error = match self {
            Self::Load(error) => ApiError::from(error),
            Self::Schedule(error) => error.into(),
            Self::Change(error) => error.into(),
            Self::Plan(error) => error.into(),
            Self::Assess(AssessError::Open(error)) => error.into(),
            Self::Assess(AssessError::Query(error)) => error.into(),
        };
        error.detail().to_owned()
    }
}

/// What making a change takes.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub pool: PgPool,
    pub log: Log,
    pub planner: Planner,
    pub targets: Targets,
}

impl Maker {
    /// Looks at a schedule whose tick may have come.
    pub async fn tick(&self, schedule: ScheduleId) {
        let request = Request::once(Principal::SYSTEM, stream::now());
        let ticking = Ticking { log: &self.log, change: ChangeId(Uuid::now_v7()) };
        let done = stream::execute_prepared(&self.log, schedule.into(), &request, &ticking).await;
        if let Err(error) = done {
            tracing::warn!(schedule.id = %schedule, cause = %chain(&error), "a tick of a schedule could not be written; trying again");
        }
    }

    /// Makes the change of a tick, or goes on with it; says in the schedule's stream when it cannot.
    pub async fn make(&self, schedule: ScheduleId, change: ChangeId, request: &Request) {
        let Ok(_turn) = MAKING.acquire().await else { return };
        let Err(error) = self.try_make(schedule, change, request).await else { return };
        tracing::warn!(schedule.id = %schedule, change.id = %change, cause = %chain(&error), "the change of a schedule could not be prepared");
        let command = ScheduleCommand::Stall { change, reason: error.sentence() };
        let asked = request.also("stall");
        let done = stream::execute::<Schedule>(&self.log, schedule.into(), &asked, command).await;
        if let Err(error) = done {
            tracing::warn!(schedule.id = %schedule, cause = %chain(&error), "that a change could not be prepared could not be written");
        }
    }

    async fn try_make(
        &self,
        schedule: ScheduleId,
        change: ChangeId,
        request: &Request,
    ) -> Result<(), MakeError> {
        let loaded = stream::load::<Schedule>(&self.log, schedule.into()).await?;
        let ScheduleState::Standing(standing) = loaded.state else { return Ok(()) };
        let now = stream::load::<Change>(&self.log, change.into()).await?;
        if now.version > UNTOUCHED {
            return Ok(());
        }
        if matches!(now.state, ChangeState::Absent) {
            self.draft(schedule, &standing, change, request).await?;
        }
        self.plan(change, request).await?;
        self.submit(change, request).await?;
        self.start(change, request).await
    }

    async fn draft(
        &self,
        schedule: ScheduleId,
        standing: &Standing,
        change: ChangeId,
        request: &Request,
    ) -> Result<(), MakeError> {
        let by = self.program_of(standing.owner).await?;
        let command = ChangeCommand::DraftForSchedule {
            draft: standing.template.draft(),
            schedule,
            editors: standing.editors.iter().copied().collect(),
        };
        let asked = Request { by, ..request.also("draft") };
        stream::execute::<Change>(&self.log, change.into(), &asked, command).await?;
        Ok(())
    }

    /// Nothing when somebody planned it, or took it over, meanwhile.
    async fn plan(&self, change: ChangeId, request: &Request) -> Result<(), MakeError> {
        let Loaded { state, version } = stream::load::<Change>(&self.log, change.into()).await?;
        let ChangeState::Draft(Drafting { subject, plan: None }) = state else { return Ok(()) };
        let by = self.program_of(subject.author).await?;
        let asked = Request { by, ..request.also("plan") };
        let plan = self.planner.plan(change, &subject, &asked).await?;
        let command = ChangeCommand::RecordPlan { plan: Box::new(plan) };
        let asked = Request { if_match: Some(version), ..asked };
        match stream::execute::<Change>(&self.log, change.into(), &asked, command).await {
            Ok(_) | Err(StreamError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn submit(&self, change: ChangeId, request: &Request) -> Result<(), MakeError> {
        let Loaded { state, version } = stream::load::<Change>(&self.log, change.into()).await?;
        let ChangeState::Draft(Drafting { subject, plan: Some(_) }) = state else { return Ok(()) };
        let (environment, risk) = assess(&self.targets, &self.pool, &subject.draft).await?;
        let directory = Directory::new(self.pool.clone());
        let submitting = Submitting { log: &self.log, directory: &directory, environment, risk };
        let command =
            OnBehalf { log: &self.log, of: subject.author, project: None, command: submitting };
        let asked = Request { if_match: Some(version), ..request.also("submit") };
        match stream::execute_prepared(&self.log, change.into(), &asked, &command).await {
            Ok(_) | Err(StreamError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Only what the policy asks no approval for is approved right after it was submitted. It was planned a
    /// moment ago; the run compares with the target once more.
    async fn start(&self, change: ChangeId, request: &Request) -> Result<(), MakeError> {
        let state = stream::load::<Change>(&self.log, change.into()).await?.state;
        let ChangeState::Approved(approval) = &state else { return Ok(()) };
        let Subject { author, .. } = approval.submission.subject;
        if approval.submission.quorum.approvals > 0 || approval.scheduled.is_some() {
            return Ok(());
        }
        let run = RunId(Uuid::now_v7());
        let starting = |in_the_way: InTheWay| ChangeCommand::StartExecution { run, in_the_way };
        let gated = Gated { log: &self.log, pool: &self.pool, command: starting };
        let command = OnBehalf { log: &self.log, of: author, project: None, command: gated };
        let asked = request.also("execute");
        stream::execute_prepared(&self.log, change.into(), &asked, &command).await?;
        Ok(())
    }

    /// A program of a person proposes, with the roles that they have now.
    async fn program_of(&self, owner: PersonId) -> Result<Principal, LoadError> {
        let (asker, _) = asker(&self.log, owner).await?;
        Ok(Principal { actor: Actor::machine(owner), roles: asker.roles })
    }
}

/// What has come of the ticks of a schedule until now.
struct Ticking<'a> {
    log: &'a Log,
    change: ChangeId,
}

impl Prepare<Schedule> for Ticking<'_> {
    async fn prepare(&self, state: &ScheduleState) -> Result<Prepared<ScheduleCommand>, LoadError> {
        let mut guards = Vec::new();
        let (mut owner, mut open) = (Principal::SYSTEM, None);
        if let ScheduleState::Standing(standing) = state {
            let (person, guard) = asker(self.log, standing.owner).await?;
            owner = person;
            guards.push(guard);
            if let Some(last) = standing.last {
                let Loaded { state, version } =
                    stream::load::<Change>(self.log, last.into()).await?;
                open = state.is_open().then_some(last);
                guards.push(Guard { stream: last.into(), version });
            }
        }
        let command = ScheduleCommand::Tick { owner, change: self.change, open };
        // A moment after everything was read, and what is decided is what was so then.
        Ok(Prepared { command, at: Some(stream::now()), guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}

/// A command in the name of somebody, with the roles that they have then.
pub(super) struct OnBehalf<'a, P> {
    pub log: &'a Log,
    pub of: PersonId,
    /// Whose members they had executed.
    pub project: Option<ProjectId>,
    pub command: P,
}

impl<P: Prepare<Change> + Send> Prepare<Change> for OnBehalf<'_, P> {
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let Prepared { command, at, mut guards } = self.command.prepare(state).await?;
        let (asker, guard) = asker(self.log, self.of).await?;
        guards.push(guard);
        let command =
            ChangeCommand::OnBehalf { asker, project: self.project, command: Box::new(command) };
        Ok(Prepared { command, at, guards })
    }

    fn is_decided_again(&self, moved: StreamId) -> bool {
        moved == self.of.into() || self.command.is_decided_again(moved)
    }
}
