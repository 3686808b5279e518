//! `redis.rotate_auth_password`: a new random password for a user, or for the server's `requirepass`.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::after_change;
use super::login::{not_own, replica_check, saving_rights, target_checks};
use super::requirepass::Requirepass;
use super::rights::{CHANGE_USERS, END_SESSIONS, SET_CONFIG, rights_check};
use super::rotation::Rotation;
use super::saving::{self, Files, What, file_check};
use super::sessions;
use super::target::{INSTANCE, INSTANCE_KEY, Seen, USER, UserName, user_of};
use super::user::{Hash, Passwords, User};
use super::{Redis, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Produced,
    Reversible, SecretText, StepContext, TargetState, check, line, sealed,
};

/// Replaces the passwords of the user, or the server's requirepass, by a new random one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateAuthPassword {}

/// The passwords, and who uses them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    passwords: Seen<Passwords>,
    /// The setting; of concern to the instance and to the user `default` only.
    requirepass: Requirepass,
    /// Moves by itself, so it is shown and verified but not fingerprinted.
    open_sessions: Option<usize>,
    /// Where it is kept. Shown, and not fingerprinted.
    files: Seen<Files>,
    /// What is kept there.
    of_instance: bool,
}

impl State {
    const fn what(&self) -> What {
        if self.of_instance { What::Requirepass } else { What::Users }
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let passwords = match &self.passwords {
            Seen::There(passwords) => passwords.field(),
            Seen::Unreadable => Field::redacted("passwords", "not readable by the connection"),
            Seen::Absent => Field::new("passwords", Value::Null),
        };
        let mut fields = vec![Field::new("exists", self.passwords.there().is_some()), passwords];
        if self.of_instance {
            fields.push(match &self.requirepass {
                Requirepass::Set(_) => Field::redacted("requirepass", "set"),
                Requirepass::Unset => Field::new("requirepass", Value::Null),
                Requirepass::Unreadable => {
                    Field::redacted("requirepass", "not readable by the connection")
                }
            });
        }
        fields.push(Field::new("open_sessions", self.open_sessions));
        fields.push(saving::field(&self.files, self.what()));
        fields
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        let passwords = match &self.passwords {
            Seen::There(passwords) => passwords.fingerprinted(key),
            Seen::Unreadable => json!("unreadable"),
            Seen::Absent => Value::Null,
        };
        json!({ "passwords": passwords, "requirepass": self.requirepass.fingerprinted(key) })
    }
}

/// A password that was made up before the effect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    #[serde(with = "sealed")]
    clear: SecretText,
    /// What the server keeps of it.
    hash: Hash,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    sessions_ended: usize,
    /// Whether it is still so after a restart of the server.
    survives_restart: bool,
}

/// The user whose password it is: of the instance it is the user `default`.
fn user_behind(target: &TargetRef) -> Result<UserName, ConnectorError> {
    if target.kind != INSTANCE {
        return user_of(target);
    }
    if target.external_key == INSTANCE_KEY {
        Ok(UserName::default())
    } else {
        Err(ConnectorError::invalid("the external key of a server must be instance"))
    }
}

fn rotation<'a>(
    session: &'a Session,
    cx: &StepContext,
    before: &'a Before<RotateAuthPassword>,
) -> Result<Rotation<'a>, ConnectorError> {
    let name = user_behind(&cx.step.target)?;
    not_own(session, &name)?;
    let state = &before.state;
    let unknown =
        || ConnectorError::invalid("what was there could not be read, so it cannot come back");
    let old = state.passwords.there().ok_or_else(unknown)?;
    let old_setting = match (&state.requirepass, state.of_instance) {
        (Requirepass::Set(text), true) => Some(text),
        (Requirepass::Unset | Requirepass::Unreadable, true) => return Err(unknown()),
        (_, false) => None,
    };
    let NewPassword { clear, hash } = &before.prepared;
    Ok(Rotation { session, name, old, old_setting, new: clear, hash: hash.clone() })
}

/// Ends the sessions that began with a password which is void now.
async fn ended(
    session: &Session,
    rotation: &Rotation<'_>,
    altered: bool,
    survives_restart: bool,
) -> Result<Effect<Outcome>, ConnectorError> {
    let after = |error| if altered { after_change(error) } else { error };
    let sessions_ended = sessions::end(session, &rotation.name).await.map_err(after)?;
    let outcome = Outcome { sessions_ended, survives_restart };
    Ok(Effect { changed: altered || sessions_ended > 0, outcome })
}

