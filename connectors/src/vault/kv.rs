//! Secrets of KV version 2: what is in the current version, exactly.
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>

use std::collections::BTreeMap;

use nexplane_core::plan::Field;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::session::{Answer, Answered, Session, refusal};
use super::target::Place;
use crate::sdk::{Advice, ConnectorError, DigestKey, ErrorKind, SecretText, sealed};

/// How deep values may be nested.
const DEEPEST: u32 = 64;

/// One value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    Text(#[serde(with = "sealed")] SecretText),
    /// Anything else, as JSON: keys sorted, numbers as the server writes them.
    Json(#[serde(with = "sealed")] SecretText),
}

impl Item {
    fn of(raw: &RawValue) -> Result<Self, ConnectorError> {
        Ok(if raw.get().starts_with('"') {
            Self::Text(SecretText::new(serde_json::from_str(raw.get()).map_err(unreadable)?))
        } else {
            Self::Json(SecretText::new(canonical(raw, 0)?))
        })
    }

    pub const fn is_text(&self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Json(_) => false,
        }
    }

    pub fn field(&self, key: &str) -> Field {
        Field::redacted(key, if self.is_text() { "a text" } else { "a JSON value" })
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        match self {
            Self::Text(text) => json!({ "text": key.digest(text) }),
            Self::Json(text) => json!({ "json": key.digest(text) }),
        }
    }
}

/// What a version holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(BTreeMap<String, Item>);

impl Data {
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.0.get(key)
    }

    /// The same with other texts under some keys.
    pub fn with<'a>(&self, texts: impl IntoIterator<Item = (&'a String, &'a SecretText)>) -> Self {
        let mut changed = self.0.clone();
        let texts = texts.into_iter();
        changed.extend(texts.map(|(key, text)| (key.clone(), Item::Text(text.clone()))));
        Self(changed)
    }
}

/// The current version of a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Current {
    /// There is no such secret.
    Absent,
    /// The connection may not read it.
    Hidden,
    /// Its current version is deleted or destroyed.
    Deleted {
        version: u64,
    },
    Live {
        version: u64,
        data: Data,
    },
}

impl Current {
    pub async fn read(session: &Session, secret: &Place) -> Result<Self, ConnectorError> {
        #[derive(Deserialize)]
        struct Version {
            data: Option<BTreeMap<String, Box<RawValue>>>,
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            version: u64,
        }
        let reply = match session.read(&secret.api("data")).await? {
            Answer::Found(reply) => reply,
            Answer::Absent(reply) => {
                // Of a version that was deleted there is still its metadata.
                return Ok(match reply.json::<Answered<Version>>() {
                    Ok(Answered { data }) => Self::Deleted { version: data.metadata.version },
                    Err(_) => Self::Absent,
                });
            }
            Answer::Denied => return Ok(Self::Hidden),
            Answer::Refused(reply) => return Err(refusal(&reply)),
        };
        let Version { data, metadata: Metadata { version } } =
            reply.json::<Answered<Version>>()?.data;
        let Some(data) = data else { return Ok(Self::Deleted { version }) };
        let items = data.into_iter().map(|(key, raw)| Ok((key, Item::of(&raw)?)));
        Ok(Self::Live { version, data: Data(items.collect::<Result<_, ConnectorError>>()?) })
    }

    /// For people; the version is shown, too.
    pub fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Hidden => vec![Field::redacted("exists", "not readable by the connection")],
            Self::Deleted { version } => {
                vec![Field::new("version", *version), Field::new("deleted", true)]
            }
            Self::Live { version, data } => std::iter::once(Field::new("version", *version))
                .chain(data.0.iter().map(|(key, item)| item.field(key)))
                .collect(),
        }
    }

    /// Without the version's number: the same data in a later version is the same state.
    pub fn fingerprinted(&self, digest: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "state": "absent" }),
            Self::Hidden => json!({ "state": "hidden" }),
            Self::Deleted { .. } => json!({ "state": "deleted" }),
            Self::Live { data, .. } => {
                let data: serde_json::Map<_, _> = data
                    .0
                    .iter()
                    .map(|(key, item)| (key.clone(), item.fingerprinted(digest)))
                    .collect();
                json!({ "state": "live", "data": data })
            }
        }
    }

    pub const fn data(&self) -> Option<&Data> {
        match self {
            Self::Live { data, .. } => Some(data),
            Self::Absent | Self::Hidden | Self::Deleted { .. } => None,
        }
    }
}

