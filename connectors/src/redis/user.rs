//! ACL users: reading one, and changing one so that nothing is overwritten unseen.

use ::redis::Value;
use nexplane_core::plan::Field;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::connection::{command, decode, done, pairs};
use super::error::{
    after_change, gone, is_forbidden, moved, not_understood, of_server, unreadable,
};
use super::session::Session;
use super::target::{Seen, UserName};
use crate::sdk::{Advice, ConnectorError, DigestKey, ErrorKind, SecretText, sealed};

/// SHA-256 of a password in lower-case hexadecimal: all that Redis keeps of it. Secret, because it can be tried
/// at leisure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(#[serde(with = "sealed")] SecretText);

impl Hash {
    pub fn of(password: &SecretText) -> Self {
        let hash = digest(&SHA256, password.expose().as_bytes());
        Self(SecretText::new(hex::encode(hash.as_ref())))
    }

    /// The rule that adds it.
    pub fn added(&self) -> String {
        format!("#{}", self.0.expose())
    }

    /// The rule that removes it, and fails when it is not there.
    pub fn removed(&self) -> String {
        format!("!{}", self.0.expose())
    }
}

/// What lets a user in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// Whoever gives the name gets in, with any password or none.
    pub nopass: bool,
    /// In the order of the server, which has no meaning.
    pub hashes: Vec<Hash>,
}

impl Passwords {
    pub fn is_only(&self, hash: &Hash) -> bool {
        !self.nopass && self.hashes == [hash.clone()]
    }

    /// Whether they let in the same.
    pub fn same_as(&self, other: &Self) -> bool {
        self.nopass == other.nopass
            && self.hashes.len() == other.hashes.len()
            && self.hashes.iter().all(|hash| other.hashes.contains(hash))
    }

    /// These and one more.
    #[must_use]
    pub fn and(&self, hash: &Hash) -> Self {
        let hashes = self.hashes.iter().chain([hash]).cloned().collect();
        Self { nopass: self.nopass, hashes }
    }

    pub fn field(&self) -> Field {
        match (self.nopass, self.hashes.len()) {
            (true, _) => Field::new("passwords", "none is asked for (nopass)"),
            (false, 0) => Field::new("passwords", Json::Null),
            (false, 1) => Field::redacted("passwords", "1 password (SHA-256)"),
            (false, many) => Field::redacted("passwords", format!("{many} passwords (SHA-256)")),
        }
    }

    pub fn fingerprinted(&self, key: &DigestKey) -> Json {
        let mut digests: Vec<_> = self.hashes.iter().map(|hash| key.digest(&hash.0)).collect();
        digests.sort();
        json!({ "nopass": self.nopass, "hashes": digests })
    }
}

/// A user that is there.
#[derive(Clone, Debug)]
pub struct User {
    pub name: UserName,
    pub enabled: bool,
    pub passwords: Passwords,
}

