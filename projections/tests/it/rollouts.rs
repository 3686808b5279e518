//! A change on many targets: where each target is, and that the events of single targets cost the row of the
//! change nothing.

use nexplane_core::actor::Actor;
use nexplane_core::api::TargetState;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft};
use nexplane_core::event::Event;
use nexplane_core::id::{
    AssetId, ChangeId, ConnectionId, ManifestId, PersonId, RolloutId, RunId, StreamId,
};
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef};
use nexplane_core::rollout::event::{Part, RolloutEvent, Strategy, Tally};
use nexplane_core::run::event::{Reason, RunEvent, RunOutcome};
use nexplane_core::time::Timestamp;
use nexplane_projections::rollouts::TargetFilter;
use nexplane_projections::{Role, changes, rollouts};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{Command, LONG, World};

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
const ROLLOUT: RolloutId = RolloutId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002));
const MANIFEST: ManifestId = ManifestId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003));
const AUTHOR: PersonId = PersonId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0004));
const SIZE: u32 = 130;

struct Story {
    commands: Vec<Command>,
    versions: std::collections::HashMap<StreamId, u64>,
}

impl Story {
    fn then<E: Into<Event>>(&mut self, stream: impl Into<StreamId>, actor: Actor, event: E) {
        let stream = stream.into();
        let version = self.versions.entry(stream).or_default();
        let at = Timestamp::from_micros(
            1_800_000_000_000_000 + i64::try_from(self.commands.len()).unwrap(),
        );
        self.commands.push(Command {
            stream,
            expected: *version,
            actor,
            at,
            events: vec![event.into()],
        });
        *version += 1;
    }
}

fn step(no: u32) -> Step {
    Step {
        no,
        action: "host.set_file_permission".to_owned(),
        connection: ConnectionId(Uuid::from_u128(5)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(u128::from(no) + 1000)),
            kind: "host".to_owned(),
            external_key: "host".to_owned(),
            name: format!("web-{no}"),
        },
        parameters: json!({ "mode": "0600" }),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "f".repeat(64),
        summary: "closes it".to_owned(),
        rollback: "opens it again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    }
}

