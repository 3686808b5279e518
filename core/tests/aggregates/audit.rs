//! Whatever the deciders of changes and runs let happen, the auditor finds nothing wrong with it.

use std::collections::BTreeSet;

use nexplane_core::audit::Auditor;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::change::event::{Draft, Window};
use nexplane_core::change::{Change, ChangeCommand, ChangeState};
use nexplane_core::event::{Event, Recorded};
use nexplane_core::freeze::InTheWay;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, RunId, StreamId};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef};
use nexplane_core::policy::{self, Known, PolicyState};
use nexplane_core::record::Header;
use nexplane_core::risk::{Environment, Risk, RiskLevel};
use nexplane_core::run::event::{Captured, Finding, Reason};
use nexplane_core::run::{Run, RunCommand, RunState, Terms};
use serde_json::json;

use crate::*;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(10));
const RUN: RunId = RunId(Uuid::from_u128(20));

/// What is asked next; plans and digests come from the state, and sometimes from nowhere.
#[derive(Clone, Debug)]
enum Ask {
    Draft { length: u8, window: bool },
    Edit { length: u8, window: bool },
    Plan,
    Submit { score: u8, prod: bool },
    Approve { right: bool },
    BreakGlass { right: bool },
    Review,
    Withdraw,
    Cancel,
    Expire,
    Execute,
    Begin,
    Step { no: u32, epoch: u32, what: What },
    Claim { after: u32 },
    Finish { epoch: u32 },
    Report,
    Wait { seconds: i64 },
}

#[derive(Clone, Copy, Debug)]
enum What {
    Intend,
    Succeed,
    Fail,
    LoseSight,
    Reconcile(Finding),
    Verify,
    Unverify,
    Block,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => Just(What::Intend),
        6 => Just(What::Succeed),
        6 => Just(What::Verify),
        1 => Just(What::Fail),
        2 => Just(What::LoseSight),
        1 => Just(What::Reconcile(Finding::Applied)),
        1 => Just(What::Reconcile(Finding::NotApplied)),
        1 => Just(What::Reconcile(Finding::Conflict)),
        1 => Just(What::Unverify),
        1 => Just(What::Block),
    ]
}

/// Somebody with every role, a machine, or Nexplane.
fn by() -> impl Strategy<Value = Principal> {
    let all = |actor| Principal { actor, roles: Role::ALL.to_vec() };
    let person = |no| PersonId(Uuid::from_u128(no));
    prop_oneof![
        8 => (1..6_u128).prop_map(move |no| all(Actor::user(person(no)))),
        1 => (1..6_u128).prop_map(move |no| all(Actor::machine(person(no)))),
        1 => Just(Principal::SYSTEM),
    ]
}

fn early() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => (0..3_u8, any::<bool>()).prop_map(|(length, window)| Ask::Edit { length, window }),
        5 => Just(Ask::Plan),
        5 => (1..11_u8, any::<bool>()).prop_map(|(score, prod)| Ask::Submit { score, prod }),
        8 => prop::bool::weighted(0.9).prop_map(|right| Ask::Approve { right }),
        2 => prop::bool::weighted(0.9).prop_map(|right| Ask::BreakGlass { right }),
        1 => Just(Ask::Withdraw),
        3 => Just(Ask::Expire),
        2 => prop_oneof![Just(900), Just(3 * 3600), Just(72 * 3600)].prop_map(|seconds| Ask::Wait { seconds }),
        4 => Just(Ask::Execute),
    ]
}

fn late() -> impl Strategy<Value = Ask> {
    prop_oneof![
        1 => Just(Ask::Begin),
        20 => (0..2_u32, prop::sample::select(vec![1, 1, 1, 2]), what()).prop_map(|(no, epoch, what)| Ask::Step {
            no,
            epoch,
            what,
        }),
        1 => (0..3_u32).prop_map(|after| Ask::Claim { after }),
        1 => (1..3_u32).prop_map(|epoch| Ask::Finish { epoch }),
        2 => Just(Ask::Report),
        1 => Just(Ask::Review),
        1 => Just(Ask::Cancel),
    ]
}

