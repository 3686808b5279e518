//! Undoing: who may ask, what has to be undone first, and what becomes of it.

use super::super::may_roll_back;
use super::*;

const LATER: ChangeId = ChangeId(Uuid::from_u128(59));

fn asked(past: &Past, by: &Principal, later: &[ChangeId]) -> Result<RunId, No> {
    may_roll_back(&given(past), by, second(NOW), later).map(|execution| execution.run)
}

fn rollback_plan() -> Plan {
    let header = PlanHeader { rollback_of: Some(CHANGE), ..plan().header };
    let steps = vec![step("cannot log in", Reversibility::Reversible)];
    Plan::new(header, steps, vec![check(true)], second(PLANNED))
}

/// A rollback by Ann, planned.
fn rollback() -> Past {
    Past::default().then(&ann(), 0, E::Drafted { draft: draft(), rollback_of: Some(CHANGE) }).then(
        &ann(),
        PLANNED,
        planned_event(&rollback_plan()),
    )
}

fn submitted_rollback() -> Past {
    let level = RiskLevel::Critical;
    let quorum = policy::quorum(level, Environment::Prod, true);
    rollback().then(&ann(), 20, submitted_event(&rollback_plan(), quorum, level))
}

#[test]
fn only_what_was_executed_can_be_rolled_back() {
    let expected = [
        ("absent", Err("not_found")),
        ("draft", Err("change.not_in_state")),
        ("planned", Err("change.not_in_state")),
        ("submitted", Err("change.not_in_state")),
        ("approved", Err("change.not_in_state")),
        ("scheduled", Err("change.not_in_state")),
        ("executing", Err("change.not_in_state")),
        ("complete", Ok(RUN)),
        ("failed", Ok(RUN)),
        ("unknown", Err("change.not_in_state")),
        ("rolling back", Err("change.not_in_state")),
        ("rolled back", Err("change.not_in_state")),
        ("partial", Ok(RUN)),
        ("blocked", Ok(RUN)),
        ("rejected", Err("change.not_in_state")),
        ("cancelled", Err("change.not_in_state")),
        ("expired", Err("change.not_in_state")),
    ];
    for ((phase, past), (name, answer)) in every_phase().into_iter().zip(expected) {
        assert_eq!(phase, name);
        assert_eq!(asked(&past, &eve(), &[]).map_err(|no| no.code()), answer, "{phase}");
    }
}

#[test]
fn operators_ask_for_it_and_machines_propose_it() {
    for by in [ann(), eve(), machine(EVE)] {
        assert_eq!(asked(&complete(), &by, &[]), Ok(RUN));
    }
    for by in [bob(), cat(), user(EVE, &[Role::Responder]), Principal::SYSTEM] {
        assert_eq!(asked(&complete(), &by, &[]).map_err(|no| no.code()), Err("access.denied"));
    }
}

#[test]
fn the_newest_is_undone_first() {
    let refused = asked(&complete(), &eve(), &[LATER, ROLLBACK]).unwrap_err();
    assert_eq!(refused.code(), "change.out_of_order_rollback");
    assert_eq!(refused, No::OutOfOrderRollback { blocking: vec![LATER, ROLLBACK] });
}

#[test]
fn what_has_one_way_is_not_undone() {
    let past = executing_with(&one_way_plan()).then(&Principal::SYSTEM, 50, completed());
    let refused = asked(&past, &eve(), &[LATER]).unwrap_err();
    assert_eq!(refused.code(), "change.one_way");
    assert_eq!(refused, No::OneWay { why: "the mail is sent".to_owned() });
}

#[test]
fn a_rollback_is_not_rolled_back() {
    let plan = rollback_plan();
    let past = submitted_rollback()
        .then(&bob(), 30, approval_event(&plan, false))
        .then(&bob(), 30, approved_event(&plan, 30, 30 + VALID))
        .then(&eve(), 40, E::ExecutionStarted { run: RUN, digest: plan.digest })
        .then(&Principal::SYSTEM, 50, completed());
    let wanted = "to go forward again, make a new change";
    let refused = asked(&past, &eve(), &[]);
    assert_eq!(refused, Err(No::NotInState { state: "a rollback", wanted }));
}

/// It takes the fast lane: one approver whatever the risk, but not its author.
#[test]
fn a_rollback_needs_one_other_person() {
    let plan = rollback_plan();
    let draft = C::Draft { draft: draft(), rollback_of: Some(CHANGE) };
    let drafted = E::Drafted { draft: super::draft(), rollback_of: Some(CHANGE) };
    assert_eq!(when(&Past::default(), ann(), draft), Ok(vec![drafted]));

    let quorum = policy::quorum(RiskLevel::Critical, Environment::Prod, true);
    let submitted = submitted_event(&plan, quorum, RiskLevel::Critical);
    assert_eq!(when(&rollback(), ann(), submit(RiskLevel::Critical)), Ok(vec![submitted]));

    let own = when(&submitted_rollback(), ann(), approve(&plan));
    assert_eq!(code(&own), "change.own_approval");
    let expected = vec![approval_event(&plan, false), approved_event(&plan, NOW, NOW + VALID)];
    assert_eq!(when(&submitted_rollback(), bob(), approve(&plan)), Ok(expected));
}

