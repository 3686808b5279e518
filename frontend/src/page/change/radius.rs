//! What depends on the targets of a change: a drawing of the nearest, and all of it as a list.

use std::rc::Rc;

use nexplane_core::api::{ChangeRadius, ChangeView, DependantView};
use nexplane_core::id::ChangeId;
use yew::prelude::*;

use crate::component::change_table::target_count;
use crate::component::graph::{Graph, critical};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::format;
use crate::graph::{Edge, MOST, Node};
use crate::resource::{use_list, use_resource};
use crate::route::Route;

/// Targets of which the dependants are looked up unasked.
const MANY: usize = 500;

#[derive(Properties, PartialEq)]
pub struct RadiusProps {
    pub change: Rc<ChangeView>,
}

#[component]
pub fn Radius(props: &RadiusProps) -> Html {
    let id = props.change.id;
    // What depends on many thousands of targets is looked up when somebody wants to know.
    let targets = target_count(&props.change);
    let wanted = use_state_eq(|| targets <= MANY);
    let path = format!("/change-requests/{id}/blast-radius?limit={MOST}");
    let radius = use_resource::<ChangeRadius>(wanted.then_some(path));
    {
        // Other targets, other dependants.
        let radius = radius.clone();
        let version = props.change.version;
        let first = use_mut_ref(|| version);
        use_effect_with(props.change.targets.clone(), move |_| {
            if *first.borrow() != version {
                radius.reload();
            }
        });
    }
    let body = match (radius.value.clone(), radius.error.clone()) {
        (Some(radius), _) => known(id, &radius),
        (None, Some(error)) => {
            html! { <ProblemNote {error} retry={let radius = radius.clone(); move |()| radius.reload()} /> }
        }
        (None, None) if !*wanted => html! {
            <button type="button" class="button small" data-testid="radius-ask"
                onclick={let wanted = wanted.clone(); move |_| wanted.set(true)}>
                { format!("Look up what depends on its {} targets", format::number(wide(targets))) }
            </button>
        },
        (None, None) => html! { <Skeleton lines={4} /> },
    };
    html! {
        <section class="panel order-5" aria-labelledby="radius-title" data-testid="change-radius">
            <h2 id="radius-title">{ "Blast radius" }</h2>
            { body }
        </section>
    }
}

fn known(id: ChangeId, radius: &Rc<ChangeRadius>) -> Html {
    let targets = format::count(radius.target_count, "target", "targets");
    if radius.count == 0 {
        return html! {
            <p class="faint" data-testid="radius-none">
                { format!("Nothing that discovery knows of depends on its {targets}.") }
            </p>
        };
    }
    let count = format::count(radius.count, "asset depends", "assets depend");
    let critical = match radius.critical {
        0 => ", none of them critical.".to_owned(),
        some => format!(", {} of them critical.", format::number(some)),
    };
    let says = format!("{count} on its {targets}, directly or through others{critical}");
    let (nodes, edges) = graph(radius);
    html! {
        <>
            <p data-testid="radius-says">{ &says }</p>
            if radius.target_count > wide(radius.targets.len()) {
                <p class="faint small">
                    { format!("Drawn are {} of its targets.", radius.targets.len()) }
                </p>
            }
            <Graph label={says.clone()} {nodes} {edges} band={Callback::from(band)}
                list={html! { <Dependants {id} radius={Rc::clone(radius)} /> }} />
        </>
    }
}

/// The drawing is of the nearest; the targets are its centre.
fn graph(radius: &ChangeRadius) -> (Vec<Node>, Vec<Edge>) {
    let node = |view: &DependantView| Node {
        id: view.id,
        name: view.name.clone(),
        kind: view.kind.clone(),
        critical: view.critical,
        layer: i32::try_from(view.depth).unwrap_or(i32::MAX),
    };
    let edge = |via: &nexplane_core::api::ViaView| Edge { from: via.from, to: via.to };
    let nodes = radius.targets.iter().chain(&radius.items).map(node).collect();
    (nodes, radius.edges.iter().map(edge).collect())
}

fn band(layer: i32) -> AttrValue {
    match layer {
        0 => "What this change changes".into(),
        1 => "Depends on it directly".into(),
        2 => "Depends on it through one other".into(),
        steps => format!("Depends on it through {} others", steps - 1).into(),
    }
}

#[derive(Properties, PartialEq)]
struct DependantsProps {
    id: ChangeId,
    radius: Rc<ChangeRadius>,
}

/// The first ones, and all of them once somebody asks.
#[component]
fn Dependants(props: &DependantsProps) -> Html {
    let DependantsProps { id, radius } = props;
    let all = use_state_eq(|| false);
    let path = format!("/change-requests/{id}/blast-radius?limit=200");
    let list = use_list::<DependantView>(all.then_some(path));
    let rows = list.items.as_deref().map_or(radius.items.as_slice(), Vec::as_slice);
    let hidden = radius.count.saturating_sub(wide(rows.len()));
    html! {
        <>
            <ul class="plain dependants" data-testid="graph-list">
                { for rows.iter().map(dependant) }
            </ul>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            if hidden > 0 {
                <button type="button" class="button small" disabled={list.loading} data-testid="graph-more"
                    onclick={move |_| if list.more { list.load_more() } else { all.set(true) }}>
                    { format!("And {} more", format::number(hidden)) }
                </button>
            }
        </>
    }
}

fn dependant(one: &DependantView) -> Html {
    html! {
        <li class={format!("depth-{}", one.depth.min(4))} key={one.id.to_string()}>
            <Link to={Route::Asset { id: one.id }}>{ &one.name }</Link>
            { " " }<span class="faint small">
                { format::humanise(&one.kind) }{ " · " }{ format::humanise(&one.via).to_lowercase() }{ " · " }
                { format::count(u64::from(one.depth), "step away", "steps away") }
            </span>
            if one.critical { { critical() } }
        </li>
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
