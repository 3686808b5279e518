//! From the quorum to the outcome, and the secrets that come of it.

use super::*;

fn start() -> C {
    C::StartExecution { run: RUN, in_the_way: InTheWay::default() }
}

fn started(plan: &Plan) -> E {
    E::ExecutionStarted { run: RUN, digest: plan.digest.clone() }
}

fn too_early(at: i64, why: &'static str) -> Result<Vec<E>, No> {
    Err(No::TooEarly { not_before: second(at), why })
}

/// A critical change, approved by two with the delay that asks for.
fn approved_critical() -> Past {
    submitted_as(RiskLevel::Critical)
        .then(&bob(), 28, approval_event(&plan(), false))
        .then(&cat(), APPROVED, approval_event(&plan(), true))
        .then(&cat(), APPROVED, approved_event(&plan(), APPROVED + 900, 28 + 900 + VALID))
}

#[test]
fn what_executes_is_what_was_approved() {
    assert_eq!(when(&approved(), eve(), start()), Ok(vec![started(&plan())]));
    let moved = moved_plan();
    assert_eq!(when(&approved_with(&draft(), &moved), eve(), start()), Ok(vec![started(&moved)]));
    let ChangeState::Executing(execution) = given(&executing_with(&moved)) else {
        panic!("not executing");
    };
    assert_eq!((execution.plan.digest, execution.approvers), (moved.digest, vec![BOB]));
}

/// The author may execute; approving is what it takes another for.
#[test]
fn an_operator_executes() {
    for by in [ann(), eve()] {
        assert_eq!(when(&approved(), by, start()), Ok(vec![started(&plan())]));
    }
}

#[test]
fn without_a_quorum_nothing_executes() {
    let refused = when(&submitted(), eve(), start());
    assert_eq!(code(&refused), "change.quorum_missing");
    assert_eq!(refused, Err(No::QuorumMissing { given: 0, needed: 1, admin: "" }));
}

#[test]
fn approvals_hold_until_they_run_out() {
    let over = APPROVED + VALID;
    assert_eq!(when_at(&approved(), APPROVED, eve(), start()), Ok(vec![started(&plan())]));
    assert_eq!(when_at(&approved(), over - 1, eve(), start()), Ok(vec![started(&plan())]));
    for at in [over, over + 1] {
        let refused = when_at(&approved(), at, eve(), start());
        assert_eq!(code(&refused), "change.approval_expired");
        assert_eq!(refused, Err(No::ApprovalExpired { until: second(over) }));
    }
}

#[test]
fn they_expire_when_they_have_run_out() {
    let over = APPROVED + VALID;
    let expire = |at| when_at(&approved(), at, Principal::SYSTEM, C::Expire);
    assert_eq!(expire(over - 1), Ok(Vec::new()));
    assert_eq!(expire(over), Ok(vec![E::Expired {}]));
}

#[test]
fn critical_changes_wait_fifteen_minutes() {
    let opens = APPROVED + 900;
    let ask = |at| when_at(&approved_critical(), at, eve(), start());
    let refused = ask(opens - 1);
    assert_eq!(code(&refused), "change.too_early");
    assert_eq!(
        refused,
        too_early(opens, "critical changes wait 15 minutes after the last approval")
    );
    assert_eq!(ask(opens), Ok(vec![started(&plan())]));
}

#[test]
fn a_window_is_kept() {
    let past = approved_with(&draft_in(1000, 2000), &plan());
    let ask = |at| when_at(&past, at, eve(), start());
    assert_eq!(ask(999), Ok(vec![E::Scheduled { opens: second(1000), asked_by: None }]));
    assert_eq!(ask(1000), Ok(vec![started(&plan())]));
    assert_eq!(ask(1999), Ok(vec![started(&plan())]));
    let refused = ask(2000);
    assert_eq!(code(&refused), "change.window_over");
    assert_eq!(refused, Err(No::WindowOver { end: second(2000) }));
}

