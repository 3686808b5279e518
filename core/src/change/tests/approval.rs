//! Who may approve: for oneself, for somebody else, and those whom the policy names.

use super::*;
use crate::change::event::Quorum;
use crate::change::state::Given;
use crate::person::event::PersonEvent;
use crate::person::{Person, PersonState};
use crate::policy::{Ask, Owned, Pool, Rule, Seat, Then, VALID_S, When};

/// Has nothing to do with the change, and whatever role they come with.
pub const DELEGATE: PersonId = PersonId(Uuid::from_u128(6));
const DELEGATOR: PersonId = PersonId(Uuid::from_u128(8));
const UNTIL: i64 = 200;

fn account(roles: &[Role], to: PersonId) -> Vec<PersonEvent> {
    vec![
        PersonEvent::Added { roles: roles.to_vec() },
        PersonEvent::ApprovalsDelegated {
            delegation: Uuid::nil(),
            to,
            from: second(50),
            until: second(UNTIL),
            reason: "Away.".to_owned(),
        },
    ]
}

fn folded(events: &[PersonEvent]) -> PersonState {
    events.iter().fold(PersonState::Absent, |state, event| {
        Person::evolve(state, event, Actor::SYSTEM, second(50))
    })
}

fn for_of(plan: &Plan, delegator: PersonId, account: &[PersonEvent]) -> C {
    C::ApproveFor {
        delegator,
        account: Box::new(folded(account)),
        digest: plan.digest.clone(),
        comment: None,
        frozen: Vec::new(),
    }
}

pub fn approve_for(plan: &Plan) -> C {
    for_of(plan, DELEGATOR, &account(&[Role::Approver], DELEGATE))
}

fn delegate() -> Principal {
    user(DELEGATE, &[])
}

fn for_event(delegator: PersonId, as_admin: bool) -> E {
    let digest = plan().digest;
    E::ApprovalGiven { digest, comment: None, as_admin, delegator: Some(delegator) }
}

#[test]
fn a_delegate_approves_with_what_the_delegator_has() {
    let plan = plan();
    let given = when(&submitted(), delegate(), approve_for(&plan)).unwrap();
    assert_eq!(given[0], for_event(DELEGATOR, false));
    assert!(matches!(given[1], E::Approved { .. }));
    let admin = for_of(&plan, DELEGATOR, &account(&[Role::Approver, Role::Admin], DELEGATE));
    assert_eq!(when(&submitted(), delegate(), admin).unwrap()[0], for_event(DELEGATOR, true));
    // What the delegate is themself makes no difference.
    let boss = user(DELEGATE, &[Role::Admin, Role::Approver]);
    assert_eq!(
        when(&submitted(), boss, approve_for(&plan)).unwrap()[0],
        for_event(DELEGATOR, false)
    );
}

#[test]
fn without_a_delegation_that_stands_nobody_approves_for_anybody() {
    let plan = plan();
    let mine = account(&[Role::Approver], DELEGATE);
    let ended = |event| [mine.clone(), vec![event]].concat();
    for (why, account) in [
        ("to somebody else", account(&[Role::Approver], BOB)),
        ("ended", ended(PersonEvent::DelegationEnded { delegation: Uuid::nil() })),
        ("disabled", ended(PersonEvent::Disabled {})),
        ("role lost", ended(PersonEvent::RolesChanged { roles: vec![Role::Viewer] })),
        (
            "role back, delegation not",
            [
                ended(PersonEvent::RolesChanged { roles: vec![Role::Viewer] }),
                vec![PersonEvent::RolesChanged { roles: vec![Role::Approver] }],
            ]
            .concat(),
        ),
        ("never an approver", self::account(&[Role::Admin], DELEGATE)),
        ("nobody", Vec::new()),
    ] {
        let refused = when(&submitted(), delegate(), for_of(&plan, DELEGATOR, &account));
        assert_eq!(code(&refused), "change.not_delegated", "{why}");
    }
    let oneself = for_of(&plan, DELEGATE, &account(&[Role::Approver], DELEGATE));
    assert_eq!(code(&when(&submitted(), delegate(), oneself)), "change.not_delegated");
    for (at, stands) in [(49, false), (50, true), (UNTIL - 1, true), (UNTIL, false)] {
        let answer = when_at(&submitted(), at, delegate(), approve_for(&plan));
        assert_eq!(answer.is_ok(), stands, "{at}: {answer:?}");
    }
}

