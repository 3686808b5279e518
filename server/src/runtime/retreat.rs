//! Carries a project back: has the rollback of its newest member made, submitted and, once it is approved,
//! started, in the name of whoever asked; then of the next one, until nothing of it stands or one has stopped.
//!
//! The rollback of a member is a change like any other, made by the decisions that everybody's go through. Its
//! id follows from the project, the member and how often somebody has asked, so that what is done again after
//! a crash is done once. One that somebody left unfinished at an earlier asking is gone on with; one that was
//! rejected, or stopped, is not: who asks again gets a new one, with a plan of what there is then.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use nexplane_core::actor::Actor;
use nexplane_core::aggregate::{Decider as _, Principal};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::change::{
    Approval, Change, ChangeCommand, ChangeState, Closed, Closing, Drafting, Execution, Finish,
    Outcome, may_roll_back, may_submit, rollback_draft,
};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::id::{ChangeId, PersonId, ProjectId, RolloutId, RunId, StreamId};
use nexplane_core::project::{Applied, Back, Phase, Project, ProjectCommand, ProjectState, Stands};
use nexplane_core::run::{Run, RunState, StepPhase};
use nexplane_projections::changes;
use nexplane_store::log::{Guard, Log};

use super::assess::assess;
use super::projects::{AdvanceError, Carrier, STARTS};
use super::recurring::OnBehalf;
use super::schedule::asker;
use crate::directory::Directory;
use crate::meeting::caught_up;
use crate::policy::{self, Submitting};
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared, Request};

/// Earlier askings whose rollback may be unfinished.
const ASKINGS: u32 = 20;
/// Runs of parts that are read at the same time.
const AT_ONCE: usize = 16;

impl Carrier {
    pub(super) async fn go_back(&self, project: ProjectId) -> Result<(), AdvanceError> {
        let request = Request::once(Principal::SYSTEM, stream::now());
        let looking = Looking { log: &self.log, project };
        let done = stream::execute_prepared(&self.log, project.into(), &request, &looking).await?;
        let ProjectState::Standing(standing) = &done.state else { return Ok(()) };
        let Phase::GoingBack { asked_by } = standing.phase else { return Ok(()) };
        let (stands, _) = stands(&self.log, project, &done.state).await?;
        let Some((change, applied)) = standing.next_back(&stands) else { return Ok(()) };
        let Ok(_turn) = STARTS.acquire().await else { return Ok(()) };
        let done = match applied.back {
            Back::ToPropose { asking } => self.propose(project, change, asking, asked_by).await,
            Back::Approved { rollback } => self.start(project, rollback, asked_by).await,
            Back::UnderWay | Back::Stopped { .. } => Ok(()),
        };
        let Err(error) = done else { return Ok(()) };
        let reason = error.reason()?;
        let command = ProjectCommand::BlockBack { change, reason, asked_by };
        stream::execute::<Project>(&self.log, project.into(), &request.also("block"), command)
            .await?;
        Ok(())
    }

