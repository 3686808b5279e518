//! A JSON value as a list of names and values, for a `<dl>`.

use serde_json::Value;
use yew::prelude::*;

use crate::format;

/// As many as anybody reads; the rest is in the text that they come from.
const MOST: usize = 200;
/// What is longer is folded.
const LONG: usize = 120;

#[derive(Properties, PartialEq)]
pub struct FieldsProps {
    pub value: Value,
}

#[component]
pub fn Fields(props: &FieldsProps) -> Html {
    let mut fields = Vec::new();
    flatten("", &props.value, &mut fields);
    let left_out = fields.len().saturating_sub(MOST);
    let rows = fields.iter().take(MOST).map(|(path, value)| {
        let mut text = format::json(value);
        if value.is_array() && text.len() <= LONG {
            text = text.replace('\n', ", ");
        }
        let long = text.contains('\n') || text.len() > LONG;
        html! {
            <div>
                <dt title={path.clone()}>{ label(path) }</dt>
                <dd>
                    if long {
                        <details>
                            <summary>{ format::count(
                                u64::try_from(text.lines().count()).unwrap_or(u64::MAX), "line", "lines") }
                            </summary>
                            <pre class="payload">{ text }</pre>
                        </details>
                    } else {
                        <code>{ text }</code>
                    }
                </dd>
            </div>
        }
    });
    html! {
        <>
            { for rows }
            if left_out > 0 {
                <div><dt>{ "And more" }</dt><dd>{ format!("{left_out} fields are left out here.") }</dd></div>
            }
        </>
    }
}

/// The fields of objects, each with its path; lists of plain values stay together.
fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, Value)>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
    };
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                flatten(&below(name), value, fields);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&below(&(place + 1).to_string()), item, fields);
            }
        }
        // Of nothing, nothing is said.
        Value::Object(_) if path.is_empty() => {}
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => fields.push((path.to_owned(), value.clone())),
    }
}

/// `plan/steps/1/action` becomes `Plan · steps 1 · action`.
fn label(path: &str) -> String {
    let mut label = String::new();
    for part in path.split('/') {
        let is_place = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_place {
            label.push(' ');
            label.push_str(part);
        } else if label.is_empty() {
            label.push_str(&format::humanise(part));
        } else {
            label.push_str(" · ");
            label.push_str(&part.replace('_', " "));
        }
    }
    label.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_opened_and_plain_lists_are_not() {
        let value = json!({
            "plan": { "digest": "ab", "steps": [{ "action": "x" }, { "action": "y" }] },
            "targets": ["a", "b"],
            "empty": {},
        });
        let mut fields = Vec::new();
        flatten("", &value, &mut fields);
        // In which order an object has its fields is the JSON library's choice.
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        let paths: Vec<_> = fields.iter().map(|(path, _)| label(path)).collect();
        assert_eq!(
            paths,
            [
                "Empty",
                "Plan · digest",
                "Plan · steps 1 · action",
                "Plan · steps 2 · action",
                "Targets"
            ]
        );
        assert_eq!(fields.last().map(|(_, value)| value), Some(&json!(["a", "b"])));
        fields.clear();
        flatten("", &json!({}), &mut fields);
        assert!(fields.is_empty());
    }
}
