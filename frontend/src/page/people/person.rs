//! The list of people, and the drawer that adds or edits one.

use std::collections::BTreeSet;

use nexplane_core::actor::Role;
use nexplane_core::api::{EditUserRequest, NewUserRequest, UserView};
use serde_json::Value;
use yew::prelude::*;

use crate::api::{self, ApiError};
use crate::component::badge::{Badge, Callout};
use crate::component::copy::CopyButton;
use crate::component::dialog::{Dialog, Shape};
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Checkbox, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::resource::{use_list, use_mutation};
use crate::words::{Label, Tone};

/// What each role may do, in one line.
const fn meaning(role: Role) -> &'static str {
    match role {
        Role::Viewer => "Reads changes, assets and hosts.",
        Role::Operator => "Drafts, plans, submits and executes approved changes; runs discovery.",
        Role::Approver => "Approves or rejects the changes of others.",
        Role::Auditor => "Reads everything including the audit log, exports and verifies.",
        Role::Responder => "May override a freeze with a justification; reviewed afterwards.",
        Role::Admin => "People, connections, policy, calendar, hosts. May not skip any gate.",
    }
}

#[derive(Clone, PartialEq)]
enum Open {
    Nothing,
    New,
    Edit(UserView),
}

#[component]
pub fn PersonList() -> Html {
    let list = use_list::<UserView>(Some("/users?limit=200".to_owned()));
    let open = use_state(|| Open::Nothing);
    let set_open = {
        let open = open.setter();
        Callback::from(move |what| open.set(what))
    };
    let on_saved = {
        let list = list.clone();
        Callback::from(move |()| list.reload())
    };
    let rows = list.items.iter().flat_map(|rows| rows.iter()).map(|person| {
        let (set_open, edited) = (set_open.clone(), person.clone());
        html! {
            <tr key={person.id.to_string()} data-testid="person-row" data-email={person.email.clone()}>
                <td class="col-main"><b>{ &person.name }</b><p class="row-waits">{ &person.email }</p></td>
                <td>{ for person.roles.iter().map(|role| html! { <span class="tag">{ role.as_str() }</span> }) }</td>
                <td><Badge label={status(person)} /></td>
                <td class="col-time"><Time at={person.created_at} /></td>
                <td class="col-buttons">
                    <button type="button" class="button small" data-testid="person-edit"
                        onclick={move |_| set_open.emit(Open::Edit(edited.clone()))}>{ "Edit" }</button>
                </td>
            </tr>
        }
    });
    html! {
        <section class="panel flush" aria-labelledby="people-title">
            <div class="panel-head">
                <h2 id="people-title">{ "People" }</h2>
                <button type="button" class="button primary" onclick={set_open.reform(|_: MouseEvent| Open::New)}
                    data-testid="new-person"><Icon glyph={Glyph::Plus} />{ "Add a person" }</button>
            </div>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} />
            }
            if list.items.is_some() {
                <div class="table-frame inner">
                    <table class="table" data-testid="person-list">
                        <thead><tr>
                            <th scope="col">{ "Person" }</th><th scope="col">{ "Roles" }</th><th scope="col">{ "State" }</th>
                            <th scope="col" class="col-time">{ "Added" }</th>
                            <th scope="col" class="col-buttons"><span class="visually-hidden">{ "What can be done" }</span></th>
                        </tr></thead>
                        <tbody>{ for rows }</tbody>
                    </table>
                </div>
            } else if list.error.is_none() {
                <Skeleton lines={4} />
            }
            {
                match &*open {
                    Open::Nothing => html! {},
                    Open::New => html! { <PersonForm on_close={set_open.reform(|()| Open::Nothing)} {on_saved} /> },
                    Open::Edit(person) => html! {
                        <PersonForm person={person.clone()} on_close={set_open.reform(|()| Open::Nothing)} {on_saved} />
                    },
                }
            }
        </section>
    }
}

fn status(person: &UserView) -> Label {
    if person.disabled {
        Label { text: "Disabled", tone: Tone::Neutral, glyph: Glyph::Blocked }
    } else {
        Label { text: "Active", tone: Tone::Active, glyph: Glyph::Dot }
    }
}

#[derive(Properties, PartialEq)]
struct PersonFormProps {
    #[prop_or_default]
    person: Option<UserView>,
    on_close: Callback<()>,
    on_saved: Callback<()>,
}

