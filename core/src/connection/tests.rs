use serde_json::json;
use uuid::Uuid;

use super::event::{ConnectionEvent as E, Purpose};
use super::{Connection, ConnectionCommand as C, ConnectionRejection as No, ConnectionState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider, Principal, Reject};
use crate::id::{ChangeId, ConnectionId, HostId, PersonId, SecretId};
use crate::plan::Check;
use crate::risk::Environment;
use crate::time::Timestamp;

const NOW: i64 = 1_800_000_000_000_000;
const CHANGE: Option<ChangeId> = Some(ChangeId(Uuid::from_u128(5)));

fn given(events: &[E]) -> ConnectionState {
    let at = Timestamp::from_micros(NOW);
    events.iter().fold(ConnectionState::default(), |state, event| {
        Connection::evolve(state, event, Actor::SYSTEM, at)
    })
}

fn when(events: &[E], by: Principal, command: C) -> Result<Vec<E>, No> {
    let at = Timestamp::from_micros(NOW);
    Connection::decide(&given(events), Asked { by, at, command })
}

fn person(role: Role) -> Principal {
    Principal { actor: Actor::user(PersonId(Uuid::from_u128(1))), roles: vec![role] }
}

fn machine(role: Role) -> Principal {
    Principal { actor: Actor::machine(PersonId(Uuid::from_u128(1))), roles: vec![role] }
}

fn admin() -> Principal {
    person(Role::Admin)
}

fn secret(n: u128) -> SecretId {
    SecretId(Uuid::from_u128(n))
}

fn create(name: &str) -> C {
    C::Create {
        name: name.to_owned(),
        connector: "postgres".to_owned(),
        environment: Environment::Prod,
        settings: json!({ "host": "db.example" }),
        credentials: Some(secret(1)),
        host: None,
    }
}

fn created() -> E {
    E::Created {
        name: "orders db".to_owned(),
        connector: "postgres".to_owned(),
        environment: Environment::Prod,
        settings: json!({ "host": "db.example" }),
        credentials: Some(secret(1)),
        host: None,
    }
}

fn create_built_in(connector: &str, credentials: Option<SecretId>) -> C {
    C::Create {
        name: "web-1.example".to_owned(),
        connector: connector.to_owned(),
        environment: Environment::Dev,
        settings: json!({}),
        credentials,
        host: Some(HostId(Uuid::from_u128(7))),
    }
}

fn built_in() -> E {
    E::Created {
        name: "web-1.example".to_owned(),
        connector: "host".to_owned(),
        environment: Environment::Dev,
        settings: json!({}),
        credentials: None,
        host: Some(HostId(Uuid::from_u128(7))),
    }
}

fn check(ok: bool) -> Check {
    Check { name: "log in".to_owned(), ok, detail: "as nexplane".to_owned() }
}

fn every_command() -> Vec<C> {
    vec![
        create("orders db"),
        C::Rename { name: "other".to_owned() },
        C::Relabel { environment: Environment::Dev },
        C::ReplaceCredentials { settings: json!({}), credentials: secret(2) },
        C::Remove { host_revoked: false },
        C::RecordTest { checks: vec![check(true)] },
        C::RecordDiscovery { found: 1, new: 1, changed: 0, gone: 0, duration_ms: 3 },
        C::RecordDiscoveryFailure { kind: "denied".to_owned(), reason: "no".to_owned() },
        C::OpenCredentials { purpose: Purpose::Test, change: None, reads_for: None },
    ]
}

fn is_invalid(result: &Result<Vec<E>, No>, expected: &str) -> bool {
    matches!(result, Err(No::Invalid { field, .. }) if *field == expected)
}

#[test]
fn an_admin_creates_a_connection_once() {
    assert_eq!(when(&[], admin(), create(" orders db ")), Ok(vec![created()]));
    assert_eq!(when(&[created()], admin(), create("orders db")), Err(No::Exists));
}

#[test]
fn only_admins_configure() {
    for by in [person(Role::Operator), machine(Role::Admin), Principal::SYSTEM] {
        for command in every_command().into_iter().take(5) {
            let refused = when(&[created()], by.clone(), command).unwrap_err();
            assert_eq!(refused.code(), "access.denied");
        }
    }
}

#[test]
fn names_fit_into_asset_keys() {
    for name in ["a", "A-b_c.d 9", &"x".repeat(80)] {
        assert!(when(&[], admin(), create(name)).is_ok(), "{name}");
    }
    for name in ["", "  ", "a/b", "-a", ".a", "é", "a\nb", &"x".repeat(81)] {
        assert!(is_invalid(&when(&[], admin(), create(name)), "name"), "{name}");
        let rename = C::Rename { name: name.to_owned() };
        assert!(is_invalid(&when(&[created()], admin(), rename), "name"), "{name}");
    }
}

#[test]
fn settings_are_an_object() {
    let replace = C::ReplaceCredentials { settings: json!([]), credentials: secret(2) };
    assert!(is_invalid(&when(&[created()], admin(), replace), "settings"));
}

#[test]
fn only_nexplane_makes_built_in_connections() {
    let make = || create_built_in("host", None);
    assert_eq!(when(&[], Principal::SYSTEM, make()), Ok(vec![built_in()]));
    assert_eq!(when(&[], admin(), make()).unwrap_err().code(), "access.denied");
    let with_credentials = create_built_in("host", Some(secret(1)));
    assert!(is_invalid(&when(&[], Principal::SYSTEM, with_credentials), "credentials"));
    let of_postgres = create_built_in("postgres", None);
    assert!(is_invalid(&when(&[], Principal::SYSTEM, of_postgres), "connector"));
    let without_host = C::Create {
        name: "web-1".to_owned(),
        connector: "host".to_owned(),
        environment: Environment::Dev,
        settings: json!({}),
        credentials: None,
        host: None,
    };
    assert!(is_invalid(&when(&[], admin(), without_host), "connector"));
}

