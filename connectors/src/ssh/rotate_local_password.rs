//! `ssh.rotate_local_password`: a new random password, handed over once.
//!
//! It is made and hashed on this side: the host never has it in clear. The hash goes over standard input,
//! because a command line is seen by everybody on the host.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Outcome;
use super::account::{ACCOUNT, Found, Shadow, account_of, moved, refuse_own, target_checks};
use super::command::{Command, date};
use super::{Session, Ssh};
use crate::host::NewPassword;
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Produced,
    Reversible, SecretText, StepContext, TargetState, check, line, sealed,
};

/// Gives the account a new random password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateLocalPassword {}

/// What the host keeps of the password.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// There is no such account.
    Absent,
    /// The connection's account may not read `/etc/shadow`.
    Unreadable,
    /// Nobody signs in with a password.
    None,
    Password(Password),
}

/// A hash, and when it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// Without a lock in front of it.
    #[serde(with = "sealed")]
    hash: SecretText,
    /// A lock stays.
    locked: bool,
    /// The day of its last change, since 1970-01-01.
    changed: Option<u32>,
}

impl Password {
    /// The field as it stands in the file.
    fn field(&self, hash: &SecretText) -> SecretText {
        let lock = if self.locked { "!" } else { "" };
        SecretText::new(format!("{lock}{}", hash.expose()))
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Unreadable => vec![Field::redacted("password", "not readable by the connection")],
            Self::None => vec![Field::new("password", Value::Null)],
            Self::Password(password) => vec![
                Field::redacted("password", "a hash"),
                Field::new("password_locked", password.locked),
                Field::new("password_changed", shown(password.changed)),
            ],
        }
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "exists": false }),
            Self::Unreadable => json!({ "exists": true, "readable": false }),
            Self::None => json!({ "exists": true, "password": null }),
            Self::Password(password) => json!({
                "exists": true,
                "password": key.digest(&password.hash),
                "locked": password.locked,
                "changed": password.changed,
            }),
        }
    }
}

fn shown(day: Option<u32>) -> Value {
    day.map_or(Value::Null, |day| json!(date(day)))
}

fn password(state: &State) -> Result<&Password, ConnectorError> {
    match state {
        State::Password(password) => Ok(password),
        State::Absent | State::Unreadable | State::None => Err(ConnectorError::invalid(
            "there was no password before that could be read, so none is set",
        )),
    }
}

async fn read(session: &Session, target: &TargetRef) -> Result<State, ConnectorError> {
    Ok(match Shadow::find(session, &account_of(target)?).await? {
        Found::Absent => State::Absent,
        Found::Unreadable => State::Unreadable,
        Found::Line(shadow) => match shadow.hash() {
            None => State::None,
            Some(hash) => State::Password(Password {
                hash,
                locked: shadow.is_locked(),
                changed: shadow.changed,
            }),
        },
    })
}

impl Action for RotateLocalPassword {
    type Connector = Ssh;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_local_password",
        title: "Rotate a local account's password",
        description: "Gives the account a new random password, which is handed over once. Only its hash \
                      (SHA-512 of crypt(5)) goes to the host. A lock, the expiry, keys and open sessions \
                      stay as they are.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[ACCOUNT],
        permissions: &[
            "root, or sudo for /usr/bin/getent, /usr/sbin/chpasswd and (to undo it) /usr/bin/chage",
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
        read(session, target).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = account_of(target)?;
        let hash = SecretText::new(String::new());
        let needed = [
            Command::Shadow(&name),
            Command::SetHash { user: &name, hash: &hash },
            Command::SetChanged { user: &name, day: None },
        ];
        let mut checks = target_checks(session, &name, &needed).await?;
        if *state == State::None {
            let detail = "it has none; whoever is meant to sign in with one is given the first by the host's \
                          owner: passwd";
            checks.push(check("the account has a password", false, detail));
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        NewPassword::generate()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let diff = match state {
            State::Password(password) => vec![
                line(target, "password", "a hash", "the hash of a new random one"),
                line(target, "password_changed", shown(password.changed), "the day of the change"),
            ],
            State::Absent | State::Unreadable | State::None => Vec::new(),
        };
        Description {
            diff,
            summary: format!(
                "{} gets a new random password; the old one stops working.",
                target.name
            ),
            rollback: format!(
                "The hash of the old password of {} is put back, and the day of its change.",
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
        let name = account_of(&cx.step.target)?;
        let from = password(&before.state)?;
        refuse_own(session, &name).await?;
        let now = read(session, &cx.step.target).await?;
        let is_there = self.verify(&now, before, None);
        if !is_there {
            if now != before.state {
                return Err(moved(&name));
            }
            let hash = from.field(&before.prepared.hash);
            session.change(&Command::SetHash { user: &name, hash: &hash }, cx.deadline).await?;
        }
        Ok(Effect { changed: !is_there, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        match (now, &before.state) {
            (State::Password(now), State::Password(before_it)) => {
                now.hash == before.prepared.hash && now.locked == before_it.locked
            }
            (
                State::Absent | State::Unreadable | State::None | State::Password(_),
                State::Absent | State::Unreadable | State::None | State::Password(_),
            ) => false,
        }
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![before.prepared.produced("password")]
    }
}

impl Reversible for RotateLocalPassword {
    /// Two steps, the hash first. A lock that came in between stays, as it does when there is no undo.
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let name = account_of(&cx.step.target)?;
        let to = password(&before.state)?;
        refuse_own(session, &name).await?;
        let now = read(session, &cx.step.target).await?;
        if now == before.state {
            return Ok(false);
        }
        let State::Password(found) = &now else { return Err(moved(&name)) };
        // The hash is back already when an undo was cut off between its steps.
        let is_half = found.hash == to.hash && found.locked == to.locked;
        if !is_half {
            if !self.verify(&now, before, None) {
                return Err(moved(&name));
            }
            let hash = to.field(&to.hash);
            session.change(&Command::SetHash { user: &name, hash: &hash }, cx.deadline).await?;
        }
        let day = Command::SetChanged { user: &name, day: to.changed };
        session.change(&day, cx.deadline).await.map_err(after_hash)?;
        Ok(true)
    }
}

/// What fails after the hash was put back.
fn after_hash(mut error: ConnectorError) -> ConnectorError {
    error.advice = crate::sdk::Advice::OutcomeUnknown;
    error.message = format!("the old password is valid again, but then: {}", error.message);
    error
}
