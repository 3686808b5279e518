//! A policy as text: its lines, what each rule says beside them, and where something in it stands.
//!
//! Deliberately absent: what is right and wrong in a policy, which the server says.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Bytes;

use nexplane_core::policy::PolicyDocument;
use serde_json::Value;

/// The text that people edit.
pub fn text(document: &PolicyDocument) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// One row of a policy that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// The sentence of a rule, from 1, above its lines.
    Rule {
        number: usize,
        sentence: String,
    },
    Line {
        number: usize,
        text: String,
    },
}

/// The text of a policy, each rule with its sentence above it.
pub fn rows(document: &PolicyDocument, sentences: &[String]) -> Vec<Row> {
    let text = text(document);
    let begins = lines(&text);
    let mut rows = Vec::new();
    let mut next = 0;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if begins.get(&format!("/rules/{next}")) == Some(&number)
            && let Some(sentence) = sentences.get(next)
        {
            next += 1;
            rows.push(Row::Rule { number: next, sentence: sentence.clone() });
        }
        rows.push(Row::Line { number, text: line.to_owned() });
    }
    rows
}

/// Something that is wrong, and the line that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1; absent when it is about no line.
    pub line: Option<usize>,
    pub reason: String,
}

/// The text as JSON, or where it is none.
pub fn parsed(text: &str) -> Result<Value, Wrong> {
    serde_json::from_str(text).map_err(|error| wrong(&error))
}

/// Where the form of a policy is left: a name that is unknown, say. What is asked of the values is the server's.
pub fn shape(text: &str) -> Option<Wrong> {
    serde_json::from_str::<PolicyDocument>(text).err().map(|error| wrong(&error))
}

fn wrong(error: &serde_json::Error) -> Wrong {
    let reason = error.to_string();
    // The line is said beside it.
    let end = format!(" at line {} column {}", error.line(), error.column());
    let reason = reason.strip_suffix(&end).unwrap_or(&reason).to_owned();
    Wrong { line: Some(error.line()).filter(|line| *line > 0), reason }
}

/// The line of what a JSON Pointer leads to; of what is around it when it leads to nothing.
pub fn line_of(text: &str, pointer: &str) -> Option<usize> {
    let lines = lines(text);
    let mut pointer = pointer;
    loop {
        if let Some(line) = lines.get(pointer) {
            return Some(*line);
        }
        pointer = pointer.get(..pointer.rfind('/')?)?;
    }
}

/// The line on which each value begins, by its JSON Pointer (RFC 6901); a value of an object on that of its name.
/// Of a text that is no JSON, as far as it is.
fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut scan = Scan { bytes: text.bytes().peekable(), line: 1, found: BTreeMap::new() };
    scan.value(String::new(), 0);
    scan.found
}

/// Deeper than any policy.
const MAX_DEPTH: usize = 64;

