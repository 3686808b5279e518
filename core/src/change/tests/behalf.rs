//! What Nexplane does in the name of the owner of a schedule, and what it never does.

use super::*;
use crate::freeze::Dependency;

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
fn what_can_not_go_on_ends_with_the_reason_while_it_is_a_draft_of_a_schedule() {
    let (planned, _) = planned_for_schedule();
    let give_up = |reason: &str| C::GiveUp { reason: reason.to_owned() };
    let ended = when(&planned, Principal::SYSTEM, give_up("The role is gone.\0"));
    assert_eq!(ended, Ok(vec![E::Cancelled { reason: "The role is gone.".to_owned() }]));
    let long = when(&planned, Principal::SYSTEM, give_up(&"ö".repeat(3000)));
    assert_eq!(long, Ok(vec![E::Cancelled { reason: "ö".repeat(2000) }]));
    for past in [submitted_for_schedule().0, approved_for_schedule()] {
        let refused = when(&past, Principal::SYSTEM, give_up("x"));
        assert_eq!(code(&refused), "change.not_in_state");
    }
    assert_eq!(code(&when(&drafted(), Principal::SYSTEM, give_up("x"))), "access.denied");
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

fn for_project(project: ProjectId, asker: Principal, command: C) -> C {
    C::OnBehalf { asker, project: Some(project), command: Box::new(command) }
}

#[test]
fn a_project_starts_its_members_in_the_name_of_whoever_asked() {
    let joined = approved().then(&ann(), 35, E::JoinedProject { project: PROJECT });
    let ask = |past: &Past, asker, command| {
        code(&when(past, Principal::SYSTEM, for_project(PROJECT, asker, command)))
    };
    assert_eq!(ask(&joined, eve(), execute()), "accepted");
    // With the roles that they have now, of the project that it is in, and nothing but that.
    assert_eq!(ask(&joined, user(EVE, &[Role::Approver]), execute()), "access.denied");
    assert_eq!(ask(&approved(), eve(), execute()), "access.denied");
    let elsewhere = ProjectId(Uuid::from_u128(42));
    let moved = joined.clone().then(&ann(), 36, E::JoinedProject { project: elsewhere });
    assert_eq!(ask(&moved, eve(), execute()), "access.denied");
    for (_, command) in every_command() {
        if !matches!(command, C::StartExecution { .. }) {
            assert_eq!(ask(&joined, user(EVE, &Role::ALL), command), "access.denied");
        }
    }
}

#[test]
fn what_it_comes_after_is_a_gate_on_every_way() {
    let other = Dependency { change: ROLLBACK, number: Some(7), state: "executing" };
    let in_the_way = || InTheWay { waits_for: vec![other.clone()], ..InTheWay::default() };
    let start = || C::StartExecution { run: RUN, in_the_way: in_the_way() };
    let missing = No::DependencyMissing { waits_for: vec![other.clone()] };
    assert!(missing.to_string().contains("#7 (executing)"), "{missing}");
    assert_eq!(when(&approved(), eve(), start()), Err(missing.clone()));
    assert_eq!(ask(&approved_for_schedule(), ann(), start()), Err(missing.clone()));
    let joined = approved().then(&ann(), 35, E::JoinedProject { project: PROJECT });
    let asked = for_project(PROJECT, eve(), start());
    assert_eq!(when(&joined, Principal::SYSTEM, asked), Err(missing.clone()));
    // It is not scheduled either, and what is leaves the schedule when its time has come.
    let closed = crate::freeze::Closed { window: "Nightly".to_owned(), opens: Some(second(300)) };
    let later = InTheWay { closed: Some(closed), ..in_the_way() };
    let start = C::StartExecution { run: RUN, in_the_way: later };
    assert_eq!(when(&approved(), eve(), start), Err(missing.clone()));
    let scheduled = E::Scheduled { opens: second(200), asked_by: None };
    let past = approved().then(&eve(), 40, scheduled);
    let start = C::StartScheduled { run: RUN, asker: eve(), in_the_way: in_the_way() };
    let reason = missing.to_string();
    let decided = when_at(&past, 200, Principal::SYSTEM, start);
    assert_eq!(decided, Ok(vec![E::Unscheduled { reason }]));
}

#[test]
fn a_change_is_in_one_project() {
    let join = |member_of| C::JoinProject { project: PROJECT, member_of };
    let other = ProjectId(Uuid::from_u128(42));
    let refused = when(&approved(), eve(), join(Some(other)));
    assert_eq!(refused, Err(No::InOtherProject { project: other }));
    let joined = approved().then(&eve(), 35, E::JoinedProject { project: PROJECT });
    assert_eq!(when(&joined, eve(), join(None)), Ok(Vec::new()));
    // It keeps its approvals, and moves on when it is no member any more.
    assert_eq!(code(&when(&joined, eve(), execute())), "accepted");
    let moved = when(&joined, eve(), C::JoinProject { project: other, member_of: None });
    assert_eq!(moved, Ok(vec![E::JoinedProject { project: other }]));
}

#[test]
fn the_rollback_of_a_member_is_whose_who_asked_for_the_going_back() {
    let drafting = |by: Principal| {
        let (draft, rollback_of) = (draft(), CHANGE);
        when(&Past::default(), by, C::DraftForProject { draft, rollback_of, project: PROJECT })
    };
    let machine = || Principal { actor: Actor::machine(EVE), roles: vec![Role::Operator] };
    assert_eq!(code(&drafting(Principal { roles: Vec::new(), ..machine() })), "access.denied");
    let events = drafting(machine()).unwrap();
    let mut plan = plan();
    (plan.header.author, plan.header.rollback_of) = (EVE, Some(CHANGE));
    let mut past = Past::default();
    for event in events {
        past = past.then(&machine(), 0, event);
    }
    let past = past.then(&machine(), PLANNED, planned_event(&plan));
    let submit = |asker: Principal, project| {
        let command = Box::new(C::Submit {
            environment: Environment::Prod,
            risk: risk(RiskLevel::Medium),
            tags: BTreeSet::new(),
            known: Known::default(),
            policy: PolicyState::default(),
        });
        when(&past, Principal::SYSTEM, C::OnBehalf { asker, project: Some(project), command })
    };
    assert!(submit(eve(), PROJECT).is_ok_and(|events| !events.is_empty()));
    assert_eq!(code(&submit(dan(), PROJECT)), "access.denied");
    assert_eq!(code(&submit(user(EVE, &[Role::Viewer]), PROJECT)), "access.denied");
    let other = ProjectId(Uuid::from_u128(42));
    assert_eq!(code(&submit(eve(), other)), "access.denied");
}