impl Action for RotateAuthPassword {
    type Connector = Redis;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_auth_password",
        title: "Rotate a password",
        description: "Gives the ACL user, or requirepass of the server, one new random password, which is \
                      handed over once. It is added to the old ones and tried by a login before they are \
                      removed; then the sessions that began with an old one are ended. A user that is off \
                      stays off, and the login is not tried. It is saved where the server keeps its users, \
                      and is done on this server only: replicas and other nodes of a cluster have users of \
                      their own.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[INSTANCE, USER],
        permissions: &[
            "+acl|getuser +acl|setuser +multi +exec, and +config|set for requirepass",
            "+client|list +client|kill",
            "+config|get +info, and +acl|save with an ACL file, else +config|rewrite",
            "+acl|dryrun, to ask what it may do",
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
        let name = user_behind(target)?;
        Ok(State {
            passwords: User::read(session, &name).await?.map(|user| user.passwords.clone()),
            requirepass: if name.is_default() {
                Requirepass::read(session).await?
            } else {
                Requirepass::Unset
            },
            open_sessions: sessions::open(session, &name).await?,
            files: Files::read(session).await?,
            of_instance: target.kind == INSTANCE,
        })
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = user_behind(target)?;
        let mut checks = target_checks(session, &name, &state.passwords);
        let mut rights = [&CHANGE_USERS[..], &END_SESSIONS].concat();
        if state.of_instance {
            rights.push(SET_CONFIG);
        }
        rights.extend(saving_rights(&state.files, state.what()));
        let what = "the connection may change passwords and end sessions";
        checks.push(rights_check(session, what, &rights, &[]).await?);
        if let Seen::There(passwords) = &state.passwords {
            checks.push(password_check(&name, passwords));
            if name.is_default() {
                checks.push(requirepass_check(state, passwords));
            }
            if state.open_sessions.is_some() {
                checks.push(replica_check(session, &name).await?);
            }
        }
        checks.push(file_check(session, &state.files, state.what()));
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        let clear = SecretText::generate()?;
        let hash = Hash::of(&clear);
        Ok(NewPassword { clear, hash })
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let before = state.passwords.there().map_or(Value::Null, |p| p.field().value);
        let mut diff = vec![line(target, "passwords", before, "1 new password (SHA-256)")];
        if state.of_instance && state.requirepass.is_set() {
            diff.push(line(target, "requirepass", "set", "set to the new password"));
        }
        if let Some(open @ 1..) = state.open_sessions {
            diff.push(line(target, "open_sessions", open, 0));
        }
        let whose =
            if state.of_instance { "The server's requirepass" } else { "The user's password" };
        Description {
            diff,
            summary: format!(
                "{whose} on {} becomes a new random one; the old ones stop working, and sessions \
                 that began with them are ended. {}",
                target.name,
                saving::sentence(&state.files, state.what()),
            ),
            rollback: format!(
                "The old passwords of {} are put back, the new one is removed, and the sessions \
                 that began with it are ended.",
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
        let rotation = rotation(session, cx, before)?;
        let altered = rotation.forward().await?;
        match saving::save(session, before.state.what()).await {
            Ok(survives_restart) => ended(session, &rotation, altered, survives_restart).await,
            // What cannot be saved is not kept until the next restart either.
            Err(error) if altered && !error.is_outcome_unknown() => {
                Err(rotation.back_out(error).await)
            }
            Err(error) => Err(error),
        }
    }

    fn verify(&self, now: &State, before: &Before<Self>, outcome: Option<&Outcome>) -> bool {
        let prepared = &before.prepared;
        let set = !now.of_instance || now.requirepass == Requirepass::Set(prepared.clear.clone());
        // Without an outcome nobody has the new password yet: whoever is logged in began with an old one.
        let ended = outcome.is_some() || now.open_sessions == Some(0);
        now.passwords.there().is_some_and(|now| now.is_only(&prepared.hash)) && set && ended
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![Produced { name: "password".to_owned(), value: before.prepared.clear.clone() }]
    }
}

impl Reversible for RotateAuthPassword {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let rotation = rotation(session, cx, before)?;
        let altered = rotation.back().await?;
        let saved = saving::save(session, before.state.what()).await;
        let survives_restart = if altered { saved.map_err(after_change)? } else { saved? };
        Ok(ended(session, &rotation, altered, survives_restart).await?.changed)
    }
}

/// There must be a password: who has none cannot have it rotated.
fn password_check(name: &UserName, passwords: &Passwords) -> Check {
    let what = "the user has a password";
    if passwords.nopass {
        let detail = format!(
            "{name} gets in without one (nopass): its clients would all be locked out at once. \
             Give it a password by hand first"
        );
        check(what, false, detail)
    } else if passwords.hashes.is_empty() {
        check(what, false, format!("{name} has none, so nobody logs in as {name}"))
    } else {
        check(what, true, format!("{name} has {}", passwords.hashes.len()))
    }
}

/// The user `default` and `requirepass` are rotated together, and only where they agree.
fn requirepass_check(state: &State, passwords: &Passwords) -> Check {
    let what = "requirepass and the user default are rotated together";
    match (&state.requirepass, state.of_instance) {
        (Requirepass::Set(_), false) => {
            check(what, false, "its password is the server's requirepass: rotate the instance's")
        }
        (Requirepass::Set(text), true) if passwords.hashes.contains(&Hash::of(text)) => {
            check(what, true, "requirepass is a password of the user default")
        }
        (Requirepass::Set(_), true) => {
            let detail = "requirepass is no password of the user default any more: set requirepass \
                          anew by hand, or empty it and rotate the user default";
            check(what, false, detail)
        }
        (Requirepass::Unset, false) => check(what, true, "requirepass is not set"),
        (Requirepass::Unset, true) => {
            check(what, false, "requirepass is not set: rotate the user's password instead")
        }
        (Requirepass::Unreadable, _) => {
            check(what, false, "requirepass cannot be read: the right +config|get is missing")
        }
    }
}
