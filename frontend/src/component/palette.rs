//! Find anything: pages, saved views, kinds of change, changes, assets, hosts, connections and people.
//!
//! What there is little of is compared here; the rest is searched for by the server, after a short pause in typing.

mod entry;
mod recent;

use nexplane_core::actor::Role;
use nexplane_core::api::{
    AssetView, ChangeView, ConnectionView, HostView, Page, SavedView, UserView,
};
use nexplane_core::catalog::Catalog;
use std::rc::Rc;
use web_sys::HtmlInputElement;
use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use self::entry::{AT_MOST, Entry, fits};
use super::dialog::{Dialog, Shape};
use super::icon::{Glyph, Icon};
use crate::query;
use crate::resource::use_resource;
use crate::session::{has, use_me};

/// Milliseconds of pause in typing after which the server is asked.
const PAUSE_MS: u32 = 180;

#[derive(Properties, PartialEq)]
pub struct PaletteProps {
    pub on_close: Callback<()>,
}

#[component]
pub fn Palette(props: &PaletteProps) -> Html {
    let me = use_me();
    let person = me.as_ref().map(|me| me.id);
    let typed = use_state_eq(String::new);
    let asked = use_state_eq(String::new);
    let chosen = use_state_eq(|| 0_usize);
    let navigator = use_navigator().expect("the palette is inside the router");
    let recent = use_memo(person, |person| person.map(recent::read).unwrap_or_default());
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let views = use_resource::<Page<SavedView>>(Some("/saved-views".to_owned()));
    let search = asked.len() > 1;
    let path = |path: &str| search.then(|| query::with(path, &[("q", &asked), ("limit", "6")]));
    let changes = use_resource::<Page<ChangeView>>(path("/change-requests"));
    let assets = use_resource::<Page<AssetView>>(path("/assets"));
    let hosts = use_resource::<Page<HostView>>(path("/hosts"));
    let connections =
        use_resource::<Page<ConnectionView>>(Some("/connections?limit=200".to_owned()));
    let sees_people = has(me.as_deref(), Role::Admin);
    let people = use_resource::<Page<UserView>>(
        (search && sees_people).then(|| "/users?limit=200".to_owned()),
    );

    let text = typed.trim().to_owned();
    let mut found: Vec<(&'static str, Vec<Entry>)> = Vec::new();
    let mut add = |group: &'static str, entries: Vec<Entry>| {
        if !entries.is_empty() {
            found.push((group, entries));
        }
    };
    add(
        "Recent",
        recent.iter().filter(|entry| fits(&text, &[&entry.text, &entry.hint])).cloned().collect(),
    );
    add("Pages", entry::pages(&text, sees_people));
    add("Your views", entry::views(&text, views.value.as_deref()));
    add(
        "New change",
        entry::actions(&text, catalog.value.as_deref(), connections.value.as_deref()),
    );
    if text.len() > 1 {
        add("Changes", entry::each(changes.value.as_deref(), entry::change));
        add("Assets", entry::each(assets.value.as_deref(), entry::asset));
        add("Hosts", entry::each(hosts.value.as_deref(), entry::host));
        let named = entry::each(connections.value.as_deref(), entry::connection).into_iter();
        add(
            "Connections",
            named.filter(|one| fits(&text, &[&one.text, &one.hint])).take(AT_MOST).collect(),
        );
        let named = entry::each(people.value.as_deref(), entry::person).into_iter();
        add(
            "People",
            named.filter(|one| fits(&text, &[&one.text, &one.hint])).take(AT_MOST).collect(),
        );
    }
    entry::once_each(&mut found);
    let found = Rc::new(found);
    let count = found.iter().map(|(_, entries)| entries.len()).sum::<usize>();
    let is_asking =
        text.len() > 1 && (*asked != text || changes.loading || assets.loading || hosts.loading);

    let go = {
        let (found, on_close) = (Rc::clone(&found), props.on_close.clone());
        Callback::from(move |index: usize| {
            if let Some(entry) = found.iter().flat_map(|(_, entries)| entries).nth(index) {
                if let Some(person) = person {
                    recent::add(person, entry);
                }
                on_close.emit(());
                navigator.push(&AnyRoute::new(entry.href.clone()));
            }
        })
    };
    let onkeydown = {
        let (chosen, go, last) = (chosen.clone(), go.clone(), count.saturating_sub(1));
        Callback::from(move |event: KeyboardEvent| {
            match event.key().as_str() {
                "ArrowDown" => chosen.set((*chosen + 1).min(last)),
                "ArrowUp" => chosen.set(chosen.saturating_sub(1)),
                "Enter" => go.emit(*chosen),
                _ => return,
            }
            event.prevent_default();
        })
    };
    let oninput = {
        let (typed, chosen, asked) = (typed.setter(), chosen.setter(), asked.setter());
        let pause = use_mut_ref(|| None::<gloo_timers::callback::Timeout>);
        Callback::from(move |event: InputEvent| {
            let text = event.target_unchecked_into::<HtmlInputElement>().value();
            let (asked, trimmed) = (asked.clone(), text.trim().to_owned());
            typed.set(text);
            chosen.set(0);
            *pause.borrow_mut() = Some(gloo_timers::callback::Timeout::new(PAUSE_MS, move || {
                asked.set(trimmed);
            }));
        })
    };
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
    {
        // What is chosen with the keys is to be seen.
        use_effect_with(*chosen, move |chosen| {
            let window = web_sys::window().and_then(|window| window.document());
            let row = window
                .and_then(|document| document.get_element_by_id(&format!("palette-{chosen}")));
            if let Some(row) = row.filter(|_| *chosen > 0) {
                row.scroll_into_view_with_bool(false);
            }
        });
    }
    let mut index = 0;
    let mut rows = Vec::new();
    for (group, entries) in found.iter() {
        let mut options = Vec::new();
        for entry in entries {
            options.push(option(entry, index, *chosen == index, &go));
            index += 1;
        }
        rows.push(html! {
            <ul key={*group} class="palette-group" role="group" aria-label={*group}>
                <li class="palette-head" role="presentation">{ group }</li>
                { for options }
            </ul>
        });
    }
    html! {
        <Dialog title="Find anything" shape={Shape::Palette} on_close={props.on_close.clone()}
            testid="palette">
            <div class="palette-input">
                <Icon glyph={Glyph::Search} />
                <input ref={node} type="text" value={(*typed).clone()} {oninput} {onkeydown}
                    placeholder="Find a change, a host, an asset, a page, or what to do"
                    aria-label="Find anything" role="combobox" aria-expanded="true"
                    aria-controls="palette-list" aria-activedescendant={format!("palette-{}", *chosen)}
                    autocomplete="off" spellcheck="false" data-testid="palette-input" />
            </div>
            <div class="palette-list" id="palette-list" role="listbox" aria-label="Found"
                aria-busy={is_asking.to_string()}>
                { for rows }
            </div>
            if count == 0 {
                <p class="palette-none" role="status">
                    { if is_asking { "Searching…" } else { "Nothing found. Try fewer letters." } }
                </p>
            }
        </Dialog>
    }
}

fn option(entry: &Entry, index: usize, here: bool, go: &Callback<usize>) -> Html {
    let go = go.clone();
    html! {
        <li key={entry.href.clone()} id={format!("palette-{index}")} role="option"
            aria-selected={here.to_string()} class={classes!("palette-row", here.then_some("here"))}
            onclick={move |_| go.emit(index)} data-testid="palette-row" data-kind={entry.kind.as_str()}>
            <Icon glyph={entry.kind.glyph()} />
            <span>{ &entry.text }</span>
            <span class="faint small">{ &entry.hint }</span>
        </li>
    }
}
