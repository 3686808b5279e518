//! The two ways in which a name or a value may enter the text of a statement, and no third.
//!
//! Values go as parameters wherever the protocol allows. Utility statements (`ALTER ROLE`, `GRANT` …)
//! take none, so their names pass through [`ident`] and their values through [`literal`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest name in bytes: `NAMEDATALEN` − 1. PostgreSQL silently cuts longer ones, so they would
/// name something else.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
pub const LONGEST_NAME: usize = 63;

/// A name of a role, schema or database: 1 to 63 bytes, no NUL. Kept as it is, never folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Errors: a sentence that says what a name must be.
    pub fn try_new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            Err("a name must not be empty")
        } else if text.len() > LONGEST_NAME {
            Err("a name must have at most 63 bytes")
        } else if text.contains('\0') {
            Err("a name must not contain a NUL character")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Quoted, for the text of a statement.
    pub fn sql(&self) -> String {
        ident(&self.0)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::try_new(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": LONGEST_NAME })
    }
}

/// Quotes an identifier: between double quotes, each double quote twice. A NUL, which no name can
/// contain, is dropped.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// Quotes a string constant so that it means the same whether or not `standard_conforming_strings` is
/// on: with a backslash in it as an escape string, as libpq's `PQescapeLiteral` does.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\0', "").replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(ident("app"), r#""app""#);
        assert_eq!(ident(r#"a"; DROP ROLE b; --"#), r#""a""; DROP ROLE b; --""#);
        assert_eq!(ident("a\0b"), r#""ab""#);
        assert_eq!(ident("Größe ☃"), r#""Größe ☃""#);
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'; DROP ROLE b; --"), r" E'a\\''; DROP ROLE b; --'");
        assert_eq!(literal("SCRAM-SHA-256$4096:a$b:c"), "'SCRAM-SHA-256$4096:a$b:c'");
        assert_eq!(literal("a\0b"), "'ab'");
    }

    #[test]
    fn names_that_postgresql_would_cut_are_refused() {
        assert!(Name::try_new(&"a".repeat(63)).is_ok());
        assert!(Name::try_new(&"a".repeat(64)).is_err());
        assert!(Name::try_new(&"ä".repeat(32)).is_err());
        assert!(Name::try_new("").is_err());
        assert!(serde_json::from_str::<Name>("\"a\\u0000b\"").is_err());
    }
}
