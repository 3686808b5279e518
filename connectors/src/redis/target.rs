//! What can be a target, and its external keys.

use nexplane_core::plan::TargetRef;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::sdk::ConnectorError;

/// Asset type of the server itself; its external key is `instance`.
pub const INSTANCE: &str = "redis_instance";
pub const INSTANCE_KEY: &str = "instance";
/// Asset type of ACL users; external key `user/<name>`.
pub const USER: &str = "redis_user";
/// Asset type of logical databases; external key `database/<number>`.
pub const DATABASE: &str = "redis_database";

/// The user that everybody is before they authenticate.
const DEFAULT: &str = "default";
/// Longest name that is taken, in bytes. Redis has no limit of its own.
const LONGEST: usize = 255;

pub fn user_key(name: &str) -> String {
    format!("user/{name}")
}

pub fn database_key(number: u32) -> String {
    format!("database/{number}")
}

/// A name of an ACL user: 1 to 255 bytes, neither white space nor NUL, which Redis refuses, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct UserName(String);

impl UserName {
    /// Errors: a sentence that says what a name must be.
    pub fn try_new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            Err("a user name must not be empty")
        } else if text.len() > LONGEST {
            Err("a user name must have at most 255 bytes")
        } else if text.contains(|c: char| c.is_ascii_whitespace() || c == '\0') {
            Err("a user name must have neither white space nor a NUL character in it")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the user that connections have before they authenticate.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }
}

impl Default for UserName {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl std::fmt::Display for UserName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::try_new(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for UserName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UserName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": LONGEST })
    }
}

/// The user that a target is.
pub fn user_of(target: &TargetRef) -> Result<UserName, ConnectorError> {
    let name = target
        .external_key
        .strip_prefix("user/")
        .ok_or_else(|| ConnectorError::invalid("the external key must be user/<name>"))?;
    UserName::try_new(name).map_err(ConnectorError::invalid)
}

/// The number of the database that a target is.
pub fn database_of(target: &TargetRef) -> Result<u32, ConnectorError> {
    let number = target.external_key.strip_prefix("database/").and_then(|text| text.parse().ok());
    number.ok_or_else(|| ConnectorError::invalid("the external key must be database/<number>"))
}

/// What was found where a target should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Seen<T> {
    /// Nothing.
    Absent,
    /// The connection's user may not look.
    Unreadable,
    There(T),
}

impl<T> Seen<T> {
    pub const fn there(&self) -> Option<&T> {
        match self {
            Self::There(it) => Some(it),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// The same of a part of it.
    pub fn map<U>(&self, part: impl FnOnce(&T) -> U) -> Seen<U> {
        match self {
            Self::Absent => Seen::Absent,
            Self::Unreadable => Seen::Unreadable,
            Self::There(it) => Seen::There(part(it)),
        }
    }
}
