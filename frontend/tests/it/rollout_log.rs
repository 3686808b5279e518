//! A change on many targets as its events tell it, written into the log: half done, and paused, so that nothing
//! is sent to any of them.

use futures_util::future::join_all;
use nexplane_core::actor::Actor;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{ChangeEvent, Draft, Quorum};
use nexplane_core::event::Event;
use nexplane_core::id::{
    AssetId, ChangeId, CommandId, ConnectionId, ManifestId, PersonId, RolloutId, RunId, StreamId,
};
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::plan::{DiffLine, Field, Plan, PlanHeader, Step, TargetRef};
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::rollout::event::{Part, RolloutEvent, Strategy, Tally};
use nexplane_core::run::event::{Captured, Reason, RunEvent, RunOutcome};
use nexplane_core::time::Timestamp;
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use nexplane_store::testing::TestDatabase;
use serde_json::{Value, json};
use uuid::Uuid;

/// Commands given to the log at once.
const WINDOW: usize = 200;
/// Every so many targets of a batch one fails; the one after it has no answer every second time.
const FAILS: u32 = 15;

pub const REASON: &str = "No space left on device. Free some, then try again.";

struct Writing {
    log: Log,
    at: Timestamp,
    open: Vec<Append>,
    versions: std::collections::HashMap<StreamId, u64>,
}

impl Writing {
    /// Appends these events to a stream, all or none.
    async fn then(&mut self, stream: impl Into<StreamId>, actor: Actor, events: Vec<Event>) {
        let stream = stream.into();
        let version = self.versions.entry(stream).or_default();
        // What follows in one stream is not given together with what it follows.
        let waits = *version > 0;
        let expected_version = *version;
        *version += u64::try_from(events.len()).unwrap();
        if waits || self.open.len() >= WINDOW {
            self.flush().await;
        }
        let events = events.iter().map(Event::encode);
        let events = events
            .map(|event| NewEvent {
                id: Uuid::now_v7(),
                kind: event.kind,
                schema: 1,
                data: event.data,
            })
            .collect();
        let command = Uuid::now_v7();
        self.open.push(Append {
            command: CommandId(command),
            request_hash: [0; 32],
            stream,
            expected_version,
            guards: Vec::new(),
            events,
            actor,
            at: self.at,
            correlation: command,
            causation: command,
        });
    }

    async fn flush(&mut self) {
        let open = std::mem::take(&mut self.open);
        for appended in join_all(open.into_iter().map(|append| self.log.append(append))).await {
            appended.unwrap();
        }
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
            external_key: format!("host/web-{no:05}"),
            name: format!("web-{no:05}.example.org"),
        },
        parameters: json!({ "path": "/etc/app/key.pem", "mode": "0600" }),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "f".repeat(64),
        summary: "set the mode of /etc/app/key.pem to 0600".to_owned(),
        rollback: "set it to 0644 again".to_owned(),
        diff: vec![DiffLine {
            target: format!("web-{no:05}.example.org"),
            field: "mode".to_owned(),
            before: json!("0644"),
            after: json!("0600"),
        }],
        undoes: None,
    }
}

fn mode(value: &str) -> Vec<Field> {
    vec![Field { name: "mode".to_owned(), value: Value::from(value), redacted: false }]
}

/// How one of the targets that were tried ended.
fn outcome(no: u32, canary: u32) -> RunOutcome {
    match no.checked_sub(canary).map(|of_batches| of_batches % (2 * FAILS)) {
        Some(7 | 22) => RunOutcome::Failed,
        Some(8) => RunOutcome::OutcomeUnknown,
        _ => RunOutcome::Complete,
    }
}

/// What a part of the rollout has in its stream.
fn run(plan: &Plan, step: &Step, part: Part, change: ChangeId, outcome: RunOutcome) -> Vec<Event> {
    let plan = Box::new(plan.part(step));
    let started =
        RunEvent::Started { change, plan, approvals: Vec::new(), undoes: None, part: Some(part) };
    let before = Captured { fields: mode("0644"), fingerprint: "f".repeat(64), sealed: None };
    let intended =
        RunEvent::StepIntended { step: 0, epoch: 1, attempt: 1, key: "k".to_owned(), before };
    let mut events =
        vec![started, RunEvent::Claimed { epoch: 1, worker: Uuid::from_u128(9) }, intended];
    let mut reason = None;
    match outcome {
        RunOutcome::Complete => {
            let done = Value::Null;
            let undo_until = None;
            let produced = Vec::new();
            events.push(RunEvent::StepSucceeded {
                step: 0,
                epoch: 1,
                outcome: done,
                produced,
                undo_until,
            });
            let (observed, fingerprint) = (mode("0600"), "e".repeat(64));
            events.push(RunEvent::StepVerified { step: 0, observed, fingerprint });
        }
        RunOutcome::OutcomeUnknown => {
            reason = Some("The connection was lost before there was an answer.".to_owned());
            let reason = Reason { kind: "timeout".to_owned(), message: reason.clone().unwrap() };
            events.push(RunEvent::StepUnknown { step: 0, epoch: 1, reason });
        }
        _ => {
            reason = Some(REASON.to_owned());
            let reason = Reason { kind: "refused".to_owned(), message: REASON.to_owned() };
            events.push(RunEvent::StepFailed { step: 0, epoch: 1, reason });
        }
    }
    events.push(RunEvent::Finished { outcome, reason, secrets: Vec::new() });
    events.into_iter().map(Event::from).collect()
}

