//! Find anything: pages, kinds of change, changes and assets.

use std::rc::Rc;

use nexplane_core::api::{AssetView, ChangeView, Page};
use nexplane_core::catalog::Catalog;
use web_sys::HtmlInputElement;
use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use super::dialog::{Dialog, Shape};
use super::icon::{Glyph, Icon};
use crate::resource::use_resource;
use crate::route::Route;
use crate::{format, query, search, words};

#[derive(Clone, PartialEq)]
struct Entry {
    glyph: Glyph,
    text: String,
    hint: String,
    href: String,
}

/// Entries of one kind; more are found by typing more.
const AT_MOST: usize = 6;

const PAGES: [(Route, Glyph); 11] = [
    (Route::Changes, Glyph::Changes),
    (Route::Approvals, Glyph::Approvals),
    (Route::Assets, Glyph::Assets),
    (Route::Connections, Glyph::Connections),
    (Route::Hosts, Glyph::Hosts),
    (Route::Calendar, Glyph::Calendar),
    (Route::Policies, Glyph::Lock),
    (Route::Risk, Glyph::Risk(3)),
    (Route::Audit, Glyph::Audit),
    (Route::People, Glyph::People),
    (Route::Operations, Glyph::Operations),
];

#[derive(Properties, PartialEq)]
pub struct PaletteProps {
    pub on_close: Callback<()>,
}

#[component]
pub fn Palette(props: &PaletteProps) -> Html {
    let typed = use_state_eq(String::new);
    let chosen = use_state_eq(|| 0_usize);
    let navigator = use_navigator().expect("the palette is inside the router");
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let asked = typed.trim().to_owned();
    let path =
        |path: &str| (asked.len() > 1).then(|| query::with(path, &[("q", &asked), ("limit", "6")]));
    let changes = use_resource::<Page<ChangeView>>(path("/change-requests"));
    let assets = use_resource::<Page<AssetView>>(path("/assets"));

    let mut found = entries(&asked, catalog.value.as_deref());
    if asked.len() > 1 {
        found.extend(changes.value.iter().flat_map(|page| &page.items).take(AT_MOST).map(change));
        found.extend(assets.value.iter().flat_map(|page| &page.items).take(AT_MOST).map(asset));
    }
    let found = Rc::new(found);

    let go = {
        let (found, on_close) = (Rc::clone(&found), props.on_close.clone());
        Callback::from(move |index: usize| {
            if let Some(entry) = found.get(index) {
                on_close.emit(());
                navigator.push(&AnyRoute::new(entry.href.clone()));
            }
        })
    };
    let onkeydown = {
        let (chosen, go, last) = (chosen.clone(), go.clone(), found.len().saturating_sub(1));
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
        let (typed, chosen) = (typed.setter(), chosen.setter());
        Callback::from(move |event: InputEvent| {
            typed.set(event.target_unchecked_into::<HtmlInputElement>().value());
            chosen.set(0);
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
    let rows = found.iter().enumerate().map(|(index, entry)| {
        let go = go.clone();
        let here = index == *chosen;
        html! {
            <li key={entry.href.clone()} id={format!("palette-{index}")} role="option"
                aria-selected={here.to_string()} class={classes!("palette-row", here.then_some("here"))}
                onclick={move |_| go.emit(index)} data-testid="palette-row">
                <Icon glyph={entry.glyph} />
                <span>{ &entry.text }</span>
                <span class="faint small">{ &entry.hint }</span>
            </li>
        }
    });
    html! {
        <Dialog title="Find anything" shape={Shape::Palette} on_close={props.on_close.clone()}
            testid="palette">
            <div class="palette-input">
                <Icon glyph={Glyph::Search} />
                <input ref={node} type="text" value={(*typed).clone()} {oninput} {onkeydown}
                    placeholder="Find a page, a kind of change, a change or an asset"
                    aria-label="Find anything" role="combobox" aria-expanded="true"
                    aria-controls="palette-list" aria-activedescendant={format!("palette-{}", *chosen)}
                    autocomplete="off" spellcheck="false" data-testid="palette-input" />
            </div>
            <ul class="palette-list" id="palette-list" role="listbox" aria-label="Found">
                if found.is_empty() {
                    <li class="palette-none">{ "Nothing found. Try fewer letters." }</li>
                } else {
                    { for rows }
                }
            </ul>
        </Dialog>
    }
}

fn entries(typed: &str, catalog: Option<&Catalog>) -> Vec<Entry> {
    let lower = typed.to_lowercase();
    let mut found: Vec<Entry> = PAGES
        .into_iter()
        .filter(|(route, _)| route.title().to_lowercase().contains(&lower))
        .map(|(route, glyph)| Entry {
            glyph,
            text: route.title().to_owned(),
            hint: "Page".to_owned(),
            href: route.to_path(),
        })
        .collect();
    if let Some(catalog) = catalog.filter(|_| !typed.is_empty()) {
        found.extend(search::actions(catalog, typed).into_iter().take(AT_MOST).map(|offer| {
            Entry {
                glyph: Glyph::Plus,
                text: offer.action.title.clone(),
                hint: format!("New change · {}", offer.connector.title),
                href: query::with(&Route::NewChange.to_path(), &[("action", &offer.action.id)]),
            }
        }));
    }
    found
}

fn change(change: &ChangeView) -> Entry {
    Entry {
        glyph: Glyph::Changes,
        text: format!("#{} {}", change.number, change.title),
        hint: words::change_state(change.state).text.to_owned(),
        href: Route::Change { id: change.id }.to_path(),
    }
}

fn asset(asset: &AssetView) -> Entry {
    Entry {
        glyph: Glyph::Assets,
        text: asset.name.clone(),
        hint: format!("{} · {}", format::humanise(&asset.kind), asset.connection_name),
        href: Route::Asset { id: asset.id }.to_path(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_part_of_their_name() {
        let found: Vec<_> = entries("aud", None).into_iter().map(|entry| entry.href).collect();
        assert_eq!(found, ["/audit"]);
        assert_eq!(entries("", None).len(), PAGES.len());
    }
}