/// Anything for a while, then straight to an execution where that is possible, then anything that a
/// run can be told, then its end.
fn story() -> impl Strategy<Value = Vec<(Principal, Ask)>> {
    let person = |no| Principal {
        actor: Actor::user(PersonId(Uuid::from_u128(no))),
        roles: Role::ALL.to_vec(),
    };
    let draft = (0..3_u8, any::<bool>()).prop_map(|(length, window)| Ask::Draft { length, window });
    let first = draft.prop_map(move |draft| vec![(person(1), draft)]);
    let early = prop::collection::vec((by(), early()), 0..25);
    let straight = vec![
        (person(1), Ask::Plan),
        (person(1), Ask::Submit { score: 9, prod: true }),
        (person(6), Ask::Approve { right: true }),
        (person(7), Ask::Approve { right: true }),
        (person(1), Ask::Wait { seconds: 900 }),
        (person(1), Ask::Execute),
        (Principal::SYSTEM, Ask::Begin),
        (Principal::SYSTEM, Ask::Claim { after: 0 }),
    ];
    let who = prop_oneof![9 => Just(Principal::SYSTEM), 1 => by()];
    let late = prop::collection::vec((who, late()), 0..60);
    let end = [Ask::Finish { epoch: 1 }, Ask::Finish { epoch: 2 }, Ask::Report];
    let end: Vec<_> = end.map(|ask| (Principal::SYSTEM, ask)).to_vec();
    let review = [1, 5, 6].map(|no| (person(no), Ask::Review)).to_vec();
    let end = [end, review].concat();
    (first, early, Just(straight), late, Just(end)).prop_map(
        |(first, early, straight, late, end)| [first, early, straight, late, end].concat(),
    )
}

fn draft(length: u8, window: bool) -> Draft {
    let window = window.then(|| Window { start: moment(0), end: moment(80 * 3600) });
    Draft {
        title: "Rotate".to_owned(),
        reason: "It is old".to_owned(),
        ticket: None,
        change_type: "postgres.rotate".to_owned(),
        connection: ConnectionId(Uuid::from_u128(50)),
        targets: vec![AssetId(Uuid::from_u128(40))],
        parameters: json!({ "length": length }),
        window,
        rollout: None,
        auto_rollback: false,
    }
}

fn plan(state: &ChangeState, at: Timestamp) -> Option<Box<Plan>> {
    let subject = state.subject()?;
    let header = PlanHeader {
        change: CHANGE,
        change_type: subject.draft.change_type.clone(),
        connection: subject.draft.connection,
        targets: subject.draft.targets.clone(),
        parameters: subject.draft.parameters.clone(),
        policy_version: policy::VERSION,
        author: subject.author,
        editors: subject.editors.iter().copied().collect(),
        rollback_of: subject.rollback_of,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let step = |no, effect_class| Step {
        no,
        action: "postgres.rotate".to_owned(),
        connection: subject.draft.connection,
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(40)),
            kind: "postgres_role".to_owned(),
            external_key: "app".to_owned(),
            name: "app".to_owned(),
        },
        parameters: json!({}),
        effect_class,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "f0".to_owned(),
        summary: "Sets a password".to_owned(),
        rollback: "Sets the old one".to_owned(),
        diff: Vec::new(),
        undoes: None,
    };
    let steps = vec![step(0, EffectClass::Verifiable), step(1, EffectClass::Unprotected)];
    Some(Box::new(Plan::new(header, steps, Vec::new(), at)))
}

#[derive(Default)]
struct World {
    change: ChangeState,
    run: RunState,
    events: Vec<Recorded>,
    second: i64,
}

