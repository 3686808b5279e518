//! A JSON Schema of parameters or credentials as a form, and the filled form as JSON.
//!
//! It reads what the server's schema generator writes for flat structs: strings, numbers, booleans,
//! choices, lists of text, `$ref` into `$defs`, and `null` for optional fields. Anything deeper is
//! shown as a JSON text field. The server checks everything again; what is found here is only found
//! sooner.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::format::humanise;
use crate::secret_place;

/// One input of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub label: String,
    /// From the schema's description; empty when it has none.
    pub help: String,
    pub required: bool,
    pub kind: Kind,
    pub default: Option<Value>,
}

impl Field {
    fn is_secret(&self) -> bool {
        matches!(&self.kind, Kind::Text(text) if text.secret)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Text(Text),
    Number {
        integer: bool,
        minimum: Option<f64>,
        maximum: Option<f64>,
    },
    Toggle,
    Choice(Vec<Choice>),
    /// A list of texts, one per line.
    Lines,
    /// Too deep for a form: JSON as text.
    Json,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    pub multiline: bool,
    pub secret: bool,
    /// A regular expression in the words of ECMA-262.
    pub pattern: Option<String>,
    pub max_length: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub value: Value,
    pub label: String,
    pub help: String,
}

/// What is typed so far, by field name. Toggles hold `true` or `false`, choices their number; where a secret is, is in
/// parts of its field ([`secret_place`]).
pub type Filled = BTreeMap<String, String>;

/// What is wrong, by field name.
pub type Wrong = BTreeMap<String, String>;

/// The inputs of a schema: required ones first and in the schema's order, the rest by name.
pub fn fields(schema: &Value) -> Vec<Field> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(name, property)| field(schema, name, property, required.contains(&name.as_str())))
        .collect();
    fields.sort_by_key(|field| {
        required.iter().position(|name| *name == field.name).unwrap_or(usize::MAX)
    });
    fields
}

