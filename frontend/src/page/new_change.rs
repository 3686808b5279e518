//! A new change: search what may be done, fill in the form, see the plan.

use std::rc::Rc;

use nexplane_core::api::{AssetView, ChangeView, ConnectionView, DraftRequest, Page};
use nexplane_core::catalog::{ActionSpec, Catalog};
use nexplane_core::id::{AssetId, ConnectionId};
use serde::{Deserialize, Serialize};
use web_sys::HtmlInputElement;
use yew::prelude::*;
use yew_router::prelude::*;

use super::change::PlanNow;
use super::draft_form::{DraftForm, Drafted, Known};
use crate::component::asset_picker::Chosen;
use crate::component::badge::{Badge, Callout};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::resource::{use_mutation, use_resource};
use crate::route::Route;
use crate::words::{self, Tone};
use crate::{api, search};

/// Where the form starts, as it stands in the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Start {
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<AssetId>,
}

#[component]
pub fn NewChange() -> Html {
    let start =
        use_location().and_then(|location| location.query::<Start>().ok()).unwrap_or_default();
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let connections =
        use_resource::<Page<ConnectionView>>(Some("/connections?limit=200".to_owned()));
    let target = use_resource::<AssetView>(start.target.map(|id| format!("/assets/{id}")));
    let error = catalog.error.clone().or(connections.error.clone()).or(target.error.clone());
    let body = match (&catalog.value, &connections.value) {
        (Some(catalog), Some(connections)) if start.target.is_none() || target.value.is_some() => {
            match catalog.action(&start.action) {
                None => html! {
                    <ActionPicker catalog={Rc::clone(catalog)} connections={Rc::clone(connections)}
                        target={target.value.clone()} />
                },
                Some(action) => html! {
                    <Draft key={action.id.clone()} action={action.clone()}
                        target={target.value.clone()} connections={fitting(connections, action)} />
                },
            }
        }
        _ if error.is_some() => html! {},
        _ => html! { <Skeleton lines={10} /> },
    };
    html! {
        <>
            <Head title="New change" lead="What should happen, to which target, and why." />
            if let Some(error) = error {
                <ProblemNote {error} />
            }
            { body }
        </>
    }
}

/// The connections of the action's connector.
pub fn fitting(connections: &Page<ConnectionView>, action: &ActionSpec) -> Vec<ConnectionView> {
    let connector = action.id.split('.').next().unwrap_or_default();
    connections.items.iter().filter(|one| one.kind == connector).cloned().collect()
}

#[derive(Properties)]
struct ActionPickerProps {
    catalog: Rc<Catalog>,
    connections: Rc<Page<ConnectionView>>,
    /// Only what can be done to it.
    target: Option<Rc<AssetView>>,
}

impl PartialEq for ActionPickerProps {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.catalog, &other.catalog)
            && Rc::ptr_eq(&self.connections, &other.connections)
            && self.target == other.target
    }
}