/// A rollout that stops: one target failed, one is unknown, one was kept from being sent, the last batch never
/// began.
pub fn story() -> Vec<Command> {
    let mut story = Story { commands: Vec::new(), versions: Default::default() };
    let strategy = Strategy {
        canary: 3,
        batch: 10,
        parallel: 5,
        pause_s: 0,
        max_failed: 1,
        hold_after_canary: false,
    };
    let steps: Vec<_> = (0..SIZE).map(step).collect();
    let targets: Vec<_> = steps.iter().map(|step| step.target.asset).collect();
    let header = PlanHeader {
        change: CHANGE,
        change_type: "host.set_file_permission".to_owned(),
        connection: ConnectionId(Uuid::from_u128(5)),
        targets: targets.clone(),
        parameters: json!({ "mode": "0600" }),
        policy_version: 1,
        author: AUTHOR,
        editors: Vec::new(),
        rollback_of: None,
        rollout: Some(strategy),
        auto_rollback: false,
        limit_s: None,
    };
    let at = Timestamp::from_micros(1_800_000_000_000_000);
    let plan = Plan::of_parts(header, MANIFEST, &steps, Vec::new(), at);
    let draft = Draft {
        title: "Close the key files".to_owned(),
        reason: "They are open".to_owned(),
        ticket: None,
        change_type: "host.set_file_permission".to_owned(),
        connection: ConnectionId(Uuid::from_u128(5)),
        targets,
        parameters: json!({ "mode": "0600" }),
        window: None,
        rollout: Some(strategy),
        auto_rollback: false,
    };
    let author = Actor::user(AUTHOR);
    story.then(CHANGE, author, ChangeEvent::Drafted { draft, rollback_of: None });
    for page in steps.chunks(50) {
        let page = ManifestEvent::PageAdded { change: CHANGE, steps: page.to_vec() };
        story.then(MANIFEST, Actor::SYSTEM, page);
    }
    let digest = plan.digest.clone();
    story.then(CHANGE, author, ChangeEvent::Planned { plan: Box::new(plan.clone()) });
    let (not_before, until) = (at, at.plus_seconds(3600));
    let approved = ChangeEvent::Approved { digest: digest.clone(), not_before, until };
    story.then(CHANGE, author, approved);
    let run = RunId(ROLLOUT.0);
    let started = ChangeEvent::ExecutionStarted { run, digest: digest.clone() };
    story.then(CHANGE, author, started);
    let started = RolloutEvent::Started {
        change: CHANGE,
        digest,
        manifest: MANIFEST,
        size: SIZE,
        strategy,
        approvals: Vec::new(),
        undoes: None,
    };
    story.then(ROLLOUT, Actor::SYSTEM, started);
    for (no, first, count) in [(0, 0, 3), (1, 3, 10)] {
        story.then(ROLLOUT, Actor::SYSTEM, RolloutEvent::BatchBegun { no, first, count });
        for part in first..first + count {
            let id = RunId::of_part(ROLLOUT, part);
            let begun = RunEvent::Started {
                change: CHANGE,
                plan: Box::new(plan.part(&steps[usize::try_from(part).unwrap()])),
                approvals: Vec::new(),
                undoes: None,
                part: Some(Part { rollout: ROLLOUT, manifest: MANIFEST, no: part }),
            };
            story.then(id, Actor::SYSTEM, begun);
            story.then(
                id,
                Actor::SYSTEM,
                RunEvent::Claimed { epoch: 1, worker: Uuid::from_u128(9) },
            );
            let outcome = match part {
                5 => RunOutcome::Failed,
                6 => RunOutcome::OutcomeUnknown,
                // Not over.
                8 => continue,
                7 => {
                    let reason =
                        Reason { kind: "stopped".to_owned(), message: "it was stopped".to_owned() };
                    let blocked = RunEvent::StepBlocked {
                        step: 0,
                        before: Vec::new(),
                        after: Vec::new(),
                        now: Vec::new(),
                        reason,
                    };
                    story.then(id, Actor::SYSTEM, blocked);
                    RunOutcome::Failed
                }
                _ => RunOutcome::Complete,
            };
            let reason = (outcome != RunOutcome::Complete).then(|| format!("it is {part}"));
            let finished = RunEvent::Finished { outcome, reason, secrets: Vec::new() };
            story.then(id, Actor::SYSTEM, finished);
        }
        if no == 0 {
            let tally = Tally { complete: count, ..Tally::default() };
            let ended = RolloutEvent::BatchEnded { no, tally, moved: 0, undo_until: None };
            story.then(ROLLOUT, Actor::SYSTEM, ended);
        }
    }
    let paused = RolloutEvent::Paused { reason: "look".to_owned() };
    story.then(ROLLOUT, author, paused);
    story.commands
}

