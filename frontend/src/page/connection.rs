//! One connection: what it may do there, what it found, and what happened to it.

use std::cmp::Ordering;
use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::{ConnectionView, DiscoverResult, EventView, TestResult};
use nexplane_core::catalog::{Catalog, ConnectorSpec};
use nexplane_core::id::ConnectionId;
use nexplane_core::secret_ref::{SecretRef, VaultRef};
use yew::prelude::*;

use super::change::check_line;
use super::connection_form::ConnectionForm;
use super::connections::{discovered, settings_line};
use crate::component::badge::{Badge, EnvironmentBadge};
use crate::component::event_list::EventList;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::rights::Rights;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::component::toast::use_toaster;
use crate::live::use_live;
use crate::resource::{List, use_list, use_mutation, use_resource};
use crate::route::Route;
use crate::session::{has, use_me};
use crate::{api, format, words};

#[derive(Properties, PartialEq)]
pub struct ConnectionProps {
    pub id: ConnectionId,
}

#[component]
pub fn Connection(props: &ConnectionProps) -> Html {
    let id = props.id;
    let connection = use_resource::<ConnectionView>(Some(format!("/connections/{id}")));
    let history = use_list::<EventView>(Some(format!("/connections/{id}/history?limit=20")));
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let editing = use_state_eq(|| false);
    {
        let (connection, history) = (connection.clone(), history.clone());
        use_live(
            vec!["connections".to_owned()],
            Callback::from(move |event: crate::live::Event| {
                connection.reload_at(event.position());
                history.refresh_at(event.position(), by_position);
            }),
        );
    }
    let Some(view) = connection.value.clone() else {
        return match connection.error.clone() {
            Some(error) => html! { <ProblemNote {error} retry={move |()| connection.reload()} /> },
            None => html! { <Skeleton lines={12} /> },
        };
    };
    let spec = catalog.value.as_deref().and_then(|catalog| catalog.connector(&view.kind)).cloned();
    let on_changed = {
        let (connection, history) = (connection.clone(), history.clone());
        Callback::from(move |()| {
            connection.reload();
            history.refresh_at(None, by_position);
        })
    };
    let close = {
        let editing = editing.setter();
        Callback::from(move |()| editing.set(false))
    };
    html! {
        <article class="host" data-testid="connection-page" data-id={id.to_string()} data-status={view.status.clone()}>
            { head(&view, spec.as_ref()) }
            <Acts connection={Rc::clone(&view)} on_changed={on_changed.clone()}
                on_edit={let editing = editing.setter(); move |()| editing.set(true)}
                editable={spec.as_ref().is_some_and(|spec| spec.managed)} />
            <div class="split">
                <div class="stack">
                    { permissions(&view, spec.as_ref()) }
                    { events(&history) }
                </div>
                <div class="stack side">
                    { facts(&view) }
                </div>
            </div>
            if let Some(catalog) = catalog.value.clone().filter(|_| *editing) {
                <ConnectionForm {catalog} connection={(*view).clone()} on_close={close.clone()}
                    on_saved={move |_| { close.emit(()); on_changed.emit(()); }} />
            }
        </article>
    }
}

fn by_position(one: &EventView, other: &EventView) -> Ordering {
    one.position.cmp(&other.position)
}

fn head(view: &ConnectionView, spec: Option<&ConnectorSpec>) -> Html {
    let title = spec.map_or_else(|| view.kind.clone(), |spec| spec.title.clone());
    html! {
        <header class="head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Connections}>{ "Connections" }</Link><Icon glyph={Glyph::Chevron} />
                    <span>{ "Connection" }</span>
                </p>
                <h1 data-testid="connection-name">{ &view.name }</h1>
                <p class="badges">
                    <span class="tag">{ title }</span>
                    <EnvironmentBadge environment={view.environment} />
                    <Badge label={words::connection_status(&view.status)} testid="connection-status" value={view.status.clone()} />
                </p>
            </div>
        </header>
    }
}

