//! From the draft to the quorum.

use super::*;
use crate::rollout::event::Strategy;

fn new(draft: Draft) -> C {
    C::Draft { draft, rollback_of: None }
}

fn is_invalid(answer: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(answer, Err(No::Invalid { field, .. }) if *field == expected)
        && code(answer) == "validation.failed"
}

/// Two approvals are needed.
fn submitted_high() -> Past {
    submitted_as(RiskLevel::High)
}

#[test]
fn an_operator_drafts_once() {
    let expected = E::Drafted { draft: draft(), rollback_of: None };
    assert_eq!(when(&Past::default(), eve(), new(draft())), Ok(vec![expected]));
    let refused = when(&drafted(), eve(), new(draft()));
    assert_eq!((&refused, code(&refused)), (&Err(No::Exists), "change.exists"));
}

#[test]
fn a_machine_drafts_for_its_owner() {
    let events = when(&Past::default(), machine(EVE), new(draft())).unwrap();
    let past = Past::default().then(&machine(EVE), 0, events[0].clone());
    assert_eq!(given(&past).subject().map(|subject| subject.author), Some(EVE));
}

#[test]
fn texts_are_trimmed() {
    let untidy = Draft {
        title: format!(" {}\n", draft().title),
        reason: format!("\t{} ", draft().reason),
        ticket: Some(" OPS-1 ".to_owned()),
        ..draft()
    };
    let tidy = Draft { ticket: Some("OPS-1".to_owned()), ..draft() };
    let expected = E::Drafted { draft: tidy, rollback_of: None };
    assert_eq!(when(&Past::default(), ann(), new(untidy)), Ok(vec![expected]));
}

#[test]
fn a_draft_is_complete_and_bounded() {
    let asset = |n| AssetId(Uuid::from_u128(n));
    let texts = |limit: usize| {
        let text = |length: usize| "ö".repeat(length);
        [(String::new(), false), (" \n".to_owned(), false), ("a\0b".to_owned(), false)]
            .into_iter()
            .chain([(text(limit), true), (text(limit + 1), false)])
    };
    let mut cases = Vec::new();
    cases.extend(texts(200).map(|(title, ok)| ("title", Draft { title, ..draft() }, ok)));
    cases.extend(texts(4000).map(|(reason, ok)| ("reason", Draft { reason, ..draft() }, ok)));
    cases.extend(
        texts(200).map(|(text, ok)| ("ticket", Draft { ticket: Some(text), ..draft() }, ok)),
    );
    for (targets, ok) in [
        (Vec::new(), false),
        (vec![asset(1), asset(2), asset(1)], false),
        ((0..10_000).map(asset).collect(), true),
        ((0..10_001).map(asset).collect(), false),
    ] {
        cases.push(("targets", Draft { targets, ..draft() }, ok));
    }
    for (start, end, ok) in [(5, 6, true), (5, 5, false), (6, 5, false)] {
        cases.push(("window", draft_in(start, end), ok));
    }
    let strategy = Strategy::for_targets(2);
    let never = Strategy { parallel: 0, ..strategy };
    cases.push(("rollout/parallel", Draft { rollout: Some(never), ..draft() }, false));
    cases.push(("rollout", Draft { rollout: Some(strategy), ..draft() }, true));
    for (field, draft, ok) in cases {
        let written = when(&Past::default(), ann(), new(draft.clone()));
        let edited = when(&drafted(), ann(), C::Edit { draft: draft.clone() });
        for answer in [written, edited] {
            let title = &draft.title;
            assert!(
                if ok { answer.is_ok() } else { is_invalid(&answer, field) },
                "{field} {title}"
            );
        }
    }
}

#[test]
fn whoever_edits_is_an_editor() {
    let edit = || C::Edit { draft: another_draft() };
    let expected = E::Edited { draft: another_draft() };
    assert_eq!(when(&drafted(), dan(), edit()), Ok(vec![expected.clone()]));
    let same = C::Edit { draft: draft() };
    assert_eq!(when(&drafted(), dan(), same), Ok(Vec::new()));
    let past = drafted().then(&dan(), 1, expected.clone()).then(&machine(EVE), 2, expected);
    let state = given(&past);
    let subject = state.subject().unwrap();
    assert!([ANN, DAN, EVE].into_iter().all(|person| subject.is_own(person)));
    assert!([BOB, CAT].into_iter().all(|person| !subject.is_own(person)));
}

