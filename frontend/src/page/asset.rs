//! One asset: what it is, what belongs to operators, what depends on it, what happened to it; now, or as it was known
//! at a moment.

mod drift;
mod owned;
mod past;

use std::collections::BTreeMap;
use std::rc::Rc;

use nexplane_core::api::{AssetView, BlastRadius, DependantView, EventView, Page, RelationView};
use nexplane_core::catalog::Catalog;
use nexplane_core::id::{AssetId, HostId};
use serde_json::Value;
use yew::prelude::*;

use crate::component::badge::{Badge, EnvironmentBadge};
use crate::component::event_list::{self, EventList};
use crate::component::graph::{Graph, critical};
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::graph::{Edge, Node};
use crate::live::use_live;
use crate::page::change::use_at;
use crate::resource::use_resource;
use crate::route::Route;
use crate::{format, query, words};

/// Dependants that are listed at once.
const LISTED: usize = 100;

#[derive(Properties, PartialEq)]
pub struct AssetProps {
    pub id: AssetId,
}

#[component]
pub fn Asset(props: &AssetProps) -> Html {
    let id = props.id;
    let asset = use_resource::<AssetView>(Some(format!("/assets/{id}")));
    let history = use_resource::<Page<EventView>>(Some(format!("/assets/{id}/history")));
    let radius = use_resource::<BlastRadius>(Some(format!("/assets/{id}/blast-radius")));
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    {
        let (asset, history) = (asset.clone(), history.clone());
        use_live(
            vec!["assets".to_owned()],
            Callback::from(move |event: crate::live::Event| {
                let ids = event.ids();
                if ids.is_empty() || ids.contains(&id.0) {
                    asset.reload_at(event.position());
                    history.reload_at(event.position());
                }
            }),
        );
    }
    let at = use_at();
    let then = use_resource::<AssetView>(
        at.as_ref().map(|at| query::with(&format!("/assets/{id}"), &[("at", at)])),
    );
    if let Some(at) = at {
        return match (then.value.clone(), then.error.clone()) {
            (_, Some(error)) => html! {
                <>
                    <past::Moment {id} at={AttrValue::from(at)} then={None::<Rc<AssetView>>} />
                    <ProblemNote {error} retry={move |()| then.reload()} />
                </>
            },
            (Some(view), None) => known_then(&view, at),
            (None, None) => html! { <Skeleton lines={12} /> },
        };
    }
    let Some(view) = asset.value.clone() else {
        return match asset.error.clone() {
            Some(error) => html! { <ProblemNote {error} retry={move |()| asset.reload()} /> },
            None => html! { <Skeleton lines={12} /> },
        };
    };
    let on_saved = {
        let (asset, history) = (asset.clone(), history.clone());
        Callback::from(move |saved: AssetView| {
            history.reload_at(Some(saved.position));
            asset.set(saved);
        })
    };
    let on_stale = {
        let (asset, history) = (asset.clone(), history.clone());
        Callback::from(move |()| {
            asset.reload();
            history.reload();
        })
    };
    html! {
        <article data-testid="asset" data-id={id.to_string()} data-version={view.version.to_string()}>
            { head(&view) }
            <past::Moment {id} at={None::<AttrValue>} then={None::<Rc<AssetView>>} />
            <div class="split">
                <div class="stack">
                    { actions(&view, catalog.value.as_deref()) }
                    { facts(&view) }
                    <drift::Drift {id} version={view.version} position={view.position} />
                    { related(&view) }
                    <section class="panel" aria-labelledby="history-title">
                        <div class="panel-head">
                            <h2 id="history-title">{ "History" }</h2>
                            <Link to={Route::Changes} class="small" testid="asset-changes"
                                query={vec![("target", id.to_string())]}>
                                { "Its changes" }
                            </Link>
                        </div>
                        if let Some(page) = history.value.clone() {
                            <EventList events={page.items.clone()} />
                        } else if let Some(error) = history.error.clone() {
                            <ProblemNote {error} />
                        } else {
                            <Skeleton lines={4} />
                        }
                    </section>
                </div>
                <div class="stack side">
                    <owned::Owned asset={Rc::clone(&view)} who={history.value.as_deref().and_then(edited)}
                        {on_saved} {on_stale} />
                    <section class="panel" aria-labelledby="blast-title" data-testid="blast-radius">
                        <h2 id="blast-title">{ "Blast radius" }</h2>
                        if let Some(radius) = radius.value.clone() {
                            <Dependants {radius} />
                        } else if let Some(error) = radius.error.clone() {
                            <ProblemNote {error} />
                        } else {
                            <Skeleton lines={3} />
                        }
                    </section>
                </div>
            </div>
        </article>
    }
}

