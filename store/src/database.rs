//! The connection to PostgreSQL, whoever runs it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};
use uuid::Uuid;

use crate::embedded::MINIMUM_MAJOR;
use crate::log::protection;

/// Everything that the schema `nexplane` consists of, in order. Applied ones never change.
///
/// The list of applied ones is in that schema too. Its name is qualified, because an unqualified
/// one would be looked for in a schema named like the user first.
pub fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("../schema/migrations");
    migrator.create_schema("nexplane");
    migrator.dangerous_set_table_name("nexplane.migrations");
    migrator
}

/// Whose rights a connection has. The login that connects is a member of these roles; the schema
/// says what each may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads the log, reads and writes everything that is not the log.
    App,
    /// May append, nothing else.
    Append,
    /// Reads the log.
    Read,
    /// Reads the log and adds checkpoints of it.
    Seal,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::App, Self::Append, Self::Read, Self::Seal];

    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "nexplane_app",
            Self::Append => "nexplane_append",
            Self::Read => "nexplane_read",
            Self::Seal => "nexplane_seal",
        }
    }

    /// The same target with the rights of this role from the first statement on. A session can put
    /// its role off again; where that matters, give the server a login that is a member of these
    /// roles and of nothing else.
    #[must_use]
    pub fn at(self, target: PgConnectOptions) -> PgConnectOptions {
        target.options([("role", self.name())])
    }
}

/// Breaks the history off after its last event and takes it up under a new incarnation, which is
/// returned. Needs a login that may become the log's owner, as the one that applied the schema.
/// `last_good` is the position that the log ends at; -1 when it is empty.
pub async fn fork_log(
    target: PgConnectOptions,
    last_good: i64,
    reason: &str,
) -> Result<Uuid, sqlx::Error> {
    let mut owner = target.options([("role", "nexplane_log_owner")]).connect().await?;
    sqlx::query_scalar("SELECT nexplane.fork_log($1, $2)")
        .bind(last_good)
        .bind(reason)
        .fetch_one(&mut owner)
        .await
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// The pool opens at most this many connections.
    pub max_connections: u32,
    /// It opens all of them at the start, and keeps them. A connection that is opened while the
    /// process has much to do takes long: the proof that one knows the password (SCRAM) waits for
    /// its turn 800 times (sqlx-postgres 0.9, connection/sasl.rs), and whoever asked for it gives up
    /// before it is done.
    pub at_once: bool,
    /// How long a task waits for one of them before it fails.
    pub acquire_within: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            at_once: false,
            acquire_within: Duration::from_secs(10),
            application_name: "nexplane".to_owned(),
        }
    }
}

/// Why there is no usable database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database URL is not one (expected postgresql://user:password@host:5432/name)")]
    Url(#[source] sqlx::Error),

    #[error("cannot connect to PostgreSQL at {place}")]
    Connect {
        place: String,
        #[source]
        source: sqlx::Error,
    },

    #[error("PostgreSQL {found} at {place} is too old: {MINIMUM_MAJOR} or newer is needed")]
    TooOld { found: String, place: String },

    #[error("cannot bring the database's schema up to date")]
    Migrate(#[source] MigrateError),

    #[error("cannot look at the protection of the event log")]
    Inspect(#[source] sqlx::Error),

    /// Somebody took something away that keeps the log as it is, or made it himself.
    #[error(
        "the event log of this database is not protected as it should be: {}. Find out who did that, \
         run 'nexplane audit verify', and put it back as schema/migrations/0001_log.sql has it",
        findings.join("; ")
    )]
    Unprotected { findings: Vec<String> },
}

/// A checked connection pool.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
}

impl Database {
    /// Connects as the server does: brings the schema up to date where the login may, checks that
    /// the log is protected, and gives a pool with the rights of [`Role::App`].
    pub async fn open(
        target: PgConnectOptions,
        options: &DatabaseOptions,
    ) -> Result<Self, DatabaseError> {
        let few = DatabaseOptions { max_connections: 1, at_once: false, ..options.clone() };
        let owner = Self::connect_with(target.clone(), &few).await?;
        let prepared = async {
            owner.migrate().await?;
            let mut connection = owner.pool().acquire().await.map_err(DatabaseError::Inspect)?;
            let findings = protection::findings(&mut connection).await;
            let findings = findings.map_err(DatabaseError::Inspect)?;
            if findings.is_empty() { Ok(()) } else { Err(DatabaseError::Unprotected { findings }) }
        };
        let prepared = prepared.await;
        owner.close().await;
        prepared?;
        Self::connect_with(Role::App.at(target), options).await
    }

    /// Connects by URL. The URL may contain a password: it appears in no error.
    pub async fn connect(url: &str, options: &DatabaseOptions) -> Result<Self, DatabaseError> {
        let target = PgConnectOptions::from_str(url).map_err(DatabaseError::Url)?;
        Self::connect_with(target, options).await
    }

    /// Connects, and refuses a server older than [`MINIMUM_MAJOR`]. One connection is open on
    /// return, or all of them.
    pub async fn connect_with(
        target: PgConnectOptions,
        options: &DatabaseOptions,
    ) -> Result<Self, DatabaseError> {
        let place = place_of(&target);
        let failed = |source| DatabaseError::Connect { place: place.clone(), source };
        let mut pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_within);
        if options.at_once {
            pool =
                pool.min_connections(options.max_connections).idle_timeout(None).max_lifetime(None);
        }
        let pool = pool
            .connect_with(target.application_name(&options.application_name))
            .await
            .map_err(failed)?;
        let found: String =
            sqlx::query_scalar("SHOW server_version_num").fetch_one(&pool).await.map_err(failed)?;
        // 150014 is 15.14 since version 10 (PostgreSQL manual, "server_version_num").
        let major = found.parse::<u32>().unwrap_or(0) / 10_000;
        if major < MINIMUM_MAJOR {
            pool.close().await;
            return Err(DatabaseError::TooOld { found: major.to_string(), place });
        }
        Ok(Self { pool })
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Brings the schema up to date. Several processes may do so at once: an advisory lock lets
    /// one after the other in, and the later ones find nothing to do. An applied migration that
    /// has changed, or one that this program does not know, is an error.
    ///
    /// A login that may not change the schema is enough when there is nothing to change.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        if self.is_current().await {
            return Ok(());
        }
        migrations().run(&self.pool).await.map_err(DatabaseError::Migrate)
    }

    /// Whether exactly the migrations of this program are applied.
    async fn is_current(&self) -> bool {
        let applied: Result<Vec<(i64, Vec<u8>)>, _> = sqlx::query_as(
            "SELECT version, checksum FROM nexplane.migrations WHERE success ORDER BY version",
        )
        .fetch_all(&self.pool)
        .await;
        let known = migrations();
        applied.is_ok_and(|applied| {
            applied
                .iter()
                .map(|(version, sum)| (*version, sum.as_slice()))
                .eq(known.iter().map(|migration| (migration.version, migration.checksum.as_ref())))
        })
    }

    /// Waits until all connections are given back, and closes them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Where a server is, without user and password.
fn place_of(target: &PgConnectOptions) -> String {
    let database = target.get_database().unwrap_or("its default database");
    match target.get_socket() {
        Some(socket) => format!("{}, {database}", socket.display()),
        None => format!("{}:{}, {database}", target.get_host(), target.get_port()),
    }
}