#[tokio::test(flavor = "multi_thread")]
async fn every_target_is_where_its_run_says() {
    let world = World::new().await;
    let projections = world.open().await;
    projections.start(Role::Worker);
    let last = world.append(story()).await;
    projections.wait_for(last, LONG).await.unwrap();

    let pool = world.pool();
    let progress = rollouts::progress(pool, CHANGE).await.unwrap().unwrap();
    assert_eq!((progress.state.as_str(), progress.reason.as_deref()), ("paused", Some("look")));
    assert_eq!((progress.size, progress.batches), (SIZE, 2));
    assert_eq!((progress.waiting, progress.executing), (117, 1));
    let tally = Tally { complete: 9, failed: 1, unknown: 1, not_started: 1 };
    assert_eq!(progress.tally, tally);

    let all = async |states: &[TargetState]| {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let filter = TargetFilter { states: states.to_vec(), q: None };
            let page =
                rollouts::targets(pool, MANIFEST, &filter, cursor.as_deref(), Some(50)).await;
            let page = page.unwrap();
            found.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    let every = all(&[]).await;
    assert_eq!(every.len(), usize::try_from(SIZE).unwrap());
    // Those that need somebody come first, each state in the order of the plan.
    let numbers: Vec<_> = every.iter().map(|target| target.no).collect();
    let done = [0, 1, 2, 3, 4, 9, 10, 11, 12];
    let expected: Vec<_> = [5, 6, 8].into_iter().chain(13..SIZE).chain([7]).chain(done).collect();
    assert_eq!(numbers, expected);
    let bad =
        all(&[TargetState::Failed, TargetState::OutcomeUnknown, TargetState::NotStarted]).await;
    let bad: Vec<_> = bad.iter().map(|t| (t.no, t.reason.as_deref().unwrap())).collect();
    assert_eq!(bad, [(5, "it is 5"), (6, "it is 6"), (7, "it was stopped")]);

    one_can_go_to_any_place_and_hear_what_moved(pool, &numbers).await;

    // The change knows the whole, and of its targets the first.
    let view = changes::find(pool, CHANGE).await.unwrap().unwrap();
    assert_eq!(view.rollout.unwrap().targets, SIZE);
    assert_eq!(view.targets.len(), 100);
    assert_eq!(view.plan.unwrap().step_count, SIZE);
    // What is searched by a target beyond those finds it still.
    let target = Some(step(SIZE - 1).target.asset);
    let filter = changes::ChangeFilter { target, ..Default::default() };
    let found = changes::list(pool, &filter, Default::default(), None, None).await.unwrap();
    assert_eq!(found.items.len(), 1);
    // The events of single targets are not written into its row: only its own, the rollout's and its runs'.
    let position = view.position;
    let newest: i64 = sqlx::query_scalar("SELECT max(position) FROM nexplane.rm_rollouts")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(position, newest.unsigned_abs());
}

async fn one_can_go_to_any_place_and_hear_what_moved(pool: &PgPool, in_order: &[u32]) {
    let order = rollouts::order(pool, MANIFEST, &TargetFilter::default()).await.unwrap();
    let stretches = order.groups.iter().flat_map(|group| &group.stretches);
    let numbers: Vec<_> = stretches.flat_map(|(first, last)| *first..=*last).collect();
    assert_eq!(numbers, in_order);
    let waiting = order.groups.iter().find(|group| group.state == TargetState::Waiting).unwrap();
    assert_eq!(waiting.stretches, [(13, SIZE - 1)]);
    let named = TargetFilter { states: Vec::new(), q: Some("WEB-12".to_owned()) };
    let order_of_named = rollouts::order(pool, MANIFEST, &named).await.unwrap();
    let shown: Vec<_> = order_of_named.groups.iter().map(|group| &group.stretches).collect();
    assert_eq!(shown, [&vec![(120, 129)], &vec![(12, 12)]]);

    let some = rollouts::numbered(pool, MANIFEST, &[9, 5, 9000]).await.unwrap();
    let some: Vec<_> = some.iter().map(|t| (t.no, t.name.as_str(), t.state)).collect();
    assert_eq!(some, [(5, "web-5", TargetState::Failed), (9, "web-9", TargetState::Complete)]);

    // What moved is told in the order in which it did, page by page, and nothing that did not move.
    let planned = rollouts::planned_at(pool, MANIFEST, SIZE - 1).await.unwrap().unwrap();
    let first = rollouts::changed_since(pool, MANIFEST, planned, None, Some(8)).await.unwrap();
    let cursor = first.next_cursor.clone();
    let rest = rollouts::changed_since(pool, MANIFEST, planned, cursor.as_deref(), Some(8)).await;
    let rest = rest.unwrap();
    let all = || first.items.iter().chain(&rest.items);
    assert!(all().is_sorted_by_key(|target| target.position));
    let moved: std::collections::BTreeSet<_> = all().map(|target| target.no).collect();
    // Streams of one story have no order among each other in the log.
    let numbers: Vec<u32> = (0..SIZE).collect();
    let every = rollouts::numbered(pool, MANIFEST, &numbers).await.unwrap();
    let after = every.iter().filter(|target| target.position > planned);
    assert_eq!(moved, after.map(|target| target.no).collect());
    assert!(moved.len() > 8, "more than a page: {moved:?}");
    assert_eq!(all().count(), moved.len());
    assert_eq!(rest.next_cursor, None);
    assert!(first.items.iter().all(|target| target.position > planned));
    let none = rollouts::changed_since(pool, MANIFEST, order.position, None, None).await.unwrap();
    assert!(none.items.is_empty());
    for cursor in ["5", "a.b", "99999999.1", ""] {
        let filter = TargetFilter::default();
        let refused = rollouts::targets(pool, MANIFEST, &filter, Some(cursor), None).await;
        assert!(refused.is_err(), "{cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollback_undoes_is_not_complete_any_more() {
    let world = World::new().await;
    let projections = world.open().await;
    projections.start(Role::Worker);
    world.append(story()).await;
    let last = world.append(undoing(3)).await;
    projections.wait_for(last, LONG).await.unwrap();

    let pool = world.pool();
    let filter = TargetFilter { states: vec![TargetState::RolledBack], q: None };
    let undone = rollouts::targets(pool, MANIFEST, &filter, None, None).await.unwrap();
    assert_eq!(undone.items.iter().map(|target| target.no).collect::<Vec<_>>(), [3]);
    assert_eq!(undone.items[0].position, last);
    let progress = rollouts::progress(pool, CHANGE).await.unwrap().unwrap();
    assert_eq!((progress.tally.complete, progress.rolled_back), (8, 1));
}

/// A rollback of the story's rollout, of which one target is undone.
fn undoing(no: u32) -> Vec<Command> {
    let mut story = Story { commands: Vec::new(), versions: Default::default() };
    let change = ChangeId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0011));
    let rollout = RolloutId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0012));
    let manifest = ManifestId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0013));
    let strategy = Strategy::for_targets(1);
    let steps = vec![Step { no: 0, ..step(no) }];
    let header = PlanHeader {
        change,
        change_type: "host.set_file_permission".to_owned(),
        connection: ConnectionId(Uuid::from_u128(5)),
        targets: vec![steps[0].target.asset],
        parameters: json!({ "mode": "0600" }),
        policy_version: 1,
        author: AUTHOR,
        editors: Vec::new(),
        rollback_of: Some(CHANGE),
        rollout: Some(strategy),
        auto_rollback: false,
        limit_s: None,
    };
    let at = Timestamp::from_micros(1_800_000_000_000_000);
    let plan = Plan::of_parts(header, manifest, &steps, Vec::new(), at);
    story.then(manifest, Actor::SYSTEM, ManifestEvent::PageAdded { change, steps: steps.clone() });
    let started = RolloutEvent::Started {
        change,
        digest: plan.digest.clone(),
        manifest,
        size: 1,
        strategy,
        approvals: Vec::new(),
        undoes: Some(RunId(ROLLOUT.0)),
    };
    story.then(rollout, Actor::SYSTEM, started);
    let run = RunId::of_part(rollout, 0);
    let begun = RunEvent::Started {
        change,
        plan: Box::new(plan.part(&steps[0])),
        approvals: Vec::new(),
        undoes: None,
        part: Some(Part { rollout, manifest, no: 0 }),
    };
    story.then(run, Actor::SYSTEM, begun);
    let outcome = RunOutcome::Complete;
    let finished = RunEvent::Finished { outcome, reason: None, secrets: Vec::new() };
    story.then(run, Actor::SYSTEM, finished);
    story.commands
}
