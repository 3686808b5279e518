//! Decisions about runs: given events, when a command, then events or the exact rejection.

mod bare;
mod begin;
mod brake;
mod ending;
mod matrix;
mod step;
mod undo_until;

use serde_json::json;
use uuid::Uuid;

use super::event::{Captured, Finding, Reason, RunEvent as E, RunOutcome};
use super::{Run, RunCommand as C, RunRejection as No, RunState, Running, StepPhase};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::catalog::{EffectClass, Reversibility};
use crate::change::event::Produced;
use crate::freeze::InTheWay;
use crate::id::{AssetId, ChangeId, ConnectionId, HostId, PersonId, RunId, SecretId};
use crate::plan::{Field, Plan, PlanHeader, Step, TargetRef};
use crate::policy;
use crate::time::Timestamp;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(50));
const FORWARD_RUN: RunId = RunId(Uuid::from_u128(60));
const WORKER: Uuid = Uuid::from_u128(80);
const ANN: PersonId = PersonId(Uuid::from_u128(1));
const BOB: PersonId = PersonId(Uuid::from_u128(2));

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn given(events: &[E]) -> RunState {
    events
        .iter()
        .fold(RunState::default(), |state, event| Run::evolve(state, event, Actor::SYSTEM, now()))
}

fn when_by(events: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    Run::decide(&given(events), Asked { by, at: now(), command })
}

fn when(events: &[E], command: C) -> Result<Vec<E>, No> {
    when_by(events, Principal::SYSTEM, command)
}

fn running(events: &[E]) -> Option<Running> {
    match given(events) {
        RunState::Running(running) => Some(running),
        RunState::Absent | RunState::Finished(_) => None,
    }
}

fn not_in_state(step: u32, state: &'static str, wanted: &'static str) -> Result<Vec<E>, No> {
    Err(No::StepNotInState { step, state, wanted })
}

