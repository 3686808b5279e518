//! Windows: what may not start yet is scheduled, and starts by itself only if all would still let it.

use super::*;
use crate::freeze::{Closed, Frozen};

const FAY: PersonId = PersonId(Uuid::from_u128(7));

fn closed(opens: Option<i64>) -> InTheWay {
    let closed = Closed { window: "Nightly".to_owned(), opens: opens.map(second) };
    InTheWay { frozen: Vec::new(), closed: Some(closed), ..InTheWay::default() }
}

fn start(in_the_way: InTheWay) -> C {
    C::StartExecution { run: RUN, in_the_way }
}

fn start_scheduled(asker: Principal, in_the_way: InTheWay) -> C {
    C::StartScheduled { run: RUN, asker, in_the_way }
}

fn scheduled_for(second_: i64) -> E {
    E::Scheduled { opens: second(second_), asked_by: None }
}

fn started() -> E {
    E::ExecutionStarted { run: RUN, digest: plan().digest }
}

/// Eve asked at 40; it opens at 200.
fn scheduled() -> Past {
    approved().then(&eve(), 40, scheduled_for(200))
}

fn at_opening(asker: Principal, in_the_way: InTheWay) -> Result<Vec<E>, No> {
    when_at(&scheduled(), 200, Principal::SYSTEM, start_scheduled(asker, in_the_way))
}

/// Why it was taken out of the schedule; nothing when it was not.
fn unscheduled(answer: Result<Vec<E>, No>) -> String {
    match answer.as_deref() {
        Ok([E::Unscheduled { reason }]) => reason.clone(),
        Ok(_) | Err(_) => String::new(),
    }
}

#[test]
fn what_is_asked_for_outside_of_a_window_is_scheduled() {
    assert_eq!(when(&approved(), eve(), start(closed(Some(200)))), Ok(vec![scheduled_for(200)]));
    // Asking again changes nothing, asking when it has opened starts it.
    assert_eq!(when(&scheduled(), eve(), start(closed(Some(200)))), Ok(Vec::new()));
    assert_eq!(when(&scheduled(), ann(), start(closed(Some(300)))), Ok(vec![scheduled_for(300)]));
    assert_eq!(when(&scheduled(), ann(), start(InTheWay::default())), Ok(vec![started()]));
}

#[test]
fn its_own_window_and_a_maintenance_window_both_have_to_be_open() {
    let in_own = |start_s, end_s| {
        let draft = draft_in(start_s, end_s);
        approved_with(&draft, &plan_of(&draft, &[], "can log in"))
    };
    let ask = |past: &Past, in_the_way| when(past, eve(), start(in_the_way));
    assert_eq!(ask(&in_own(150, 900), InTheWay::default()), Ok(vec![scheduled_for(150)]));
    assert_eq!(ask(&in_own(150, 900), closed(Some(200))), Ok(vec![scheduled_for(200)]));
    assert_eq!(ask(&in_own(250, 900), closed(Some(200))), Ok(vec![scheduled_for(250)]));
    let refused = ask(&in_own(150, 200), closed(Some(200)));
    assert_eq!(refused, Err(No::OpensTooLate { opens: second(200), end: second(200) }));
    let over = APPROVED + VALID;
    let refused = ask(&approved(), closed(Some(over)));
    assert_eq!(refused, Err(No::OpensTooLate { opens: second(over), end: second(over) }));
    assert_eq!(code(&refused), "change.opens_too_late");
    let never = ask(&approved(), closed(None));
    assert_eq!(never, Err(No::NeverOpens { window: "Nightly".to_owned() }));
}

#[test]
fn it_starts_by_itself_when_everything_would_let_its_asker() {
    assert_eq!(at_opening(eve(), InTheWay::default()), Ok(vec![started()]));
    let past = scheduled().then(&Principal::SYSTEM, 200, scheduled_for(300));
    let again = when_at(&past, 300, Principal::SYSTEM, start_scheduled(eve(), InTheWay::default()));
    assert_eq!(again, Ok(vec![started()]), "who asked is remembered when it is moved");
}