    /// Drafts, plans and submits the rollback of a member, or goes on with that.
    async fn propose(
        &self,
        project: ProjectId,
        member: ChangeId,
        asking: u32,
        asked_by: PersonId,
    ) -> Result<(), AdvanceError> {
        let log = &self.log;
        let request = request_of(project, member, asking);
        let rollback = ChangeId(request.command.0);
        let program = async |request: Request| {
            let (person, is_still) = asker(log, asked_by).await?;
            let by = Principal { actor: Actor::machine(asked_by), roles: person.roles };
            Ok::<_, LoadError>(Request { by, seen: Some(is_still.version), ..request })
        };
        let original = stream::load::<Change>(log, member.into()).await?.state;
        if matches!(stream::load::<Change>(log, rollback.into()).await?.state, ChangeState::Absent)
        {
            caught_up(&self.pool, log).await?;
            let Some(subject) = original.subject() else { return Ok(()) };
            let later = changes::later_applied(&self.pool, member, &subject.draft.targets).await;
            let later: Vec<_> =
                later.map_err(LoadError::from)?.into_iter().map(|later| later.id).collect();
            let asked = program(request.clone()).await?;
            let execution = may_roll_back(&original, &asked.by, stream::now(), &later)
                .map_err(AdvanceError::Refused)?;
            let draft = rollback_draft(member, &execution.subject.draft);
            let command = ChangeCommand::DraftForProject { draft, rollback_of: member, project };
            stream::execute::<Change>(log, rollback.into(), &asked, command).await?;
        }
        let Loaded { state, version } = stream::load::<Change>(log, rollback.into()).await?;
        let ChangeState::Draft(Drafting { subject, plan }) = &state else { return Ok(()) };
        // One that was made before a crash, or for somebody who asked earlier, may say no for what is over.
        let person = asker(log, asked_by).await?.0;
        let policy = policy::current(log).await?.state;
        if plan.is_none() || may_submit(&state, &person, stream::now(), policy.version).is_err() {
            let asked = program(request.also(&format!("plan after {version}"))).await?;
            let plan = self.planner.plan_rollback(rollback, subject, &original, &asked).await?;
            let command = ChangeCommand::RecordPlan { plan: Box::new(plan) };
            let asked = Request { if_match: Some(version), ..asked };
            stream::execute::<Change>(log, rollback.into(), &asked, command).await?;
        }
        let Loaded { state, version } = stream::load::<Change>(log, rollback.into()).await?;
        let ChangeState::Draft(Drafting { subject, plan: Some(_) }) = state else { return Ok(()) };
        let (environment, risk) = assess(&self.targets, &self.pool, &subject.draft).await?;
        let directory = Directory::new(self.pool.clone());
        let submitting = Submitting { log, directory: &directory, environment, risk };
        let command = OnBehalf { log, of: asked_by, project: Some(project), command: submitting };
        let asked = Request { if_match: Some(version), ..request.also("submit") };
        stream::execute_prepared(log, rollback.into(), &asked, &command).await?;
        Ok(())
    }
}

fn request_of(project: ProjectId, member: ChangeId, asking: u32) -> Request {
    let purpose = format!("go back {asking} {member}");
    Request::following(project.0, project.0, &purpose, stream::now())
}

/// What stands of the members of a project.
struct Looking<'a> {
    log: &'a Log,
    project: ProjectId,
}

impl Prepare<Project> for Looking<'_> {
    async fn prepare(&self, state: &ProjectState) -> Result<Prepared<ProjectCommand>, LoadError> {
        let (stands, guards) = stands(self.log, self.project, state).await?;
        Ok(Prepared { command: ProjectCommand::LookBack { stands }, at: None, guards })
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        true
    }
}

/// What stands of each member, and guards under which it does. Nothing when the project does not go back.
async fn stands(
    log: &Log,
    project: ProjectId,
    state: &ProjectState,
) -> Result<(BTreeMap<ChangeId, Stands>, Vec<Guard>), LoadError> {
    let (mut stands, mut guards) = (BTreeMap::new(), Vec::new());
    let ProjectState::Standing(standing) = state else { return Ok((stands, guards)) };
    if !matches!(standing.phase, Phase::GoingBack { .. }) {
        return Ok((stands, guards));
    }
    for member in standing.members.keys() {
        let events = stream::history(log, (*member).into(), None).await?;
        let version = events.last().map_or(0, |event| event.header.version);
        guards.push(Guard { stream: (*member).into(), version });
        let state = folded(&events);
        let applied = match &state {
            ChangeState::Executing(_) => {
                stands.insert(*member, Stands::UnderWay);
                continue;
            }
            ChangeState::Finished(finish) => applied(log, finish).await?,
            ChangeState::Absent
            | ChangeState::Draft(_)
            | ChangeState::Submitted(_)
            | ChangeState::Approved(_)
            | ChangeState::Closed(_) => Stood::Nothing,
        };
        let back = match applied {
            Stood::Nothing => {
                stands.insert(*member, Stands::Nothing);
                continue;
            }
            Stood::Undone => {
                stands.insert(*member, Stands::Undone);
                continue;
            }
            Stood::UnderWay => {
                stands.insert(*member, Stands::UnderWay);
                continue;
            }
            Stood::Unknown => {
                let reason = "What became of it is unknown; it has to be settled first.";
                Back::Stopped { reason: reason.to_owned() }
            }
            Stood::Applied => {
                let (back, guard) = back(log, project, *member, standing.askings_back).await?;
                guards.extend(guard);
                back
            }
        };
        let executed = executed(&events).unwrap_or_default();
        stands.insert(*member, Stands::Applied(Applied { executed, back }));
    }
    Ok((stands, guards))
}

enum Stood {
    Nothing,
    Undone,
    UnderWay,
    Unknown,
    Applied,
}

