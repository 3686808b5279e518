//! A secret in a form: typed, or where it is.

use std::rc::Rc;

use nexplane_core::api::SecretSources;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::input::{Frame, Select, TextInput, described_by};
use crate::schema::{Filled, Wrong};
use crate::secret_place::{Place, VAULT_PARTS, key, part};

/// What is said where a place is chosen that has to know where the secret may be used.
const FILE_HELP: &str = "Its name in the server's folder of secrets, such as orders-db. Beside it, orders-db.hosts has to \
                         name the host:port that it may be used at.";
const VAULT_HELP: &str = "Read anew at each use, by the connection's own login. Custom metadata nexplane_hosts of the secret \
                          has to name the host:port that it may be used at.";

#[derive(Properties, PartialEq)]
pub struct SecretFieldProps {
    /// Of the field, in the schema.
    pub name: String,
    /// Base of ids and test ids.
    pub id: String,
    pub label: AttrValue,
    pub help: Option<AttrValue>,
    pub filled: Filled,
    pub wrong: Wrong,
    pub optional: bool,
    pub multiline: bool,
    /// Absent where nothing but the secret itself can be given.
    pub sources: Option<Rc<SecretSources>>,
    /// Key and text of the input that changed.
    pub on_change: Callback<(String, String)>,
}

#[component]
pub fn SecretField(props: &SecretFieldProps) -> Html {
    let p = props;
    let place = Place::of(&p.filled, &p.name);
    let offered = |one: Place| {
        one == place
            || p.sources.as_ref().is_some_and(|sources| match one {
                Place::Typed => true,
                Place::File => sources.files,
                Place::Vault => !sources.vaults.is_empty(),
            })
    };
    let places: Vec<(AttrValue, AttrValue)> = Place::ALL
        .into_iter()
        .filter(|one| offered(*one))
        .map(|one| (one.as_str().into(), one.label().into()))
        .collect();
    if places.len() < 2 {
        return typed(p, p.label.clone(), p.id.clone().into());
    }
    let change = |part: &str| {
        let key = key(&p.name, part);
        p.on_change.reform(move |text: String| (key.clone(), text))
    };
    let error = |key: &str| p.wrong.get(key).map(|reason| AttrValue::from(reason.clone()));
    let lower = p.label.to_lowercase();
    let inputs = match place {
        Place::Typed => typed(p, p.label.clone(), p.id.clone().into()),
        Place::File => html! {
            <TextInput id={format!("{}-file", p.id)} testid={format!("{}-file", p.id)} label="File" monospace=true
                value={part(&p.filled, &p.name, "file").to_owned()} help={FILE_HELP} autocomplete="off"
                error={error(&key(&p.name, "file")).or_else(|| error(&p.name))} on_change={change("file")} />
        },
        Place::Vault => html! {
            <>
                <div class="pair secret-parts">
                    { for VAULT_PARTS.into_iter().map(|(name, label, needed)| vault_part(p, name, label, needed, change(name))) }
                </div>
                <p class="field-help">{ VAULT_HELP }</p>
            </>
        },
    };
    html! {
        <div class="secret-field" role="group" aria-label={p.label.clone()}>
            <Select id={format!("{}-from", p.id)} label={format!("Where the {lower} is")} value={place.as_str()}
                options={places} on_change={change("from")} testid={format!("{}-from", p.id)} />
            { inputs }
        </div>
    }
}

fn vault_part(
    p: &SecretFieldProps,
    name: &'static str,
    label: &'static str,
    needed: bool,
    on_change: Callback<String>,
) -> Html {
    let id = format!("{}-{name}", p.id);
    let value = part(&p.filled, &p.name, name).to_owned();
    let wrong = p.wrong.get(&key(&p.name, name)).or_else(|| {
        // What is said of the whole is said where it begins.
        p.wrong.get(&p.name).filter(|_| name == "connection")
    });
    let error = wrong.map(|reason| AttrValue::from(reason.clone()));
    if name != "connection" {
        return html! {
            <TextInput id={id.clone()} testid={id} {label} {value} {error} optional={!needed} {on_change}
                monospace=true autocomplete="off" />
        };
    }
    let vaults = p.sources.iter().flat_map(|sources| &sources.vaults);
    let mut options: Vec<(AttrValue, AttrValue)> =
        vaults.map(|vault| (vault.id.to_string().into(), vault.name.clone().into())).collect();
    if !options.iter().any(|(id, _)| *id == value) {
        let label = if value.is_empty() { "Choose…".to_owned() } else { value.clone() };
        options.insert(0, (value.clone().into(), label.into()));
    }
    html! {
        <Select id={id.clone()} testid={id} {label} {value} {options} {error} {on_change} />
    }
}

fn typed(p: &SecretFieldProps, label: AttrValue, id: AttrValue) -> Html {
    let text = p.filled.get(&p.name).cloned().unwrap_or_default();
    let error = p.wrong.get(&p.name).map(|reason| AttrValue::from(reason.clone()));
    let name = p.name.clone();
    let on_change = p.on_change.reform(move |text: String| (name.clone(), text));
    let (help, optional) = (p.help.clone(), p.optional);
    if p.multiline {
        let testid = id.clone();
        return html! {
            <TextInput {id} {label} value={text} {help} {error} {optional} {on_change} {testid}
                multiline=true monospace=true autocomplete="off" />
        };
    }
    html! { <Typed {id} {label} {text} {help} {error} {optional} {on_change} /> }
}

#[derive(Properties, PartialEq)]
struct TypedProps {
    id: AttrValue,
    label: AttrValue,
    text: AttrValue,
    help: Option<AttrValue>,
    error: Option<AttrValue>,
    optional: bool,
    on_change: Callback<String>,
}

/// A secret is hidden while it is typed, unless somebody asks to see it.
#[component]
fn Typed(props: &TypedProps) -> Html {
    let visible = use_state_eq(|| false);
    let toggle = {
        let visible = visible.clone();
        Callback::from(move |_: MouseEvent| visible.set(!*visible))
    };
    let oninput = props.on_change.reform(|event: InputEvent| {
        event
            .target()
            .and_then(|target| target.dyn_into::<HtmlInputElement>().ok())
            .map(|input| input.value())
            .unwrap_or_default()
    });
    let p = props;
    let describedby = described_by(&p.id, p.help.is_some(), p.error.is_some());
    html! {
        <Frame id={p.id.clone()} label={p.label.clone()} help={p.help.clone()}
            error={p.error.clone()} optional={p.optional}>
            <div class="with-button">
                <input id={p.id.clone()} type={if *visible { "text" } else { "password" }}
                    class="input mono" value={p.text.clone()} {oninput} spellcheck="false"
                    autocomplete="new-password" aria-describedby={describedby}
                    aria-invalid={p.error.is_some().then_some("true")}
                    data-testid={p.id.clone()} />
                <button type="button" class="button" onclick={toggle}
                    aria-pressed={visible.to_string()}>
                    { if *visible { "Hide" } else { "Show" } }
                </button>
            </div>
        </Frame>
    }
}