#[test]
fn an_edit_needs_a_new_plan() {
    let past = planned().then(&dan(), 15, E::Edited { draft: another_draft() });
    let refused = when(&past, ann(), submit(RiskLevel::Low));
    assert_eq!((&refused, code(&refused)), (&Err(No::PlanMissing), "change.plan_missing"));
}

#[test]
fn an_edit_in_review_supersedes_the_approvals() {
    let edited = E::Edited { draft: another_draft() };
    let plan = plan_of(&another_draft(), &[DAN], "can log in");
    for past in
        [submitted_high().then(&bob(), 30, approval_event(&super::plan(), false)), approved()]
    {
        let edit = C::Edit { draft: another_draft() };
        assert_eq!(when(&past, dan(), edit), Ok(vec![edited.clone()]));
        let quorum = policy::quorum(RiskLevel::High, Environment::Prod, false);
        let past = past
            .then(&dan(), 40, edited.clone())
            .then(&ann(), 41, planned_event(&plan))
            .then(&ann(), 42, submitted_event(&plan, quorum, RiskLevel::High));
        let refused =
            when(&past, eve(), C::StartExecution { run: RUN, in_the_way: InTheWay::default() });
        assert_eq!(refused, Err(No::QuorumMissing { given: 0, needed: 2, admin: "" }));
        // The earlier approver has to read the new plan and approve that.
        let stale = when(&past, bob(), approve(&super::plan()));
        assert_eq!((&stale, code(&stale)), (&Err(No::StaleDigest), "change.stale_digest"));
        assert_eq!(when(&past, bob(), approve(&plan)), Ok(vec![approval_event(&plan, false)]));
        assert_eq!(when(&past, dan(), approve(&plan)), Err(No::OwnApproval));
    }
}

#[test]
fn another_plan_in_review_supersedes_the_approvals() {
    let planned = planned_event(&moved_plan());
    for past in [submitted_high().then(&bob(), 30, approval_event(&plan(), false)), approved()] {
        assert_eq!(when(&past, eve(), record(&moved_plan())), Ok(vec![planned.clone()]));
        let past = past.then(&eve(), 40, planned.clone());
        assert!(matches!(given(&past), ChangeState::Draft(_)));
        let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
        let again = submitted_event(&moved_plan(), quorum, RiskLevel::Medium);
        assert_eq!(when(&past, eve(), submit(RiskLevel::Medium)), Ok(vec![again.clone()]));
        let past = past.then(&eve(), 42, again);
        assert_eq!(
            code(&when(
                &past,
                eve(),
                C::StartExecution { run: RUN, in_the_way: InTheWay::default() }
            )),
            "change.quorum_missing"
        );
    }
}

#[test]
fn the_same_plan_in_review_keeps_the_approvals() {
    let later = Plan { computed_at: second(90), ..plan() };
    for past in [submitted(), approved()] {
        assert_eq!(when(&past, eve(), record(&later)), Ok(Vec::new()));
    }
    // Not yet in review, it is a newer reading of the target.
    assert_eq!(when(&planned(), eve(), record(&later)), Ok(vec![planned_event(&later)]));
}

/// Reading a target takes time, in which somebody may edit.
#[test]
fn a_plan_of_another_draft_is_refused() {
    let edited = drafted().then(&dan(), 1, E::Edited { draft: another_draft() });
    let right = plan_of(&another_draft(), &[DAN], "can log in");
    assert_eq!(when(&edited, ann(), record(&right)), Ok(vec![planned_event(&right)]));
    let header = right.header;
    let other_target = vec![AssetId(Uuid::from_u128(99))];
    let wrong = [
        PlanHeader { change_type: "postgres.drop_user".to_owned(), ..header.clone() },
        PlanHeader { connection: ConnectionId(Uuid::from_u128(99)), ..header.clone() },
        PlanHeader { targets: other_target, ..header.clone() },
        PlanHeader { parameters: json!({}), ..header.clone() },
        PlanHeader { author: DAN, ..header.clone() },
        PlanHeader { editors: Vec::new(), ..header.clone() },
        PlanHeader { rollback_of: Some(CHANGE), ..header },
    ];
    for header in wrong {
        let plan = Plan::new(header, right.steps.clone(), Vec::new(), second(PLANNED));
        let refused = when(&edited, ann(), record(&plan));
        assert_eq!(code(&refused), "change.not_in_state", "{:?}", plan.header);
    }
}

