//! `vault.delete_kv_version`: one version of a secret can no longer be read, until it is undeleted.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use nexplane_core::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kv::{hidden, moved, unseen};
use super::rights::{add, checks};
use super::session::{Answer, Answered, refusal};
use super::target::{Place, SECRET, secret_of};
use super::{Session, Vault};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Deletes one version of the secret, so that it can be undeleted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteKvVersion {
    /// Number of the version, from 1. The highest one is what readers of the secret get.
    #[schemars(range(min = 1))]
    version: u64,
}

/// One version, as the secret's metadata have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Version {
    /// There is no such secret, or no such version of it.
    Absent,
    /// The connection may not read the metadata.
    Hidden,
    /// It can be read. With a time it is going to be deleted by itself.
    Live {
        delete_at: Option<String>,
    },
    /// It can be undeleted.
    Deleted,
    Destroyed,
}

/// The version, and the number of the current one, which others may raise as they like.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: Version,
    current: Option<u64>,
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl Version {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Hidden => "hidden",
            Self::Live { .. } => "live",
            Self::Deleted => "deleted",
            Self::Destroyed => "destroyed",
        }
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::new("state", self.version.as_str())];
        if let Version::Live { delete_at: Some(at) } = &self.version {
            fields.push(Field::new("delete_at", at.clone()));
        }
        fields.extend(self.current.map(|current| Field::new("current_version", current)));
        fields
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        let delete_at = match &self.version {
            Version::Live { delete_at } => delete_at.as_deref(),
            Version::Absent | Version::Hidden | Version::Deleted | Version::Destroyed => None,
        };
        json!({ "state": self.version.as_str(), "delete_at": delete_at })
    }
}

impl DeleteKvVersion {
    async fn find(&self, session: &Session, secret: &Place) -> Result<State, ConnectorError> {
        #[derive(Deserialize)]
        struct Metadata {
            current_version: u64,
            versions: BTreeMap<String, One>,
        }
        #[derive(Deserialize)]
        struct One {
            deletion_time: String,
            destroyed: bool,
        }
        let reply = match session.read(&secret.api("metadata")).await? {
            Answer::Found(reply) => reply,
            Answer::Absent(_) => return Ok(State { version: Version::Absent, current: None }),
            Answer::Denied => return Ok(State { version: Version::Hidden, current: None }),
            Answer::Refused(reply) => return Err(refusal(&reply)),
        };
        let metadata = reply.json::<Answered<Metadata>>()?.data;
        let version = match metadata.versions.get(&self.version.to_string()) {
            None => Version::Absent,
            Some(one) if one.destroyed => Version::Destroyed,
            Some(one) if one.deletion_time.is_empty() => Version::Live { delete_at: None },
            Some(one) if is_past(&one.deletion_time) => Version::Deleted,
            Some(one) => Version::Live { delete_at: Some(one.deletion_time.clone()) },
        };
        Ok(State { version, current: Some(metadata.current_version) })
    }

    async fn send(
        &self,
        session: &Session,
        secret: &Place,
        what: &str,
    ) -> Result<(), ConnectorError> {
        session.write(&secret.api(what), &json!({ "versions": [self.version] })).await.map(drop)
    }
}

/// How far the server's clock may be ahead of ours: what it deletes now is in our future then.
const SKEW_US: u128 = 5 * 60 * 1_000_000;

/// Whether a moment that the server wrote is over, or will be in a moment. One that cannot be read is: nothing is
/// then deleted.
fn is_past(moment: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let at = moment.parse::<Timestamp>().ok().and_then(|at| u128::try_from(at.as_micros()).ok());
    at.is_none_or(|at| at <= now + SKEW_US)
}

impl Action for DeleteKvVersion {
    type Connector = Vault;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "delete_kv_version",
        title: "Delete a version of a secret",
        description: "Deletes one version of the secret, so that nobody can read it; the data stay in \
                      the server, and the version can be undeleted until somebody destroys it. Other \
                      versions stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[SECRET],
        permissions: &[
            "read on <mount>/metadata/<path>",
            "update on <mount>/delete/<path>",
            "update on <mount>/undelete/<path>, to be able to undo it",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "version": 3 })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        self.find(session, &secret_of(target)?).await
    }

    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        let secret = secret_of(target)?;
        let seen = self.find(session, &secret).await?;
        if seen.version == Version::Hidden {
            return Err(unseen(&secret.api("metadata")));
        }
        Ok(seen)
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let secret = secret_of(target)?;
        let (name, no) = (secret.name(), self.version);
        let [metadata, delete, undelete] =
            ["metadata", "delete", "undelete"].map(|p| secret.api(p));
        let (ok, detail) = match &state.version {
            Version::Live { delete_at: None } => (true, format!("version {no} of {name} is there")),
            Version::Live { delete_at: Some(at) } => (
                false,
                format!(
                    "the server deletes version {no} by itself at {at}: an undo would lose that, so \
                     wait, or delete it by hand"
                ),
            ),
            Version::Absent => {
                (false, format!("{name} has no version {no}: run discovery again, or name another"))
            }
            Version::Hidden => (false, add(&metadata, &["read"])),
            Version::Deleted => (false, format!("version {no} of {name} is deleted already")),
            Version::Destroyed => (false, format!("version {no} of {name} is destroyed for good")),
        };
        let mut answers = vec![check("the version can be read and brought back", ok, detail)];
        let needs: [(&str, &[&str]); 3] =
            [(&metadata, &["read"]), (&delete, &["update"]), (&undelete, &["update"])];
        answers.extend(checks(session, &needs).await?);
        Ok(answers)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let (name, no) = (&target.name, self.version);
        let before = state.version.as_str();
        let readers = if state.current == Some(no) {
            " It is the current one: readers of the secret get nothing."
        } else {
            ""
        };
        Description {
            diff: (before != "deleted")
                .then(|| line(target, format!("version {no}"), before, "deleted"))
                .into_iter()
                .collect(),
            summary: format!("Version {no} of secret {name} is deleted.{readers}"),
            rollback: format!(
                "Version {no} of secret {name} is undeleted, unless it was destroyed."
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
        let changed = match self.find(session, &secret).await?.version {
            Version::Hidden => return Err(hidden(&secret.api("metadata"))),
            Version::Deleted => false,
            now if now == before.state.version && matches!(now, Version::Live { .. }) => {
                self.send(session, &secret, "delete").await?;
                true
            }
            Version::Absent | Version::Live { .. } | Version::Destroyed => {
                return Err(moved(&secret));
            }
        };
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.version == Version::Deleted
    }
}

impl Reversible for DeleteKvVersion {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let secret = secret_of(&cx.step.target)?;
        if before.state.version != (Version::Live { delete_at: None }) {
            let message = "the version could not be read before: nothing to restore";
            return Err(ConnectorError::invalid(message));
        }
        match self.find(session, &secret).await?.version {
            Version::Hidden => Err(hidden(&secret.api("metadata"))),
            Version::Live { delete_at: None } => Ok(false),
            Version::Deleted => {
                self.send(session, &secret, "undelete").await?;
                Ok(true)
            }
            Version::Absent | Version::Live { .. } | Version::Destroyed => Err(moved(&secret)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_deleted_later_is_still_there() {
        assert!(is_past("2020-01-01T00:00:00.123456789Z"));
        assert!(!is_past("2200-01-01T00:00:00Z"));
        assert!(is_past("some day"));
    }
}
