use nexplane_core::actor::ActorKind;
use nexplane_core::calendar::event::{CalendarEvent as E, Scope};
use nexplane_core::calendar::{
    Calendar, CalendarCommand as C, CalendarState as S, Freeze, MAX_FREEZE_S,
};
use nexplane_core::risk::Environment;

use crate::*;

fn scope() -> impl Strategy<Value = Scope> {
    let environment = prop::sample::select(vec![Environment::Prod, Environment::Dev]);
    prop_oneof![
        Just(Scope::All),
        environment.prop_map(|environment| Scope::Environment { environment }),
        text().prop_map(|tag| Scope::Tag { tag }),
    ]
}

/// Lives last 25 seconds, so that freezes begin and end in them.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![9 => -5..40_i64, 1 => Just(MAX_FREEZE_S)].prop_map(moment)
}

fn command() -> impl Strategy<Value = C> {
    prop_oneof![
        2 => (scope(), time(), time(), text()).prop_map(|(scope, start, end, reason)| {
            C::DeclareFreeze { scope, start, end, reason }
        }),
        1 => text().prop_map(|reason| C::EndFreeze { reason }),
    ]
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        (scope(), time(), time(), text()).prop_map(|(scope, start, end, reason)| {
            E::FreezeDeclared { scope, start, end, reason }
        }),
        text().prop_map(|reason| E::FreezeEnded { reason }),
    ]
}

fn freeze(state: &S) -> Option<&Freeze> {
    match state {
        S::Absent => None,
        S::Declared(freeze) => Some(freeze),
        S::Ended(ended) => Some(&ended.freeze),
    }
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> =
        sample(commands(command())).into_iter().flat_map(life::<Calendar>).collect();
    assert!(moments.iter().any(|moment| moment.after.is_in_force(moment.at)));
    assert!(moments.iter().any(|moment| matches!(moment.after, S::Ended(_))));
    assert!(moments.iter().any(|moment| freeze(&moment.after).is_some_and(|f| f.end <= moment.at)));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Calendar>(S::Absent, &events);
    }

    #[test]
    fn what_was_declared_never_changes(commands in commands(command())) {
        for moment in life::<Calendar>(commands) {
            if let Some(before) = freeze(&moment.before) {
                prop_assert_eq!(freeze(&moment.after), Some(before));
            }
        }
    }

    #[test]
    fn an_end_is_an_end(
        before in prop::collection::vec(event(), 0..10),
        after in prop::collection::vec(event(), 0..25),
    ) {
        let state = fold::<Calendar>(S::Absent, &before);
        if let S::Ended(_) = state {
            prop_assert_eq!(&fold::<Calendar>(state.clone(), &after), &state);
            prop_assert!((0..40).all(|second| !state.is_in_force(moment(second))));
        }
    }

    #[test]
    fn only_admins_signed_in_declare_and_end(commands in commands(command())) {
        for moment in life::<Calendar>(commands) {
            if moment.answer.is_ok() {
                prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
                prop_assert!(moment.by.has(Role::Admin));
            }
        }
    }

    #[test]
    fn a_declared_freeze_is_bounded_and_not_over(commands in commands(command())) {
        for moment in life::<Calendar>(commands) {
            for event in moment.answer.iter().flatten() {
                if let E::FreezeDeclared { start, end, .. } = event {
                    prop_assert!(start < end && moment.at < *end);
                    prop_assert!(end.seconds_since(*start) <= MAX_FREEZE_S);
                }
            }
        }
    }

    #[test]
    fn twice_is_once(commands in commands(command())) {
        for moment in life::<Calendar>(commands) {
            if moment.answer.is_err() {
                continue;
            }
            match moment.command {
                C::DeclareFreeze { .. } => prop_assert!(again(&moment).is_err()),
                C::EndFreeze { .. } => prop_assert_eq!(again(&moment), Ok(Vec::new())),
            }
        }
    }
}
