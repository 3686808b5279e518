//! The audit log: who did what, when, to what.

use nexplane_core::actor::ActorKind;
use nexplane_core::api::{EventView, Page, UserView};
use nexplane_core::event::KINDS;
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::prelude::*;

use crate::component::empty::Empty;
use crate::component::event_list::{Actor, name};
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::input::{FilterSelect, SearchInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::resource::{use_list, use_resource};
use crate::route::Route;
use crate::{clock, format, query};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Filter {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    change_request_id: String,
    /// In UTC, so that an address means the same to whoever it is sent to.
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    to: String,
}

impl Filter {
    fn path(&self, path: &str) -> String {
        let pairs = [
            ("q", self.q.as_str()),
            ("actor", &self.actor),
            ("type", &self.kind),
            ("resource", &self.resource),
            ("change_request_id", &self.change_request_id),
            ("from", &self.from),
            ("to", &self.to),
        ];
        query::with(path, &pairs)
    }
}

/// A moment as its input has it: a day and hour of the viewer.
fn to_input(utc: &str) -> String {
    utc.parse().map_or_else(
        |_| String::new(),
        |at: Timestamp| format::local_input(at, clock::offset_minutes(at)),
    )
}

fn from_input(text: &str) -> String {
    clock::from_local_input(text).map(|at| at.to_string()).unwrap_or_default()
}

type Choices = Vec<(AttrValue, AttrValue)>;

/// Every type of event, after all of its category.
fn types() -> Choices {
    let mut types: Choices = vec![("".into(), "Any type".into())];
    let mut category = "";
    for kind in KINDS {
        let of = kind.split('.').next().unwrap_or(kind);
        if of != category {
            category = of;
            types.push((of.into(), format!("{}: all", format::humanise(of)).into()));
        }
        types.push((kind.into(), format::humanise(kind).into()));
    }
    types
}

/// People, as far as they may be listed, and whoever else acted in the events on the screen.
fn actors(people: Option<&Page<UserView>>, events: &[EventView], chosen: &str) -> Choices {
    let mut actors: Choices =
        vec![("".into(), "Anybody".into()), (SYSTEM.into(), "Nexplane itself".into())];
    let people = people.into_iter().flat_map(|page| &page.items);
    actors.extend(people.map(|one| (one.id.to_string().into(), one.name.clone().into())));
    for event in events.iter().filter(|event| event.actor.kind != ActorKind::System) {
        let id = event.actor.id.to_string();
        if actors.iter().all(|(known, _)| *known != id) {
            // Of a token, what counts here is whose it is.
            let name = event.actor_name.clone().unwrap_or_else(|| name(event));
            actors.push((id.into(), name.into()));
        }
    }
    if actors.iter().all(|(id, _)| id != chosen) {
        actors.push((chosen.to_owned().into(), "Chosen actor".into()));
    }
    actors
}

/// What the API calls the actor that is nobody.
pub const SYSTEM: &str = "system";

#[component]
pub fn Audit() -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let filter =
        use_location().and_then(|location| location.query::<Filter>().ok()).unwrap_or_default();
    let list =
        use_list::<EventView>(Some(query::with(&filter.path("/audit"), &[("limit", "100")])));
    // Without the right to see people the filter by person stays empty, and nothing else changes.
    let people = use_resource::<Page<UserView>>(Some("/users?limit=200".to_owned()));

    let change_filter = {
        let filter = filter.clone();
        move |change: fn(&mut Filter, String)| {
            let (navigator, filter) = (navigator.clone(), filter.clone());
            Callback::from(move |value: String| {
                let mut filter = filter.clone();
                change(&mut filter, value);
                // Of plain texts a query string can always be made.
                drop(navigator.replace_with_query(&Route::Audit, filter));
            })
        }
    };
    let actors = actors(
        people.value.as_deref(),
        list.items.as_deref().map_or(&[][..], Vec::as_slice),
        &filter.actor,
    );
    let types = use_memo((), |()| types());
    let export = |format| {
        format!("/api/v1{}", query::with(&filter.path("/audit/export"), &[("format", format)]))
    };
    let empty = filter == Filter::default();
    html! {
        <>
            <Head title="Audit" lead="Every event of the log. Nothing is ever edited or removed.">
                <a class="button" href={export("csv")} download="" data-testid="audit-export-csv">{ "Export CSV" }</a>
                <a class="button" href={export("jsonl")} download="" data-testid="audit-export">{ "Export JSON Lines" }</a>
            </Head>
            <div class="filters" role="search">
                <SearchInput value={filter.q.clone()} placeholder="Search what happened"
                    on_search={change_filter(|filter, text| filter.q = text)} testid="audit-search" />
                <FilterSelect label="Actor" value={filter.actor.clone()} options={actors} testid="audit-actor"
                    on_change={change_filter(|filter, id| filter.actor = id)} />
                <FilterSelect label="Type" value={filter.kind.clone()} options={(*types).clone()} testid="audit-type"
                    on_change={change_filter(|filter, kind| filter.kind = kind)} />
                <FilterText label="Resource" value={filter.resource.clone()} kind="search" testid="audit-resource"
                    placeholder="Id or stream"
                    on_change={change_filter(|filter, text| text.trim().clone_into(&mut filter.resource))} />
                <FilterText label="Change" value={filter.change_request_id.clone()} kind="search" testid="audit-change"
                    placeholder="Number or id"
                    on_change={change_filter(|filter, text| text.trim().clone_into(&mut filter.change_request_id))} />
                <FilterText label="From" value={to_input(&filter.from)} kind="datetime-local" testid="audit-from"
                    on_change={change_filter(|filter, text| filter.from = from_input(&text))} />
                <FilterText label="Before" value={to_input(&filter.to)} kind="datetime-local" testid="audit-to"
                    on_change={change_filter(|filter, text| filter.to = from_input(&text))} />
                if !empty {
                    <Link to={Route::Audit} class="button quiet" testid="audit-reset">{ "Reset" }</Link>
                }
            </div>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            if let Some(rows) = list.items.clone() {
                if rows.is_empty() {
                    <Empty glyph={Glyph::Audit} title="No event fits these filters" testid="audit-none">
                        <Link to={Route::Audit} class="button">{ "Show all events" }</Link>
                    </Empty>
                } else {
                    <div class="table-frame" aria-busy={list.loading.to_string()}>
                        <table class="table audit" data-testid="audit-list">
                            <caption class="visually-hidden">{ "Events, newest first" }</caption>
                            <thead><tr>
                                <th scope="col" class="col-number">{ "Position" }</th>
                                <th scope="col">{ "Time" }</th>
                                <th scope="col">{ "Actor" }</th>
                                <th scope="col">{ "What happened" }</th>
                                <th scope="col">{ "Type" }</th>
                            </tr></thead>
                            <tbody>{ for rows.iter().map(row) }</tbody>
                        </table>
                    </div>
                    <p class="faint small" data-testid="audit-count">
                        { format::count(u64::try_from(rows.len()).unwrap_or(u64::MAX), "event", "events") }
                        { if list.more { " shown, there are more" } else { ", all of them" } }
                    </p>
                }
                if list.more {
                    <button type="button" class="button wide" disabled={list.loading}
                        onclick={let list = list.clone(); move |_| list.load_more()} data-testid="load-more">
                        { if list.loading { "Reading…" } else { "Load older events" } }
                    </button>
                }
            } else if list.error.is_none() {
                <Skeleton lines={14} />
            }
        </>
    }
}

