//! `ldap.reset_password`: a new random password in OpenLDAP, handed over once; the old hash can come back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Directory;
use super::entry::Entry;
use super::error::{ASSERTION_FAILED, VALUE_EXISTS, refused};
use super::line::Part;
use super::name::escape;
use super::policy::Policies;
use super::session::{Kind, Session};
use super::target::{Sort, USER, find, gone, moved, not_protected, nothing_before, target_checks};
use crate::sdk::{
    Action, ActionMeta, Advice, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Produced, Reversible, SecretText, StepContext, TargetState, check, line, sealed,
};

const PASSWORD: &str = "userPassword";
const RESET: &str = "pwdReset";
/// Another one after every change of the entry that somebody makes; what ppolicy notes of logins leaves it as it is.
/// <https://www.openldap.org/doc/admin26/replication.html#LDAP%20Sync%20Replication>
const CHANGE: &str = "entryCSN";
/// Scheme of the hashes that are made here. Every OpenLDAP verifies it without a module; a slower one would not
/// help a password of 28 random characters.
const SCHEME: &str = "{SSHA}";
/// Bytes of the salt.
const SALT: usize = 16;

/// Replaces the user's password by a new random one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {}

/// One value of `userPassword`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stored(#[serde(with = "sealed")] SecretText);

/// What the directory keeps of a user's password.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    exists: bool,
    /// As they are stored, sorted. Empty also when the account may not read them.
    passwords: Vec<Stored>,
    /// `pwdReset`, which the directory may set along with a password.
    reset: Option<String>,
}

impl State {
    fn words(&self) -> Value {
        match self.passwords.len() {
            0 => Value::Null,
            1 => json!(self.scheme()),
            many => json!(format!("{many} passwords")),
        }
    }

    /// Of the first: `{SSHA}`, or that it is in clear.
    fn scheme(&self) -> String {
        let first = self.passwords.first().map_or("", |Stored(first)| first.expose());
        match first.split_once('}') {
            Some((scheme, _)) if scheme.starts_with('{') => format!("{scheme}}} hash"),
            Some(_) | None => "password in clear".to_owned(),
        }
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let words = self.words();
        let password = match words.as_str() {
            Some(words) => Field::redacted("password", words),
            None => Field::new("password", Value::Null),
        };
        vec![
            Field::new("exists", self.exists),
            password,
            Field::new("must_change_password", self.reset.as_deref() == Some("TRUE")),
        ]
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        let digests: Vec<_> = self.passwords.iter().map(|Stored(text)| key.digest(text)).collect();
        json!({ "exists": self.exists, "passwords": digests, "reset": self.reset })
    }
}

/// A password that was made up before the effect, with the hash that the directory will keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[serde(with = "sealed")]
    clear: SecretText,
    hash: Stored,
}

impl NewPassword {
    fn generate() -> Result<Self, ConnectorError> {
        let clear = SecretText::generate()?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| {
            let message = "the system's random number generator failed";
            ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
        })?;
        let hash = Stored(SecretText::new(ssha(clear.expose(), &salt)));
        Ok(Self { clear, hash })
    }
}

/// `{SSHA}`: base64 of the SHA-1 of password and salt, and the salt.
/// <https://www.openldap.org/doc/admin26/security.html#Password%20Storage>
fn ssha(clear: &str, salt: &[u8]) -> String {
    let salted = [clear.as_bytes(), salt].concat();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted);
    format!("{SCHEME}{}", STANDARD.encode([hash.as_ref(), salt].concat()))
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

async fn read(
    session: &Session,
    target: &TargetRef,
) -> Result<(Option<Entry>, State), ConnectorError> {
    let attributes: &[&str] = match session.kind {
        Kind::OpenLdap { .. } => &[PASSWORD, RESET, CHANGE],
        Kind::ActiveDirectory => &["1.1"],
    };
    let Some(entry) = find(session, target, Sort::User, attributes).await? else {
        return Ok((None, State { exists: false, passwords: Vec::new(), reset: None }));
    };
    let mut passwords: Vec<_> = entry.texts(PASSWORD).map(str::to_owned).collect();
    if passwords.len() != entry.values(PASSWORD).len() {
        let message = format!("a stored password of {} is not text: change it by hand", entry.dn);
        return Err(ConnectorError::invalid(message));
    }
    passwords.sort();
    let passwords = passwords.into_iter().map(|text| Stored(SecretText::new(text))).collect();
    let reset = entry.text(RESET).map(str::to_owned);
    Ok((Some(entry), State { exists: true, passwords, reset }))
}

/// That nothing of the entry has moved, whatever it is; where the directory does not count changes, that the values
/// of `now` are all there: no filter can say that there are no others.
fn condition(change: Option<&str>, now: &State) -> String {
    if let Some(change) = change {
        return format!("({CHANGE}={})", escape(change.as_bytes()));
    }
    let equals = |name: &str, value: &str| format!("({name}={})", escape(value.as_bytes()));
    let passwords: Vec<_> =
        now.passwords.iter().map(|Stored(text)| equals(PASSWORD, text.expose())).collect();
    let reset =
        now.reset.as_ref().map_or_else(|| format!("(!({RESET}=*))"), |reset| equals(RESET, reset));
    format!("(&{}{reset})", passwords.concat())
}

