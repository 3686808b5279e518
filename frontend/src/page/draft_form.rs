//! The form of a change: where, on what, with which parameters, and why.

use nexplane_core::api::{ConnectionView, WindowRequest};
use nexplane_core::catalog::ActionSpec;
use nexplane_core::id::ConnectionId;
use serde_json::Value;
use yew::prelude::*;

use crate::api::ApiError;
use crate::clock;
use crate::component::asset_picker::{AssetPicker, Chosen};
use crate::component::badge::Callout;
use crate::component::icon::Glyph;
use crate::component::input::{Select, TextInput, focus_first_wrong};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::schema_form::{SchemaForm, matches};
use crate::route::Route;
use crate::schema::{self, Field, Filled, Wrong};
use crate::words::Tone;

/// What the form starts with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub connection: Option<ConnectionId>,
    pub targets: Vec<Chosen>,
    pub parameters: Value,
    pub title: String,
    pub reason: String,
    pub ticket: String,
}

/// What was filled in, checked as far as it can be checked here.
#[derive(Clone, Debug, PartialEq)]
pub struct Drafted {
    pub connection: ConnectionId,
    pub targets: Vec<Chosen>,
    pub parameters: Value,
    pub title: String,
    pub reason: String,
    pub ticket: Option<String>,
    pub window: Option<WindowRequest>,
}

#[derive(Clone, PartialEq)]
struct Form {
    connection: Option<ConnectionId>,
    targets: Vec<Chosen>,
    filled: Filled,
    /// Empty while it follows action and targets.
    title: String,
    reason: String,
    ticket: String,
    start: String,
    end: String,
    wrong: Wrong,
}

#[derive(Properties, PartialEq)]
pub struct DraftFormProps {
    pub action: ActionSpec,
    /// Those of the action's connector.
    pub connections: Vec<ConnectionView>,
    pub known: Known,
    /// An existing change keeps its connection.
    #[prop_or_default]
    pub editing: bool,
    pub busy: bool,
    pub error: Option<ApiError>,
    pub on_submit: Callback<Drafted>,
}

