//! What follows from each event that something follows from, and that nothing follows from others.

use serde_json::json;
use uuid::Uuid;

use super::{Effect, react};
use crate::actor::Actor;
use crate::change::event::{ChangeEvent, Found};
use crate::connection::event::ConnectionEvent;
use crate::event::{Event, Recorded};
use crate::host::event::{Certificate, HostEvent};
use crate::id::{ChangeId, FreezeId, HostId, ProjectId, RunId, ScheduleId, SecretId, StreamId};
use crate::job::RefusalCode;
use crate::person::event::PersonEvent;
use crate::project::event::ProjectEvent;
use crate::record::Header;
use crate::refusal::Cause;
use crate::run::event::{Reason, RunEvent, RunOutcome};
use crate::schedule::event::{ScheduleEvent, Skip};
use crate::time::Timestamp;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(1));
const RUN: RunId = RunId(Uuid::from_u128(2));
const HOST: HostId = HostId(Uuid::from_u128(3));
const PROJECT: ProjectId = ProjectId(Uuid::from_u128(7));
const SCHEDULE: ScheduleId = ScheduleId(Uuid::from_u128(8));
const OTHER: ChangeId = ChangeId(Uuid::from_u128(4));

fn follows(stream: impl Into<StreamId>, event: impl Into<Event>) -> Vec<Effect> {
    let (id, at) = (Uuid::from_u128(9), Timestamp::from_micros(0));
    let header = Header {
        id,
        stream: stream.into(),
        version: 1,
        kind: String::new(),
        schema: 1,
        at,
        actor: Actor::SYSTEM,
        command: id,
        correlation: id,
        causation: id,
    };
    react(&Recorded { position: 0, header, event: event.into() })
}

fn reason() -> String {
    "It broke.".to_owned()
}

#[test]
fn an_execution_begins_its_run() {
    let started = ChangeEvent::ExecutionStarted { run: RUN, digest: String::new() };
    assert_eq!(follows(CHANGE, started), [Effect::BeginRun { change: CHANGE, run: RUN }]);
}

#[test]
fn a_finished_run_is_reported() {
    let finished =
        RunEvent::Finished { outcome: RunOutcome::Failed, reason: None, secrets: Vec::new() };
    assert_eq!(follows(RUN, finished), [Effect::ReportOutcome { run: RUN }]);
}

/// Every end of a change: it may be the rollback of another, which waits for that.
#[test]
fn every_outcome_is_told_to_what_was_undone() {
    let secrets = Vec::new;
    for event in [
        ChangeEvent::Completed { run: RUN, secrets: secrets() },
        ChangeEvent::OutcomeUnknown { run: RUN, reason: reason(), secrets: secrets() },
        ChangeEvent::RollbackPartial { rollback: CHANGE, run: RUN, reason: reason() },
        ChangeEvent::RollbackBlocked { rollback: CHANGE, run: RUN, reason: reason() },
    ] {
        let expected = [
            Effect::ReportRollback { change: CHANGE },
            Effect::AdvanceProjectOf { change: CHANGE },
        ];
        assert_eq!(follows(CHANGE, event), expected);
    }
}

/// Whatever makes a member ready, or stops it.
#[test]
fn projects_are_carried_on() {
    let at = Timestamp::from_micros(0);
    let digest = String::new;
    for event in [
        ChangeEvent::Approved { digest: digest(), not_before: at, until: at },
        ChangeEvent::Rejected { digest: digest(), reason: reason() },
        ChangeEvent::Cancelled { reason: reason() },
        ChangeEvent::Expired {},
        ChangeEvent::Unscheduled { reason: reason() },
        ChangeEvent::Settled { run: RUN, finding: Found::Applied, evidence: reason() },
        ChangeEvent::RolledBack { rollback: OTHER, run: RUN },
    ] {
        assert_eq!(follows(CHANGE, event), [Effect::AdvanceProjectOf { change: CHANGE }]);
    }
    let asked = ProjectEvent::ExecutionAsked {};
    assert_eq!(follows(PROJECT, asked), [Effect::AdvanceProject { project: PROJECT }]);
    for event in [
        ProjectEvent::MemberAdded { change: CHANGE, after: vec![OTHER] },
        ProjectEvent::DependenciesChanged { change: CHANGE, after: Vec::new() },
        ProjectEvent::MemberRemoved { change: CHANGE },
        ProjectEvent::Blocked { change: CHANGE, reason: reason() },
        ProjectEvent::Completed {},
        ProjectEvent::Closed { reason: reason() },
    ] {
        assert_eq!(follows(PROJECT, event), []);
    }
}

