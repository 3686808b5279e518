mod delegation;

use uuid::Uuid;

use super::event::{PersonEvent as E, TokenKind};
use super::{Person, PersonCommand as C, PersonRejection as No, PersonState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::PersonId;
use crate::time::Timestamp;

const NOW: i64 = 1_800_000_000_000_000;
/// Whose stream it is.
const ANN: PersonId = PersonId(Uuid::from_u128(1));
const BOB: PersonId = PersonId(Uuid::from_u128(2));
const SESSION: Uuid = Uuid::from_u128(3);
const TOKEN: Uuid = Uuid::from_u128(4);

fn now() -> Timestamp {
    Timestamp::from_micros(NOW)
}

fn given(events: &[E]) -> PersonState {
    events.iter().fold(PersonState::default(), |state, event| {
        Person::evolve(state, event, Actor::SYSTEM, now())
    })
}

fn when(events: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    Person::decide(&given(events), Asked { by, at: now(), command })
}

fn user(id: PersonId, roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(id), roles: roles.to_vec() }
}

fn admin() -> Principal {
    user(BOB, &[Role::Admin])
}

fn oneself() -> Principal {
    user(ANN, &[Role::Operator])
}

/// Ann's machine token; the roles are hers.
fn machine() -> Principal {
    Principal { actor: Actor::machine(ANN), roles: Role::ALL.to_vec() }
}

fn added(roles: &[Role]) -> E {
    E::Added { roles: roles.to_vec() }
}

fn ann() -> E {
    added(&[Role::Operator])
}

fn change_roles(roles: &[Role], other_admins: u32) -> C {
    C::ChangeRoles { roles: roles.to_vec(), other_admins }
}

fn sign_in() -> C {
    C::SignIn { person: ANN, session: SESSION }
}

fn sign_out() -> C {
    C::SignOut { person: ANN, session: SESSION }
}

fn create_token(expires_at: Option<Timestamp>) -> C {
    C::CreateToken { person: ANN, token: TOKEN, kind: TokenKind::Machine, expires_at }
}

fn created_token() -> E {
    E::TokenCreated { token: TOKEN, kind: TokenKind::Machine, expires_at: None }
}

fn revoke_token() -> C {
    C::RevokeToken { person: ANN, token: TOKEN }
}

fn invite(person: PersonId, hostname: Option<&str>, in_seconds: i64) -> C {
    let expires_at = now().plus_seconds(in_seconds);
    C::InviteAgent { person, hostname: hostname.map(str::to_owned), expires_at }
}

