//! Adding or editing a connection. Secrets go in and never come out: an edit leaves them as they are
//! or replaces all credentials.

use std::rc::Rc;

use nexplane_core::api::{
    ConnectionView, EditConnectionRequest, NewConnectionRequest, SecretSources,
};
use nexplane_core::catalog::{Catalog, ConnectorSpec};
use nexplane_core::risk::Environment;
use serde_json::Value;
use yew::prelude::*;

use crate::api::{self, ApiError};
use crate::component::dialog::{Dialog, Shape};
use crate::component::input::{Checkbox, Select, TextInput, focus_first_wrong};
use crate::component::problem::ProblemNote;
use crate::component::rights::Rights;
use crate::component::schema_form::{SchemaForm, matches};
use crate::resource::{use_mutation, use_resource};
use crate::schema::{self, Filled, Wrong};
use crate::words;

const ENVIRONMENTS: [Environment; 3] = [Environment::Prod, Environment::Staging, Environment::Dev];

/// How often a new connection is discovered, unless somebody says otherwise.
const USUALLY_S: u32 = 6 * 3600;

/// What can be chosen, and what is chosen already.
fn intervals(chosen: u32) -> Vec<(AttrValue, AttrValue)> {
    let mut all = vec![0, 900, 3600, USUALLY_S, 24 * 3600, 7 * 24 * 3600];
    if !all.contains(&chosen) {
        all.push(chosen);
        all.sort_unstable();
    }
    let option = |every: u32| (every.to_string().into(), words::every(every).into());
    all.into_iter().map(option).collect()
}

#[derive(Properties)]
pub struct ConnectionFormProps {
    pub catalog: Rc<Catalog>,
    /// The one to edit; a new one when absent.
    #[prop_or_default]
    pub connection: Option<ConnectionView>,
    pub on_close: Callback<()>,
    pub on_saved: Callback<ConnectionView>,
}

impl PartialEq for ConnectionFormProps {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.catalog, &other.catalog)
            && self.connection == other.connection
            && self.on_close == other.on_close
            && self.on_saved == other.on_saved
    }
}

#[derive(Clone, PartialEq)]
struct Form {
    kind: String,
    name: String,
    environment: Environment,
    /// Seconds from one discovery to the next; 0: only when somebody asks.
    discover_every_s: u32,
    filled: Filled,
    /// On an edit: the credentials are typed anew.
    replace: bool,
    wrong: Wrong,
}

fn start(catalog: &Catalog, connection: Option<&ConnectionView>) -> Form {
    let kind = connection.map_or_else(
        || people_make(catalog).next().map(|spec| spec.id.clone()).unwrap_or_default(),
        |connection| connection.kind.clone(),
    );
    let known = connection.map_or(Value::Null, |connection| connection.settings.clone());
    Form {
        filled: filled(catalog, &kind, &known),
        name: connection.map(|connection| connection.name.clone()).unwrap_or_default(),
        environment: connection.map_or(Environment::Prod, |connection| connection.environment),
        discover_every_s: connection
            .map_or(USUALLY_S, |connection| connection.discover_every_s.unwrap_or(0)),
        replace: connection.is_none(),
        wrong: Wrong::new(),
        kind,
    }
}

fn people_make(catalog: &Catalog) -> impl Iterator<Item = &ConnectorSpec> {
    // The others come with their agents.
    catalog.connectors.iter().filter(|connector| connector.managed)
}

fn filled(catalog: &Catalog, kind: &str, known: &Value) -> Filled {
    let fields = catalog.connector(kind).map(|spec| schema::fields(&spec.credentials));
    schema::filled(&fields.unwrap_or_default(), known)
}

