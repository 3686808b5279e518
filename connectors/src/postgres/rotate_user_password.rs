//! `postgres.rotate_user_password`: a new random password, handed over once.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::login::{gone, moved};
use super::password::{NewPassword, Password};
use super::role::{ROLE, Role, role_of, target_checks};
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Produced,
    Reversible, StepContext, TargetState, check, line,
};

/// Replaces the role's password by a new random one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateUserPassword {}

/// What the server keeps of the password; none when there is no such role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    password: Option<Password>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let exists = Field::new("exists", self.password.is_some());
        std::iter::once(exists).chain(self.password.as_ref().map(Password::field)).collect()
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        match &self.password {
            Some(password) => json!({ "exists": true, "password": password.fingerprinted(key) }),
            None => json!({ "exists": false }),
        }
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl RotateUserPassword {
    /// Brings the stored password from `from` to `to`; answers whether it had to change.
    async fn store(
        session: &Session,
        cx: &StepContext,
        from: &Password,
        to: &Password,
    ) -> Result<bool, ConnectorError> {
        let name = role_of(&cx.step.target)?;
        let clause = to.clause().ok_or_else(unreadable)?;
        let work = session.begin(&session.account.database, cx.deadline).await?;
        work.lock_role(session, &name).await?;
        if Role::find(work.reader(), &name).await?.is_none() {
            return Err(gone(&name));
        }
        let now = Password::read(work.reader(), &name).await?;
        if now == *to {
            return Ok(false);
        }
        if now != *from || now == Password::Unreadable {
            return Err(moved(&name));
        }
        work.reader().batch(&format!("ALTER ROLE {} {clause}", name.sql())).await?;
        work.commit().await?;
        Ok(true)
    }
}

fn unreadable() -> ConnectorError {
    ConnectorError::invalid("the password that was there could not be read, so it cannot come back")
}

impl Action for RotateUserPassword {
    type Connector = Postgres;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "rotate_user_password",
        title: "Rotate a role's password",
        description: "Gives the role a new random password, which is handed over once. Only its \
                      SCRAM-SHA-256 verifier goes to the server. Sessions that are open stay open; \
                      VALID UNTIL stays as it is.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[ROLE],
        permissions: &[
            "CREATEROLE with ADMIN OPTION on the role, or superuser",
            "SELECT on pg_authid (rolname, rolpassword), to verify and to be able to undo it",
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
        let name = role_of(target)?;
        let reader = session.reader();
        Ok(State {
            password: match Role::find(reader, &name).await? {
                Some(_) => Some(Password::read(reader, &name).await?),
                None => None,
            },
        })
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = role_of(target)?;
        let role = Role::find(session.reader(), &name).await?;
        let mut checks = target_checks(session, &name, role.as_ref());
        if role.is_some() {
            checks.push(password_check(session));
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        NewPassword::generate()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let before = state.password.as_ref().map_or(Value::Null, |p| p.field().value);
        Description {
            diff: vec![line(target, "password", before, "a new SCRAM-SHA-256 verifier")],
            summary: format!(
                "Role {} gets a new random password; the old one stops working for new sessions.",
                target.name
            ),
            rollback: format!(
                "The stored verifier of the old password of role {} is put back.",
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
        let from = before.state.password.as_ref().ok_or_else(unreadable)?;
        let to = Password::Stored(before.prepared.verifier.clone());
        let changed = Self::store(session, cx, from, &to).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.password.as_ref().is_some_and(|password| password.is(&before.prepared.verifier))
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![Produced { name: "password".to_owned(), value: before.prepared.clear.clone() }]
    }
}

impl Reversible for RotateUserPassword {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let from = Password::Stored(before.prepared.verifier.clone());
        let to = before.state.password.as_ref().ok_or_else(unreadable)?;
        Self::store(session, cx, &from, to).await
    }
}

/// Whether the stored password can be read, without which there is no way back.
pub fn password_check(session: &Session) -> Check {
    let account = &session.account;
    check(
        "the stored password can be read, so that it can come back",
        account.reads_passwords,
        if account.reads_passwords {
            "pg_authid is readable".to_owned()
        } else {
            format!(
                "as a superuser run: GRANT SELECT (rolname, rolpassword) ON pg_authid TO {}",
                account.name.sql()
            )
        },
    )
}
