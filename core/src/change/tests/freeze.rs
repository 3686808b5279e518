//! Freezes: nothing passes, but for an override of this very freeze for this very plan.

use super::*;
use crate::freeze::Frozen;
use crate::id::FreezeId;

const FREEZE: FreezeId = FreezeId(Uuid::from_u128(30));
const OTHER: FreezeId = FreezeId(Uuid::from_u128(31));
const FAY: PersonId = PersonId(Uuid::from_u128(7));

/// A responder who has nothing to do with the change.
fn fay() -> Principal {
    user(FAY, &[Role::Responder])
}

fn frozen() -> Vec<Frozen> {
    vec![Frozen { freeze: FREEZE, reason: "closing of the year".to_owned(), end: second(200) }]
}

fn override_of(freeze: FreezeId) -> C {
    let justification = " The key has leaked. ".to_owned();
    C::OverrideFreeze { freeze, covers: true, justification }
}

fn overridden(freeze: FreezeId) -> E {
    E::FreezeOverridden { freeze, justification: "The key has leaked.".to_owned() }
}

fn standing(past: &Past) -> Vec<FreezeId> {
    given(past).subject().expect("it was drafted").overrides.standing.iter().copied().collect()
}

fn review() -> C {
    C::Review { comment: "It had to be.".to_owned() }
}

#[test]
fn what_is_frozen_is_neither_approved_nor_executed() {
    let approve = C::Approve { digest: plan().digest, comment: None, frozen: frozen() };
    let refused = when(&submitted(), bob(), approve.clone()).unwrap_err();
    assert_eq!(refused, No::Frozen { frozen: frozen() });
    assert_eq!(refused.code(), "change.frozen");
    assert!(refused.to_string().contains("“closing of the year” until 2027"), "{refused}");
    let execute = C::StartExecution {
        run: RUN,
        in_the_way: InTheWay { frozen: frozen(), closed: None, ..InTheWay::default() },
    };
    assert_eq!(code(&when(&approved(), eve(), execute)), "change.frozen");
    // Who may not anyway hears that first, and what is done already is not refused.
    assert_eq!(code(&when(&submitted(), ann(), approve.clone())), "change.own_approval");
    let quorum = policy::quorum(RiskLevel::High, Environment::Prod, false);
    let one_of_two = planned()
        .then(&ann(), 20, submitted_event(&plan(), quorum, RiskLevel::High))
        .then(&bob(), APPROVED, approval_event(&plan(), false));
    assert_eq!(when(&one_of_two, bob(), approve), Ok(Vec::new()));
}

#[test]
fn what_reviewers_say_against_it_passes() {
    assert!(when(&submitted(), bob(), C::Reject { reason: reason() }).is_ok());
    assert!(when(&submitted(), ann(), C::Withdraw).is_ok());
    assert!(when(&submitted(), ann(), C::Cancel { reason: reason() }).is_ok());
}

#[test]
fn a_responder_overrides_one_freeze_once() {
    for past in [submitted(), approved()] {
        assert_eq!(when(&past, fay(), override_of(FREEZE)), Ok(vec![overridden(FREEZE)]));
        let past = past.then(&fay(), 50, overridden(FREEZE));
        assert_eq!(when(&past, fay(), override_of(FREEZE)), Ok(Vec::new()));
        assert_eq!(when(&past, fay(), override_of(OTHER)), Ok(vec![overridden(OTHER)]));
        assert_eq!(standing(&past), [FREEZE]);
    }
}

#[test]
fn an_override_needs_a_reason_and_something_to_override() {
    let with = |covers, justification: &str| {
        let justification = justification.to_owned();
        let command = C::OverrideFreeze { freeze: FREEZE, covers, justification };
        code(&when(&submitted(), fay(), command))
    };
    assert_eq!(with(true, " "), "validation.failed");
    assert_eq!(with(true, &"x".repeat(2001)), "validation.failed");
    assert_eq!(with(false, "The key has leaked."), "change.not_covered");
}

#[test]
fn a_reopened_review_voids_overrides_and_not_their_review() {
    let past = submitted().then(&fay(), 50, overridden(FREEZE));
    for event in
        [E::Edited { draft: another_draft() }, planned_event(&moved_plan()), E::Withdrawn {}]
    {
        let past = past.clone().then(&dan(), 60, event);
        assert_eq!(standing(&past), []);
        assert!(given(&past).subject().unwrap().overrides.unreviewed.contains(&FAY));
    }
}

#[test]
fn a_run_keeps_the_overrides_of_its_plan() {
    let started = E::ExecutionStarted { run: RUN, digest: plan().digest };
    let past = approved().then(&fay(), 35, overridden(FREEZE)).then(&eve(), 40, started);
    assert_eq!(standing(&past), [FREEZE]);
    assert_eq!(given(&past).environment(), Some(Environment::Prod));
}

#[test]
fn an_override_is_reviewed_once_it_has_ended_by_somebody_else() {
    let started = E::ExecutionStarted { run: RUN, digest: plan().digest };
    let running = approved().then(&fay(), 35, overridden(FREEZE)).then(&eve(), 40, started);
    assert_eq!(code(&when(&running, bob(), review())), "change.not_in_state");
    let done = running.then(&Principal::SYSTEM, 50, completed());
    let reviewed = E::Reviewed { comment: "It had to be.".to_owned() };
    assert_eq!(when(&done, bob(), review()), Ok(vec![reviewed.clone()]));
    let admin = user(EVE, &[Role::Admin]);
    assert!(when(&done, admin, review()).is_ok());
    assert_eq!(code(&when(&done, ann(), review())), "change.own_review");
    assert_eq!(code(&when(&done, user(FAY, &Role::ALL), review())), "change.own_review");
    assert_eq!(code(&when(&done, eve(), review())), "access.denied");
    let silent = C::Review { comment: " ".to_owned() };
    assert_eq!(code(&when(&done, bob(), silent)), "validation.failed");
    let done = done.then(&bob(), 60, reviewed);
    assert_eq!(code(&when(&done, cat(), review())), "change.no_review_due");
}

#[test]
fn what_was_never_executed_is_reviewed_too() {
    let past = submitted().then(&fay(), 50, overridden(FREEZE));
    let closed = past.then(&ann(), 60, E::Cancelled { reason: reason() });
    assert!(when(&closed, bob(), review()).is_ok());
}
