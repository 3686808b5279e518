use uuid::Uuid;

use super::event::{CalendarEvent as E, Scope};
use super::{Calendar, CalendarCommand as C, CalendarRejection as No, CalendarState, MAX_FREEZE_S};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{HostId, PersonId};
use crate::risk::Environment;
use crate::time::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

fn given(events: &[E]) -> CalendarState {
    events.iter().fold(CalendarState::default(), |state, event| {
        Calendar::evolve(state, event, admin().actor, at(0))
    })
}

fn when(events: &[E], by: Principal, second: i64, command: C) -> Result<Vec<E>, No> {
    Calendar::decide(&given(events), Asked { by, at: at(second), command })
}

fn person(roles: &[Role]) -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(1))), roles: roles.to_vec() }
}

fn admin() -> Principal {
    person(&[Role::Admin])
}

fn declare_with(scope: Scope, start: i64, end: i64, reason: &str) -> C {
    C::DeclareFreeze { scope, start: at(start), end: at(end), reason: reason.to_owned() }
}

fn declare() -> C {
    declare_with(Scope::All, 10, 100, "closing of the year")
}

fn declared() -> E {
    E::FreezeDeclared {
        scope: Scope::All,
        start: at(10),
        end: at(100),
        reason: "closing of the year".to_owned(),
    }
}

fn end(reason: &str) -> C {
    C::EndFreeze { reason: reason.to_owned() }
}

fn ended() -> E {
    E::FreezeEnded { reason: "done early".to_owned() }
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

#[test]
fn an_admin_declares_a_freeze_once() {
    assert_eq!(when(&[], admin(), 0, declare()), Ok(vec![declared()]));
    for events in [vec![declared()], vec![declared(), ended()]] {
        assert_eq!(when(&events, admin(), 0, declare()).unwrap_err().code(), "calendar.exists");
    }
}

#[test]
fn an_admin_ends_it_early_and_only_once() {
    assert_eq!(when(&[declared()], admin(), 50, end(" done early ")), Ok(vec![ended()]));
    assert_eq!(when(&[declared(), ended()], admin(), 50, end("again")), Ok(Vec::new()));
    assert_eq!(when(&[], admin(), 0, end("done early")).unwrap_err().code(), "not_found");
}

#[test]
fn a_freeze_that_has_not_begun_can_be_ended() {
    assert_eq!(when(&[declared()], admin(), 0, end("done early")), Ok(vec![ended()]));
}

#[test]
fn what_is_over_is_not_ended() {
    assert_eq!(when(&[declared()], admin(), 99, end("done early")), Ok(vec![ended()]));
    let refused = when(&[declared()], admin(), 100, end("done early")).unwrap_err();
    assert_eq!(refused, No::Over { end: at(100) });
    assert_eq!(refused.code(), "calendar.freeze_over");
}

#[test]
fn nobody_else_may() {
    let others: Vec<_> = Role::ALL.into_iter().filter(|role| *role != Role::Admin).collect();
    let machine =
        Principal { actor: Actor::machine(PersonId(Uuid::from_u128(1))), roles: Role::ALL.into() };
    let agent =
        Principal { actor: Actor::agent(HostId(Uuid::from_u128(7))), roles: Role::ALL.into() };
    for by in [person(&others), machine, agent, Principal::SYSTEM] {
        let refused = when(&[], by.clone(), 0, declare()).unwrap_err();
        assert_eq!(refused.code(), "access.denied");
        let refused = when(&[declared()], by, 0, end("done early")).unwrap_err();
        assert_eq!(refused.code(), "access.denied");
    }
}

#[test]
fn its_time_is_bounded_and_not_over_yet() {
    let year = MAX_FREEZE_S;
    let when = |start, end, now| when(&[], admin(), now, declare_with(Scope::All, start, end, "x"));
    assert!(when(-10, 10, 0).is_ok(), "a start in the past is now");
    assert!(when(0, year, 0).is_ok());
    assert!(is_invalid(&when(0, year + 1, 0), "end"));
    assert!(is_invalid(&when(10, 10, 0), "end"));
    assert!(is_invalid(&when(10, 9, 0), "end"));
    assert!(is_invalid(&when(0, 10, 10), "end"));
    assert!(when(0, 10, 9).is_ok());
}

#[test]
fn texts_are_short_and_plain() {
    let tag = |tag: &str| Scope::Tag { tag: tag.to_owned() };
    let with = |scope, reason: &str| when(&[], admin(), 0, declare_with(scope, 0, 10, reason));
    for bad in ["", " ", "a\nb", "a\0", &"x".repeat(41)] {
        assert!(is_invalid(&with(tag(bad), "x"), "scope"), "{bad:?}");
    }
    for bad in ["", " ", "a\0", &"x".repeat(501)] {
        assert!(is_invalid(&with(Scope::All, bad), "reason"), "{bad:?}");
        assert!(is_invalid(&when(&[declared()], admin(), 0, end(bad)), "reason"), "{bad:?}");
    }
    let trimmed = with(tag(" billing "), " x ").unwrap();
    let expected = E::FreezeDeclared {
        scope: tag("billing"),
        start: at(0),
        end: at(10),
        reason: "x".to_owned(),
    };
    assert_eq!(trimmed, vec![expected]);
}

#[test]
fn every_scope_is_kept() {
    let environment = Scope::Environment { environment: Environment::Prod };
    for scope in [Scope::All, environment, Scope::Tag { tag: "billing".to_owned() }] {
        let events = when(&[], admin(), 0, declare_with(scope.clone(), 0, 10, "x")).unwrap();
        let CalendarState::Declared(freeze) = given(&events) else { panic!("not declared") };
        assert_eq!(freeze.scope, scope);
    }
}

#[test]
fn it_is_in_force_from_its_start_until_just_before_its_end() {
    let state = given(&[declared()]);
    for (second, expected) in [(9, false), (10, true), (99, true), (100, false)] {
        assert_eq!(state.is_in_force(at(second)), expected, "{second}");
    }
    assert!(!given(&[declared(), ended()]).is_in_force(at(50)));
    assert!(!CalendarState::Absent.is_in_force(at(50)));
}

#[test]
fn nothing_that_happens_later_brings_an_ended_freeze_back() {
    let events = [declared(), ended()];
    let again = [declared(), ended(), declared(), E::FreezeEnded { reason: "again".to_owned() }];
    assert_eq!(given(&again), given(&events));
    assert_eq!(given(&[ended()]), CalendarState::Absent);
}
