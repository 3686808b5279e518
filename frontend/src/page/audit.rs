//! The audit log: who did what, when, to what.

use nexplane_core::api::{EventView, Page, UserView};
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::prelude::*;

use crate::component::empty::Empty;
use crate::component::event_list::Actor;
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
    /// As the input has it: a day and hour of the viewer.
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    to: String,
}

impl Filter {
    fn pairs(&self) -> [(&'static str, String); 7] {
        let utc = |text: &str| clock::from_local_input(text).map(|at| at.to_string());
        [
            ("q", self.q.clone()),
            ("actor", self.actor.clone()),
            ("type", self.kind.clone()),
            ("resource", self.resource.clone()),
            ("change_request_id", self.change_request_id.clone()),
            ("from", utc(&self.from).unwrap_or_default()),
            ("to", utc(&self.to).unwrap_or_default()),
        ]
    }

    fn path(&self, path: &str) -> String {
        let pairs = self.pairs();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        query::with(path, &pairs)
    }
}

/// What an event can be about; a type of event begins with it.
const TYPES: [(&str, &str); 24] = [
    ("", "Any type"),
    ("change.drafted", "Change drafted"),
    ("change.edited", "Change edited"),
    ("change.planned", "Change planned"),
    ("change.submitted", "Change submitted"),
    ("change.approval_given", "Approval given"),
    ("change.approved", "Change approved"),
    ("change.rejected", "Change rejected"),
    ("change.withdrawn", "Change withdrawn"),
    ("change.cancelled", "Change cancelled"),
    ("change.expired", "Approvals expired"),
    ("change.execution_started", "Execution started"),
    ("change.completed", "Change completed"),
    ("change.failed", "Change failed"),
    ("change.outcome_unknown", "Outcome unknown"),
    ("change.rolled_back", "Change rolled back"),
    ("change.rollback_partial", "Rollback partial"),
    ("change.rollback_blocked", "Rollback blocked"),
    ("change.secret_revealed", "Secret revealed"),
    ("run.step_intended", "Step intended"),
    ("run.step_verified", "Step verified"),
    ("run.step_failed", "Step failed"),
    ("connection.credentials_opened", "Credentials opened"),
    ("asset.drifted", "Drift found"),
];

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
    let mut actors: Vec<(AttrValue, AttrValue)> = vec![("".into(), "Anybody".into())];
    actors.extend(
        people
            .value
            .iter()
            .flat_map(|page| &page.items)
            .map(|person| (person.id.to_string().into(), person.name.clone().into())),
    );
    if !filter.actor.is_empty() && actors.iter().all(|(id, _)| *id != filter.actor) {
        actors.push((filter.actor.clone().into(), "Chosen actor".into()));
    }
    let types = TYPES.map(|(kind, word)| (kind.into(), word.into())).to_vec();
    let export = format!("/api/v1{}", filter.path("/audit/export"));
    let empty = filter == Filter::default();
    html! {
        <>
            <Head title="Audit" lead="Every event of the log. Nothing is ever edited or removed.">
                <a class="button" href={export} data-testid="audit-export">{ "Export" }</a>
            </Head>
            <div class="filters" role="search">
                <SearchInput value={filter.q.clone()} placeholder="Search what happened"
                    on_search={change_filter(|filter, text| filter.q = text)} testid="audit-search" />
                <FilterSelect label="Actor" value={filter.actor.clone()} options={actors} testid="audit-actor"
                    on_change={change_filter(|filter, id| filter.actor = id)} />
                <FilterSelect label="Type" value={filter.kind.clone()} options={types} testid="audit-type"
                    on_change={change_filter(|filter, kind| filter.kind = kind)} />
                <FilterText label="Resource" value={filter.resource.clone()} kind="search" testid="audit-resource"
                    on_change={change_filter(|filter, text| text.trim().clone_into(&mut filter.resource))} />
                <FilterText label="From" value={filter.from.clone()} kind="datetime-local" testid="audit-from"
                    on_change={change_filter(|filter, text| filter.from = text)} />
                <FilterText label="To" value={filter.to.clone()} kind="datetime-local" testid="audit-to"
                    on_change={change_filter(|filter, text| filter.to = text)} />
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
                data-testid={props.testid.clone()} autocomplete="off" />
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
            </td>
            <td><code class="small">{ &event.kind }</code></td>
        </tr>
    }
}