#[test]
fn a_tick_makes_a_change_and_goes_on_with_one_that_is_open() {
    let at = Timestamp::from_micros(0);
    let skipped = |why| ScheduleEvent::Skipped { tick: at, ticks: 1, why };
    let made = [Effect::MakeChange { schedule: SCHEDULE, change: CHANGE }];
    assert_eq!(follows(SCHEDULE, ScheduleEvent::Fired { tick: at, change: CHANGE }), made);
    assert_eq!(follows(SCHEDULE, skipped(Skip::Open { change: CHANGE })), made);
    for event in [
        skipped(Skip::Missed),
        skipped(Skip::Owner { problem: reason() }),
        ScheduleEvent::Stalled { change: CHANGE, reason: reason() },
        ScheduleEvent::Resumed {},
    ] {
        assert_eq!(follows(SCHEDULE, event), []);
    }
}

#[test]
fn a_host_is_connected_and_then_discovered() {
    let certificate =
        Certificate { key_hash: "a".repeat(64), not_after: Timestamp::from_micros(1) };
    let enrolled = HostEvent::Enrolled {
        hostname: "web-1".to_owned(),
        agent_version: "1".to_owned(),
        policy_hash: None,
        certificate,
    };
    assert_eq!(follows(HOST, enrolled), [Effect::ConnectHost { host: HOST }]);
    let online = HostEvent::CameOnline {};
    assert_eq!(follows(HOST, online), [Effect::DiscoverHost { host: HOST }]);
}

/// Least of all from what people say: only an execution that a decision has let through begins a
/// run, and only the end of a run ends a change.
#[test]
fn nothing_follows_from_the_rest() {
    let digest = String::new;
    for event in [
        ChangeEvent::ApprovalGiven {
            digest: digest(),
            comment: None,
            as_admin: true,
            delegator: None,
        },
        ChangeEvent::Withdrawn {},
        ChangeEvent::JoinedProject { project: PROJECT },
        ChangeEvent::FreezeOverridden { freeze: FreezeId(HOST.0), justification: reason() },
        ChangeEvent::Reviewed { comment: reason() },
        ChangeEvent::RollbackStarted { rollback: OTHER, run: RUN },
        ChangeEvent::SecretRevealed { secret: SecretId(Uuid::from_u128(5)) },
    ] {
        assert_eq!(follows(CHANGE, event), []);
    }
    let why = || Reason { kind: "crash".to_owned(), message: reason() };
    for event in [
        RunEvent::Claimed { epoch: 1, worker: Uuid::from_u128(6) },
        RunEvent::StepSucceeded {
            step: 0,
            epoch: 1,
            outcome: json!({}),
            produced: Vec::new(),
            undo_until: None,
        },
        RunEvent::StepFailed { step: 0, epoch: 1, reason: why() },
        RunEvent::StepUnknown { step: 0, epoch: 1, reason: why() },
    ] {
        assert_eq!(follows(RUN, event), []);
    }
    for event in [
        HostEvent::WentOffline { reason: reason() },
        HostEvent::PolicyChanged { policy_hash: None },
        HostEvent::AgentChanged { agent_version: "2".to_owned() },
        HostEvent::Locked { reason: reason() },
        HostEvent::Revoked { reason: reason() },
        HostEvent::Refused {
            cause: Cause::HostRevoked,
            count: 1,
            since: Timestamp::from_micros(1),
            source: None,
        },
        HostEvent::OrderDistrusted {
            code: RefusalCode::BadSignature,
            count: 1,
            total: 1,
            last_at: Timestamp::from_micros(1),
        },
    ] {
        assert_eq!(follows(HOST, event), []);
    }
    assert_eq!(follows(HOST, ConnectionEvent::Removed {}), []);
    assert_eq!(follows(HOST, PersonEvent::Disabled {}), []);
}

/// Only what has failed may go back by itself; a project that it is in has to hear of it as well.
#[test]
fn what_failed_may_go_back() {
    let failed = ChangeEvent::Failed { run: RUN, reason: reason(), secrets: Vec::new() };
    let expected = [
        Effect::ReportRollback { change: CHANGE },
        Effect::GoBack { change: CHANGE },
        Effect::AdvanceProjectOf { change: CHANGE },
    ];
    assert_eq!(follows(CHANGE, failed), expected);
}
