//! PostgreSQL for tests: a database of its own for every test, on one shared private cluster.
//! Not used by the product; a plain module because a Cargo feature would build everything twice.
//!
//! nextest runs every test in a process of its own, so the cluster is shared between processes:
//!
//! - It lives in a *generation*, a folder under `nexplane-test-<uid>-<layout>/` in `/dev/shm` where
//!   that has 4 GiB, else in `/tmp`. The first test that finds none starts one, under a file lock;
//!   the others find it by its `ready` file.
//! - A migrated template database is made once for each set of migrations, and copied for each
//!   test (some 50 ms). Databases are dropped with their [`TestDatabase`].
//! - Nobody leaves a server behind: each generation has a watchdog (`watchdog.sh`), a shell that
//!   stops the server and removes the folder 60 s after the last test process is gone, and in any
//!   case 45 minutes after its start. Tests do not join a generation older than 30 minutes; they
//!   start the next. Whatever is older than 50 minutes (a killed watchdog) is removed by the next
//!   run.
//!
//! The cluster keeps nothing safe (`fsync` is off) and has a loopback port with TLS, so that it
//! can also play the target of the PostgreSQL connector: [`TargetServer`]. Roles belong to the whole
//! cluster: tests that make some give them names with [`TargetServer::role`].

mod events;
mod generation;

pub use events::{
    event_count, event_records, event_records_from, event_records_with, has_event, records_of,
    tamper,
};

use std::thread;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::database::{Database, DatabaseError, DatabaseOptions};
use crate::embedded::{EmbeddedError, percent_encoded};
use generation::Server;

/// Time to drop a database; after that it is left to the end of the generation.
const DROP_WITHIN: Duration = Duration::from_secs(10);

/// Why a test got no database.
#[derive(Debug, thiserror::Error)]
pub enum TestingError {
    #[error("cannot start the shared PostgreSQL of the tests")]
    Start(#[from] EmbeddedError),

    #[error("cannot {attempt} {path}")]
    Io {
        attempt: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },

    #[error("cannot {attempt} on the shared PostgreSQL of the tests")]
    Sql {
        attempt: &'static str,
        #[source]
        source: sqlx::Error,
    },

    #[error("cannot prepare the database of the test")]
    Database(#[from] DatabaseError),

    #[error(
        "waited {seconds} s for another process that starts the shared PostgreSQL of the tests"
    )]
    Busy { seconds: u64 },
}

/// This process's server; found or started by the first test of the process.
async fn server() -> Result<&'static Server, TestingError> {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_try_init(Server::join).await
}

/// A fresh database with the whole schema, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: &'static Server,
    database: Database,
}

impl TestDatabase {
    /// A database with all migrations applied.
    ///
    /// # Panics
    /// When there is none to be had; the test could only do the same.
    pub async fn new() -> Self {
        or_panic(Self::try_new(true).await)
    }

    /// A database without any table of ours.
    ///
    /// # Panics
    /// Like [`TestDatabase::new`].
    pub async fn empty() -> Self {
        or_panic(Self::try_new(false).await)
    }

    async fn try_new(migrated: bool) -> Result<Self, TestingError> {
        let server = server().await?;
        let name = unique_name();
        let template = if migrated { server.template().await? } else { "template0".to_owned() };
        server.create_database(&name, &template).await?;
        let options = DatabaseOptions {
            max_connections: 8,
            application_name: name.clone(),
            ..DatabaseOptions::default()
        };
        let database = Database::connect_with(server.socket_options(&name), &options).await?;
        Ok(Self { name, server, database })
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A pool of at most 8 connections.
    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// For a pool or a connection of the test's own.
    pub fn options(&self) -> PgConnectOptions {
        self.server.socket_options(&self.name)
    }

    /// The same for programs. It contains the password, which opens nothing but test databases.
    pub fn url(&self) -> String {
        let socket = percent_encoded(&self.server.socket_directory);
        format!(
            "postgresql://{}:{}@{socket}:{}/{}?sslmode=disable",
            self.server.username, self.server.password, self.server.port, self.name
        )
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        clean_up(self.server, &self.name, false);
    }
}

/// A PostgreSQL that is not ours: the target of the PostgreSQL connector. It listens on 127.0.0.1,
/// accepts TLS connections with SCRAM-SHA-256 only, and has a fresh database for this test. Other
/// tests have databases and roles on the same server.
#[derive(Debug)]
pub struct TargetServer {
    name: String,
    server: &'static Server,
}

impl TargetServer {
    /// A server with a fresh, empty database.
    ///
    /// # Panics
    /// When there is none to be had; the test could only do the same.
    pub async fn new() -> Self {
        or_panic(Self::try_new().await)
    }

    async fn try_new() -> Result<Self, TestingError> {
        let server = server().await?;
        let name = unique_name();
        server.create_database(&name, "template0").await?;
        Ok(Self { name, server })
    }

    /// A name in the server's certificate, as `127.0.0.1` is.
    pub fn host(&self) -> &'static str {
        "localhost"
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// A superuser.
    pub fn username(&self) -> &str {
        &self.server.username
    }

    pub fn password(&self) -> &str {
        &self.server.password
    }

    /// The CA that signed the server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.server.ca_pem
    }

    /// The database of this test.
    pub fn database(&self) -> &str {
        &self.name
    }

    /// A role name that no other test uses. Roles made with it are dropped with this value.
    pub fn role(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// How the superuser connects, with the certificate verified.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(self.host())
            .port(self.port())
            .username(self.username())
            .password(self.password())
            .database(&self.name)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(self.ca_pem().as_bytes().to_vec())
    }

    /// The same over the Unix socket: for what a test prepares and checks behind the connector's
    /// back.
    pub async fn admin(&self) -> PgConnection {
        or_panic(self.server.connect(&self.name).await)
    }
}

impl Drop for TargetServer {
    fn drop(&mut self) {
        clean_up(self.server, &self.name, true);
    }
}

/// Short, a valid role and database name, and never used before.
fn unique_name() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("t_{}", random.get(..12).unwrap_or(&random))
}

/// Drops a database, and the roles named after it; on a thread, because a test that drops a value
/// may be inside of a runtime. Failure is left to the end of the generation.
fn clean_up(server: &'static Server, name: &str, roles: bool) {
    let name = name.to_owned();
    let cleaner = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let _ = runtime.block_on(async {
            tokio::time::timeout(DROP_WITHIN, drop_all(server, &name, roles)).await
        });
    });
    let _ = cleaner.join();
}

async fn drop_all(server: &Server, name: &str, roles: bool) -> Result<(), sqlx::Error> {
    let mut connection = server.socket_options("postgres").connect().await?;
    let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
    sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
    if roles {
        let statements: Vec<String> = sqlx::query_scalar(
            "SELECT format('DROP OWNED BY %1$I; DROP ROLE %1$I', rolname) \
             FROM pg_roles WHERE starts_with(rolname, $1)",
        )
        .bind(format!("{name}_"))
        .fetch_all(&mut connection)
        .await?;
        for statement in statements {
            let _ = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
        }
    }
    connection.close().await
}

/// Shows the whole chain of causes.
#[expect(clippy::panic, reason = "only tests call it, and a test without a database has failed")]
fn or_panic<T>(result: Result<T, TestingError>) -> T {
    result.unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        panic!("{text}")
    })
}
