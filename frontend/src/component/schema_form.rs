//! A form made of a JSON Schema.

use std::rc::Rc;

use nexplane_core::api::SecretSources;
use wasm_bindgen::JsCast as _;
use yew::prelude::*;

use super::input::{Checkbox, Select, TextInput};
use super::secret_field::SecretField;
use crate::schema::{Field, Filled, Kind, Wrong};

#[derive(Properties, PartialEq)]
pub struct SchemaFormProps {
    pub fields: Vec<Field>,
    pub filled: Filled,
    #[prop_or_default]
    pub wrong: Wrong,
    /// Name and text of the input that changed.
    pub on_change: Callback<(String, String)>,
    /// Base of the ids and test ids: `parameter`, `credential`.
    pub prefix: &'static str,
    /// Where secrets may be instead of in the form; absent where they may be nowhere else.
    #[prop_or_default]
    pub sources: Option<Rc<SecretSources>>,
}

#[component]
pub fn SchemaForm(props: &SchemaFormProps) -> Html {
    html! { <>{ for props.fields.iter().map(|field| input(props, field)) }</> }
}

fn input(props: &SchemaFormProps, field: &Field) -> Html {
    let name = field.name.clone();
    let id = format!("{}-{name}", props.prefix);
    let testid = id.clone();
    let text = props.filled.get(&name).cloned().unwrap_or_default();
    let help = (!field.help.is_empty()).then(|| AttrValue::from(field.help.clone()));
    let error = props.wrong.get(&name).map(|reason| AttrValue::from(reason.clone()));
    let label = field.label.clone();
    let on_change = props.on_change.reform(move |text| (name.clone(), text));
    let optional = !field.required;
    match &field.kind {
        Kind::Text(kind) if kind.secret => html! {
            <SecretField name={field.name.clone()} {id} {label} {help} {optional} multiline={kind.multiline}
                filled={props.filled.clone()} wrong={props.wrong.clone()} sources={props.sources.clone()}
                on_change={props.on_change.clone()} />
        },
        Kind::Text(kind) => html! {
            <TextInput {id} {label} value={text} {help} {error} {optional} {on_change} {testid}
                multiline={kind.multiline} monospace={kind.multiline} autocomplete="off" />
        },
        Kind::Number { .. } => html! {
            <TextInput {id} {label} value={text} {help} {error} {optional} {on_change} {testid}
                autocomplete="off" />
        },
        Kind::Toggle => html! {
            <Checkbox {id} {label} checked={text == "true"} {help} {testid}
                on_change={on_change.reform(|on: bool| on.to_string())} />
        },
        Kind::Choice(choices) => {
            let mut options: Vec<(AttrValue, AttrValue)> = Vec::new();
            if text.is_empty() || optional {
                let nothing = if optional { "Not set" } else { "Choose…" };
                options.push((AttrValue::Static(""), nothing.into()));
            }
            options.extend(
                choices
                    .iter()
                    .enumerate()
                    .map(|(index, choice)| (index.to_string().into(), choice.label.clone().into())),
            );
            // The help of the chosen value says more than that of the field.
            let chosen = text.parse::<usize>().ok().and_then(|index| choices.get(index));
            let help = chosen
                .filter(|choice| !choice.help.is_empty())
                .map(|choice| AttrValue::from(choice.help.clone()))
                .or(help);
            html! {
                <Select {id} {label} value={text} {options} {help} {error} {optional} {on_change}
                    {testid} />
            }
        }
        Kind::Lines => {
            let help = help.map_or_else(
                || "One per line.".into(),
                |help| AttrValue::from(format!("{help} One per line.")),
            );
            html! {
                <TextInput {id} {label} value={text} {help} {error} {optional} {on_change} {testid}
                    multiline=true monospace=true />
            }
        }
        Kind::Json => html! {
            <TextInput {id} {label} value={text} {help} {error} {optional} {on_change} {testid}
                multiline=true monospace=true placeholder="{ }" />
        },
    }
}

/// The browser's regular expressions, as JSON Schema wants them: not anchored, Unicode.
pub fn matches(pattern: &str, text: &str) -> bool {
    // `new RegExp` throws on a pattern that the browser does not know; through `Reflect` that is a
    // value. Such a pattern is for the server to check.
    let arguments = js_sys::Array::of2(&pattern.into(), &"u".into());
    let global = js_sys::global();
    js_sys::Reflect::get(&global, &"RegExp".into())
        .ok()
        .and_then(|class| class.dyn_into::<js_sys::Function>().ok())
        .and_then(|class| js_sys::Reflect::construct(&class, &arguments).ok())
        .and_then(|made| made.dyn_into::<js_sys::RegExp>().ok())
        .is_none_or(|expression| expression.test(text))
}
