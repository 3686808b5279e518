//! Undoing in time: from the moment on that a target named, a rollback does not go on, whoever asks for it.

use super::super::{Outcome, is_in_time, may_go_back, may_roll_back};
use super::*;

/// The first second in which it is too late.
const UNTIL: i64 = 200;

fn limited(until: i64) -> E {
    E::UndoLimited { run: RUN, until: second(until) }
}

/// Complete, and its target said until when that can be undone.
fn complete_until(until: i64) -> Past {
    executing().then(&Principal::SYSTEM, 50, limited(until)).then(
        &Principal::SYSTEM,
        50,
        completed(),
    )
}

fn too_late() -> No {
    No::TooLateToUndo { until: second(UNTIL) }
}

#[test]
fn the_moment_itself_is_too_late() {
    let state = given(&complete_until(UNTIL));
    for (at, answer) in
        [(UNTIL - 1, Ok(())), (UNTIL, Err(too_late())), (UNTIL + 1, Err(too_late()))]
    {
        let asked = may_roll_back(&state, &eve(), second(at), &[]).map(|_| ());
        assert_eq!(asked, answer, "asked for at {at}");
        assert_eq!(is_in_time(&state, second(at)), answer, "planned, submitted at {at}");
        let started =
            when_at(&complete_until(UNTIL), at, Principal::SYSTEM, start_rollback(RUN_BACK, &[]));
        assert_eq!(started.map(|events| assert_eq!(events.len(), 1)), answer, "begun at {at}");
    }
    assert_eq!(too_late().code(), "rollback.too_late");
    assert!(too_late().to_string().contains(&second(UNTIL).to_string()));
}

#[test]
fn without_a_limit_it_is_never_too_late() {
    let state = given(&complete());
    let at = second(100 * 365 * 24 * HOUR);
    assert!(may_roll_back(&state, &eve(), at, &[]).is_ok());
    assert_eq!(is_in_time(&state, at), Ok(()));
    assert_eq!(is_in_time(&given(&executing()), at), Ok(()));
}

/// A second attempt is one, too.
#[test]
fn what_an_earlier_rollback_left_is_undone_in_time_or_not_at_all() {
    let partial = E::RollbackPartial { rollback: ROLLBACK, run: RUN_BACK, reason: reason() };
    let past = complete_until(UNTIL)
        .then(&Principal::SYSTEM, 60, E::RollbackStarted { rollback: ROLLBACK, run: RUN_BACK })
        .then(&Principal::SYSTEM, 70, partial);
    let again = |at| when_at(&past, at, Principal::SYSTEM, start_rollback(OTHER_RUN, &[]));
    assert!(again(UNTIL - 1).is_ok());
    assert_eq!(again(UNTIL), Err(too_late()));
}

/// What runs already has its outcome: the step itself is asked.
#[test]
fn a_rollback_that_has_begun_goes_on() {
    let past = complete_until(UNTIL).then(
        &Principal::SYSTEM,
        UNTIL - 1,
        E::RollbackStarted { rollback: ROLLBACK, run: RUN_BACK },
    );
    let begun = when_at(&past, UNTIL, Principal::SYSTEM, start_rollback(RUN_BACK, &[]));
    assert_eq!(begun, Ok(Vec::new()));
    let ended = record_rollback(RUN_BACK, RunOutcome::Complete);
    assert_eq!(when_at(&past, UNTIL, Principal::SYSTEM, ended).unwrap().len(), 1);
}

#[test]
fn nothing_goes_back_by_itself_too_late() {
    let past = beforehand::failed(true);
    let mut state = given(&past);
    assert!(may_go_back(&state, second(UNTIL), &[]).is_ok());
    let back = beforehand::back(&past);
    let ChangeState::Finished(finish) = &mut state else { panic!("it has failed") };
    assert_eq!(finish.how, Outcome::Failed);
    finish.execution.undo_until = Some(second(UNTIL));
    assert!(may_go_back(&state, second(UNTIL - 1), &[]).is_ok());
    assert_eq!(may_go_back(&state, second(UNTIL), &[]).map(|_| ()), Err(too_late()));
    let made = |at| {
        let back = Box::new(super::super::Back { undone: state.clone(), ..back.clone() });
        when_at(&Past::default(), at, Principal::SYSTEM, C::GoBack { back })
    };
    assert!(made(UNTIL - 1).is_ok());
    assert_eq!(made(UNTIL), Err(too_late()));
}

#[test]
fn it_is_said_with_the_end_of_the_run_and_before_it() {
    let record = |undo_until| {
        let C::RecordOutcome { this, run, outcome, reason, secrets, .. } =
            record_outcome(RUN, RunOutcome::Complete)
        else {
            panic!("another command")
        };
        C::RecordOutcome { this, run, outcome, reason, secrets, undo_until }
    };
    let told = |undo_until| when(&executing(), Principal::SYSTEM, record(undo_until));
    assert_eq!(told(None), Ok(vec![completed()]));
    assert_eq!(told(Some(second(UNTIL))), Ok(vec![limited(UNTIL), completed()]));
    // Told twice, it is so already.
    let again = when(&complete_until(UNTIL), Principal::SYSTEM, record(Some(second(UNTIL))));
    assert_eq!(again, Ok(Vec::new()));
}