#[derive(Properties, PartialEq)]
struct FilterTextProps {
    label: AttrValue,
    value: AttrValue,
    kind: AttrValue,
    #[prop_or_default]
    placeholder: Option<AttrValue>,
    on_change: Callback<String>,
    testid: AttrValue,
}

/// Takes effect when it is left or confirmed: half a date is no filter.
#[component]
fn FilterText(props: &FilterTextProps) -> Html {
    let onchange = props
        .on_change
        .reform(|event: Event| event.target_unchecked_into::<web_sys::HtmlInputElement>().value());
    html! {
        <label class="filter-text">
            <span>{ &props.label }</span>
            <input type={props.kind.clone()} class="input filter" value={props.value.clone()} {onchange}
                placeholder={props.placeholder.clone()} data-testid={props.testid.clone()} autocomplete="off" />
        </label>
    }
}

fn row(event: &EventView) -> Html {
    let position = event.position;
    html! {
        <tr key={position.to_string()} data-testid="audit-row" data-type={event.kind.clone()}
            data-position={position.to_string()}>
            <td class="col-number">{ position }</td>
            <td class="col-at"><Time at={event.at} exact=true /></td>
            <td><Actor event={event.clone()} /></td>
            <td class="col-main">
                <Link to={Route::Event { position }} class="row-link" row=true testid="audit-open">
                    { format::readable(&event.summary) }
                </Link>
                { for subject(event).map(|name| html! { <span class="faint small wrap-any">{ " " }{ name }</span> }) }
            </td>
            <td><code class="small">{ &event.kind }</code></td>
        </tr>
    }
}

/// What it happened to, unless the sentence says so.
fn subject(event: &EventView) -> Option<&str> {
    event.stream_name.as_deref().filter(|name| !event.summary.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_can_be_chosen_and_reads_as_words() {
        let types = types();
        assert!(types.contains(&("change".into(), "Change: all".into())));
        assert!(types.contains(&("change.rejected".into(), "Change rejected".into())));
        assert!(KINDS.iter().all(|kind| types.iter().any(|(value, _)| value == kind)));
        let words: std::collections::BTreeSet<_> = types.iter().map(|(_, text)| text).collect();
        assert_eq!(words.len(), types.len());
    }

    #[test]
    fn a_chosen_actor_is_among_the_choices_also_when_nobody_may_be_listed() {
        let choices = actors(None, &[], "somebody");
        assert_eq!(choices.last(), Some(&("somebody".into(), "Chosen actor".into())));
        assert_eq!(actors(None, &[], "").len(), 2);
    }
}
