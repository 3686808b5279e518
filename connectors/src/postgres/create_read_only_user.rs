//! `postgres.create_read_only_user`: a new role that can read the tables of one schema.

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Postgres;
use super::acl::{self, Grant, Kind};
use super::definition::{Attributes, Definition};
use super::error::after_commit;
use super::login::moved;
use super::password::{NewPassword, Password};
use super::role::{DATABASE, Role, database_of, end_sessions};
use super::session::{Reader, Session, Work};
use super::sql::{Name, ident};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    Produced, Reversible, StepContext, TargetState, check, line,
};

/// Makes a role that can log in and read the tables of one schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateReadOnlyUser {
    /// Name of the new role.
    user: Name,
    /// Schema of the target database that it may read.
    schema: Name,
}

/// The role, as far as there is one, and what it could read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The schema whose tables it is about.
    schema: Name,
    schema_exists: bool,
    role: Option<Definition>,
    /// Tables of the schema that the role may not read. Others make tables as they like, so this is
    /// shown and verified but not fingerprinted.
    unreadable_tables: i64,
    /// Who makes tables in the schema: its owner and the owners of its tables. Not fingerprinted.
    creators: Vec<String>,
}

/// What was made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// External key of the new role.
    role: String,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let mut fields = vec![
            Field::new("schema_exists", self.schema_exists),
            Field::new("user_exists", self.role.is_some()),
        ];
        if let Some(role) = &self.role {
            fields.push(Field::new("unreadable_tables", self.unreadable_tables));
            fields.extend(role.fields());
        }
        fields
    }

    fn fingerprinted(&self, key: &DigestKey) -> Value {
        let role = self.role.as_ref().map(|role| {
            let mut role = role.clone();
            role.grants.retain(|grant| !is_reading(grant, &self.schema));
            role.fingerprinted(key)
        });
        json!({ "schema_exists": self.schema_exists, "role": role })
    }
}

/// SELECT on a table of the schema: what new tables add by themselves.
fn is_reading(grant: &Grant, schema: &Name) -> bool {
    let prefix = |name: String| grant.object.starts_with(&format!("{name}."));
    grant.kind == Kind::Table
        && grant.column.is_none()
        && !grant.grantable
        && grant.privileges == ["SELECT"]
        && (prefix(schema.to_string()) || prefix(schema.sql()))
}

