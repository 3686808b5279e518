//! ACL policies: their text, and the settings that some versions keep beside it.
//! <https://developer.hashicorp.com/vault/api-docs/system/policies>,
//! <https://openbao.org/docs/api/system/policies/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::plan::Field;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kv::hidden;
use super::session::{Answer, Answered, Session, refusal};
use crate::sdk::{ConnectorError, ErrorKind};

/// Settings of OpenBao. A write that does not name them resets them.
const SETTINGS: [&str; 4] = [
    "allow_slashes_in_identity_templates",
    "allow_wildcards_in_identity_templates",
    "cas_required",
    "expiration",
];
/// What a policy has besides: its name, its text (`rules` in old versions), and what moves with every write.
const BESIDES: [&str; 5] = ["name", "policy", "rules", "modified", "version"];

/// A policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    Absent,
    /// The connection may not read it.
    Hidden,
    Present(Text),
}

/// What is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// As somebody wrote it, byte for byte.
    pub text: String,
    /// Stay as they are.
    settings: Map<String, Value>,
    /// Fields that we do not know, so that a write might lose them.
    pub unknown: Vec<String>,
    /// Counts writes, where the server can make a write depend on it.
    version: Option<u64>,
}

impl Text {
    /// Whether it says the same, whenever it was written.
    pub fn is_like(&self, other: &Self) -> bool {
        self.text == other.text && self.settings == other.settings && self.unknown == other.unknown
    }

    /// The same with another text.
    pub fn with(&self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self.clone() }
    }
}

/// Its path of the API.
pub fn api(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

impl Policy {
    pub async fn read(session: &Session, name: &str) -> Result<Self, ConnectorError> {
        #[derive(Deserialize)]
        struct Known {
            policy: String,
            version: Option<u64>,
        }
        let reply = match session.read(&api(name)).await? {
            Answer::Found(reply) => reply,
            Answer::Absent(_) => return Ok(Self::Absent),
            Answer::Denied => return Ok(Self::Hidden),
            Answer::Refused(reply) => return Err(refusal(&reply)),
        };
        let fields = reply.json::<Answered<Map<String, Value>>>()?.data;
        let Known { policy: text, version } = reply.json::<Answered<Known>>()?.data;
        let (mut settings, mut unknown) = (Map::new(), Vec::new());
        for (field, value) in fields {
            if SETTINGS.contains(&field.as_str()) {
                settings.insert(field, value);
            } else if !BESIDES.contains(&field.as_str()) {
                unknown.push(field);
            }
        }
        unknown.sort();
        Ok(Self::Present(Text { text, settings, unknown, version }))
    }

    pub fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Hidden => vec![Field::redacted("exists", "not readable by the connection")],
            Self::Present(Text { text, settings, .. }) => {
                let settings = settings.iter().filter(|(_, value)| !is_unset(value));
                std::iter::once(Field::new("policy", text.clone()))
                    .chain(settings.map(|(name, value)| Field::new(name, value.clone())))
                    .collect()
            }
        }
    }

    /// Without what moves with every write.
    pub fn fingerprinted(&self) -> Value {
        match self {
            Self::Absent => json!({ "state": "absent" }),
            Self::Hidden => json!({ "state": "hidden" }),
            Self::Present(Text { text, settings, unknown, .. }) => {
                let set: Map<_, _> =
                    settings.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                json!({ "state": "present", "text": text, "settings": set, "unknown": unknown })
            }
        }
    }

    pub const fn text(&self) -> Option<&Text> {
        match self {
            Self::Present(text) => Some(text),
            Self::Absent | Self::Hidden => None,
        }
    }
}

fn is_unset(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

/// Brings a policy from `from` to `to`; answers whether it had to change.
///
/// OpenBao compares the version that was read in the write itself. HashiCorp Vault has no such condition: there
/// the policy is compared right before the write.
pub async fn store(
    session: &Session,
    name: &str,
    from: &Text,
    to: &Text,
) -> Result<bool, ConnectorError> {
    let now = match Policy::read(session, name).await? {
        Policy::Present(now) => now,
        Policy::Absent => return Err(moved(name)),
        Policy::Hidden => return Err(hidden(&api(name))),
    };
    if now.is_like(to) {
        return Ok(false);
    }
    if !now.is_like(from) || !now.unknown.is_empty() {
        return Err(moved(name));
    }
    let mut body = now.settings.clone();
    body.retain(|_, value| !is_unset(value));
    // The server decodes base64 when it sees some: as this always is, no text is taken for it by mistake.
    body.insert("policy".to_owned(), STANDARD.encode(&to.text).into());
    if let Some(version) = now.version {
        body.insert("cas".to_owned(), version.into());
    }
    match session.write(&api(name), &body).await {
        Ok(_) => Ok(true),
        // Nothing was written: because somebody else was faster, or because the text is no policy.
        Err(error) if error.kind == ErrorKind::Invalid => match Policy::read(session, name).await {
            Ok(Policy::Present(then)) if then.is_like(&now) => Err(error),
            Ok(_) => Err(moved(name)),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

pub fn moved(name: &str) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed the policy {name} since it was read; nothing was changed: plan again"
    ))
}