#[test]
fn what_will_pass_moves_it() {
    assert_eq!(at_opening(eve(), closed(Some(500))), Ok(vec![scheduled_for(500)]));
    let freeze = FreezeId(Uuid::from_u128(30));
    let frozen = vec![Frozen { freeze, reason: reason(), end: second(400) }];
    let both = InTheWay { frozen: frozen.clone(), ..closed(Some(300)) };
    assert_eq!(at_opening(eve(), both), Ok(vec![scheduled_for(400)]));
    let frozen = InTheWay { frozen, closed: None, ..InTheWay::default() };
    assert_eq!(at_opening(eve(), frozen), Ok(vec![scheduled_for(400)]));
    assert_eq!(at_opening(eve(), closed(Some(200))), Ok(Vec::new()), "as it is");
}

#[test]
fn what_speaks_against_it_for_good_takes_it_out_of_the_schedule() {
    let disabled = user(EVE, &[]);
    assert!(unscheduled(at_opening(disabled, InTheWay::default())).contains("operator role"));
    let over = APPROVED + VALID;
    let late = start_scheduled(eve(), InTheWay::default());
    let late = when_at(&scheduled(), over, Principal::SYSTEM, late);
    assert!(unscheduled(late).contains("approvals ran out"));
    let never = at_opening(eve(), closed(None));
    assert!(unscheduled(never).contains("never opens again"));
    let moved = C::Unschedule { reason: "The target moved.".to_owned() };
    assert_eq!(unscheduled(when(&scheduled(), Principal::SYSTEM, moved)), "The target moved.");
    // It is approved still, and somebody can ask again.
    let past = scheduled().then(&Principal::SYSTEM, 200, E::Unscheduled { reason: reason() });
    assert_eq!(given(&past).name(), "approved");
    assert_eq!(when(&past, eve(), start(InTheWay::default())), Ok(vec![started()]));
}

#[test]
fn nobody_else_is_taken_for_who_asked() {
    let by_another = at_opening(ann(), InTheWay::default());
    assert_eq!(code(&by_another), "access.denied");
    let by_a_machine = at_opening(machine(EVE), InTheWay::default());
    assert!(unscheduled(by_a_machine).contains("signed in"));
    let command = || start_scheduled(eve(), InTheWay::default());
    assert_eq!(code(&when_at(&scheduled(), 200, eve(), command())), "access.denied");
    let unasked = when_at(&approved(), 200, Principal::SYSTEM, command());
    assert_eq!(code(&unasked), "change.not_in_state");
}

#[test]
fn a_reopened_review_forgets_the_schedule() {
    for event in
        [E::Edited { draft: another_draft() }, planned_event(&moved_plan()), E::Withdrawn {}]
    {
        let past = scheduled().then(&ann(), 50, event);
        let command = start_scheduled(eve(), InTheWay::default());
        let answer = when_at(&past, 200, Principal::SYSTEM, command);
        assert_eq!(code(&answer), "change.not_in_state");
    }
}

#[test]
fn a_responder_lets_it_run_outside_of_windows_and_somebody_else_reviews_that() {
    let fay = || user(FAY, &[Role::Responder]);
    let override_ =
        |covers| C::OverrideWindow { covers, justification: " The disk is full. ".to_owned() };
    let event = E::WindowOverridden { justification: "The disk is full.".to_owned() };
    assert_eq!(when(&scheduled(), fay(), override_(true)), Ok(vec![event.clone()]));
    assert_eq!(code(&when(&scheduled(), fay(), override_(false))), "change.no_window");
    assert_eq!(code(&when(&scheduled(), ann(), override_(true))), "change.own_override");
    assert_eq!(code(&when(&scheduled(), eve(), override_(true))), "access.denied");
    let past = scheduled().then(&fay(), 50, event);
    assert_eq!(when(&past, fay(), override_(true)), Ok(Vec::new()));
    let overrides = given(&past).subject().unwrap().overrides.clone();
    assert!(overrides.windows && overrides.unreviewed.contains(&FAY));
    let reopened = past.then(&ann(), 60, E::Withdrawn {});
    let overrides = given(&reopened).subject().unwrap().overrides.clone();
    assert!(!overrides.windows && overrides.unreviewed.contains(&FAY));
}