/// Who said something of it last, and when.
fn edited(history: &Page<EventView>) -> Option<(String, nexplane_core::time::Timestamp)> {
    let event = history.items.iter().find(|event| event.kind == "asset.annotated")?;
    Some((event_list::name(event), event.at))
}

/// Nothing can be done to the past.
fn known_then(view: &Rc<AssetView>, at: String) -> Html {
    html! {
        <article data-testid="asset" data-id={view.id.to_string()} data-version={view.version.to_string()}
            data-past="true">
            { head(view) }
            <past::Moment id={view.id} at={AttrValue::from(at)} then={Rc::clone(view)} />
            <div class="split">
                <div class="stack">
                    { facts(view) }
                    { related(view) }
                </div>
                <div class="stack side">
                    <section class="panel" aria-labelledby="said-title" data-testid="asset-said">
                        <h2 id="said-title">{ "What operators said" }</h2>
                        <dl class="facts">
                            <div><dt>{ "Owner" }</dt><dd>{ view.owner.as_deref().unwrap_or("—") }</dd></div>
                            <div><dt>{ "Tags" }</dt><dd>{ if view.tags.is_empty() { "—".to_owned() } else { view.tags.join(", ") } }</dd></div>
                            <div><dt>{ "Critical" }</dt><dd>{ if view.critical { "yes" } else { "no" } }</dd></div>
                            <div><dt>{ "Environment" }</dt><dd>{ words::environment(view.environment) }</dd></div>
                        </dl>
                    </section>
                </div>
            </div>
        </article>
    }
}

fn facts(view: &AssetView) -> Html {
    html! {
        <section class="panel" aria-labelledby="facts-title">
            <h2 id="facts-title">{ "What discovery found" }</h2>
            { metadata(&view.metadata) }
        </section>
    }
}

fn head(asset: &AssetView) -> Html {
    html! {
        <header class="head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Assets}>{ "Assets" }</Link><Icon glyph={Glyph::Chevron} />
                    <span>{ format::humanise(&asset.kind) }</span>
                </p>
                <h1 data-testid="asset-name">{ &asset.name }</h1>
                <p class="badges">
                    <Badge label={words::asset_status(&asset.status)} />
                    <EnvironmentBadge environment={asset.environment} />
                    if asset.critical {
                        <span class="tag strong">{ "critical" }</span>
                    }
                    <code>{ &asset.key }</code>
                    if asset.kind == "host" {
                        // The built-in connection of a host has the host's id.
                        <Link to={Route::Host { id: HostId(asset.connection_id.0) }} testid="asset-host">
                            { "Its agent" }
                        </Link>
                    }
                </p>
                <p class="lead small">
                    { "First seen " }<Time at={asset.first_seen} />{ ", last seen " }<Time at={asset.last_seen} />
                </p>
            </div>
        </header>
    }
}

/// What can be done to it.
fn actions(asset: &AssetView, catalog: Option<&Catalog>) -> Html {
    let actions: Vec<Html> = catalog
        .iter()
        .flat_map(|catalog| &catalog.connectors)
        .flat_map(|connector| &connector.actions)
        .filter(|action| action.target_types.contains(&asset.kind) && asset.status != "gone")
        .map(|action| {
            let query = vec![("action", action.id.clone()), ("target", asset.id.to_string())];
            html! {
                <li key={action.id.clone()}>
                    <Link to={Route::NewChange} {query} class="button small" testid="asset-action"
                        title={action.description.clone()}>{ &action.title }</Link>
                </li>
            }
        })
        .collect();
    if actions.is_empty() {
        return html! {};
    }
    html! {
        <section class="panel" aria-labelledby="actions-title">
            <h2 id="actions-title">{ "What can be done" }</h2>
            <ul class="button-list">{ for actions }</ul>
        </section>
    }
}

fn metadata(metadata: &Value) -> Html {
    let Some(object) = metadata.as_object().filter(|object| !object.is_empty()) else {
        return html! { <p class="faint">{ "Nothing beyond its name." }</p> };
    };
    let sorted: BTreeMap<_, _> = object.iter().collect();
    html! {
        <dl class="facts wide">
            { for sorted.into_iter().map(|(name, value)| {
                let text = format::json(value);
                html! {
                    <div>
                        <dt title={name.clone()}>{ format::humanise(name) }</dt>
                        <dd>
                            if text.contains('\n') {
                                <pre class="payload">{ text }</pre>
                            } else {
                                <code class="wrap-any">{ text }</code>
                            }
                        </dd>
                    </div>
                }
            }) }
        </dl>
    }
}

