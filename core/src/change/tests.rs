//! Decisions about changes: given events, when a command, then events or the exact rejection.

mod approval;
mod beforehand;
mod behalf;
mod conflict;
mod execution;
mod freeze;
mod gates;
mod glass;
mod matrix;
mod review;
mod rollback;
mod schedule;
mod settle;
mod undo_until;

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use super::event::{ChangeEvent as E, Draft, Found, Produced, Quorum, Window};
use super::{Change, ChangeCommand as C, ChangeRejection as No, ChangeState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::catalog::{EffectClass, Reversibility};
use crate::freeze::InTheWay;
use crate::id::{
    AssetId, ChangeId, ConnectionId, FreezeId, HostId, PersonId, ProjectId, RunId, ScheduleId,
    SecretId,
};
use crate::plan::{Check, Plan, PlanHeader, Step, TargetRef};
use crate::policy::{self, Known, PolicyState};
use crate::risk::{Environment, Risk, RiskLevel};
use crate::run::event::RunOutcome;
use crate::time::Timestamp;

const CHANGE: ChangeId = ChangeId(Uuid::from_u128(50));
const ROLLBACK: ChangeId = ChangeId(Uuid::from_u128(51));
const RUN: RunId = RunId(Uuid::from_u128(60));
const RUN_BACK: RunId = RunId(Uuid::from_u128(61));
const OTHER_RUN: RunId = RunId(Uuid::from_u128(62));
const PROJECT: ProjectId = ProjectId(Uuid::from_u128(41));
const SCHEDULE: ScheduleId = ScheduleId(Uuid::from_u128(40));
const SECRET: SecretId = SecretId(Uuid::from_u128(70));

/// When it was planned and last approved, and when everything is asked that does not say otherwise;
/// in seconds.
const PLANNED: i64 = 10;
const APPROVED: i64 = 30;
const NOW: i64 = 100;
const HOUR: i64 = 3600;
const VALID: i64 = 72 * HOUR;

/// The author. Has every role, so that it is never for want of one that something is refused.
const ANN: PersonId = PersonId(Uuid::from_u128(1));
const BOB: PersonId = PersonId(Uuid::from_u128(2));
const CAT: PersonId = PersonId(Uuid::from_u128(3));
/// Who edits. Has every role, too.
const DAN: PersonId = PersonId(Uuid::from_u128(4));
const EVE: PersonId = PersonId(Uuid::from_u128(5));

fn user(id: PersonId, roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(id), roles: roles.to_vec() }
}

fn ann() -> Principal {
    user(ANN, &Role::ALL)
}

fn bob() -> Principal {
    user(BOB, &[Role::Approver])
}

fn cat() -> Principal {
    user(CAT, &[Role::Approver, Role::Admin])
}

fn dan() -> Principal {
    user(DAN, &Role::ALL)
}

fn eve() -> Principal {
    user(EVE, &[Role::Operator])
}

/// A machine token of this person, with every role there is.
fn machine(of: PersonId) -> Principal {
    Principal { actor: Actor::machine(of), roles: Role::ALL.to_vec() }
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

/// What has happened, by whom and in which second.
#[derive(Clone, Debug, Default)]
struct Past(Vec<(Actor, i64, E)>);

impl Past {
    fn then(mut self, by: &Principal, at: i64, event: E) -> Self {
        self.0.push((by.actor, at, event));
        self
    }
}

fn given(past: &Past) -> ChangeState {
    past.0.iter().fold(ChangeState::default(), |state, (by, at, event)| {
        Change::evolve(state, event, *by, second(*at))
    })
}

fn when(past: &Past, by: Principal, command: C) -> Result<Vec<E>, No> {
    when_at(past, NOW, by, command)
}

fn when_at(past: &Past, at: i64, by: Principal, command: C) -> Result<Vec<E>, No> {
    Change::decide(&given(past), Asked { by, at: second(at), command })
}

fn code(answer: &Result<Vec<E>, No>) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(no) => no.code(),
    }
}

fn draft() -> Draft {
    Draft {
        title: "Lock the account of a leaver".to_owned(),
        reason: "Left on Friday.".to_owned(),
        ticket: None,
        change_type: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        targets: vec![AssetId(Uuid::from_u128(9))],
        parameters: json!({}),
        window: None,
        rollout: None,
        auto_rollback: false,
    }
}