impl CreateReadOnlyUser {
    async fn read(&self, session: &Session, reader: &Reader) -> Result<State, ConnectorError> {
        let owner: Option<String> = reader
            .optional(
                "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = $1",
                &[&self.schema.as_str()],
            )
            .await?
            .map(|row| row.get(0))
            .transpose()?;
        let creators = reader
            .rows(
                &format!(
                    "SELECT DISTINCT pg_get_userbyid(c.relowner)::text COLLATE \"C\" {TABLES} \
                     UNION SELECT pg_get_userbyid(nspowner)::text COLLATE \"C\" \
                     FROM pg_namespace WHERE nspname = $1 ORDER BY 1"
                ),
                &[&self.schema.as_str()],
            )
            .await?;
        let role = Role::find(reader, &self.user).await?;
        let (definition, unreadable_tables) = match &role {
            Some(role) => {
                let sql = format!(
                    "SELECT count(*) {TABLES} AND NOT has_table_privilege($2::oid, c.oid, 'SELECT')"
                );
                let row = reader.row(&sql, &[&self.schema.as_str(), &role.oid]).await?;
                (Some(Definition::read(session, reader, role).await?), row.get(0)?)
            }
            None => (None, 0),
        };
        Ok(State {
            schema: self.schema.clone(),
            schema_exists: owner.is_some(),
            role: definition,
            unreadable_tables,
            creators: creators.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the state is what the effect leaves.
    fn is_there(now: &State, verifier: &crate::sdk::SecretText) -> bool {
        let Some(role) = &now.role else { return false };
        let has = |kind: Kind, privilege: &str| {
            role.grants
                .iter()
                .any(|g| g.kind == kind && g.privileges.iter().any(|p| p == privilege))
        };
        // Who may not read the stored password is left with everything else, which nobody but us
        // can have made: before, there was no such role.
        let password = role.password.is(verifier) || role.password == Password::Unreadable;
        let reads_future = |creator: &String| {
            role.grants.iter().any(|g| g.kind == Kind::DefaultTables && g.owner == *creator)
        };
        password
            && role.attributes == Attributes::PLAIN_LOGIN
            && has(Kind::Database, "CONNECT")
            && has(Kind::Schema, "USAGE")
            && now.unreadable_tables == 0
            && now.creators.iter().all(reads_future)
    }

    /// The statements, in the order in which they run.
    fn statements(&self, database: &Name, state: &State, password: &Password) -> Vec<String> {
        let (user, schema) = (self.user.sql(), self.schema.sql());
        let clause = password.clause().unwrap_or_default();
        let mut sql = vec![
            format!("CREATE ROLE {user} {} {clause}", Attributes::PLAIN_LOGIN.clause()),
            format!("GRANT CONNECT ON DATABASE {} TO {user}", database.sql()),
            format!("GRANT USAGE ON SCHEMA {schema} TO {user}"),
            format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}"),
        ];
        sql.extend(state.creators.iter().map(|creator| {
            format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {schema} \
                 GRANT SELECT ON TABLES TO {user}",
                ident(creator)
            )
        }));
        sql
    }

    async fn rights_check(
        &self,
        session: &Session,
        reader: &Reader,
        creators: &[String],
    ) -> Result<Check, ConnectorError> {
        let name = "the connection may grant reading";
        let account = &session.account;
        if account.superuser {
            return Ok(check(name, true, format!("{} is a superuser", account.name)));
        }
        let rows = reader
            .rows(
                "SELECT DISTINCT quote_ident(rolname) FROM pg_roles \
                 WHERE (rolname = ANY ($1::text[]) \
                     OR oid = (SELECT datdba FROM pg_database WHERE datname = current_database())) \
                   AND NOT pg_has_role(oid, 'USAGE') ORDER BY 1",
                &[&creators],
            )
            .await?;
        let missing = rows.iter().map(|row| row.get(0)).collect::<Result<Vec<String>, _>>()?;
        let own = account.name.sql();
        Ok(if missing.is_empty() {
            check(name, true, format!("{} has the rights of all owners", account.name))
        } else {
            let roles = missing.join(", ");
            check(name, false, format!("as a superuser run: GRANT {roles} TO {own}"))
        })
    }

    async fn drop(&self, work: &Work, definition: &Definition) -> Result<(), ConnectorError> {
        acl::take(work, &self.user, &definition.grants).await?;
        // Fails, as it should, when the role has come to own something or has rights elsewhere.
        work.reader().batch(&format!("DROP ROLE {}", self.user.sql())).await
    }
}

/// Tables, views, materialised views, foreign and partitioned tables of a schema.
const TABLES: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'm', 'f', 'p')";

