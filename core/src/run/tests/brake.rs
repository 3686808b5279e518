//! The wish to cancel a run, and what is reported after its epoch was fenced off.

use super::*;
use crate::run::event::LateReport;

fn why() -> String {
    "the wrong roles".to_owned()
}

fn asked() -> E {
    E::CancelAsked { reason: why() }
}

fn ask() -> C {
    C::AskCancel { reason: format!(" {} ", why()) }
}

fn signed_in(roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(ANN), roles: roles.to_vec() }
}

fn brake(events: &[E]) -> Result<Vec<E>, No> {
    when_by(events, signed_in(&[Role::Operator]), ask())
}

fn late_success() -> LateReport {
    LateReport::Succeeded { outcome: json!({ "rows": 1 }), produced: vec![secret(7)] }
}

fn report(step: u32, epoch: u32) -> C {
    C::ReportLate { step, epoch, report: late_success() }
}

fn reported(step: u32, epoch: u32) -> E {
    E::LateReported { step, epoch, report: late_success() }
}

#[test]
fn the_brake_is_for_operators_and_responders_who_are_signed_in() {
    for (roles, may) in [
        (&[Role::Operator][..], true),
        (&[Role::Responder], true),
        (&[Role::Approver, Role::Admin, Role::Viewer], false),
        (&[], false),
    ] {
        let answer = when_by(&run(&[]), signed_in(roles), ask());
        if may {
            assert_eq!(answer, Ok(vec![asked()]), "{roles:?}");
        } else {
            assert_eq!(answer.unwrap_err().code(), "access.denied", "{roles:?}");
        }
    }
    let roles = Role::ALL.to_vec();
    for actor in [Actor::machine(ANN), Actor::SYSTEM, Actor::agent(HostId(Uuid::from_u128(7)))] {
        let by = Principal { actor, roles: roles.clone() };
        assert_eq!(when_by(&run(&[]), by, ask()).unwrap_err().code(), "access.denied");
    }
}

/// Later, when nothing is left that could be held back, it is said and nothing is recorded.
#[test]
fn a_cancel_is_in_time_while_a_step_may_begin() {
    let lost = [intended(1), unknown(1)];
    let first = |then: &[E]| [done(0), then.to_vec()].concat();
    let in_time = [
        vec![],
        vec![intended(0)],
        vec![intended(0), succeeded(0)],
        vec![intended(0), unknown(0)],
        first(&[]),
        first(&lost),
        first(&[lost.to_vec(), vec![reconciled(1, Finding::NotApplied)]].concat()),
    ];
    for then in in_time {
        assert_eq!(brake(&run(&then)), Ok(vec![asked()]), "{then:?}");
    }
    let too_late = [
        first(&[intended(1)]),
        first(&[intended(1), succeeded(1)]),
        first(&done(1)),
        first(&[lost.to_vec(), vec![reconciled(1, Finding::Applied)]].concat()),
        first(&[lost.to_vec(), vec![reconciled(1, Finding::Conflict)]].concat()),
        vec![intended(0), failed(0)],
        vec![intended(0), succeeded(0), unverified(0)],
        vec![blocked(0)],
        first(&[done(1), vec![finished(RunOutcome::Complete)]].concat()),
    ];
    for then in too_late {
        assert_eq!(brake(&run(&then)).unwrap_err().code(), "run.too_late", "{then:?}");
    }
    assert_eq!(brake(&[started_with(plan(), None)]), Ok(vec![asked()]), "before it is claimed");
    assert_eq!(brake(&[]), Err(No::NotFound));
}

/// An unprotected effect is not tried again, so there is nothing to hold back.
#[test]
fn what_is_never_repeated_is_too_late() {
    let events = run_of(plan_of(&[EffectClass::Unprotected]), None, &[intended(0), unknown(0)]);
    assert_eq!(brake(&events).unwrap_err().code(), "run.too_late");
}

#[test]
fn no_step_begins_after_it_and_what_is_under_way_ends() {
    let cancelled = |done, of| Err(No::Cancelled { done, of, reason: why() });
    assert_eq!(when(&run(&[asked()]), intend(0, 1)), cancelled(0, 2));
    let between = run(&[done(0), vec![asked()]].concat());
    assert_eq!(when(&between, intend(1, 1)), cancelled(1, 2));
    assert_eq!(No::Cancelled { done: 1, of: 2, reason: why() }.code(), "run.cancelled");
    assert_eq!(brake(&between), Ok(Vec::new()), "it is so already");

    // The step that was under way is told of and read back as ever.
    let under_way = run(&[intended(0), asked()]);
    assert_eq!(when(&under_way, succeed(0, 1)), Ok(vec![succeeded(0)]));
    assert_eq!(when(&under_way, fail(0, 1)), Ok(vec![failed(0)]));
    assert_eq!(when(&under_way, lose_sight(0, 1)), Ok(vec![unknown(0)]));
    // Not even when it is known to have had no effect, and by no later worker, is it tried again.
    let lost = [intended(0), unknown(0), asked(), reconciled(0, Finding::NotApplied)];
    assert_eq!(when(&run(&lost), intend(0, 1)), cancelled(0, 2));
    let taken_over = run(&[asked(), claimed(2)]);
    assert_eq!(when(&taken_over, intend(0, 2)), cancelled(0, 2));
}

