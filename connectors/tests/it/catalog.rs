//! What every registered connector and action promises before it ever meets a target.

use std::collections::BTreeSet;
use std::path::Path;

use nexplane_connectors::sdk::{AnyAction, AnyConnector, Registry};
use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/catalog.json");

fn actions(registry: &Registry) -> Vec<&dyn AnyAction> {
    registry.connectors().flat_map(AnyConnector::actions).map(|action| &**action).collect()
}

#[test]
fn the_golden_catalog_is_the_one_in_the_schema_folder() {
    let mut text = serde_json::to_string_pretty(&Registry::standard().catalog()).unwrap();
    text.push('\n');
    if std::env::var_os("NEXPLANE_BLESS").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = std::fs::read_to_string(Path::new(GOLDEN)).unwrap_or_default();
    assert!(text == golden, "schema/catalog.json is out of date: run with NEXPLANE_BLESS=1");
}

#[test]
fn entries_are_alphabetical_and_named_after_their_connector() {
    let catalog = Registry::standard().catalog();
    assert!(catalog.connectors.is_sorted_by_key(|connector| &connector.id));
    for connector in &catalog.connectors {
        assert_eq!(connector.managed, !connector.least_privilege.is_empty(), "{}", connector.id);
        assert!(connector.actions.is_sorted_by_key(|action| &action.id), "{}", connector.id);
        for action in &connector.actions {
            assert!(action.id.starts_with(&format!("{}.", connector.id)), "{}", action.id);
            assert!((1..=9).contains(&action.base_risk), "{}", action.id);
            assert!(!action.target_types.is_empty() && !action.permissions.is_empty());
            for kind in &action.target_types {
                assert!(connector.asset_types.contains(kind), "{}: {kind}", action.id);
            }
        }
    }
}

#[test]
fn every_field_is_documented() {
    let catalog = Registry::standard().catalog();
    for connector in &catalog.connectors {
        assert_documented(&connector.credentials, &connector.id);
        for action in &connector.actions {
            assert!(!action.title.is_empty() && !action.description.is_empty());
            assert_documented(&action.parameters, &action.id);
        }
    }
}

fn assert_documented(schema: &Value, at: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.len() > 10, "{at}: field {name} has no description");
        assert_documented(property, &format!("{at}.{name}"));
    }
}

#[test]
fn schemas_are_self_contained_and_examples_valid() {
    for action in actions(&Registry::standard()) {
        let spec = action.spec();
        assert!(!spec.parameters.to_string().contains("$ref"), "{}", spec.id);
        let validator = jsonschema::validator_for(&spec.parameters).unwrap();
        assert!(validator.is_valid(&spec.example), "{}: {}", spec.id, spec.example);
        action.validate(&spec.example).unwrap_or_else(|faults| panic!("{}: {faults:?}", spec.id));
    }
}

#[test]
fn unknown_and_missing_fields_are_refused_by_name() {
    for action in actions(&Registry::standard()) {
        let spec = action.spec();
        let mut unknown = spec.example.clone();
        unknown["nobody_knows_this"] = json!(1);
        let faults = action.validate(&unknown).expect_err(&spec.id);
        assert!(faults.iter().any(|fault| fault.pointer == "/nobody_knows_this"), "{faults:?}");
        for name in spec.parameters["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            let mut missing = spec.example.clone();
            missing.as_object_mut().unwrap().remove(name);
            let faults = action.validate(&missing).expect_err(&spec.id);
            assert!(faults.iter().any(|f| f.pointer == format!("/{name}")), "{faults:?}");
        }
        assert!(action.validate(&json!([])).is_err() && action.validate(&Value::Null).is_err());
    }
}

#[test]
fn credentials_are_checked_by_field_and_secrets_are_marked() {
    let registry = Registry::standard();
    let postgres = registry.connector("postgres").unwrap();
    assert_eq!(postgres.secret_pointers(), ["/password"]);
    let good = json!({ "host": "db", "database": "app", "username": "u", "password": "p" });
    postgres.validate_credentials(&good).unwrap();
    let bad = json!({
        "host": "", "port": 0, "database": "app", "password": 7,
        "ssl_mode": "prefer", "sslmode": "require",
    });
    let faults = postgres.validate_credentials(&bad).expect_err("must be refused");
    let pointers: BTreeSet<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    let expected = ["/host", "/password", "/port", "/ssl_mode", "/sslmode", "/username"];
    assert_eq!(pointers, BTreeSet::from(expected), "{faults:?}");
    assert!(registry.connector("host").unwrap().validate_credentials(&json!({})).is_ok());
}

#[test]
fn unknown_ids_are_not_found() {
    let registry = Registry::standard();
    assert!(registry.connector("oracle").is_none());
    assert!(registry.action("postgres.drop_everything").is_none());
    assert!(registry.action("lock_user").is_none());
}