impl Action for CreateReadOnlyUser {
    type Connector = Postgres;
    type State = State;
    type Prepared = NewPassword;
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "create_read_only_user",
        title: "Create a read-only user",
        description: "Makes a role with a random password, handed over once, that may connect to \
                      the database and read all tables of one schema, also those that the schema's \
                      owner and the present tables' owners make later. What PUBLIC may do, it may \
                      do too.",
        effect_class: EffectClass::Verifiable,
        base_risk: 3,
        target_types: &[DATABASE],
        permissions: &[
            "CREATEROLE or superuser",
            "Membership in the owners of the database, the schema and its tables, or superuser",
        ],
        produces: &["password"],
    };

    fn example() -> Value {
        json!({ "user": "report_reader", "schema": "public" })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        match session.reader_of(&database_of(target)?).await {
            Ok(reader) => self.read(session, &reader).await,
            // No such database: nothing of it can be there.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(State {
                schema: self.schema.clone(),
                schema_exists: false,
                role: None,
                unreadable_tables: 0,
                creators: Vec::new(),
            }),
            Err(error) => Err(error),
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let (user, schema, account) = (&self.user, &self.schema, &session.account);
        let database = database_of(target)?;
        let free = state.role.is_none();
        let reserved =
            user.as_str().starts_with("pg_") || matches!(user.as_str(), "public" | "none");
        let may = account.superuser || account.create_role;
        let mut checks = vec![
            check(
                "the name can be used",
                !reserved,
                if reserved {
                    format!("PostgreSQL keeps {user} for itself: choose another name")
                } else {
                    format!("{user} is an ordinary name")
                },
            ),
            check(
                "the name is free",
                free,
                if free {
                    format!("there is no role {user} yet")
                } else {
                    format!("there is a role {user} already: choose another name")
                },
            ),
            check(
                "the schema exists",
                state.schema_exists,
                if state.schema_exists {
                    format!("{schema} is in database {database}")
                } else {
                    format!("there is no schema {schema} in database {database}")
                },
            ),
            check(
                "the connection may make roles",
                may,
                if may {
                    format!("{} has the rights", account.name)
                } else {
                    format!("as a superuser run: ALTER ROLE {} CREATEROLE", account.name.sql())
                },
            ),
        ];
        if state.schema_exists {
            let reader = session.reader_of(&database).await?;
            checks.push(self.rights_check(session, &reader, &state.creators).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<NewPassword, ConnectorError> {
        NewPassword::generate()
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let (user, schema, database) = (&self.user, &self.schema, &target.name);
        let mut diff = vec![
            line(target, format!("role {user}"), Value::Null, "can log in, random password"),
            line(target, format!("privileges of {user} on {database}"), Value::Null, "CONNECT"),
            line(target, format!("privileges of {user} on schema {schema}"), Value::Null, "USAGE"),
            line(
                target,
                format!("privileges of {user} on all tables in {schema}"),
                Value::Null,
                "SELECT",
            ),
        ];
        diff.extend(state.creators.iter().map(|creator| {
            let field = format!("privileges of {user} on future tables of {creator} in {schema}");
            line(target, field, Value::Null, "SELECT")
        }));
        Description {
            diff,
            summary: format!("A new role {user} can read schema {schema} of database {database}."),
            rollback: format!(
                "Role {user} is dropped with its privileges; its sessions are ended."
            ),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let outcome = || Outcome { role: super::role::role_key(self.user.as_str()) };
        let database = database_of(&cx.step.target)?;
        let verifier = &before.prepared.verifier;
        let work = session.begin(&database, cx.deadline).await?;
        work.lock_role(session, &self.user).await?;
        let now = self.read(session, work.reader()).await?;
        if now.role.is_some() {
            return if Self::is_there(&now, verifier) && before.state.role.is_none() {
                Ok(Effect { changed: false, outcome: outcome() })
            } else {
                Err(moved(&self.user))
            };
        }
        let password = Password::Stored(verifier.clone());
        let statements = self.statements(&database, &now, &password);
        work.reader().batch(&statements.join("; ")).await?;
        // Granting what one may not grant is a warning in SQL; here it is a failure.
        let then = self.read(session, work.reader()).await?;
        if !Self::is_there(&then, verifier) {
            return Err(ConnectorError::new(
                ErrorKind::Forbidden,
                crate::sdk::Advice::Never,
                "the server did not grant everything; nothing was changed",
            ));
        }
        work.commit().await?;
        Ok(Effect { changed: true, outcome: outcome() })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        before.state.role.is_none() && Self::is_there(now, &before.prepared.verifier)
    }

    fn produced(&self, before: &Before<Self>) -> Vec<Produced> {
        vec![Produced { name: "password".to_owned(), value: before.prepared.clear.clone() }]
    }
}

impl Reversible for CreateReadOnlyUser {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        if before.state.role.is_some() {
            return Err(ConnectorError::invalid(
                "the role was there before: it is not ours to drop",
            ));
        }
        let work = session.begin(&database_of(&cx.step.target)?, cx.deadline).await?;
        work.lock_role(session, &self.user).await?;
        let Some(role) = Role::find(work.reader(), &self.user).await? else { return Ok(false) };
        let definition = Definition::read(session, work.reader(), &role).await?;
        let ours = definition.password.is(&before.prepared.verifier)
            || definition.password == Password::Unreadable;
        if !ours {
            return Err(moved(&self.user));
        }
        self.drop(&work, &definition).await?;
        let reader = work.commit().await?;
        end_sessions(&reader, role.oid).await.map_err(after_commit)?;
        Ok(true)
    }
}