#[test]
fn a_built_in_connection_lives_as_long_as_its_host() {
    let refused = when(&[built_in()], admin(), C::Remove { host_revoked: false }).unwrap_err();
    assert_eq!(refused.code(), "connection.built_in");
    let removed = when(&[built_in()], admin(), C::Remove { host_revoked: true });
    assert_eq!(removed, Ok(vec![E::Removed {}]));
    let replace = C::ReplaceCredentials { settings: json!({}), credentials: secret(2) };
    let refused = when(&[built_in()], admin(), replace).unwrap_err();
    assert_eq!(refused.code(), "connection.built_in");
}

#[test]
fn what_is_so_already_is_no_event() {
    let same = [
        C::Rename { name: "orders db".to_owned() },
        C::Relabel { environment: Environment::Prod },
        C::ReplaceCredentials { settings: json!({ "host": "db.example" }), credentials: secret(1) },
    ];
    for command in same {
        assert_eq!(when(&[created()], admin(), command), Ok(Vec::new()));
    }
}

#[test]
fn a_connection_can_change_everything_but_its_connector() {
    let renamed = C::Rename { name: "orders".to_owned() };
    let expected = vec![E::Renamed { name: "orders".to_owned() }];
    assert_eq!(when(&[created()], admin(), renamed), Ok(expected));
    let relabelled = C::Relabel { environment: Environment::Dev };
    let expected = vec![E::Relabelled { environment: Environment::Dev }];
    assert_eq!(when(&[created()], admin(), relabelled), Ok(expected));
    let replaced = E::CredentialsReplaced { settings: json!({}), credentials: secret(2) };
    let ConnectionState::Active(active) = given(&[created(), replaced]) else {
        panic!("not active");
    };
    assert_eq!((active.settings, active.credentials), (json!({}), Some(secret(2))));
}

#[test]
fn a_test_without_checks_has_not_passed() {
    for (checks, passed) in
        [(Vec::new(), false), (vec![check(true)], true), (vec![check(true), check(false)], false)]
    {
        let record = C::RecordTest { checks: checks.clone() };
        let expected = vec![E::Tested { ok: passed, checks }];
        assert_eq!(when(&[created()], person(Role::Operator), record), Ok(expected));
    }
}

#[test]
fn results_are_recorded_every_time() {
    let discovered = E::Discovered { found: 4, new: 1, changed: 2, gone: 3, duration_ms: 5 };
    for _ in 0..2 {
        let record = C::RecordDiscovery { found: 4, new: 1, changed: 2, gone: 3, duration_ms: 5 };
        let events = [created(), discovered.clone()];
        assert_eq!(when(&events, Principal::SYSTEM, record), Ok(vec![discovered.clone()]));
    }
    let failure = C::RecordDiscoveryFailure { kind: "denied".to_owned(), reason: "no".to_owned() };
    let failed = E::DiscoveryFailed { kind: "denied".to_owned(), reason: "no".to_owned() };
    assert_eq!(when(&[created()], Principal::SYSTEM, failure), Ok(vec![failed]));
}

#[test]
fn machines_open_credentials_to_plan_only() {
    let other = Some(ConnectionId(Uuid::from_u128(9)));
    let open = |purpose, change| C::OpenCredentials { purpose, change, reads_for: other };
    for (purpose, change) in [
        (Purpose::Test, None),
        (Purpose::Discover, None),
        (Purpose::Plan, CHANGE),
        (Purpose::Execute, CHANGE),
    ] {
        let opened = Ok(vec![E::CredentialsOpened { purpose, change, reads_for: other }]);
        for by in [person(Role::Operator), admin(), Principal::SYSTEM] {
            assert_eq!(when(&[created()], by, open(purpose, change)), opened);
        }
        let by_machine = when(&[created()], machine(Role::Operator), open(purpose, change));
        assert_eq!(by_machine.is_ok(), purpose == Purpose::Plan);
        for by in [person(Role::Approver), machine(Role::Viewer)] {
            let refused = when(&[created()], by, open(purpose, change)).unwrap_err();
            assert_eq!(refused.code(), "access.denied");
        }
    }
}

#[test]
fn an_opening_names_its_change() {
    for (purpose, change) in [
        (Purpose::Plan, None),
        (Purpose::Execute, None),
        (Purpose::Test, CHANGE),
        (Purpose::Discover, CHANGE),
    ] {
        let open = C::OpenCredentials { purpose, change, reads_for: None };
        assert!(is_invalid(&when(&[created()], Principal::SYSTEM, open), "change"));
    }
}

#[test]
fn without_credentials_nothing_is_opened() {
    let open = C::OpenCredentials { purpose: Purpose::Discover, change: None, reads_for: None };
    assert_eq!(when(&[built_in()], Principal::SYSTEM, open), Ok(Vec::new()));
}

#[test]
fn a_removed_connection_refuses_everything() {
    let events = [created(), E::Removed {}];
    for command in every_command() {
        let refused = when(&events, admin(), command).unwrap_err();
        assert_eq!(refused, No::Removed { name: "orders db".to_owned() });
        assert_eq!(refused.code(), "connection.removed");
    }
}

#[test]
fn an_absent_connection_can_only_be_created() {
    for command in every_command().into_iter().skip(1) {
        assert_eq!(when(&[], admin(), command), Err(No::NotFound));
    }
}