/// A plan of as many steps of these classes.
fn plan_of(classes: &[EffectClass]) -> Box<Plan> {
    let header = PlanHeader {
        change: CHANGE,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!({}),
        policy_version: policy::VERSION,
        author: ANN,
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let steps = (0..).zip(classes).map(|(no, class)| Step {
        no,
        action: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(9)),
            kind: "postgres_role".to_owned(),
            external_key: "role/leaver".to_owned(),
            name: "leaver".to_owned(),
        },
        parameters: json!({}),
        effect_class: *class,
        reversibility: Reversibility::Reversible,
        before_fingerprint: "can log in".to_owned(),
        summary: "leaver can no longer log in".to_owned(),
        rollback: "leaver can log in again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    });
    Box::new(Plan::new(header, steps.collect(), Vec::new(), now()))
}

/// Two steps that can be read back.
fn plan() -> Box<Plan> {
    plan_of(&[EffectClass::Verifiable; 2])
}

fn started_with(plan: Box<Plan>, undoes: Option<RunId>) -> E {
    E::Started { change: CHANGE, plan, approvals: vec![BOB], undoes, part: None }
}

fn claimed(epoch: u32) -> E {
    E::Claimed { epoch, worker: WORKER }
}

/// Claimed once, and then this.
fn run(then: &[E]) -> Vec<E> {
    run_of(plan(), None, then)
}

/// The same of a run that undoes another.
fn run_back(then: &[E]) -> Vec<E> {
    run_of(plan(), Some(FORWARD_RUN), then)
}

fn run_of(plan: Box<Plan>, undoes: Option<RunId>, then: &[E]) -> Vec<E> {
    let mut events = vec![started_with(plan, undoes), claimed(1)];
    events.extend_from_slice(then);
    events
}

fn before() -> Captured {
    let fields = vec![Field::new("login", true)];
    Captured { fields, fingerprint: "can log in".to_owned(), sealed: None }
}

fn observed() -> Vec<Field> {
    vec![Field::new("login", false)]
}

fn reason(message: &str) -> Reason {
    Reason { kind: "denied".to_owned(), message: message.to_owned() }
}

fn secret(n: u128) -> Produced {
    Produced { id: SecretId(Uuid::from_u128(n)), name: "password".to_owned() }
}

/// The first attempt at a step, by the first epoch.
fn intended(step: u32) -> E {
    attempted(step, 1, 1)
}

fn attempted(step: u32, epoch: u32, attempt: u32) -> E {
    E::StepIntended { step, epoch, attempt, key: "key".to_owned(), before: before() }
}

fn succeeded(step: u32) -> E {
    E::StepSucceeded {
        step,
        epoch: 1,
        outcome: json!({ "rows": 1 }),
        produced: Vec::new(),
        undo_until: None,
    }
}

fn failed(step: u32) -> E {
    E::StepFailed { step, epoch: 1, reason: reason("no right to it") }
}

fn unknown(step: u32) -> E {
    E::StepUnknown { step, epoch: 1, reason: reason("no answer") }
}

fn reconciled(step: u32, finding: Finding) -> E {
    let evidence = "read".to_owned();
    E::StepReconciled { step, finding, evidence, observed: observed(), produced: Vec::new() }
}

fn verified(step: u32) -> E {
    E::StepVerified { step, observed: observed(), fingerprint: "cannot log in".to_owned() }
}

fn unverified(step: u32) -> E {
    E::StepUnverified { step, observed: observed(), reason: reason("still can log in") }
}

fn blocked(step: u32) -> E {
    E::StepBlocked {
        step,
        before: Vec::new(),
        after: Vec::new(),
        now: observed(),
        reason: reason("somebody moved it"),
    }
}

fn finished(outcome: RunOutcome) -> E {
    E::Finished { outcome, reason: None, secrets: Vec::new() }
}

/// A whole step, from the intent to its reading.
fn done(step: u32) -> Vec<E> {
    vec![intended(step), succeeded(step), verified(step)]
}

fn start() -> C {
    C::Start { change: CHANGE, plan: plan(), approvals: vec![BOB], undoes: None, part: None }
}

fn claim(after: u32) -> C {
    C::Claim { worker: WORKER, after }
}

fn intend(step: u32, epoch: u32) -> C {
    C::Intend {
        step,
        epoch,
        key: "key".to_owned(),
        before: before(),
        in_the_way: InTheWay::default(),
        held: None,
        terms: None,
    }
}

fn succeed(step: u32, epoch: u32) -> C {
    C::Succeed {
        step,
        epoch,
        outcome: json!({ "rows": 1 }),
        produced: Vec::new(),
        undo_until: None,
    }
}

fn fail(step: u32, epoch: u32) -> C {
    C::Fail { step, epoch, reason: reason("no right to it") }
}

fn lose_sight(step: u32, epoch: u32) -> C {
    C::LoseSight { step, epoch, reason: reason("no answer") }
}

fn reconcile(step: u32, epoch: u32, finding: Finding) -> C {
    let evidence = "read".to_owned();
    C::Reconcile { step, epoch, finding, evidence, observed: observed(), produced: Vec::new() }
}

fn verify(step: u32, epoch: u32) -> C {
    C::Verify { step, epoch, observed: observed(), fingerprint: "cannot log in".to_owned() }
}

fn unverify(step: u32, epoch: u32) -> C {
    C::Unverify { step, epoch, observed: observed(), reason: reason("still can log in") }
}

fn block(step: u32, epoch: u32) -> C {
    C::Block {
        step,
        epoch,
        before: Vec::new(),
        after: Vec::new(),
        now: observed(),
        reason: reason("somebody moved it"),
    }
}

/// Every command but the start, of this step and epoch.
fn every_order(step: u32, epoch: u32) -> Vec<(&'static str, C)> {
    vec![
        ("intend", intend(step, epoch)),
        ("succeed", succeed(step, epoch)),
        ("fail", fail(step, epoch)),
        ("lose sight", lose_sight(step, epoch)),
        ("reconcile", reconcile(step, epoch, Finding::Applied)),
        ("verify", verify(step, epoch)),
        ("unverify", unverify(step, epoch)),
        ("block", block(step, epoch)),
        ("finish", C::Finish { epoch }),
    ]
}