async fn applied(log: &Log, finish: &Finish) -> Result<Stood, LoadError> {
    Ok(match finish.how {
        Outcome::Complete | Outcome::RollbackPartial | Outcome::RollbackBlocked => Stood::Applied,
        Outcome::Failed if has_effect(log, &finish.execution).await? => Stood::Applied,
        Outcome::Failed => Stood::Nothing,
        Outcome::Unknown => Stood::Unknown,
        Outcome::RollingBack { .. } => Stood::UnderWay,
        Outcome::RolledBack => Stood::Undone,
    })
}

/// Whether any step of an execution that failed was verified: only that is undone.
async fn has_effect(log: &Log, execution: &Execution) -> Result<bool, LoadError> {
    let Some(parts) = &execution.plan.parts else { return has_verified(log, execution.run).await };
    let rollout = RolloutId::from(execution.run);
    let mut runs = iter(0..parts.count)
        .map(|no| has_verified(log, RunId::of_part(rollout, no)))
        .buffered(AT_ONCE);
    while let Some(verified) = runs.next().await {
        if verified? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has_verified(log: &Log, run: RunId) -> Result<bool, LoadError> {
    let RunState::Finished(finished) = stream::load::<Run>(log, run.into()).await?.state else {
        return Ok(false);
    };
    Ok(finished.run.steps.iter().any(|step| matches!(step, StepPhase::Verified(_))))
}

/// What has become of the newest rollback of a member that the project made, and the guard on it.
async fn back(
    log: &Log,
    project: ProjectId,
    member: ChangeId,
    askings: u32,
) -> Result<(Back, Option<Guard>), LoadError> {
    for asking in (askings.saturating_sub(ASKINGS).max(1)..=askings).rev() {
        let rollback = ChangeId(request_of(project, member, asking).command.0);
        let events = stream::history(log, rollback.into(), None).await?;
        let Some(last) = events.last() else { continue };
        let guard = Guard { stream: rollback.into(), version: last.header.version };
        let back = match folded(&events) {
            ChangeState::Absent => continue,
            ChangeState::Draft(_) => Back::ToPropose { asking },
            ChangeState::Approved(Approval { scheduled: None, .. }) => Back::Approved { rollback },
            ChangeState::Submitted(_) | ChangeState::Approved(_) | ChangeState::Executing(_) => {
                Back::UnderWay
            }
            // The member hears of it in a moment.
            ChangeState::Finished(Finish { how: Outcome::Complete, .. }) => Back::UnderWay,
            ended @ (ChangeState::Finished(_) | ChangeState::Closed(_)) if asking == askings => {
                Back::Stopped { reason: why(&ended, &events) }
            }
            ChangeState::Finished(_) | ChangeState::Closed(_) => {
                Back::ToPropose { asking: askings }
            }
        };
        return Ok((back, Some(guard)));
    }
    Ok((Back::ToPropose { asking: askings }, None))
}

fn folded(events: &[Recorded]) -> ChangeState {
    events.iter().fold(ChangeState::default(), |state, Recorded { header, event, .. }| {
        match Change::own(event) {
            Some(event) => Change::evolve(state, event, header.actor, header.at),
            None => state,
        }
    })
}

/// Where the execution began.
fn executed(events: &[Recorded]) -> Option<u64> {
    let mut events = events.iter().rev();
    let is_start = |event: &&Recorded| {
        matches!(event.event, Event::Change(ChangeEvent::ExecutionStarted { .. }))
    };
    events.find(is_start).map(|event| event.position)
}

/// Why a rollback came to nothing, in a sentence.
fn why(ended: &ChangeState, events: &[Recorded]) -> String {
    let reason = events.iter().rev().find_map(|recorded| {
        let Event::Change(
            ChangeEvent::Failed { reason, .. }
            | ChangeEvent::RollbackPartial { reason, .. }
            | ChangeEvent::RollbackBlocked { reason, .. }
            | ChangeEvent::OutcomeUnknown { reason, .. }
            | ChangeEvent::Rejected { reason, .. }
            | ChangeEvent::Cancelled { reason },
        ) = &recorded.event
        else {
            return None;
        };
        Some(reason.as_str())
    });
    let ran_out = matches!(ended, ChangeState::Closed(Closing { how: Closed::Expired, .. }));
    let reason = reason.or(ran_out.then_some("its approvals ran out."));
    match reason {
        Some(reason) => format!("Its rollback is {}: {reason}", ended.name()),
        None => format!("Its rollback is {}.", ended.name()),
    }
}
