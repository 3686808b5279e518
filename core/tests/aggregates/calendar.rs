use nexplane_core::actor::ActorKind;
use nexplane_core::calendar::event::{CalendarEvent as E, Scope};
use nexplane_core::calendar::{
    Calendar, CalendarCommand as C, CalendarState as S, Freeze, MAX_FREEZE_S,
};
use nexplane_core::id::FreezeId;
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

fn freeze_id() -> impl Strategy<Value = FreezeId> {
    id().prop_map(FreezeId)
}

fn command() -> impl Strategy<Value = C> {
    prop_oneof![
        2 => (freeze_id(), scope(), time(), time(), text()).prop_map(
            |(freeze, scope, start, end, reason)| {
                C::DeclareFreeze { freeze, scope, start, end, reason }
            }
        ),
        1 => (freeze_id(), text()).prop_map(|(freeze, reason)| C::EndFreeze { freeze, reason }),
    ]
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        (freeze_id(), scope(), time(), time(), text()).prop_map(
            |(freeze, scope, start, end, reason)| {
                E::FreezeDeclared { freeze, scope, start, end, reason }
            }
        ),
        (freeze_id(), text()).prop_map(|(freeze, reason)| E::FreezeEnded { freeze, reason }),
    ]
}

/// As declared, without what ended it.
fn declared(freeze: &Freeze) -> Freeze {
    Freeze { ended: None, ..freeze.clone() }
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> =
        sample(commands(command())).into_iter().flat_map(life::<Calendar>).collect();
    let any = |wanted: fn(&Freeze, Timestamp) -> bool| {
        moments
            .iter()
            .any(|moment| moment.after.freezes.values().any(|freeze| wanted(freeze, moment.at)))
    };
    assert!(any(Freeze::is_in_force));
    assert!(any(|freeze, _| freeze.ended.is_some()));
    assert!(any(|freeze, at| freeze.end <= at));
    assert!(moments.iter().any(|moment| moment.after.freezes.len() == 3));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Calendar>(S::default(), &events);
    }

    #[test]
    fn what_was_declared_never_changes(commands in commands(command())) {
        for moment in life::<Calendar>(commands) {
            for (id, before) in &moment.before.freezes {
                let after = moment.after.freezes.get(id).map(declared);
                prop_assert_eq!(after, Some(declared(before)));
            }
        }
    }

    #[test]
    fn an_end_is_an_end(
        before in prop::collection::vec(event(), 0..10),
        after in prop::collection::vec(event(), 0..25),
    ) {
        let state = fold::<Calendar>(S::default(), &before);
        let later = fold::<Calendar>(state.clone(), &after);
        for (id, freeze) in state.freezes.iter().filter(|(_, freeze)| freeze.ended.is_some()) {
            prop_assert_eq!(later.freezes.get(id), Some(freeze));
            prop_assert!((0..40).all(|second| !freeze.is_in_force(moment(second))));
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