#[component]
pub fn DraftForm(props: &DraftFormProps) -> Html {
    let fields = use_memo(props.action.parameters.clone(), schema::fields);
    let form = use_state(|| start(props, &fields));
    {
        // Errors that the server found, at the inputs they are about.
        let form = form.clone();
        use_effect_with(props.error.clone(), move |error| {
            if let Some(ApiError::Refused(problem)) = error {
                let mut next = (*form).clone();
                next.wrong.extend(problem.errors.iter().filter_map(|error| {
                    let name = schema::field_of_pointer(&error.pointer, "/parameters")
                        .map(|field| format!("parameter {field}"))
                        .or_else(|| {
                            Some(schema::field_of_pointer(&error.pointer, "")?.to_owned())
                        })?;
                    Some((name, error.reason.clone()))
                }));
                form.set(next);
            }
        });
    }
    use_effect_with(form.wrong.clone(), |wrong| {
        if !wrong.is_empty() {
            focus_first_wrong();
        }
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
    let suggestion = suggested_title(&props.action, &form.targets);
    let onsubmit = {
        let (form, fields, on_submit) = (form.clone(), fields.clone(), props.on_submit.clone());
        let (suggestion, busy) = (suggestion.clone(), props.busy);
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if busy {
                return;
            }
            match check(&form, &fields, &suggestion) {
                Ok(drafted) => {
                    form.set(Form { wrong: Wrong::new(), ..(*form).clone() });
                    on_submit.emit(drafted);
                }
                Err(wrong) => form.set(Form { wrong, ..(*form).clone() }),
            }
        })
    };
    let wrong = |name: &str| form.wrong.get(name).map(|reason| AttrValue::from(reason.clone()));
    let parameters_wrong: Wrong = form
        .wrong
        .iter()
        .filter_map(|(name, reason)| {
            Some((name.strip_prefix("parameter ")?.to_owned(), reason.clone()))
        })
        .collect();
    let count = form.wrong.len();

    html! {
        <form {onsubmit} class="form" novalidate=true data-testid="draft-form">
            <fieldset>
                <legend>{ "Where" }</legend>
                { connection_input(props, &form, wrong("connection_id"),
                    edit(|form, id| {
                        form.connection = id.parse().ok();
                        form.targets.clear();
                    })) }
                if let Some(connection) = form.connection {
                    <AssetPicker {connection} types={props.action.target_types.clone()}
                        chosen={form.targets.clone()} error={wrong("targets")}
                        on_change={let form = form.clone(); move |targets| {
                            form.set(Form { targets, ..(*form).clone() });
                        }} />
                }
            </fieldset>
            if !fields.is_empty() {
                <fieldset>
                    <legend>{ "What" }</legend>
                    <SchemaForm fields={(*fields).clone()} filled={form.filled.clone()}
                        wrong={parameters_wrong} prefix="parameter"
                        on_change={let form = form.clone(); move |(name, text)| {
                            let mut next = (*form).clone();
                            next.filled.insert(name, text);
                            form.set(next);
                        }} />
                </fieldset>
            }
            <fieldset>
                <legend>{ "Why" }</legend>
                <TextInput id="title" label="Title" value={form.title.clone()} placeholder={suggestion}
                    error={wrong("title")} on_change={edit(|form, text| form.title = text)}
                    help="How it is called in lists. Left empty, it is called as shown."
                    optional=true testid="draft-title" />
                <TextInput id="reason" label="Reason" value={form.reason.clone()} multiline=true
                    error={wrong("reason")} on_change={edit(|form, text| form.reason = text)}
                    help="What approvers need to know. It stays in the audit log." testid="draft-reason" />
                <TextInput id="ticket" label="Ticket" value={form.ticket.clone()} optional=true
                    error={wrong("ticket")} on_change={edit(|form, text| form.ticket = text)}
                    help="Its number or address in your ticket system." testid="draft-ticket" />
            </fieldset>
            <details class="more">
                <summary>{ "Only within a time window" }</summary>
                <div class="pair">
                    <TextInput id="window-start" label="Not before" kind="datetime-local" optional=true
                        value={form.start.clone()} error={wrong("window")} testid="draft-window-start"
                        on_change={edit(|form, text| form.start = text)} />
                    <TextInput id="window-end" label="Not after" kind="datetime-local" optional=true
                        value={form.end.clone()} testid="draft-window-end"
                        on_change={edit(|form, text| form.end = text)} />
                </div>
                <p class="field-help">{ "Both in your time zone. Approved, it runs by itself when the \
                                         window opens." }</p>
            </details>
            if let Some(error) = props.error.clone() {
                <ProblemNote {error} />
            }
            if count > 0 {
                <p class="field-error" role="alert">
                    { "Something is missing or wrong: look at the marked inputs." }
                </p>
            }
            <div class="actions">
                <button class="button primary" disabled={props.busy} data-testid="draft-submit">
                    { match (props.busy, props.editing) {
                        (true, _) => "Saving…",
                        (false, false) => "Draft and plan",
                        (false, true) => "Save and plan again",
                    } }
                </button>
                <span class="faint small">{ "Planning only reads the target. Nothing is changed." }</span>
            </div>
        </form>
    }
}

fn start(props: &DraftFormProps, fields: &[Field]) -> Form {
    let known = props.known.clone();
    let only = match props.connections.as_slice() {
        [only] => Some(only.id),
        _ => None,
    };
    Form {
        connection: known.connection.or(only),
        targets: known.targets,
        filled: schema::filled(fields, &known.parameters),
        title: known.title,
        reason: known.reason,
        ticket: known.ticket,
        start: String::new(),
        end: String::new(),
        wrong: Wrong::new(),
    }
}

