//! The golden corpus: `schema/events` holds one real record of every event type and schema version,
//! and the JSON Schema of its data. Records that are checked in are never written again, as stored
//! ones are not; what is missing, and schemas, are written with `NEXPLANE_BLESS=1`.

#![expect(clippy::disallowed_methods, reason = "examples are checked in as files")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call outside of them may fail as they may"
)]

mod corpus;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use nexplane_core::audit::rules;
use nexplane_core::event::upcast::newest;
use nexplane_core::event::{Event, KINDS, Unreadable};
use nexplane_core::id::StreamId;
use nexplane_core::record::{self, Header};
use serde_json::Value;

use self::corpus::{examples, schemas};
use crate::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema/events")
}

fn is_blessed() -> bool {
    std::env::var_os("NEXPLANE_BLESS").is_some()
}

fn kept(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| {
        panic!("schema/events/{name}: {error}. For a new event type, run 'just bless'.")
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The record of an example, as it would be stored.
fn record_of(event: &Event) -> String {
    let encoded = event.encode();
    let (category, _) = encoded.kind.split_once('.').unwrap();
    let id = |no: u128| Uuid::from_u128(0x0190_f3a1_7c00_7000_8000_0000_0000_0000 + no);
    let header = Header {
        id: id(1),
        stream: StreamId { category: category.parse().unwrap(), id: id(2) },
        version: 1,
        kind: encoded.kind,
        schema: encoded.schema,
        at: moment(0),
        actor: Actor::user(PersonId(id(3))),
        command: id(4),
        correlation: id(4),
        causation: id(4),
    };
    record::encode(&header, &encoded.data).unwrap()
}

/// The schema of one event's data, out of the one of all events of its aggregate.
fn schema_of(kind: &str, schemas: &[Value]) -> Value {
    let variant = schemas
        .iter()
        .flat_map(|schema| schema["oneOf"].as_array().unwrap().iter().map(move |v| (schema, v)))
        .find(|(_, variant)| variant["properties"]["type"]["const"] == kind);
    let (whole, variant) = variant.unwrap_or_else(|| panic!("no schema of {kind}"));
    let mut made = serde_json::Map::new();
    made.insert("$schema".to_owned(), whole["$schema"].clone());
    made.insert("title".to_owned(), kind.into());
    if let Some(description) = variant.get("description") {
        made.insert("description".to_owned(), description.clone());
    }
    made.extend(variant["properties"]["data"].as_object().unwrap().clone());
    let mut used = BTreeMap::new();
    reach(&Value::Object(made.clone()), &whole["$defs"], &mut used);
    if !used.is_empty() {
        made.insert("$defs".to_owned(), serde_json::to_value(used).unwrap());
    }
    Value::Object(made)
}

/// The definitions that a schema refers to, directly or through others.
fn reach(schema: &Value, all: &Value, used: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|name| name.strip_prefix("#/$defs/"))
                && !used.contains_key(name)
            {
                used.insert(name.to_owned(), all[name].clone());
                reach(&all[name], all, used);
            }
            map.values().for_each(|inner| reach(inner, all, used));
        }
        Value::Array(items) => items.iter().for_each(|inner| reach(inner, all, used)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One test, because what is written has to be written before it is read.
#[test]
fn golden_events() {
    if is_blessed() {
        write();
    }
    records_are_read_as_they_always_were();
    records_of_older_schemas_can_still_be_read();
    schemas_are_those_of_the_types();
    records_are_valid_by_their_schemas();
    no_file_is_left_over();
}

fn write() {
    fs::create_dir_all(folder()).unwrap();
    for example in examples() {
        let encoded = example.encode();
        let path = folder().join(format!("{}.v{}.json", encoded.kind, encoded.schema));
        if !path.exists() {
            let record: Value = serde_json::from_str(&record_of(&example)).unwrap();
            fs::write(path, pretty(&record)).unwrap();
        }
    }
    let schemas = schemas();
    for kind in KINDS {
        let path = folder().join(format!("{kind}.v{}.schema.json", newest(kind)));
        fs::write(path, pretty(&schema_of(kind, &schemas))).unwrap();
    }
}

#[test]
fn golden_every_event_type_has_an_example() {
    assert!(KINDS.is_sorted_by(|a, b| a < b), "sorted, each once");
    let kinds: BTreeSet<_> = examples().iter().map(|event| event.encode().kind).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| (*kind).to_owned()).collect());
}