#[test]
fn submission_fixes_the_quorum() {
    for level in [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical] {
        let quorum = policy::quorum(level, Environment::Prod, false);
        let expected = submitted_event(&plan(), quorum, level);
        assert_eq!(when(&planned(), eve(), submit(level)), Ok(vec![expected]));
    }
}

#[test]
fn what_needs_no_approval_is_approved_at_once() {
    let (environment, risk) = (Environment::Dev, risk(RiskLevel::Low));
    let submit = submit_in(environment, risk.clone());
    let quorum = policy::quorum(RiskLevel::Low, environment, false);
    let tags = Some(BTreeSet::new());
    let submitted =
        E::Submitted { digest: plan().digest, environment, risk, quorum, tags, beforehand: None };
    let expected = vec![submitted, approved_event(&plan(), NOW, NOW + VALID)];
    assert_eq!(when(&planned(), ann(), submit), Ok(expected));
}

#[test]
fn a_plan_is_submitted_within_an_hour() {
    let ask = |at| when_at(&planned(), at, ann(), submit(RiskLevel::Medium));
    assert!(ask(PLANNED + HOUR).is_ok());
    let refused = ask(PLANNED + HOUR + 1);
    assert_eq!((&refused, code(&refused)), (&Err(No::PlanOutdated), "change.plan_outdated"));
}

#[test]
fn a_plan_is_submitted_under_the_policy_that_it_was_made_under() {
    let risk = risk(RiskLevel::High);
    let under = |version| {
        let policy = PolicyState { version, ..PolicyState::default() };
        let (environment, risk, tags) = (Environment::Prod, risk.clone(), BTreeSet::new());
        when(
            &planned(),
            eve(),
            C::Submit { environment, risk, tags, known: Known::default(), policy },
        )
    };
    assert!(under(1).is_ok());
    let refused = under(2);
    assert_eq!(code(&refused), "change.plan_outdated");
    assert_eq!(refused, Err(No::PlanOfOtherPolicy { planned: 1, current: 2 }));
}

#[test]
fn the_policy_may_refuse_it() {
    let tag = Some(vec!["legacy".to_owned()]);
    let when_tagged = policy::When { tag, rollback: Some(false), ..policy::When::default() };
    let then = policy::Then::Refuse { reason: "this is going away".to_owned() };
    let mut policy = PolicyState::default();
    policy.document.rules.insert(0, policy::Rule { when: when_tagged, then });
    let with = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let (environment, risk, policy) = (Environment::Prod, risk(RiskLevel::Low), policy.clone());
        when(
            &planned(),
            eve(),
            C::Submit { environment, risk, tags, known: Known::default(), policy },
        )
    };
    let refused = with(&["billing", "legacy"]);
    assert_eq!(code(&refused), "change.refused_by_policy");
    let rule = "a change that is no rollback on a target tagged “legacy” is refused: this is going \
                away";
    assert_eq!(refused, Err(No::RefusedByPolicy { version: 1, rule: rule.to_owned() }));
    let Ok(events) = with(&["billing"]) else { panic!("refused") };
    let tags = Some(BTreeSet::from(["billing".to_owned()]));
    assert!(matches!(&events[..], [E::Submitted { tags: told, .. }] if *told == tags));
}

#[test]
fn a_plan_is_submitted_when_its_checks_passed() {
    let failed = |detail: &str| Check { detail: detail.to_owned(), ..check(false) };
    let checks = vec![failed("No such role."), check(true), failed("No right to it.")];
    let past = drafted().then(&ann(), PLANNED, planned_event(&Plan { checks, ..plan() }));
    let refused = when(&past, ann(), submit(RiskLevel::Low));
    let checks = "No such role.; No right to it.".to_owned();
    assert_eq!(code(&refused), "change.plan_not_ready");
    assert_eq!(refused, Err(No::PlanNotReady { checks }));
}