fn draft_in(start: i64, end: i64) -> Draft {
    Draft { window: Some(Window { start: second(start), end: second(end) }), ..draft() }
}

fn another_draft() -> Draft {
    Draft { parameters: json!({ "cascade": true }), ..draft() }
}

fn step(found: &str, reversibility: Reversibility) -> Step {
    Step {
        no: 0,
        action: "postgres.lock_user".to_owned(),
        connection: ConnectionId(Uuid::from_u128(8)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(9)),
            kind: "postgres_role".to_owned(),
            external_key: "role/leaver".to_owned(),
            name: "leaver".to_owned(),
        },
        parameters: json!({}),
        effect_class: EffectClass::Verifiable,
        reversibility,
        before_fingerprint: found.to_owned(),
        summary: "leaver can no longer log in".to_owned(),
        rollback: "leaver can log in again".to_owned(),
        diff: Vec::new(),
        undoes: None,
    }
}

fn check(ok: bool) -> Check {
    Check { name: "role".to_owned(), ok, detail: "The role exists.".to_owned() }
}

/// A plan of this draft by Ann; `found` is what the target was like.
fn plan_of(draft: &Draft, editors: &[PersonId], found: &str) -> Plan {
    let header = PlanHeader {
        change: CHANGE,
        change_type: draft.change_type.clone(),
        connection: draft.connection,
        targets: draft.targets.clone(),
        parameters: draft.parameters.clone(),
        policy_version: policy::VERSION,
        author: ANN,
        editors: editors.to_vec(),
        rollback_of: None,
        rollout: None,
        auto_rollback: draft.auto_rollback,
        limit_s: None,
    };
    let steps = vec![step(found, Reversibility::Reversible)];
    Plan::new(header, steps, vec![check(true)], second(PLANNED))
}

fn plan() -> Plan {
    plan_of(&draft(), &[], "can log in")
}

/// The same draft, but the target was found to be another.
fn moved_plan() -> Plan {
    plan_of(&draft(), &[], "is a superuser")
}

fn one_way_plan() -> Plan {
    let why = "the mail is sent".to_owned();
    let steps = vec![step("can log in", Reversibility::OneWay { why })];
    Plan::new(plan().header, steps, Vec::new(), second(PLANNED))
}

fn record(plan: &Plan) -> C {
    C::RecordPlan { plan: Box::new(plan.clone()) }
}

fn approve(plan: &Plan) -> C {
    C::Approve { digest: plan.digest.clone(), comment: None, frozen: Vec::new() }
}

fn risk(level: RiskLevel) -> Risk {
    Risk { score: 1, level, factors: Vec::new() }
}

fn submit_in(environment: Environment, risk: Risk) -> C {
    let (tags, policy) = (BTreeSet::new(), PolicyState::default());
    C::Submit { environment, risk, tags, known: Known::default(), policy }
}

fn submit(level: RiskLevel) -> C {
    submit_in(Environment::Prod, risk(level))
}

fn reason() -> String {
    "Not today.".to_owned()
}

fn planned_event(plan: &Plan) -> E {
    E::Planned { plan: Box::new(plan.clone()) }
}

fn submitted_event(plan: &Plan, quorum: Quorum, level: RiskLevel) -> E {
    let digest = plan.digest.clone();
    let tags = Some(BTreeSet::new());
    E::Submitted {
        digest,
        environment: Environment::Prod,
        risk: risk(level),
        quorum,
        tags,
        beforehand: None,
    }
}

fn approval_event(plan: &Plan, as_admin: bool) -> E {
    let (digest, comment, delegator) = (plan.digest.clone(), None, None);
    E::ApprovalGiven { digest, comment, as_admin, delegator }
}

fn approved_event(plan: &Plan, not_before: i64, until: i64) -> E {
    let (not_before, until) = (second(not_before), second(until));
    E::Approved { digest: plan.digest.clone(), not_before, until }
}

fn drafted() -> Past {
    Past::default().then(&ann(), 0, E::Drafted { draft: draft(), rollback_of: None })
}

