//! A PostgreSQL target for one test: sessions of the connector on one side, the administrator's own
//! look at the server on the other.

use nexplane_connectors::sdk::{AnyAction, AnySession, ConnectorError};
use nexplane_core::plan::TargetRef;
use nexplane_store::testing::TargetServer;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};

use super::cases;
use crate::fixture::{action, context, open, target};
use crate::suite::{Account, Case, Login, Peer};

/// Password of every account that a test makes.
pub const PASSWORD: &str = "correct-horse-battery";

pub struct Bench {
    pub server: TargetServer,
}

impl Bench {
    pub async fn new() -> Self {
        Self { server: TargetServer::new().await }
    }

    pub fn action(&self, id: &str) -> &'static dyn AnyAction {
        action(id)
    }

    /// Credentials of the superuser, `verify-full`.
    pub fn credentials(&self) -> Value {
        self.credentials_of(self.server.username(), self.server.password())
    }

    pub fn credentials_of(&self, username: &str, password: &str) -> Value {
        json!({
            "host": self.server.host(),
            "port": self.server.port(),
            "database": self.server.database(),
            "username": username,
            "password": password,
            "ca_certificate": self.server.ca_pem(),
        })
    }

    pub async fn open(&self, credentials: Value) -> Result<Box<dyn AnySession>, ConnectorError> {
        open("postgres", credentials, &context()).await
    }

    pub async fn session(&self) -> Box<dyn AnySession> {
        self.open(self.credentials()).await.expect("the superuser can connect")
    }

    pub async fn session_of(&self, role: &str) -> Box<dyn AnySession> {
        self.open(self.credentials_of(role, PASSWORD)).await.expect("the account can connect")
    }

    /// Runs statements as the administrator, behind the connector's back.
    pub async fn sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.server.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    pub async fn scalar(&self, sql: &str) -> Option<String> {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.server.admin().await)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{sql}"));
        row.get(0)
    }

    /// A role of this test that can log in with [`PASSWORD`].
    pub async fn role(&self, name: &str) -> String {
        self.role_by(name, None).await
    }

    /// The same, made by an account: from version 16 on, only who made a role may change it.
    pub async fn role_by(&self, name: &str, actor: Option<&str>) -> String {
        let role = self.server.role(name);
        let by = actor.map_or(String::new(), |actor| format!("SET ROLE \"{actor}\";"));
        self.sql(&format!("{by} CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}'")).await;
        role
    }

    /// An account that is no superuser and has exactly what the actions say they need.
    pub async fn manager(&self) -> String {
        let manager = self.role("manager").await;
        self.sql(&format!(
            "ALTER ROLE \"{manager}\" CREATEROLE CREATEDB; GRANT pg_signal_backend TO \"{manager}\"; \
             GRANT SELECT (rolname, rolpassword) ON pg_authid TO \"{manager}\"; \
             ALTER DATABASE \"{}\" OWNER TO \"{manager}\"",
            self.server.database()
        ))
        .await;
        manager
    }

    /// A real login over TLS, as the role.
    pub async fn log_in(&self, role: &str, password: &str) -> Result<PgConnection, sqlx::Error> {
        self.server.options().username(role).password(password).connect().await
    }

    /// Everything of this test's roles and database that an action could move, read without the
    /// connector: no object ids, explicit default lists and absent ones alike, lists sorted.
    pub async fn witness(&self) -> String {
        let sql = WITNESS.replace("$1", &format!("'{}'", self.server.role("")));
        self.scalar(&sql).await.expect("the witness always answers")
    }
}

impl Peer for Bench {
    const CONNECTOR: &'static str = "postgres";
    const WHAT_TO_DO: &'static str = "as a superuser run: ";

    async fn start() -> Self {
        Self::new().await
    }

    async fn login(&self, account: Account) -> Login {
        let (name, password) = match account {
            Account::Full => (self.server.username().to_owned(), self.server.password()),
            Account::Manager => (self.manager().await, PASSWORD),
            Account::Weak => (self.role("weak").await, PASSWORD),
        };
        let credentials = self.credentials_of(&name, password);
        Login { account, name, credentials }
    }

    fn address(&self) -> (String, u16) {
        (self.server.host().to_owned(), self.server.port())
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        credentials["password"] = json!("wrong-password");
        credentials
    }

    async fn prepare(&self, action: &str, login: &Login) -> Case {
        let actor = (login.account == Account::Manager).then_some(login.name.as_str());
        let case = cases::prepare(self, action, actor).await;
        let never = if case.target.kind == "postgres_role" {
            ["nobody of this name", self.server.username(), "pg_monitor"].map(role_target).to_vec()
        } else {
            vec![database_target("no such database")]
        };
        Case { never, ..case }
    }

    async fn disturb(&self, case: &Case) {
        self.sql(&case.disturbance).await;
    }

    async fn witness(&self) -> String {
        Self::witness(self).await
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server.password().to_owned(), PASSWORD.to_owned()]
    }
}

const WITNESS: &str = "
    WITH mine AS (SELECT * FROM pg_authid WHERE starts_with(rolname, $1)),
    acl (object, item) AS (
        SELECT 'schema ' || nspname, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
        WHERE nspname !~ '^pg_'
      UNION ALL
        SELECT 'relation ' || oid::regclass,
               coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))
        FROM pg_class WHERE relkind IN ('r','v','m','f','p','S') AND oid >= 16384
      UNION ALL
        SELECT 'column ' || attrelid::regclass || '.' || attname, attacl FROM pg_attribute
        WHERE attrelid >= 16384
      UNION ALL
        SELECT 'routine ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc WHERE oid >= 16384
      UNION ALL
        SELECT 'type ' || oid::regtype, coalesce(typacl, acldefault('T', typowner))
        FROM pg_type WHERE oid >= 16384
      UNION ALL
        SELECT 'default ' || defaclrole::regrole || defaclnamespace::regnamespace || defaclobjtype::text,
               defaclacl
        FROM pg_default_acl
      UNION ALL
        SELECT 'database', coalesce(datacl, acldefault('d', datdba)) FROM pg_database
        WHERE datname = current_database()
    )
    SELECT jsonb_pretty(jsonb_build_object(
        'roles', (SELECT jsonb_agg(to_jsonb(mine) - 'oid' ORDER BY rolname) FROM mine),
        'comments', (SELECT jsonb_agg(shobj_description(oid, 'pg_authid') ORDER BY rolname) FROM mine),
        'members', (SELECT jsonb_agg(concat_ws(' ', roleid::regrole, member::regrole,
                        grantor::regrole, admin_option) ORDER BY 1)
                    FROM (SELECT * FROM pg_auth_members m WHERE EXISTS
                            (SELECT FROM mine WHERE mine.oid IN (roleid, member))
                          ORDER BY roleid::regrole::text, member::regrole::text) m),
        'settings', (SELECT jsonb_agg(s ORDER BY s) FROM (
                        SELECT concat_ws(' ', mine.rolname, datname, setconfig::text) AS s
                        FROM pg_db_role_setting JOIN mine ON setrole = mine.oid
                             LEFT JOIN pg_database d ON d.oid = setdatabase) s),
        'acl', (SELECT jsonb_object_agg(object, items) FROM (
                    SELECT object, jsonb_agg(i::text ORDER BY i::text) AS items
                    FROM acl, unnest(item) i GROUP BY object) a)
    ))";

pub fn role_target(name: &str) -> TargetRef {
    target("postgres_role", &format!("role/{name}"), name)
}

pub fn database_target(name: &str) -> TargetRef {
    target("postgres_database", &format!("database/{name}"), name)
}