#[test]
fn the_last_approval_completes_the_quorum() {
    let given = E::ApprovalGiven {
        digest: plan().digest,
        comment: Some("Agreed.".to_owned()),
        as_admin: false,
        delegator: None,
    };
    let approve = C::Approve {
        digest: plan().digest,
        comment: Some("Agreed.".to_owned()),
        frozen: Vec::new(),
    };
    let both = Ok(vec![given.clone(), approved_event(&plan(), NOW, NOW + VALID)]);
    assert_eq!(when(&submitted(), bob(), approve.clone()), both);
    assert_eq!(when(&submitted_high(), bob(), approve), Ok(vec![given.clone()]));
    let one_given = submitted_high().then(&bob(), 30, given);
    let second = when(&one_given, cat(), super::approve(&plan()));
    let complete = approved_event(&plan(), NOW, 30 + VALID);
    assert_eq!(second, Ok(vec![approval_event(&plan(), true), complete]));
}

#[test]
fn two_approvals_are_two_peoples() {
    let one_given = submitted_high().then(&bob(), 30, approval_event(&plan(), false));
    let with_more_roles = user(BOB, &[Role::Approver, Role::Admin]);
    for by in [bob(), with_more_roles] {
        assert_eq!(when(&one_given, by, approve(&plan())), Ok(Vec::new()));
    }
    let refused =
        when(&one_given, eve(), C::StartExecution { run: RUN, in_the_way: InTheWay::default() });
    assert_eq!(refused, Err(No::QuorumMissing { given: 1, needed: 2, admin: "" }));
}

#[test]
fn a_complete_quorum_takes_no_more() {
    assert_eq!(when(&approved(), bob(), approve(&plan())), Ok(Vec::new()));
    assert_eq!(code(&when(&approved(), cat(), approve(&plan()))), "change.not_in_state");
}

#[test]
fn critical_changes_need_an_admin_among_the_approvers() {
    let other = user(PersonId(Uuid::from_u128(6)), &[Role::Approver]);
    let two_given = submitted_as(RiskLevel::Critical)
        .then(&bob(), 28, approval_event(&plan(), false))
        .then(&other, 29, approval_event(&plan(), false));
    let refused =
        when(&two_given, eve(), C::StartExecution { run: RUN, in_the_way: InTheWay::default() });
    let admin = ", one of which has to be an admin's";
    assert_eq!(refused, Err(No::QuorumMissing { given: 2, needed: 2, admin }));
    let third = user(PersonId(Uuid::from_u128(7)), &[Role::Approver]);
    let without = when(&two_given, third, approve(&plan()));
    assert_eq!(without, Ok(vec![approval_event(&plan(), false)]));
    let with = when(&two_given, cat(), approve(&plan()));
    let (start, end) = (NOW + 900, 28 + 900 + VALID);
    let expected = vec![approval_event(&plan(), true), approved_event(&plan(), start, end)];
    assert_eq!(with, Ok(expected));
    // Being an admin is not enough to approve.
    let admin = user(CAT, &[Role::Admin]);
    assert_eq!(code(&when(&two_given, admin, approve(&plan()))), "access.denied");
}

#[test]
fn an_approval_runs_out_while_it_waits_for_another() {
    let one_given = submitted_high().then(&bob(), 30, approval_event(&plan(), false));
    let (last, over) = (30 + VALID - 1, 30 + VALID);
    // Both count from the older one.
    let in_time = when_at(&one_given, last, cat(), approve(&plan()));
    let both = vec![approval_event(&plan(), true), approved_event(&plan(), last, over)];
    assert_eq!(in_time, Ok(both));
    let late = when_at(&one_given, over, cat(), approve(&plan()));
    assert_eq!(late, Ok(vec![approval_event(&plan(), true)]));
    let missing = when_at(
        &one_given,
        over,
        eve(),
        C::StartExecution { run: RUN, in_the_way: InTheWay::default() },
    );
    assert_eq!(missing, Err(No::QuorumMissing { given: 0, needed: 2, admin: "" }));
    // It can be given again.
    let past = one_given.then(&cat(), over, approval_event(&plan(), true));
    let again = when_at(&past, over + 5, bob(), approve(&plan()));
    let complete = approved_event(&plan(), over + 5, over + VALID);
    assert_eq!(again, Ok(vec![approval_event(&plan(), false), complete]));
}

#[test]
fn an_approval_names_the_submitted_plan() {
    for past in [submitted(), approved()] {
        for digest in [moved_plan().digest, String::new(), plan().digest.to_uppercase()] {
            let refused =
                when(&past, bob(), C::Approve { digest, comment: None, frozen: Vec::new() });
            assert_eq!((&refused, code(&refused)), (&Err(No::StaleDigest), "change.stale_digest"));
        }
    }
}

