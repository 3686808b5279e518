//! Connections: what is reachable, with which rights, and what was found there.

use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::{ConnectionView, DiscoverResult, TestResult};
use nexplane_core::catalog::Catalog;
use nexplane_core::plan::Check;
use yew::prelude::*;

use super::change::check_line;
use super::connection_form::ConnectionForm;
use crate::api;
use crate::component::badge::{Badge, EnvironmentBadge};
use crate::component::dialog::{Dialog, Shape};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::component::toast::use_toaster;
use crate::live::use_live;
use crate::resource::{List, use_list, use_mutation, use_resource};
use crate::route::Route;
use crate::session::{has, use_me};
use crate::{format, words};

#[derive(Clone, PartialEq)]
enum Open {
    Nothing,
    New,
    Edit(ConnectionView),
    Remove(ConnectionView),
}

#[component]
pub fn Connections() -> Html {
    let list = use_list::<ConnectionView>(Some("/connections?limit=200".to_owned()));
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let open = use_state(|| Open::Nothing);
    let admin = has(use_me().as_deref(), Role::Admin);
    {
        let list = list.clone();
        use_live(
            vec!["connections".to_owned()],
            Callback::from(move |event: crate::live::Event| list.reload_at(event.position())),
        );
    }
    let set_open = {
        let open = open.setter();
        Callback::from(move |what| open.set(what))
    };
    let close = set_open.reform(|()| Open::Nothing);
    let on_saved = {
        let (list, set_open) = (list.clone(), set_open.clone());
        Callback::from(move |saved: ConnectionView| {
            list.edit(move |rows| match rows.iter_mut().find(|row| row.id == saved.id) {
                Some(row) => *row = saved,
                None => rows.push(saved),
            });
            set_open.emit(Open::Nothing);
        })
    };
    let why_not = (!admin).then_some("Only an administrator adds connections.");
    let button = html! {
        <button type="button" class="button primary" disabled={!admin} title={why_not}
            onclick={set_open.reform(|_: MouseEvent| Open::New)} data-testid="new-connection">
            <Icon glyph={Glyph::Plus} />{ "Add a connection" }
        </button>
    };
    html! {
        <>
            <Head title="Connections" lead="Accounts that Nexplane uses to read and change targets.">
                { button.clone() }
            </Head>
            if let Some(error) = list.error.clone().or(catalog.error.clone()) {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            { body(&list, catalog.value.as_deref(), &set_open, admin, button) }
            {
                match (&*open, &catalog.value) {
                    (Open::New, Some(catalog)) => html! {
                        <ConnectionForm catalog={Rc::clone(catalog)} on_close={close} {on_saved} />
                    },
                    (Open::Edit(connection), Some(catalog)) => html! {
                        <ConnectionForm catalog={Rc::clone(catalog)} connection={connection.clone()}
                            on_close={close} {on_saved} />
                    },
                    (Open::Remove(connection), _) => html! {
                        <Remove connection={connection.clone()} on_close={close}
                            on_done={let list = list.clone(); move |()| list.reload()} />
                    },
                    (Open::Nothing | Open::New | Open::Edit(_), _) => html! {},
                }
            }
        </>
    }
}

fn body(
    list: &List<ConnectionView>,
    catalog: Option<&Catalog>,
    set_open: &Callback<Open>,
    admin: bool,
    button: Html,
) -> Html {
    match &list.items {
        None if list.error.is_none() => html! { <Skeleton lines={6} /> },
        None => html! {},
        Some(rows) if rows.is_empty() => html! {
            <Empty glyph={Glyph::Connections} title="Nothing is connected" testid="connections-empty">
                <p>{ "Add an account on a database, a directory or a cloud. Its rights are tested line by \
                      line, then discovery finds what can be changed there." }</p>
                { button }
            </Empty>
        },
        Some(rows) => html! {
            <ul class="cards" data-testid="connection-list">
                { for rows.iter().map(|connection| {
                    let spec = catalog.and_then(|catalog| catalog.connector(&connection.kind));
                    html! {
                        <Card key={connection.id.to_string()} connection={connection.clone()} {admin}
                            title={spec.map_or_else(|| connection.kind.clone(), |spec| spec.title.clone())}
                            editable={spec.is_some_and(|spec| spec.managed)}
                            on_changed={let list = list.clone(); move |()| list.reload()}
                            on_open={set_open.clone()} />
                    }
                }) }
            </ul>
        },
    }
}

#[derive(Properties, PartialEq)]
struct CardProps {
    connection: ConnectionView,
    /// Of its connector.
    title: String,
    /// People made it; the others come with their agents.
    editable: bool,
    admin: bool,
    on_changed: Callback<()>,
    on_open: Callback<Open>,
}

#[component]
fn Card(props: &CardProps) -> Html {
    let connection = &props.connection;
    let test = use_mutation();
    let discover = use_mutation();
    let toaster = use_toaster();
    // The answer of a test is shown at once, before the row is read again.
    let tested = use_state(|| None::<Vec<Check>>);
    let id = connection.id;
    let on_test = {
        let (test, tested, on_changed) = (test.clone(), tested.setter(), props.on_changed.clone());
        Callback::from(move |_: MouseEvent| {
            let (tested, on_changed) = (tested.clone(), on_changed.clone());
            test.start(
                async move { api::act::<TestResult>(&format!("/connections/{id}/test")).await },
                move |result| {
                    tested.set(Some(result.checks));
                    on_changed.emit(());
                },
            );
        })
    };
    let on_discover = {
        let (discover, on_changed) = (discover.clone(), props.on_changed.clone());
        let name = connection.name.clone();
        Callback::from(move |_: MouseEvent| {
            let (on_changed, toaster, name) = (on_changed.clone(), toaster.clone(), name.clone());
            discover.start(
                async move {
                    api::act::<DiscoverResult>(&format!("/connections/{id}/discover")).await
                },
                move |result| {
                    toaster.say(format!("{name}: {}", discovered(&result)));
                    on_changed.emit(());
                },
            );
        })
    };
    let open = |what: fn(ConnectionView) -> Open| {
        let (on_open, connection) = (props.on_open.clone(), connection.clone());
        Callback::from(move |_: MouseEvent| on_open.emit(what(connection.clone())))
    };
    let checks = (*tested).clone().unwrap_or_else(|| connection.checks.clone());
    let failing = checks.iter().any(|check| !check.ok);
    html! {
        <li class="card" data-testid="connection" data-name={connection.name.clone()} data-status={connection.status.clone()}>
            <div class="card-head">
                <h2 class="card-title" data-testid="connection-name">
                    <Link to={Route::Connection { id }} testid="connection-open">{ &connection.name }</Link>
                </h2>
                <span class="badges">
                    <span class="tag">{ &props.title }</span>
                    <EnvironmentBadge environment={connection.environment} />
                    <Badge label={words::connection_status(&connection.status)} testid="connection-status"
                        value={connection.status.clone()} />
                </span>
            </div>
            if let Some(settings) = settings_line(connection) {
                <p class="card-facts faint small wrap-any">{ settings }</p>
            }
            <p class="card-facts small">
                <Link to={Route::Assets} query={vec![("connection", id.to_string())]} testid="connection-assets">
                    { format::count(connection.assets, "asset", "assets") }
                </Link>
                <span class="faint">
                    { match connection.discovered_at {
                        Some(at) => html! { <>{ " · discovered " }<Time {at} relative=true /></> },
                        None => html! { " · never discovered" },
                    } }
                    if let Some(at) = connection.tested_at {
                        { " · tested " }<Time {at} relative=true />
                    }
                </span>
            </p>
            if let Some(error) = &connection.discovery_error {
                <p class="card-why-not"><Icon glyph={Glyph::Warning} />{ words::sentence(error) }</p>
            }
            if !checks.is_empty() {
                <details class="checks" open={failing || tested.is_some()}>
                    <summary>{ "Permissions" }</summary>
                    <ul data-testid="connection-checks">{ for checks.iter().map(check_line) }</ul>
                </details>
            }
            { for test.error().or(discover.error()).map(|error| html! { <ProblemNote error={error.clone()} /> }) }
            <div class="actions">
                <button type="button" class="button small" onclick={on_test} disabled={test.busy()} data-testid="connection-test">
                    { if test.busy() { "Testing…" } else { "Test" } }
                </button>
                <button type="button" class="button small" onclick={on_discover} disabled={discover.busy()} data-testid="connection-discover">
                    { if discover.busy() { "Discovering…" } else { "Discover" } }
                </button>
                if props.editable && props.admin {
                    <button type="button" class="button small" onclick={open(Open::Edit)} data-testid="connection-edit">{ "Edit" }</button>
                    <button type="button" class="button small danger" onclick={open(Open::Remove)} data-testid="connection-remove">{ "Remove" }</button>
                }
            </div>
        </li>
    }
}

/// Its settings in a line, without what is long and where secrets are.
pub fn settings_line(connection: &ConnectionView) -> Option<String> {
    let line = connection
        .settings
        .as_object()?
        .iter()
        .filter(|(_, value)| !value.is_null() && !value.is_object())
        .filter(|(_, value)| value.as_str().is_none_or(|text| text.len() < 80))
        .map(|(name, value)| {
            format!("{} {}", format::humanise(name).to_lowercase(), format::json(value))
        })
        .collect::<Vec<_>>()
        .join(" · ");
    Some(line).filter(|line| !line.is_empty())
}

pub fn discovered(result: &DiscoverResult) -> String {
    format!(
        "{} found, {} new, {} changed, {} gone.",
        format::count(result.found, "asset", "assets"),
        format::number(result.new),
        format::number(result.changed),
        format::number(result.gone)
    )
}

#[derive(Properties, PartialEq)]
struct RemoveProps {
    connection: ConnectionView,
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[component]
fn Remove(props: &RemoveProps) -> Html {
    let call = use_mutation();
    let id = props.connection.id;
    let onclick = {
        let (call, on_close, on_done) =
            (call.clone(), props.on_close.clone(), props.on_done.clone());
        Callback::from(move |_: MouseEvent| {
            let (on_close, on_done) = (on_close.clone(), on_done.clone());
            call.start(
                async move { api::delete(&format!("/connections/{id}")).await },
                move |()| {
                    on_done.emit(());
                    on_close.emit(());
                },
            );
        })
    };
    html! {
        <Dialog title={format!("Remove {}", props.connection.name)} shape={Shape::Centre}
            on_close={props.on_close.clone()} testid="remove-dialog">
            <p>{ "Its credentials are erased. Its assets stay in the inventory and its changes in the log, \
                  but nothing new can be done there." }</p>
            if let Some(error) = call.error() {
                <ProblemNote error={error.clone()} />
            }
            <div class="actions">
                <button type="button" class="button danger solid" {onclick} disabled={call.busy()} data-testid="remove-confirm">{ "Remove" }</button>
                <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
            </div>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_is_summed_up() {
        let result = DiscoverResult { found: 1_200, new: 3, changed: 0, gone: 1 };
        assert_eq!(discovered(&result), "1,200 assets found, 3 new, 0 changed, 1 gone.");
    }
}
