//! Undoing goes newest first: which later changes are in the way.

use nexplane_core::actor::Actor;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft, Quorum};
use nexplane_core::event::Event;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId, StreamId};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy::OnConflict;
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::run::event::{Captured, Finding, Reason, RunEvent};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes;
use serde_json::json;
use uuid::Uuid;

use crate::history::START;
use crate::support::{Command, LONG, World};

const X: AssetId = AssetId(Uuid::from_u128(1));
const Y: AssetId = AssetId(Uuid::from_u128(2));

/// What became of a step.
#[derive(Clone, Copy)]
enum Fate {
    Verified,
    Refused,
    Unverified,
    Unknown,
    FoundUndone,
    NotReached,
}

fn change(n: u128) -> ChangeId {
    ChangeId(Uuid::from_u128(100 + n))
}

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(200 + n))
}

fn command<E: Into<Event>>(stream: StreamId, expected: u64, events: Vec<E>) -> Command {
    let actor = Actor::user(PersonId(Uuid::from_u128(9)));
    let events = events.into_iter().map(Into::into).collect();
    Command { stream, expected, actor, at: Timestamp::from_micros(START), events }
}

fn plan(n: u128, targets: &[AssetId]) -> Plan {
    let connection = ConnectionId(Uuid::from_u128(8));
    let steps = (0..).zip(targets).map(|(no, asset)| Step {
        no,
        action: "postgres.lock_user".to_owned(),
        connection,
        target: TargetRef {
            asset: *asset,
            kind: "postgres_role".to_owned(),
            external_key: "role/app".to_owned(),
            name: "app".to_owned(),
        },
        parameters: json!({}),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: String::new(),
        summary: String::new(),
        rollback: String::new(),
        diff: Vec::new(),
        undoes: None,
    });
    let header = PlanHeader {
        change: change(n),
        change_type: "postgres.lock_user".to_owned(),
        connection,
        targets: targets.to_vec(),
        parameters: json!({}),
        policy_version: 1,
        author: PersonId(Uuid::from_u128(9)),
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    Plan::new(header, steps.collect(), Vec::new(), Timestamp::from_micros(START))
}

/// Change `n`, from its draft to the end of its run.
fn carried_out(n: u128, rollback_of: Option<u128>, fates: &[(AssetId, Fate)]) -> Vec<Command> {
    let targets: Vec<_> = fates.iter().map(|(asset, _)| *asset).collect();
    let (plan, at) = (plan(n, &targets), Timestamp::from_micros(START));
    let digest = plan.digest.clone();
    let draft = Draft {
        title: format!("Change {n}"),
        reason: "Leaver".to_owned(),
        ticket: None,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets,
        parameters: json!({}),
        window: None,
        rollout: None,
        auto_rollback: false,
    };
    let quorum = Quorum {
        policy_version: 1,
        rule: "none".to_owned(),
        approvals: 0,
        admin: false,
        delay_s: 0,
        valid_s: 3600,
        on_conflict: OnConflict::Wait,
        break_glass: true,
        seats: Vec::new(),
    };
    let risk = Risk { score: 1, level: RiskLevel::Low, factors: Vec::new() };
    let environment = Environment::Dev;
    let before = vec![
        ChangeEvent::Drafted { draft, rollback_of: rollback_of.map(change) },
        ChangeEvent::Planned { plan: Box::new(plan.clone()) },
        ChangeEvent::Submitted {
            digest: digest.clone(),
            environment,
            risk,
            quorum,
            tags: None,
            beforehand: None,
        },
        ChangeEvent::Approved { digest: digest.clone(), not_before: at, until: at },
        ChangeEvent::ExecutionStarted { run: run(n), digest },
    ];
    let expected = before.len() as u64;
    let mut steps = vec![
        RunEvent::Started {
            change: change(n),
            plan: Box::new(plan),
            approvals: Vec::new(),
            undoes: rollback_of.map(run),
            part: None,
        },
        RunEvent::Claimed { epoch: 1, worker: Uuid::nil() },
    ];
    for (step, (_, fate)) in (0..).zip(fates) {
        steps.extend(step_events(step, *fate));
    }
    let end = if fates.iter().all(|(_, fate)| matches!(fate, Fate::Verified)) {
        ChangeEvent::Completed { run: run(n), secrets: Vec::new() }
    } else {
        ChangeEvent::Failed { run: run(n), reason: "no".to_owned(), secrets: Vec::new() }
    };
    vec![
        command(change(n).into(), 0, before),
        command(run(n).into(), 0, steps),
        command(change(n).into(), expected, vec![end]),
    ]
}

fn step_events(step: u32, fate: Fate) -> Vec<RunEvent> {
    let before = Captured { fields: Vec::new(), fingerprint: String::new(), sealed: None };
    let reason = || Reason { kind: "k".to_owned(), message: "m".to_owned() };
    let intended =
        RunEvent::StepIntended { step, epoch: 1, attempt: 1, key: "k".to_owned(), before };
    let succeeded = RunEvent::StepSucceeded {
        step,
        epoch: 1,
        outcome: json!({}),
        produced: Vec::new(),
        undo_until: None,
    };
    let (observed, fingerprint) = (Vec::new(), String::new());
    let unknown = RunEvent::StepUnknown { step, epoch: 1, reason: reason() };
    match fate {
        Fate::NotReached => Vec::new(),
        Fate::Verified => {
            vec![intended, succeeded, RunEvent::StepVerified { step, observed, fingerprint }]
        }
        Fate::Refused => {
            vec![intended, RunEvent::StepFailed { step, epoch: 1, reason: reason() }]
        }
        Fate::Unverified => {
            vec![intended, succeeded, RunEvent::StepUnverified { step, observed, reason: reason() }]
        }
        Fate::Unknown => vec![intended, unknown],
        Fate::FoundUndone => vec![
            intended,
            unknown,
            RunEvent::StepReconciled {
                step,
                finding: Finding::NotApplied,
                evidence: "read".to_owned(),
                observed,
                produced: Vec::new(),
            },
        ],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_changes_with_an_effect_on_the_same_asset_are_in_the_way() {
    let world = World::new().await;
    let live = world.start().await;
    let stories = [
        carried_out(1, None, &[(X, Fate::Verified)]),
        carried_out(2, None, &[(X, Fate::Verified), (Y, Fate::Verified)]),
        carried_out(3, None, &[(Y, Fate::Verified)]),
        // No effect: refused, found undone, never reached.
        carried_out(4, None, &[(X, Fate::Refused), (Y, Fate::NotReached)]),
        carried_out(5, None, &[(X, Fate::FoundUndone)]),
        // An effect, although the change failed.
        carried_out(6, None, &[(X, Fate::Unverified)]),
        carried_out(7, None, &[(X, Fate::Unknown)]),
        // An effect on one of its two targets.
        carried_out(8, None, &[(X, Fate::Verified), (Y, Fate::Refused)]),
        // Undone again, and what undid it.
        carried_out(9, None, &[(X, Fate::Verified), (Y, Fate::Verified)]),
        carried_out(10, Some(9), &[(X, Fate::Verified), (Y, Fate::Verified)]),
    ];
    let mut last = 0;
    for story in stories {
        for command in story {
            last = world.append(vec![command]).await;
        }
    }
    live.wait_for(last, LONG).await.unwrap();
    let in_the_way = async |n: u128, assets: &[AssetId]| {
        let later = changes::later_applied(world.pool(), change(n), assets).await.unwrap();
        later.into_iter().map(|later| later.number).collect::<Vec<_>>()
    };
    // Not yet rolled back, number 9 counts.
    assert_eq!(in_the_way(1, &[X]).await, [9, 8, 7, 6, 2]);
    let (rollback, undone) = (change(10), run(10));
    let undoing = vec![
        ChangeEvent::RollbackStarted { rollback, run: undone },
        ChangeEvent::RolledBack { rollback, run: undone },
    ];
    let last = world.append(vec![command(change(9).into(), 6, undoing)]).await;
    live.wait_for(last, LONG).await.unwrap();

    assert_eq!(in_the_way(1, &[X]).await, [8, 7, 6, 2]);
    assert_eq!(in_the_way(2, &[X, Y]).await, [8, 7, 6, 3]);
    assert_eq!(in_the_way(2, &[Y]).await, [3]);
    assert!(in_the_way(3, &[Y]).await.is_empty());
    assert!(in_the_way(8, &[X, Y]).await.is_empty());
    // What was never executed, or does not exist, has nothing after it.
    let draft = carried_out(11, None, &[(X, Fate::Verified)]).remove(0);
    let draft = Command { events: draft.events.into_iter().take(2).collect(), ..draft };
    let last = world.append(vec![draft]).await;
    live.wait_for(last, LONG).await.unwrap();
    assert!(in_the_way(11, &[X]).await.is_empty());
    assert!(in_the_way(99, &[X]).await.is_empty());
}
