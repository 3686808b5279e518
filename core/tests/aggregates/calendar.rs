use nexplane_core::actor::ActorKind;
use nexplane_core::calendar::event::{CalendarEvent as E, Scope};
use nexplane_core::calendar::{
    Calendar, CalendarCommand as C, CalendarState as S, Freeze, MAX_FREEZE_S, Window,
};
use nexplane_core::freeze::Reach;
use nexplane_core::id::{FreezeId, WindowId};
use nexplane_core::recurrence::Recurrence;
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

fn window_id() -> impl Strategy<Value = WindowId> {
    id().prop_map(WindowId)
}

/// Some of them cannot be evaluated.
fn slots() -> impl Strategy<Value = Recurrence> {
    let cron = prop::sample::select(vec!["* * * * *", "0 22 * * 1-5", "0 0 30 2 *", "soon"]);
    let zone = prop::sample::select(vec!["UTC", "Europe/Vienna", "Europe/Nowhere"]);
    (cron, zone, prop::sample::select(vec![0, 60, 3600])).prop_map(|(cron, zone, duration_s)| {
        Recurrence { cron: cron.to_owned(), zone: zone.to_owned(), duration_s }
    })
}

fn command() -> impl Strategy<Value = C> {
    prop_oneof![
        2 => (freeze_id(), scope(), time(), time(), text()).prop_map(
            |(freeze, scope, start, end, reason)| {
                C::DeclareFreeze { freeze, scope, start, end, reason }
            }
        ),
        1 => (freeze_id(), text()).prop_map(|(freeze, reason)| C::EndFreeze { freeze, reason }),
        2 => (window_id(), text(), scope(), slots()).prop_map(
            |(window, name, scope, slots)| C::DefineWindow { window, name, scope, slots }
        ),
        1 => (window_id(), text()).prop_map(|(window, reason)| C::RemoveWindow { window, reason }),
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
        (window_id(), text(), scope(), slots()).prop_map(|(window, name, scope, slots)| {
            E::WindowDefined { window, name, scope, slots }
        }),
        (window_id(), text()).prop_map(|(window, reason)| E::WindowRemoved { window, reason }),
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
    fn a_defined_window_opens_again_and_never_changes_but_for_its_removal(
        commands in commands(command()),
    ) {
        for moment in life::<Calendar>(commands) {
            for (id, before) in &moment.before.windows {
                let after = moment.after.windows.get(id).cloned().expect("it stays");
                prop_assert!(after.removed || !before.removed);
                prop_assert_eq!(Window { removed: before.removed, ..after }, before.clone());
                prop_assert!(before.slots.next_start(moment.at).is_some());
            }
        }
    }

    /// Outside of all that cover it, and of no other, a change has to wait.
    #[test]
    fn a_change_waits_while_none_is_open_that_covers_it(
        events in prop::collection::vec(event(), 0..25),
        second in 0..100_000_i64,
        prod in any::<bool>(),
    ) {
        let state = fold::<Calendar>(S::default(), &events);
        let environment = if prod { Environment::Prod } else { Environment::Dev };
        let reach = Reach { environments: vec![environment], ..Reach::default() };
        let at = moment(second);
        let covering: Vec<_> = state.standing().filter(|w| w.scope.covers(&reach)).collect();
        let open = covering.iter().any(|window| window.slots.open(at).is_some());
        let closed = state.closed(at, &reach);
        prop_assert_eq!(closed.is_some(), !covering.is_empty() && !open);
        let next = covering.iter().filter_map(|window| window.slots.next_start(at)).min();
        if let Some(closed) = closed {
            prop_assert_eq!(closed.opens, next);
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
                C::DeclareFreeze { .. } | C::DefineWindow { .. } => prop_assert!(again(&moment).is_err()),
                C::EndFreeze { .. } | C::RemoveWindow { .. } => prop_assert_eq!(again(&moment), Ok(Vec::new())),
            }
        }
    }
}
