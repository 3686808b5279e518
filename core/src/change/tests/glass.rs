//! Breaking glass: one responder for a whole quorum, of this very plan, for a few hours.

use super::*;
use crate::change::GLASS_VALID_S;
use crate::freeze::Frozen;

const FAY: PersonId = PersonId(Uuid::from_u128(7));

/// A responder who has nothing to do with the change.
fn fay() -> Principal {
    user(FAY, &[Role::Responder])
}

fn broken() -> E {
    E::GlassBroken { digest: plan().digest, justification: reason() }
}

/// What follows when it is broken at this second.
fn both(at: i64) -> Vec<E> {
    vec![broken(), approved_event(&plan(), at, at + i64::from(GLASS_VALID_S))]
}

fn passed(past: Past, at: i64) -> Past {
    let events = when_at(&past, at, fay(), break_glass(&plan())).expect("nothing is in the way");
    events.into_iter().fold(past, |past, event| past.then(&fay(), at, event))
}

fn broke(past: &Past) -> Option<PersonId> {
    match given(past) {
        ChangeState::Submitted(submission) => submission.glass,
        ChangeState::Approved(approval) => approval.submission.glass,
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    }
}

fn approvers(past: &Past) -> Vec<PersonId> {
    match given(past) {
        ChangeState::Executing(execution) => execution.approvers,
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Submitted(_)
        | ChangeState::Approved(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => Vec::new(),
    }
}

#[test]
fn it_stands_for_number_admin_and_delay() {
    for level in [RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical] {
        let past = submitted_as(level);
        assert_eq!(when(&past, fay(), break_glass(&plan())), Ok(both(NOW)), "{level:?}");
        let past = passed(past, NOW);
        let started = vec![E::ExecutionStarted { run: RUN, digest: plan().digest }];
        assert_eq!(when_at(&past, NOW, eve(), execute()), Ok(started));
        let over = NOW + i64::from(GLASS_VALID_S);
        assert!(when_at(&past, over - 1, eve(), execute()).is_ok());
        let late = when_at(&past, over, eve(), execute());
        assert_eq!(code(&late), "change.approval_expired");
        assert_eq!(when_at(&past, over, Principal::SYSTEM, C::Expire), Ok(vec![E::Expired {}]));
    }
}

#[test]
fn it_is_valid_for_no_longer_than_approvals_are() {
    let mut quorum = policy::quorum(RiskLevel::High, Environment::Prod, false);
    quorum.valid_s = 3600;
    let past = planned().then(&ann(), 20, submitted_event(&plan(), quorum, RiskLevel::High));
    let expected = vec![broken(), approved_event(&plan(), NOW, NOW + HOUR)];
    assert_eq!(when(&past, fay(), break_glass(&plan())), Ok(expected));
}

#[test]
fn the_delay_of_a_complete_quorum_is_what_is_left_to_break() {
    let past = submitted_as(RiskLevel::Critical)
        .then(&bob(), 30, approval_event(&plan(), false))
        .then(&cat(), 40, approval_event(&plan(), true))
        .then(&cat(), 40, approved_event(&plan(), 940, 940 + VALID));
    assert_eq!(code(&when(&past, eve(), execute())), "change.too_early");
    assert_eq!(when(&past, fay(), break_glass(&plan())), Ok(both(NOW)));
    assert!(when(&passed(past.clone(), NOW), eve(), execute()).is_ok());
    // Afterwards there is nothing to break.
    let late = when_at(&past, 940, fay(), break_glass(&plan()));
    assert_eq!(code(&late), "change.not_in_state");
    assert_eq!(code(&when(&approved(), fay(), break_glass(&plan()))), "change.not_in_state");
}

#[test]
fn whose_it_is_comes_first_then_the_role_then_the_plan() {
    let stale = C::BreakGlass {
        digest: "of another".to_owned(),
        justification: " ".to_owned(),
        frozen: Vec::new(),
        overdue: vec![ROLLBACK],
    };
    let answer = |by, command: &C| code(&when(&submitted(), by, command.clone()));
    assert_eq!(answer(ann(), &stale), "change.own_override");
    assert_eq!(answer(user(ANN, &[]), &stale), "change.own_override");
    assert_eq!(answer(cat(), &stale), "access.denied");
    assert_eq!(answer(machine(FAY), &stale), "access.denied");
    assert_eq!(answer(Principal::SYSTEM, &stale), "access.denied");
    assert_eq!(answer(fay(), &stale), "change.stale_digest");
    let edited = planned().then(&dan(), 15, E::Edited { draft: another_draft() });
    let plan = plan_of(&another_draft(), &[DAN], "can log in");
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let edited = edited.then(&ann(), 16, planned_event(&plan)).then(
        &ann(),
        20,
        submitted_event(&plan, quorum, RiskLevel::Medium),
    );
    assert_eq!(code(&when(&edited, dan(), break_glass(&plan))), "change.own_override");
    assert!(when(&edited, fay(), break_glass(&plan)).is_ok());
}

#[test]
fn it_takes_a_reason_a_rule_and_no_overdue_review() {
    let with = |justification: &str, overdue: &[ChangeId], frozen| {
        let justification = justification.to_owned();
        let overdue = overdue.to_vec();
        C::BreakGlass { digest: plan().digest, justification, frozen, overdue }
    };
    let answer = |command| when(&submitted(), fay(), command);
    assert_eq!(code(&answer(with(" ", &[], Vec::new()))), "validation.failed");
    assert_eq!(code(&answer(with(&"x".repeat(2001), &[], Vec::new()))), "validation.failed");
    assert!(answer(with(&"x".repeat(2000), &[], Vec::new())).is_ok());
    let overdue = vec![ROLLBACK];
    assert_eq!(answer(with("now", &overdue, Vec::new())), Err(No::ReviewOverdue { overdue }));
    let freeze = FreezeId(Uuid::from_u128(30));
    let frozen = vec![Frozen { freeze, reason: "closing".to_owned(), end: second(200) }];
    assert_eq!(answer(with("now", &[], frozen.clone())), Err(No::Frozen { frozen }));
    let mut quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    quorum.break_glass = false;
    let past = planned().then(&ann(), 20, submitted_event(&plan(), quorum, RiskLevel::Medium));
    assert_eq!(code(&when(&past, fay(), break_glass(&plan()))), "change.glass_not_allowed");
}

/// What was in review before rules said anything of it.
#[test]
fn an_older_quorum_does_not_let_glass_be_broken() {
    let quorum = serde_json::from_value(json!({
        "policy_version": 1, "rule": "high risk needs two approvers", "approvals": 2,
        "admin": false, "delay_s": 0, "valid_s": 259_200,
    }));
    let quorum: Quorum = quorum.expect("it is read still");
    assert!(!serde_json::to_string(&quorum).expect("it is written").contains("glass"));
    let past = planned().then(&ann(), 20, submitted_event(&plan(), quorum, RiskLevel::High));
    assert_eq!(code(&when(&past, fay(), break_glass(&plan()))), "change.glass_not_allowed");
}

#[test]
fn broken_once_it_is_broken() {
    let past = passed(submitted(), NOW);
    for by in [fay(), user(BOB, &[Role::Responder])] {
        assert_eq!(when_at(&past, NOW + 1, by, break_glass(&plan())), Ok(Vec::new()));
    }
    assert_eq!(code(&when(&past, cat(), approve(&plan()))), "change.not_in_state");
    let over = NOW + i64::from(GLASS_VALID_S);
    let late = when_at(&past, over, fay(), break_glass(&plan()));
    assert_eq!(code(&late), "change.approval_expired");
}

#[test]
fn it_is_of_the_plan_in_review_and_its_review_is_not_voided() {
    let past = passed(submitted(), NOW);
    assert_eq!(broke(&past), Some(FAY));
    for event in
        [E::Edited { draft: another_draft() }, planned_event(&moved_plan()), E::Withdrawn {}]
    {
        let past = past.clone().then(&dan(), 110, event);
        assert_eq!(code(&when_at(&past, 120, eve(), execute())), "change.not_in_state");
        assert!(given(&past).subject().unwrap().overrides.unreviewed.contains(&FAY));
    }
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let again = past.then(&ann(), 110, planned_event(&moved_plan())).then(
        &ann(),
        120,
        submitted_event(&moved_plan(), quorum, RiskLevel::Medium),
    );
    assert_eq!(broke(&again), None);
    assert_eq!(code(&when_at(&again, 130, eve(), execute())), "change.quorum_missing");
}

#[test]
fn the_run_names_the_responder_and_whoever_approved_and_still_stands() {
    let started = || E::ExecutionStarted { run: RUN, digest: plan().digest };
    let one = submitted_as(RiskLevel::High).then(&bob(), 30, approval_event(&plan(), false));
    let past = passed(one.clone(), NOW).then(&eve(), 200, started());
    assert_eq!(approvers(&past), [BOB, FAY]);
    // The approval runs out, what the responder did does not yet.
    let past = passed(one, 20 + VALID).then(&eve(), 40 + VALID, started());
    assert_eq!(approvers(&past), [FAY]);
    // Nobody twice.
    let both = user(BOB, &[Role::Approver, Role::Responder]);
    let past = submitted_as(RiskLevel::High).then(&bob(), 30, approval_event(&plan(), false));
    let events = when(&past, both.clone(), break_glass(&plan())).expect("it is somebody else's");
    let past = events.into_iter().fold(past, |past, event| past.then(&both, NOW, event));
    assert_eq!(approvers(&past.then(&eve(), 200, started())), [BOB]);
}

#[test]
fn everything_else_is_in_the_way_as_ever() {
    let past = passed(submitted(), NOW);
    let freeze = FreezeId(Uuid::from_u128(31));
    let frozen = vec![Frozen { freeze, reason: "closing".to_owned(), end: second(200) }];
    let other = crate::freeze::Dependency { change: ROLLBACK, number: None, state: "approved" };
    let late = crate::freeze::Closed { window: "Nightly".to_owned(), opens: None };
    for (in_the_way, expected) in [
        (InTheWay { frozen, ..InTheWay::default() }, "change.frozen"),
        (InTheWay { waits_for: vec![other], ..InTheWay::default() }, "change.dependency_missing"),
        (InTheWay { closed: Some(late), ..InTheWay::default() }, "change.never_opens"),
    ] {
        let command = C::StartExecution { run: RUN, in_the_way };
        assert_eq!(code(&when_at(&past, NOW + 1, eve(), command)), expected);
    }
    assert_eq!(code(&when_at(&past, NOW + 1, bob(), execute())), "access.denied");
}

#[test]
fn somebody_else_reviews_it_once_it_has_ended() {
    let review = || C::Review { comment: "It had to be.".to_owned() };
    let closed = passed(submitted(), NOW).then(&ann(), 110, E::Cancelled { reason: reason() });
    assert_eq!(code(&when(&closed, user(FAY, &Role::ALL), review())), "change.own_review");
    assert_eq!(code(&when(&closed, ann(), review())), "change.own_review");
    assert!(when(&closed, bob(), review()).is_ok());
}
