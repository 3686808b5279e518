//! Claiming a run and taking its steps.

use super::*;

const TRY_AGAIN: &str = "a step is tried again only when it is known to have had no effect";
const OWN_INTENT: &str = "only the epoch that intended it can report on it";

#[test]
fn a_run_starts_once() {
    let started = started_with(plan(), None);
    assert_eq!(when(&[], start()), Ok(vec![started.clone()]));
    assert_eq!(when(&[started], start()), Err(No::Exists));
    assert_eq!(No::Exists.code(), "run.exists");
}

#[test]
fn what_starts_is_the_plan() {
    let state = running(&[started_with(plan(), Some(FORWARD_RUN))]).unwrap();
    assert_eq!((state.change, state.undoes), (CHANGE, Some(FORWARD_RUN)));
    assert_eq!((&state.plan, state.approvals), (&plan(), vec![BOB]));
    assert!(matches!(state.steps.as_slice(), [StepPhase::Planned, StepPhase::Planned]));
    assert_eq!(state.epoch, 0);
}

#[test]
fn each_claim_is_a_new_epoch() {
    let mut events = vec![started_with(plan(), None)];
    for epoch in 1..4 {
        let expected = vec![claimed(epoch)];
        assert_eq!(when(&events, claim(epoch - 1)), Ok(expected.clone()));
        events.extend(expected);
        assert_eq!(running(&events).unwrap().epoch, epoch);
    }
}

/// Two workers saw the same epoch; the second one has to look again.
#[test]
fn a_claim_names_the_epoch_it_takes_over_from() {
    for after in [0, 2, u32::MAX] {
        let refused = when(&run(&[]), claim(after)).unwrap_err();
        assert_eq!(refused, No::Fenced { asked: after, current: 1 });
        assert_eq!(refused.code(), "run.fenced");
    }
}

#[test]
fn without_a_claim_nothing_is_ordered() {
    for (name, order) in every_order(0, 0) {
        let refused = when(&[started_with(plan(), None)], order);
        assert_eq!(refused, Err(No::Fenced { asked: 0, current: 0 }), "{name}");
    }
}

/// Whatever the worker that lost its lease has to say, and however late.
#[test]
fn an_older_epoch_is_fenced_off() {
    let lives: [&[E]; 6] = [
        &[],
        &[intended(0)],
        &[intended(0), succeeded(0)],
        &[intended(0), unknown(0)],
        &[intended(0), unknown(0), reconciled(0, Finding::NotApplied)],
        &[intended(0), failed(0)],
    ];
    for life in lives {
        let mut events = run(life);
        events.push(claimed(2));
        for epoch in [0, 1, 3] {
            for (name, order) in every_order(0, epoch) {
                let refused = when(&events, order);
                assert_eq!(refused, Err(No::Fenced { asked: epoch, current: 2 }), "{name}");
            }
        }
    }
}

#[test]
fn nobody_answers_for_another_epochs_intent() {
    let events = run(&[intended(0), claimed(2)]);
    for order in [succeed(0, 2), fail(0, 2)] {
        assert_eq!(when(&events, order), not_in_state(0, "intended", OWN_INTENT));
    }
    let unknown = E::StepUnknown { step: 0, epoch: 2, reason: reason("no answer") };
    assert_eq!(when(&events, lose_sight(0, 2)), Ok(vec![unknown]));
    assert_eq!(when(&events, intend(0, 2)), not_in_state(0, "intended", TRY_AGAIN));
}

#[test]
fn an_effect_that_happened_is_verified_by_the_next_epoch() {
    for life in [
        vec![intended(0), succeeded(0)],
        vec![intended(0), unknown(0), reconciled(0, Finding::Applied)],
    ] {
        let mut events = run(&life);
        events.push(claimed(2));
        assert_eq!(when(&events, verify(0, 2)), Ok(vec![verified(0)]));
        assert_eq!(when(&events, unverify(0, 2)), Ok(vec![unverified(0)]));
    }
}

