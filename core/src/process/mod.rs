//! Process managers: what follows from an event in another stream.
//!
//! Pure: an event goes in, effects come out, and the runtime in the server performs them. Performing
//! an effect twice is the same as performing it once, so that a runtime which crashed may begin
//! again from an earlier event.

#[cfg(test)]
mod tests;

use crate::change::event::ChangeEvent;
use crate::event::{Event, Recorded};
use crate::host::event::HostEvent;
use crate::id::{ChangeId, HostId, ProjectId, RolloutId, RunId, ScheduleId};
use crate::project::event::ProjectEvent;
use crate::rollout::event::RolloutEvent;
use crate::run::event::RunEvent;
use crate::schedule::event::{ScheduleEvent, Skip};
use crate::time::Timestamp;

/// What has to be done outside the stream that the event is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the run of a change whose execution has started, and carry it out.
    BeginRun { change: ChangeId, run: RunId },
    /// Tell the change how its run ended.
    ReportOutcome { run: RunId },
    /// Tell the change how its rollout ended.
    ReportRollout { rollout: RolloutId },
    /// Tell the change that was undone how its rollback ended, if `change` is a rollback.
    ReportRollback { change: ChangeId },
    /// Undo a change that has failed, if that was approved with it.
    GoBack { change: ChangeId },
    /// Start a change that is scheduled, once this moment is there.
    StartAt { change: ChangeId, opens: Timestamp },
    /// Look at everything that is scheduled: the calendar is another one.
    LookAtScheduled,
    /// Draft, plan and submit the change of a tick, as far as that was not done.
    MakeChange { schedule: ScheduleId, change: ChangeId },
    /// Carry the project on that a change is a member of, when it is running.
    AdvanceProjectOf { change: ChangeId },
    /// Carry a project on.
    AdvanceProject { project: ProjectId },
    /// Make the built-in connection of a host that enrolled.
    ConnectHost { host: HostId },
    /// Read the facts of a host that came online.
    DiscoverHost { host: HostId },
}

