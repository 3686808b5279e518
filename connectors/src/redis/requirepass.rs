//! `requirepass`: the password of the user `default` as a setting of the server, in clear.
//!
//! Setting it takes every other password from the user `default`. Changing that user alone leaves the setting
//! as it was, and the two then contradict each other at the next restart, so they are always changed together.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/> (requirepass)

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::connection::{command, done};
use super::error::{after_change, is_forbidden, not_understood, of_server};
use super::saving::setting;
use super::session::Session;
use super::user::{Altered, Passwords, User};
use crate::sdk::{ConnectorError, DigestKey, SecretText, sealed};

/// The setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Requirepass {
    /// Empty; or of no concern to this user.
    Unset,
    Unreadable,
    Set(#[serde(with = "sealed")] SecretText),
}

impl Requirepass {
    pub async fn read(session: &Session) -> Result<Self, ConnectorError> {
        match setting(session, "requirepass").await {
            Ok(Some(text)) => Ok(Self::Set(SecretText::new(text))),
            Ok(None) => Ok(Self::Unset),
            Err(error) if is_forbidden(&error) => Ok(Self::Unreadable),
            Err(error) => Err(error),
        }
    }

    pub const fn is_set(&self) -> bool {
        matches!(self, Self::Set(_))
    }

    pub fn fingerprinted(&self, key: &DigestKey) -> Json {
        match self {
            Self::Unset => Json::Null,
            Self::Unreadable => json!("unreadable"),
            Self::Set(text) => json!({ "digest": key.digest(text) }),
        }
    }
}

/// Sets it, and with it the only password of the user `default`. Answers that user right before and after.
pub async fn replace(
    session: &Session,
    user: &User,
    password: &SecretText,
) -> Result<Altered, ConnectorError> {
    let mut set = command(&["CONFIG", "SET", "requirepass"]);
    set.arg(password.expose());
    let look = || command(&["ACL", "GETUSER", user.name.as_str()]);
    let answers = session.line.atomically(vec![look(), set, look()]).await?;
    let [before, answer, after] = answers.try_into().map_err(|_| not_understood())?;
    done(&answer).map_err(of_server)?;
    let before = User::parse(&user.name, before).map_err(after_change)?;
    let after = User::parse(&user.name, after).map_err(after_change)?;
    match (before, after) {
        (Some(before), Some(after)) => Ok(Altered { before, after }),
        _ => Err(not_understood()),
    }
}

/// Sets it to what it was, and gives the user `default` exactly these passwords, in one step.
pub async fn restore(
    session: &Session,
    user: &User,
    password: &SecretText,
    passwords: &Passwords,
) -> Result<(), ConnectorError> {
    let mut set = command(&["CONFIG", "SET", "requirepass"]);
    set.arg(password.expose());
    let mut alter = command(&["ACL", "SETUSER", user.name.as_str(), "resetpass"]);
    for hash in &passwords.hashes {
        alter.arg(hash.added());
    }
    for answer in session.line.atomically(vec![set, alter]).await? {
        done(&answer).map_err(|error| after_change(of_server(error)))?;
    }
    Ok(())
}
