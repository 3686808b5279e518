//! Words that a line is found by.
//!
//! A word is a run of letters and digits, in lower case. Whatever stands between words in a text or
//! in a search does not matter: `change.submitted` is found by `change submitted`, a UUID by its
//! parts. The last word of a search may be a beginning.

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

/// A search as PostgreSQL reads a tsquery; `None` when there is no word in it.
pub fn query(search: &str) -> Option<String> {
    let words: Vec<String> = split(search).take(MAX_SEARCH).collect();
    let (last, others) = words.split_last()?;
    let mut query: String = others.iter().fold(String::new(), |mut query, word| {
        let _ = write!(query, "'{word}' & ");
        query
    });
    let _ = write!(query, "'{last}':*");
    Some(query)
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
        assert_eq!(query("Change.sub").as_deref(), Some("'change' & 'sub':*"));
        assert_eq!(query("' | :* \\"), None);
        assert_eq!(query(""), None);
    }

    #[test]
    fn a_long_payload_has_a_bounded_number_of_words() {
        let long: Vec<_> = (0..10_000).map(|n| format!("w{n}")).collect();
        let found = lexemes(&[&long.join(" ")], &BTreeSet::new(), "{}");
        assert_eq!(found.split_whitespace().count(), MAX_WORDS);
    }
}
