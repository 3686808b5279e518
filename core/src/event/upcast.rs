//! Data of older schema versions, made new when they are read. Stored bytes never change.
//!
//! An upcaster takes the data of one event type from one schema version to the next. It is pure,
//! and it invents nothing: what the older version did not say stays unsaid. A new meaning is a new
//! event type, and an addition is an optional field with a default; neither needs an upcaster.

use serde_json::Value;

/// One step of one event type, to schema version `from + 1`.
#[derive(Clone, Copy, Debug)]
pub struct Upcast {
    pub kind: &'static str,
    /// From 1. The steps of a type follow each other without a gap.
    pub from: u16,
    pub step: fn(Value) -> Value,
}

/// Every step. All event types are at their first schema version.
pub const UPCASTS: &[Upcast] = &[];

/// A schema version that this build has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSchema {
    pub newest: u16,
}

/// The schema version in which events of this type are written.
pub fn newest(kind: &str) -> u16 {
    newest_by(UPCASTS, kind)
}

/// Data as the newest schema version of its type has them.
pub fn upcast(kind: &str, schema: u16, data: Value) -> Result<Value, UnknownSchema> {
    upcast_by(UPCASTS, kind, schema, data)
}

fn newest_by(upcasts: &[Upcast], kind: &str) -> u16 {
    steps(upcasts, kind).map(|upcast| upcast.from.saturating_add(1)).max().unwrap_or(1)
}

fn upcast_by(
    upcasts: &[Upcast],
    kind: &str,
    schema: u16,
    data: Value,
) -> Result<Value, UnknownSchema> {
    let newest = newest_by(upcasts, kind);
    if !(1..=newest).contains(&schema) {
        return Err(UnknownSchema { newest });
    }
    Ok((schema..newest).fold(data, |data, from| {
        let step = steps(upcasts, kind).find(|upcast| upcast.from == from);
        let step = step.expect("a test says that the steps of a type have no gap").step;
        step(data)
    }))
}

fn steps<'a>(upcasts: &'a [Upcast], kind: &'a str) -> impl Iterator<Item = &'a Upcast> {
    upcasts.iter().filter(move |upcast| upcast.kind == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::KINDS;

    /// A type whose name was split in its second version and whose lists were sorted in its third.
    const STEPS: &[Upcast] = &[
        Upcast {
            kind: "person.named",
            from: 1,
            step: |data| {
                let whole = data["name"].as_str().unwrap();
                let (first, last) = whole.split_once(' ').unwrap();
                json!({ "first": first, "last": last, "tags": data["tags"] })
            },
        },
        Upcast {
            kind: "person.named",
            from: 2,
            step: |mut data| {
                data["tags"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
                data
            },
        },
    ];

    #[test]
    fn data_go_through_every_step_from_where_they_are() {
        let first = json!({ "name": "Ada Lovelace", "tags": ["b", "a"] });
        let second = json!({ "first": "Ada", "last": "Lovelace", "tags": ["b", "a"] });
        let third = json!({ "first": "Ada", "last": "Lovelace", "tags": ["a", "b"] });
        for (schema, data) in [(1, first), (2, second), (3, third.clone())] {
            assert_eq!(upcast_by(STEPS, "person.named", schema, data), Ok(third.clone()));
        }
        assert_eq!(newest_by(STEPS, "person.named"), 3);
    }

    #[test]
    fn other_types_stay_as_they_are() {
        let data = json!({ "name": "Ada Lovelace" });
        assert_eq!(upcast_by(STEPS, "person.added", 1, data.clone()), Ok(data));
        assert_eq!(newest_by(STEPS, "person.added"), 1);
    }

    #[test]
    fn what_is_newer_or_was_never_written_is_not_guessed() {
        for (kind, schema, newest) in
            [("person.named", 4, 3), ("person.named", 0, 3), ("person.added", 2, 1)]
        {
            let refused = upcast_by(STEPS, kind, schema, json!({}));
            assert_eq!(refused, Err(UnknownSchema { newest }), "{kind} {schema}");
        }
    }

    #[test]
    fn the_steps_of_every_type_follow_each_other() {
        for (steps, known) in [(UPCASTS, KINDS.as_slice()), (STEPS, &["person.named"])] {
            for upcast in steps {
                assert!(known.contains(&upcast.kind), "{}", upcast.kind);
            }
            for kind in known {
                let mut from: Vec<_> = super::steps(steps, kind).map(|step| step.from).collect();
                from.sort_unstable();
                assert!(from.iter().copied().eq(1..newest_by(steps, kind)), "{kind}: {from:?}");
            }
        }
    }
}
