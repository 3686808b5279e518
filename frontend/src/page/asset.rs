//! One asset: what it is, what belongs to operators, what depends on it, what happened to it.

use std::collections::BTreeMap;
use std::rc::Rc;

use nexplane_core::api::{
    AssetView, BlastRadius, DependantView, EditAssetRequest, EventView, Page, RelationView,
};
use nexplane_core::catalog::Catalog;
use nexplane_core::id::{AssetId, HostId};
use nexplane_core::risk::Environment;
use serde_json::Value;
use yew::prelude::*;

use crate::component::badge::{Badge, EnvironmentBadge};
use crate::component::event_list::EventList;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Checkbox, Select, TextInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::component::toast::use_toaster;
use crate::live::use_live;
use crate::resource::{use_mutation, use_resource};
use crate::route::Route;
use crate::{api, format, words};

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
    html! {
        <article data-testid="asset" data-id={id.to_string()}>
            { head(&view) }
            <div class="split">
                <div class="stack">
                    { actions(&view, catalog.value.as_deref()) }
                    <section class="panel" aria-labelledby="facts-title">
                        <h2 id="facts-title">{ "What discovery found" }</h2>
                        { metadata(&view.metadata) }
                    </section>
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
                    <Owned key={view.version} asset={Rc::clone(&view)} {on_saved} />
                    { relations(&view.relations) }
                    <section class="panel" aria-labelledby="blast-title" data-testid="blast-radius">
                        <h2 id="blast-title">{ "Blast radius" }</h2>
                        if let Some(radius) = radius.value.clone() {
                            { dependants(&radius.dependants) }
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

fn relations(relations: &[RelationView]) -> Html {
    if relations.is_empty() {
        return html! {};
    }
    html! {
        <section class="panel" aria-labelledby="relations-title" data-testid="relations">
            <h2 id="relations-title">{ "Relations" }</h2>
            <ul class="plain relations">
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
                        </li>
                    }
                }) }
            </ul>
        </section>
    }
}

fn dependants(dependants: &[DependantView]) -> Html {
    if dependants.is_empty() {
        return html! { <p class="faint">{ "Nothing known depends on it." }</p> };
    }
    let critical = dependants.iter().filter(|dependant| dependant.critical).count();
    let count = u64::try_from(dependants.len()).unwrap_or(u64::MAX);
    html! {
        <>
            <p>
                { format::count(count, "asset depends", "assets depend") }{ " on it" }
                { if critical > 0 { format!(", {critical} of them critical.") } else { ".".to_owned() } }
            </p>
            <ul class="plain dependants">
                { for dependants.iter().map(|one| html! {
                    <li class={format!("depth-{}", one.depth.min(4))}>
                        <Link to={Route::Asset { id: one.id }}>{ &one.name }</Link>
                        { " " }<span class="faint small">{ format::humanise(&one.kind) }{ " · " }{ format::humanise(&one.via).to_lowercase() }</span>
                        if one.critical {
                            <span class="tag strong">{ "critical" }</span>
                        }
                    </li>
                }) }
            </ul>
        </>
    }
}

#[derive(Properties, PartialEq)]
struct OwnedProps {
    asset: Rc<AssetView>,
    on_saved: Callback<AssetView>,
}

/// The fields that belong to operators: discovery never touches them.
#[component]
fn Owned(props: &OwnedProps) -> Html {
    let asset = &props.asset;
    let owner = use_state_eq(|| asset.owner.clone().unwrap_or_default());
    let tags = use_state_eq(|| asset.tags.join(", "));
    let critical = use_state_eq(|| asset.critical);
    let environment = use_state_eq(|| asset.environment);
    let save = use_mutation();
    let toaster = use_toaster();
    let request = EditAssetRequest {
        owner: Some(owner.trim().to_owned())
            .filter(|owner| *owner != asset.owner.clone().unwrap_or_default()),
        tags: Some(split_tags(&tags)).filter(|tags| *tags != asset.tags),
        critical: Some(*critical).filter(|critical| *critical != asset.critical),
        environment: Some(*environment).filter(|chosen| *chosen != asset.environment),
    };
    let unchanged = request == EditAssetRequest::default();
    let onsubmit = {
        let (save, on_saved) = (save.clone(), props.on_saved.clone());
        let (id, version) = (asset.id, asset.version);
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (request, on_saved, toaster) = (request.clone(), on_saved.clone(), toaster.clone());
            save.start(
                async move { api::patch(&format!("/assets/{id}"), &request, Some(version)).await },
                move |saved| {
                    toaster.say("Saved.");
                    on_saved.emit(saved);
                },
            );
        })
    };
    let environments = [Environment::Prod, Environment::Staging, Environment::Dev];
    html! {
        <section class="panel" aria-labelledby="owned-title">
            <h2 id="owned-title">{ "Yours to say" }</h2>
            <form {onsubmit} class="form tight">
                <TextInput id="owner" label="Owner" value={(*owner).clone()} optional=true testid="asset-owner"
                    on_change={let owner = owner.setter(); move |text| owner.set(text)} />
                <TextInput id="tags" label="Tags" value={(*tags).clone()} optional=true help="Separated by commas."
                    on_change={let tags = tags.setter(); move |text| tags.set(text)} testid="asset-tags" />
                <Select id="environment" label="Environment" value={environment.as_str()}
                    options={environments.map(|one| (one.as_str().into(), words::environment(one).into())).to_vec()}
                    on_change={let environment = environment.setter(); move |word: String| {
                        if let Some(one) = environments.into_iter().find(|one| one.as_str() == word) {
                            environment.set(one);
                        }
                    }} testid="asset-environment" />
                <Checkbox id="critical" label="Critical" checked={*critical} testid="asset-critical"
                    on_change={let critical = critical.setter(); move |on| critical.set(on)}
                    help="Weighs more in the risk of changes to what it depends on." />
                if let Some(error) = save.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button" disabled={unchanged || save.busy()} data-testid="asset-save">
                        { "Save" }
                    </button>
                </div>
            </form>
        </section>
    }
}

fn split_tags(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_trimmed() {
        assert_eq!(split_tags(" a, b,, c "), ["a", "b", "c"]);
        assert!(split_tags(" ").is_empty());
    }
}
