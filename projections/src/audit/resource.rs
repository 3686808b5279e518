//! What an event is about besides its own stream.

use std::collections::BTreeSet;

use nexplane_core::asset::event::AssetEvent;
use nexplane_core::calendar::event::CalendarEvent;
use nexplane_core::change::event::{ChangeEvent, Draft, Produced};
use nexplane_core::connection::event::ConnectionEvent;
use nexplane_core::event::Event;
use nexplane_core::host::event::HostEvent;
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::person::event::PersonEvent;
use nexplane_core::plan::Plan;
use nexplane_core::project::event::ProjectEvent;
use nexplane_core::rollout::event::RolloutEvent;
use nexplane_core::run::event::{LateReport, RunEvent};
use nexplane_core::schedule::event::{ScheduleEvent, Skip, Template};
use uuid::Uuid;

/// The ids of changes, runs, assets, connections, freezes, maintenance windows, hosts,
/// projects, schedules, jobs and secrets that an event names.
/// People are not resources.
pub fn mentioned(event: &Event) -> BTreeSet<Uuid> {
    let mut ids = BTreeSet::new();
    match event {
        Event::Asset(event) => asset(event, &mut ids),
        Event::Change(event) => change(event, &mut ids),
        Event::Connection(event) => connection(event, &mut ids),
        Event::Calendar(event) => {
            ids.insert(calendar(event));
        }
        Event::Manifest(ManifestEvent::PageAdded { change, steps }) => {
            ids.insert(change.0);
            ids.extend(steps.iter().map(|step| step.target.asset.0));
        }
        Event::Rollout(event) => {
            if let RolloutEvent::Started { change, manifest, .. } = event {
                ids.extend([change.0, manifest.0]);
            }
        }
        Event::Person(PersonEvent::ApprovalsDelegated { to, .. }) => {
            ids.insert(to.0);
        }
        Event::Host(HostEvent::OrderRefused { job, .. }) => {
            ids.insert(job.0);
        }
        Event::Gateway(_) | Event::Host(_) | Event::Person(_) | Event::Policy(_) => {}
        Event::Project(event) => project(event, &mut ids),
        Event::Run(event) => run(event, &mut ids),
        Event::Schedule(event) => schedule(event, &mut ids),
    }
    ids
}

fn calendar(event: &CalendarEvent) -> Uuid {
    match event {
        CalendarEvent::FreezeDeclared { freeze, .. }
        | CalendarEvent::FreezeEnded { freeze, .. } => freeze.0,
        CalendarEvent::WindowDefined { window, .. }
        | CalendarEvent::WindowRemoved { window, .. } => window.0,
    }
}

fn asset(event: &AssetEvent, ids: &mut BTreeSet<Uuid>) {
    match event {
        AssetEvent::Discovered { connection, .. } => {
            ids.insert(connection.0);
        }
        AssetEvent::Drifted { explained_by, .. } => ids.extend(explained_by.map(|change| change.0)),
        AssetEvent::Gone {} | AssetEvent::Returned { .. } | AssetEvent::Annotated { .. } => {}
    }
}

fn change(event: &ChangeEvent, ids: &mut BTreeSet<Uuid>) {
    use ChangeEvent as E;
    match event {
        E::Drafted { draft: about, rollback_of } => {
            draft(about, ids);
            ids.extend(rollback_of.map(|change| change.0));
        }
        E::MadeBySchedule { schedule, editors: _ } => {
            ids.insert(schedule.0);
        }
        E::JoinedProject { project } => {
            ids.insert(project.0);
        }
        E::Edited { draft: about } => draft(about, ids),
        E::Planned { plan: made } => plan(made, ids),
        E::FreezeOverridden { freeze, .. } => {
            ids.insert(freeze.0);
        }
        E::ExecutionStarted { run, .. } | E::Settled { run, .. } | E::UndoLimited { run, .. } => {
            ids.insert(run.0);
        }
        E::Completed { run, secrets }
        | E::Failed { run, secrets, .. }
        | E::OutcomeUnknown { run, secrets, .. } => {
            ids.insert(run.0);
            produced(secrets, ids);
        }
        E::RollbackStarted { rollback, run }
        | E::RolledBack { rollback, run }
        | E::RollbackPartial { rollback, run, .. }
        | E::RollbackBlocked { rollback, run, .. } => ids.extend([rollback.0, run.0]),
        E::SecretRevealed { secret } => {
            ids.insert(secret.0);
        }
        E::ApprovalGiven { delegator, .. } => ids.extend(delegator.map(|person| person.0)),
        E::Submitted { .. }
        | E::Approved { .. }
        | E::Rejected { .. }
        | E::Withdrawn {}
        | E::Cancelled { .. }
        | E::Expired {}
        | E::WindowOverridden { .. }
        | E::GlassBroken { .. }
        | E::Scheduled { .. }
        | E::Unscheduled { .. }
        | E::Reviewed { .. } => {}
    }
}