/// What follows from an event.
pub fn react(recorded: &Recorded) -> Vec<Effect> {
    let id = recorded.header.stream.id;
    match &recorded.event {
        Event::Change(event) => match event {
            ChangeEvent::ExecutionStarted { run, .. } => {
                vec![Effect::BeginRun { change: ChangeId(id), run: *run }]
            }
            ChangeEvent::Failed { .. } => vec![
                Effect::ReportRollback { change: ChangeId(id) },
                Effect::GoBack { change: ChangeId(id) },
                Effect::AdvanceProjectOf { change: ChangeId(id) },
            ],
            ChangeEvent::Completed { .. }
            | ChangeEvent::OutcomeUnknown { .. }
            | ChangeEvent::RollbackPartial { .. }
            | ChangeEvent::RollbackBlocked { .. } => {
                vec![
                    Effect::ReportRollback { change: ChangeId(id) },
                    Effect::AdvanceProjectOf { change: ChangeId(id) },
                ]
            }
            ChangeEvent::Approved { .. }
            | ChangeEvent::Rejected { .. }
            | ChangeEvent::Cancelled { .. }
            | ChangeEvent::Expired {}
            | ChangeEvent::Unscheduled { .. }
            | ChangeEvent::Settled { .. }
            | ChangeEvent::RolledBack { .. } => {
                vec![Effect::AdvanceProjectOf { change: ChangeId(id) }]
            }
            ChangeEvent::Scheduled { opens, asked_by: _ } => {
                vec![Effect::StartAt { change: ChangeId(id), opens: *opens }]
            }
            ChangeEvent::Drafted { .. }
            | ChangeEvent::MadeBySchedule { .. }
            | ChangeEvent::Edited { .. }
            | ChangeEvent::Planned { .. }
            | ChangeEvent::Submitted { .. }
            | ChangeEvent::ApprovalGiven { .. }
            | ChangeEvent::Withdrawn {}
            | ChangeEvent::JoinedProject { .. }
            | ChangeEvent::FreezeOverridden { .. }
            | ChangeEvent::WindowOverridden { .. }
            | ChangeEvent::GlassBroken { .. }
            | ChangeEvent::UndoLimited { .. }
            | ChangeEvent::RollbackStarted { .. }
            | ChangeEvent::Reviewed { .. }
            | ChangeEvent::SecretRevealed { .. } => Vec::new(),
        },
        Event::Run(event) => match event {
            // How a rollout ended is for itself to say.
            RunEvent::Finished { .. } if RunId(id).is_part() => Vec::new(),
            RunEvent::Finished { .. } => vec![Effect::ReportOutcome { run: RunId(id) }],
            RunEvent::Started { .. }
            | RunEvent::Claimed { .. }
            | RunEvent::StepIntended { .. }
            | RunEvent::StepSucceeded { .. }
            | RunEvent::StepFailed { .. }
            | RunEvent::StepUnknown { .. }
            | RunEvent::StepReconciled { .. }
            | RunEvent::StepVerified { .. }
            | RunEvent::StepUnverified { .. }
            | RunEvent::StepBlocked { .. }
            | RunEvent::CancelAsked { .. }
            | RunEvent::LateReported { .. } => Vec::new(),
        },
        Event::Host(event) => match event {
            HostEvent::Enrolled { .. } => vec![Effect::ConnectHost { host: HostId(id) }],
            HostEvent::CameOnline {} => vec![Effect::DiscoverHost { host: HostId(id) }],
            HostEvent::Renewed { .. }
            | HostEvent::WentOffline { .. }
            | HostEvent::PolicyChanged { .. }
            | HostEvent::AgentChanged { .. }
            | HostEvent::Refused { .. }
            | HostEvent::OrderRefused { .. }
            | HostEvent::OrderDistrusted { .. }
            | HostEvent::Locked { .. }
            | HostEvent::Revoked { .. } => Vec::new(),
        },
        Event::Rollout(event) => match event {
            RolloutEvent::Finished { .. } => vec![Effect::ReportRollout { rollout: RolloutId(id) }],
            RolloutEvent::Started { .. }
            | RolloutEvent::BatchBegun { .. }
            | RolloutEvent::BatchEnded { .. }
            | RolloutEvent::Paused { .. }
            | RolloutEvent::Resumed {}
            | RolloutEvent::Stopped { .. } => Vec::new(),
        },
        Event::Calendar(_) => vec![Effect::LookAtScheduled],
        Event::Project(event) => match event {
            ProjectEvent::ExecutionAsked {} | ProjectEvent::GoingBack { .. } => {
                vec![Effect::AdvanceProject { project: ProjectId(id) }]
            }
            ProjectEvent::Created { .. }
            | ProjectEvent::Renamed { .. }
            | ProjectEvent::MemberAdded { .. }
            | ProjectEvent::MemberRemoved { .. }
            | ProjectEvent::DependenciesChanged { .. }
            | ProjectEvent::Blocked { .. }
            | ProjectEvent::Completed {}
            | ProjectEvent::BackBlocked { .. }
            | ProjectEvent::WentBack {}
            | ProjectEvent::Closed { .. } => Vec::new(),
        },
        Event::Schedule(event) => match event {
            // What was interrupted is gone on with at the next tick, which finds it open.
            ScheduleEvent::Fired { change, .. }
            | ScheduleEvent::Skipped { why: Skip::Open { change }, .. } => {
                vec![Effect::MakeChange { schedule: ScheduleId(id), change: *change }]
            }
            ScheduleEvent::Created { .. }
            | ScheduleEvent::Edited { .. }
            | ScheduleEvent::Paused { .. }
            | ScheduleEvent::Resumed {}
            | ScheduleEvent::Deleted { .. }
            | ScheduleEvent::Skipped { why: Skip::Missed | Skip::Owner { .. }, .. }
            | ScheduleEvent::Stalled { .. } => Vec::new(),
        },
        Event::Asset(_)
        | Event::Connection(_)
        | Event::Gateway(_)
        | Event::Manifest(_)
        | Event::Person(_)
        | Event::Policy(_) => Vec::new(),
    }
}