#[test]
fn a_rollback_is_not_edited() {
    let edit = C::Edit { draft: another_draft() };
    let wanted = "its plan comes from the captured state and is not edited";
    let refused = when(&rollback(), ann(), edit);
    assert_eq!(refused, Err(No::NotInState { state: "a rollback", wanted }));
}

/// Asking for it submits it, so submitting it once more is no mistake, by who may submit.
#[test]
fn a_rollback_is_submitted_once() {
    let submit = || submit(RiskLevel::Critical);
    for by in [ann(), eve()] {
        assert_eq!(when(&submitted_rollback(), by, submit()), Ok(Vec::new()));
    }
    for by in [bob(), machine(ANN)] {
        assert_eq!(code(&when(&submitted_rollback(), by, submit())), "access.denied");
    }
}

#[test]
fn one_rollback_at_a_time() {
    let start = |run| start_rollback(run, &[]);
    let started = E::RollbackStarted { rollback: ROLLBACK, run: RUN_BACK };
    assert_eq!(when(&complete(), Principal::SYSTEM, start(RUN_BACK)), Ok(vec![started]));
    assert_eq!(when(&rolling_back(), Principal::SYSTEM, start(RUN_BACK)), Ok(Vec::new()));
    let refused = when(&rolling_back(), Principal::SYSTEM, start(OTHER_RUN));
    let wanted = "it cannot be rolled back now";
    assert_eq!(refused, Err(No::NotInState { state: "being rolled back", wanted }));
}

/// It may have been approved before the later change was applied.
#[test]
fn what_was_applied_since_keeps_a_rollback_from_starting() {
    let later = [ChangeId(Uuid::from_u128(52))];
    let refused = when(&complete(), Principal::SYSTEM, start_rollback(RUN_BACK, &later));
    assert_eq!(refused, Err(No::OutOfOrderRollback { blocking: later.to_vec() }));
    // What has started has started.
    let again = when(&rolling_back(), Principal::SYSTEM, start_rollback(RUN_BACK, &later));
    assert_eq!(again, Ok(Vec::new()));
}

#[test]
fn what_became_of_a_rollback_is_recorded() {
    let (rollback, run) = (ROLLBACK, RUN_BACK);
    let reason = || "It broke.".to_owned();
    let partial = E::RollbackPartial { rollback, run, reason: reason() };
    let expected = [
        (RunOutcome::Complete, E::RolledBack { rollback, run }, "rolled back"),
        (RunOutcome::Failed, partial.clone(), "partly rolled back"),
        (RunOutcome::OutcomeUnknown, partial.clone(), "partly rolled back"),
        (RunOutcome::RollbackPartial, partial, "partly rolled back"),
        (
            RunOutcome::RollbackBlocked,
            E::RollbackBlocked { rollback, run, reason: reason() },
            "blocked in its rollback",
        ),
    ];
    for (outcome, event, name) in expected {
        let record = || record_rollback(RUN_BACK, outcome);
        let answer = when(&rolling_back(), Principal::SYSTEM, record());
        assert_eq!(answer, Ok(vec![event.clone()]), "{outcome:?}");
        let after = rolling_back().then(&Principal::SYSTEM, 70, event);
        assert_eq!(given(&after).name(), name);
        assert_eq!(when(&after, Principal::SYSTEM, record()), Ok(Vec::new()));
    }
}

/// An earlier rollback's report that comes late says nothing about the one that runs.
#[test]
fn another_rollback_cannot_end_it() {
    let record = record_rollback(OTHER_RUN, RunOutcome::Complete);
    assert_eq!(when(&rolling_back(), Principal::SYSTEM, record), Ok(Vec::new()));
}

#[test]
fn the_rollback_itself_ends_like_any_change() {
    let plan = rollback_plan();
    let executing = submitted_rollback()
        .then(&bob(), 30, approval_event(&plan, false))
        .then(&bob(), 30, approved_event(&plan, 30, 30 + VALID))
        .then(&eve(), 40, E::ExecutionStarted { run: RUN_BACK, digest: plan.digest });
    let reason = || "It broke.".to_owned();
    for (event, name) in [
        (E::Completed { run: RUN_BACK, secrets: Vec::new() }, "complete"),
        (
            E::RollbackPartial { rollback: ROLLBACK, run: RUN_BACK, reason: reason() },
            "partly rolled back",
        ),
        (
            E::RollbackBlocked { rollback: ROLLBACK, run: RUN_BACK, reason: reason() },
            "blocked in its rollback",
        ),
    ] {
        let past = executing.clone().then(&Principal::SYSTEM, 50, event);
        assert_eq!(given(&past).name(), name);
        assert!(given(&past).subject().is_some_and(|subject| subject.rollback_of == Some(CHANGE)));
    }
}
