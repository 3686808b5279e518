//! What locking and unlocking share: whether a user is on, and the sessions that it governs.

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{after_change, moved};
use super::rights::{CHANGE_USERS, END_SESSIONS, REWRITE_CONFIG, Right, SAVE_USERS, rights_check};
use super::saving::{self, Files, What, file_check};
use super::session::Session;
use super::sessions;
use super::target::{Seen, UserName, user_of};
use super::user::User;
use crate::sdk::{ConnectorError, DigestKey, Effect, StepContext, TargetState, check};

/// Whether a user may log in, and how often it is logged in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Whether the user is on.
    pub enabled: Seen<bool>,
    /// Moves by itself, so it is shown and verified but not fingerprinted. Absent when it cannot be read.
    pub open_sessions: Option<usize>,
    /// Connections that have not authenticated are among them: so it is for the user `default`.
    pub with_strangers: bool,
    /// Where it is kept. Shown, and not fingerprinted.
    pub files: Seen<Files>,
}

/// What changing it did.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginOutcome {
    pub sessions_ended: usize,
    /// Whether it is still so after a restart of the server.
    pub survives_restart: bool,
}

impl TargetState for Login {
    fn fields(&self) -> Vec<Field> {
        let login = match &self.enabled {
            Seen::There(enabled) => word(*enabled).into(),
            Seen::Unreadable => "not readable by the connection".into(),
            Seen::Absent => Value::Null,
        };
        vec![
            Field::new("login", login),
            Field::new("open_sessions", self.open_sessions),
            saving::field(&self.files, What::Users),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match &self.enabled {
            Seen::There(enabled) => json!({ "login": enabled }),
            Seen::Unreadable => json!({ "login": "unreadable" }),
            Seen::Absent => json!({ "login": null }),
        }
    }
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Login, ConnectorError> {
    let name = user_of(target)?;
    Ok(Login {
        enabled: User::read(session, &name).await?.map(|user| user.enabled),
        open_sessions: sessions::open(session, &name).await?,
        with_strangers: name.is_default(),
        files: Files::read(session).await?,
    })
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    state: &Login,
) -> Result<Vec<Check>, ConnectorError> {
    let name = user_of(target)?;
    let mut checks = target_checks(session, &name, &state.enabled);
    let mut rights = [&CHANGE_USERS[..], &END_SESSIONS].concat();
    rights.extend(saving_rights(&state.files, What::Users));
    let what = "the connection may change users and end their sessions";
    checks.push(rights_check(session, what, &rights, &[]).await?);
    if state.enabled.there().is_some() && state.open_sessions.is_some() {
        checks.push(replica_check(session, &name).await?);
    }
    checks.push(file_check(session, &state.files, What::Users));
    Ok(checks)
}

/// The rights that saving takes there.
pub fn saving_rights(files: &Seen<Files>, what: What) -> Vec<Right> {
    let commands = files.there().map_or(&[][..], |files| files.commands(what));
    let right =
        |words: &&[&str]| if words == &["ACL", "SAVE"] { SAVE_USERS } else { REWRITE_CONFIG };
    commands.iter().map(right).collect()
}

/// What must hold of a user before any action touches it.
pub fn target_checks<T>(session: &Session, name: &UserName, seen: &Seen<T>) -> Vec<Check> {
    let (exists, detail) = match seen {
        Seen::There(_) => (true, format!("{name} is there")),
        Seen::Absent => {
            (false, format!("there is no user {name} on the server: run discovery again"))
        }
        Seen::Unreadable => {
            let own = session.own();
            (false, format!("as an administrator run: ACL SETUSER {own} +acl|getuser"))
        }
    };
    let own = session.own() == name;
    vec![
        check("the user exists", exists, detail),
        check(
            "the user is not the connection's own",
            !own,
            if own {
                format!(
                    "{name} is the user Nexplane itself uses here: give the connection another \
                     user first, or change {name} by hand and then the connection's password"
                )
            } else {
                format!("the connection uses {}", session.own())
            },
        ),
    ]
}

/// A replica that is logged in as the user would be cut off.
pub async fn replica_check(session: &Session, name: &UserName) -> Result<Check, ConnectorError> {
    let count = sessions::replicas(session, name).await?;
    let what = "no replica is logged in as the user";
    Ok(if count == 0 {
        check(what, true, "none is")
    } else {
        let detail = format!(
            "{count} of its sessions are replicas, which would stop to replicate: give them \
             another user first (masteruser and masterauth)"
        );
        check(what, false, detail)
    })
}

/// Brings the user from `from` to `to`, and saves it; when it is off afterwards, also ends the sessions, of
/// which no new one can come then.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    from: bool,
    to: bool,
) -> Result<Effect<LoginOutcome>, ConnectorError> {
    let name = user_of(&cx.step.target)?;
    not_own(session, &name)?;
    let user = User::found(session, &name).await?;
    let mut altered = false;
    if user.enabled != to {
        if user.enabled != from {
            return Err(moved(&name));
        }
        let done = user.alter(session, &[word(to).to_owned()]).await?;
        // Somebody else may have done the same in between: then it was not us.
        altered = done.before.enabled != to;
        if done.after.enabled != to {
            return Err(after_change(moved(&name)));
        }
    }
    let survives_restart = match saving::save(session, What::Users).await {
        Ok(survives) => survives,
        // What cannot be saved is not kept until the next restart either.
        Err(error) if altered && !error.is_outcome_unknown() => {
            let user = User::found(session, &name).await.map_err(after_change)?;
            user.alter(session, &[word(from).to_owned()]).await.map_err(after_change)?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let sessions_ended = if to {
        0
    } else {
        let ended = sessions::end(session, &name).await;
        if altered { ended.map_err(after_change)? } else { ended? }
    };
    let outcome = LoginOutcome { sessions_ended, survives_restart };
    Ok(Effect { changed: altered || sessions_ended > 0, outcome })
}

/// The last word on the connection's own user: nothing may lock us out.
pub fn not_own(session: &Session, name: &UserName) -> Result<(), ConnectorError> {
    if session.own() == name {
        let message = format!("{name} is the connection's own user; nothing was changed");
        return Err(ConnectorError::invalid(message));
    }
    Ok(())
}

/// As the rules of a user have it.
pub const fn word(enabled: bool) -> &'static str {
    if enabled { "on" } else { "off" }
}
