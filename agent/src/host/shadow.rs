//! Whether a local account lets anybody in, and its password: fields of its line in `/etc/shadow`.
//!
//! The password's hash is read and written with the line and shown to nobody: it is in no message, and in a
//! state only sealed. Deliberately absent: a name's other sources (LDAP), and sessions that are
//! open already. Source of the format and of what the fields mean: `shadow(5)`.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{FileView, Host, HostError, HostPath, account};

const LIMIT: u64 = 16 * 1024 * 1024;
/// Positions of the password, the day of its last change and the day of expiry in a line of nine.
const PASSWORD: usize = 1;
const CHANGED: usize = 2;
const EXPIRES: usize = 7;
const FIELDS: usize = 9;

/// The file of the password hashes.
pub static SHADOW: LazyLock<HostPath> =
    LazyLock::new(|| "/etc/shadow".parse().expect("the path is normal and absolute"));

/// Name of a local account: 1–64 letters, digits, `_`, `.` and `-`, beginning with a letter or `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(#[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"))] String);

/// A text that is not an [`AccountName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account's name is 1 to 64 letters, digits, '_', '.' and '-', beginning with a letter or '_'"
)]
pub struct BadName;

impl AccountName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if begins_well && text.len() <= 64 && text.chars().all(good) {
            Ok(Self(text))
        } else {
            Err(BadName)
        }
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl std::fmt::Display for AccountName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// No password is accepted: the field begins with `!`.
    pub locked: bool,
    /// There is a hash, locked or not, so a password can be accepted.
    pub has_password: bool,
    /// From this day on nobody is let in, by key or by password: days since 1970, empty for never.
    pub expires: String,
}

/// What a password is compared with. A lock in front of it is not part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub hash: Zeroizing<String>,
    /// The day of its last change: days since 1970, as the file has them.
    pub changed: String,
}

/// The file with one account's line in it.
struct Found {
    view: FileView,
    text: String,
    /// Where the line begins and ends in the text.
    line: std::ops::Range<usize>,
}

/// Reads the account's two fields.
///
/// # Errors
/// When there is no such account, it has several lines, or its line is not one of nine fields.
pub fn read(host: &dyn Host, name: &AccountName) -> Result<Access, HostError> {
    find(host, name).map(|found| found.access())
}

/// Brings the two fields to `to`, if they are as `from` says; whatever they are without `from`.
/// Everything else in the file stays as it is.
///
/// # Errors
/// [`HostError::Moved`] when they are not as `from` says; then nothing was changed.
pub fn bring(
    host: &dyn Host,
    name: &AccountName,
    from: Option<&Access>,
    to: &Access,
) -> Result<(), HostError> {
    let _held = host.lock_accounts()?;
    let found = find(host, name)?;
    let now = found.access();
    if from.is_some_and(|from| *from != now) {
        return Err(HostError::Moved { path: SHADOW.clone() });
    }
    if now == *to {
        return Ok(());
    }
    found.write(host, |no, field| match (no, now.locked, to.locked) {
        (PASSWORD, false, true) => format!("!{field}"),
        (PASSWORD, true, false) => field.strip_prefix('!').unwrap_or(field).to_owned(),
        (EXPIRES, _, _) => to.expires.clone(),
        _ => field.to_owned(),
    })
}

/// Reads the account's password.
///
/// # Errors
/// As [`read`], and when the account has none.
pub fn read_password(host: &dyn Host, name: &AccountName) -> Result<Password, HostError> {
    find(host, name)?.password(name)
}

/// Brings the password to `to`, if it is as `from` says; whatever it is without `from`. Everything else in the
/// file stays as it is, a lock too.
///
/// # Errors
/// [`HostError::Moved`] when it is not as `from` says; then nothing was changed.
pub fn bring_password(
    host: &dyn Host,
    name: &AccountName,
    from: Option<&Password>,
    to: &Password,
) -> Result<(), HostError> {
    let _held = host.lock_accounts()?;
    let found = find(host, name)?;
    let now = found.password(name)?;
    if from.is_some_and(|from| *from != now) {
        return Err(HostError::Moved { path: SHADOW.clone() });
    }
    if now == *to {
        return Ok(());
    }
    let lock = if found.access().locked { "!" } else { "" };
    found.write(host, |no, field| match no {
        PASSWORD => format!("{lock}{}", *to.hash),
        CHANGED => to.changed.clone(),
        _ => field.to_owned(),
    })
}

fn find(host: &dyn Host, name: &AccountName) -> Result<Found, HostError> {
    let unknown = || HostError::UnknownName { kind: "account", name: name.as_str().to_owned() };
    let refuse = |why| HostError::Unsafe { path: SHADOW.clone(), why };
    // A file of that name elsewhere decides about nobody.
    if host.release().is_some() {
        return Err(HostError::Unsupported { what: "account in /etc/shadow" });
    }
    if !account::accounts(host)?.iter().any(|account| account.name == name.as_str()) {
        return Err(unknown());
    }
    let view =
        host.read(&SHADOW, LIMIT)?.ok_or_else(|| HostError::Missing { path: SHADOW.clone() })?;
    let text = String::from_utf8(view.content.clone()).map_err(|_| refuse("it is not text"))?;
    let mut found = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.strip_suffix('\n').unwrap_or(line);
        if bare.split(':').next() == Some(name.as_str()) {
            if found.is_some() {
                return Err(refuse("the account has more than one line in it"));
            }
            if bare.split(':').count() != FIELDS {
                return Err(refuse("the account's line has not nine fields"));
            }
            found = Some(at..at + bare.len());
        }
        at += line.len();
    }
    let line = found.ok_or_else(unknown)?;
    Ok(Found { view, text, line })
}

impl Found {
    /// Writes the file with other fields in the account's line.
    fn write(
        self,
        host: &dyn Host,
        field: impl Fn(usize, &str) -> String,
    ) -> Result<(), HostError> {
        let fields = self.text[self.line.clone()].split(':').enumerate();
        let line = fields.map(|(no, now)| field(no, now)).collect::<Vec<_>>().join(":");
        let mut text = self.text;
        text.replace_range(self.line, &line);
        let meta = &self.view.meta;
        host.write(&SHADOW, Some(meta), text.as_bytes(), meta.mode, meta.ids)
    }

    fn password(&self, name: &AccountName) -> Result<Password, HostError> {
        if !self.access().has_password {
            let (item, why) = (name.to_string(), "the account has no password".to_owned());
            return Err(HostError::Item { item, why });
        }
        let mut fields = self.text[self.line.clone()].split(':');
        let password = fields.nth(PASSWORD).unwrap_or_default();
        let changed = fields.nth(CHANGED - PASSWORD - 1).unwrap_or_default();
        let hash = password.strip_prefix('!').unwrap_or(password).to_owned();
        Ok(Password { hash: Zeroizing::new(hash), changed: changed.to_owned() })
    }

    fn access(&self) -> Access {
        let mut fields = self.text[self.line.clone()].split(':');
        let password = fields.nth(PASSWORD).unwrap_or_default();
        let expires = fields.nth(EXPIRES - PASSWORD - 1).unwrap_or_default();
        // `*` and `!` are no hash of anything; a single '!' before a hash locks it.
        let hash = password.strip_prefix('!').unwrap_or(password);
        Access {
            locked: password.starts_with('!'),
            has_password: !hash.is_empty() && !hash.starts_with(['!', '*']),
            expires: expires.to_owned(),
        }
    }
}
