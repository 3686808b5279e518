use serde_json::{Value, json};
use uuid::Uuid;

use super::event::{AssetEvent as E, Facts, Relation};
use super::{Annotations, Asset, AssetCommand as C, AssetRejection as No, AssetState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{AssetId, ChangeId, ConnectionId, PersonId};
use crate::risk::Environment;
use crate::time::Timestamp;

const NOW: i64 = 1_800_000_000_000_000;

fn given(events: &[E]) -> AssetState {
    let at = Timestamp::from_micros(NOW);
    events
        .iter()
        .fold(AssetState::default(), |state, event| Asset::evolve(state, event, Actor::SYSTEM, at))
}

fn when(events: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    let at = Timestamp::from_micros(NOW);
    Asset::decide(&given(events), Asked { by, at, command })
}

fn person(role: Role) -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(1))), roles: vec![role] }
}

fn machine() -> Principal {
    Principal { actor: Actor::machine(PersonId(Uuid::from_u128(1))), roles: Role::ALL.to_vec() }
}

fn relation(to: u128) -> Relation {
    Relation { kind: "member_of".to_owned(), to: AssetId(Uuid::from_u128(to)) }
}

fn facts(metadata: Value, relations: &[u128]) -> Facts {
    let relations = relations.iter().map(|to| relation(*to)).collect();
    Facts { name: "reader".to_owned(), metadata, relations }
}

fn seen_as(external_key: &str, facts: Facts, explained_by: Option<ChangeId>) -> C {
    C::Observe {
        connection: ConnectionId(Uuid::from_u128(9)),
        asset_type: "postgres_role".to_owned(),
        external_key: external_key.to_owned(),
        environment: Environment::Prod,
        facts,
        explained_by,
    }
}

fn observe(facts: Facts) -> C {
    seen_as("role/reader", facts, None)
}

fn discovered(facts: Facts) -> E {
    E::Discovered {
        connection: ConnectionId(Uuid::from_u128(9)),
        asset_type: "postgres_role".to_owned(),
        external_key: "role/reader".to_owned(),
        environment: Environment::Prod,
        facts,
    }
}

fn usual() -> Facts {
    facts(json!({ "login": true }), &[1, 2])
}

fn annotate(owner: Option<&str>, tags: &[&str]) -> C {
    C::Annotate {
        owner: owner.map(str::to_owned),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        critical: true,
        environment: Some(Environment::Dev),
    }
}

