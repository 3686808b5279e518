//! Who delegates approving to whom, and for how long.

use super::*;
use crate::person::{MAX_DELEGATION_S, MAX_DELEGATIONS};

const DELEGATION: Uuid = Uuid::from_u128(5);
const CAT: PersonId = PersonId(Uuid::from_u128(6));

fn delegate_in(delegation: Uuid, to: PersonId, from: i64, until: i64) -> C {
    C::Delegate {
        person: ANN,
        delegation,
        to,
        to_is_enabled: true,
        from: now().plus_seconds(from),
        until: now().plus_seconds(until),
        reason: " On leave ".to_owned(),
    }
}

pub fn delegate() -> C {
    delegate_in(DELEGATION, CAT, 0, 3600)
}

pub fn end() -> C {
    C::EndDelegation { person: ANN, delegation: DELEGATION }
}

fn delegated() -> E {
    E::ApprovalsDelegated {
        delegation: DELEGATION,
        to: CAT,
        from: now(),
        until: now().plus_seconds(3600),
        reason: "On leave".to_owned(),
    }
}

fn approver() -> Vec<E> {
    vec![added(&[Role::Approver])]
}

fn approver_away() -> Vec<E> {
    [approver(), vec![delegated()]].concat()
}

#[test]
fn by_oneself_or_an_admin_and_nobody_else() {
    for by in [oneself(), admin()] {
        assert_eq!(when(&approver(), by.clone(), delegate()), Ok(vec![delegated()]));
        let ended = Ok(vec![E::DelegationEnded { delegation: DELEGATION }]);
        assert_eq!(when(&approver_away(), by, end()), ended);
    }
    let another = user(CAT, &[Role::Approver]);
    for by in [machine(), another, Principal::SYSTEM] {
        assert!(is_denied(&when(&approver(), by.clone(), delegate())), "{by:?}");
        assert!(is_denied(&when(&approver_away(), by.clone(), end())), "{by:?}");
    }
    // An admin does not take somebody's approvals for themself.
    let cat = user(CAT, &[Role::Admin]);
    assert!(is_denied(&when(&approver(), cat, delegate())));
}

#[test]
fn what_one_has_to_somebody_else_for_a_while() {
    let refused = when(&[ann()], oneself(), delegate());
    assert_eq!(refused, Err(No::NothingToDelegate));
    let of = |command| when(&approver(), oneself(), command);
    assert!(is_invalid(&of(delegate_in(DELEGATION, ANN, 0, 60)), "to"));
    assert!(is_invalid(&of(delegate_in(DELEGATION, CAT, 60, 60)), "until"));
    assert!(is_invalid(&of(delegate_in(DELEGATION, CAT, -60, 0)), "until"));
    assert!(is_invalid(&of(delegate_in(DELEGATION, CAT, -60, 60)), "from"));
    assert!(of(delegate_in(DELEGATION, CAT, 0, MAX_DELEGATION_S)).is_ok());
    assert!(is_invalid(&of(delegate_in(DELEGATION, CAT, 0, MAX_DELEGATION_S + 1)), "until"));
    let with = |is_enabled: bool, why: &str| {
        let mut command = delegate();
        if let C::Delegate { to_is_enabled, reason, .. } = &mut command {
            *to_is_enabled = is_enabled;
            why.clone_into(reason);
        }
        command
    };
    assert!(is_invalid(&of(with(false, "On leave")), "to"));
    assert!(is_invalid(&of(with(true, " ")), "reason"));
    assert!(is_invalid(&of(with(true, &"x".repeat(501))), "reason"));
}

#[test]
fn a_few_at_a_time() {
    let mut events = approver();
    for id in (100_u128..).take(MAX_DELEGATIONS).map(Uuid::from_u128) {
        events.extend(when(&events, oneself(), delegate_in(id, CAT, 0, 60)).unwrap());
    }
    let refused = when(&events, oneself(), delegate());
    assert_eq!(refused, Err(No::TooManyDelegations { most: MAX_DELEGATIONS }));
    // Those that have run out do not count.
    let command = delegate_in(DELEGATION, CAT, 60, 90);
    let asked = Asked { by: oneself(), at: now().plus_seconds(60), command };
    assert!(Person::decide(&given(&events), asked).is_ok());
    assert_eq!(when(&approver_away(), oneself(), delegate()), Ok(Vec::new()));
    let other = when(&approver_away(), oneself(), delegate_in(DELEGATION, BOB, 0, 60));
    assert_eq!(other, Err(No::DelegationExists { delegation: DELEGATION }));
    let none = when(&approver(), oneself(), end());
    assert_eq!(none, Err(No::NoSuchDelegation { delegation: DELEGATION }));
}

#[test]
fn it_ends_with_the_account_and_with_the_role() {
    let later = |events: &[E]| {
        let events = [approver_away(), events.to_vec()].concat();
        given(&events).delegates(CAT, now()).is_some()
    };
    let roles = |roles: &[Role]| E::RolesChanged { roles: roles.to_vec() };
    assert!(later(&[]));
    assert!(later(&[roles(&[Role::Approver, Role::Admin])]));
    assert!(!later(&[roles(&[Role::Viewer])]));
    assert!(!later(&[E::Disabled {}]));
    // For good.
    assert!(!later(&[E::Disabled {}, E::Enabled {}]));
    assert!(!later(&[roles(&[Role::Viewer]), roles(&[Role::Approver])]));
    assert!(!later(&[E::DelegationEnded { delegation: DELEGATION }]));
    let state = given(&approver_away());
    assert!(state.delegates(CAT, now().plus_seconds(3600)).is_none());
    assert!(state.delegates(BOB, now()).is_none());
}
