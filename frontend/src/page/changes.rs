//! All changes, filtered by the server.

mod filter;
pub mod views;

use nexplane_core::api::{ChangeState, ChangeView, ConnectionView, Page};
use nexplane_core::catalog::Catalog;
use nexplane_core::risk::Environment;
use uuid::Uuid;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;
use yew_router::prelude::*;

use self::filter::{Filter, open_states, toggled};
use self::views::Views;
use crate::component::change_table::{ChangeTable, name};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{FilterSelect, SearchInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::live::use_live;
use crate::resource::{List, use_list, use_resource};
use crate::route::Route;
use crate::session::use_me;
use crate::{api, words};

/// The choice that opens the row of all states.
const SEVERAL: &str = "several";

#[component]
pub fn Changes() -> Html {
    let filter =
        use_location().and_then(|location| location.query::<Filter>().ok()).unwrap_or_default();
    let me = use_me().map(|me| me.id.0);
    let list = use_list::<ChangeView>(Some(filter.path(me)));

    {
        let (list, filter) = (list.clone(), filter.clone());
        let on_event = Callback::from(move |event: crate::live::Event| {
            let ids = event.ids();
            if ids.is_empty() {
                list.reload_at(event.position());
            }
            for id in ids {
                let (list, filter, position) = (list.clone(), filter.clone(), event.position());
                spawn_local(async move {
                    let path = format!("/change-requests/{id}");
                    // A row that cannot be read stays as it was.
                    if let Ok(change) = api::get_at::<ChangeView>(&path, position).await {
                        list.edit(move |rows| merge(rows, change, &filter, me));
                    }
                });
            }
        });
        use_live(vec!["changes".to_owned()], on_event);
    }
    let standing = vec![
        ("All", String::new()),
        ("Waiting for me", Filter { waits: "me".to_owned(), ..Filter::default() }.query()),
        ("Open", Filter { state: open_states(), ..Filter::default() }.query()),
        ("Mine", Filter { mine: true, ..Filter::default() }.query()),
    ];
    html! {
        <>
            <Head title="Changes">
                <Link to={Route::NewChange} class="button primary" testid="new-change">
                    <Icon glyph={Glyph::Plus} />{ "New change" }
                </Link>
            </Head>
            <Views query={filter.query()} {standing} />
            <Filters filter={filter.clone()} rows={Rows(list.clone())} />
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            if let Some(rows) = list.items.clone() {
                if rows.is_empty() {
                    { nothing(&filter) }
                } else {
                    <div class="table-frame" aria-busy={list.loading.to_string()}>
                        <ChangeTable changes={(*rows).clone()} />
                    </div>
                }
                if list.more {
                    <button type="button" class="button wide" disabled={list.loading}
                        onclick={let list = list.clone(); move |_| list.load_more()}
                        data-testid="load-more">
                        { if list.loading { "Reading…" } else { "Load more" } }
                    </button>
                }
            } else if list.error.is_none() {
                <Skeleton lines={12} />
            }
        </>
    }
}

/// The rows that are shown: names of what is filtered by are in them.
#[derive(Clone)]
struct Rows(List<ChangeView>);

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.0.items == other.0.items
    }
}

impl Rows {
    fn name(&self, id: &str) -> Option<String> {
        let rows = self.0.items.as_ref()?;
        let id: Uuid = id.parse().ok()?;
        rows.first().map(|row| name(row, id))
    }
}

#[derive(Properties, PartialEq)]
struct FiltersProps {
    filter: Filter,
    rows: Rows,
}