fn records_are_read_as_they_always_were() {
    for example in examples() {
        let encoded = example.encode();
        let name = format!("{}.v{}.json", encoded.kind, encoded.schema);
        let record = record::decode(&kept(&name)).unwrap();
        let data = record.data.clone();
        let (header, event) = Event::decode(record).unwrap();
        assert_eq!(event, example, "{name}");
        assert_eq!((&header.kind, header.schema), (&encoded.kind, encoded.schema), "{name}");
        let again: Value = serde_json::from_str(event.encode().data.get()).unwrap();
        assert_eq!(again, data, "{name}");
    }
}

fn records_of_older_schemas_can_still_be_read() {
    for kind in KINDS {
        for schema in 1..newest(kind) {
            let name = format!("{kind}.v{schema}.json");
            let record = record::decode(&kept(&name)).unwrap();
            assert_eq!((record.header.kind.as_str(), record.header.schema), (kind, schema));
            Event::decode(record).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

fn schemas_are_those_of_the_types() {
    let schemas = schemas();
    for kind in KINDS {
        let name = format!("{kind}.v{}.schema.json", newest(kind));
        let made = pretty(&schema_of(kind, &schemas));
        assert_eq!(
            kept(&name),
            made,
            "schema/events/{name} is not what the type says. An optional field may be added ('just \
             bless'); anything else is a new schema version with an upcaster, or a new type."
        );
    }
}

fn records_are_valid_by_their_schemas() {
    for kind in KINDS {
        for schema in 1..=newest(kind) {
            let whole = kept(&format!("{kind}.v{schema}.schema.json"));
            let validator = jsonschema::validator_for(&serde_json::from_str(&whole).unwrap());
            let validator = validator.unwrap();
            let record = record::decode(&kept(&format!("{kind}.v{schema}.json"))).unwrap();
            let errors: Vec<_> =
                validator.iter_errors(&record.data).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{kind} v{schema}: {errors:?}");
            // A schema that says nothing would say yes to anything.
            assert!(!validator.is_valid(&Value::from("no data")), "{kind} v{schema}");
        }
    }
}

fn no_file_is_left_over() {
    let expected: BTreeSet<_> = KINDS
        .iter()
        .flat_map(|kind| (1..=newest(kind)).map(move |schema| format!("{kind}.v{schema}")))
        .flat_map(|name| [format!("{name}.json"), format!("{name}.schema.json")])
        .collect();
    let found: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let left: Vec<_> = found.difference(&expected).collect();
    assert!(left.is_empty(), "no event type has {left:?}");
}

#[test]
fn golden_audit_rules_are_checked_in() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema/audit-rules.json");
    let made = pretty(&serde_json::to_value(rules().collect::<Vec<_>>()).unwrap());
    if is_blessed() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, made, "schema/audit-rules.json is not what the auditor checks: 'just bless'");
}

#[test]
fn a_record_of_tomorrow_is_not_guessed() {
    let read = |alter: fn(&mut record::Record)| {
        let mut record = record::decode(&record_of(&examples()[0])).unwrap();
        alter(&mut record);
        Event::decode(record).map_err(|error| error.source)
    };
    assert!(read(|_| {}).is_ok());
    let newer = read(|record| record.header.schema += 1);
    assert!(matches!(newer, Err(Unreadable::UnknownSchema { newest: 1 })));
    let never = read(|record| record.header.schema = 0);
    assert!(matches!(never, Err(Unreadable::UnknownSchema { newest: 1 })));
    let unknown = read(|record| record.header.kind.push_str("_twice"));
    assert!(matches!(unknown, Err(Unreadable::UnknownType(_))));
    let damaged = read(|record| record.data = Value::Null);
    assert!(matches!(damaged, Err(Unreadable::Data(_))));
    let moved = read(|record| record.header.stream.category = nexplane_core::id::Category::Run);
    assert!(matches!(moved, Err(Unreadable::Data(_))));
}