#[test]
fn nobody_approves_their_own() {
    // Dan edited in an earlier round; withdrawing and planning anew does not make it forgotten.
    let draft = another_draft();
    let plan = plan_of(&draft, &[DAN], "can log in");
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let submitted = submitted_event(&plan, quorum, RiskLevel::Medium);
    let past = super::submitted()
        .then(&dan(), 30, E::Edited { draft })
        .then(&bob(), 31, planned_event(&plan))
        .then(&eve(), 32, submitted.clone())
        .then(&ann(), 33, E::Withdrawn {})
        .then(&eve(), 34, submitted);
    for by in [ann(), dan()] {
        for command in [approve(&plan), approve(&super::plan()), C::Reject { reason: reason() }] {
            let refused = when(&past, by.clone(), command);
            assert_eq!((&refused, code(&refused)), (&Err(No::OwnApproval), "change.own_approval"));
        }
    }
    // Planning and submitting do not make a change one's own.
    assert!(when(&past, bob(), approve(&plan)).is_ok());
}

#[test]
fn comments_and_reasons_are_bounded() {
    let digest = || plan().digest;
    for (length, ok) in [(2000, true), (2001, false)] {
        let text = "x".repeat(length);
        let approve =
            C::Approve { digest: digest(), comment: Some(text.clone()), frozen: Vec::new() };
        let approved = when(&submitted(), bob(), approve);
        assert!(if ok { approved.is_ok() } else { is_invalid(&approved, "comment") });
        let rejected = when(&submitted(), bob(), C::Reject { reason: text.clone() });
        assert!(if ok { rejected.is_ok() } else { is_invalid(&rejected, "reason") });
        let cancelled = when(&submitted(), ann(), C::Cancel { reason: text });
        assert!(if ok { cancelled.is_ok() } else { is_invalid(&cancelled, "reason") });
    }
    for reason in ["", " \t", "a\0b"] {
        let reason = || reason.to_owned();
        assert!(is_invalid(&when(&submitted(), bob(), C::Reject { reason: reason() }), "reason"));
        assert!(is_invalid(&when(&submitted(), ann(), C::Cancel { reason: reason() }), "reason"));
    }
}

#[test]
fn a_rejection_is_final() {
    let rejected = E::Rejected { digest: plan().digest, reason: reason() };
    for past in [submitted(), approved()] {
        let reject = C::Reject { reason: format!(" {} ", reason()) };
        assert_eq!(when(&past, bob(), reject), Ok(vec![rejected.clone()]));
    }
    let past = submitted().then(&bob(), 30, rejected);
    let refused = when(&past, ann(), submit(RiskLevel::Low));
    let wanted = "only a draft can be submitted";
    assert_eq!(refused, Err(No::NotInState { state: "rejected", wanted }));
}

#[test]
fn a_withdrawn_change_keeps_its_plan_but_no_approval() {
    for past in [submitted_high().then(&bob(), 30, approval_event(&plan(), false)), approved()] {
        assert_eq!(when(&past, ann(), C::Withdraw), Ok(vec![E::Withdrawn {}]));
        let past = past.then(&ann(), 40, E::Withdrawn {});
        let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
        let again = submitted_event(&plan(), quorum, RiskLevel::Medium);
        assert_eq!(when(&past, ann(), submit(RiskLevel::Medium)), Ok(vec![again.clone()]));
        let refused = when(
            &past.then(&ann(), 42, again),
            eve(),
            C::StartExecution { run: RUN, in_the_way: InTheWay::default() },
        );
        assert_eq!(refused, Err(No::QuorumMissing { given: 0, needed: 1, admin: "" }));
    }
}

#[test]
fn author_and_editors_cancel_until_it_runs() {
    let cancelled = Ok(vec![E::Cancelled { reason: reason() }]);
    let cancel = || C::Cancel { reason: reason() };
    for past in [drafted(), planned(), submitted(), approved()] {
        let edited = past.clone().then(&dan(), 40, E::Edited { draft: another_draft() });
        assert_eq!(when(&past, ann(), cancel()), cancelled);
        assert_eq!(when(&edited, dan(), cancel()), cancelled);
        assert_eq!(code(&when(&past, dan(), cancel())), "access.denied");
    }
    let wanted = "it is too late to cancel it";
    let refused = when(&executing(), ann(), cancel());
    assert_eq!(refused, Err(No::NotInState { state: "executing", wanted }));
}