fn connection(event: &ConnectionEvent, ids: &mut BTreeSet<Uuid>) {
    use ConnectionEvent as E;
    match event {
        E::Created { host, credentials, .. } => {
            ids.extend(host.map(|host| host.0));
            ids.extend(credentials.map(|secret| secret.0));
        }
        E::CredentialsReplaced { credentials, .. } => {
            ids.insert(credentials.0);
        }
        E::CredentialsOpened { change, reads_for, .. } => {
            ids.extend(change.map(|change| change.0));
            ids.extend(reads_for.map(|other| other.0));
        }
        E::Renamed { .. }
        | E::Relabelled { .. }
        | E::Limited { .. }
        | E::DiscoveryScheduled { .. }
        | E::Removed {}
        | E::Tested { .. }
        | E::Discovered { .. }
        | E::DiscoveryFailed { .. } => {}
    }
}

fn run(event: &RunEvent, ids: &mut BTreeSet<Uuid>) {
    use RunEvent as E;
    match event {
        E::Started { change, plan: carried_out, undoes, .. } => {
            ids.insert(change.0);
            plan(carried_out, ids);
            ids.extend(undoes.map(|run| run.0));
        }
        E::StepSucceeded { produced: secrets, .. }
        | E::StepReconciled { produced: secrets, .. }
        | E::Finished { secrets, .. } => {
            produced(secrets, ids);
        }
        E::LateReported { report: LateReport::Succeeded { produced: secrets, .. }, .. } => {
            produced(secrets, ids);
        }
        E::StepIntended { before, .. } => ids.extend(before.sealed.map(|secret| secret.0)),
        E::Claimed { .. }
        | E::StepFailed { .. }
        | E::StepUnknown { .. }
        | E::StepVerified { .. }
        | E::StepUnverified { .. }
        | E::StepBlocked { .. }
        | E::CancelAsked { .. }
        | E::LateReported { .. } => {}
    }
}

fn project(event: &ProjectEvent, ids: &mut BTreeSet<Uuid>) {
    use ProjectEvent as E;
    match event {
        E::MemberAdded { change, after } | E::DependenciesChanged { change, after } => {
            ids.insert(change.0);
            ids.extend(after.iter().map(|change| change.0));
        }
        E::MemberRemoved { change }
        | E::Blocked { change, reason: _ }
        | E::BackBlocked { change, reason: _ } => {
            ids.insert(change.0);
        }
        E::Created { .. }
        | E::Renamed { .. }
        | E::ExecutionAsked {}
        | E::Completed {}
        | E::GoingBack { .. }
        | E::WentBack {}
        | E::Closed { .. } => {}
    }
}

fn schedule(event: &ScheduleEvent, ids: &mut BTreeSet<Uuid>) {
    use ScheduleEvent as E;
    match event {
        E::Created { template, .. } | E::Edited { template, .. } => {
            let Template { connection, targets, .. } = template;
            ids.insert(connection.0);
            ids.extend(targets.iter().map(|asset| asset.0));
        }
        E::Fired { change, .. }
        | E::Stalled { change, .. }
        | E::Skipped { why: Skip::Open { change }, .. } => {
            ids.insert(change.0);
        }
        E::Skipped { why: Skip::Missed | Skip::Owner { .. }, .. }
        | E::Paused { .. }
        | E::Resumed {}
        | E::Deleted { .. } => {}
    }
}

fn draft(draft: &Draft, ids: &mut BTreeSet<Uuid>) {
    ids.insert(draft.connection.0);
    ids.extend(draft.targets.iter().map(|asset| asset.0));
}

fn plan(plan: &Plan, ids: &mut BTreeSet<Uuid>) {
    ids.insert(plan.header.connection.0);
    ids.extend(plan.header.targets.iter().map(|asset| asset.0));
    ids.extend(plan.steps.iter().map(|step| step.target.asset.0));
    ids.extend(plan.parts.as_ref().map(|parts| parts.manifest.0));
    ids.extend(plan.header.rollback_of.map(|change| change.0));
}

fn produced(secrets: &[Produced], ids: &mut BTreeSet<Uuid>) {
    ids.extend(secrets.iter().map(|secret| secret.id.0));
}
