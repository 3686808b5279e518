//! `ldap.reset_ad_password`: a new random password in Active Directory, handed over once.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Directory;
use super::error::{NO_SUCH_ATTRIBUTE, refused};
use super::line::Part;
use super::session::{Kind, Session};
use super::target::{Sort, USER, find, gone, moved, not_protected, target_checks};
use crate::sdk::{
    Action, ActionMeta, Advice, Before, ConnectorError, Description, DigestKey, Effect, Produced,
    SecretText, StepContext, TargetState, check, line, sealed,
};

const LAST_SET: &str = "pwdLastSet";
const LOCKOUT: &str = "lockoutTime";

/// Replaces the user's password by a new random one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetAdPassword {}

/// What can be known of a password that cannot be read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// `pwdLastSet`: 100 ns since 1601, or 0; absent when there is no such user.
    last_set: Option<i64>,
    /// Whether failed logins have locked the user out. Moves by itself.
    locked_out: bool,
    /// Whether the new password was tried, and is the one.
    is_new: bool,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("exists", self.last_set.is_some()),
            Field::new("password_last_set", self.last_set.map(|moment| moment.to_string())),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "last_set": self.last_set.map(|moment| moment.to_string()) })
    }
}

/// A password that was made up before the effect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[serde(with = "sealed")]
    clear: SecretText,
}

impl NewPassword {
    /// With letters of both cases and digits: three of the categories that a policy can ask for.
    /// <https://learn.microsoft.com/windows/security/threat-protection/security-policy-settings/password-must-meet-complexity-requirements>
    fn generate() -> Result<Self, ConnectorError> {
        loop {
            let clear = SecretText::generate()?;
            let has = |kind: fn(&u8) -> bool| clear.expose().as_bytes().iter().any(kind);
            if has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
            {
                return Ok(Self { clear });
            }
        }
    }
}

/// As `unicodePwd` takes it: in quotes, UTF-16, little endian.
/// <https://learn.microsoft.com/openspecs/windows_protocols/ms-adts/6e803168-f140-4d23-b2d3-c3a8ab5917d2>
fn unicode(password: &SecretText) -> Vec<u8> {
    format!("\"{}\"", password.expose()).encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What the effect left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// `pwdLastSet` after it. Active Directory may take the password before the last one for an hour, so that a
    /// login alone does not say that nobody has changed it since.
    /// <https://learn.microsoft.com/troubleshoot/windows-server/windows-security/new-setting-modifies-ntlm-network-authentication>
    password_last_set: Option<String>,
}

impl Outcome {
    fn of(state: &State) -> Self {
        Self { password_last_set: state.last_set.map(|moment| moment.to_string()) }
    }
}

async fn read(
    session: &Session,
    target: &TargetRef,
) -> Result<(Option<String>, State), ConnectorError> {
    let found = find(session, target, Sort::User, &[LAST_SET, LOCKOUT]).await?;
    let state = State {
        last_set: found.as_ref().map(|entry| entry.number(LAST_SET).unwrap_or_default()),
        locked_out: found
            .as_ref()
            .and_then(|entry| entry.number(LOCKOUT))
            .is_some_and(|since| since != 0),
        is_new: false,
    };
    Ok((found.map(|entry| entry.dn), state))
}

