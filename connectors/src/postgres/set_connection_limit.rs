//! `postgres.set_connection_limit`: how many sessions a role may have open at a time.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::login::{gone, moved};
use super::role::{ROLE, Role, role_of, target_checks};
use super::session::Reader;
use super::sql::Name;
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, line,
};

/// Limits how many sessions the role may have open at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConnectionLimit {
    /// Sessions at a time; −1 is no limit, 0 lets nobody in.
    #[schemars(range(min = -1, max = 1_000_000))]
    limit: i32,
}

/// The limit; none when there is no such role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    limit: Option<i32>,
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("connection_limit", self.limit)]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "connection_limit": self.limit })
    }
}

impl State {
    async fn read(reader: &Reader, name: &Name) -> Result<Self, ConnectorError> {
        let row = reader
            .optional("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", &[&name.as_str()])
            .await?;
        Ok(Self { limit: row.map(|row| row.get(0)).transpose()? })
    }
}

/// Brings the limit from `from` to `to`; answers whether anything had to change.
async fn set(
    session: &Session,
    cx: &StepContext,
    from: Option<i32>,
    to: i32,
) -> Result<bool, ConnectorError> {
    let name = role_of(&cx.step.target)?;
    let work = session.begin(&session.account.database, cx.deadline).await?;
    work.lock_role(session, &name).await?;
    let now = State::read(work.reader(), &name).await?.limit.ok_or_else(|| gone(&name))?;
    if now == to {
        return Ok(false);
    }
    if Some(now) != from {
        return Err(moved(&name));
    }
    work.reader().batch(&format!("ALTER ROLE {} CONNECTION LIMIT {to}", name.sql())).await?;
    work.commit().await?;
    Ok(true)
}

/// As people say it.
fn words(limit: i32) -> String {
    match limit {
        ..0 => "as many sessions as the server has room for".to_owned(),
        0 => "no session".to_owned(),
        1 => "1 session".to_owned(),
        many => format!("{many} sessions"),
    }
}

impl Action for SetConnectionLimit {
    type Connector = Postgres;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "set_connection_limit",
        title: "Set a role's connection limit",
        description: "Limits how many sessions the role may have open at a time. Sessions that are \
                      open stay open, also when they are more. Superusers are not held to it.",
        effect_class: EffectClass::Verifiable,
        base_risk: 4,
        target_types: &[ROLE],
        permissions: &["CREATEROLE with ADMIN OPTION on the role, or superuser"],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "limit": 20 })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        State::read(session.reader(), &role_of(target)?).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        _: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = role_of(target)?;
        let role = Role::find(session.reader(), &name).await?;
        Ok(target_checks(session, &name, role.as_ref()))
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let differs = state.limit.filter(|limit| *limit != self.limit);
        let before = differs.map(|before| line(target, "connection_limit", before, self.limit));
        let back = state.limit.map_or_else(|| "what it could before".to_owned(), words);
        Description {
            diff: before.into_iter().collect(),
            summary: format!("Role {} can have {} open at a time.", target.name, words(self.limit)),
            rollback: format!("Role {} can have {back} open at a time again.", target.name),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let changed = set(session, cx, before.state.limit, self.limit).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.limit == Some(self.limit)
    }
}

impl Reversible for SetConnectionLimit {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        match before.state.limit {
            Some(limit) => set(session, cx, Some(self.limit), limit).await,
            None => Err(ConnectorError::invalid("there was no role before: nothing to restore")),
        }
    }
}
