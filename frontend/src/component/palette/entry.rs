//! What the palette leads to.

use std::collections::BTreeSet;

use nexplane_core::api::{
    AssetView, ChangeView, ConnectionView, HostView, Page, SavedView, UserView,
};
use nexplane_core::catalog::Catalog;
use serde::{Deserialize, Serialize};
use yew_router::prelude::Routable as _;

use crate::component::icon::Glyph;
use crate::page::changes::views;
use crate::route::Route;
use crate::{format, query, search, words};

/// Entries of one kind; more are found by typing more.
pub const AT_MOST: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Page,
    View,
    Action,
    Change,
    Asset,
    Host,
    Connection,
    Person,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::View => "view",
            Self::Action => "action",
            Self::Change => "change",
            Self::Asset => "asset",
            Self::Host => "host",
            Self::Connection => "connection",
            Self::Person => "person",
        }
    }

    pub const fn glyph(self) -> Glyph {
        match self {
            Self::Page => Glyph::Chevron,
            Self::View => Glyph::Eye,
            Self::Action => Glyph::Plus,
            Self::Change => Glyph::Changes,
            Self::Asset => Glyph::Assets,
            Self::Host => Glyph::Hosts,
            Self::Connection => Glyph::Connections,
            Self::Person => Glyph::People,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: Kind,
    pub text: String,
    pub hint: String,
    /// A path of this dashboard.
    pub href: String,
}

const PAGES: [Route; 12] = [
    Route::Home,
    Route::Changes,
    Route::Approvals,
    Route::Calendar,
    Route::Assets,
    Route::Connections,
    Route::Hosts,
    Route::Policies,
    Route::Risk,
    Route::Audit,
    Route::People,
    Route::Operations,
];

/// Whether every word that was typed occurs in one of these.
pub fn fits(typed: &str, texts: &[&str]) -> bool {
    let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
    let typed = typed.to_lowercase();
    typed.split_whitespace().all(|word| texts.iter().any(|text| text.contains(word)))
}

pub fn pages(typed: &str, sees_people: bool) -> Vec<Entry> {
    PAGES
        .into_iter()
        .filter(|route| sees_people || *route != Route::People)
        .filter(|route| fits(typed, &[route.title()]))
        .map(|route| Entry {
            kind: Kind::Page,
            text: route.title().to_owned(),
            hint: String::new(),
            href: route.to_path(),
        })
        .collect()
}

pub fn views(typed: &str, saved: Option<&Page<SavedView>>) -> Vec<Entry> {
    each(saved, |view| Entry {
        kind: Kind::View,
        text: view.name.clone(),
        hint: "Changes".to_owned(),
        href: views::address(&view.query),
    })
    .into_iter()
    .filter(|entry| fits(typed, &[&entry.text]))
    .collect()
}

pub fn actions(
    typed: &str,
    catalog: Option<&Catalog>,
    connections: Option<&Page<ConnectionView>>,
) -> Vec<Entry> {
    let Some(catalog) = catalog.filter(|_| !typed.is_empty()) else { return Vec::new() };
    let connections = connections.iter().flat_map(|page| &page.items);
    let connected: Vec<&str> = connections.map(|one| &*one.kind).collect();
    search::actions(catalog, &connected, typed)
        .into_iter()
        .take(AT_MOST)
        .map(|offer| Entry {
            kind: Kind::Action,
            text: format!("New change: {}", lower(&offer.action.title)),
            hint: offer.connector.title.clone(),
            href: query::with(&Route::NewChange.to_path(), &[("action", &offer.action.id)]),
        })
        .collect()
}

/// A title inside of a sentence: `Lock a role` is `lock a role`, `LDAP …` stays.
fn lower(title: &str) -> String {
    let mut letters = title.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => title.to_owned(),
    }
}

pub fn each<T>(page: Option<&Page<T>>, entry: impl Fn(&T) -> Entry) -> Vec<Entry> {
    page.map(|page| page.items.iter().map(entry).collect()).unwrap_or_default()
}

pub fn change(change: &ChangeView) -> Entry {
    Entry {
        kind: Kind::Change,
        text: format!("#{} {}", change.number, change.title),
        hint: words::change_standing(change.state, change.settled.is_some()).text.to_owned(),
        href: Route::Change { id: change.id }.to_path(),
    }
}

pub fn asset(asset: &AssetView) -> Entry {
    Entry {
        kind: Kind::Asset,
        text: asset.name.clone(),
        hint: format!("{} · {}", format::humanise(&asset.kind), asset.connection_name),
        href: Route::Asset { id: asset.id }.to_path(),
    }
}

pub fn host(host: &HostView) -> Entry {
    Entry {
        kind: Kind::Host,
        text: host.hostname.clone(),
        hint: format::humanise(&host.status),
        href: Route::Host { id: host.id }.to_path(),
    }
}

pub fn connection(connection: &ConnectionView) -> Entry {
    Entry {
        kind: Kind::Connection,
        text: connection.name.clone(),
        hint: format!("{} · {}", connection.kind, connection.environment.as_str()),
        href: Route::Connection { id: connection.id }.to_path(),
    }
}

pub fn person(person: &UserView) -> Entry {
    Entry {
        kind: Kind::Person,
        text: person.name.clone(),
        hint: person.email.clone(),
        href: query::with(&Route::Audit.to_path(), &[("actor", &person.id.to_string())]),
    }
}

/// Leaves out what is there already, further up.
pub fn once_each(found: &mut Vec<(&'static str, Vec<Entry>)>) {
    let mut seen = BTreeSet::new();
    for (_, entries) in found.iter_mut() {
        entries.retain(|entry| seen.insert(entry.href.clone()));
    }
    found.retain(|(_, entries)| !entries.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, href: &str) -> Entry {
        Entry {
            kind: Kind::Page,
            text: text.to_owned(),
            hint: String::new(),
            href: href.to_owned(),
        }
    }

    #[test]
    fn pages_are_found_by_part_of_their_name() {
        let found: Vec<_> = pages("aud", true).into_iter().map(|entry| entry.href).collect();
        assert_eq!(found, ["/audit"]);
        assert_eq!(pages("", true).len(), PAGES.len());
        assert!(pages("people", false).is_empty(), "they are an administrator's");
    }

    #[test]
    fn nothing_is_listed_twice() {
        let mut found = vec![
            ("Recent", vec![entry("Audit", "/audit")]),
            ("Pages", vec![entry("Audit", "/audit")]),
            ("Changes", vec![entry("#1", "/changes/1")]),
        ];
        once_each(&mut found);
        let groups: Vec<_> = found.into_iter().map(|(group, _)| group).collect();
        assert_eq!(groups, ["Recent", "Changes"]);
    }

    #[test]
    fn a_title_goes_into_a_sentence() {
        assert_eq!(lower("Lock a role"), "lock a role");
        assert_eq!(lower("LDAP"), "LDAP");
        assert_eq!(lower(""), "");
    }
}