#[component]
fn Filters(props: &FiltersProps) -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let filter = &props.filter;
    let is_narrow = |filter: &Filter| {
        let Filter { risk, environment, connection, change_type, .. } = filter;
        [risk, environment, connection, change_type].into_iter().any(|text| !text.is_empty())
    };
    let more = use_state_eq(|| false);
    let several = use_state_eq(|| false);
    let is_more = *more || is_narrow(filter);
    let is_several = *several || (filter.state.contains(',') && filter.state != open_states());
    let catalog = use_resource::<Catalog>(is_more.then(|| "/catalog".to_owned()));
    let connections =
        use_resource::<Page<ConnectionView>>(is_more.then(|| "/connections?limit=200".to_owned()));
    let change = {
        let filter = filter.clone();
        move |change: fn(&mut Filter, String)| {
            let (navigator, filter) = (navigator.clone(), filter.clone());
            Callback::from(move |value: String| {
                let mut filter = filter.clone();
                change(&mut filter, value);
                // Of plain values a query string can always be made.
                drop(navigator.replace_with_query(&Route::Changes, filter));
            })
        }
    };
    let set_state = {
        let (several, set) = (several.setter(), change(|filter, state| filter.state = state));
        Callback::from(move |state: String| {
            several.set(state == SEVERAL);
            if state != SEVERAL {
                set.emit(state);
            }
        })
    };
    let states = [("".into(), "Any state".into()), (open_states().into(), "Open".into())]
        .into_iter()
        .chain(
            ChangeState::ALL
                .into_iter()
                .map(|state| (state.as_str().into(), words::change_state(state).text.into())),
        )
        .chain([(SEVERAL.into(), "Several…".into())])
        .collect::<Vec<(AttrValue, AttrValue)>>();
    let state = if is_several { SEVERAL.to_owned() } else { filter.state.clone() };
    let click = |callback: Callback<String>| callback.reform(|_: MouseEvent| String::new());
    let mine = click(change(|filter, _| filter.mine = !filter.mine));
    let toggle_more = {
        let more = more.clone();
        Callback::from(move |_: MouseEvent| more.set(!*more))
    };
    let chip = |text: String, title: &'static str, clear: fn(&mut Filter, String)| {
        html! {
            <button type="button" class="button toggle" aria-pressed="true" {title}
                onclick={click(change(clear))} data-testid="changes-chip">
                { text }<Icon glyph={Glyph::Cross} />
            </button>
        }
    };
    html! {
        <div role="search">
            <div class="filters">
                <SearchInput value={filter.q.clone()} placeholder="Search title, number or target"
                    on_search={change(|filter, text| filter.q = text)} testid="changes-search" />
                <FilterSelect label="State" value={state} options={states} on_change={set_state}
                    testid="changes-state" />
                <button type="button" class="button toggle" aria-pressed={filter.mine.to_string()}
                    onclick={mine} data-testid="changes-mine">
                    { "Requested by me" }
                </button>
                <button type="button" class="button toggle" aria-expanded={is_more.to_string()}
                    onclick={toggle_more} disabled={is_narrow(filter)} data-testid="changes-more">
                    { "More filters" }
                </button>
                if filter.waits == "review" {
                    { chip("Waiting for a review".to_owned(), "Show those that do not", |filter, _| filter.waits.clear()) }
                }
                if !filter.requester.is_empty() && !filter.mine {
                    { chip(
                        format!("By {}", props.rows.name(&filter.requester).unwrap_or_else(|| "one person".to_owned())),
                        "Show everybody's",
                        |filter, _| filter.requester.clear(),
                    ) }
                }
                if !filter.target.is_empty() {
                    { chip(
                        format!("Of {}", props.rows.name(&filter.target).unwrap_or_else(|| "one asset".to_owned())),
                        "Show every target",
                        |filter, _| filter.target.clear(),
                    ) }
                }
            </div>
            if is_several {
                { state_choices(filter, &change) }
            }
            if is_more {
                <div class="filters">
                    <FilterSelect label="Risk" value={filter.risk.clone()} options={risks()}
                        on_change={change(|filter, risk| filter.risk = risk)} testid="changes-risk" />
                    <FilterSelect label="Environment" value={filter.environment.clone()}
                        options={environments()} testid="changes-environment"
                        on_change={change(|filter, value| filter.environment = value)} />
                    <FilterSelect label="Connection" value={filter.connection.clone()}
                        options={connected(connections.value.as_deref(), &filter.connection)}
                        on_change={change(|filter, value| filter.connection = value)}
                        testid="changes-connection" />
                    <FilterSelect label="Action" value={filter.change_type.clone()}
                        options={actions(catalog.value.as_deref(), &filter.change_type)}
                        on_change={change(|filter, value| filter.change_type = value)}
                        testid="changes-action" />
                    if is_narrow(filter) {
                        <button type="button" class="button quiet" data-testid="changes-reset"
                            onclick={click(change(|filter, _| {
                                filter.risk.clear();
                                filter.environment.clear();
                                filter.connection.clear();
                                filter.change_type.clear();
                            }))}>{ "Clear these" }</button>
                    }
                </div>
            }
        </div>
    }
}