fn field(root: &Value, name: &str, property: &Value, required: bool) -> Field {
    let shape = Shape::of(root, property);
    let text = |key: &str| {
        property
            .get(key)
            .or_else(|| shape.schema.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let flag = |key: &str| {
        [property, shape.schema].iter().any(|s| s.get(key).and_then(Value::as_bool) == Some(true))
    };
    let title = text("title");
    // The title of a referenced type is the type's name, which helps nobody.
    let label = if title.is_empty() || !title.contains(' ') { humanise(name) } else { title };
    let default = property.get("default").filter(|value| !value.is_null()).cloned();
    let kind = shape.kind(flag("x-secret"), flag("x-multiline"), default.is_some());
    Field { name: name.to_owned(), label, help: text("description"), required, kind, default }
}

/// A property without its indirections.
struct Shape<'a> {
    schema: &'a Value,
    nullable: bool,
}

impl<'a> Shape<'a> {
    fn of(root: &'a Value, property: &'a Value) -> Self {
        let mut schema = property;
        let mut nullable = false;
        // As deep as generated schemas go; a cycle of references ends here too.
        for _ in 0..8 {
            if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
                match target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                    Some(found) => schema = found,
                    None => break,
                }
            } else if let Some(only) = single(schema, "allOf") {
                schema = only;
            } else if let Some((other, null)) = any_or_null(schema) {
                nullable |= null;
                schema = other;
            } else {
                break;
            }
        }
        nullable |= types(schema).contains(&"null");
        Self { schema, nullable }
    }

    fn kind(&self, secret: bool, multiline: bool, has_default: bool) -> Kind {
        if let Some(choices) = choices(self.schema) {
            return Kind::Choice(choices);
        }
        let number = |key: &str| self.schema.get(key).and_then(Value::as_f64);
        let kinds: Vec<&str> = types(self.schema).into_iter().filter(|t| *t != "null").collect();
        match kinds.as_slice() {
            ["string"] => Kind::Text(Text {
                multiline,
                secret,
                pattern: self.schema.get("pattern").and_then(Value::as_str).map(str::to_owned),
                max_length: self.schema.get("maxLength").and_then(Value::as_u64),
            }),
            [number_type @ ("integer" | "number")] => Kind::Number {
                integer: *number_type == "integer",
                minimum: number("minimum"),
                maximum: number("maximum"),
            },
            // "Not said" is a third answer, which a checkbox cannot give.
            ["boolean"] if self.nullable && !has_default => Kind::Choice(vec![
                Choice { value: true.into(), label: "Yes".to_owned(), help: String::new() },
                Choice { value: false.into(), label: "No".to_owned(), help: String::new() },
            ]),
            ["boolean"] => Kind::Toggle,
            ["array"] if self.items_are_text() => Kind::Lines,
            _ => Kind::Json,
        }
    }

    fn items_are_text(&self) -> bool {
        self.schema.pointer("/items/type").and_then(Value::as_str) == Some("string")
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn single<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    match schema.get(key)?.as_array()?.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

fn any_or_null(schema: &Value) -> Option<(&Value, bool)> {
    let options = schema.get("anyOf")?.as_array()?;
    let is_null = |option: &Value| option.get("type").and_then(Value::as_str) == Some("null");
    let mut others = options.iter().filter(|option| !is_null(option));
    let other = others.next()?;
    others.next().is_none().then_some((other, options.len() > 1))
}

fn choices(schema: &Value) -> Option<Vec<Choice>> {
    let choice = |value: &Value, help: &str| Choice {
        label: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        value: value.clone(),
        help: help.to_owned(),
    };
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter(|v| !v.is_null()).map(|v| choice(v, "")).collect());
    }
    let options = schema.get("oneOf")?.as_array()?;
    let mut found = Vec::new();
    for option in options {
        let help = option.get("description").and_then(Value::as_str).unwrap_or_default();
        if let Some(value) = option.get("const") {
            found.push(choice(value, help));
        } else {
            let values = option.get("enum")?.as_array()?;
            found.extend(values.iter().map(|value| choice(value, help)));
        }
    }
    Some(found)
}

/// The form before anybody typed: `known` values (of a draft that is edited), else the defaults.
pub fn filled(fields: &[Field], known: &Value) -> Filled {
    let mut filled = Filled::new();
    for field in fields {
        let value = known.get(&field.name).or(field.default.as_ref()).unwrap_or(&Value::Null);
        if field.is_secret() && secret_place::fill(&mut filled, &field.name, value) {
            continue;
        }
        filled.insert(field.name.clone(), shown(&field.kind, value));
    }
    filled
}

fn shown(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Toggle, _) => (value.as_bool() == Some(true)).to_string(),
        (_, Value::Null) => String::new(),
        (Kind::Choice(choices), _) => choices
            .iter()
            .position(|choice| choice.value == *value)
            .map(|index| index.to_string())
            .unwrap_or_default(),
        (Kind::Lines, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        (_, Value::String(text)) => text.clone(),
        _ => value.to_string(),
    }
}

/// The form as JSON, or what is wrong with it. `matches(pattern, text)` is the browser's regular
/// expression.
pub fn to_json(
    fields: &[Field],
    filled: &Filled,
    matches: impl Fn(&str, &str) -> bool,
) -> Result<Value, Wrong> {
    let mut object = Map::new();
    let mut wrong = Wrong::new();
    for field in fields {
        let place = field.is_secret().then(|| secret_place::value(filled, &field.name)).flatten();
        match place {
            None => {}
            Some(Ok(reference)) => {
                object.insert(field.name.clone(), reference);
                continue;
            }
            Some(Err((input, reason))) => {
                wrong.insert(input, reason);
                continue;
            }
        }
        let text = filled.get(&field.name).map(String::as_str).unwrap_or_default();
        match value(field, text, &matches) {
            Ok(Some(value)) => {
                object.insert(field.name.clone(), value);
            }
            Ok(None) => {}
            Err(reason) => {
                wrong.insert(field.name.clone(), reason);
            }
        }
    }
    if wrong.is_empty() { Ok(Value::Object(object)) } else { Err(wrong) }
}