#[component]
pub fn ConnectionForm(props: &ConnectionFormProps) -> Html {
    let form = use_state(|| start(&props.catalog, props.connection.as_ref()));
    let save = use_mutation();
    let sources = use_resource::<SecretSources>(Some("/secret-sources".to_owned()));
    let editing = props.connection.is_some();
    let spec = props.catalog.connector(&form.kind);
    let fields = spec.map(|spec| schema::fields(&spec.credentials)).unwrap_or_default();
    use_effect_with(form.wrong.clone(), |wrong| {
        if !wrong.is_empty() {
            focus_first_wrong();
        }
    });
    // A connection that reads secrets for others has its own elsewhere.
    let sources = sources.value.map(|sources| match form.kind.as_str() {
        "vault" => Rc::new(SecretSources { vaults: Vec::new(), ..(*sources).clone() }),
        _ => sources,
    });
    let edit = {
        let form = form.clone();
        move |change: fn(&mut Form, String)| {
            let form = form.clone();
            Callback::from(move |text: String| {
                let mut next = (*form).clone();
                change(&mut next, text);
                form.set(next);
            })
        }
    };
    let on_kind = {
        let (form, catalog) = (form.clone(), Rc::clone(&props.catalog));
        Callback::from(move |kind: String| {
            let filled = filled(&catalog, &kind, &Value::Null);
            form.set(Form { kind, filled, wrong: Wrong::new(), ..(*form).clone() });
        })
    };
    let onsubmit = {
        let (form, save, fields) = (form.clone(), save.clone(), fields.clone());
        let (on_saved, connection) = (props.on_saved.clone(), props.connection.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            match checked(&form, &fields) {
                Err(wrong) => form.set(Form { wrong, ..(*form).clone() }),
                Ok(credentials) => {
                    form.set(Form { wrong: Wrong::new(), ..(*form).clone() });
                    let on_saved = on_saved.clone();
                    save.start(
                        send((*form).clone(), credentials, connection.clone()),
                        move |saved| on_saved.emit(saved),
                    );
                }
            }
        })
    };
    let mut wrong = form.wrong.clone();
    if let Some(ApiError::Refused(problem)) = save.error() {
        wrong.extend(problem.errors.iter().filter_map(|error| {
            let name = schema::input_of_pointer(&error.pointer, "/credentials")
                .or_else(|| schema::input_of_pointer(&error.pointer, ""))?;
            Some((name, error.reason.clone()))
        }));
    }
    let title = props
        .connection
        .as_ref()
        .map_or_else(|| "Add a connection".to_owned(), |one| format!("Edit {}", one.name));
    html! {
        <Dialog {title} shape={Shape::Drawer} on_close={props.on_close.clone()} testid="connection-form">
            <form {onsubmit} class="form" novalidate=true>
                <Select id="connection-kind" label="What it connects to" value={form.kind.clone()} disabled={editing}
                    options={people_make(&props.catalog).map(|spec| {
                        (spec.id.clone().into(), spec.title.clone().into())
                    }).collect::<Vec<_>>()}
                    help={spec.map(|spec| AttrValue::from(spec.description.clone()))}
                    on_change={on_kind} testid="connection-type" />
                <TextInput id="connection-name" label="Name" value={form.name.clone()} testid="connection-name-input"
                    error={wrong.get("name").map(|reason| AttrValue::from(reason.clone()))}
                    help="Short and lasting: it begins the key of every asset found there."
                    on_change={edit(|form, text| form.name = text)} autocomplete="off" />
                <Select id="connection-environment" label="Environment" value={form.environment.as_str()}
                    options={ENVIRONMENTS.map(|one| (one.as_str().into(), words::environment(one).into())).to_vec()}
                    help="Weighs in the risk of every change there."
                    on_change={edit(|form, word| {
                        let chosen = ENVIRONMENTS.into_iter().find(|one| one.as_str() == word);
                        form.environment = chosen.unwrap_or(form.environment);
                    })} testid="connection-environment" />
                <Select id="connection-discovery" label="Discovery" value={form.discover_every_s.to_string()}
                    options={intervals(form.discover_every_s)}
                    help="How often Nexplane looks by itself what there is. What is gone is marked, and what you noted about assets stays."
                    on_change={edit(|form, word| {
                        form.discover_every_s = word.parse().unwrap_or(form.discover_every_s);
                    })} testid="connection-every" />
                if editing {
                    <Checkbox id="replace" label="Replace the credentials" checked={form.replace}
                        help="Secrets cannot be read back: to change one, type all of them again. Where one is kept elsewhere stays."
                        on_change={let form = form.clone(); move |replace| form.set(Form { replace, ..(*form).clone() })}
                        testid="connection-replace" />
                }
                if form.replace {
                    if let Some(spec) = spec {
                        <Rights connector={spec.clone()} />
                    }
                    <fieldset>
                        <legend>{ "Credentials" }</legend>
                        <SchemaForm {fields} filled={form.filled.clone()} {wrong} {sources} prefix="credential"
                            on_change={let form = form.clone(); move |(name, text)| {
                                let mut next = (*form).clone();
                                next.filled.insert(name, text);
                                form.set(next);
                            }} />
                    </fieldset>
                }
                if let Some(error) = save.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button primary" disabled={save.busy()} data-testid="connection-save">
                        { if save.busy() { "Saving…" } else { "Save" } }
                    </button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

/// The credentials, when they are to be sent.
fn checked(form: &Form, fields: &[schema::Field]) -> Result<Option<Value>, Wrong> {
    let mut wrong = Wrong::new();
    if form.name.trim().is_empty() {
        wrong.insert("name".to_owned(), "This is needed.".to_owned());
    }
    let credentials = if form.replace {
        schema::to_json(fields, &form.filled, matches).map_err(|found| wrong.extend(found)).ok()
    } else {
        None
    };
    if wrong.is_empty() { Ok(credentials) } else { Err(wrong) }
}

async fn send(
    form: Form,
    credentials: Option<Value>,
    connection: Option<ConnectionView>,
) -> Result<ConnectionView, ApiError> {
    let name = form.name.trim().to_owned();
    match connection {
        None => {
            let request = NewConnectionRequest {
                name,
                kind: form.kind,
                environment: form.environment,
                credentials: credentials.unwrap_or(Value::Null),
                discover_every_s: Some(form.discover_every_s).filter(|every| *every > 0),
            };
            api::post("/connections", &request).await
        }
        Some(old) => {
            let request = EditConnectionRequest {
                limits: None,
                name: Some(name).filter(|name| *name != old.name),
                environment: Some(form.environment).filter(|chosen| *chosen != old.environment),
                credentials,
                discover_every_s: Some(form.discover_every_s)
                    .filter(|every| *every != old.discover_every_s.unwrap_or(0)),
            };
            let path = format!("/connections/{}", old.id);
            match api::patch(&path, &request, Some(old.version)).await {
                Err(error) if error.code() == Some("conflict.version") => {
                    let now: ConnectionView = api::get(&path).await?;
                    if !says_the_same(&old, &now) {
                        return Err(error);
                    }
                    api::patch(&path, &request, Some(now.version)).await
                }
                answer => answer,
            }
        }
    }
}

/// Whether nothing that is edited here has changed: a test or a discovery is a new version, too.
fn says_the_same(old: &ConnectionView, now: &ConnectionView) -> bool {
    (&old.name, old.environment, old.discover_every_s, &old.settings)
        == (&now.name, now.environment, now.discover_every_s, &now.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_without_new_credentials_sends_none() {
        let form = Form {
            kind: "postgres".to_owned(),
            name: "orders".to_owned(),
            environment: Environment::Prod,
            discover_every_s: 0,
            filled: Filled::new(),
            replace: false,
            wrong: Wrong::new(),
        };
        assert_eq!(checked(&form, &[]), Ok(None));
        let nameless = Form { name: " ".to_owned(), ..form };
        assert!(checked(&nameless, &[]).unwrap_err().contains_key("name"));
    }
}
