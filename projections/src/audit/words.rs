//! Words that a line is found by.
//!
//! A word is a run of letters and digits, in lower case. Whatever stands between words in a text or
//! in a search does not matter: `change.submitted` is found by `change submitted`, a UUID by its
//! parts. The last word of a search may be a beginning.
//!
//! No line has the name of a person: names are not in the log, where they would stay forever. Who has
//! the names says whom a term of a search means ([`Term::people`]).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use uuid::Uuid;

/// Words of one line, at most: a tsvector has to stay below 1 MiB.
const MAX_WORDS: usize = 2000;

/// Characters of a word that count.
const MAX_CHARS: usize = 64;

/// Words of a search, at most.
const MAX_SEARCH: usize = 20;

/// The words of some texts, ids and all strings and numbers in a JSON text, as PostgreSQL reads a
/// tsvector.
pub fn lexemes(texts: &[&str], ids: &BTreeSet<Uuid>, json: &str) -> String {
    let mut words = BTreeSet::new();
    for text in texts {
        collect(text, &mut words);
    }
    for id in ids {
        collect(&id.to_string(), &mut words);
    }
    if let Ok(value) = serde_json::from_str(json) {
        walk(&value, &mut words);
    }
    let mut lexemes = String::with_capacity(words.len() * 10);
    for word in words {
        // Nothing in a word has a meaning inside of quotes.
        let _ = write!(lexemes, "'{word}' ");
    }
    lexemes
}

/// What a search asks for between two spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// In lower case, as it was given.
    text: String,
    words: Vec<String>,
    /// The last one of a search may be the beginning of something.
    beginning: bool,
    /// Those who are called so: events that they did, and events about them, fit as well.
    pub people: Vec<Uuid>,
}

/// The terms of a search; all of them have to fit. None when nothing is asked for, one that fits nothing when only
/// signs are given.
pub fn terms(search: &str) -> Vec<Term> {
    let term = |text: &str| Term {
        text: text.to_lowercase(),
        words: split(text).take(MAX_SEARCH).collect(),
        beginning: false,
        people: Vec::new(),
    };
    let all: Vec<Term> = search.split_whitespace().map(term).collect();
    let signs = all.first().cloned();
    let mut terms: Vec<Term> =
        all.into_iter().filter(|term| !term.words.is_empty()).take(MAX_SEARCH).collect();
    if terms.is_empty() {
        terms.extend(signs);
    }
    if let Some(last) = terms.last_mut() {
        last.beginning = true;
    }
    terms
}

impl Term {
    /// As PostgreSQL reads a tsquery; `None` when there is no word in it.
    pub(super) fn query(&self) -> Option<String> {
        let (last, others) = self.words.split_last()?;
        let mut query: String = others.iter().fold(String::new(), |mut query, word| {
            let _ = write!(query, "'{word}' & ");
            query
        });
        let _ = write!(query, "'{last}'{}", if self.beginning { ":*" } else { "" });
        Some(query)
    }

    /// Whether somebody with this name and this address is meant: by words of the name, by the address or its
    /// beginning, or by words of what comes before the `@`. A domain alone would mean everybody.
    pub fn means(&self, name: &str, email: &str) -> bool {
        if self.text.contains('@') {
            let email = email.to_lowercase();
            return if self.beginning { email.starts_with(&self.text) } else { email == self.text };
        }
        let local = email.split('@').next().unwrap_or_default();
        let known: Vec<String> = split(name).chain(split(local)).collect();
        let Some((last, others)) = self.words.split_last() else { return false };
        others.iter().all(|word| known.contains(word))
            && known.iter().any(|word| {
                if self.beginning { word.starts_with(last.as_str()) } else { word == last }
            })
    }
}

fn walk(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => collect(text, words),
        Value::Number(number) => collect(&number.to_string(), words),
        Value::Array(items) => items.iter().for_each(|item| walk(item, words)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, words)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn collect(text: &str, words: &mut BTreeSet<String>) {
    for word in split(text) {
        if words.len() >= MAX_WORDS {
            return;
        }
        words.insert(word);
    }
}

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| {
        word.to_lowercase().chars().filter(|c| c.is_alphanumeric()).take(MAX_CHARS).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits() {
        let found = lexemes(
            &["Approved it, 2 of 2."],
            &BTreeSet::new(),
            r#"{"data":{"a":"O'Neil \\ x:1","b":[17,true,null],"title":"Größe"}}"#,
        );
        assert_eq!(found, "'1' '17' '2' 'approved' 'größe' 'it' 'neil' 'o' 'of' 'x' ");
    }

    #[test]
    fn the_last_word_may_be_a_beginning() {
        let queries = |search: &str| -> Vec<Option<String>> {
            terms(search).iter().map(Term::query).collect()
        };
        assert_eq!(queries("Change.sub"), [Some("'change' & 'sub':*".to_owned())]);
        assert_eq!(
            queries("b.a | 2 of"),
            ["'b' & 'a'", "'2'", "'of':*"].map(|query| Some(query.to_owned()))
        );
        assert_eq!(queries("' | :* \\"), [None]);
        assert_eq!(queries("  "), []);
    }

    #[test]
    fn people_are_meant_by_their_names_and_addresses() {
        let means = |search: &str| -> Vec<bool> {
            let all = terms(search);
            all.iter().map(|term| term.means("Olga O'Neil", "ops.Team@example.org")).collect()
        };
        for search in
            ["olga", "OLG", "o'neil", "ops.team", "team", "OPS.team@example.org", "ops.team@"]
        {
            assert_eq!(means(search), [true], "{search}");
        }
        // A beginning only at the end, and never by a domain.
        assert_eq!(means("olg o'ne"), [false, true]);
        assert_eq!(means("ops.team@ olga"), [false, true]);
        for search in ["example", "org", "@example.org", "neil.olga.x", "'", "lga"] {
            assert_eq!(means(search), [false], "{search}");
        }
    }

    #[test]
    fn a_long_payload_has_a_bounded_number_of_words() {
        let long: Vec<_> = (0..10_000).map(|n| format!("w{n}")).collect();
        let found = lexemes(&[&long.join(" ")], &BTreeSet::new(), "{}");
        assert_eq!(found.split_whitespace().count(), MAX_WORDS);
    }
}
