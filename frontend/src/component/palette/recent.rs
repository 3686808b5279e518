//! What somebody chose last, as far as this browser knows.

use nexplane_core::id::PersonId;

use super::entry::Entry;
use crate::storage;

/// The last ones.
const KEPT: usize = 6;

fn key(person: PersonId) -> String {
    format!("nexplane-recent-{person}")
}

pub fn read(person: PersonId) -> Vec<Entry> {
    let text = storage::read(&key(person)).unwrap_or_default();
    let entries: Vec<Entry> = serde_json::from_str(&text).unwrap_or_default();
    entries.into_iter().filter(|entry| is_ours(&entry.href)).take(KEPT).collect()
}

pub fn add(person: PersonId, entry: &Entry) {
    let entries = with(entry, read(person));
    if let Ok(text) = serde_json::to_string(&entries) {
        storage::write(&key(person), Some(&text));
    }
}

fn with(entry: &Entry, before: Vec<Entry>) -> Vec<Entry> {
    let others = before.into_iter().filter(|other| other.href != entry.href);
    std::iter::once(entry.clone()).chain(others).take(KEPT).collect()
}

/// A path of this dashboard, whatever the browser's storage says.
fn is_ours(href: &str) -> bool {
    href.starts_with('/') && !href.starts_with("//") && !href.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::super::entry::Kind;
    use super::*;

    fn entry(number: usize) -> Entry {
        Entry {
            kind: Kind::Change,
            text: format!("#{number}"),
            hint: String::new(),
            href: format!("/changes/{number}"),
        }
    }

    #[test]
    fn the_last_one_is_first_and_there_once() {
        let all = (0..8).fold(Vec::new(), |before, number| with(&entry(number), before));
        let all = with(&entry(4), all);
        let texts: Vec<_> = all.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["#4", "#7", "#6", "#5", "#3", "#2"]);
        assert!(is_ours("/changes") && !is_ours("//evil.example") && !is_ours("javascript:x"));
    }
}