#[component]
fn PersonForm(props: &PersonFormProps) -> Html {
    let known = props.person.clone();
    let email = use_state_eq(|| known.as_ref().map(|p| p.email.clone()).unwrap_or_default());
    let name = use_state_eq(|| known.as_ref().map(|p| p.name.clone()).unwrap_or_default());
    let roles = use_state_eq(|| {
        known.as_ref().map_or_else(
            || BTreeSet::from([Role::Viewer]),
            |person| person.roles.iter().copied().collect::<BTreeSet<Role>>(),
        )
    });
    let disabled = use_state_eq(|| known.as_ref().is_some_and(|person| person.disabled));
    let save = use_mutation();
    // A password that the server made, shown once.
    let made = use_state(|| None::<String>);
    let onsubmit = {
        let (save, made, known) = (save.clone(), made.setter(), known.clone());
        let (email, name, roles, disabled) =
            (email.clone(), name.clone(), roles.clone(), *disabled);
        let (on_close, on_saved) = (props.on_close.clone(), props.on_saved.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (on_close, on_saved, made) = (on_close.clone(), on_saved.clone(), made.clone());
            let request = Request {
                email: email.trim().to_owned(),
                name: name.trim().to_owned(),
                roles: roles.iter().copied().collect(),
                disabled,
            };
            save.start(send(known.clone(), request), move |password| {
                on_saved.emit(());
                match password {
                    Some(password) => made.set(Some(password)),
                    None => on_close.emit(()),
                }
            });
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    let title =
        known.as_ref().map_or_else(|| "Add a person".to_owned(), |p| format!("Edit {}", p.name));
    html! {
        <Dialog {title} shape={Shape::Drawer} on_close={props.on_close.clone()} sticky={made.is_some()} testid="person-form">
            if let Some(password) = &*made {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning}>
                    <p>{ "Hand this password over now. It cannot be shown again." }</p>
                </Callout>
                <div class="secret-value">
                    <code data-testid="person-password">{ password }</code>
                    <CopyButton text={password.clone()} what="the password" />
                </div>
                <div class="actions">
                    <button type="button" class="button primary" onclick={close} data-testid="person-done">{ "Done" }</button>
                </div>
            } else {
                <form {onsubmit} class="form">
                    <TextInput id="person-name" label="Name" value={(*name).clone()} autofocus=true testid="person-name"
                        on_change={let name = name.setter(); move |text| name.set(text)} autocomplete="off" />
                    <TextInput id="person-email" label="E-mail" kind="email" value={(*email).clone()} testid="person-email"
                        on_change={let email = email.setter(); move |text| email.set(text)} disabled={known.is_some()}
                        autocomplete="off" />
                    <fieldset>
                        <legend>{ "Roles" }</legend>
                        { for Role::ALL.into_iter().map(|role| {
                            let roles = roles.clone();
                            html! {
                                <Checkbox id={format!("role-{}", role.as_str())} label={role.as_str()} help={meaning(role)}
                                    checked={roles.contains(&role)} testid={format!("role-{}", role.as_str())}
                                    on_change={move |on: bool| {
                                        let mut next = (*roles).clone();
                                        if on { next.insert(role); } else { next.remove(&role); }
                                        roles.set(next);
                                    }} />
                            }
                        }) }
                    </fieldset>
                    if known.is_some() {
                        <Checkbox id="person-disabled" label="Disabled" checked={*disabled} testid="person-disabled"
                            help="Cannot sign in any more. Nobody is ever deleted: the log names them."
                            on_change={let disabled = disabled.setter(); move |on| disabled.set(on)} />
                    } else {
                        <p class="faint small">{ "The server makes a password and shows it once." }</p>
                    }
                    if let Some(error) = save.error() {
                        <ProblemNote error={error.clone()} />
                    }
                    <div class="actions">
                        <button class="button primary" disabled={save.busy()} data-testid="person-save">{ "Save" }</button>
                        <button type="button" class="button" onclick={close}>{ "Back" }</button>
                    </div>
                </form>
            }
        </Dialog>
    }
}

struct Request {
    email: String,
    name: String,
    roles: Vec<Role>,
    disabled: bool,
}

/// Answers the password when the server made one.
async fn send(known: Option<UserView>, request: Request) -> Result<Option<String>, ApiError> {
    let Request { email, name, roles, disabled } = request;
    match known {
        None => {
            let request = NewUserRequest { email, name, roles, password: None };
            let made: Value = api::post("/users", &request).await?;
            Ok(made.get("password").and_then(Value::as_str).map(str::to_owned))
        }
        Some(person) => {
            let request = EditUserRequest {
                name: Some(name),
                roles: Some(roles),
                disabled: Some(disabled),
                password: None,
            };
            api::patch::<Value>(&format!("/users/{}", person.id), &request, None).await?;
            Ok(None)
        }
    }
}