/// What points at it above, what it points at below.
fn related(asset: &AssetView) -> Html {
    if asset.relations.is_empty() {
        return html! {};
    }
    let told = u64::try_from(asset.relations.len()).unwrap_or(u64::MAX);
    let count = format::count(asset.relation_count, "relation", "relations");
    let says = format!("{count} of {} to others and of others to it", asset.name);
    let (nodes, edges) = graph(asset);
    html! {
        <section class="panel" aria-labelledby="relations-title" data-testid="relations">
            <h2 id="relations-title">{ "Relations" }</h2>
            <Graph label={says} {nodes} {edges} band={Callback::from(band)} list={relations(&asset.relations)} />
            if told < asset.relation_count {
                <p class="faint small" data-testid="relations-more">
                    { format!("And {} more: here are the first 200 in each direction.",
                        format::number(asset.relation_count - told)) }
                </p>
            }
        </section>
    }
}

fn graph(asset: &AssetView) -> (Vec<Node>, Vec<Edge>) {
    let centre = Node {
        id: asset.id,
        name: asset.name.clone(),
        kind: asset.kind.clone(),
        critical: asset.critical,
        layer: 0,
    };
    let other = |relation: &RelationView| Node {
        id: relation.asset,
        name: relation.name.clone(),
        kind: relation.asset_type.clone(),
        critical: relation.critical,
        layer: if relation.direction == "out" { 1 } else { -1 },
    };
    let edge = |relation: &RelationView| Edge { from: asset.id, to: relation.asset };
    let nodes = std::iter::once(centre).chain(asset.relations.iter().map(other)).collect();
    (nodes, asset.relations.iter().map(edge).collect())
}

fn band(layer: i32) -> AttrValue {
    match layer {
        0 => "This asset".into(),
        ..0 => "These name it".into(),
        1.. => "It names these".into(),
    }
}

fn relations(relations: &[RelationView]) -> Html {
    html! {
        <ul class="plain relations" data-testid="graph-list">
            { for relations.iter().map(|relation| {
                let words = format::humanise(&relation.kind).to_lowercase();
                html! {
                    <li>
                        <span class="faint">
                            { if relation.direction == "out" { format!("{words} →") } else { format!("← {words}") } }
                        </span>
                        { " " }
                        <Link to={Route::Asset { id: relation.asset }}>{ &relation.name }</Link>
                        { " " }<span class="faint small">{ format::humanise(&relation.asset_type) }</span>
                        if relation.critical { { " " }{ critical() } }
                    </li>
                }
            }) }
        </ul>
    }
}

#[derive(Properties, PartialEq)]
struct DependantsProps {
    radius: Rc<BlastRadius>,
}

/// The nearest first, as many at once as anybody reads.
#[component]
fn Dependants(props: &DependantsProps) -> Html {
    let shown = use_state_eq(|| LISTED);
    let dependants = &props.radius.dependants;
    if dependants.is_empty() {
        return html! { <p class="faint">{ "Nothing known depends on it." }</p> };
    }
    let is_critical = dependants.iter().filter(|dependant| dependant.critical).count();
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let hidden = dependants.len().saturating_sub(*shown);
    html! {
        <>
            <p>
                { format::count(wide(dependants.len()), "asset depends", "assets depend") }{ " on it" }
                { if is_critical > 0 { format!(", {is_critical} of them critical.") } else { ".".to_owned() } }
            </p>
            <ul class="plain dependants">{ for dependants.iter().take(*shown).map(dependant) }</ul>
            if hidden > 0 {
                <button type="button" class="button small" data-testid="blast-more"
                    onclick={let shown = shown.clone(); move |_| shown.set(*shown + LISTED)}>
                    { format!("And {} more", format::number(wide(hidden))) }
                </button>
            }
        </>
    }
}

fn dependant(one: &DependantView) -> Html {
    html! {
        <li class={format!("depth-{}", one.depth.min(4))} key={one.id.to_string()}>
            <Link to={Route::Asset { id: one.id }}>{ &one.name }</Link>
            { " " }<span class="faint small">{ format::humanise(&one.kind) }{ " · " }{ format::humanise(&one.via).to_lowercase() }</span>
            if one.critical { { critical() } }
        </li>
    }
}