#[derive(Properties, PartialEq)]
struct ActsProps {
    connection: Rc<ConnectionView>,
    editable: bool,
    on_changed: Callback<()>,
    on_edit: Callback<()>,
}

/// Whether it is as it should be, and what can be done.
#[component]
fn Acts(props: &ActsProps) -> Html {
    let connection = &props.connection;
    let (test, discover) = (use_mutation(), use_mutation());
    let toaster = use_toaster();
    let me = use_me();
    let admin = has(me.as_deref(), Role::Admin);
    let operates = admin || has(me.as_deref(), Role::Operator);
    let id = connection.id;
    let on_test = {
        let (test, on_changed) = (test.clone(), props.on_changed.clone());
        Callback::from(move |_: MouseEvent| {
            let on_changed = on_changed.clone();
            test.start(
                async move { api::act::<TestResult>(&format!("/connections/{id}/test")).await },
                move |_| on_changed.emit(()),
            );
        })
    };
    let on_discover = {
        let (discover, on_changed) = (discover.clone(), props.on_changed.clone());
        Callback::from(move |_: MouseEvent| {
            let (on_changed, toaster) = (on_changed.clone(), toaster.clone());
            discover.start(
                async move {
                    api::act::<DiscoverResult>(&format!("/connections/{id}/discover")).await
                },
                move |result| {
                    toaster.say(discovered(&result));
                    on_changed.emit(());
                },
            );
        })
    };
    let label = words::connection_status(&connection.status);
    html! {
        <section class={classes!("next", label.tone.class())} aria-label="How it is">
            <div class="next-row">
                <p class="next-sentence" data-testid="connection-reason" role="status">
                    <Icon glyph={label.glyph} /><span>{ reason(connection) }</span>
                </p>
                <div class="next-actions">
                    if operates {
                        <button type="button" class="button" onclick={on_test} disabled={test.busy()} data-testid="connection-test">
                            { if test.busy() { "Testing…" } else { "Test" } }
                        </button>
                        <button type="button" class="button" onclick={on_discover} disabled={discover.busy()} data-testid="connection-discover">
                            { if discover.busy() { "Discovering…" } else { "Discover" } }
                        </button>
                    }
                    if props.editable && admin {
                        <button type="button" class="button" onclick={props.on_edit.reform(|_: MouseEvent| ())} data-testid="connection-edit">
                            { "Edit" }
                        </button>
                    }
                </div>
            </div>
            { for test.error().or(discover.error()).map(|error| html! { <ProblemNote error={error.clone()} /> }) }
            if let Some(error) = &connection.discovery_error {
                <div class="why-not"><p data-testid="discovery-error">
                    { format!("The last discovery failed, and nothing was changed by it: {}", words::sentence(error)) }
                </p></div>
            }
        </section>
    }
}

/// In a sentence, what the last test says.
fn reason(connection: &ConnectionView) -> String {
    let failed = connection.checks.iter().filter(|check| !check.ok).count();
    match (connection.status.as_str(), failed) {
        ("ok", _) => "Everything that its actions need is allowed.".to_owned(),
        ("failing", 1) => "One permission is missing; what to do is below.".to_owned(),
        ("failing", failed) => format!("{failed} permissions are missing; what to do is below."),
        _ => "Nobody has tested it since its credentials were given.".to_owned(),
    }
}

fn permissions(view: &ConnectionView, spec: Option<&ConnectorSpec>) -> Html {
    html! {
        <section class="panel order-1" aria-labelledby="permissions-title">
            <h2 id="permissions-title">{ "Permissions" }</h2>
            if view.checks.is_empty() {
                <p class="faint">{ "Test the connection: each permission is tried on its own, and nothing is changed." }</p>
            } else {
                <ul class="checks" data-testid="connection-checks">{ for view.checks.iter().map(check_line) }</ul>
            }
            if let Some(spec) = spec {
                <Rights connector={spec.clone()} open={view.status == "failing"} />
            }
        </section>
    }
}