impl Action for ResetAdPassword {
    type Connector = Directory;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "reset_ad_password",
        title: "Reset a user's password (Active Directory)",
        description: "Gives the user a new random password, which is handed over once. It is verified by logging \
                      in with it. Domain controllers may take the old one for up to an hour more. Locks, groups and tickets that were given out stay as they are. For OpenLDAP \
                      there is ldap.reset_password, which can be undone.",
        effect_class: EffectClass::Verifiable,
        base_risk: 6,
        target_types: &[USER],
        permissions: &[
            "Active Directory: Reset Password (control access right) on the user",
            "Active Directory: write pwdLastSet of the user",
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

    /// Nobody can read the password, so the new one is tried. Only when the password was changed since: a wrong
    /// one counts as a failed login.
    async fn observe(
        &self,
        session: &Session,
        target: &TargetRef,
        before: &Before<Self>,
    ) -> Result<State, ConnectorError> {
        let (dn, mut state) = read(session, target).await?;
        if let (Some(dn), true) = (dn, state.last_set != before.state.last_set) {
            state.is_new = session.accepts(&dn, &before.prepared.clear).await?;
        }
        Ok(state)
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let (dn, _) = read(session, target).await?;
        let is_ad = session.kind == Kind::ActiveDirectory;
        let written: &[_] = if is_ad { &[(LAST_SET, "")] } else { &[] };
        let mut checks = target_checks(session, Sort::User, dn.as_deref(), written).await?;
        checks.push(check(
            "the directory is Active Directory",
            is_ad,
            if is_ad { "it says so" } else { "it is not: use ldap.reset_password" },
        ));
        if dn.is_some() && is_ad {
            checks.push(check(
                "the user is not locked out by failed logins",
                !state.locked_out,
                if state.locked_out {
                    "a login would be refused whatever the password, so the new one could not be verified: \
                     unlock the account first (lockoutTime 0)"
                } else {
                    "lockoutTime is 0"
                },
            ));
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        NewPassword::generate()
    }

    fn describe(&self, target: &TargetRef, _: &State) -> Description {
        let name = &target.name;
        Description {
            diff: vec![line(target, "password", "one that nobody can read", "a new one")],
            summary: format!(
                "User {name} gets a new random password. Active Directory may take the old one for up to an \
                 hour more, unless it is set otherwise."
            ),
            rollback: "It cannot be undone: Active Directory never gives a stored password back."
                .to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        if session.kind != Kind::ActiveDirectory {
            let message = "the directory is not Active Directory: use ldap.reset_password";
            return Err(ConnectorError::invalid(message));
        }
        let clear = &before.prepared.clear;
        let (dn, now) = read(session, &cx.step.target).await?;
        let dn = dn.ok_or_else(|| gone(Sort::User))?;
        not_protected(session, &dn).await?;
        if now.last_set != before.state.last_set {
            return if session.accepts(&dn, clear).await? {
                Ok(Effect { changed: false, outcome: Outcome::of(&now) })
            } else {
                Err(moved(&dn))
            };
        }
        let last_set = now.last_set.unwrap_or_default().to_string().into_bytes();
        let parts = vec![
            // Fails when the password was changed in between.
            Part::Delete(LAST_SET, last_set),
            Part::Add(LAST_SET, b"-1".to_vec()),
            Part::Replace("unicodePwd", vec![unicode(clear)]),
        ];
        match session.line().modify(&dn, parts, None).await? {
            Ok(()) => {
                let after = read(session, &cx.step.target).await.map_err(|mut error| {
                    error.advice = Advice::OutcomeUnknown;
                    error.message =
                        format!("the password was changed, but then: {}", error.message);
                    error
                })?;
                Ok(Effect { changed: true, outcome: Outcome::of(&after.1) })
            }
            Err(result) if result.rc == NO_SUCH_ATTRIBUTE => Err(moved(&dn)),
            Err(result) => Err(refused(&result)),
        }
    }

    fn verify(&self, now: &State, _: &Before<Self>, outcome: Option<&Outcome>) -> bool {
        let moved = |outcome: &Outcome| {
            outcome.password_last_set != now.last_set.map(|moment| moment.to_string())
        };
        now.is_new && !outcome.is_some_and(moved)
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![Produced { name: "password".to_owned(), value: before.prepared.clear.clone() }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_quoted_and_utf_16() {
        let password = SecretText::new("aé".to_owned());
        assert_eq!(unicode(&password), [0x22, 0, 0x61, 0, 0xe9, 0, 0x22, 0]);
    }
}