/// Brings what is stored from `now` to `passwords`, and `pwdReset` to what it was before unless it is that.
///
/// All values are replaced: where one is deleted and another one added, ppolicy takes the former for the old password
/// in clear, checks it, and refuses. So it is the condition that keeps what somebody adds in the meantime.
async fn store(
    session: &Session,
    entry: &Entry,
    now: &State,
    passwords: &[Stored],
    reset: Option<&String>,
) -> Result<(), ConnectorError> {
    let octets = passwords.iter().map(|Stored(text)| text.expose().as_bytes().to_vec()).collect();
    let mut parts = vec![Part::Replace(PASSWORD, octets)];
    if now.reset.as_ref() != reset {
        let values = reset.iter().map(|reset| reset.as_bytes().to_vec()).collect();
        parts.push(Part::Replace(RESET, values));
    }
    let condition = condition(entry.text(CHANGE), now);
    for _ in 0..2 {
        match session.line().modify(&entry.dn, parts.clone(), Some(&condition)).await? {
            Ok(()) => return Ok(()),
            Err(result) if result.rc == ASSERTION_FAILED => return Err(moved(&entry.dn)),
            // The history of passwords (pwdHistory) knows seconds: one hash goes into it once in each.
            Err(result) if result.rc == VALUE_EXISTS => {
                tokio::time::sleep(Duration::from_millis(1050)).await;
            }
            Err(result) => return Err(refused(&result)),
        }
    }
    let message = format!("the password of {} was changed within this second: try again", entry.dn);
    Err(ConnectorError::new(ErrorKind::Conflict, Advice::RetryNow, message))
}

impl Action for ResetPassword {
    type Connector = Directory;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "reset_password",
        title: "Reset a user's password (OpenLDAP)",
        description: "Gives the user a new random password, which is handed over once. Only its salted hash goes \
                      to the directory, and the old hash can be put back. Locks, groups and open connections \
                      stay as they are. For Active Directory there is ldap.reset_ad_password.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[USER],
        permissions: &[
            "OpenLDAP: read and write on userPassword of the user, to verify it and to be able to undo it",
            "OpenLDAP: write on pwdReset of the user, where ppolicy sets it along with a password",
        ],
        produces: &["password"],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        Ok(read(session, target).await?.1)
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let dn = read(session, target).await?.0.map(|entry| entry.dn);
        let name = "the directory lets stored passwords be read";
        if session.kind == Kind::ActiveDirectory {
            let detail =
                "Active Directory never does: use ldap.reset_ad_password, which cannot be undone";
            let mut checks = target_checks(session, Sort::User, dn.as_deref(), &[]).await?;
            checks.push(check(name, false, detail));
            return Ok(checks);
        }
        // Without ppolicy there is no pwdReset.
        let written: &[_] = match session.kind {
            Kind::OpenLdap { policies: true } => &[(PASSWORD, "{NONE}"), (RESET, "TRUE")],
            Kind::OpenLdap { policies: false } | Kind::ActiveDirectory => &[(PASSWORD, "{NONE}")],
        };
        let mut checks = target_checks(session, Sort::User, dn.as_deref(), written).await?;
        let Some(dn) = dn else { return Ok(checks) };
        let readable = !state.passwords.is_empty();
        checks.push(check(
            "the stored password can be read, so that it can come back",
            readable,
            if readable {
                format!("{PASSWORD} is readable")
            } else {
                format!(
                    "there is none, or let the directory's administrator give {} the right to read \
                     {PASSWORD}",
                    session.account()
                )
            },
        ));
        checks.push(Policies::of(session, &dn).await?.takes_hashes());
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        NewPassword::generate()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let name = &target.name;
        Description {
            diff: vec![line(target, "password", state.words(), format!("a new {SCHEME} hash"))],
            summary: format!("User {name} gets a new random password; the old one stops working."),
            rollback: format!("The stored hash of the old password of user {name} is put back."),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let (entry, now) = read(session, &cx.step.target).await?;
        let entry = entry.ok_or_else(|| gone(Sort::User))?;
        not_protected(session, &entry.dn).await?;
        let hash = std::slice::from_ref(&before.prepared.hash);
        if now.passwords == hash {
            return Ok(Effect { changed: false, outcome: Outcome {} });
        }
        if now != before.state {
            return Err(moved(&entry.dn));
        }
        if now.passwords.is_empty() {
            return Err(ConnectorError::invalid(
                "the password that is there cannot be read, so it could not come back; nothing was changed",
            ));
        }
        store(session, &entry, &now, hash, now.reset.as_ref()).await?;
        Ok(Effect { changed: true, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.passwords == std::slice::from_ref(&before.prepared.hash)
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![Produced { name: "password".to_owned(), value: before.prepared.clear.clone() }]
    }
}

impl Reversible for ResetPassword {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        if !before.state.exists {
            return Err(nothing_before());
        }
        let (entry, now) = read(session, &cx.step.target).await?;
        let entry = entry.ok_or_else(|| gone(Sort::User))?;
        not_protected(session, &entry.dn).await?;
        if now == before.state {
            return Ok(false);
        }
        if now.passwords != std::slice::from_ref(&before.prepared.hash) {
            return Err(moved(&entry.dn));
        }
        store(session, &entry, &now, &before.state.passwords, before.state.reset.as_ref()).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_others_make() {
        // python3: base64(sha1(b"secret" + b"salt").digest() + b"salt")
        assert_eq!(ssha("secret", b"salt"), "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0");
    }

    #[test]
    fn a_condition_names_every_value() {
        let stored = |text: &str| Stored(SecretText::new(text.to_owned()));
        let state = |reset: Option<&str>| State {
            exists: true,
            passwords: vec![stored("a)"), stored("b")],
            reset: reset.map(str::to_owned),
        };
        let two = r"(&(userPassword=\61\29)(userPassword=\62)";
        assert_eq!(condition(None, &state(None)), format!("{two}(!(pwdReset=*)))"));
        assert_eq!(condition(Some("1#"), &state(None)), r"(entryCSN=\31\23)");
        assert_eq!(
            condition(None, &state(Some("TRUE"))),
            format!(r"{two}(pwdReset=\54\52\55\45))")
        );
    }
}