fn every_command() -> Vec<C> {
    vec![
        C::Add { roles: vec![Role::Viewer] },
        change_roles(&[Role::Viewer], 1),
        C::Disable { other_admins: 1 },
        C::Enable,
        C::SetPassword { person: ANN },
        create_token(None),
        revoke_token(),
        sign_in(),
        sign_out(),
        invite(ANN, None, 900),
        delegation::delegate(),
        delegation::end(),
    ]
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

fn is_denied(result: &Result<Vec<E>, No>) -> bool {
    matches!(result, Err(no) if no.code() == "access.denied")
}

#[test]
fn people_are_added_once_with_a_set_of_roles() {
    let roles = vec![Role::Approver, Role::Operator, Role::Approver];
    let expected = Ok(vec![added(&[Role::Operator, Role::Approver])]);
    for by in [admin(), Principal::SYSTEM] {
        assert_eq!(when(&[], by, C::Add { roles: roles.clone() }), expected);
    }
    assert_eq!(when(&[ann()], admin(), C::Add { roles }), Err(No::Exists));
    assert!(is_invalid(&when(&[], admin(), C::Add { roles: Vec::new() }), "roles"));
}

#[test]
fn only_admins_manage_people() {
    for by in [oneself(), machine(), user(BOB, &[Role::Auditor, Role::Approver])] {
        for command in every_command().into_iter().take(4) {
            assert!(is_denied(&when(&[ann()], by.clone(), command)));
        }
    }
}

#[test]
fn a_machine_token_is_not_the_person() {
    for command in every_command() {
        assert!(is_denied(&when(&[ann(), created_token()], machine(), command)));
    }
}

#[test]
fn a_token_that_acts_as_a_person_is_made_by_that_person() {
    let token = |kind| C::CreateToken { person: ANN, token: TOKEN, kind, expires_at: None };
    assert!(is_denied(&when(&[ann()], admin(), token(TokenKind::User))));
    assert!(when(&[ann()], admin(), token(TokenKind::Machine)).is_ok());
    for by in [oneself(), Principal::SYSTEM] {
        assert!(when(&[ann()], by, token(TokenKind::User)).is_ok());
    }
}

#[test]
fn roles_change_as_a_whole() {
    let result = when(&[ann()], admin(), change_roles(&[Role::Admin, Role::Viewer], 1));
    assert_eq!(result, Ok(vec![E::RolesChanged { roles: vec![Role::Viewer, Role::Admin] }]));
    let same = change_roles(&[Role::Operator, Role::Operator], 1);
    assert_eq!(when(&[ann()], admin(), same), Ok(Vec::new()));
    assert!(is_invalid(&when(&[ann()], admin(), change_roles(&[], 1)), "roles"));
}

#[test]
fn the_last_admin_stays_one() {
    let boss = added(&[Role::Operator, Role::Admin]);
    for by in [admin(), Principal::SYSTEM] {
        for command in [change_roles(&[Role::Operator], 0), C::Disable { other_admins: 0 }] {
            let refused = when(std::slice::from_ref(&boss), by.clone(), command).unwrap_err();
            assert_eq!(refused.code(), "person.last_admin");
        }
        for command in [
            change_roles(&[Role::Admin], 0),
            change_roles(&[Role::Operator], 1),
            C::Disable { other_admins: 1 },
        ] {
            let result = when(std::slice::from_ref(&boss), by.clone(), command).unwrap();
            assert_eq!(result.len(), 1);
        }
        let result = when(&[ann()], by, C::Disable { other_admins: 0 });
        assert_eq!(result, Ok(vec![E::Disabled {}]));
    }
}

#[test]
fn a_disabled_admin_is_nobodys_last() {
    let events = [added(&[Role::Admin]), E::Disabled {}];
    let changed = when(&events, admin(), change_roles(&[Role::Viewer], 0));
    assert_eq!(changed, Ok(vec![E::RolesChanged { roles: vec![Role::Viewer] }]));
}

#[test]
fn disabling_and_enabling_twice_is_once() {
    let disabled = [ann(), E::Disabled {}];
    assert_eq!(when(&disabled, admin(), C::Disable { other_admins: 1 }), Ok(Vec::new()));
    assert_eq!(when(&disabled, admin(), C::Enable), Ok(vec![E::Enabled {}]));
    assert_eq!(when(&[ann()], admin(), C::Enable), Ok(Vec::new()));
}

#[test]
fn a_disabled_person_gets_in_by_no_way() {
    let events = [ann(), created_token(), E::Disabled {}];
    for command in [sign_in(), create_token(None), C::SetPassword { person: ANN }] {
        let refused = when(&events, oneself(), command).unwrap_err();
        assert_eq!(refused, No::Disabled { since: now() });
        assert_eq!(refused.code(), "person.disabled");
    }
    for command in [sign_in(), create_token(None)] {
        let refused = when(&events, Principal::SYSTEM, command).unwrap_err();
        assert_eq!(refused.code(), "person.disabled");
    }
    let by_ann = user(ANN, &[Role::Admin]);
    let refused = when(&events, by_ann, invite(ANN, None, 900)).unwrap_err();
    assert_eq!(refused.code(), "person.disabled");
    let reset = when(&events, admin(), C::SetPassword { person: ANN });
    assert_eq!(reset, Ok(vec![E::PasswordSet {}]));
    let revoked = when(&events, admin(), revoke_token());
    assert_eq!(revoked, Ok(vec![E::TokenRevoked { token: TOKEN }]));
}

#[test]
fn disabling_ends_sessions_and_keeps_tokens() {
    let events =
        [ann(), E::SignedIn { session: SESSION }, created_token(), E::Disabled {}, E::Enabled {}];
    let PersonState::Active(active) = given(&events) else { panic!("not active") };
    assert!(active.sessions.is_empty());
    assert!(active.tokens.contains_key(&TOKEN));
    let again = when(&events, Principal::SYSTEM, sign_in());
    assert_eq!(again, Ok(vec![E::SignedIn { session: SESSION }]));
}

#[test]
fn a_session_begins_and_ends_once() {
    let events = [ann(), E::SignedIn { session: SESSION }];
    for by in [oneself(), Principal::SYSTEM] {
        let signed_in = Ok(vec![E::SignedIn { session: SESSION }]);
        assert_eq!(when(&[ann()], by.clone(), sign_in()), signed_in);
        assert_eq!(when(&events, by.clone(), sign_in()), Ok(Vec::new()));
        let signed_out = Ok(vec![E::SignedOut { session: SESSION }]);
        assert_eq!(when(&events, by.clone(), sign_out()), signed_out);
        assert_eq!(when(&[ann()], by, sign_out()), Ok(Vec::new()));
    }
    for command in [sign_in(), sign_out()] {
        assert!(is_denied(&when(&events, admin(), command)));
    }
}

#[test]
fn passwords_are_set_by_oneself_or_an_admin() {
    for by in [oneself(), admin(), Principal::SYSTEM] {
        let set = when(&[ann(), E::PasswordSet {}], by, C::SetPassword { person: ANN });
        assert_eq!(set, Ok(vec![E::PasswordSet {}]));
    }
    let other = user(BOB, &[Role::Operator]);
    assert!(is_denied(&when(&[ann()], other, C::SetPassword { person: ANN })));
}

#[test]
fn a_token_is_made_once_and_revoked_for_good() {
    let made = [ann(), created_token()];
    let revoked = [ann(), created_token(), E::TokenRevoked { token: TOKEN }];
    for by in [oneself(), admin(), Principal::SYSTEM] {
        assert_eq!(when(&[ann()], by.clone(), create_token(None)), Ok(vec![created_token()]));
        assert_eq!(when(&made, by.clone(), create_token(None)), Ok(Vec::new()));
        let other = create_token(Some(now().plus_seconds(60)));
        assert_eq!(when(&made, by.clone(), other), Err(No::TokenExists { token: TOKEN }));
        let revoke = when(&made, by.clone(), revoke_token());
        assert_eq!(revoke, Ok(vec![E::TokenRevoked { token: TOKEN }]));
        assert_eq!(when(&revoked, by.clone(), revoke_token()), Ok(Vec::new()));
        let refused = when(&revoked, by.clone(), create_token(None)).unwrap_err();
        assert_eq!(refused.code(), "person.token_exists");
        let unknown = when(&[ann()], by, revoke_token()).unwrap_err();
        assert_eq!(unknown.code(), "not_found");
    }
    let ended = create_token(Some(now()));
    assert!(is_invalid(&when(&[ann()], oneself(), ended), "expires_at"));
}

#[test]
fn nothing_that_happens_later_brings_a_revoked_token_back() {
    let mut events = vec![ann(), created_token(), E::TokenRevoked { token: TOKEN }];
    let after = given(&events);
    events.push(created_token());
    assert_eq!(given(&events), after);
}

#[test]
fn an_admin_invites_agents_in_their_own_name() {
    let by = || user(ANN, &[Role::Admin]);
    let events = [added(&[Role::Admin])];
    let invited = |hostname: Option<&str>| E::AgentInvited {
        hostname: hostname.map(str::to_owned),
        expires_at: now().plus_seconds(900),
    };
    for hostname in [None, Some("web-1")] {
        let result = when(&events, by(), invite(ANN, hostname, 900));
        assert_eq!(result, Ok(vec![invited(hostname)]));
    }
    assert!(is_denied(&when(&events, by(), invite(BOB, None, 900))));
    assert!(is_denied(&when(&events, oneself(), invite(ANN, None, 900))));
    assert!(is_denied(&when(&events, Principal::SYSTEM, invite(ANN, None, 900))));
    assert!(is_invalid(&when(&events, by(), invite(ANN, Some("a b"), 900)), "hostname"));
    for seconds in [-1, 0, MAX_S + 1] {
        assert!(is_invalid(&when(&events, by(), invite(ANN, None, seconds)), "expires_at"));
    }
    assert!(when(&events, by(), invite(ANN, None, MAX_S)).is_ok());
}

const MAX_S: i64 = super::MAX_INVITATION_S;

#[test]
fn an_absent_person_can_only_be_added() {
    for command in every_command().into_iter().skip(1) {
        let by = match command {
            C::InviteAgent { .. } => user(ANN, &[Role::Admin]),
            C::Add { .. }
            | C::ChangeRoles { .. }
            | C::Disable { .. }
            | C::Enable
            | C::SetPassword { .. }
            | C::SignIn { .. }
            | C::SignOut { .. }
            | C::CreateToken { .. }
            | C::RevokeToken { .. } => Principal::SYSTEM,
            C::Delegate { .. } | C::EndDelegation { .. } => admin(),
        };
        assert_eq!(when(&[], by, command), Err(No::NotFound));
    }
}