fn planned() -> Past {
    drafted().then(&ann(), PLANNED, planned_event(&plan()))
}

fn submitted_as(level: RiskLevel) -> Past {
    let quorum = policy::quorum(level, Environment::Prod, false);
    planned().then(&ann(), 20, submitted_event(&plan(), quorum, level))
}

/// Waits for one approval.
fn submitted() -> Past {
    submitted_as(RiskLevel::Medium)
}

fn approved() -> Past {
    approved_with(&draft(), &plan())
}

/// The life of another draft or plan up to one approval by Bob.
fn approved_with(draft: &Draft, plan: &Plan) -> Past {
    let level = RiskLevel::Medium;
    let quorum = policy::quorum(level, Environment::Prod, false);
    Past::default()
        .then(&ann(), 0, E::Drafted { draft: draft.clone(), rollback_of: None })
        .then(&ann(), PLANNED, planned_event(plan))
        .then(&ann(), 20, submitted_event(plan, quorum, level))
        .then(&bob(), APPROVED, approval_event(plan, false))
        .then(&bob(), APPROVED, approved_event(plan, APPROVED, APPROVED + VALID))
}

fn executing_with(plan: &Plan) -> Past {
    let started = E::ExecutionStarted { run: RUN, digest: plan.digest.clone() };
    approved_with(&draft(), plan).then(&eve(), 40, started)
}

fn executing() -> Past {
    executing_with(&plan())
}

fn secrets() -> Vec<Produced> {
    vec![Produced { id: SECRET, name: "password".to_owned() }]
}

fn completed() -> E {
    E::Completed { run: RUN, secrets: secrets() }
}

fn ended(event: E) -> Past {
    executing().then(&Principal::SYSTEM, 50, event)
}

fn complete() -> Past {
    ended(completed())
}

fn rolling_back() -> Past {
    let started = E::RollbackStarted { rollback: ROLLBACK, run: RUN_BACK };
    complete().then(&Principal::SYSTEM, 60, started)
}

/// Every phase by its name, with a life that leads there.
fn every_phase() -> Vec<(&'static str, Past)> {
    let why = || "It broke.".to_owned();
    let (rollback, run) = (ROLLBACK, RUN_BACK);
    let undone = |event| rolling_back().then(&Principal::SYSTEM, 70, event);
    let rejected = E::Rejected { digest: plan().digest, reason: reason() };
    let system = Principal::SYSTEM;
    vec![
        ("absent", Past::default()),
        ("draft", drafted()),
        ("planned", planned()),
        ("submitted", submitted()),
        ("approved", approved()),
        (
            "scheduled",
            approved().then(&eve(), 40, E::Scheduled { opens: second(200), asked_by: None }),
        ),
        ("executing", executing()),
        ("complete", complete()),
        ("failed", ended(E::Failed { run: RUN, reason: why(), secrets: secrets() })),
        ("unknown", unknown()),
        ("rolling back", rolling_back()),
        ("rolled back", undone(E::RolledBack { rollback, run })),
        ("partial", undone(E::RollbackPartial { rollback, run, reason: why() })),
        ("blocked", undone(E::RollbackBlocked { rollback, run, reason: why() })),
        ("rejected", submitted().then(&bob(), 30, rejected)),
        ("cancelled", submitted().then(&ann(), 30, E::Cancelled { reason: reason() })),
        ("expired", approved().then(&system, APPROVED + VALID, E::Expired {})),
    ]
}

fn record_outcome(run: RunId, outcome: RunOutcome) -> C {
    C::RecordOutcome {
        this: CHANGE,
        run,
        outcome,
        reason: "It broke.".to_owned(),
        secrets: secrets(),
        undo_until: None,
    }
}

fn record_rollback(run: RunId, outcome: RunOutcome) -> C {
    C::RecordRollback { rollback: ROLLBACK, run, outcome, reason: "It broke.".to_owned() }
}

fn settle(finding: Found) -> C {
    C::Settle { finding, evidence: "I looked.".to_owned(), read: None }
}

fn unknown() -> Past {
    let why = "It broke.".to_owned();
    ended(E::OutcomeUnknown { run: RUN, reason: why, secrets: secrets() })
}

