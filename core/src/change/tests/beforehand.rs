//! Going back by itself: only what was approved with it, and only past what holds up every rollback.

use super::super::{BEFOREHAND_VALID_S, Back, Outcome, may_go_back, subject_of_rollback};
use super::*;
use crate::change::event::Beforehand;
use crate::freeze::{Closed, Frozen};

const LATER: ChangeId = ChangeId(Uuid::from_u128(59));
const VALID_BACK: i64 = BEFOREHAND_VALID_S as i64;

/// Approved by Bob, carried out, and not as it should have been.
pub fn failed(auto_rollback: bool) -> Past {
    let draft = Draft { auto_rollback, ..draft() };
    let plan = plan_of(&draft, &[], "can log in");
    approved_with(&draft, &plan)
        .then(&eve(), 40, E::ExecutionStarted { run: RUN, digest: plan.digest })
        .then(&Principal::SYSTEM, 50, E::Failed { run: RUN, reason: reason(), secrets: Vec::new() })
}

/// What the runtime makes of it.
pub fn back(undone: &Past) -> Back {
    let undone = given(undone);
    let execution = may_go_back(&undone, second(NOW), &[]).expect("it goes back");
    let subject = subject_of_rollback(CHANGE, execution);
    let header = PlanHeader {
        change: ROLLBACK,
        author: subject.author,
        rollback_of: subject.rollback_of,
        ..plan_of(&subject.draft, &[], "cannot log in").header
    };
    let steps = vec![step("cannot log in", Reversibility::Reversible)];
    Back {
        original: CHANGE,
        later: Vec::new(),
        plan: Plan::new(header, steps, vec![check(true)], second(PLANNED)),
        environment: Environment::Prod,
        risk: risk(RiskLevel::Critical),
        tags: BTreeSet::new(),
        policy: PolicyState::default(),
        undone,
    }
}

fn go(back: Back) -> Result<Vec<E>, No> {
    when(&Past::default(), Principal::SYSTEM, C::GoBack { back: Box::new(back) })
}

/// The rollback, as it is made.
pub fn made() -> Past {
    let events = go(back(&failed(true))).expect("it goes back");
    events
        .into_iter()
        .fold(Past::default(), |past, event| past.then(&Principal::SYSTEM, NOW, event))
}

fn start(in_the_way: InTheWay) -> C {
    C::StartBack { run: RUN_BACK, in_the_way }
}

#[test]
fn who_approved_the_change_approved_that_it_goes_back() {
    let back = back(&failed(true));
    let (plan, digest) = (back.plan.clone(), back.plan.digest.clone());
    let events = go(back).unwrap();
    let [E::Drafted { draft, rollback_of }, E::Planned { plan: planned }, submitted, approved] =
        events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!((*rollback_of, &**planned), (Some(CHANGE), &plan));
    assert!(!draft.auto_rollback && draft.window.is_none());
    let E::Submitted { quorum, beforehand, .. } = submitted else { panic!("{submitted:?}") };
    assert_eq!((quorum.approvals, quorum.admin, quorum.delay_s), (0, false, 0));
    let told = Beforehand { run: RUN, approvers: vec![BOB] };
    assert_eq!(beforehand, &Some(told));
    let (not_before, until) = (second(NOW), second(NOW + VALID_BACK));
    assert_eq!(approved, &E::Approved { digest, not_before, until });

    let started = when(&made(), Principal::SYSTEM, start(InTheWay::default()));
    let expected = vec![E::ExecutionStarted { run: RUN_BACK, digest: plan.digest.clone() }];
    assert_eq!(started, Ok(expected.clone()));
    // The run carries the approvals that there were.
    let running = made().then(&Principal::SYSTEM, NOW, expected.into_iter().next().unwrap());
    let ChangeState::Executing(execution) = given(&running) else { panic!() };
    assert_eq!(execution.approvers, [BOB]);
}

#[test]
fn it_is_part_of_the_digest_that_was_approved() {
    let with = plan_of(&Draft { auto_rollback: true, ..draft() }, &[], "can log in");
    assert_ne!(with.digest, plan().digest);
    // A plan of the draft without it is none of the draft with it.
    let drafted = E::Drafted { draft: Draft { auto_rollback: true, ..draft() }, rollback_of: None };
    let past = Past::default().then(&ann(), 0, drafted);
    assert_eq!(code(&when(&past, ann(), record(&plan()))), "change.not_in_state");
    assert_eq!(code(&when(&past, ann(), record(&with))), "accepted");
    // Wishing for it, or no longer, is an edit, which reopens the review.
    let edit = C::Edit { draft: Draft { auto_rollback: true, ..draft() } };
    let edited = when(&approved(), ann(), edit).unwrap();
    assert!(matches!(edited.as_slice(), [E::Edited { .. }]), "{edited:?}");
}

