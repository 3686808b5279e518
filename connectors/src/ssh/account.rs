//! Local accounts as targets, and their lines in `/etc/passwd` and `/etc/shadow` (`shadow(5)`).
//!
//! Deliberately absent: accounts of a directory (LDAP, SSSD). Only `files` is asked, because only there
//! `usermod` and `chpasswd` write.

use nexplane_agent::host::shadow::AccountName;
use nexplane_core::plan::{Check, TargetRef};

use super::command::Command;
use super::session::Session;
use super::sudo::{self, Password};
use crate::sdk::{Advice, ConnectorError, ErrorKind, SecretText, check};

/// Asset type of local accounts; external key `account/<name>`.
pub const ACCOUNT: &str = "ssh_account";
/// `getent(1)`: one of the keys was not found.
const NOT_FOUND: u32 = 2;
const SHADOW_FIELDS: usize = 9;

pub fn account_key(name: &str) -> String {
    format!("account/{name}")
}

/// The account that a target is.
pub fn account_of(target: &TargetRef) -> Result<AccountName, ConnectorError> {
    let name = (target.kind == ACCOUNT)
        .then(|| target.external_key.strip_prefix("account/"))
        .flatten()
        .ok_or_else(|| ConnectorError::invalid("the target must be an account: account/<name>"))?;
    name.to_owned().try_into().map_err(|why| ConnectorError::invalid(format!("{why}")))
}

/// A line of `/etc/passwd`, without the person's name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

impl Account {
    pub fn read(line: &str) -> Option<Self> {
        let mut parts = line.split(':');
        let name = parts.next()?.to_owned();
        let uid = parts.nth(1)?.parse().ok()?;
        let gid = parts.next()?.parse().ok()?;
        let home = parts.nth(1)?.to_owned();
        let shell = parts.next()?.to_owned();
        Some(Self { name, uid, gid, home, shell })
    }

    pub async fn find(
        session: &Session,
        name: &AccountName,
    ) -> Result<Option<Self>, ConnectorError> {
        let answer = session.ask(&Command::Account(name)).await?;
        if answer.status == NOT_FOUND {
            return Ok(None);
        }
        let text = answer.text();
        let found = text.lines().find_map(Self::read).filter(|found| found.name == name.as_str());
        found.map(Some).ok_or_else(|| unexpected("getent passwd", &answer.errors))
    }
}

/// What `/etc/shadow` says of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The second field as it is there: a hash, with `!` in front when it is locked, or no hash at all.
    pub password: SecretText,
    /// The day of the last change, since 1970-01-01.
    pub changed: Option<u32>,
    /// From this day on nobody is let in.
    pub expires: Option<u32>,
}

/// What reading it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// The connection's account may not read it.
    Unreadable,
    Line(Shadow),
}

impl Shadow {
    fn read(line: &str) -> Option<(&str, Self)> {
        let fields: Vec<_> = line.split(':').collect();
        if fields.len() != SHADOW_FIELDS {
            return None;
        }
        // A negative number is what an empty field is (`putspent(3)` writes nothing for it).
        let day = |text: &str| match text.parse::<i64>() {
            Ok(day) => Some(u32::try_from(day).ok()),
            Err(_) if text.is_empty() => Some(None),
            Err(_) => None,
        };
        let password = SecretText::new((*fields.get(1)?).to_owned());
        let (changed, expires) = (day(fields.get(2)?)?, day(fields.get(7)?)?);
        Some((fields.first()?, Self { password, changed, expires }))
    }

    pub async fn find(session: &Session, name: &AccountName) -> Result<Found, ConnectorError> {
        if Account::find(session, name).await?.is_none() {
            return Ok(Found::Absent);
        }
        let command = Command::Shadow(name);
        let answer = session.ask(&command).await?;
        if !answer.ok() {
            let may = session.is_root() && session.may(&command).await?;
            if !may {
                return Ok(Found::Unreadable);
            }
            let message = format!(
                "{name} is in /etc/passwd but has no line in /etc/shadow: run pwconv on the host first"
            );
            return Err(ConnectorError::conflict(message));
        }
        let text = answer.text();
        let found = text.lines().find_map(Self::read).filter(|(of, _)| *of == name.as_str());
        let (_, shadow) = found.ok_or_else(|| {
            ConnectorError::conflict(format!(
                "the line of {name} in /etc/shadow is not one of nine fields: run pwck on the host"
            ))
        })?;
        Ok(Found::Line(shadow))
    }

    pub fn is_locked(&self) -> bool {
        self.password.expose().starts_with('!')
    }

    /// The hash, without a lock in front of it.
    pub fn hash(&self) -> Option<SecretText> {
        let password = self.password.expose();
        let hash = password.strip_prefix('!').unwrap_or(password);
        // `*` and `!` are no hash of anything.
        let is_hash = !hash.is_empty() && !hash.starts_with(['!', '*']);
        is_hash.then(|| SecretText::new(hash.to_owned()))
    }