/// Writes it, of so many targets, and gives its id and how many are complete, failed and unknown.
pub async fn paused(database: &TestDatabase, size: u32) -> (ChangeId, Tally) {
    let log = Log::open(database.pool().clone(), database.options(), LogOptions::default()).await;
    let now = Timestamp::new(jiff::Timestamp::now());
    let mut writing =
        Writing { log: log.unwrap(), at: now, open: Vec::new(), versions: Default::default() };
    let change = ChangeId(Uuid::now_v7());
    let (manifest, rollout) = (ManifestId(Uuid::now_v7()), RolloutId(Uuid::now_v7()));
    let author = PersonId(Uuid::now_v7());
    let strategy = Strategy {
        canary: size / 100,
        batch: size / 10,
        parallel: 50,
        pause_s: 0,
        max_failed: size,
        hold_after_canary: false,
    };
    let steps: Vec<_> = (0..size).map(step).collect();
    let targets: Vec<_> = steps.iter().map(|step| step.target.asset).collect();
    let (parameters, connection) = (json!({ "mode": "0600" }), ConnectionId(Uuid::from_u128(5)));
    let header = PlanHeader {
        change,
        change_type: "host.set_file_permission".to_owned(),
        connection,
        targets: targets.clone(),
        parameters: parameters.clone(),
        policy_version: 1,
        author,
        editors: Vec::new(),
        rollback_of: None,
        rollout: Some(strategy),
        auto_rollback: false,
        limit_s: None,
    };
    let plan = Plan::of_parts(header, manifest, &steps, Vec::new(), now);
    let digest = plan.digest.clone();
    let draft = Draft {
        title: "Close the key files, everywhere".to_owned(),
        reason: "They can be read by everybody.".to_owned(),
        ticket: None,
        change_type: "host.set_file_permission".to_owned(),
        connection,
        targets,
        parameters,
        window: None,
        rollout: Some(strategy),
        auto_rollback: false,
    };
    let person = Actor::user(author);
    writing
        .then(change, person, vec![ChangeEvent::Drafted { draft, rollback_of: None }.into()])
        .await;
    for page in steps.chunks(100) {
        let page = ManifestEvent::PageAdded { change, steps: page.to_vec() };
        writing.then(manifest, Actor::SYSTEM, vec![page.into()]).await;
    }
    let risk = Risk { score: 3, level: RiskLevel::Low, factors: Vec::new() };
    let quorum = Quorum {
        policy_version: 1,
        rule: "any".to_owned(),
        approvals: 0,
        admin: false,
        delay_s: 0,
        valid_s: 3600,
        on_conflict: Default::default(),
        break_glass: false,
        seats: Vec::new(),
    };
    let submitted = ChangeEvent::Submitted {
        digest: digest.clone(),
        environment: Environment::Dev,
        risk,
        quorum,
        tags: None,
        beforehand: None,
    };
    let until = now.plus_seconds(3600);
    let approved = ChangeEvent::Approved { digest: digest.clone(), not_before: now, until };
    let decided = vec![
        ChangeEvent::Planned { plan: Box::new(plan.clone()) }.into(),
        submitted.into(),
        approved.into(),
        ChangeEvent::ExecutionStarted { run: RunId(rollout.0), digest: digest.clone() }.into(),
    ];
    // Whoever executes what has begun finds it paused: its rollout is written first.
    let started = RolloutEvent::Started {
        change,
        digest,
        manifest,
        size,
        strategy,
        approvals: Vec::new(),
        undoes: None,
    };
    let paused = RolloutEvent::Paused { reason: "Many have no space left".to_owned() };
    let (mut all, mut batches) = (Tally::default(), vec![Event::from(started)]);
    let mut first = 0;
    for no in 0..6 {
        let count = if no == 0 { strategy.canary } else { strategy.batch };
        batches.push(RolloutEvent::BatchBegun { no, first, count }.into());
        let mut tally = Tally::default();
        for part in first..first + count {
            let outcome = outcome(part, strategy.canary);
            match outcome {
                RunOutcome::Complete => tally.complete += 1,
                RunOutcome::OutcomeUnknown => tally.unknown += 1,
                _ => tally.failed += 1,
            }
            let id = RunId::of_part(rollout, part);
            let place = Part { rollout, manifest, no: part };
            let events = run(&plan, &steps[usize::try_from(part).unwrap()], place, change, outcome);
            writing.then(id, Actor::SYSTEM, events).await;
        }
        batches.push(RolloutEvent::BatchEnded { no, tally, moved: 0, undo_until: None }.into());
        all = all.plus(tally);
        first += count;
    }
    batches.push(paused.into());
    writing.then(rollout, Actor::SYSTEM, batches).await;
    writing.then(change, person, decided).await;
    writing.flush().await;
    writing.log.close().await;
    (change, all)
}