/// Writes the data as a new version, when `version` is still the current one. Answers the new one.
pub async fn write(
    session: &Session,
    secret: &Place,
    version: u64,
    data: &Data,
) -> Result<u64, ConnectorError> {
    #[derive(Serialize)]
    struct Body<'a> {
        options: Options,
        data: Wire<'a>,
    }
    #[derive(Serialize)]
    struct Options {
        cas: u64,
    }
    #[derive(Deserialize)]
    struct Written {
        version: u64,
    }
    let body = Body { options: Options { cas: version }, data: Wire(data) };
    match session.write(&secret.api("data"), &body).await {
        Ok(reply) => Ok(reply.json::<Answered<Written>>()?.data.version),
        // Nothing was written: because somebody else was faster, or because the server does not like it.
        Err(error) if error.kind == ErrorKind::Invalid => {
            match Current::read(session, secret).await {
                Ok(Current::Live { version: now, .. }) if now == version => Err(error),
                Ok(_) => Err(moved(secret)),
                Err(_) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

pub fn moved(secret: &Place) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed the secret {} since it was read; nothing was changed: plan again",
        secret.name()
    ))
}

pub fn hidden(path: &str) -> ConnectorError {
    let message = format!("the connection may not read {path}; nothing was changed");
    ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
}

/// What the effect left cannot be seen: neither that it is there nor that it is not.
pub fn unseen(path: &str) -> ConnectorError {
    let message = format!("the connection may not read {path}, so nobody can tell how it stands");
    ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
}

/// Data on their way to the server.
struct Wire<'a>(&'a Data);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (key, item) in &self.0.0 {
            match item {
                Item::Text(text) => map.serialize_entry(key, text.expose())?,
                Item::Json(text) => {
                    let raw = RawValue::from_string(text.expose().to_owned());
                    map.serialize_entry(key, &raw.map_err(S::Error::custom)?)?;
                }
            }
        }
        map.end()
    }
}

/// The same JSON in one form only: keys sorted, texts escaped in one way, numbers as they are.
fn canonical(raw: &RawValue, depth: u32) -> Result<String, ConnectorError> {
    if depth > DEEPEST {
        let message = format!("a value of the secret is nested more than {DEEPEST} deep");
        return Err(ConnectorError::invalid(message));
    }
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            let plain: String = serde_json::from_str(text).map_err(unreadable)?;
            Value::String(plain).to_string()
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(unreadable)?;
            let items: Result<Vec<_>, _> =
                items.iter().map(|item| canonical(item, depth + 1)).collect();
            format!("[{}]", items?.join(","))
        }
        Some(b'{') => {
            let map: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(text).map_err(unreadable)?;
            let entries: Result<Vec<_>, ConnectorError> = map
                .into_iter()
                .map(|(key, item)| {
                    Ok(format!("{}:{}", Value::String(key), canonical(&item, depth + 1)?))
                })
                .collect();
            format!("{{{}}}", entries?.join(","))
        }
        _ => text.to_owned(),
    })
}

/// The error's own text may quote a value.
fn unreadable(_: serde_json::Error) -> ConnectorError {
    let message = "a value of the secret is not JSON";
    ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        canonical(&RawValue::from_string(text.to_owned()).unwrap(), 0).unwrap()
    }

    #[test]
    fn one_value_has_one_form() {
        assert_eq!(
            of(r#"{ "b": [1.10, "\u003ca\u003e"], "a": null }"#),
            r#"{"a":null,"b":[1.10,"<a>"]}"#
        );
        assert_eq!(of("1e21"), "1e21");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(canonical(&RawValue::from_string(deep).unwrap(), 0).is_err());
    }

    #[test]
    fn numbers_go_out_as_they_came_in() {
        let raw: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(r#"{"n":1.2345678901234568e+29,"t":"x"}"#).unwrap();
        let items = raw.into_iter().map(|(key, raw)| (key, Item::of(&raw).unwrap()));
        let data = Data(items.collect());
        let text = serde_json::to_string(&Wire(&data)).unwrap();
        assert_eq!(text, r#"{"n":1.2345678901234568e+29,"t":"x"}"#);
        // And through the sealed form.
        let kept = serde_json::to_vec(&data).unwrap();
        assert_eq!(serde_json::from_slice::<Data>(&kept).unwrap(), data);
    }
}
