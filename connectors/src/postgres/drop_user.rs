//! `postgres.drop_user`: a role that owns nothing is gone, and can be made again.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::acl;
use super::definition::Definition;
use super::login::moved;
use super::role::{ROLE, Role, role_of, sessions, target_checks};
use super::rotate_user_password::password_check;
use super::session::Reader;
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Drops a role that owns nothing and is not logged in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropUser {}

/// The whole role; none when it is gone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    role: Option<Definition>,
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let exists = Field::new("exists", self.role.is_some());
        std::iter::once(exists).chain(self.role.iter().flat_map(Definition::fields)).collect()
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        json!({ "role": self.role.as_ref().map(|role| role.fingerprinted(key)) })
    }
}

impl State {
    async fn read(
        session: &Session,
        reader: &Reader,
        role: Option<&Role>,
    ) -> Result<Self, ConnectorError> {
        Ok(Self {
            role: match role {
                Some(role) => Some(Definition::read(session, reader, role).await?),
                None => None,
            },
        })
    }
}

/// What stands in the way of dropping the role, beyond what every action asks.
async fn drop_checks(
    session: &Session,
    reader: &Reader,
    role: &Role,
    definition: &Definition,
) -> Result<Vec<Check>, ConnectorError> {
    let name = &role.name;
    let open = sessions(reader, role.oid).await?;
    let owned = dependencies(reader, role.oid, OWNED).await?;
    let elsewhere = dependencies(reader, role.oid, ELSEWHERE).await?;
    let passed_on = acl::passed_on(session, reader, role.oid, None).await?;
    let strange = dependencies(reader, role.oid, STRANGE).await?;
    let granted = dependencies(reader, role.oid, GRANTED).await?;
    let obstacles = definition.obstacles(session, reader).await?;
    let none = |list: &[String], fine: String, bad: &str| {
        let ok = list.is_empty();
        (ok, if ok { fine } else { format!("{bad}: {}", list.join("; ")) })
    };
    let answer = |name: &str, (ok, detail): (bool, String)| check(name, ok, detail);
    Ok(vec![
        check(
            "the role is not logged in",
            open == 0,
            if open == 0 {
                format!("{name} has no open sessions")
            } else {
                format!("{name} has {open} open sessions: lock the role first, which ends them")
            },
        ),
        answer(
            "the role owns nothing",
            none(&owned, format!("{name} owns nothing"), "give to another owner first"),
        ),
        answer(
            "the role has privileges in this database only",
            none(
                &elsewhere,
                format!("all privileges of {name} are where they can be captured"),
                "they can only be captured from a connection to that database; revoke there first",
            ),
        ),
        answer(
            "nobody else's privileges rest on the role's",
            none(&passed_on, format!("{name} has passed nothing on"), "revoke first"),
        ),
        answer(
            "nobody's membership was granted by the role",
            none(
                &granted,
                format!("{name} has granted no membership"),
                "grant anew as another role",
            ),
        ),
        answer(
            "everything of the role can be captured",
            none(&strange, "nothing else is there".to_owned(), "remove first"),
        ),
        answer(
            "the connection could make the role again",
            none(
                &obstacles,
                format!("{} has the rights", session.account.name),
                "connect as a superuser, or change first",
            ),
        ),
        acl::grantor_check(session, reader, &definition.grants).await?,
        password_check(session),
    ])
}

const OWNED: &str = "SELECT coalesce('in database ' || d.datname, 'shared by all databases') \
         || ': ' || count(*) || ' of ' || s.classid::regclass::text \
     FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid \
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND s.deptype = 'o' \
     GROUP BY d.datname, s.classid ORDER BY 1";

const ELSEWHERE: &str = "SELECT DISTINCT d.datname::text \
     FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND s.deptype <> 'o' \
       AND d.datname <> current_database() ORDER BY 1";

/// Neither ownership nor privileges on a kind of object that [`acl`] knows: policies, security labels.
const STRANGE: &str = "SELECT DISTINCT CASE s.deptype WHEN 'r' THEN 'row security policies' \
         ELSE 'entries of ' || s.classid::regclass::text END \
     FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid \
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND s.deptype <> 'o' \
       AND coalesce(d.datname, current_database()) = current_database() \
       AND NOT (s.deptype = 'a' AND s.classid::regclass::text IN ('pg_namespace', 'pg_class', \
         'pg_proc', 'pg_type', 'pg_default_acl', 'pg_database', 'pg_tablespace', 'pg_language', \
         'pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_largeobject', \
         'pg_largeobject_metadata', 'pg_parameter_acl')) \
     UNION ALL SELECT 'security labels' FROM pg_shseclabel \
     WHERE classoid = 'pg_authid'::regclass AND objoid = $1 ORDER BY 1";

