use std::collections::BTreeSet;

use uuid::Uuid;

use super::event::{CalendarEvent as E, Scope};
use super::{
    CALENDAR, Calendar, CalendarCommand as C, CalendarRejection as No, CalendarState, End,
    MAX_FREEZE_S,
};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::freeze::Reach;
use crate::id::{FreezeId, HostId, PersonId, WindowId};
use crate::recurrence::Recurrence;
use crate::risk::Environment;
use crate::time::Timestamp;

const FREEZE: FreezeId = FreezeId(Uuid::from_u128(30));
const OTHER: FreezeId = FreezeId(Uuid::from_u128(31));

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

fn given(events: &[E]) -> CalendarState {
    given_at(&events.iter().map(|event| (0, event.clone())).collect::<Vec<_>>())
}

fn given_at(events: &[(i64, E)]) -> CalendarState {
    events.iter().fold(CalendarState::default(), |state, (second, event)| {
        Calendar::evolve(state, event, admin().actor, at(*second))
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
    let (start, end) = (at(start), at(end));
    C::DeclareFreeze { freeze: FREEZE, scope, start, end, reason: reason.to_owned() }
}

fn declare() -> C {
    declare_with(Scope::All, 10, 100, "closing of the year")
}

fn declared_with(freeze: FreezeId, scope: Scope, start: i64, end: i64) -> E {
    let reason = "closing of the year".to_owned();
    E::FreezeDeclared { freeze, scope, start: at(start), end: at(end), reason }
}

fn declared() -> E {
    declared_with(FREEZE, Scope::All, 10, 100)
}

fn end(reason: &str) -> C {
    C::EndFreeze { freeze: FREEZE, reason: reason.to_owned() }
}

fn ended() -> E {
    E::FreezeEnded { freeze: FREEZE, reason: "done early".to_owned() }
}

fn tag(tag: &str) -> Scope {
    Scope::Tag { tag: tag.to_owned() }
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

/// A change in staging with a target tagged `billing`.
fn reach() -> Reach {
    Reach { environments: vec![Environment::Staging], tags: BTreeSet::from(["billing".to_owned()]) }
}

/// What is in the way of that change.
fn in_the_way(events: &[E], second: i64, overridden: &[FreezeId]) -> Vec<FreezeId> {
    let overridden = overridden.iter().copied().collect();
    let frozen = given(events).in_the_way(at(second), &reach(), &overridden);
    frozen.into_iter().map(|frozen| frozen.freeze).collect()
}

#[test]
fn there_is_one_calendar() {
    assert_eq!(CALENDAR.0, Uuid::new_v5(&Uuid::nil(), b"calendar"));
}

#[test]
fn an_admin_declares_a_freeze_once() {
    assert_eq!(when(&[], admin(), 0, declare()), Ok(vec![declared()]));
    for events in [vec![declared()], vec![declared(), ended()]] {
        assert_eq!(when(&events, admin(), 0, declare()).unwrap_err().code(), "calendar.exists");
    }
    let other = declared_with(OTHER, Scope::All, 10, 100);
    assert_eq!(when(&[other], admin(), 0, declare()), Ok(vec![declared()]));
}

#[test]
fn an_admin_ends_it_early_and_only_once() {
    assert_eq!(when(&[declared()], admin(), 50, end(" done early ")), Ok(vec![ended()]));
    assert_eq!(when(&[declared(), ended()], admin(), 50, end("again")), Ok(Vec::new()));
    assert_eq!(when(&[], admin(), 0, end("done early")).unwrap_err().code(), "not_found");
    let other = declared_with(OTHER, Scope::All, 10, 100);
    assert_eq!(when(&[other], admin(), 0, end("done early")).unwrap_err().code(), "not_found");
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
        freeze: FREEZE,
        scope: tag("billing"),
        start: at(0),
        end: at(10),
        reason: "x".to_owned(),
    };
    assert_eq!(trimmed, vec![expected]);
}

#[test]
fn it_is_in_the_way_from_its_start_until_just_before_its_end() {
    for (second, expected) in [(9, false), (10, true), (99, true), (100, false)] {
        assert_eq!(!in_the_way(&[declared()], second, &[]).is_empty(), expected, "{second}");
    }
}

#[test]
fn an_early_end_ends_it_at_once_and_no_other() {
    let other = declared_with(OTHER, Scope::All, 10, 100);
    assert_eq!(in_the_way(&[declared(), ended()], 50, &[]), []);
    assert_eq!(in_the_way(&[declared(), other, ended()], 50, &[]), [OTHER]);
}

#[test]
fn it_covers_what_its_scope_says() {
    let environment = |environment| Scope::Environment { environment };
    for (scope, expected) in [
        (Scope::All, true),
        (environment(Environment::Staging), true),
        (environment(Environment::Prod), false),
        (environment(Environment::Dev), false),
        (tag("billing"), true),
        (tag("Billing"), false),
        (tag("bill"), false),
    ] {
        let events = [declared_with(FREEZE, scope.clone(), 10, 100)];
        assert_eq!(!in_the_way(&events, 50, &[]).is_empty(), expected, "{scope:?}");
    }
}

#[test]
fn each_freeze_is_overridden_by_itself() {
    let both = [declared(), declared_with(OTHER, tag("billing"), 0, 200)];
    assert_eq!(in_the_way(&both, 50, &[]), [OTHER, FREEZE], "what ends last comes first");
    assert_eq!(in_the_way(&both, 50, &[OTHER]), [FREEZE]);
    assert_eq!(in_the_way(&both, 50, &[FREEZE]), [OTHER]);
    assert_eq!(in_the_way(&both, 50, &[FREEZE, OTHER]), []);
}

#[test]
fn nothing_that_happens_later_brings_an_ended_freeze_back() {
    let events = [declared(), ended()];
    let again = E::FreezeEnded { freeze: FREEZE, reason: "again".to_owned() };
    let more = [declared(), ended(), declared(), again];
    assert_eq!(given(&more), given(&events));
    assert_eq!(given(&[ended()]), CalendarState::default());
}

#[test]
fn what_is_long_over_is_forgotten_and_nothing_else() {
    let other = declared_with(OTHER, Scope::All, 200_000, 300_000);
    let kept = given_at(&[(0, declared()), (86_499, other.clone())]);
    assert_eq!(kept.freezes.keys().copied().collect::<Vec<_>>(), [FREEZE, OTHER]);
    let forgotten = given_at(&[(0, declared()), (86_500, other)]);
    assert_eq!(forgotten.freezes.keys().copied().collect::<Vec<_>>(), [OTHER]);
}

/// 1,800,000,000 seconds after 1970 is 2027-01-15T08:00:00Z.
fn window(number: u128, cron: &str, scope: Scope) -> E {
    E::WindowDefined {
        window: WindowId(Uuid::from_u128(number)),
        name: format!("window {number}"),
        scope,
        slots: Recurrence { cron: cron.to_owned(), zone: "UTC".to_owned(), duration_s: 3600 },
    }
}

const HOUR: i64 = 3600;

#[test]
fn what_nothing_covers_is_open_for_good() {
    let opening = given(&[]).opening(at(0), &reach());
    assert!(opening.is_open());
    assert_eq!((opening.ends.clone(), opening.opens), (None, None));
    assert!(
        opening
            .sentence("Changes of app")
            .starts_with("Changes of app may run at 2027-01-15T08:00:00")
    );
}

#[test]
fn an_opening_ends_with_a_freeze_or_with_the_last_of_slots_that_follow_each_other() {
    let slots = [window(1, "0 8 * * *", Scope::All), window(2, "30 8,9 * * *", Scope::All)];
    let ends = |events: &[E], second: i64| given(events).opening(at(second), &reach()).ends;
    // 08:00 to 09:00, 08:30 to 09:30, 09:30 to 10:30.
    assert_eq!(ends(&slots, 0), Some(End::Window { at: at(9000) }));
    let [one, two] = slots;
    let freeze = declared_with(FREEZE, Scope::All, HOUR, 2 * HOUR);
    let frozen = End::Freeze { at: at(HOUR), reason: "closing of the year".to_owned() };
    assert_eq!(ends(&[one, two, freeze.clone(),], 0), Some(frozen.clone()));
    // A freeze that was ended before it began ends nothing, and neither does one of others.
    assert_eq!(ends(std::slice::from_ref(&freeze), 0), Some(frozen));
    assert_eq!(ends(&[freeze, ended()], 0), None);
    assert_eq!(ends(&[declared_with(FREEZE, tag("nobody's"), HOUR, 2 * HOUR)], 0), None);
}

#[test]
fn the_next_opening_is_after_every_freeze_and_inside_a_slot() {
    let daily = window(1, "0 8 * * *", Scope::All);
    let opening = |events: &[E], second: i64| given(events).opening(at(second), &reach());
    let closed = opening(std::slice::from_ref(&daily), 2 * HOUR);
    assert!(!closed.is_open() && closed.frozen.is_empty());
    assert_eq!(closed.opens, Some(at(24 * HOUR)));
    assert!(closed.sentence("Changes").contains("approved and not run"), "{closed:?}");
    // The slot of tomorrow is frozen until half of it is over, and the next freeze begins with the end of that.
    let until = declared_with(FREEZE, Scope::All, 23 * HOUR, 24 * HOUR + 1800);
    let meets = declared_with(OTHER, Scope::All, 24 * HOUR + 1800, 24 * HOUR + 2000);
    let frozen = opening(&[daily.clone(), until.clone(), meets.clone()], 23 * HOUR);
    assert_eq!(frozen.frozen.len(), 1);
    assert_eq!(frozen.opens, Some(at(24 * HOUR + 2000)));
    assert!(frozen.sentence("Changes").contains("neither approved nor run"), "{frozen:?}");
    // All of it is frozen: the day after.
    let longer = declared_with(OTHER, Scope::All, 24 * HOUR, 26 * HOUR);
    assert_eq!(opening(&[daily, until, longer], 23 * HOUR).opens, Some(at(48 * HOUR)));
}

#[test]
fn the_opening_is_what_the_gates_say_at_every_moment() {
    let events = [
        window(1, "*/20 7-12 * * *", Scope::All),
        window(2, "0 8 * * *", Scope::Environment { environment: Environment::Prod }),
        declared_with(FREEZE, Scope::All, 1000, 5000),
        declared_with(OTHER, Scope::All, 4000, 9000),
    ];
    let state = given(&events);
    let is_open = |at: Timestamp| {
        state.in_the_way(at, &reach(), &BTreeSet::new()).is_empty()
            && state.closed(at, &reach()).is_none()
    };
    for second in (0..40 * HOUR).step_by(500) {
        let opening = state.opening(at(second), &reach());
        assert_eq!(opening.is_open(), is_open(at(second)), "{second}");
        if let Some(end) = opening.ends.as_ref().map(End::at) {
            assert!(is_open(end.plus_seconds(-1)) && !is_open(end), "{second}: {opening:?}");
        }
        if let Some(opens) = opening.opens {
            assert!(is_open(opens) && !is_open(opens.plus_seconds(-1)), "{second}: {opening:?}");
        }
        assert!(opening.ends.is_some() || opening.opens.is_some(), "{second}: {opening:?}");
    }
}
