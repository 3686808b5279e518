//! What Nexplane does in the name of the owner of a schedule, and what it never does.

use super::*;

fn ask(past: &Past, asker: Principal, command: C) -> Result<Vec<E>, No> {
    when(past, Principal::SYSTEM, on_behalf(asker, command))
}

#[test]
fn a_schedule_drafts_in_the_name_of_its_owner() {
    let drafted = when(&Past::default(), machine(ANN), draft_for_schedule()).unwrap();
    let expected = [
        E::Drafted { draft: draft(), rollback_of: None },
        E::MadeBySchedule { schedule: SCHEDULE, editors: vec![DAN] },
    ];
    assert_eq!(drafted, expected);
}

#[test]
fn owner_and_editors_of_the_template_never_approve() {
    let (past, plan) = submitted_for_schedule();
    for own in [ann(), dan()] {
        assert_eq!(when(&past, own, approve(&plan)), Err(No::OwnApproval));
    }
    assert_eq!(code(&when(&past, bob(), approve(&plan))), "accepted");
    // Nobody is, because a schedule made it, more of an approver than they were.
    assert_eq!(code(&when(&past, Principal::SYSTEM, approve(&plan))), "access.denied");
}

#[test]
fn it_submits_and_starts_with_the_roles_that_the_owner_has_now() {
    let (planned, _) = planned_for_schedule();
    assert_eq!(code(&ask(&planned, ann(), submit(RiskLevel::Medium))), "accepted");
    let approved = approved_for_schedule();
    let started = E::ExecutionStarted { run: RUN, digest: submitted_for_schedule().1.digest };
    assert_eq!(ask(&approved, ann(), execute()), Ok(vec![started]));
    for asker in [user(ANN, &[]), user(ANN, &[Role::Approver, Role::Admin]), machine(ANN)] {
        assert_eq!(code(&ask(&planned, asker.clone(), submit(RiskLevel::Medium))), "access.denied");
        assert_eq!(code(&ask(&approved, asker, execute())), "access.denied");
    }
}

#[test]
fn every_gate_is_asked() {
    let (submitted, _) = submitted_for_schedule();
    assert_eq!(code(&ask(&submitted, ann(), execute())), "change.quorum_missing");
    let late = when_at(
        &approved_for_schedule(),
        APPROVED + VALID,
        Principal::SYSTEM,
        on_behalf(ann(), execute()),
    );
    assert_eq!(code(&late), "change.approval_expired");
}

#[test]
fn what_has_to_wait_remembers_for_whom() {
    let closed = crate::freeze::Closed { window: "Nightly".to_owned(), opens: Some(second(300)) };
    let in_the_way = InTheWay { closed: Some(closed), ..InTheWay::default() };
    let start = C::StartExecution { run: RUN, in_the_way };
    let scheduled = E::Scheduled { opens: second(300), asked_by: Some(ANN) };
    assert_eq!(ask(&approved_for_schedule(), ann(), start), Ok(vec![scheduled.clone()]));
    let past = approved_for_schedule().then(&Principal::SYSTEM, NOW, scheduled);
    let start = C::StartScheduled { run: RUN, asker: ann(), in_the_way: InTheWay::default() };
    let started = when_at(&past, 300, Principal::SYSTEM, start).unwrap();
    assert!(matches!(&started[..], [E::ExecutionStarted { .. }]), "{started:?}");
}

#[test]
fn nobody_is_spoken_for_but_the_owner() {
    for asker in [dan(), eve(), cat()] {
        assert_eq!(code(&ask(&approved_for_schedule(), asker, execute())), "access.denied");
    }
    // What a person drafted waits for a person.
    assert_eq!(code(&ask(&approved(), ann(), execute())), "access.denied");
}

#[test]
fn nothing_else_is_done_in_anybodys_name() {
    let (submitted, plan) = submitted_for_schedule();
    for (name, command) in every_command() {
        if matches!(command, C::Submit { .. } | C::StartExecution { .. }) {
            continue;
        }
        let command = if name == "approve" { approve(&plan) } else { command };
        for past in [&submitted, &approved_for_schedule()] {
            let answer = ask(past, user(ANN, &Role::ALL), command.clone());
            assert_eq!(code(&answer), "access.denied", "{name}");
        }
    }
}

#[test]
fn it_is_open_until_something_became_of_it() {
    let open = [
        "draft",
        "planned",
        "submitted",
        "approved",
        "scheduled",
        "executing",
        "unknown",
        "rolling back",
    ];
    for (phase, past) in every_phase() {
        assert_eq!(given(&past).is_open(), open.contains(&phase), "{phase}");
    }
}