#[test]
fn an_intent_says_what_there_was_before() {
    assert_eq!(when(&run(&[]), intend(0, 1)), Ok(vec![intended(0)]));
    let StepPhase::Intended(intent) = &running(&run(&[intended(0)])).unwrap().steps[0] else {
        panic!("not intended");
    };
    assert_eq!((intent.epoch, intent.attempt), (1, 1));
    assert_eq!((intent.key.as_str(), &intent.before), ("key", &before()));
}

#[test]
fn steps_are_taken_in_order() {
    for order in [intend(1, 1), block(1, 1)] {
        let refused = when(&run(&[]), order).unwrap_err();
        assert_eq!(refused, No::OutOfOrder { step: 1, before: 0 });
        assert_eq!(refused.code(), "run.out_of_order");
    }
    // Only what was read back is done.
    for life in [vec![intended(0)], vec![intended(0), succeeded(0)], vec![intended(0), failed(0)]] {
        let refused = when(&run(&life), intend(1, 1));
        assert_eq!(refused, Err(No::OutOfOrder { step: 1, before: 0 }));
    }
    assert_eq!(when(&run(&done(0)), intend(1, 1)), Ok(vec![intended(1)]));
    assert_eq!(when(&run(&done(0)), intend(0, 1)), not_in_state(0, "verified", TRY_AGAIN));
}

#[test]
fn a_plan_has_only_its_steps() {
    for step in [2, u32::MAX] {
        for (name, order) in every_order(step, 1) {
            if matches!(order, C::Finish { .. }) {
                continue;
            }
            let refused = when(&run(&done(0)), order).unwrap_err();
            assert_eq!(refused, No::NoSuchStep { step }, "{name}");
            assert_eq!(refused.code(), "run.no_such_step");
        }
    }
}

#[test]
fn an_intent_has_one_answer() {
    let succeeded = succeeded(0);
    assert_eq!(when(&run(&[intended(0)]), succeed(0, 1)), Ok(vec![succeeded.clone()]));
    assert_eq!(when(&run(&[intended(0)]), fail(0, 1)), Ok(vec![failed(0)]));
    assert_eq!(when(&run(&[intended(0)]), lose_sight(0, 1)), Ok(vec![unknown(0)]));
    for (answer, state) in [
        (succeeded, "done but not verified"),
        (failed(0), "failed"),
        (unknown(0), "of unknown outcome"),
    ] {
        let events = run(&[intended(0), answer]);
        for order in [succeed(0, 1), fail(0, 1)] {
            assert_eq!(when(&events, order), not_in_state(0, state, OWN_INTENT));
        }
        let wanted = "only an intent without an answer is unknown";
        assert_eq!(when(&events, lose_sight(0, 1)), not_in_state(0, state, wanted));
        assert_eq!(when(&events, intend(0, 1)), not_in_state(0, state, TRY_AGAIN));
    }
}

#[test]
fn the_connectors_answer_is_kept_unless_it_was_lost() {
    let outcome = |life: &[E]| {
        let steps = running(&run(life)).unwrap().steps;
        let [StepPhase::Verified(verified), _] = steps.as_slice() else {
            panic!("not verified: {steps:?}");
        };
        verified.effect.outcome.clone()
    };
    assert_eq!(outcome(&done(0)), Some(json!({ "rows": 1 })));
    let lost = [intended(0), unknown(0), reconciled(0, Finding::Applied), verified(0)];
    assert_eq!(outcome(&lost), None);
}

#[test]
fn the_unknown_is_reconciled_once() {
    let unknown = run(&[intended(0), unknown(0)]);
    for finding in [Finding::Applied, Finding::NotApplied, Finding::Conflict] {
        let expected = reconciled(0, finding);
        assert_eq!(when(&unknown, reconcile(0, 1, finding)), Ok(vec![expected.clone()]));
        let mut events = unknown.clone();
        events.push(expected);
        let wanted = "only what is unknown is reconciled";
        let again = when(&events, reconcile(0, 1, Finding::NotApplied));
        assert_eq!(again, not_in_state(0, "reconciled", wanted));
    }
}

