//! The connection to PostgreSQL, whoever runs it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::embedded::MINIMUM_MAJOR;

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

/// How to connect.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// The pool opens at most this many connections.
    pub max_connections: u32,
    /// How long a task waits for one of them before it fails.
    pub acquire_within: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
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
}

/// A checked connection pool.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
}

impl Database {
    /// Connects by URL. The URL may contain a password: it appears in no error.
    pub async fn connect(url: &str, options: &DatabaseOptions) -> Result<Self, DatabaseError> {
        let target = PgConnectOptions::from_str(url).map_err(DatabaseError::Url)?;
        Self::connect_with(target, options).await
    }

    /// Connects, and refuses a server older than [`MINIMUM_MAJOR`]. One connection is open on
    /// return.
    pub async fn connect_with(
        target: PgConnectOptions,
        options: &DatabaseOptions,
    ) -> Result<Self, DatabaseError> {
        let place = place_of(&target);
        let failed = |source| DatabaseError::Connect { place: place.clone(), source };
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_within)
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
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        migrations().run(&self.pool).await.map_err(DatabaseError::Migrate)
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
