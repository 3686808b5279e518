//! What locking and unlocking share: one attribute of a role, and the sessions that it governs.

use nexplane_core::plan::{Check, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::after_commit;
use super::role::{Role, end_sessions, role_of, sessions, target_checks};
use super::session::Session;
use super::sql::Name;
use crate::sdk::{ConnectorError, DigestKey, Effect, StepContext, TargetState, check};

/// Whether a role may log in, and how often it is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Absent when there is no such role.
    pub allowed: Option<bool>,
    /// Moves by itself, so it is shown and verified but not fingerprinted.
    pub open_sessions: i64,
}

/// What changing it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginOutcome {
    pub sessions_ended: i64,
}

impl TargetState for Login {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("login", self.allowed.map_or(Value::Null, |allowed| word(allowed).into())),
            Field::new("open_sessions", self.open_sessions),
        ]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "login": self.allowed })
    }
}

pub async fn snapshot(session: &Session, target: &TargetRef) -> Result<Login, ConnectorError> {
    let reader = session.reader();
    Ok(match Role::find(reader, &role_of(target)?).await? {
        Some(role) => Login {
            allowed: Some(role.can_login),
            open_sessions: sessions(reader, role.oid).await?,
        },
        None => Login { allowed: None, open_sessions: 0 },
    })
}

pub async fn precheck(
    session: &Session,
    target: &TargetRef,
    ends_sessions: bool,
) -> Result<Vec<Check>, ConnectorError> {
    let name = role_of(target)?;
    let role = Role::find(session.reader(), &name).await?;
    let mut checks = target_checks(session, &name, role.as_ref());
    if let (Some(role), true) = (role, ends_sessions) {
        let may = role.sessions_may_be_ended_by(session);
        let account = &session.account.name;
        checks.push(check(
            "the connection may end the role's sessions",
            may,
            if may {
                format!("{account} has the rights")
            } else {
                format!("as a superuser run: GRANT pg_signal_backend TO {}", account.sql())
            },
        ));
    }
    Ok(checks)
}

/// Brings the attribute from `from` to `to`; when it is off afterwards, also ends the sessions, after
/// the commit, so that no new one can slip in between.
pub async fn set(
    session: &Session,
    cx: &StepContext,
    from: bool,
    to: bool,
) -> Result<Effect<LoginOutcome>, ConnectorError> {
    let name = role_of(&cx.step.target)?;
    let work = session.begin(&session.account.database, cx.deadline).await?;
    work.lock_role(session, &name).await?;
    let role = Role::find(work.reader(), &name).await?.ok_or_else(|| gone(&name))?;
    let altered = role.can_login != to;
    if altered {
        if role.can_login != from {
            return Err(moved(&name));
        }
        let attribute = if to { "LOGIN" } else { "NOLOGIN" };
        work.reader().batch(&format!("ALTER ROLE {} {attribute}", name.sql())).await?;
    }
    let reader = work.commit().await?;
    let sessions_ended = if to {
        0
    } else {
        let ended = end_sessions(&reader, role.oid).await;
        if altered { ended.map_err(after_commit)? } else { ended? }
    };
    let changed = altered || sessions_ended > 0;
    Ok(Effect { changed, outcome: LoginOutcome { sessions_ended } })
}

pub fn gone(name: &Name) -> ConnectorError {
    ConnectorError::new(
        crate::sdk::ErrorKind::NotFound,
        crate::sdk::Advice::Never,
        format!("the role {name} is gone; nothing was changed"),
    )
}

pub fn moved(name: &Name) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed the role {name} since it was read; nothing was changed: plan again"
    ))
}

/// As PostgreSQL writes the attribute.
const fn word(allowed: bool) -> &'static str {
    if allowed { "LOGIN" } else { "NOLOGIN" }
}