    /// Everybody is let in without one.
    pub fn is_empty(&self) -> bool {
        self.password.expose().is_empty()
    }
}

/// What must hold of an account before any action touches it. The list stops where asking on makes no
/// sense.
pub async fn target_checks(
    session: &Session,
    name: &AccountName,
    needed: &[Command<'_>],
) -> Result<Vec<Check>, ConnectorError> {
    let Some(account) = Account::find(session, name).await? else {
        let detail = format!("there is no local account {name} on the host: run discovery again");
        return Ok(vec![check("the account exists", false, detail)]);
    };
    let is_own = name.as_str() == session.username || account.uid == session.uid;
    let mut checks = vec![
        check("the account exists", true, format!("{name} has the number {}", account.uid)),
        check(
            "the account is not root's",
            account.uid != 0,
            if account.uid == 0 {
                "an account with the number 0 belongs to the host's owner"
            } else {
                "it is not"
            },
        ),
        check(
            "the account is not the connection's own",
            !is_own,
            if is_own {
                "the connection would lock itself out: use a connection with another account"
            } else {
                "it is another one"
            },
        ),
    ];
    checks.extend(permission_checks(session, needed).await?);
    Ok(checks)
}

/// Whether the connection's account may start what is needed.
pub async fn permission_checks(
    session: &Session,
    needed: &[Command<'_>],
) -> Result<Vec<Check>, ConnectorError> {
    let rules = session.rules().await?;
    let mut checks = Vec::new();
    for command in needed {
        let may = session.may(command).await?;
        let password = rules
            .as_deref()
            .filter(|_| command.needs_root())
            .map(|said| sudo::password(said, command.program(), &command.arguments()));
        let (ok, detail) = match password {
            _ if !may => (false, session.how_to_allow(command)),
            Some(Password::Asked) => (
                false,
                format!("sudo would ask for a password: {}", session.how_to_allow(command)),
            ),
            Some(Password::Unknown) => (
                true,
                "it may; whether sudo asks for a password cannot be told, because rules that could be meant differ"
                    .to_owned(),
            ),
            Some(Password::NotAsked) | None => (true, "it may".to_owned()),
        };
        checks.push(check(
            format!("the connection may run {} as root", command.called()),
            ok,
            detail,
        ));
    }
    Ok(checks)
}

/// It is refused also when nobody looked at the checks.
pub async fn refuse_own(session: &Session, name: &AccountName) -> Result<(), ConnectorError> {
    match Account::find(session, name).await? {
        None => {
            let message = format!("the account {name} is gone; nothing was changed");
            Err(ConnectorError::new(ErrorKind::NotFound, Advice::Never, message))
        }
        Some(account) if account.uid == 0 || account.uid == session.uid => {
            Err(ConnectorError::invalid(format!(
                "{name} is root's or the connection's own account; nothing was changed"
            )))
        }
        Some(_) => Ok(()),
    }
}

pub fn moved(name: &AccountName) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed the account {name} since it was read; nothing was changed: plan again"
    ))
}

fn unexpected(what: &str, errors: &str) -> ConnectorError {
    let message = format!("{what} gave no answer that is understood: {errors}");
    ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow(line: &str) -> Shadow {
        Shadow::read(line).unwrap().1
    }

    #[test]
    fn a_line_says_whether_there_is_a_password_and_a_lock() {
        let facts = |password: &str| {
            let it = shadow(&format!("u:{password}:20000:0:99999:7::20100:"));
            (it.is_locked(), it.hash().map(|hash| hash.expose().to_owned()), it.is_empty())
        };
        let hash = || Some("$6$s$h".to_owned());
        assert_eq!(facts("$6$s$h"), (false, hash(), false));
        assert_eq!(facts("!$6$s$h"), (true, hash(), false));
        assert_eq!(facts("!!$6$s$h"), (true, None, false));
        assert_eq!(facts("*"), (false, None, false));
        assert_eq!(facts("!*"), (true, None, false));
        assert_eq!(facts("!"), (true, None, false));
        assert_eq!(facts(""), (false, None, true));
        let it = shadow("u:*:20000:0:99999:7::20100:");
        assert_eq!((it.changed, it.expires), (Some(20_000), Some(20_100)));
        let it = shadow("u:*:::::::");
        assert_eq!((it.changed, it.expires), (None, None));
        assert!(Shadow::read("u:*:20000:0:99999:7:20100:").is_none());
        assert!(Shadow::read("u:*:x:0:99999:7:::").is_none());
    }

    #[test]
    fn a_line_of_passwd_is_read_by_its_places() {
        let account = Account::read("deploy:x:1000:33:A Person,,,:/home/deploy:/bin/sh").unwrap();
        assert_eq!((account.uid, account.gid), (1000, 33));
        assert_eq!((account.home.as_str(), account.shell.as_str()), ("/home/deploy", "/bin/sh"));
        assert!(Account::read("deploy:x:1000").is_none());
    }
}
