use nexplane_core::asset::event::{AssetEvent as E, Facts, Relation};
use nexplane_core::asset::{Annotations, Asset, AssetCommand as C, AssetState as S, MAX_TAGS};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId};
use nexplane_core::risk::Environment;
use serde_json::json;

use crate::*;

fn facts() -> impl Strategy<Value = Facts> {
    let relation = id().prop_map(|to| Relation { kind: "uses".to_owned(), to: AssetId(to) });
    (text(), any::<bool>(), prop::collection::vec(relation, 0..4)).prop_map(
        |(name, login, relations)| Facts { name, metadata: json!({ "login": login }), relations },
    )
}

fn environment() -> impl Strategy<Value = Environment> {
    prop::sample::select(vec![Environment::Prod, Environment::Staging, Environment::Dev])
}

fn command() -> impl Strategy<Value = C> {
    let annotations = (
        prop::option::of(text()),
        prop::collection::vec(text(), 0..4),
        any::<bool>(),
        prop::option::of(environment()),
    );
    let key = prop_oneof![9 => Just("role/a"), 1 => Just("role/b")];
    let observed = (key, facts(), prop::option::of(id()), environment());
    prop_oneof![
        3 => observed.prop_map(|(key, facts, explained_by, environment)| C::Observe {
            connection: ConnectionId(Uuid::from_u128(9)),
            asset_type: "postgres_role".to_owned(),
            external_key: key.to_owned(),
            environment,
            facts,
            explained_by: explained_by.map(ChangeId),
        }),
        1 => Just(C::MarkGone),
        1 => annotations.prop_map(|(owner, tags, critical, environment)| C::Annotate {
            owner,
            tags,
            critical,
            environment,
        }),
    ]
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        facts().prop_map(|facts| E::Discovered {
            connection: ConnectionId(Uuid::from_u128(9)),
            asset_type: "postgres_role".to_owned(),
            external_key: "role/a".to_owned(),
            environment: Environment::Prod,
            facts,
        }),
        facts().prop_map(|facts| E::Drifted { facts, explained_by: None }),
        Just(E::Gone {}),
        facts().prop_map(|facts| E::Returned { facts }),
        (prop::option::of(text()), any::<bool>()).prop_map(|(owner, critical)| E::Annotated {
            owner,
            tags: Vec::new(),
            critical,
            environment: None,
        }),
    ]
}

const fn parts(state: &S) -> Option<(&Facts, &Annotations)> {
    match state {
        S::Absent => None,
        S::Present(phase) => Some((&phase.facts, &phase.annotations)),
        S::Gone(phase) => Some((&phase.last_facts, &phase.annotations)),
    }
}

#[test]
fn lives_reach_every_phase() {
    let ends: Vec<_> = sample(commands(command()))
        .into_iter()
        .flat_map(life::<Asset>)
        .map(|moment| moment.after)
        .collect();
    assert!(ends.iter().any(|state| matches!(state, S::Present(_))));
    assert!(ends.iter().any(|state| matches!(state, S::Gone(_))));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Asset>(S::Absent, &events);
    }

    #[test]
    fn twice_is_once(commands in commands(command())) {
        for moment in life::<Asset>(commands) {
            if moment.answer.is_ok() {
                prop_assert_eq!(again(&moment), Ok(Vec::new()));
            }
        }
    }

    #[test]
    fn what_is_known_stays_whose_it_is(commands in commands(command())) {
        for moment in life::<Asset>(commands) {
            let Some((facts, annotations)) = parts(&moment.before) else { continue };
            let (now, annotated) = parts(&moment.after).expect("nothing is deleted");
            match moment.command {
                C::Observe { .. } => prop_assert_eq!(annotations, annotated),
                C::MarkGone => prop_assert_eq!((facts, annotations), (now, annotated)),
                C::Annotate { .. } => prop_assert_eq!(facts, now),
            }
        }
    }

    #[test]
    fn what_is_kept_is_in_order(commands in commands(command())) {
        for moment in life::<Asset>(commands) {
            let Some((facts, annotations)) = parts(&moment.after) else { continue };
            prop_assert!(facts.relations.is_sorted_by(|a, b| a < b));
            prop_assert!(annotations.tags.is_sorted_by(|a, b| a < b));
            prop_assert!(annotations.tags.len() <= MAX_TAGS);
        }
    }
}
