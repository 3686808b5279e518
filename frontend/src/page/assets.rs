//! The inventory.

use nexplane_core::api::{AssetView, ConnectionView, Page};
use nexplane_core::catalog::Catalog;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::prelude::*;

use crate::component::badge::{Badge, EnvironmentBadge};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::input::{FilterSelect, SearchInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::live::use_live;
use crate::resource::{use_list, use_resource};
use crate::route::Route;
use crate::{format, query, words};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Filter {
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    connection: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
}

#[component]
pub fn Assets() -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let filter =
        use_location().and_then(|location| location.query::<Filter>().ok()).unwrap_or_default();
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let connections =
        use_resource::<Page<ConnectionView>>(Some("/connections?limit=200".to_owned()));
    let list = use_list::<AssetView>(Some(query::with(
        "/assets",
        &[
            ("type", &filter.kind),
            ("connection", &filter.connection),
            ("environment", &filter.environment),
            ("tag", &filter.tag),
            ("q", &filter.q),
            ("limit", "100"),
        ],
    )));
    {
        let list = list.clone();
        use_live(
            vec!["assets".to_owned()],
            Callback::from(move |event: crate::live::Event| list.reload_at(event.position())),
        );
    }
    let change_filter = {
        let filter = filter.clone();
        move |change: fn(&mut Filter, String)| {
            let (navigator, filter) = (navigator.clone(), filter.clone());
            Callback::from(move |value: String| {
                let mut filter = filter.clone();
                change(&mut filter, value);
                // Of plain texts a query string can always be made.
                drop(navigator.replace_with_query(&Route::Assets, filter));
            })
        }
    };
    let types = option("Any type").into_iter().chain(
        catalog
            .value
            .iter()
            .flat_map(|catalog| &catalog.connectors)
            .flat_map(|connector| &connector.asset_types)
            .map(|kind| (kind.clone().into(), format::humanise(kind).into())),
    );
    let places = option("Any connection").into_iter().chain(
        connections
            .value
            .iter()
            .flat_map(|page| &page.items)
            .map(|one| (one.id.to_string().into(), one.name.clone().into())),
    );
    let environments = option("Any environment")
        .into_iter()
        .chain(["prod", "staging", "dev"].into_iter().map(|word| (word.into(), word.into())));
    html! {
        <>
            <Head title="Assets" lead="Everything that discovery found and that a change can act on." />
            <div class="filters" role="search">
                <SearchInput value={filter.q.clone()} placeholder="Search name, key or owner"
                    on_search={change_filter(|filter, text| filter.q = text)} testid="assets-search" />
                <FilterSelect label="Type" value={filter.kind.clone()} options={types.collect::<Vec<_>>()}
                    on_change={change_filter(|filter, kind| filter.kind = kind)} testid="assets-type" />
                <FilterSelect label="Connection" value={filter.connection.clone()}
                    options={places.collect::<Vec<_>>()} testid="assets-connection"
                    on_change={change_filter(|filter, id| filter.connection = id)} />
                <FilterSelect label="Environment" value={filter.environment.clone()}
                    options={environments.collect::<Vec<_>>()} testid="assets-environment"
                    on_change={change_filter(|filter, word| filter.environment = word)} />
                if !filter.tag.is_empty() {
                    <Link to={Route::Assets} class="button toggle">{ format!("Tag {} ×", filter.tag) }</Link>
                }
            </div>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            if let Some(rows) = list.items.clone() {
                if rows.is_empty() {
                    { nothing(&filter) }
                } else {
                    <div class="table-frame" aria-busy={list.loading.to_string()}>
                        <AssetTable assets={(*rows).clone()} />
                    </div>
                }
                if list.more {
                    <button type="button" class="button wide" disabled={list.loading}
                        onclick={let list = list.clone(); move |_| list.load_more()} data-testid="load-more">
                        { "Load more" }
                    </button>
                }
            } else if list.error.is_none() {
                <Skeleton lines={12} />
            }
        </>
    }
}

fn option(word: &'static str) -> Vec<(AttrValue, AttrValue)> {
    vec![("".into(), word.into())]
}

fn nothing(filter: &Filter) -> Html {
    if *filter == Filter::default() {
        html! {
            <Empty glyph={Glyph::Assets} title="Nothing discovered yet" testid="assets-empty">
                <p>{ "Add a connection and run discovery on it, or enrol a host." }</p>
                <div class="actions">
                    <Link to={Route::Connections} class="button primary">{ "Connections" }</Link>
                    <Link to={Route::Hosts} class="button">{ "Hosts" }</Link>
                </div>
            </Empty>
        }
    } else {
        html! {
            <Empty glyph={Glyph::Search} title="No asset fits these filters" testid="assets-none">
                <Link to={Route::Assets} class="button">{ "Show all assets" }</Link>
            </Empty>
        }
    }
}

#[derive(Properties, PartialEq)]
struct AssetTableProps {
    assets: Vec<AssetView>,
}

#[component]
fn AssetTable(props: &AssetTableProps) -> Html {
    html! {
        <table class="table assets" data-testid="asset-list">
            <caption class="visually-hidden">{ "Assets" }</caption>
            <thead><tr>
                <th scope="col">{ "Name" }</th>
                <th scope="col">{ "Type" }</th>
                <th scope="col">{ "Connection" }</th>
                <th scope="col">{ "Environment" }</th>
                <th scope="col">{ "Owner" }</th>
                <th scope="col">{ "Status" }</th>
                <th scope="col" class="col-time">{ "Last seen" }</th>
            </tr></thead>
            <tbody>{ for props.assets.iter().map(row) }</tbody>
        </table>
    }
}

fn row(asset: &AssetView) -> Html {
    html! {
        <tr key={asset.id.to_string()} data-testid="asset-row" data-id={asset.id.to_string()}>
            <td class="col-main">
                <Link to={Route::Asset { id: asset.id }} row=true class="row-link" testid="asset-link">
                    { &asset.name }
                </Link>
                <p class="row-waits">
                    <code>{ &asset.external_key }</code>
                    if asset.critical {
                        <span class="tag strong">{ "critical" }</span>
                    }
                    { for asset.tags.iter().map(|tag| html! { <span class="tag">{ tag }</span> }) }
                </p>
            </td>
            <td>{ format::humanise(&asset.kind) }</td>
            <td>{ &asset.connection_name }</td>
            <td><EnvironmentBadge environment={asset.environment} /></td>
            <td class="col-who">{ asset.owner.as_deref().unwrap_or("—") }</td>
            <td class={classes!((asset.status == "present").then_some("col-usual"))}>
                if asset.status == "present" {
                    <span class="faint">{ "Present" }</span>
                } else {
                    <Badge label={words::asset_status(&asset.status)} />
                }
            </td>
            <td class="col-time"><Time at={asset.last_seen} relative=true /></td>
        </tr>
    }
}
