//! `postgres.revoke_all_privileges`: nothing is left that the role holds directly in one schema.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::acl::{self, Grant};
use super::login::{gone, moved};
use super::role::{ROLE, Role, role_of, target_checks};
use super::session::Reader;
use super::sql::Name;
use super::{Postgres, Session};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Takes every privilege that the role holds directly in one schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllPrivileges {
    /// Schema of the connection's database.
    schema: Name,
}

/// What the role holds directly in the schema.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    role_exists: bool,
    schema_exists: bool,
    grants: Vec<Grant>,
}

/// What was taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Number of objects and columns.
    revoked: usize,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let mut fields = vec![
            Field::new("role_exists", self.role_exists),
            Field::new("schema_exists", self.schema_exists),
        ];
        fields.extend(acl::fields(&self.grants));
        fields
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({
            "role_exists": self.role_exists,
            "schema_exists": self.schema_exists,
            "grants": self.grants,
        })
    }
}

impl RevokeAllPrivileges {
    async fn read(
        &self,
        session: &Session,
        reader: &Reader,
        role: Option<&Role>,
    ) -> Result<State, ConnectorError> {
        let schema = reader
            .optional("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&self.schema.as_str()])
            .await?;
        Ok(State {
            role_exists: role.is_some(),
            schema_exists: schema.is_some(),
            grants: match role {
                Some(role) => acl::held(session, reader, role.oid, Some(&self.schema)).await?,
                None => Vec::new(),
            },
        })
    }

    async fn ownership_check(&self, reader: &Reader, role: &Role) -> Result<Check, ConnectorError> {
        let owned: i64 = reader
            .row(
                "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $2 AND nspowner = $1) \
                      + (SELECT count(*) FROM pg_class c JOIN pg_namespace n \
                           ON n.oid = c.relnamespace WHERE nspname = $2 AND relowner = $1) \
                      + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n \
                           ON n.oid = p.pronamespace WHERE nspname = $2 AND proowner = $1) \
                      + (SELECT count(*) FROM pg_type t JOIN pg_namespace n \
                           ON n.oid = t.typnamespace WHERE nspname = $2 AND typowner = $1)",
                &[&role.oid, &self.schema.as_str()],
            )
            .await?
            .get(0)?;
        let name = &role.name;
        Ok(check(
            "the role owns nothing in the schema",
            owned == 0,
            if owned == 0 {
                format!("{name} owns nothing in {}", self.schema)
            } else {
                format!(
                    "{name} owns {owned} objects in {}, and owners can always give themselves \
                     everything: give them to another owner first",
                    self.schema
                )
            },
        ))
    }
}

impl Action for RevokeAllPrivileges {
    type Connector = Postgres;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "revoke_all_privileges",
        title: "Revoke all privileges in a schema",
        description: "Takes every privilege that the role holds directly in one schema of the \
                      connection's database: on the schema, its tables, columns, sequences, \
                      routines and types, and its default privileges there. What the role may do \
                      through PUBLIC or through other roles stays.",
        effect_class: EffectClass::Verifiable,
        base_risk: 7,
        target_types: &[ROLE],
        permissions: &[
            "Membership in the owners of the objects and in other grantors, or superuser",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "schema": "public" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        let reader = session.reader();
        let role = Role::find(reader, &role_of(target)?).await?;
        self.read(session, reader, role.as_ref()).await
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
        let (schema, database) = (&self.schema, &session.account.database);
        let mut checks = target_checks(session, &name, role.as_ref());
        // Changing its privileges is not changing the role itself.
        checks.retain(|check| check.name != "the connection may change the role");
        checks.push(check(
            "the schema exists",
            state.schema_exists,
            if state.schema_exists {
                format!("{schema} is in database {database}")
            } else {
                format!("there is no schema {schema} in database {database}")
            },
        ));
        let Some(role) = role else { return Ok(checks) };
        checks.push(check(
            "privileges bind the role",
            !role.superuser,
            if role.superuser {
                format!("{name} is a superuser: no privilege is ever asked of it")
            } else {
                format!("{name} is not a superuser")
            },
        ));
        checks.push(self.ownership_check(reader, &role).await?);
        let passed_on = acl::passed_on(session, reader, role.oid, Some(schema)).await?;
        checks.push(check(
            "nobody else's privileges rest on them",
            passed_on.is_empty(),
            if passed_on.is_empty() {
                format!("{name} has passed nothing on")
            } else {
                format!("revoke first what {name} passed on: {}", passed_on.join("; "))
            },
        ));
        checks.push(acl::grantor_check(session, reader, &state.grants).await?);
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let fields = acl::fields(&state.grants);
        let (role, schema, count) = (&target.name, &self.schema, fields.len());
        Description {
            diff: fields
                .into_iter()
                .map(|field| line(target, field.name, field.value, Value::Null))
                .collect(),
            summary: format!(
                "Role {role} loses its direct privileges on {count} objects in schema {schema}."
            ),
            rollback: format!(
                "Role {role} gets exactly these privileges back, with grant options and grantors."
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
        let role = Role::find(work.reader(), &name).await?.ok_or_else(|| gone(&name))?;
        let now = self.read(session, work.reader(), Some(&role)).await?;
        if now.schema_exists && now.grants.is_empty() {
            return Ok(Effect { changed: false, outcome: Outcome { revoked: 0 } });
        }
        if now != before.state {
            return Err(moved(&name));
        }
        acl::take(&work, &name, &now.grants).await?;
        let left = self.read(session, work.reader(), Some(&role)).await?;
        if !left.grants.is_empty() {
            return Err(ConnectorError::conflict(format!(
                "the server kept {} of the privileges; nothing was changed",
                left.grants.len()
            )));
        }
        work.commit().await?;
        Ok(Effect { changed: true, outcome: Outcome { revoked: acl::fields(&now.grants).len() } })
    }

    fn verify(&self, now: &State, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.role_exists && now.schema_exists && now.grants.is_empty()
    }
}

impl Reversible for RevokeAllPrivileges {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let name = role_of(&cx.step.target)?;
        let work = session.begin(&session.account.database, cx.deadline).await?;
        work.lock_role(session, &name).await?;
        let role = Role::find(work.reader(), &name).await?.ok_or_else(|| gone(&name))?;
        let now = self.read(session, work.reader(), Some(&role)).await?;
        if now == before.state {
            return Ok(false);
        }
        if !now.grants.is_empty() {
            return Err(moved(&name));
        }
        acl::give(&work, &name, &before.state.grants).await?;
        let restored = self.read(session, work.reader(), Some(&role)).await?;
        if restored != before.state {
            return Err(ConnectorError::conflict(
                "the server did not restore exactly the same privileges; nothing was changed",
            ));
        }
        work.commit().await?;
        Ok(true)
    }
}