fn facts(view: &ConnectionView) -> Html {
    let never = || html! { <span class="faint">{ "never" }</span> };
    let time = |at: Option<_>| at.map_or_else(never, |at| html! { <Time {at} relative=true /> });
    html! {
        <section class="panel order-2" aria-labelledby="facts-title" data-testid="connection-facts">
            <h2 id="facts-title">{ "What it is" }</h2>
            <dl class="facts">
                if let Some(settings) = settings_line(view) {
                    <div><dt>{ "Settings" }</dt><dd class="wrap-any">{ settings }</dd></div>
                }
                { for places(view) }
                <div><dt>{ "Assets" }</dt><dd>
                    <Link to={Route::Assets} query={vec![("connection", view.id.to_string())]} testid="connection-assets">
                        { format::count(view.assets, "asset", "assets") }
                    </Link>
                </dd></div>
                <div><dt>{ "Discovery" }</dt><dd data-testid="connection-every-shown">
                    { words::every(view.discover_every_s.unwrap_or(0)) }
                </dd></div>
                <div><dt>{ "Discovered" }</dt><dd>{ time(view.discovered_at) }</dd></div>
                if let Some(at) = view.discover_next {
                    <div><dt>{ "Next" }</dt><dd><Time {at} relative=true /></dd></div>
                }
                <div><dt>{ "Tested" }</dt><dd>{ time(view.tested_at) }</dd></div>
                <div><dt>{ "At a time" }</dt><dd>
                    { format::count(u64::from(view.limits.sessions), "session", "sessions") }
                    if let Some(count) = view.limits.per_minute {
                        { format!(", {} a minute", format::number(u64::from(count))) }
                    }
                </dd></div>
                <div><dt>{ "Added" }</dt><dd><Time at={view.created_at} /></dd></div>
            </dl>
        </section>
    }
}

/// Where its secrets are that it does not hold itself.
fn places(view: &ConnectionView) -> Vec<Html> {
    let settings = view.settings.as_object().into_iter().flatten();
    let references = settings.filter_map(|(name, value)| Some((name, SecretRef::of(value)?.ok()?)));
    references
        .map(|(name, reference)| {
            let place = match &reference {
                SecretRef::File(file) => html! { <>{ "in the file " }<code>{ file }</code></> },
                SecretRef::Vault(vault) => {
                    let VaultRef { connection, mount, path, field, version } = vault;
                    let reader = match connection.parse() {
                        Ok(id) => html! { <Link to={Route::Connection { id }}>{ "Vault" }</Link> },
                        Err(_) => html! { "Vault" },
                    };
                    html! {
                        <>
                            { "in " }{ reader }{ ": " }<code>{ field }</code>{ " of " }<code>{ format!("{mount}/{path}") }</code>
                            { version.map(|version| format!(", version {version}")).unwrap_or_default() }
                        </>
                    }
                }
            };
            html! {
                <div><dt>{ format::humanise(name) }</dt>
                    <dd class="wrap-any" data-testid="secret-place" data-field={name.clone()}>{ place }</dd></div>
            }
        })
        .collect()
}

fn events(history: &List<EventView>) -> Html {
    html! {
        <section class="panel order-6" aria-labelledby="history-title" data-testid="connection-history">
            <h2 id="history-title">{ "Tests, discoveries and settings" }</h2>
            if let Some(events) = history.items.clone() {
                <EventList events={(*events).clone()} />
                if history.more {
                    <button type="button" class="button wide" disabled={history.loading} data-testid="load-more"
                        onclick={let history = history.clone(); move |_| history.load_more()}>
                        { "Load more" }
                    </button>
                }
            } else if let Some(error) = history.error.clone() {
                <ProblemNote {error} />
            } else {
                <Skeleton lines={4} />
            }
        </section>
    }
}