fn annotated() -> E {
    E::Annotated {
        owner: Some("team db".to_owned()),
        tags: vec!["a".to_owned(), "b".to_owned()],
        critical: true,
        environment: Some(Environment::Dev),
    }
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

#[test]
fn the_first_observation_discovers_with_sorted_relations() {
    let unsorted = facts(json!({ "login": true }), &[2, 1, 2]);
    let expected = Ok(vec![discovered(usual())]);
    for by in [Principal::SYSTEM, person(Role::Operator), person(Role::Admin)] {
        assert_eq!(when(&[], by, observe(unsorted.clone())), expected);
    }
}

#[test]
fn the_same_facts_are_no_event_in_whatever_order() {
    let again: Facts = serde_json::from_value(json!({
        "name": "reader",
        "metadata": { "login": true },
        "relations": [relation(2), relation(1), relation(1)],
    }))
    .unwrap();
    let result = when(&[discovered(usual())], Principal::SYSTEM, observe(again));
    assert_eq!(result, Ok(Vec::new()));
}

#[test]
fn a_difference_is_a_drift_that_names_its_change_or_none() {
    let moved = facts(json!({ "login": false }), &[1, 2]);
    for explained_by in [None, Some(ChangeId(Uuid::from_u128(3)))] {
        let command = seen_as("role/reader", moved.clone(), explained_by);
        let expected = vec![E::Drifted { facts: moved.clone(), explained_by }];
        assert_eq!(when(&[discovered(usual())], Principal::SYSTEM, command), Ok(expected));
    }
}

#[test]
fn a_vanished_asset_is_gone_once_and_can_return() {
    let events = [discovered(usual()), E::Gone {}];
    assert_eq!(when(&events[..1], Principal::SYSTEM, C::MarkGone), Ok(vec![E::Gone {}]));
    assert_eq!(when(&events, Principal::SYSTEM, C::MarkGone), Ok(Vec::new()));
    let returned = E::Returned { facts: usual() };
    assert_eq!(when(&events, Principal::SYSTEM, observe(usual())), Ok(vec![returned]));
}

#[test]
fn an_asset_stays_what_it_is() {
    for events in [vec![discovered(usual())], vec![discovered(usual()), E::Gone {}]] {
        let other = seen_as("role/writer", usual(), None);
        let refused = when(&events, Principal::SYSTEM, other).unwrap_err();
        assert_eq!(refused.code(), "asset.other_identity");
    }
}

#[test]
fn an_asset_has_a_key() {
    let keyless = seen_as("", usual(), None);
    assert!(is_invalid(&when(&[], Principal::SYSTEM, keyless), "external_key"));
}

#[test]
fn a_relabelled_connection_is_no_drift() {
    let relabelled = C::Observe {
        connection: ConnectionId(Uuid::from_u128(9)),
        asset_type: "postgres_role".to_owned(),
        external_key: "role/reader".to_owned(),
        environment: Environment::Staging,
        facts: usual(),
        explained_by: None,
    };
    assert_eq!(when(&[discovered(usual())], Principal::SYSTEM, relabelled), Ok(Vec::new()));
}

#[test]
fn operators_annotate_and_tags_are_a_set() {
    let wanted = || annotate(Some(" team db "), &["b", " a", "b"]);
    for by in [person(Role::Operator), person(Role::Admin)] {
        assert_eq!(when(&[discovered(usual())], by.clone(), wanted()), Ok(vec![annotated()]));
        let again = when(&[discovered(usual()), annotated()], by.clone(), wanted());
        assert_eq!(again, Ok(Vec::new()));
        let gone = when(&[discovered(usual()), E::Gone {}], by, wanted());
        assert_eq!(gone, Ok(vec![annotated()]));
    }
}

#[test]
fn annotations_are_bounded() {
    let by = || person(Role::Operator);
    let events = [discovered(usual())];
    let long = "x".repeat(41);
    for tags in [vec![""], vec!["  "], vec![long.as_str()], vec!["a\tb"]] {
        assert!(is_invalid(&when(&events, by(), annotate(None, &tags)), "tags"), "{tags:?}");
    }
    let many: Vec<_> = (0..21).map(|n| format!("tag {n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(is_invalid(&when(&events, by(), annotate(None, &many)), "tags"));
    assert!(when(&events, by(), annotate(None, &many[..20])).is_ok());
    for owner in ["", "x\ny", &"x".repeat(101)] {
        assert!(is_invalid(&when(&events, by(), annotate(Some(owner), &[])), "owner"));
    }
}

#[test]
fn discovery_and_operators_do_not_overwrite_each_other() {
    let moved = facts(json!({ "login": false }), &[]);
    let drifted = E::Drifted { facts: moved.clone(), explained_by: None };
    let returned = E::Returned { facts: moved.clone() };
    let ours = Annotations {
        owner: Some("team db".to_owned()),
        tags: vec!["a".to_owned(), "b".to_owned()],
        critical: true,
        environment: Some(Environment::Dev),
    };
    for events in [
        vec![discovered(usual()), annotated(), drifted.clone()],
        vec![discovered(usual()), drifted, annotated()],
        vec![discovered(usual()), annotated(), E::Gone {}, returned.clone()],
        vec![discovered(usual()), E::Gone {}, annotated(), returned],
    ] {
        let AssetState::Present(present) = given(&events) else { panic!("not present") };
        assert_eq!((present.facts, present.annotations), (moved.clone(), ours.clone()));
        assert_eq!(present.identity.environment, Environment::Prod);
    }
}

#[test]
fn what_an_asset_was_outlives_it() {
    let AssetState::Gone(gone) = given(&[discovered(usual()), annotated(), E::Gone {}]) else {
        panic!("not gone");
    };
    assert_eq!(gone.last_facts, usual());
    assert_eq!(gone.annotations.owner.as_deref(), Some("team db"));
    assert_eq!(gone.since, Timestamp::from_micros(NOW));
}

#[test]
fn others_neither_observe_nor_annotate() {
    let others = [person(Role::Viewer), person(Role::Approver), person(Role::Auditor), machine()];
    for by in others {
        for command in [observe(usual()), C::MarkGone, annotate(None, &[])] {
            let refused = when(&[discovered(usual())], by.clone(), command).unwrap_err();
            assert_eq!(refused.code(), "access.denied");
        }
    }
    let refused = when(&[discovered(usual())], Principal::SYSTEM, annotate(None, &[])).unwrap_err();
    assert_eq!(refused.code(), "access.denied");
}

#[test]
fn an_unknown_asset_can_only_be_observed() {
    assert_eq!(when(&[], Principal::SYSTEM, C::MarkGone), Err(No::NotFound));
    assert_eq!(when(&[], person(Role::Admin), annotate(None, &[])), Err(No::NotFound));
}
