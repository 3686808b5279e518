//! What every registered operation promises, on every kind of host. A new operation is covered the
//! moment it stands in `OPERATIONS`.

use nexplane_agent::host::Host;
use nexplane_agent::operation::{self, Bound, Entry, OPERATIONS};
use serde_json::{Value, json};

use crate::rig::{bound, example, hosts};

fn on_every_host(test: impl Fn(&dyn Host, &'static Entry, &dyn Bound)) {
    for entry in OPERATIONS {
        for (_root, host) in hosts(entry.meta.id) {
            let bound = bound(entry.meta.id, &example(entry, host.as_ref()));
            test(host.as_ref(), entry, bound.as_ref());
        }
    }
}

#[test]
fn the_catalog_is_complete_and_in_order() {
    let catalog = operation::catalog();
    assert!(catalog.is_sorted_by(|a, b| a.id < b.id));
    for spec in catalog {
        let id = &spec.id;
        assert!(id.starts_with("host."), "{id}");
        assert!((1..=9).contains(&spec.base_risk), "{id}");
        assert!(spec.description.len() > 40 && !spec.permissions.is_empty(), "{id}");
        assert_eq!(spec.parameters["additionalProperties"], json!(false), "{id}");
        for (name, property) in spec.parameters["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{id}: {name} is not described");
        }
        for name in spec.example.as_object().unwrap().keys() {
            assert!(spec.parameters["properties"][name].is_object(), "{id}: {name}");
        }
    }
}

#[test]
fn unknown_and_missing_parameters_are_refused() {
    for entry in OPERATIONS {
        let mut parameters = entry.spec().example;
        parameters["surprise"] = json!(1);
        let error = entry.bind(&parameters).unwrap_err();
        assert!(error.to_string().contains("surprise"), "{error}");
        assert!(entry.bind(&json!({})).is_err());
        assert!(entry.bind(&Value::Null).is_err());
    }
}

#[test]
fn validate_accepts_the_example_and_changes_nothing() {
    on_every_host(|host, entry, bound| {
        let before = bound.snapshot(host).unwrap();
        for check in bound.validate(host) {
            assert!(check.ok, "{}: {}: {}", entry.meta.id, check.name, check.detail);
        }
        assert_eq!(bound.snapshot(host).unwrap(), before);
    });
}

#[test]
fn verify_is_not_satisfied_before_apply_and_is_after() {
    on_every_host(|host, entry, bound| {
        let (satisfied, before) = bound.verify(host).unwrap();
        assert!(!satisfied, "{}", entry.meta.id);
        assert!(!bound.diff(host, "h", &before).unwrap().is_empty(), "{}", entry.meta.id);
        bound.apply(host, &before).unwrap();
        let (satisfied, after) = bound.verify(host).unwrap();
        assert!(satisfied, "{}", entry.meta.id);
        assert_eq!(after, bound.intended(host, &before).unwrap(), "{}", entry.meta.id);
        assert!(bound.diff(host, "h", &after).unwrap().is_empty(), "{}", entry.meta.id);
    });
}

#[test]
fn applying_twice_is_applying_once() {
    on_every_host(|host, _, bound| {
        bound.apply(host, &bound.snapshot(host).unwrap()).unwrap();
        let once = bound.snapshot(host).unwrap();
        bound.apply(host, &once).unwrap();
        assert_eq!(bound.snapshot(host).unwrap(), once);
    });
}

#[test]
fn applying_from_a_state_that_has_moved_changes_nothing() {
    on_every_host(|host, _, bound| {
        let stale = bound.snapshot(host).unwrap();
        bound.apply(host, &stale).unwrap();
        let now = bound.snapshot(host).unwrap();
        assert!(bound.apply(host, &stale).is_err());
        assert_eq!(bound.snapshot(host).unwrap(), now);
    });
}

#[test]
fn reverting_restores_exactly_and_twice_is_once() {
    on_every_host(|host, entry, bound| {
        let before = bound.snapshot(host).unwrap();
        bound.apply(host, &before).unwrap();
        assert_ne!(bound.snapshot(host).unwrap(), before, "{}", entry.meta.id);
        bound.revert(host, &before).unwrap();
        assert_eq!(bound.snapshot(host).unwrap(), before, "{}", entry.meta.id);
        bound.revert(host, &before).unwrap();
        assert_eq!(bound.snapshot(host).unwrap(), before, "{}", entry.meta.id);
    });
}

/// The fake's files belong to root.
#[cfg(unix)]
#[test]
fn fingerprints_agree_between_hosts_with_the_same_files() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for entry in OPERATIONS {
        let bound = entry.bind(&entry.spec().example).unwrap();
        let hosts = hosts(entry.meta.id);
        let seen = hosts.iter().map(|(_, host)| bound.snapshot(host.as_ref()).unwrap());
        let seen: Vec<_> = seen.collect();
        let same = seen.iter().all(|one| one.fingerprint == seen[0].fingerprint);
        assert!(same, "{}: {seen:?}", entry.meta.id);
    }
}