impl World {
    fn ask(&mut self, by: &Principal, ask: Ask) {
        // The timer asks it whatever else happens.
        let by = if matches!(ask, Ask::Expire) { &Principal::SYSTEM } else { by };
        let at = moment(self.second);
        self.second += 1;
        if let Ask::Wait { seconds } = ask {
            self.second += seconds;
        } else if let Some(command) = self.of_change(&ask, at) {
            let answer = super::ask::<Change>(&self.change, by, at, &command);
            for event in answer.into_iter().flatten() {
                self.change = Change::evolve(self.change.clone(), &event, by.actor, at);
                self.push(CHANGE.into(), by.actor, at, event.into());
            }
        } else if let Some(command) = self.of_run(ask) {
            let answer = super::ask::<Run>(&self.run, by, at, &command);
            for event in answer.into_iter().flatten() {
                self.run = Run::evolve(self.run.clone(), &event, by.actor, at);
                self.push(RUN.into(), by.actor, at, event.into());
            }
        }
    }

    fn of_change(&self, ask: &Ask, at: Timestamp) -> Option<ChangeCommand> {
        use ChangeCommand as C;
        Some(match *ask {
            Ask::Draft { length, window } => {
                C::Draft { draft: draft(length, window), rollback_of: None }
            }
            Ask::Edit { length, window } => C::Edit { draft: draft(length, window) },
            Ask::Plan => C::RecordPlan { plan: plan(&self.change, at)? },
            Ask::Submit { score, prod } => C::Submit {
                environment: if prod { Environment::Prod } else { Environment::Dev },
                risk: Risk { score, level: RiskLevel::of(score), factors: Vec::new() },
                tags: BTreeSet::new(),
                known: Known::default(),
                policy: PolicyState::default(),
            },
            Ask::Approve { right } => {
                let digest = self.change.plan()?.digest.clone();
                C::Approve {
                    digest: if right { digest } else { String::new() },
                    comment: None,
                    frozen: Vec::new(),
                }
            }
            Ask::BreakGlass { right } => {
                let digest = self.change.plan()?.digest.clone();
                C::BreakGlass {
                    digest: if right { digest } else { String::new() },
                    justification: "now".to_owned(),
                    frozen: Vec::new(),
                    overdue: Vec::new(),
                }
            }
            Ask::Review => C::Review { comment: "so it was".to_owned() },
            Ask::Withdraw => C::Withdraw,
            Ask::Cancel => C::Cancel { reason: "no".to_owned() },
            Ask::Expire => C::Expire,
            Ask::Execute => C::StartExecution { run: RUN, in_the_way: InTheWay::default() },
            Ask::Report => {
                let RunState::Finished(finished) = &self.run else { return None };
                let reason = finished.reason.clone().unwrap_or_default();
                let (outcome, secrets) = (finished.outcome, Vec::new());
                C::RecordOutcome {
                    this: CHANGE,
                    run: RUN,
                    outcome,
                    reason,
                    secrets,
                    undo_until: None,
                }
            }
            Ask::Begin
            | Ask::Step { .. }
            | Ask::Claim { .. }
            | Ask::Finish { .. }
            | Ask::Wait { .. } => return None,
        })
    }