#[test]
fn a_cancelled_run_ends_with_what_was_done() {
    let blocked = |step| [asked(), blocked(step)];
    for (events, outcome) in [
        (run(&blocked(0)), RunOutcome::Failed),
        (run(&[done(0), blocked(1).to_vec()].concat()), RunOutcome::Failed),
        (run_back(&blocked(0)), RunOutcome::RollbackBlocked),
        (run_back(&[done(0), blocked(1).to_vec()].concat()), RunOutcome::RollbackPartial),
    ] {
        assert_eq!(running(&events).unwrap().outcome().unwrap().0, outcome);
    }
}

#[test]
fn a_reason_is_asked_for_and_a_part_is_not_cancelled_alone() {
    for (reason, ok) in
        [(" ", false), ("\0", false), ("because", true), (&*"x".repeat(2001), false)]
    {
        let command = C::AskCancel { reason: reason.to_owned() };
        let answer = when_by(&run(&[]), signed_in(&[Role::Operator]), command);
        assert_eq!(answer.is_ok(), ok, "{reason:?}");
    }
    let part = crate::rollout::event::Part {
        rollout: crate::id::RolloutId(Uuid::from_u128(1)),
        manifest: crate::id::ManifestId(Uuid::from_u128(2)),
        no: 0,
    };
    let started = E::Started {
        change: CHANGE,
        plan: plan(),
        approvals: vec![BOB],
        undoes: None,
        part: Some(part),
    };
    assert_eq!(brake(&[started, claimed(1)]), Err(No::OfRollout));
}

#[test]
fn what_is_late_is_of_an_intent_of_an_epoch_that_was_fenced_off_and_told_once() {
    let taken_over = run(&[intended(0), claimed(2)]);
    assert_eq!(when(&taken_over, report(0, 1)), Ok(vec![reported(0, 1)]));
    // Not of the epoch that has the run, nor of one that is to come.
    assert_eq!(when(&taken_over, report(0, 2)), Err(No::NotLate { epoch: 2 }));
    assert_eq!(when(&run(&[intended(0)]), report(0, 1)), Err(No::NotLate { epoch: 1 }));
    // Not of a step that it did not intend.
    assert_eq!(when(&taken_over, report(1, 1)), Err(No::NothingDue { step: 1, epoch: 1 }));
    let other = run(&[claimed(2), attempted(0, 2, 1), claimed(3)]);
    assert_eq!(when(&other, report(0, 1)), Err(No::NothingDue { step: 0, epoch: 1 }));
    // Not twice, and not after it has told in time.
    let told = run(&[intended(0), claimed(2), reported(0, 1)]);
    assert_eq!(when(&told, report(0, 1)), Err(No::NothingDue { step: 0, epoch: 1 }));
    for own in [succeeded(0), failed(0), unknown(0)] {
        let told = run(&[intended(0), own, claimed(2)]);
        assert_eq!(when(&told, report(0, 1)), Err(No::NothingDue { step: 0, epoch: 1 }));
    }
    // Another epoch lost sight of it: that is not what this one has to tell.
    let lost = E::StepUnknown { step: 0, epoch: 2, reason: reason("no answer") };
    let lost = run(&[intended(0), claimed(2), lost]);
    assert_eq!(when(&lost, report(0, 1)), Ok(vec![reported(0, 1)]));
}

#[test]
fn what_is_late_changes_no_step_and_no_end() {
    let lost = E::StepUnknown { step: 0, epoch: 2, reason: reason("no answer") };
    let before = run(&[intended(0), claimed(2), lost]);
    let after = [before.clone(), vec![reported(0, 1)]].concat();
    let [before, after] = [running(&before).unwrap(), running(&after).unwrap()];
    assert_eq!(after.outcome(), before.outcome());
    assert!(matches!(&after.steps[0], StepPhase::Unknown { intent, .. } if intent.epoch == 1));
    assert_eq!((after.epoch, after.next()), (before.epoch, before.next()));
    assert_eq!(after.produced, vec![secret(7)], "and yet no secret is lost");

    // Also when the run is over.
    let lost = E::StepUnknown { step: 0, epoch: 2, reason: reason("no answer") };
    let over = run(&[intended(0), claimed(2), lost, finished(RunOutcome::OutcomeUnknown)]);
    assert_eq!(when(&over, report(0, 1)), Ok(vec![reported(0, 1)]));
    let told = [over, vec![reported(0, 1)]].concat();
    assert_eq!(when(&told, report(0, 1)), Err(No::NothingDue { step: 0, epoch: 1 }));
    let RunState::Finished(finished) = given(&told) else { panic!("it was over") };
    assert_eq!(finished.outcome, RunOutcome::OutcomeUnknown);
    assert_eq!(finished.run.produced, vec![secret(7)]);
}
