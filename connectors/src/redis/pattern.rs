//! Patterns of key names, as `SCAN … MATCH` takes them.
//! <https://redis.io/docs/latest/commands/keys/>

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Fewest characters that stand for themselves: what names less names nearly everything.
const FEWEST_LITERALS: usize = 3;
const LONGEST: usize = 512;

/// A glob pattern with at least three characters that stand for themselves. It never is `*` alone, and never
/// nearly so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    text: String,
    example: String,
}

impl KeyPattern {
    /// Errors: a sentence that says what a pattern must be.
    pub fn try_new(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a pattern must have at most {LONGEST} bytes"));
        }
        if text.contains(char::is_control) {
            return Err("a pattern must not have control characters in it".to_owned());
        }
        let (mut literals, mut example) = (0, String::new());
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '*' | '?' => example.push('x'),
                '[' => example.push(class(&mut rest)?),
                '\\' => {
                    let escaped = rest.next().ok_or("a pattern must not end with a backslash")?;
                    example.push(escaped);
                    literals += 1;
                }
                literal => {
                    example.push(literal);
                    literals += 1;
                }
            }
        }
        if literals < FEWEST_LITERALS {
            return Err(format!(
                "a pattern must have at least {FEWEST_LITERALS} characters that stand for \
                 themselves, such as a prefix: session:*"
            ));
        }
        Ok(Self { text: text.to_owned(), example })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A name that it takes in, or nearly.
    pub fn example(&self) -> &str {
        &self.example
    }
}

/// The rest of a class, of which one character is answered.
fn class(rest: &mut std::str::Chars<'_>) -> Result<char, &'static str> {
    let open = "a pattern must close every [ with a ], or write it as \\[";
    let (mut one, mut negated, mut is_range) = (None, false, false);
    loop {
        let character = rest.next().ok_or(open)?;
        // Redis takes whatever follows a - as the end of a range, a ] too, and then the class goes on.
        let ends_range = std::mem::replace(&mut is_range, character == '-');
        match character {
            ']' if ends_range => {
                return Err(
                    "a class must not end with a -, which would take the ] for its end: write \\-",
                );
            }
            ']' => break,
            '^' if one.is_none() && !negated => negated = true,
            '\\' => one = one.or(Some(rest.next().ok_or(open)?)),
            character => one = one.or(Some(character)),
        }
    }
    let one = one.ok_or("a pattern must not have an empty class []")?;
    Ok(if negated { '~' } else { one })
}

impl std::fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for KeyPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::try_new(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for KeyPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": FEWEST_LITERALS, "maxLength": LONGEST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_name_nearly_everything_are_refused() {
        for text in ["", "*", "**", "a*", "ab*", "???*", "[abc][abc][abc]*", "[abcdef]", "a*b"] {
            let why = KeyPattern::try_new(text).expect_err(text);
            assert!(why.contains("at least 3 characters"), "{text}: {why}");
        }
    }

    #[test]
    fn patterns_that_are_no_patterns_are_refused() {
        for text in [
            "abc[def", "abc\\", "abc[]", "abc[^]", "*[ -]^-~", "*[~-]aaa", "abc[a-]", "abc\n*",
            "abc\0",
        ] {
            assert!(KeyPattern::try_new(text).is_err(), "{text:?}");
        }
        assert!(KeyPattern::try_new(&"a".repeat(513)).is_err());
    }

    #[test]
    fn patterns_that_name_something_are_taken() {
        for (text, example) in [
            ("abc", "abc"),
            ("session:*", "session:x"),
            ("*:tmp", "x:tmp"),
            ("a?b[cd]e", "axbce"),
            ("abc[^d]", "abc~"),
            ("\\*\\?\\[", "*?["),
            ("äöü*", "äöüx"),
        ] {
            assert_eq!(KeyPattern::try_new(text).unwrap().example(), example);
        }
    }
}
