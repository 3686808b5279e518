//! Finding a part of a word by an index: a text has the set of all that is three characters long in it, and
//! whatever contains a word contains the word's own set. That is a hint, which keeps an index from missing
//! anything: numbers stand for the characters, two may share one, and order is lost. Who asks compares the
//! text itself afterwards.
//!
//! Computed here and not by an extension of PostgreSQL, which not every server has.

/// Characters of a gram.
const LENGTH: usize = 3;

/// Characters of a text that are looked at; what is searched is no longer.
const MOST: usize = 6_000;

/// Those of a text, in any case: sorted, each once.
pub(crate) fn of(text: &str) -> Vec<i32> {
    let characters: Vec<char> = text.chars().flat_map(char::to_lowercase).take(MOST).collect();
    let mut grams: Vec<i32> = characters.windows(LENGTH).map(number).collect();
    grams.sort_unstable();
    grams.dedup();
    grams
}

/// Those that a text has that contains all of these words; nothing for words that are too short to have any.
pub(crate) fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<i32>> {
    let mut grams: Vec<i32> = words.flat_map(of).collect();
    grams.sort_unstable();
    grams.dedup();
    (!grams.is_empty()).then_some(grams)
}

/// A polynomial of the characters, modulo 2³².
fn number(gram: &[char]) -> i32 {
    let number = gram.iter().fold(0_u32, |number, character| {
        number.wrapping_mul(0x9e37_79b1).wrapping_add(u32::from(*character))
    });
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, word: &str) -> bool {
        let text = of(text);
        of(word).iter().all(|gram| text.contains(gram))
    }

    #[test]
    fn a_text_has_what_every_part_of_it_has() {
        let text = "#17 Lock the role Ärger of OPS-1234 postgres.lock_user";
        for part in ["lock", "ärger", "ps-12", "#17", "k_us", "ck"] {
            assert!(has(text, part), "{part}");
        }
        for other in ["lack", "ops-1235", "user_lock"] {
            assert!(!has(text, other), "{other}");
        }
    }

    #[test]
    fn words_that_are_too_short_have_none() {
        assert_eq!(of_words(["ab", "c", ""].into_iter()), None);
        assert_eq!(of_words(["ab", "abc"].into_iter()), Some(of("abc")));
    }
}