    fn of_run(&self, ask: Ask) -> Option<RunCommand> {
        use RunCommand as R;
        let (step, epoch, what) = match ask {
            // The runtime starts runs of executing changes only.
            Ask::Begin => {
                let ChangeState::Executing(execution) = &self.change else { return None };
                let (plan, approvals) = (execution.plan.clone(), execution.approvers.clone());
                return Some(R::Start {
                    change: CHANGE,
                    plan,
                    approvals,
                    undoes: None,
                    part: None,
                });
            }
            Ask::Claim { after } => return Some(R::Claim { worker: Uuid::nil(), after }),
            Ask::Finish { epoch } => return Some(R::Finish { epoch }),
            Ask::Step { no, epoch, what } => (no, epoch, what),
            Ask::Draft { .. }
            | Ask::Edit { .. }
            | Ask::Plan
            | Ask::Submit { .. }
            | Ask::Approve { .. }
            | Ask::BreakGlass { .. }
            | Ask::Review
            | Ask::Withdraw
            | Ask::Cancel
            | Ask::Expire
            | Ask::Execute
            | Ask::Report
            | Ask::Wait { .. } => return None,
        };
        let reason = Reason { kind: "test".to_owned(), message: "so it was".to_owned() };
        let fingerprint = "f".to_owned();
        Some(match what {
            What::Intend => {
                let before = Captured { fields: Vec::new(), fingerprint, sealed: None };
                R::Intend {
                    step,
                    epoch,
                    key: "k".to_owned(),
                    before,
                    in_the_way: InTheWay::default(),
                    held: None,
                    terms: if let ChangeState::Executing(execution) = &self.change {
                        Some(Terms::of(CHANGE, execution, None, Vec::new()))
                    } else {
                        None
                    },
                }
            }
            What::Succeed => R::Succeed {
                step,
                epoch,
                outcome: json!({}),
                produced: Vec::new(),
                undo_until: None,
            },
            What::Fail => R::Fail { step, epoch, reason },
            What::LoseSight => R::LoseSight { step, epoch, reason },
            What::Reconcile(finding) => R::Reconcile {
                step,
                epoch,
                finding,
                evidence: "read".to_owned(),
                observed: Vec::new(),
                produced: Vec::new(),
            },
            What::Verify => R::Verify { step, epoch, observed: Vec::new(), fingerprint },
            What::Unverify => R::Unverify { step, epoch, observed: Vec::new(), reason },
            What::Block => {
                let (before, after, now) = (Vec::new(), Vec::new(), Vec::new());
                R::Block { step, epoch, before, after, now, reason }
            }
        })
    }

    fn push(&mut self, stream: StreamId, actor: Actor, at: Timestamp, event: Event) {
        let position = self.events.len() as u64;
        let version = self.events.iter().filter(|e| e.header.stream == stream).count() as u64 + 1;
        let id = Uuid::from_u128(u128::from(position));
        let header = Header {
            id,
            stream,
            version,
            kind: event.encode().kind,
            schema: 1,
            at,
            actor,
            command: id,
            correlation: id,
            causation: id,
        };
        self.events.push(Recorded { position, header, event });
    }
}

fn events(story: Vec<(Principal, Ask)>) -> Vec<Recorded> {
    let mut world = World::default();
    for (by, ask) in story {
        world.ask(&by, ask);
    }
    world.events
}

#[test]
fn stories_reach_every_end() {
    let kinds: std::collections::BTreeSet<_> =
        sample(story()).into_iter().flat_map(events).map(|recorded| recorded.header.kind).collect();
    for kind in [
        "change.approved",
        "change.completed",
        "change.expired",
        "change.failed",
        "change.glass_broken",
        "change.reviewed",
        "change.outcome_unknown",
        "run.step_reconciled",
        "run.step_verified",
        "run.step_blocked",
    ] {
        assert!(kinds.contains(kind), "no {kind}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_decided_is_silent(story in story()) {
        let mut auditor = Auditor::default();
        for recorded in events(story) {
            auditor.observe(&recorded);
        }
        let report = auditor.finish();
        prop_assert_eq!(report.violations, Vec::new());
        prop_assert_eq!(report.incomplete, Vec::new());
    }

    #[test]
    fn somebody_elses_approval_is_not_ones_own(story in story()) {
        // Every approval put into the mouth of the author is found.
        let mut events = events(story);
        let mut forged = 0;
        for recorded in &mut events {
            let kind = &*recorded.header.kind;
            if matches!(kind, "change.approval_given" | "change.glass_broken") {
                recorded.header.actor = Actor::user(OWNER);
                forged += 1;
            }
        }
        let mut auditor = Auditor::default();
        for recorded in &events {
            auditor.observe(recorded);
        }
        let found = auditor.finish().violations;
        let found = found.iter().filter(|violation| violation.rule == "audit.self_approval").count();
        prop_assert_eq!(found, forged);
    }

    #[test]
    fn any_events_can_be_judged(story in story(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let events = events(story);
        let mut auditor = Auditor::default();
        for index in order {
            if let Some(recorded) = (!events.is_empty()).then(|| index.get(&events)) {
                auditor.observe(recorded);
            }
        }
    }
}