fn value(
    field: &Field,
    text: &str,
    matches: &impl Fn(&str, &str) -> bool,
) -> Result<Option<Value>, String> {
    let empty = match &field.kind {
        Kind::Toggle => false,
        // Spaces in a secret, or in a file's content, are part of it.
        Kind::Text(kind) if kind.secret || kind.multiline => text.is_empty(),
        Kind::Text(_) | Kind::Number { .. } | Kind::Choice(_) | Kind::Lines | Kind::Json => {
            text.trim().is_empty()
        }
    };
    if empty {
        return if field.required { Err("This is needed.".to_owned()) } else { Ok(None) };
    }
    match &field.kind {
        Kind::Text(kind) => text_value(kind, text, matches).map(Some),
        Kind::Number { integer, minimum, maximum } => {
            number_value(text.trim(), *integer, *minimum, *maximum).map(Some)
        }
        Kind::Toggle => {
            let on = text == "true";
            // An optional toggle that nobody touched stays unsaid.
            let untouched = !on && !field.required && field.default.is_none();
            Ok((!untouched).then_some(Value::Bool(on)))
        }
        Kind::Choice(choices) => text
            .parse::<usize>()
            .ok()
            .and_then(|index| choices.get(index))
            .map(|choice| Some(choice.value.clone()))
            .ok_or_else(|| "Choose one of the values.".to_owned()),
        Kind::Lines => Ok(Some(
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Value::from).collect(),
        )),
        Kind::Json => serde_json::from_str(text)
            .map(Some)
            .map_err(|error| format!("This has to be JSON: {error}.")),
    }
}

fn text_value(
    kind: &Text,
    text: &str,
    matches: &impl Fn(&str, &str) -> bool,
) -> Result<Value, String> {
    let text = if kind.secret || kind.multiline { text } else { text.trim() };
    if let Some(limit) = kind.max_length
        && u64::try_from(text.chars().count()).is_ok_and(|length| length > limit)
    {
        return Err(format!("At most {limit} characters."));
    }
    if let Some(pattern) = &kind.pattern
        && !matches(pattern, text)
    {
        return Err(format!("This has to match {pattern}."));
    }
    Ok(text.into())
}

fn number_value(
    text: &str,
    integer: bool,
    minimum: Option<f64>,
    maximum: Option<f64>,
) -> Result<Value, String> {
    let (value, size) = if integer {
        let number: i64 = text.parse().map_err(|_| "This has to be a whole number.".to_owned())?;
        #[expect(clippy::cast_precision_loss, reason = "only compared with the schema's limits")]
        (Value::from(number), number as f64)
    } else {
        let number: f64 = text.parse().map_err(|_| "This has to be a number.".to_owned())?;
        (Value::from(number), number)
    };
    match (minimum, maximum) {
        (Some(least), _) if size < least => Err(format!("At least {least}.")),
        (_, Some(most)) if size > most => Err(format!("At most {most}.")),
        _ => Ok(value),
    }
}

/// The field that an error of the server is about: the part of its JSON Pointer below `prefix`.
pub fn field_of_pointer<'a>(pointer: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = below(pointer, prefix)?;
    Some(rest.split('/').next().unwrap_or(rest))
}

/// The input that an error of the server is about: its field's, or that of a part of a reference to a secret.
pub fn input_of_pointer(pointer: &str, prefix: &str) -> Option<String> {
    below(pointer, prefix).map(secret_place::input_of)
}

fn below<'a>(pointer: &'a str, prefix: &str) -> Option<&'a str> {
    pointer.strip_prefix(prefix)?.strip_prefix('/')
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
