//! JSON Schemas of parameters and credentials: made from the Rust types, and used to say of each
//! field what is wrong with it. Deserialising has the last word; this only gives better answers.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::FieldError;

/// The schema of a type, self-contained, without the type's Rust name.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.remove("title");
    }
    schema
}

/// JSON pointers of all fields that the schema marks as secret.
pub fn secret_pointers(schema: &Value) -> Vec<String> {
    fn walk(schema: &Value, pointer: &str, found: &mut Vec<String>) {
        if schema.get("x-secret") == Some(&Value::Bool(true)) {
            found.push(pointer.to_owned());
        }
        for (name, property) in properties(schema) {
            walk(property, &child(pointer, name), found);
        }
        for branch in branches(schema) {
            walk(branch, pointer, found);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found.sort();
    found.dedup();
    found
}

/// Checks a value and turns it into its type. The faults name fields, never values.
pub fn parse<T: DeserializeOwned>(schema: &Value, value: &Value) -> Result<T, Vec<FieldError>> {
    check(schema, value)?;
    serde_json::from_value(value.clone()).map_err(|error| {
        // The text can quote the value, which may be a secret.
        let reason = if error.is_data() {
            redact_quotes(&error.to_string())
        } else {
            "is not valid".to_owned()
        };
        vec![FieldError::new("", reason)]
    })
}

/// Checks a value against a schema: the keywords that our schemas use.
pub fn check(schema: &Value, value: &Value) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    walk(schema, value, "", &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn walk(schema: &Value, value: &Value, pointer: &str, faults: &mut Vec<FieldError>) {
    let mut fault = |reason: String| faults.push(FieldError::new(pointer, reason));
    if let Some(types) = schema.get("type")
        && !has_type(types, value)
    {
        return fault(format!("must be {}", names(types)));
    }
    if let Some(Value::Array(allowed)) = schema.get("enum")
        && !allowed.contains(value)
    {
        return fault(format!("must be one of {}", names(&Value::Array(allowed.clone()))));
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        return fault(format!("must be {constant}"));
    }
    let branches: Vec<_> = branches(schema).collect();
    if !branches.is_empty() && !branches.iter().any(|branch| check(branch, value).is_ok()) {
        let constants: Vec<_> =
            branches.iter().filter_map(|branch| branch.get("const")).cloned().collect();
        return fault(if constants.len() == branches.len() {
            format!("must be one of {}", names(&Value::Array(constants)))
        } else {
            "has none of the allowed forms".to_owned()
        });
    }
    match value {
        Value::String(text) => string(schema, text, &mut fault),
        Value::Number(number) => {
            if let (Some(least), Some(it)) = (limit(schema, "minimum"), number.as_i64())
                && it < least
            {
                fault(format!("must be at least {least}"));
            }
            if let (Some(most), Some(it)) = (limit(schema, "maximum"), number.as_i64())
                && it > most
            {
                fault(format!("must be at most {most}"));
            }
        }
        Value::Array(items) => {
            if let Some(most) = limit(schema, "maxItems")
                && i64::try_from(items.len()).is_ok_and(|count| count > most)
            {
                fault(format!("must have at most {most} entries"));
            }
            if let Some(item_schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    walk(item_schema, item, &format!("{pointer}/{index}"), faults);
                }
            }
        }
        Value::Object(map) => object(schema, map, pointer, faults),
        Value::Null | Value::Bool(_) => {}
    }
}

fn string(schema: &Value, text: &str, fault: &mut impl FnMut(String)) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(least) = limit(schema, "minLength")
        && length < least
    {
        fault(if least == 1 {
            "must not be empty".to_owned()
        } else {
            format!("must have at least {least} characters")
        });
    }
    if let Some(most) = limit(schema, "maxLength")
        && length > most
    {
        fault(format!("must have at most {most} characters"));
    }
}

fn object(schema: &Value, map: &Map<String, Value>, pointer: &str, faults: &mut Vec<FieldError>) {
    if let Some(Value::Array(required)) = schema.get("required") {
        for name in required.iter().filter_map(Value::as_str) {
            if !map.contains_key(name) {
                faults.push(FieldError::new(child(pointer, name), "is required"));
            }
        }
    }
    let known = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, item) in map {
        match known.and_then(|known| known.get(name)) {
            Some(property) => walk(property, item, &child(pointer, name), faults),
            None if closed => {
                faults.push(FieldError::new(child(pointer, name), "is not a known field"));
            }
            None => {}
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

fn limit(schema: &Value, key: &str) -> Option<i64> {
    schema.get(key)?.as_i64()
}

/// RFC 6901 §3: `~` and `/` in a name are escaped.
fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(several) => several.iter().filter_map(Value::as_str).any(is),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}

fn names(types: &Value) -> String {
    match types {
        Value::Array(several) => several.iter().map(names).collect::<Vec<_>>().join(", "),
        Value::String(name) => name.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => types.to_string(),
    }
}

fn redact_quotes(text: &str) -> String {
    // serde quotes values with " and names with `; what is between " is a value.
    text.split('"')
        .enumerate()
        .map(|(index, part)| if index % 2 == 0 { part } else { "…" })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::sdk::SecretText;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        /// One.
        One,
        /// Two.
        Two,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Request {
        /// Name.
        #[schemars(length(min = 1, max = 5))]
        name: String,
        /// Port.
        #[serde(default)]
        port: Option<u16>,
        /// Mode.
        #[serde(default)]
        mode: Option<Mode>,
        /// Secret.
        password: SecretText,
    }

    fn faults(value: &Value) -> Vec<(String, String)> {
        parse::<Request>(&of::<Request>(), value)
            .expect_err("must have faults")
            .into_iter()
            .map(|fault| (fault.pointer, fault.reason))
            .collect()
    }

    #[test]
    fn every_fault_is_named_at_its_field() {
        let value = json!({ "name": "", "port": 70_000, "extra/x": 1, "mode": "three" });
        let mut found = faults(&value);
        found.sort();
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/extra~1x", "/mode", "/name", "/password", "/port"], "{found:?}");
    }

    #[test]
    fn values_do_not_appear_in_faults() {
        let found = faults(&json!({ "name": "x", "password": ["topsecret"] }));
        assert!(!format!("{found:?}").contains("topsecret"));
        assert_eq!(redact_quotes(r#"invalid: "topsecret", ok"#), "invalid: …, ok");
    }

    #[test]
    fn secrets_are_found() {
        assert_eq!(secret_pointers(&of::<Request>()), ["/password"]);
    }

    #[test]
    fn what_is_right_passes() {
        let value = json!({ "name": "x", "port": null, "mode": "two", "password": "p" });
        parse::<Request>(&of::<Request>(), &value).unwrap();
    }
}