struct Scan<'a> {
    bytes: Peekable<Bytes<'a>>,
    line: usize,
    found: BTreeMap<String, usize>,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.next()?;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    /// The next byte that says something, which is left where it is.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.peek().is_some_and(u8::is_ascii_whitespace) {
            self.next();
        }
        self.bytes.peek().copied()
    }

    fn value(&mut self, pointer: String, depth: usize) {
        let begins = self.peek();
        self.found.entry(pointer.clone()).or_insert(self.line);
        if depth > MAX_DEPTH {
            return;
        }
        match begins {
            Some(b'{') => self.members(&pointer, depth),
            Some(b'[') => self.elements(&pointer, depth),
            Some(b'"') => drop(self.string()),
            Some(_) => {
                while self.bytes.peek().is_some_and(|byte| !b",]}\n".contains(byte)) {
                    self.next();
                }
            }
            None => {}
        }
    }

    fn members(&mut self, pointer: &str, depth: usize) {
        self.next();
        while self.peek() == Some(b'"') {
            let line = self.line;
            let name = self.string().replace('~', "~0").replace('/', "~1");
            let pointer = format!("{pointer}/{name}");
            self.found.insert(pointer.clone(), line);
            if self.peek() != Some(b':') {
                return;
            }
            self.next();
            self.value(pointer, depth + 1);
            if self.peek() == Some(b',') {
                self.next();
            }
        }
        self.end(b'}');
    }

    fn elements(&mut self, pointer: &str, depth: usize) {
        self.next();
        let mut index = 0_usize;
        while self.peek().is_some_and(|byte| byte != b']') {
            self.value(format!("{pointer}/{index}"), depth + 1);
            index += 1;
            if self.peek() != Some(b',') {
                break;
            }
            self.next();
        }
        self.end(b']');
    }

    fn end(&mut self, with: u8) {
        if self.peek() == Some(with) {
            self.next();
        }
    }

    /// The bytes between the quotes, as they stand: names of policies have no escapes.
    fn string(&mut self) -> String {
        self.next();
        let mut bytes = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'"' => break,
                b'\\' => {
                    bytes.push(byte);
                    bytes.extend(self.next());
                }
                _ => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "rules": [
    { "when": { "rollback": true },
      "then": { "ask": { "approvals": 1 } } },
    {
      "when": {
        "change_type": [
          "postgres.*",
          "redis.\"x\", }"
        ]
      },
      "then": { "ask": { "approvals": 9 } }
    }
  ],
  "on_conflict": "refuse"
}"#;

    #[test]
    fn a_pointer_leads_to_its_line_or_to_what_is_around_it() {
        for (pointer, line) in [
            ("", 1),
            ("/rules", 2),
            ("/rules/0", 3),
            ("/rules/0/then/ask/approvals", 4),
            ("/rules/1", 5),
            ("/rules/1/when/change_type/1", 9),
            ("/rules/1/then/ask/approvals", 12),
            ("/rules/1/then/ask/delay_s", 12),
            ("/on_conflict", 15),
            ("/nowhere", 1),
        ] {
            assert_eq!(line_of(TEXT, pointer), Some(line), "{pointer}");
        }
    }

    #[test]
    fn what_is_no_json_or_no_policy_says_the_line() {
        let broken = TEXT.replace("9 } }", "9 }");
        let found = parsed(&broken).unwrap_err();
        assert!(found.line.is_some_and(|line| line >= 13), "{found:?}");
        assert!(!found.reason.contains(" line "), "{found:?}");
        let unknown = TEXT.replace("\"rollback\"", "\"roleback\"");
        assert!(parsed(&unknown).is_ok());
        let found = shape(&unknown).unwrap();
        assert_eq!(found.line, Some(3), "{found:?}");
        assert!(found.reason.contains("roleback"), "{found:?}");
        assert_eq!(shape(TEXT), None);
        // However it is broken, there is an end.
        for end in 0..TEXT.len() {
            let _ = lines(TEXT.get(..end).unwrap());
        }
        let _ = lines(&"[".repeat(100_000));
    }

    #[test]
    fn each_rule_has_its_sentence_above_its_first_line() {
        let document: PolicyDocument = serde_json::from_str(TEXT).unwrap();
        let sentences = ["One.".to_owned(), "Two.".to_owned()];
        let rows = rows(&document, &sentences);
        let place = |wanted: &str| {
            rows.iter()
                .position(|row| matches!(row, Row::Rule { sentence, .. } if sentence == wanted))
        };
        let (one, two) = (place("One.").unwrap(), place("Two.").unwrap());
        assert!(one < two);
        for place in [one, two] {
            let Row::Line { text, .. } = &rows[place + 1] else { panic!("{rows:?}") };
            assert_eq!(text.trim(), "{");
        }
        let lines = rows.iter().filter(|row| matches!(row, Row::Line { .. })).count();
        assert_eq!(lines, text(&document).lines().count());
    }
}