fn start_rollback(run: RunId, later: &[ChangeId]) -> C {
    C::StartRollback { rollback: ROLLBACK, run, later: later.to_vec() }
}

fn override_freeze() -> C {
    let freeze = FreezeId(Uuid::from_u128(30));
    C::OverrideFreeze { freeze, covers: true, justification: reason() }
}

fn break_glass(plan: &Plan) -> C {
    let (digest, justification) = (plan.digest.clone(), reason());
    C::BreakGlass { digest, justification, frozen: Vec::new(), overdue: Vec::new() }
}

fn go_back() -> C {
    C::GoBack { back: Box::new(beforehand::back(&beforehand::failed(true))) }
}

fn execute() -> C {
    C::StartExecution { run: RUN, in_the_way: InTheWay::default() }
}

fn draft_for_schedule() -> C {
    C::DraftForSchedule { draft: draft(), schedule: SCHEDULE, editors: vec![DAN] }
}

fn on_behalf(asker: Principal, command: C) -> C {
    C::OnBehalf { asker, project: None, command: Box::new(command) }
}

/// Ann's schedule made it, of a template that Dan edited.
fn planned_for_schedule() -> (Past, Plan) {
    let plan = plan_of(&draft(), &[DAN], "can log in");
    let past = Past::default()
        .then(&machine(ANN), 0, E::Drafted { draft: draft(), rollback_of: None })
        .then(&machine(ANN), 0, E::MadeBySchedule { schedule: SCHEDULE, editors: vec![DAN] })
        .then(&machine(ANN), PLANNED, planned_event(&plan));
    (past, plan)
}

fn submitted_for_schedule() -> (Past, Plan) {
    let (past, plan) = planned_for_schedule();
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let event = submitted_event(&plan, quorum, RiskLevel::Medium);
    (past.then(&Principal::SYSTEM, 20, event), plan)
}

fn approved_for_schedule() -> Past {
    let (past, plan) = submitted_for_schedule();
    past.then(&bob(), APPROVED, approval_event(&plan, false)).then(
        &bob(),
        APPROVED,
        approved_event(&plan, APPROVED, APPROVED + VALID),
    )
}

fn every_command() -> Vec<(&'static str, C)> {
    vec![
        ("draft", C::Draft { draft: draft(), rollback_of: None }),
        ("draft on schedule", draft_for_schedule()),
        (
            "draft by project",
            C::DraftForProject { draft: draft(), rollback_of: CHANGE, project: PROJECT },
        ),
        ("give up", C::GiveUp { reason: reason() }),
        ("join project", C::JoinProject { project: PROJECT, member_of: None }),
        ("on behalf", on_behalf(ann(), execute())),
        ("edit", C::Edit { draft: another_draft() }),
        ("record plan", record(&moved_plan())),
        ("submit", submit(RiskLevel::Medium)),
        ("approve", approve(&plan())),
        ("approve for", approval::approve_for(&plan())),
        ("reject", C::Reject { reason: reason() }),
        ("withdraw", C::Withdraw),
        ("cancel", C::Cancel { reason: reason() }),
        ("expire", C::Expire),
        ("override freeze", override_freeze()),
        ("override window", C::OverrideWindow { covers: true, justification: reason() }),
        ("break glass", break_glass(&plan())),
        ("execute", C::StartExecution { run: RUN, in_the_way: InTheWay::default() }),
        (
            "start scheduled",
            C::StartScheduled { run: RUN, asker: eve(), in_the_way: InTheWay::default() },
        ),
        ("unschedule", C::Unschedule { reason: reason() }),
        ("go back", go_back()),
        ("start back", C::StartBack { run: RUN, in_the_way: InTheWay::default() }),
        ("record outcome", record_outcome(RUN, RunOutcome::Complete)),
        ("settle", settle(Found::Applied)),
        ("start rollback", start_rollback(RUN_BACK, &[])),
        ("record rollback", record_rollback(RUN_BACK, RunOutcome::Complete)),
        ("review", C::Review { comment: "It had to be.".to_owned() }),
        ("reveal", C::RevealSecret { secret: SECRET, late: Vec::new() }),
    ]
}
