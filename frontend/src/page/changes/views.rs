//! Tabs above the list: filters that everybody has, and those that this person gave a name.

use nexplane_core::api::{Page, SaveViewsRequest, SavedView};
use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use crate::api;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::TextInput;
use crate::component::problem::ProblemNote;
use crate::resource::{Mutation, Resource, use_mutation, use_resource};
use crate::route::Route;

/// The list with these filters.
pub fn address(query: &str) -> String {
    let path = Route::Changes.to_path();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

#[derive(Properties, PartialEq)]
pub struct ViewsProps {
    /// The filters that are in force, as the address has them.
    pub query: AttrValue,
    /// Views that everybody has: name and query.
    pub standing: Vec<(&'static str, String)>,
}

#[derive(Clone, PartialEq)]
enum Open {
    Nothing,
    Save,
    Edit,
}

#[component]
pub fn Views(props: &ViewsProps) -> Html {
    let saved = use_resource::<Page<SavedView>>(Some("/saved-views".to_owned()));
    let open = use_state_eq(|| Open::Nothing);
    let own: Vec<SavedView> =
        saved.value.as_ref().map(|page| page.items.clone()).unwrap_or_default();
    let here = &props.query;
    let is_known = own.iter().any(|view| view.query == here.as_str())
        || props.standing.iter().any(|(_, query)| query == here.as_str());
    let close = {
        let open = open.setter();
        Callback::from(move |()| open.set(Open::Nothing))
    };
    let show = |what: Open| {
        let open = open.setter();
        Callback::from(move |_: MouseEvent| open.set(what.clone()))
    };
    let standing = props.standing.iter().map(|(name, query)| tab(name, query, here, None));
    let named = own.iter().map(|view| tab(&view.name, &view.query, here, Some("changes-view")));
    html! {
        <>
            <nav class="views" aria-label="Views" data-testid="changes-views">
                <ul>{ for standing }{ for named }</ul>
                if !is_known {
                    <button type="button" class="button quiet small" onclick={show(Open::Save)}
                        data-testid="view-save">
                        <Icon glyph={Glyph::Plus} />{ "Save as a view" }
                    </button>
                }
                if !own.is_empty() {
                    <button type="button" class="button quiet small" onclick={show(Open::Edit)}
                        data-testid="view-edit">
                        <Icon glyph={Glyph::Pencil} />{ "Edit views" }
                    </button>
                }
            </nav>
            {
                match *open {
                    Open::Nothing => html! {},
                    Open::Save => html! {
                        <Save {own} query={here.clone()} saved={Saved(saved)} on_close={close} />
                    },
                    Open::Edit => html! { <Edit {own} saved={Saved(saved)} on_close={close} /> },
                }
            }
        </>
    }
}

fn tab(name: &str, query: &str, here: &str, testid: Option<&'static str>) -> Html {
    html! { <Tab name={name.to_owned()} query={query.to_owned()} here={query == here} {testid} /> }
}

#[derive(Properties, PartialEq)]
struct TabProps {
    name: AttrValue,
    query: AttrValue,
    here: bool,
    testid: Option<&'static str>,
}

#[component]
fn Tab(props: &TabProps) -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let href = address(&props.query);
    let onclick = {
        let href = href.clone();
        Callback::from(move |event: MouseEvent| {
            if event.meta_key() || event.ctrl_key() || event.shift_key() || event.alt_key() {
                return;
            }
            event.prevent_default();
            navigator.push(&AnyRoute::new(href.clone()));
        })
    };
    html! {
        <li key={props.name.to_string()}>
            <a class="view" {href} {onclick} aria-current={props.here.then_some("true")}
                data-testid={props.testid}>{ &props.name }</a>
        </li>
    }
}

/// The views as they are kept; all are the same.
#[derive(Clone)]
struct Saved(Resource<Page<SavedView>>);

impl PartialEq for Saved {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Keeps these views instead, then goes on.
fn keep(mutation: &Mutation, saved: &Saved, items: Vec<SavedView>, done: impl FnOnce() + 'static) {
    let Saved(saved) = saved.clone();
    let call = async move {
        api::post::<Page<SavedView>>("/saved-views", &SaveViewsRequest { items }).await
    };
    mutation.start(call, move |page| {
        saved.set(page);
        done();
    });
}

#[derive(Properties, PartialEq)]
struct SaveProps {
    own: Vec<SavedView>,
    query: AttrValue,
    saved: Saved,
    on_close: Callback<()>,
}

#[component]
fn Save(props: &SaveProps) -> Html {
    let name = use_state_eq(String::new);
    let mutation = use_mutation();
    let onsubmit = {
        let (name, mutation, on_close) = (name.clone(), mutation.clone(), props.on_close.clone());
        let (own, query, saved) = (props.own.clone(), props.query.clone(), props.saved.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let mut items = own.clone();
            items.push(SavedView { name: (*name).clone(), query: query.to_string() });
            let on_close = on_close.clone();
            keep(&mutation, &saved, items, move || on_close.emit(()));
        })
    };
    let on_change = {
        let name = name.setter();
        Callback::from(move |text| name.set(text))
    };
    html! {
        <Dialog title="Save as a view" on_close={props.on_close.clone()} testid="view-dialog">
            <form class="form" {onsubmit}>
                <TextInput id="view-name" label="Name" value={(*name).clone()} {on_change} autofocus=true
                    help="A tab with these filters, for you alone. Its address can be sent to others."
                    testid="view-name" />
                if let Some(error) = mutation.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button primary" disabled={mutation.busy() || name.trim().is_empty()}
                        data-testid="view-keep">{ "Save" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[derive(Properties, PartialEq)]
struct EditProps {
    own: Vec<SavedView>,
    saved: Saved,
    on_close: Callback<()>,
}

/// Renames, moves and removes views; all at once, when it is saved.
#[component]
fn Edit(props: &EditProps) -> Html {
    let views = use_state(|| props.own.clone());
    let mutation = use_mutation();
    let edit = |change: fn(&mut Vec<SavedView>, usize, String)| {
        let views = views.clone();
        move |index: usize| {
            let views = views.clone();
            Callback::from(move |text: String| {
                let mut all = (*views).clone();
                change(&mut all, index, text);
                views.set(all);
            })
        }
    };
    let rename = edit(|all, index, text| {
        if let Some(view) = all.get_mut(index) {
            view.name = text;
        }
    });
    let up = edit(|all, index, _| {
        if let Some(before) = index.checked_sub(1).filter(|_| index < all.len()) {
            all.swap(before, index);
        }
    });
    let remove = edit(|all, index, _| {
        if index < all.len() {
            all.remove(index);
        }
    });
    let row = |(index, view): (usize, &SavedView)| {
        let click = |callback: Callback<String>| callback.reform(|_: MouseEvent| String::new());
        html! {
            <li key={index} class="view-row">
                <TextInput id={format!("view-{index}")} label={format!("View {}", index + 1)}
                    value={view.name.clone()} on_change={rename(index)} testid="view-rename" />
                <button type="button" class="button quiet icon-only" disabled={index == 0}
                    onclick={click(up(index))} aria-label={format!("Move {} forward", view.name)}
                    title="Move forward" data-testid="view-up"><Icon glyph={Glyph::Back} /></button>
                <button type="button" class="button quiet icon-only" onclick={click(remove(index))}
                    aria-label={format!("Remove {}", view.name)} title="Remove"
                    data-testid="view-remove"><Icon glyph={Glyph::Cross} /></button>
            </li>
        }
    };
    let onsubmit = {
        let (views, mutation) = (views.clone(), mutation.clone());
        let (saved, on_close) = (props.saved.clone(), props.on_close.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let on_close = on_close.clone();
            keep(&mutation, &saved, (*views).clone(), move || on_close.emit(()));
        })
    };
    html! {
        <Dialog title="Your views" on_close={props.on_close.clone()} testid="views-dialog">
            <form class="form" {onsubmit}>
                if views.is_empty() {
                    <p class="faint">{ "None is left. Save to keep it so." }</p>
                } else {
                    <ol class="view-rows">{ for views.iter().enumerate().map(row) }</ol>
                }
                if let Some(error) = mutation.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button primary" disabled={mutation.busy()}
                        data-testid="views-keep">{ "Save" }</button>
                </div>
            </form>
        </Dialog>
    }
}