const GRANTED: &str = "SELECT pg_get_userbyid(member) || ' in ' || pg_get_userbyid(roleid) \
     FROM pg_auth_members WHERE grantor = $1 ORDER BY 1";

async fn dependencies(reader: &Reader, oid: u32, sql: &str) -> Result<Vec<String>, ConnectorError> {
    reader.rows(sql, &[&oid]).await?.iter().map(|row| row.get(0)).collect()
}

impl Action for DropUser {
    type Connector = Postgres;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "drop_user",
        title: "Drop a role",
        description: "Drops a role that owns nothing, passed nothing on and is not logged in. Its \
                      attributes, password verifier, comment, memberships, settings and direct \
                      privileges are captured and can be restored; a restored role has a new \
                      object id.",
        effect_class: EffectClass::Verifiable,
        base_risk: 8,
        target_types: &[ROLE],
        permissions: &[
            "CREATEROLE with ADMIN OPTION on the role, or superuser",
            "SELECT on pg_authid (rolname, rolpassword), to be able to undo it",
            "Membership in whoever granted the role's privileges, or superuser",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({})
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        let reader = session.reader();
        let role = Role::find(reader, &role_of(target)?).await?;
        State::read(session, reader, role.as_ref()).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let name = role_of(target)?;
        let reader = session.reader();
        let role = Role::find(reader, &name).await?;
        let mut checks = target_checks(session, &name, role.as_ref());
        if let (Some(role), Some(definition)) = (role, &state.role) {
            checks.extend(drop_checks(session, reader, &role, definition).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let fields = state.role.as_ref().map(Definition::fields).unwrap_or_default();
        let exists = line(target, "exists", state.role.is_some(), false);
        Description {
            diff: std::iter::once(exists)
                .chain(fields.into_iter().map(|f| line(target, f.name, f.value, Value::Null)))
                .filter(|line| line.before != line.after)
                .collect(),
            summary: format!("Role {} is dropped.", target.name),
            rollback: format!(
                "Role {} is made again with the same attributes, password, memberships, settings \
                 and privileges, under a new object id.",
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
        let name = role_of(&cx.step.target)?;
        let work = session.begin(&session.account.database, cx.deadline).await?;
        work.lock_role(session, &name).await?;
        let Some(role) = Role::find(work.reader(), &name).await? else {
            return Ok(Effect { changed: false, outcome: Outcome {} });
        };
        let now = State::read(session, work.reader(), Some(&role)).await?;
        if now != before.state {
            return Err(moved(&name));
        }
        if let Some(definition) = &now.role {
            let checks = drop_checks(session, work.reader(), &role, definition).await?;
            if let Some(no) = checks.into_iter().find(|check| !check.ok) {
                let message = format!("{}: {}; nothing was changed", no.name, no.detail);
                return Err(ConnectorError::conflict(message));
            }
            acl::take(&work, &name, &definition.grants).await?;
        }
        // Fails, as it should, when something still rests on the role.
        work.reader().batch(&format!("DROP ROLE {}", name.sql())).await?;
        work.commit().await?;
        Ok(Effect { changed: true, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.role.is_none()
    }
}

impl Reversible for DropUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let name = role_of(&cx.step.target)?;
        let Some(definition) = &before.state.role else {
            return Err(ConnectorError::invalid("there was no role before: nothing to restore"));
        };
        let work = session.begin(&session.account.database, cx.deadline).await?;
        work.lock_role(session, &name).await?;
        if let Some(role) = Role::find(work.reader(), &name).await? {
            let now = State::read(session, work.reader(), Some(&role)).await?;
            return if now == before.state { Ok(false) } else { Err(moved(&name)) };
        }
        let role = definition.create(session, &work, &name).await?;
        acl::give(&work, &name, &definition.grants).await?;
        let restored = State::read(session, work.reader(), Some(&role)).await?;
        if restored != before.state {
            return Err(ConnectorError::conflict(
                "the server did not restore exactly the same role; nothing was changed",
            ));
        }
        work.commit().await?;
        Ok(true)
    }
}