#[test]
fn nothing_goes_back_that_was_not_approved_to() {
    for (name, past) in every_phase().into_iter().chain([("failed without", failed(false))]) {
        let refused = may_go_back(&given(&past), second(NOW), &[]).map(|execution| execution.run);
        let expected = if name == "absent" { "not_found" } else { "change.not_in_state" };
        assert_eq!(refused.map_err(|no| no.code()), Err(expected), "{name}");
    }
    assert!(may_go_back(&given(&failed(true)), second(NOW), &[]).is_ok());
    let undone = given(&failed(false));
    let refused = go(Back { undone, ..back(&failed(true)) });
    assert_eq!(code(&refused), "change.not_in_state");
    for how in [Outcome::Unknown, Outcome::RolledBack, Outcome::RollbackPartial] {
        let ChangeState::Finished(mut finish) = given(&failed(true)) else { panic!() };
        finish.how = how;
        assert!(may_go_back(&ChangeState::Finished(finish), second(NOW), &[]).is_err());
    }
}

#[test]
fn what_holds_up_a_rollback_holds_it_up() {
    let good = back(&failed(true));
    let later = go(Back { later: vec![LATER], ..good.clone() });
    assert_eq!(later, Err(No::OutOfOrderRollback { blocking: vec![LATER] }));
    let other = Plan::new(plan().header, good.plan.steps.clone(), Vec::new(), second(PLANNED));
    assert_eq!(code(&go(Back { plan: other, ..good.clone() })), "change.not_in_state");
    let policy = PolicyState { version: 2, ..PolicyState::default() };
    assert_eq!(code(&go(Back { policy, ..good.clone() })), "change.plan_outdated");
    // What undoes nothing, or not all that could be read, is not told as undone.
    let Plan { header, steps, .. } = good.plan.clone();
    for (steps, checks) in [
        (Vec::new(), Vec::new()),
        (Vec::new(), vec![check(true)]),
        (steps.clone(), vec![check(true), check(false)]),
    ] {
        let plan = Plan::new(header.clone(), steps, checks, second(PLANNED));
        assert_eq!(code(&go(Back { plan, ..good.clone() })), "change.plan_not_ready");
    }

    let end = second(NOW + 100);
    let frozen = Frozen { freeze: FreezeId(Uuid::from_u128(30)), reason: reason(), end };
    let frozen = InTheWay { frozen: vec![frozen], closed: None, ..InTheWay::default() };
    let refused = when(&made(), Principal::SYSTEM, start(frozen));
    assert_eq!(code(&refused), "change.frozen");
    let closed = |opens| {
        let closed = Closed { window: "Nightly".to_owned(), opens };
        start(InTheWay { closed: Some(closed), ..InTheWay::default() })
    };
    // It is asked again.
    assert_eq!(when(&made(), Principal::SYSTEM, closed(Some(end))), Ok(Vec::new()));
    assert_eq!(code(&when(&made(), Principal::SYSTEM, closed(None))), "change.never_opens");
    let late = when_at(&made(), NOW + VALID_BACK, Principal::SYSTEM, start(InTheWay::default()));
    assert_eq!(code(&late), "change.approval_expired");
}

/// What needed nobody's approval goes back without one, unless that is critical.
#[test]
fn what_nobody_approved_goes_back_up_to_the_floor() {
    let mut good = back(&failed(true));
    let ChangeState::Finished(finish) = &mut good.undone else { panic!() };
    finish.execution.approvers.clear();
    let refused = go(good.clone());
    assert_eq!(refused, Err(No::QuorumMissing { given: 0, needed: 1, admin: "" }));
    assert!(go(Back { risk: risk(RiskLevel::High), ..good }).is_ok());
}

#[test]
fn it_is_made_once_and_by_nobody_else() {
    let again = C::GoBack { back: Box::new(back(&failed(true))) };
    assert_eq!(when(&made(), Principal::SYSTEM, again.clone()), Ok(Vec::new()));
    for by in [ann(), bob(), eve(), machine(EVE)] {
        assert_eq!(code(&when(&Past::default(), by.clone(), again.clone())), "access.denied");
        assert_eq!(code(&when(&made(), by, start(InTheWay::default()))), "access.denied");
    }
    // Nor does what people approved start like that.
    let refused = when(&approved(), Principal::SYSTEM, start(InTheWay::default()));
    assert_eq!(code(&refused), "change.not_in_state");
}

/// Its run would begin with the plan, which has to fit into one record.
#[test]
fn what_no_run_could_begin_with_neither_starts_nor_goes_back() {
    use crate::change::MAX_PLAN;

    let is_too_large =
        |no: Result<Vec<E>, No>| matches!(no, Err(No::Invalid { field: "plan", .. }));
    let with = |size: usize| {
        let mut steps = vec![step("can log in", Reversibility::Reversible)];
        steps[0].summary = "x".repeat(size);
        steps
    };
    let large = with(MAX_PLAN);
    let plan = Plan::new(plan().header, large.clone(), vec![check(true)], second(PLANNED));
    let execute = C::StartExecution { run: RUN, in_the_way: InTheWay::default() };
    let approved = |plan: &Plan| approved_with(&draft(), plan);
    assert!(is_too_large(when(&approved(&plan), eve(), execute.clone())));
    assert!(when(&approved(&super::plan()), eve(), execute).is_ok());

    let fine = back(&failed(true));
    let Plan { header, checks, .. } = fine.plan.clone();
    let plan = Plan::new(header, large, checks, second(PLANNED));
    assert!(is_too_large(go(Back { plan, ..fine })));
}