/// A step is intended again after a reading of the target found no effect, and under a new number.
#[test]
fn attempts_are_counted() {
    let mut events = run(&[]);
    for attempt in 1..4 {
        let expected = attempted(0, attempt, attempt);
        assert_eq!(when(&events, intend(0, attempt)), Ok(vec![expected.clone()]));
        events.extend([expected, unknown(0), reconciled(0, Finding::NotApplied)]);
        events.push(claimed(attempt + 1));
    }
}

#[test]
fn what_is_found_decides_whether_it_is_repeated() {
    use EffectClass::{Fenced, Keyed, Unprotected, Verifiable};
    let unprotected = "an unprotected effect is never repeated by itself";
    for class in [Keyed, Fenced, Verifiable, Unprotected] {
        for finding in [Finding::Applied, Finding::NotApplied, Finding::Conflict] {
            let then = [intended(0), unknown(0), reconciled(0, finding)];
            let answer = when(&run_of(plan_of(&[class]), None, &then), intend(0, 1));
            let expected = match (finding, class) {
                (Finding::NotApplied, Keyed | Fenced | Verifiable) => Ok(vec![attempted(0, 1, 2)]),
                (Finding::NotApplied, Unprotected) => not_in_state(0, "reconciled", unprotected),
                (Finding::Applied | Finding::Conflict, _) => {
                    not_in_state(0, "reconciled", TRY_AGAIN)
                }
            };
            assert_eq!(answer, expected, "{class:?} {finding:?}");
        }
    }
}

#[test]
fn an_unprotected_step_is_taken_once() {
    let plan = plan_of(&[EffectClass::Unprotected]);
    let events = run_of(plan.clone(), None, &[]);
    assert_eq!(when(&events, intend(0, 1)), Ok(vec![intended(0)]));
    for then in [
        vec![intended(0)],
        vec![intended(0), unknown(0)],
        vec![intended(0), unknown(0), reconciled(0, Finding::NotApplied)],
        vec![intended(0), failed(0)],
    ] {
        let refused = when(&run_of(plan.clone(), None, &then), intend(0, 1)).unwrap_err();
        assert_eq!(refused.code(), "run.step_not_in_state", "{then:?}");
    }
}

#[test]
fn only_a_known_effect_is_verified() {
    let wanted = "only a known effect can be verified";
    for (life, state) in [
        (vec![], "planned"),
        (vec![intended(0)], "intended"),
        (vec![intended(0), unknown(0)], "of unknown outcome"),
        (vec![intended(0), unknown(0), reconciled(0, Finding::Conflict)], "reconciled"),
        (done(0), "verified"),
    ] {
        for order in [verify(0, 1), unverify(0, 1)] {
            assert_eq!(when(&run(&life), order), not_in_state(0, state, wanted));
        }
    }
}

#[test]
fn a_step_is_blocked_before_it_is_taken() {
    assert_eq!(when(&run(&[]), block(0, 1)), Ok(vec![blocked(0)]));
    let nothing_done = [intended(0), unknown(0), reconciled(0, Finding::NotApplied)];
    assert_eq!(when(&run(&nothing_done), block(0, 1)), Ok(vec![blocked(0)]));
    assert_eq!(when(&run(&[intended(0)]), block(0, 1)), not_in_state(0, "intended", TRY_AGAIN));
    assert_eq!(when(&run(&[blocked(0)]), intend(0, 1)), not_in_state(0, "blocked", TRY_AGAIN));
}

#[test]
fn the_next_step_is_the_first_that_is_not_done() {
    let lives: [(Vec<E>, Option<u32>); 8] = [
        (vec![], Some(0)),
        (vec![intended(0)], Some(0)),
        (vec![intended(0), succeeded(0)], Some(0)),
        (done(0), Some(1)),
        ([done(0), done(1)].concat(), None),
        (vec![intended(0), failed(0)], None),
        (vec![intended(0), unknown(0)], None),
        (vec![intended(0), unknown(0), reconciled(0, Finding::NotApplied)], Some(0)),
    ];
    for (life, next) in lives {
        assert_eq!(running(&run(&life)).unwrap().next(), next, "{life:?}");
    }
}
