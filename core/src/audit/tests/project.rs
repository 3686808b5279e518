//! Projects: what started before what it comes after was complete.

use uuid::Uuid;

use super::changes::{SILENT, free, who};
use super::log::{AUTHOR, BACK, BACK_RUN, CHANGE, FIRST, draft, person};
use super::*;
use crate::actor::Actor;
use crate::change::ChangeCommand as C;
use crate::change::event::ChangeEvent as E;
use crate::freeze::InTheWay;
use crate::id::{ChangeId, ProjectId, RunId};
use crate::project::event::ProjectEvent as P;
use crate::project::{Project, ProjectCommand};
use crate::risk::Environment;

const PROJECT: ProjectId = ProjectId(Uuid::from_u128(60));
const OTHER: ProjectId = ProjectId(Uuid::from_u128(61));

fn joined(log: Log, change: ChangeId) -> Log {
    log.change(change, AUTHOR, C::JoinProject { project: PROJECT, member_of: None })
}

/// A project in which the change comes after the other.
fn ordered(log: Log, change: ChangeId, after: ChangeId) -> Log {
    let create = ProjectCommand::Create { name: "Move".to_owned(), description: String::new() };
    let add = |change, after| ProjectCommand::AddMember {
        change,
        after,
        joined: Some(PROJECT),
        this: PROJECT,
    };
    joined(log, change)
        .tell::<Project>(PROJECT, &person(AUTHOR), create)
        .tell::<Project>(PROJECT, &person(AUTHOR), add(after, Vec::new()))
        .tell::<Project>(PROJECT, &person(AUTHOR), add(change, vec![after]))
}

/// A second change, approved, that comes after the first.
fn second(log: Log) -> Log {
    let log = log.change(BACK, AUTHOR, C::Draft { draft: draft(None), rollback_of: None });
    ordered(log, BACK, CHANGE).submitted(BACK, Environment::Prod, 5).approved_by(BACK, FIRST)
}

fn executing(log: Log) -> Log {
    let in_the_way = InTheWay::default();
    log.change(BACK, AUTHOR, C::StartExecution { run: BACK_RUN, in_the_way })
}

/// What is stopped after it was started, and before anything of it was sent.
#[test]
fn a_member_does_not_begin_once_its_project_is_stopped() {
    let started = || {
        let log = executing(second(Log::complete()));
        let log = log.started(BACK, BACK_RUN, None);
        log.back(crate::run::RunCommand::Claim { worker: Uuid::nil(), after: 0 })
    };
    let intent = |step| crate::run::event::RunEvent::StepIntended {
        step,
        epoch: 1,
        attempt: 1,
        key: "k".to_owned(),
        before: crate::run::event::Captured {
            fields: Vec::new(),
            fingerprint: "f".to_owned(),
            sealed: None,
        },
    };
    let out = ["audit.begun_late"];
    assert_eq!(codes(&started().plant(BACK_RUN, Actor::SYSTEM, intent(0)).events), SILENT);
    for stop in [
        P::GoingBack { reason: "not today".to_owned() },
        P::Closed { reason: "not today".to_owned() },
    ] {
        let stopped = started().plant(PROJECT, who(AUTHOR), stop.clone());
        assert_eq!(codes(&stopped.plant(BACK_RUN, Actor::SYSTEM, intent(0)).events), out);
        // What has begun comes to its end.
        let begun = started().plant(BACK_RUN, Actor::SYSTEM, intent(0));
        assert_eq!(codes(&begun.plant(PROJECT, who(AUTHOR), stop).events), SILENT);
    }
}

#[test]
fn executed_before_what_it_comes_after() {
    let ignored = ["audit.dependency_ignored"];
    assert_eq!(codes(&executing(second(Log::approved())).events), ignored);
    assert_eq!(codes(&executing(second(Log::running())).events), ignored);
    assert_eq!(codes(&executing(second(Log::complete())).events), SILENT);
    // What was complete was undone since.
    let undoing = E::RollbackStarted { rollback: BACK, run: BACK_RUN };
    let undone = second(Log::complete()).plant(CHANGE, Actor::SYSTEM, undoing);
    assert!(codes(&executing(undone).events).contains(&"audit.dependency_ignored"));
    // What never was is not complete.
    assert_eq!(codes(&ordered(free(), CHANGE, BACK).executing().events), ignored);
}

#[test]
fn only_what_is_in_force_when_it_starts_counts() {
    let after = |event: P| {
        let log = ordered(free(), CHANGE, BACK).plant(PROJECT, who(AUTHOR), event);
        codes(&log.executing().events)
    };
    let reason = "Done".to_owned();
    assert_eq!(after(P::Closed { reason }), SILENT);
    assert_eq!(after(P::MemberRemoved { change: CHANGE }), SILENT);
    assert_eq!(after(P::DependenciesChanged { change: CHANGE, after: Vec::new() }), SILENT);
    assert_eq!(after(P::ExecutionAsked {}), ["audit.dependency_ignored"]);
    let name = || "Move on".to_owned();
    let renamed = P::Renamed { name: name(), description: name() };
    assert_eq!(after(renamed), ["audit.dependency_ignored"]);
    // It moved to another project, in which it comes after nothing.
    let moved = ordered(free(), CHANGE, BACK).plant(
        CHANGE,
        who(AUTHOR),
        E::JoinedProject { project: OTHER },
    );
    assert_eq!(codes(&moved.executing().events), SILENT);
    let event = P::MemberAdded { change: CHANGE, after: vec![BACK] };
    let moved = ordered(free(), CHANGE, BACK)
        .plant(CHANGE, who(AUTHOR), E::JoinedProject { project: OTHER })
        .plant(OTHER, who(AUTHOR), event);
    assert_eq!(codes(&moved.executing().events), ["audit.dependency_ignored"]);
}

/// A rollback of the change by its project, while a member that was executed later is in some state.
fn undoing(then: impl FnOnce(Log) -> Log, project: ProjectId) -> Vec<&'static str> {
    let rollback = ChangeId(Uuid::from_u128(70));
    let log = executing(second(Log::complete()));
    let log =
        then(log.plant(BACK, Actor::SYSTEM, E::Completed { run: BACK_RUN, secrets: Vec::new() }));
    let command = C::DraftForProject { draft: draft(None), rollback_of: CHANGE, project };
    let log = log.change(rollback, AUTHOR, command);
    let started = E::RollbackStarted { rollback, run: RunId(Uuid::from_u128(71)) };
    codes(&log.plant(CHANGE, Actor::SYSTEM, started).events)
}

#[test]
fn a_project_goes_back_newest_first() {
    let out_of_order = "audit.back_out_of_order";
    assert!(undoing(|log| log, PROJECT).contains(&out_of_order));
    // The newer one is undone, or on its way.
    let newer = |log: Log| {
        let (rollback, run) = (ChangeId(Uuid::from_u128(72)), RunId(Uuid::from_u128(73)));
        log.plant(BACK, Actor::SYSTEM, E::RollbackStarted { rollback, run }).plant(
            BACK,
            Actor::SYSTEM,
            E::RolledBack { rollback, run },
        )
    };
    assert!(!undoing(newer, PROJECT).contains(&out_of_order));
    // It is not the project that undoes it, or the newer one is no member any more.
    assert!(!undoing(|log| log, OTHER).contains(&out_of_order));
    let removed = |log: Log| log.plant(PROJECT, who(AUTHOR), P::MemberRemoved { change: BACK });
    assert!(!undoing(removed, PROJECT).contains(&out_of_order));
}