impl User {
    pub async fn read(session: &Session, name: &UserName) -> Result<Seen<Self>, ConnectorError> {
        match session.line.ask(&["ACL", "GETUSER", name.as_str()]).await {
            Ok(answer) => Ok(match Self::parse(name, answer)? {
                Some(user) => Seen::There(user),
                None => Seen::Absent,
            }),
            Err(error) if is_forbidden(&error) => Ok(Seen::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// The same where there is no way on without it.
    pub async fn found(session: &Session, name: &UserName) -> Result<Self, ConnectorError> {
        match Self::read(session, name).await? {
            Seen::There(user) => Ok(user),
            Seen::Absent => Err(gone(name)),
            Seen::Unreadable => Err(unreadable("users")),
        }
    }

    /// The answer of `ACL GETUSER`: <https://redis.io/docs/latest/commands/acl-getuser/>
    pub(super) fn parse(name: &UserName, answer: Value) -> Result<Option<Self>, ConnectorError> {
        if answer == Value::Nil {
            return Ok(None);
        }
        let (mut flags, mut hashes) = (None, None);
        for (key, value) in pairs(answer)? {
            match key.as_str() {
                "flags" => flags = Some(decode::<Vec<String>>(value)?),
                "passwords" => hashes = Some(decode::<Vec<String>>(value)?),
                _ => {}
            }
        }
        let (Some(flags), Some(hashes)) = (flags, hashes) else {
            let message = "the server's answer about a user was not understood";
            return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
        };
        let has = |flag: &str| flags.iter().any(|it| it == flag);
        let hashes = hashes.into_iter().map(|text| Hash(SecretText::new(text))).collect();
        Ok(Some(Self {
            name: name.clone(),
            enabled: has("on"),
            passwords: Passwords { nopass: has("nopass"), hashes },
        }))
    }

    /// Applies rules to the user, all or none, if it still has the passwords that it has here: each of them is
    /// taken away and put back by the same command, and taking away what is not there fails. Answers the user
    /// as it was right before and right after. Errors: `Conflict`, and nothing was changed.
    pub async fn alter(
        &self,
        session: &Session,
        rules: &[String],
    ) -> Result<Altered, ConnectorError> {
        let name = self.name.as_str();
        let mut set = command(&["ACL", "SETUSER", name]);
        for hash in &self.passwords.hashes {
            set.arg(hash.removed()).arg(hash.added());
        }
        for rule in rules {
            set.arg(rule);
        }
        let look = || command(&["ACL", "GETUSER", name]);
        let answers = session.line.atomically(vec![look(), set, look()]).await?;
        let [before, answer, after] = answers.try_into().map_err(|_| not_understood())?;
        if let Err(error) = done(&answer) {
            // The text has the rule in it, which is a secret.
            let refused = error.code() == "ERR";
            return Err(if refused { moved(&self.name) } else { of_server(error) });
        }
        let before = Self::parse(&self.name, before).map_err(after_change)?;
        let after = Self::parse(&self.name, after).map_err(after_change)?;
        match (before, after) {
            (Some(before), Some(after)) => Ok(Altered { before, after }),
            // It was deleted since we looked, had no password to tell by, and came back by our command.
            (None, Some(_)) => {
                let undo = command(&["ACL", "DELUSER", name]);
                session.line.change::<i64>(&undo).await.map_err(after_change)?;
                Err(gone(&self.name))
            }
            (_, None) => Err(not_understood()),
        }
    }
}

/// A user before and after it was changed, with nobody else's command in between.
#[derive(Debug)]
pub struct Altered {
    pub before: User,
    pub after: User,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf one | sha256sum`
    #[test]
    fn the_hash_of_a_password_is_that_of_redis() {
        let hash = Hash::of(&SecretText::new("one".to_owned()));
        let text = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!((hash.added(), hash.removed()), (format!("#{text}"), format!("!{text}")));
        assert!(!format!("{hash:?}").contains("7692"));
    }

    #[test]
    fn passwords_are_compared_without_their_order() {
        let hash = |text: &str| Hash(SecretText::new(text.to_owned()));
        let passwords = |list: &[&str]| Passwords {
            nopass: false,
            hashes: list.iter().map(|text| hash(text)).collect(),
        };
        let key = DigestKey::new(&[1; 32]);
        let (one, other) = (passwords(&["a", "b"]), passwords(&["b", "a"]));
        assert!(one.same_as(&other));
        assert_eq!(one.fingerprinted(&key), other.fingerprinted(&key));
        assert!(!one.same_as(&passwords(&["a", "c"])) && !one.same_as(&passwords(&["a"])));
        assert!(!one.same_as(&Passwords { nopass: true, ..one.clone() }));
        assert!(passwords(&["a"]).and(&hash("b")).same_as(&one));
        assert!(passwords(&["a"]).is_only(&hash("a")) && !one.is_only(&hash("a")));
    }
}