#[component]
fn ActionPicker(props: &ActionPickerProps) -> Html {
    let typed = use_state_eq(String::new);
    let node = use_node_ref();
    {
        let node = node.clone();
        use_effect_with((), move |()| {
            if let Some(input) = node.cast::<HtmlInputElement>() {
                // It is on the page: this effect runs after it was put there.
                let _ = input.focus();
            }
        });
    }
    let oninput = {
        let typed = typed.setter();
        Callback::from(move |event: InputEvent| {
            typed.set(event.target_unchecked_into::<HtmlInputElement>().value());
        })
    };
    let connected: Vec<&str> = props.connections.items.iter().map(|one| &*one.kind).collect();
    let mut offers = search::actions(&props.catalog, &connected, &typed);
    if let Some(target) = &props.target {
        offers.retain(|offer| offer.action.target_types.contains(&target.kind));
    }
    let rows = offers.iter().map(|offer| {
        let mut query = vec![("action", offer.action.id.clone())];
        query.extend(props.target.as_ref().map(|target| ("target", target.id.to_string())));
        let (reversibility, _) = words::reversibility(&offer.action.reversibility);
        html! {
            <li key={offer.action.id.clone()}>
                <Link to={Route::NewChange} {query} row=true class="offer" testid="action-option">
                    <span class="offer-main">
                        <b>{ &offer.action.title }</b>
                        <span class="offer-what">{ &offer.action.description }</span>
                    </span>
                    <span class="tag">
                        { &offer.connector.title }
                        if !offer.is_ready { { " · no connection yet" } }
                    </span>
                    <Badge label={reversibility} />
                </Link>
            </li>
        }
    });
    html! {
        <section class="panel flush">
            <div class="picker-head big">
                <Icon glyph={Glyph::Search} />
                <input ref={node} type="text" class="bare" value={(*typed).clone()} {oninput}
                    data-search="page" placeholder="What should happen? Try “lock”, “rotate” or “file”"
                    aria-label="Search kinds of change" autocomplete="off" spellcheck="false"
                    data-testid="action-search" />
            </div>
            if let Some(target) = &props.target {
                <p class="picker-note">{ "What can be done to " }<b>{ &target.name }</b>{ ":" }</p>
            }
            if offers.is_empty() {
                <Empty glyph={Glyph::Search} title="Nothing of that kind can be done here">
                    <p>{ "Use another word, or fewer letters. What can be done depends on the \
                          connectors of this installation." }</p>
                </Empty>
            } else {
                <ul class="offers" data-testid="action-list">{ for rows }</ul>
            }
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct DraftProps {
    action: ActionSpec,
    target: Option<Rc<AssetView>>,
    connections: Vec<ConnectionView>,
}

#[component]
fn Draft(props: &DraftProps) -> Html {
    let create = use_mutation();
    let navigator = use_navigator().expect("every page is inside the router");
    let on_submit = {
        let (create, action) = (create.clone(), props.action.id.clone());
        Callback::from(move |drafted: Drafted| {
            let request = DraftRequest {
                title: drafted.title,
                reason: drafted.reason,
                ticket: drafted.ticket,
                change_type: action.clone(),
                connection_id: drafted.connection,
                targets: drafted.targets.iter().map(|target| target.id.to_string()).collect(),
                parameters: drafted.parameters,
                window: drafted.window,
                rollout: None,
                auto_rollback: false,
            };
            let navigator = navigator.clone();
            create.start(
                async move { api::post::<ChangeView>("/change-requests", &request).await },
                move |change| {
                    navigator.push_with_state(&Route::Change { id: change.id }, PlanNow);
                },
            );
        })
    };
    let known = known(props.target.as_deref());
    let query = props.target.iter().map(|target| ("target", target.id.to_string()));
    html! {
        <div class="split">
            <section class="panel">
                <div class="chosen-action">
                    <div>
                        <p class="faint small">{ "What should happen" }</p>
                        <h2 data-testid="action-chosen">{ &props.action.title }</h2>
                    </div>
                    <Link to={Route::NewChange} query={query.collect::<Vec<_>>()} class="button small"
                        testid="action-change">{ "Choose another" }</Link>
                </div>
                <DraftForm action={props.action.clone()} connections={props.connections.clone()} {known}
                    busy={create.busy()} error={create.error().cloned()} {on_submit} />
            </section>
            <ActionFacts action={props.action.clone()} />
        </div>
    }
}

fn known(target: Option<&AssetView>) -> Known {
    let connection: Option<ConnectionId> = target.map(|target| target.connection_id);
    let targets = target
        .map(|target| Chosen { id: target.id, name: target.name.clone() })
        .into_iter()
        .collect();
    Known { connection, targets, ..Known::default() }
}

#[derive(Properties, PartialEq)]
pub struct ActionFactsProps {
    pub action: ActionSpec,
}

/// What an action does and what it means, before anything is drafted.
#[component]
pub fn ActionFacts(props: &ActionFactsProps) -> Html {
    let action = &props.action;
    let (way_back, why) = words::reversibility(&action.reversibility);
    let (class, meaning) = words::effect_class(action.effect_class);
    html! {
        <aside class="panel facts-panel" aria-label="About this kind of change">
            <p>{ &action.description }</p>
            if !action.reversibility.is_reversible() {
                <Callout tone={Tone::Failed} glyph={Glyph::OneWay} testid="one-way-warning">
                    <p><b>{ "This cannot be undone. " }</b>{ why.clone() }</p>
                </Callout>
            }
            <dl class="facts">
                <div><dt>{ "Way back" }</dt><dd><Badge label={way_back} /><p class="faint small">{ why }</p></dd></div>
                <div><dt>{ "Effect" }</dt><dd>{ class }<p class="faint small">{ meaning }</p></dd></div>
                <div><dt>{ "Base risk" }</dt><dd>{ format!("{} of 9", action.base_risk) }</dd></div>
                if !action.permissions.is_empty() {
                    <div><dt>{ "Needs on the target" }</dt><dd>
                        <ul class="plain">
                            { for action.permissions.iter().map(|p| html! { <li><code>{ p }</code></li> }) }
                        </ul>
                    </dd></div>
                }
                if !action.produces.is_empty() {
                    <div><dt>{ "Produces" }</dt><dd>
                        { action.produces.join(", ") }
                        <p class="faint small">{ "Shown once, to whoever requested the change." }</p>
                    </dd></div>
                }
                <div><dt>{ "Id" }</dt><dd><code>{ &action.id }</code></dd></div>
            </dl>
        </aside>
    }
}
