//! All changes, filtered by the server.

use nexplane_core::api::{ChangeState, ChangeView};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;
use yew_router::prelude::*;

use crate::component::change_table::ChangeTable;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{FilterSelect, SearchInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::live::use_live;
use crate::resource::use_list;
use crate::route::Route;
use crate::session::use_me;
use crate::{api, query, words};

/// The filters, as they stand in the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Filter {
    /// One or more, with commas between them.
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    change_type: String,
    /// An asset.
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mine: bool,
}

impl Filter {
    fn path(&self, me: Option<Uuid>) -> String {
        let requester = me.filter(|_| self.mine).map(|me| me.to_string()).unwrap_or_default();
        query::with(
            "/change-requests",
            &[
                ("state", &self.state),
                ("change_type", &self.change_type),
                ("target", &self.target),
                ("q", &self.q),
                ("requester", &requester),
                ("limit", "50"),
            ],
        )
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a change that just appeared belongs to this list. Text is the server's to compare.
    fn admits(&self, change: &ChangeView, me: Option<Uuid>) -> bool {
        self.q.is_empty()
            && (self.state.is_empty() || self.state.split(',').any(|s| s == change.state.as_str()))
            && (self.change_type.is_empty() || self.change_type == change.change_type)
            && (self.target.is_empty()
                || change.targets.iter().any(|target| target.to_string() == self.target))
            && (!self.mine || me == Some(change.requester.0))
    }
}

#[component]
pub fn Changes() -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
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

    let change_filter = {
        let filter = filter.clone();
        move |change: fn(&mut Filter, String)| {
            let (navigator, filter) = (navigator.clone(), filter.clone());
            Callback::from(move |value: String| {
                let mut filter = filter.clone();
                change(&mut filter, value);
                // Of three plain values a query string can always be made.
                drop(navigator.replace_with_query(&Route::Changes, filter));
            })
        }
    };
    let states = [("".into(), "Any state".into()), (open_states().into(), "Open".into())]
        .into_iter()
        .chain(
            ChangeState::ALL
                .into_iter()
                .map(|state| (state.as_str().into(), words::change_state(state).text.into())),
        )
        .collect::<Vec<(AttrValue, AttrValue)>>();
    let mine = change_filter(|filter, _| filter.mine = !filter.mine);

    html! {
        <>
            <Head title="Changes">
                <Link to={Route::NewChange} class="button primary" testid="new-change">
                    <Icon glyph={Glyph::Plus} />{ "New change" }
                </Link>
            </Head>
            <div class="filters" role="search">
                <SearchInput value={filter.q.clone()} placeholder="Search title, number or target"
                    on_search={change_filter(|filter, text| filter.q = text)} testid="changes-search" />
                <FilterSelect label="State" value={filter.state.clone()} options={states}
                    on_change={change_filter(|filter, state| filter.state = state)}
                    testid="changes-state" />
                <button type="button" class="button toggle" aria-pressed={filter.mine.to_string()}
                    onclick={move |_| mine.emit(String::new())} data-testid="changes-mine">
                    { "Requested by me" }
                </button>
                if !filter.change_type.is_empty() {
                    <Link to={Route::Changes} class="button toggle" title="Show every kind">
                        { words::change_type(&filter.change_type) }<Icon glyph={Glyph::Cross} />
                    </Link>
                }
                if !filter.target.is_empty() {
                    <Link to={Route::Changes} class="button toggle" title="Show every target">
                        { "Of one asset" }<Icon glyph={Glyph::Cross} />
                    </Link>
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

/// The states in which somebody has to do something yet.
fn open_states() -> String {
    let open = ChangeState::ALL.into_iter().filter(|state| !state.is_settled());
    open.map(ChangeState::as_str).collect::<Vec<_>>().join(",")
}

/// Puts the newest of a change into the list: in its old place, or on top when it is new.
fn merge(rows: &mut Vec<ChangeView>, change: ChangeView, filter: &Filter, me: Option<Uuid>) {
    if let Some(row) = rows.iter_mut().find(|row| row.id == change.id) {
        // An answer may have been overtaken by a newer one.
        if row.position <= change.position {
            *row = change;
        }
    } else if filter.admits(&change, me)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_what_still_moves() {
        assert_eq!(open_states(), "draft,submitted,approved,scheduled,executing,rolling_back");
    }

    #[test]
    fn the_filter_asks_the_server() {
        let filter = Filter { state: "draft".to_owned(), mine: true, ..Filter::default() };
        let me = Uuid::nil();
        assert_eq!(
            filter.path(Some(me)),
            format!("/change-requests?state=draft&requester={me}&limit=50")
        );
        assert_eq!(filter.path(None), "/change-requests?state=draft&limit=50");
    }
}
