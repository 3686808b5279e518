//! Makes changes of schedules: at each tick one that is drafted, planned and submitted in the name of the
//! schedule's owner, with the roles that they have then.
//!
//! The tick and what came of it are decided on the schedule's stream, with guards on the owner and on the
//! change before. Only then is the change made, step by step, each step on the change's stream; a crash in
//! between leaves a change that is open, which the next tick finds and goes on with from what it is then: a
//! plan that is too old, or of an earlier policy, is made again. What can not go on ends with the reason, so
//! that it is not in the way of the next tick; what may yet, such as a frozen one, is tried again then; what
//! people took over is left to them. The schedule says why.
//!
//! Deliberately absent: approving, and executing what the policy asks an approval for.

use nexplane_connectors::sdk::ErrorKind;
use nexplane_core::actor::{Actor, ActorKind};
use nexplane_core::aggregate::{Decider as _, Principal};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::change::{
    Approval, Change, ChangeCommand, ChangeRejection, ChangeState, Drafting, Subject,
};
use nexplane_core::event::Recorded;
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
use super::targets::{OpenError, Targets};
use crate::calendar::Gated;
use crate::directory::Directory;
use crate::policy::Submitting;
use crate::problem::{ApiError, chain};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request, StreamError};

/// Changes that are made, and whose targets are read, at the same time.
static MAKING: Semaphore = Semaphore::const_new(8);

/// The most steps of one making: drafted, planned, planned again, submitted, started, and what others were
/// faster with. The next tick goes on.
const STEPS: u32 = 8;

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
    /// Whether trying again later comes to the same: the domain says no, or there is nothing that could be
    /// planned. A target that does not answer may answer at the next tick.
    const fn is_for_good(&self) -> bool {
        match self {
            Self::Change(StreamError::Rejected(_)) => true,
            Self::Plan(error) => match error {
                PlanError::Parameters(_) | PlanError::Target(..) | PlanError::NothingToUndo => true,
                PlanError::Open(error) => is_gone(error),
                PlanError::Write(_) => false,
            },
            Self::Assess(AssessError::Open(error)) => is_gone(error),
            Self::Load(_) | Self::Schedule(_) | Self::Change(_) | Self::Assess(_) => false,
        }
    }

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

