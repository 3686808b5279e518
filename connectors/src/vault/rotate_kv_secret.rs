//! `vault.rotate_kv_secret`: new random values under some keys of a secret.

use std::collections::BTreeMap;

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::kv::{self, Current, Data, hidden, moved, unseen};
use super::rights::{add, checks};
use super::target::{Place, SECRET, secret_of};
use super::{Session, Vault};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Produced,
    Reversible, SecretText, StepContext, TargetState, check, line, sealed,
};

/// Replaces the values under some keys of the secret by new random ones, in a new version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKvSecret {
    /// Keys of the secret whose values are replaced: 1 to 16 that are there and hold a text.
    keys: Keys,
}

/// Different keys, at least one.
#[derive(Debug)]
pub struct Keys(Vec<String>);

const MOST_KEYS: usize = 16;
const LONGEST_KEY: usize = 256;

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::<String>::deserialize(deserializer)?;
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        let plain = |key: &String| (1..=LONGEST_KEY).contains(&key.chars().count());
        if (1..=MOST_KEYS).contains(&keys.len())
            && different.len() == keys.len()
            && keys.iter().all(plain)
        {
            Ok(Self(keys))
        } else {
            Err(serde::de::Error::custom("keys are 1 to 16 different names"))
        }
    }
}

impl JsonSchema for Keys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string", "minLength": 1, "maxLength": LONGEST_KEY },
            "minItems": 1,
            "maxItems": MOST_KEYS,
            "uniqueItems": true,
        })
    }
}

/// The current version of the secret. Its number is shown, but it is no part of the fingerprint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct State(Current);

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        self.0.fields()
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        self.0.fingerprinted(key)
    }
}

/// A new value, made up before the effect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewValue {
    #[serde(with = "sealed")]
    value: SecretText,
}

/// Where the new values are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    version: u64,
}

/// What the secret holds afterwards; none when it could not be read before.
fn wanted(before: &Before<RotateKvSecret>) -> Option<Data> {
    let new = before.prepared.iter().map(|(key, new)| (key, &new.value));
    before.state.0.data().map(|data| data.with(new))
}

/// Brings the data from `from` to `to`; answers whether they had to change, and the current version.
async fn store(
    session: &Session,
    secret: &Place,
    from: &Data,
    to: &Data,
) -> Result<(bool, u64), ConnectorError> {
    match Current::read(session, secret).await? {
        Current::Live { version, data } if data == *to => Ok((false, version)),
        Current::Live { version, data } if data == *from => {
            Ok((true, kv::write(session, secret, version, to).await?))
        }
        Current::Hidden => Err(hidden(&secret.api("data"))),
        Current::Live { .. } | Current::Absent | Current::Deleted { .. } => Err(moved(secret)),
    }
}

fn nothing() -> ConnectorError {
    ConnectorError::invalid(
        "the secret had no current version before: nothing can be rotated or restored",
    )
}

impl Action for RotateKvSecret {
    type Connector = Vault;
    type State = State;
    type Prepared = BTreeMap<String, NewValue>;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_kv_secret",
        title: "Rotate a secret",
        description: "Writes a new version of the secret with new random values under the given keys; \
                      all other keys keep theirs. The new values are handed over once, as a JSON \
                      object. Earlier versions stay readable until they are deleted; the oldest ones \
                      fall off as with every write (max_versions). Whoever uses the old values \
                      elsewhere is not told.",
        effect_class: EffectClass::Fenced,
        base_risk: 5,
        target_types: &[SECRET],
        permissions: &["read and update on <mount>/data/<path>"],
        produces: &["values"],
    };

    fn example() -> Value {
        json!({ "keys": ["password"] })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(State(Current::read(session, &secret_of(target)?).await?))
    }

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        let secret = secret_of(target)?;
        match Current::read(session, &secret).await? {
            Current::Hidden => Err(unseen(&secret.api("data"))),
            seen @ (Current::Absent | Current::Deleted { .. } | Current::Live { .. }) => {
                Ok(State(seen))
            }
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let secret = secret_of(target)?;
        let (name, path) = (secret.name(), secret.api("data"));
        let readable = match &state.0 {
            Current::Live { version, .. } => {
                (true, format!("version {version} of {name} is there"))
            }
            Current::Absent => (false, format!("there is no {name}: run discovery again")),
            Current::Deleted { version } => {
                (false, format!("version {version} of {name} is deleted: undelete it first"))
            }
            Current::Hidden => (false, add(&path, &["read", "update"])),
        };
        let mut answers = vec![check("the secret has a current version", readable.0, readable.1)];
        answers.extend(checks(session, &[(path.as_str(), &["read", "update"])]).await?);
        if let Some(data) = state.0.data() {
            answers.extend(self.keys.0.iter().map(|key| {
                let (ok, detail) = match data.get(key) {
                    Some(item) if item.is_text() => (true, "it holds a text".to_owned()),
                    Some(_) => (false, "it holds no text: change it by hand".to_owned()),
                    None => (false, "it is not there: name keys that the secret has".to_owned()),
                };
                check(format!("the key '{key}' can get a random value"), ok, detail)
            }));
        }
        Ok(answers)
    }

    fn prepare(&self, _: &TargetRef) -> Result<Self::Prepared, ConnectorError> {
        let keys = self.keys.0.iter();
        keys.map(|key| Ok((key.clone(), NewValue { value: SecretText::generate()? }))).collect()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let before = |key: &String| {
            state
                .0
                .data()
                .and_then(|data| data.get(key))
                .map_or(Value::Null, |i| i.field(key).value)
        };
        let keys = self.keys.0.join(", ");
        Description {
            diff: self
                .keys
                .0
                .iter()
                .map(|key| line(target, key, before(key), "a new random text"))
                .collect(),
            summary: format!(
                "Secret {} gets a new version with new values of {keys}.",
                target.name
            ),
            rollback: format!(
                "The earlier data of secret {} are written as one more version; version numbers go \
                 on counting.",
                target.name
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let secret = secret_of(&cx.step.target)?;
        let from = match &before.state.0 {
            Current::Live { data, .. } => data,
            Current::Hidden => return Err(hidden(&secret.api("data"))),
            Current::Absent | Current::Deleted { .. } => return Err(nothing()),
        };
        let to = wanted(before).ok_or_else(nothing)?;
        let (changed, version) = store(session, &secret, from, &to).await?;
        Ok(Effect { changed, outcome: Outcome { version } })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        wanted(before).is_some_and(|wanted| now.0.data() == Some(&wanted))
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        let values: BTreeMap<_, _> =
            before.prepared.iter().map(|(key, new)| (key, new.value.expose())).collect();
        let text = serde_json::to_string(&values).expect("texts by text are always JSON");
        vec![Produced { name: "values".to_owned(), value: SecretText::new(text) }]
    }
}

impl Reversible for RotateKvSecret {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let from = wanted(before).ok_or_else(nothing)?;
        let to = before.state.0.data().ok_or_else(nothing)?;
        Ok(store(session, &secret_of(&cx.step.target)?, &from, to).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_different_and_some() {
        for good in [json!(["a"]), json!(["a", "b c"])] {
            assert!(serde_json::from_value::<Keys>(good).is_ok());
        }
        for bad in [json!([]), json!(["a", "a"]), json!([""]), json!(vec!["x"; 17]), json!("a")] {
            assert!(serde_json::from_value::<Keys>(bad.clone()).is_err(), "{bad}");
        }
    }
}
