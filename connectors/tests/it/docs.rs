//! `docs/generated/`: a page for each connector, written from what the catalog says, so that it is never
//! older than the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use nexplane_connectors::sdk::Registry;
use nexplane_core::catalog::{ActionSpec, Catalog, ConnectorSpec, EffectClass, Reversibility};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/generated");
const NOTE: &str = "<!-- Made from the catalog. Change the code, then run `just bless`. -->\n\n";

#[test]
fn the_golden_pages_of_the_connectors_are_checked_in() {
    let mut pages = pages(&Registry::standard().catalog());
    let folder = Path::new(FOLDER);
    if std::env::var_os("NEXPLANE_BLESS").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in &pages {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    for entry in std::fs::read_dir(folder).expect("docs/generated is there") {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = pages.remove(&name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(expected.as_ref() == Some(&text), "docs/generated/{name}: run `just bless`");
    }
    assert!(pages.is_empty(), "not in docs/generated: {:?}; run `just bless`", pages.keys());
}

fn pages(catalog: &Catalog) -> BTreeMap<String, String> {
    let mut pages: BTreeMap<_, _> = catalog
        .connectors
        .iter()
        .map(|connector| (format!("{}.md", connector.id), page(connector)))
        .collect();
    pages.insert("README.md".to_owned(), index(catalog));
    pages
}

fn index(catalog: &Catalog) -> String {
    let mut text =
        format!("{NOTE}# Connectors\n\n| Connector | Finds | Actions |\n|---|---|---|\n");
    for connector in &catalog.connectors {
        let actions: Vec<_> = connector.actions.iter().map(short).collect();
        let ConnectorSpec { id, title, asset_types, .. } = connector;
        let found = asset_types.join("`, `");
        let _ = writeln!(text, "| [{title}]({id}.md) | `{found}` | `{}` |", actions.join("`, `"));
    }
    text
}

/// `lock_user` of `postgres.lock_user`.
fn short(action: &ActionSpec) -> &str {
    action.id.split_once('.').map_or(&*action.id, |(_, name)| name)
}

fn page(connector: &ConnectorSpec) -> String {
    let ConnectorSpec { id, title, description, credentials, asset_types, .. } = connector;
    let mut text = format!("{NOTE}# {title}\n\nConnector `{id}`. {description}\n\n");
    let found = asset_types.join("`, `");
    let _ = writeln!(text, "Discovery finds `{found}`.\n");
    if connector.managed {
        let _ = writeln!(text, "## Credentials\n\n{}", fields(credentials));
        let _ = writeln!(
            text,
            "## An account with these rights and no others\n\n```\n{}\n```\n",
            connector.least_privilege.trim_end()
        );
    } else {
        let _ = writeln!(text, "Its connections are made by agents.\n");
    }
    let _ = writeln!(text, "## Actions\n");
    for action in &connector.actions {
        describe(&mut text, action);
    }
    format!("{}\n", text.trim_end())
}

fn describe(text: &mut String, action: &ActionSpec) {
    let ActionSpec { id, title, description, target_types, permissions, base_risk, .. } = action;
    let effect = match action.effect_class {
        EffectClass::Keyed => "remembers our key, so that twice is once",
        EffectClass::Fenced => "written only while the target has not moved",
        EffectClass::Verifiable => "can be read back",
        EffectClass::Unprotected => {
            "cannot be read back: an unknown outcome is settled by a person"
        }
    };
    let undo = match &action.reversibility {
        Reversibility::Reversible => "yes, exactly what was there".to_owned(),
        Reversibility::CompensateOnly { why } => format!("partly: {why}"),
        Reversibility::OneWay { why } => format!("no: {why}"),
    };
    let _ = writeln!(text, "### `{id}`: {title}\n\n{}\n", flat(description));
    let _ = writeln!(text, "- Target: `{}`", target_types.join("` or `"));
    let _ = writeln!(text, "- Can be undone: {}", flat(&undo));
    let _ = writeln!(text, "- Effect: {effect}");
    let _ = writeln!(text, "- Base risk: {base_risk} of 9");
    let _ = writeln!(text, "- Needs: {}", flat(&permissions.join("; ")));
    if !action.produces.is_empty() {
        let _ = writeln!(text, "- Hands over once: `{}`", action.produces.join("`, `"));
    }
    let parameters = fields(&action.parameters);
    if parameters.is_empty() {
        let _ = writeln!(text, "\nNo parameters.\n");
    } else {
        let example = serde_json::to_string(&action.example).unwrap();
        let _ = writeln!(text, "\n{parameters}\nExample: `{example}`\n");
    }
}

/// A table of the fields of a schema; nothing when it has none.
fn fields(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object().filter(|fields| !fields.is_empty())
    else {
        return String::new();
    };
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut table = "| Field | Type | Needed | Meaning |\n|---|---|---|---|\n".to_owned();
    for (name, field) in properties {
        let mut kind = kind(field);
        if field["x-secret"] == true {
            kind.push_str(", secret");
        }
        let needed = match &field["default"] {
            _ if required.contains(&name.as_str()) => "yes".to_owned(),
            Value::Null => "no".to_owned(),
            default => format!("no: {}", flat(&default.to_string())),
        };
        let meaning = flat(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(table, "| `{name}` | {kind} | {needed} | {meaning} |");
    }
    table
}

fn kind(field: &Value) -> String {
    let words = |values: &[Value]| {
        let words: Vec<_> = values.iter().map(|value| format!("`{}`", text(value))).collect();
        words.join(" or ")
    };
    let choices: Vec<_> = field["oneOf"]
        .as_array()
        .or(field["anyOf"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("const").cloned())
        .collect();
    if !choices.is_empty() {
        return words(&choices);
    }
    if let Some(choices) = field["enum"].as_array() {
        return words(choices);
    }
    match &field["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(text).filter(|kind| kind != "null").collect();
            kinds.join(" or ")
        }
        _ => "object".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One line, with nothing in it that would end a cell of a table.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