const fn is_gone(error: &OpenError) -> bool {
    match error {
        OpenError::NoConnection | OpenError::NoConnector(_) | OpenError::NoAction(_) => true,
        OpenError::Connector(error) => match error.kind {
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Unauthorised
            | ErrorKind::Forbidden
            | ErrorKind::Refused => true,
            ErrorKind::Conflict
            | ErrorKind::RateLimited
            | ErrorKind::Unreachable
            | ErrorKind::Timeout
            | ErrorKind::Unexpected => false,
        },
        OpenError::Connection(_) | OpenError::Load(_) | OpenError::Vault(_) => false,
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
        let is_for_good = error.is_for_good();
        let reason = error.sentence();
        if is_for_good && let Err(error) = self.give_up(change, &reason, request).await {
            tracing::warn!(schedule.id = %schedule, change.id = %change, cause = %chain(&error), "a change of a schedule that cannot go on could not be ended");
        }
        let command = ScheduleCommand::Stall { change, reason };
        let asked = request.also("stall");
        let done = stream::execute::<Schedule>(&self.log, schedule.into(), &asked, command).await;
        if let Err(error) = done {
            tracing::warn!(schedule.id = %schedule, cause = %chain(&error), "that a change could not be prepared could not be written");
        }
    }

    /// From what the change is now, one step after the other: a crash may have come after any of them, and
    /// long ago.
    async fn try_make(
        &self,
        schedule: ScheduleId,
        change: ChangeId,
        request: &Request,
    ) -> Result<(), MakeError> {
        let loaded = stream::load::<Schedule>(&self.log, schedule.into()).await?;
        let ScheduleState::Standing(standing) = loaded.state else { return Ok(()) };
        for _ in 0..STEPS {
            let Some(Loaded { state, version }) = self.untouched(change).await? else {
                return Ok(());
            };
            let step = match state {
                ChangeState::Absent => self.draft(schedule, &standing, change, request).await,
                ChangeState::Draft(Drafting { subject, plan: None }) => {
                    self.plan(change, &subject, version, request).await
                }
                ChangeState::Draft(Drafting { subject, plan: Some(_) }) => {
                    match self.submit(change, &subject, version, request).await {
                        Err(MakeError::Change(StreamError::Rejected(
                            ChangeRejection::PlanOutdated
                            | ChangeRejection::PlanOfOtherPolicy { .. },
                        ))) => self.plan(change, &subject, version, request).await,
                        submitted => submitted,
                    }
                }
                ChangeState::Approved(approval) => {
                    return self.start(change, &approval, request).await;
                }
                ChangeState::Submitted(_)
                | ChangeState::Executing(_)
                | ChangeState::Finished(_)
                | ChangeState::Closed(_) => return Ok(()),
            };
            match step {
                // Somebody was faster.
                Ok(()) | Err(MakeError::Change(StreamError::Stale { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The change as long as nobody but its schedule, and Nexplane, has touched it: what people took over is
    /// theirs.
    async fn untouched(&self, change: ChangeId) -> Result<Option<Loaded<Change>>, LoadError> {
        let mut loaded = Loaded { state: ChangeState::default(), version: 0 };
        for Recorded { header, event, .. } in
            stream::history(&self.log, change.into(), None).await?
        {
            let Some(event) = Change::own(&event) else { continue };
            let is_own = match header.actor.kind {
                ActorKind::System => true,
                ActorKind::Machine => matches!(
                    event,
                    ChangeEvent::Drafted { .. }
                        | ChangeEvent::MadeBySchedule { .. }
                        | ChangeEvent::Planned { .. }
                ),
                ActorKind::User | ActorKind::Agent => false,
            };
            if !is_own {
                return Ok(None);
            }
            loaded.state = Change::evolve(loaded.state, event, header.actor, header.at);
            loaded.version = header.version;
        }
        Ok(Some(loaded))
    }

    /// Ends what can not be brought to where it waits for people, so that the next tick makes another one.
    async fn give_up(
        &self,
        change: ChangeId,
        reason: &str,
        request: &Request,
    ) -> Result<(), MakeError> {
        let Some(Loaded { state, version }) = self.untouched(change).await? else { return Ok(()) };
        if !matches!(state, ChangeState::Draft(_)) {
            return Ok(());
        }
        let command = ChangeCommand::GiveUp { reason: reason.to_owned() };
        let asked = Request { if_match: Some(version), ..request.also("give up") };
        match stream::execute::<Change>(&self.log, change.into(), &asked, command).await {
            Ok(_) | Err(StreamError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn draft(
        &self,
        schedule: ScheduleId,
        standing: &Standing,
        change: ChangeId,
        request: &Request,
    ) -> Result<(), MakeError> {
        let command = ChangeCommand::DraftForSchedule {
            draft: standing.template.draft(),
            schedule,
            editors: standing.editors.iter().copied().collect(),
        };
        let asked = self.program_of(standing.owner, &request.also("draft")).await?;
        let asked = Request { if_match: Some(0), ..asked };
        stream::execute::<Change>(&self.log, change.into(), &asked, command).await?;
        Ok(())
    }

    /// Each plan is another command: one that is too old was written, and another one follows it.
    async fn plan(
        &self,
        change: ChangeId,
        subject: &Subject,
        version: u64,
        request: &Request,
    ) -> Result<(), MakeError> {
        let asked = request.also(&format!("plan after {version}"));
        let asked = self.program_of(subject.author, &asked).await?;
        let plan = self.planner.plan(change, subject, &asked).await?;
        let command = ChangeCommand::RecordPlan { plan: Box::new(plan) };
        let asked = Request { if_match: Some(version), ..asked };
        stream::execute::<Change>(&self.log, change.into(), &asked, command).await?;
        Ok(())
    }

    async fn submit(
        &self,
        change: ChangeId,
        subject: &Subject,
        version: u64,
        request: &Request,
    ) -> Result<(), MakeError> {
        let (environment, risk) = assess(&self.targets, &self.pool, &subject.draft).await?;
        let directory = Directory::new(self.pool.clone());
        let submitting = Submitting { log: &self.log, directory: &directory, environment, risk };
        let command =
            OnBehalf { log: &self.log, of: subject.author, project: None, command: submitting };
        let asked = Request { if_match: Some(version), ..request.also("submit") };
        stream::execute_prepared(&self.log, change.into(), &asked, &command).await?;
        Ok(())
    }

    /// Only what the policy asks no approval for is approved without people. Its target is compared with the
    /// plan by the run.
    async fn start(
        &self,
        change: ChangeId,
        approval: &Approval,
        request: &Request,
    ) -> Result<(), MakeError> {
        if approval.submission.quorum.approvals > 0 || approval.scheduled.is_some() {
            return Ok(());
        }
        let run = RunId(Uuid::now_v7());
        let starting = |in_the_way: InTheWay| ChangeCommand::StartExecution { run, in_the_way };
        let gated = Gated { log: &self.log, pool: &self.pool, command: starting };
        let of = approval.submission.subject.author;
        let command = OnBehalf { log: &self.log, of, project: None, command: gated };
        let asked = request.also("execute");
        match stream::execute_prepared(&self.log, change.into(), &asked, &command).await {
            // Somebody was faster.
            Ok(_) | Err(StreamError::Rejected(ChangeRejection::NotInState { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A program of a person proposes, with the roles that they have now.
    async fn program_of(&self, owner: PersonId, request: &Request) -> Result<Request, LoadError> {
        let (asker, is_still) = asker(&self.log, owner).await?;
        let by = Principal { actor: Actor::machine(owner), roles: asker.roles };
        Ok(Request { by, seen: Some(is_still.version), ..request.clone() })
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
