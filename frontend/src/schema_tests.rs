use serde_json::json;

use super::*;

fn postgres() -> Value {
    json!({
        "type": "object",
        "properties": {
            "host": { "type": "string", "description": "Name or address." },
            "port": { "type": "integer", "format": "uint16", "minimum": 1, "maximum": 65535, "default": 5432 },
            "password": { "type": "string", "x-secret": true },
            "ssl_mode": { "$ref": "#/$defs/SslMode", "default": "verify_full" },
            "ca_certificate": { "type": ["string", "null"], "x-multiline": true }
        },
        "required": ["host", "password"],
        "additionalProperties": false,
        "$defs": { "SslMode": { "title": "SslMode", "oneOf": [
            { "const": "disable", "description": "No encryption." },
            { "const": "verify_full", "description": "Certificate and name." }
        ]}}
    })
}

fn any(_: &str, _: &str) -> bool {
    true
}

#[test]
fn required_fields_come_first_and_in_order() {
    let fields = fields(&postgres());
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    // The others follow the map's own order, which is sorted or as sent: both are fine to read.
    let (required, mut others) = (&names[..2], names[2..].to_vec());
    others.sort_unstable();
    assert_eq!(required, ["host", "password"]);
    assert_eq!(others, ["ca_certificate", "port", "ssl_mode"]);
    assert!(fields[0].required && !fields[3].required);
    assert_eq!(fields[0].help, "Name or address.");
}

#[test]
fn kinds_follow_the_schema() {
    let fields = fields(&postgres());
    let kind = |name: &str| fields.iter().find(|f| f.name == name).unwrap().kind.clone();
    assert_eq!(kind("password"), Kind::Text(Text { secret: true, ..Text::default() }));
    assert_eq!(kind("ca_certificate"), Kind::Text(Text { multiline: true, ..Text::default() }));
    assert_eq!(
        kind("port"),
        Kind::Number { integer: true, minimum: Some(1.0), maximum: Some(65_535.0) }
    );
    let Kind::Choice(choices) = kind("ssl_mode") else { panic!("ssl_mode is a choice") };
    assert_eq!(choices[1].value, json!("verify_full"));
    assert_eq!(choices[1].help, "Certificate and name.");
}

#[test]
fn optional_references_and_booleans_can_stay_unsaid() {
    let schema = json!({
        "properties": {
            "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
            "persist": { "type": ["boolean", "null"] },
            "purge": { "type": "boolean", "default": false },
            "tags": { "type": "array", "items": { "type": "string" } },
            "rules": { "type": "array", "items": { "type": "object" } }
        },
        "$defs": { "Mode": { "type": "string", "enum": ["a", "b"] } }
    });
    let fields = fields(&schema);
    let kind = |name: &str| &fields.iter().find(|f| f.name == name).unwrap().kind;
    assert!(matches!(kind("mode"), Kind::Choice(choices) if choices.len() == 2));
    assert!(matches!(kind("persist"), Kind::Choice(choices) if choices[0].label == "Yes"));
    assert_eq!(*kind("purge"), Kind::Toggle);
    assert_eq!(*kind("tags"), Kind::Lines);
    assert_eq!(*kind("rules"), Kind::Json);
    let empty = filled(&fields, &Value::Null);
    assert_eq!(to_json(&fields, &empty, any), Ok(json!({ "purge": false })));
}

#[test]
fn a_cycle_of_references_ends() {
    let schema = json!({
        "properties": { "a": { "$ref": "#/$defs/A" } },
        "$defs": { "A": { "$ref": "#/$defs/A" } }
    });
    assert_eq!(fields(&schema)[0].kind, Kind::Json);
}

#[test]
fn defaults_and_known_values_fill_the_form() {
    let fields = fields(&postgres());
    let form = filled(&fields, &json!({ "host": "db1" }));
    assert_eq!(form["host"], "db1");
    assert_eq!(form["port"], "5432");
    assert_eq!(form["ssl_mode"], "1");
    assert_eq!(form["password"], "");
}

#[test]
fn a_filled_form_becomes_json() {
    let fields = fields(&postgres());
    let mut form = filled(&fields, &Value::Null);
    form.insert("host".into(), "  db1 ".into());
    form.insert("password".into(), " with spaces ".into());
    assert_eq!(
        to_json(&fields, &form, any),
        Ok(json!({
            "host": "db1", "password": " with spaces ", "port": 5432, "ssl_mode": "verify_full"
        }))
    );
}

#[test]
fn what_is_wrong_is_said_per_field() {
    let fields = fields(&postgres());
    let mut form = filled(&fields, &Value::Null);
    form.insert("port".into(), "70000".into());
    let wrong = to_json(&fields, &form, any).unwrap_err();
    assert_eq!(wrong["host"], "This is needed.");
    assert_eq!(wrong["port"], "At most 65535.");
    form.insert("port".into(), "many".into());
    let wrong = to_json(&fields, &form, any).unwrap_err();
    assert_eq!(wrong["port"], "This has to be a whole number.");
}

#[test]
fn patterns_and_lengths_are_checked() {
    let schema = json!({ "properties": {
        "user": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 5 }
    }});
    let fields = fields(&schema);
    let check = |text: &str, ok: bool| {
        let form = Filled::from([("user".to_owned(), text.to_owned())]);
        to_json(&fields, &form, |pattern, _| {
            assert_eq!(pattern, "^[a-z]+$");
            ok
        })
    };
    assert!(check("abc", true).is_ok());
    assert_eq!(check("ABC", false).unwrap_err()["user"], "This has to match ^[a-z]+$.");
    assert_eq!(check("abcdef", true).unwrap_err()["user"], "At most 5 characters.");
}

#[test]
fn lists_are_one_per_line() {
    let schema =
        json!({ "properties": { "members": { "type": "array", "items": { "type": "string" } } } });
    let fields = fields(&schema);
    let form = filled(&fields, &json!({ "members": ["a", "b"] }));
    assert_eq!(form["members"], "a\nb");
    let form = Filled::from([("members".to_owned(), "a\n\n c ".to_owned())]);
    assert_eq!(to_json(&fields, &form, any), Ok(json!({ "members": ["a", "c"] })));
}

#[test]
fn json_text_has_to_be_json() {
    let schema = json!({ "properties": { "rules": { "type": "object" } } });
    let fields = fields(&schema);
    let form = |text: &str| Filled::from([("rules".to_owned(), text.to_owned())]);
    assert_eq!(to_json(&fields, &form("{\"a\":1}"), any), Ok(json!({ "rules": { "a": 1 } })));
    assert!(to_json(&fields, &form("{a"), any).is_err());
}

#[test]
fn a_pointer_names_its_field() {
    assert_eq!(field_of_pointer("/parameters/user", "/parameters"), Some("user"));
    assert_eq!(field_of_pointer("/parameters/tags/0", "/parameters"), Some("tags"));
    assert_eq!(field_of_pointer("/title", "/parameters"), None);
    assert_eq!(field_of_pointer("/title", ""), Some("title"));
}