fn connection_input(
    props: &DraftFormProps,
    form: &Form,
    error: Option<AttrValue>,
    on_change: Callback<String>,
) -> Html {
    if props.connections.is_empty() {
        let connector = props.action.id.split('.').next().unwrap_or_default().to_owned();
        return html! {
            <Callout tone={Tone::Waiting} glyph={Glyph::Connections} testid="no-connection">
                <p>{ format!("There is no connection of type {connector} yet. ") }
                    <Link to={if connector == "host" { Route::Hosts } else { Route::Connections }}>
                        { if connector == "host" { "Enrol a host" } else { "Add one" } }
                    </Link>
                    { " and come back." }
                </p>
            </Callout>
        };
    }
    let chosen = form.connection.map(|id| id.to_string()).unwrap_or_default();
    let mut options: Vec<(AttrValue, AttrValue)> = Vec::new();
    if form.connection.is_none() {
        options.push(("".into(), "Choose…".into()));
    }
    options.extend(props.connections.iter().map(|connection| {
        let text = format!("{} · {}", connection.name, connection.environment.as_str());
        (connection.id.to_string().into(), text.into())
    }));
    html! {
        <Select id="connection" label="Connection" value={chosen} {options} {error} {on_change}
            disabled={props.editing} testid="draft-connection" />
    }
}

/// `Lock a role: app_reader`
fn suggested_title(action: &ActionSpec, targets: &[Chosen]) -> String {
    match targets {
        [] => action.title.clone(),
        [one] => format!("{}: {}", action.title, one.name),
        [first, rest @ ..] => format!("{}: {} and {} more", action.title, first.name, rest.len()),
    }
}

fn check(form: &Form, fields: &[Field], suggestion: &str) -> Result<Drafted, Wrong> {
    let mut wrong = Wrong::new();
    let mut needed = |name: &str, missing: bool, what: &str| {
        if missing {
            wrong.insert(name.to_owned(), what.to_owned());
        }
    };
    needed("connection_id", form.connection.is_none(), "Choose the connection.");
    needed("targets", form.targets.is_empty(), "Choose at least one target.");
    needed("reason", form.reason.trim().is_empty(), "Say why: approvers decide by it.");
    let window = match (form.start.is_empty(), form.end.is_empty()) {
        (true, true) => None,
        _ => match (clock::from_local_input(&form.start), clock::from_local_input(&form.end)) {
            (Some(start), Some(end)) if start < end => Some(WindowRequest { start, end }),
            _ => {
                needed("window", true, "Give both times, the first before the second.");
                None
            }
        },
    };
    let parameters = schema::to_json(fields, &form.filled, matches).unwrap_or_else(|found| {
        wrong.extend(found.into_iter().map(|(name, reason)| (format!("parameter {name}"), reason)));
        Value::Null
    });
    match form.connection {
        Some(connection) if wrong.is_empty() => Ok(Drafted {
            connection,
            targets: form.targets.clone(),
            parameters,
            title: if form.title.trim().is_empty() { suggestion } else { form.title.trim() }
                .to_owned(),
            reason: form.reason.trim().to_owned(),
            ticket: Some(form.ticket.trim().to_owned()).filter(|ticket| !ticket.is_empty()),
            window,
        }),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use nexplane_core::id::AssetId;
    use uuid::Uuid;

    use super::*;

    fn chosen(name: &str) -> Chosen {
        Chosen { id: AssetId(Uuid::nil()), name: name.to_owned() }
    }

    fn form() -> Form {
        Form {
            connection: Some(ConnectionId(Uuid::nil())),
            targets: vec![chosen("app_reader")],
            filled: Filled::new(),
            title: String::new(),
            reason: " because ".to_owned(),
            ticket: " ".to_owned(),
            start: String::new(),
            end: String::new(),
            wrong: Wrong::new(),
        }
    }

    #[test]
    fn an_empty_title_is_suggested() {
        let drafted = check(&form(), &[], "Lock a role: app_reader").unwrap();
        assert_eq!(drafted.title, "Lock a role: app_reader");
        assert_eq!(drafted.reason, "because");
        assert_eq!(drafted.ticket, None);
    }

    #[test]
    fn what_is_missing_is_said() {
        let empty = Form { connection: None, targets: Vec::new(), reason: String::new(), ..form() };
        let wrong = check(&empty, &[], "x").unwrap_err();
        let names: Vec<_> = wrong.keys().map(String::as_str).collect();
        assert_eq!(names, ["connection_id", "reason", "targets"]);
    }
}
