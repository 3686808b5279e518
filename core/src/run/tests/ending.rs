//! How a run ends: what its steps say, forward and back.

use super::*;

const CONFLICT: &str =
    "The target is neither as it was nor as intended; a person has to settle it.";

fn finish() -> C {
    C::Finish { epoch: 1 }
}

fn lost(step: u32, finding: Finding) -> Vec<E> {
    vec![intended(step), unknown(step), reconciled(step, finding)]
}

#[test]
fn the_outcome_follows_from_the_steps() {
    use RunOutcome::{Failed, OutcomeUnknown, RollbackBlocked, RollbackPartial};
    type End = fn(u32) -> Vec<E>;
    let failed: End = |step| vec![intended(step), failed(step)];
    let unverified: End = |step| vec![intended(step), succeeded(step), unverified(step)];
    let unknown: End = |step| vec![intended(step), unknown(step)];
    let conflict: End = |step| lost(step, Finding::Conflict);
    let blocked: End = |step| vec![blocked(step)];
    // How a step ends, and the run with it: forward; back, at the first step and at a later one.
    let table = [
        (failed, Failed, Failed, RollbackPartial, "no right to it"),
        (unverified, Failed, RollbackPartial, RollbackPartial, "still can log in"),
        (unknown, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, "no answer"),
        (conflict, OutcomeUnknown, OutcomeUnknown, OutcomeUnknown, CONFLICT),
        (blocked, Failed, RollbackBlocked, RollbackPartial, "somebody moved it"),
    ];
    for (end, forward, back_first, back_later, reason) in table {
        let first = end(0);
        let later = [done(0), end(1)].concat();
        let lives = [
            (run(&first), forward),
            (run(&later), forward),
            (run_back(&first), back_first),
            (run_back(&later), back_later),
        ];
        for (events, outcome) in lives {
            let reason = Some(reason.to_owned());
            let expected = E::Finished { outcome, reason, secrets: Vec::new() };
            assert_eq!(when(&events, finish()), Ok(vec![expected]));
            assert_eq!(running(&events).unwrap().next(), None);
        }
    }
}

/// Without steps every step would be verified.
#[test]
fn a_plan_without_steps_is_not_carried_out() {
    let start = |plan| C::Start {
        change: CHANGE,
        plan,
        approvals: vec![BOB],
        undoes: Some(FORWARD_RUN),
        part: None,
    };
    assert_eq!(when(&[], start(plan_of(&[]))), Err(No::NoSteps));
    assert_eq!(No::NoSteps.code(), "run.no_steps");
    assert!(when(&[], start(plan())).is_ok());
}

#[test]
fn complete_is_every_step_read_back() {
    for events in [run(&[]), run_back(&[])] {
        let all = [events, done(0), done(1)].concat();
        assert_eq!(when(&all, finish()), Ok(vec![finished(RunOutcome::Complete)]));
        for count in 2..all.len() {
            assert_eq!(when(&all[..count], finish()), Err(No::NotOver), "{count}");
        }
    }
    assert_eq!(No::NotOver.code(), "run.not_over");
}

/// Before it is known what became of an effect, or while it may be tried again, nothing is over.
#[test]
fn what_can_go_on_is_not_over() {
    for finding in [Finding::Applied, Finding::NotApplied] {
        assert_eq!(when(&run(&lost(0, finding)), finish()), Err(No::NotOver));
    }
}

/// An unprotected effect is not repeated, even when it is known that there was none.
#[test]
fn an_unprotected_step_without_effect_is_the_end() {
    use RunOutcome::{Failed, RollbackPartial};
    let reason = "It is known to have had no effect, but an unprotected effect is never repeated.";
    let plan = plan_of(&[EffectClass::Verifiable, EffectClass::Unprotected]);
    let then =
        [done(0), vec![intended(1), unknown(1), reconciled(1, Finding::NotApplied)]].concat();
    for (undoes, outcome) in [(None, Failed), (Some(FORWARD_RUN), RollbackPartial)] {
        let events = run_of(plan.clone(), undoes, &then);
        let reason = Some(reason.to_owned());
        let expected = E::Finished { outcome, reason, secrets: Vec::new() };
        assert_eq!(when(&events, finish()), Ok(vec![expected]));
    }
    let first = plan_of(&[EffectClass::Unprotected]);
    let events = run_of(first, Some(FORWARD_RUN), &lost(0, Finding::NotApplied));
    assert_eq!(running(&events).unwrap().outcome().map(|(outcome, _)| outcome), Some(Failed));
}

#[test]
fn finishing_twice_is_once() {
    let over = [run(&[intended(0), failed(0)]), vec![finished(RunOutcome::Failed)]].concat();
    for epoch in [0, 1, 2] {
        assert_eq!(when(&over, C::Finish { epoch }), Ok(Vec::new()));
    }
}

#[test]
fn a_finished_run_takes_no_orders() {
    let over = [run(&[intended(0), failed(0)]), vec![finished(RunOutcome::Failed)]].concat();
    let mut orders = every_order(0, 1);
    orders.pop();
    orders.push(("claim", claim(1)));
    for (name, order) in orders {
        assert_eq!(when(&over, order), Err(No::Finished), "{name}");
    }
    assert_eq!(No::Finished.code(), "run.finished");
    // Nor does anything that happens change what it was.
    let state = given(&[over, done(0), done(1), vec![finished(RunOutcome::Complete)]].concat());
    assert!(matches!(state, RunState::Finished(run) if run.outcome == RunOutcome::Failed));
}

#[test]
fn every_produced_secret_is_handed_over() {
    let succeeded = E::StepSucceeded {
        step: 0,
        epoch: 1,
        outcome: json!({}),
        produced: vec![secret(1)],
        undo_until: None,
    };
    let reconciled = E::StepReconciled {
        step: 1,
        finding: Finding::Applied,
        evidence: "read".to_owned(),
        observed: observed(),
        produced: vec![secret(2)],
    };
    let life = [
        run(&[intended(0), succeeded, verified(0), intended(1), unknown(1), reconciled]),
        vec![unverified(1)],
    ]
    .concat();
    let expected = E::Finished {
        outcome: RunOutcome::Failed,
        reason: Some("still can log in".to_owned()),
        secrets: vec![secret(1), secret(2)],
    };
    assert_eq!(when(&life, finish()), Ok(vec![expected]));
}
