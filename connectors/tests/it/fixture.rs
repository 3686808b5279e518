//! A PostgreSQL target for one test: sessions of the connector on one side, the administrator's own
//! look at the server on the other.

use std::sync::Arc;
use std::time::Duration;

use nexplane_connectors::sdk::{
    AnyAction, AnySession, CALL_TIMEOUT, ConnectorError, DigestKey, Egress, OpenContext, Registry,
    SecretJson, StepContext,
};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, RunId};
use nexplane_core::plan::{PlanProof, Step, TargetRef};
use nexplane_store::testing::TargetServer;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};
use uuid::Uuid;

/// Password of every account that a test makes.
pub const PASSWORD: &str = "correct-horse-battery";

pub struct Bench {
    pub registry: Registry,
    pub server: TargetServer,
}

impl Bench {
    pub async fn new() -> Self {
        Self { registry: Registry::standard(), server: TargetServer::new().await }
    }

    pub fn action(&self, id: &str) -> &dyn AnyAction {
        self.registry.action(id).expect("the action is registered")
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
        open(&self.registry, "postgres", credentials, &context()).await
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

pub fn context() -> OpenContext {
    OpenContext {
        connection: ConnectionId(Uuid::now_v7()),
        egress: Arc::new(Egress::default()),
        digest_key: DigestKey::new(&[42; 32]),
        call_timeout: CALL_TIMEOUT,
        host: None,
    }
}

pub async fn open(
    registry: &Registry,
    connector: &str,
    credentials: Value,
    cx: &OpenContext,
) -> Result<Box<dyn AnySession>, ConnectorError> {
    let connector = registry.connector(connector).expect("the connector is registered");
    connector.open(SecretJson::new(credentials), cx).await
}

pub fn role_target(name: &str) -> TargetRef {
    target("postgres_role", &format!("role/{name}"), name)
}

pub fn database_target(name: &str) -> TargetRef {
    target("postgres_database", &format!("database/{name}"), name)
}

pub fn target(kind: &str, external_key: &str, name: &str) -> TargetRef {
    TargetRef {
        asset: AssetId(Uuid::now_v7()),
        kind: kind.to_owned(),
        external_key: external_key.to_owned(),
        name: name.to_owned(),
    }
}

/// The context of a step; `before` is the fingerprint that the plan names.
pub fn step(
    action: &dyn AnyAction,
    target: &TargetRef,
    parameters: &Value,
    before: &str,
) -> StepContext {
    let spec = action.spec();
    StepContext {
        change: ChangeId(Uuid::now_v7()),
        run: RunId(Uuid::now_v7()),
        step: Step {
            no: 0,
            action: spec.id.clone(),
            connection: ConnectionId(Uuid::now_v7()),
            target: target.clone(),
            parameters: parameters.clone(),
            effect_class: spec.effect_class,
            reversibility: spec.reversibility.clone(),
            before_fingerprint: before.to_owned(),
            summary: String::new(),
            rollback: String::new(),
            diff: Vec::new(),
            undoes: None,
        },
        epoch: 1,
        idempotency_key: Uuid::now_v7().to_string(),
        plan_digest: "0".repeat(64),
        proof: PlanProof { header_hash: "0".repeat(64), step_hashes: Vec::new() },
        approvals: vec![PersonId(Uuid::now_v7())],
        deadline: Duration::from_secs(20),
        precondition: before.to_owned(),
        undoes: None,
    }
}