#[test]
fn ones_own_approval_is_ones_own_through_somebody_else() {
    let plan = plan_of(&another_draft(), &[DAN], "can log in");
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let edited = planned()
        .then(&dan(), 15, E::Edited { draft: another_draft() })
        .then(&ann(), 16, planned_event(&plan))
        .then(&ann(), 20, submitted_event(&plan, quorum, RiskLevel::Medium));
    for own in [ANN, DAN] {
        let as_delegator = for_of(&plan, own, &account(&Role::ALL, DELEGATE));
        assert_eq!(code(&when(&edited, delegate(), as_delegator)), "change.own_approval");
        let as_delegate = for_of(&plan, DELEGATOR, &account(&Role::ALL, own));
        let refused = when(&edited, user(own, &Role::ALL), as_delegate);
        assert_eq!(code(&refused), "change.own_approval");
    }
    assert!(when(&edited, delegate(), approve_for(&plan)).is_ok());
}

#[test]
fn everybody_counts_once() {
    let plan = plan();
    let third = PersonId(Uuid::from_u128(9));
    let of = |delegator, to| for_of(&plan, delegator, &account(&[Role::Approver], to));
    let past = submitted_as(RiskLevel::High).then(&delegate(), 60, for_event(DELEGATOR, false));
    // The same again is no error.
    assert_eq!(when(&past, delegate(), of(DELEGATOR, DELEGATE)), Ok(Vec::new()));
    let approver = |person| user(person, &[Role::Approver]);
    for (by, command) in [
        (approver(DELEGATE), approve(&plan)),
        (approver(DELEGATOR), approve(&plan)),
        (approver(DELEGATE), of(third, DELEGATE)),
        (approver(third), of(DELEGATOR, third)),
        (approver(DELEGATOR), of(third, DELEGATOR)),
        (approver(third), of(DELEGATE, third)),
    ] {
        let refused = when(&past, by, command);
        assert_eq!(code(&refused), "change.approved_already");
    }
    let other = when(&past, approver(third), approve(&plan)).unwrap();
    assert!(matches!(other[1], E::Approved { .. }), "two people, two approvals");
    // Whoever approved themself is not counted again through somebody.
    let past =
        submitted_as(RiskLevel::High).then(&approver(DELEGATOR), 60, approval_event(&plan, false));
    let refused = when(&past, delegate(), of(DELEGATOR, DELEGATE));
    assert_eq!(code(&refused), "change.approved_already");
}

fn seat_of(people: &[PersonId]) -> Seat {
    Seat { approvals: 1, people: people.to_vec(), owner_of: None }
}

fn seated(approvals: u32, admin: bool, seats: Vec<Seat>) -> Past {
    let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
    let quorum = Quorum { approvals, admin, seats, ..quorum };
    planned().then(&ann(), 20, submitted_event(&plan(), quorum, RiskLevel::Medium))
}

#[test]
fn a_seat_is_for_those_whom_the_policy_names() {
    let plan = plan();
    let one = seated(1, false, vec![seat_of(&[CAT])]);
    assert_eq!(code(&when(&one, bob(), approve(&plan))), "change.not_named");
    assert_eq!(when(&one, cat(), approve(&plan)).unwrap().len(), 2);
    // Of two, one is anybody's.
    let two = seated(2, false, vec![seat_of(&[CAT])]);
    assert_eq!(when(&two, bob(), approve(&plan)).unwrap().len(), 1);
    let given = two.then(&bob(), 60, approval_event(&plan, false));
    let other = user(DELEGATE, &[Role::Approver]);
    assert_eq!(code(&when(&given, other, approve(&plan))), "change.not_named");
    assert_eq!(when(&given, cat(), approve(&plan)).unwrap().len(), 2);
    assert_eq!(code(&when(&given, eve(), execute())), "change.quorum_missing");
    // Nobody is kept from being the admin that is wanted as well.
    let admin = seated(1, true, vec![seat_of(&[BOB])]);
    let admin = admin.then(&bob(), 60, approval_event(&plan, false));
    assert_eq!(when(&admin, cat(), approve(&plan)).unwrap().len(), 2);
    assert_eq!(
        when(&seated(1, true, vec![seat_of(&[BOB])]), cat(), approve(&plan)).unwrap().len(),
        1
    );
}