#[test]
fn a_window_does_not_prolong_approvals() {
    let over = APPROVED + VALID;
    let past = approved_with(&draft_in(over - 10, over + 10), &plan());
    assert_eq!(when_at(&past, over - 1, eve(), start()), Ok(vec![started(&plan())]));
    assert_eq!(code(&when_at(&past, over, eve(), start())), "change.approval_expired");
}

#[test]
fn every_outcome_of_a_run_is_one_of_the_change() {
    let (run, why) = (RUN, || "It broke.".to_owned());
    let rollback = CHANGE;
    let expected = [
        (RunOutcome::Complete, E::Completed { run, secrets: secrets() }),
        (RunOutcome::Failed, E::Failed { run, reason: why(), secrets: secrets() }),
        (RunOutcome::OutcomeUnknown, E::OutcomeUnknown { run, reason: why(), secrets: secrets() }),
        (RunOutcome::RollbackPartial, E::RollbackPartial { rollback, run, reason: why() }),
        (RunOutcome::RollbackBlocked, E::RollbackBlocked { rollback, run, reason: why() }),
    ];
    for (outcome, event) in expected {
        let record = || record_outcome(RUN, outcome);
        let answer = when(&executing(), Principal::SYSTEM, record());
        assert_eq!(answer, Ok(vec![event.clone()]), "{outcome:?}");
        // Told twice, it is so already.
        assert_eq!(when(&ended(event), Principal::SYSTEM, record()), Ok(Vec::new()));
    }
}

#[test]
fn another_run_cannot_end_it() {
    let wanted = "only the run that it executes can end it";
    for (past, state) in [(executing(), "executing"), (complete(), "complete")] {
        let record = record_outcome(OTHER_RUN, RunOutcome::Complete);
        let refused = when(&past, Principal::SYSTEM, record);
        assert_eq!(refused, Err(No::NotInState { state, wanted }));
    }
}

/// Neither by a second outcome of the same run.
#[test]
fn an_outcome_stays() {
    let failed = ended(E::Failed { run: RUN, reason: reason(), secrets: Vec::new() });
    let record = record_outcome(RUN, RunOutcome::Complete);
    assert_eq!(when(&failed, Principal::SYSTEM, record), Ok(Vec::new()));
    assert_eq!(given(&failed.then(&Principal::SYSTEM, 60, completed())).name(), "failed");
}

#[test]
fn a_secret_is_revealed_to_the_requester_once() {
    let reveal = || C::RevealSecret { secret: SECRET, late: Vec::new() };
    let revealed = E::SecretRevealed { secret: SECRET };
    let everything_else = [dan(), cat(), machine(ANN), Principal::SYSTEM];
    for by in everything_else {
        assert_eq!(code(&when(&complete(), by, reveal())), "access.denied");
    }
    // It does not take a role to be the requester.
    let ann = || user(ANN, &[]);
    assert_eq!(when(&complete(), ann(), reveal()), Ok(vec![revealed.clone()]));
    let past = complete().then(&ann(), 60, revealed);
    let refused = when(&past, ann(), reveal());
    assert_eq!((&refused, code(&refused)), (&Err(No::AlreadyRevealed), "secret.already_revealed"));
}

#[test]
fn only_produced_secrets_are_revealed() {
    let other = C::RevealSecret { secret: SecretId(Uuid::from_u128(71)), late: Vec::new() };
    let refused = when(&complete(), ann(), other);
    assert_eq!((&refused, code(&refused)), (&Err(No::NoSuchSecret), "not_found"));
}

/// A run that failed may have made a secret before it did.
#[test]
fn secrets_of_a_failed_run_are_revealed() {
    for (phase, past) in every_phase() {
        let executed = matches!(given(&past), ChangeState::Finished(_));
        let answer = when(&past, ann(), C::RevealSecret { secret: SECRET, late: Vec::new() });
        assert_eq!(answer.is_ok(), executed, "{phase}");
    }
}

/// The runtime says so, not the change; here is only how.
#[test]
fn a_moved_target_has_a_code() {
    let moved = No::PlanMoved { moved: "leaver".to_owned() };
    assert_eq!(moved.code(), "change.plan_moved");
    assert!(moved.to_string().contains("(leaver)"), "{moved}");
}
