//! `requirepass`: the password of the user `default` as a setting of the server, in clear.
//!
//! Setting it takes every other password from the user `default`. Changing that user alone leaves the setting
//! as it was, and the two then contradict each other at the next restart, so they are always changed together.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/> (requirepass)

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::connection::{command, decode, done};
use super::error::{after_change, is_forbidden, moved, not_understood, of_server};
use super::saving::setting;
use super::session::Session;
use super::target::UserName;
use super::user::{Passwords, User};
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

/// The setting and the passwords of the user `default`, which belong together.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Empty when it is not set.
    pub setting: SecretText,
    pub passwords: Passwords,
}

impl Pair {
    pub fn same_as(&self, other: &Self) -> bool {
        self.setting == other.setting && self.passwords.same_as(&other.passwords)
    }
}

/// Sets both, in one `MULTI` with a look at both right before. Answers what was there. With `only_setting` the
/// passwords follow by themselves: the setting is then the only one.
async fn exchange(
    session: &Session,
    name: &UserName,
    to: &Pair,
    only_setting: bool,
) -> Result<Pair, ConnectorError> {
    let mut set = command(&["CONFIG", "SET", "requirepass"]);
    set.arg(to.setting.expose());
    let mut commands = vec![
        command(&["ACL", "GETUSER", name.as_str()]),
        command(&["CONFIG", "GET", "requirepass"]),
        set,
    ];
    if !only_setting {
        let mut alter = command(&["ACL", "SETUSER", name.as_str(), "resetpass"]);
        if to.passwords.nopass {
            alter.arg("nopass");
        }
        for hash in &to.passwords.hashes {
            alter.arg(hash.added());
        }
        commands.push(alter);
    }
    let mut answers = session.line.atomically(commands).await?.into_iter();
    let [Some(user), Some(setting), Some(set)] = [answers.next(), answers.next(), answers.next()]
    else {
        return Err(not_understood());
    };
    // Redis runs the rest of a MULTI all the same.
    let refused = |error| if only_setting { error } else { after_change(error) };
    done(&set).map_err(|error| refused(of_server(error)))?;
    for altered in answers {
        done(&altered).map_err(|error| after_change(of_server(error)))?;
    }
    let user = User::parse(name, user).map_err(after_change)?.ok_or_else(not_understood)?;
    let setting: Vec<String> = decode(setting).map_err(after_change)?;
    let setting = setting.into_iter().nth(1).unwrap_or_default();
    Ok(Pair { setting: SecretText::new(setting), passwords: user.passwords })
}

/// From `from` to `to`, when `from` is still what is there.
///
/// Redis has no condition for it: `WATCH` does not cover settings and users, and scripts may not change them. So it
/// is looked at before, and in the very step that changes it: what somebody else had set in between is put back at
/// once, and was void for that moment. Errors: `Conflict`, and nothing else was changed; `OutcomeUnknown` when
/// somebody changed it yet again within that moment: then theirs may be lost.
pub async fn change(
    session: &Session,
    name: &UserName,
    from: &Pair,
    to: &Pair,
    only_setting: bool,
) -> Result<(), ConnectorError> {
    let setting = setting(session, "requirepass").await?.unwrap_or_default();
    let passwords = User::found(session, name).await?.passwords;
    if !from.same_as(&Pair { setting: SecretText::new(setting), passwords }) {
        return Err(moved(name));
    }
    let theirs = exchange(session, name, to, only_setting).await?;
    if theirs.same_as(from) {
        return Ok(());
    }
    let ours = exchange(session, name, &theirs, false).await.map_err(after_change)?;
    if ours.same_as(to) { Err(moved(name)) } else { Err(after_change(moved(name))) }
}