#[test]
fn a_delegate_takes_the_seat_of_the_delegator_and_not_their_own() {
    let plan = plan();
    let of_delegator = seated(1, false, vec![seat_of(&[DELEGATOR])]);
    assert_eq!(when(&of_delegator, delegate(), approve_for(&plan)).unwrap().len(), 2);
    let of_delegate = seated(1, false, vec![seat_of(&[DELEGATE])]);
    let refused = when(&of_delegate, delegate(), approve_for(&plan));
    assert_eq!(code(&refused), "change.not_named");
}

#[test]
fn a_seat_is_empty_again_when_its_approval_has_run_out() {
    let (plan, seats) = (plan(), vec![seat_of(&[CAT])]);
    let past = seated(2, false, seats).then(&cat(), 60, approval_event(&plan, false));
    let late = 60 + VALID;
    let refused = when_at(&past, late, bob(), approve(&plan)).unwrap();
    assert_eq!(refused.len(), 1, "one of two");
    assert_eq!(when_at(&past, late - 1, bob(), approve(&plan)).unwrap().len(), 2);
}

fn submit_with(pool: Pool, known: Known) -> Result<Vec<E>, No> {
    let mut policy = PolicyState::default();
    let ask = Ask {
        approvals: 1,
        admin: false,
        from: Some(pool),
        delay_s: 0,
        valid_s: VALID_S,
        break_glass: false,
    };
    let when_no_rollback = When { rollback: Some(false), ..When::default() };
    policy.document.rules.insert(0, Rule { when: when_no_rollback, then: Then::Ask(ask) });
    let (environment, risk) = (Environment::Prod, risk(RiskLevel::Medium));
    let tags = BTreeSet::new();
    when(&planned(), ann(), C::Submit { environment, risk, tags, known, policy })
}

#[test]
fn seats_are_recorded_with_the_submission() {
    let owner = Some("Cat@Example.org".to_owned());
    let owned = Owned { name: "app_rw".to_owned(), owner };
    let known = Known {
        targets: draft().targets.iter().map(|target| (*target, owned.clone())).collect(),
        people: [("cat@example.org".to_owned(), CAT)].into(),
        approvers: [CAT].into(),
    };
    let owners = || Pool { owners: true, people: Vec::new(), at_least: 1 };
    let submitted = submit_with(owners(), known.clone()).unwrap();
    let [E::Submitted { quorum, .. }] = &submitted[..] else { panic!("{submitted:?}") };
    let owner_of = draft().targets.first().copied();
    assert_eq!(quorum.seats, [Seat { approvals: 1, people: vec![CAT], owner_of }]);
    let refused = submit_with(owners(), Known { approvers: BTreeSet::new(), ..known });
    assert_eq!(code(&refused), "change.no_approver");
    let sentence = refused.unwrap_err().to_string();
    assert!(sentence.contains("the owner of 'app_rw' is no approver"), "{sentence}");
}

/// Once seats and delegators were not recorded.
#[test]
fn what_was_recorded_before_reads_as_nobody_in_particular() {
    let given: Given = {
        let event: E = serde_json::from_value(json!({
            "type": "change.approval_given",
            "data": { "digest": plan().digest, "comment": null, "as_admin": false },
        }))
        .unwrap();
        let state = given(&submitted().then(&bob(), 60, event));
        let ChangeState::Submitted(submission) = state else { panic!("{state:?}") };
        assert!(submission.quorum.seats.is_empty());
        submission.approvals[0]
    };
    assert_eq!((given.by, given.delegator, given.of()), (BOB, None, BOB));
}