/// All states, of which any number is chosen.
fn state_choices(
    filter: &Filter,
    change: &impl Fn(fn(&mut Filter, String)) -> Callback<String>,
) -> Html {
    let set = change(|filter, state| filter.state = state);
    let all = ChangeState::ALL.map(ChangeState::as_str);
    let choice = |state: ChangeState| {
        let next = toggled(&filter.state, state.as_str(), &all);
        html! {
            <button key={state.as_str()} type="button" class="button small toggle"
                aria-pressed={filter.has_state(state).to_string()} data-state={state.as_str()}
                onclick={set.reform(move |_: MouseEvent| next.clone())} data-testid="changes-several">
                { words::change_state(state).text }
            </button>
        }
    };
    html! {
        <div class="filters choices" role="group" aria-label="States">
            { for ChangeState::ALL.into_iter().map(choice) }
        </div>
    }
}

fn risks() -> Vec<(AttrValue, AttrValue)> {
    [
        ("", "Any risk"),
        ("critical", "Critical"),
        ("high,critical", "High and critical"),
        ("medium,high,critical", "Medium and more"),
        ("low", "Low"),
    ]
    .map(|(value, text)| (value.into(), text.into()))
    .to_vec()
}

fn environments() -> Vec<(AttrValue, AttrValue)> {
    let all = [Environment::Prod, Environment::Staging, Environment::Dev];
    let named = all.map(|one| (one.as_str().into(), words::environment(one).into()));
    [("".into(), "Any environment".into())].into_iter().chain(named).collect()
}

/// The connections; the chosen one too, while they are not read or when it is gone.
fn connected(page: Option<&Page<ConnectionView>>, chosen: &str) -> Vec<(AttrValue, AttrValue)> {
    let all = page.map(|page| page.items.as_slice()).unwrap_or_default();
    let all = all.iter().map(|one| (one.id.to_string(), one.name.clone())).collect();
    choices("Any connection", all, chosen)
}

fn actions(catalog: Option<&Catalog>, chosen: &str) -> Vec<(AttrValue, AttrValue)> {
    let connectors = catalog.map(|catalog| catalog.connectors.as_slice()).unwrap_or_default();
    let all = connectors.iter().flat_map(|connector| {
        let title = &connector.title;
        connector
            .actions
            .iter()
            .map(move |action| (action.id.clone(), format!("{title}: {}", action.title)))
    });
    choices("Any action", all.collect(), chosen)
}

fn choices(
    any: &'static str,
    mut all: Vec<(String, String)>,
    chosen: &str,
) -> Vec<(AttrValue, AttrValue)> {
    if !chosen.is_empty() && !all.iter().any(|(value, _)| value == chosen) {
        all.push((chosen.to_owned(), chosen.to_owned()));
    }
    let named = all.into_iter().map(|(value, text)| (value.into(), text.into()));
    [("".into(), any.into())].into_iter().chain(named).collect()
}

/// Puts the newest of a change into the list: in its old place, or on top when it is new.
fn merge(rows: &mut Vec<ChangeView>, change: ChangeView, filter: &Filter, me: Option<Uuid>) {
    if let Some(row) = rows.iter_mut().find(|row| row.id == change.id) {
        // An answer may have been overtaken by a newer one.
        if row.position <= change.position {
            *row = change;
        }
    } else if filter.admits(&change, me) == Some(true)
        && rows.first().is_none_or(|first| change.number > first.number)
    {
        rows.insert(0, change);
    }
}

fn nothing(filter: &Filter) -> Html {
    if filter.is_empty() {
        html! {
            <Empty glyph={Glyph::Changes} title="No changes yet" testid="changes-empty">
                <p>{ "A change says what should happen to which target. Nexplane plans it, others \
                      approve it, and it is verified and can be undone." }</p>
                <div class="actions">
                    <Link to={Route::NewChange} class="button primary">{ "Make the first change" }</Link>
                    <Link to={Route::Connections} class="button">{ "Connect something first" }</Link>
                </div>
            </Empty>
        }
    } else {
        html! {
            <Empty glyph={Glyph::Search} title="No change fits these filters" testid="changes-none">
                <Link to={Route::Changes} class="button">{ "Show all changes" }</Link>
            </Empty>
        }
    }
}
