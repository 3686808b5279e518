//! An open way to one PostgreSQL server: one connection for reading, and one of its own for every
//! effect, so that dropping an effect in the middle leaves nothing open and nothing committed.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_postgres::config::{SslMode as Tls, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::credentials::Credentials;
use super::error::{at_commit, before_commit, connecting};
use super::greeting::{Greeted, request_tls};
use super::password::MAY_READ;
use super::sql::{Name, literal};
use super::tls;
use crate::sdk::tls::bare;
use crate::sdk::{ConnectorError, OpenContext};

type SqlParameter<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

/// What every connection begins with. The search path keeps objects that others made in `public` from
/// standing in for the server's own; time zone and date style make texts of moments comparable.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp; SET TimeZone = 'UTC'; \
     SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
     SET client_min_messages = 'error'; SET default_transaction_read_only = off";

/// Who we are on the server.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "PostgreSQL keeps each as a separate boolean column"
)]
pub struct Account {
    pub name: Name,
    pub superuser: bool,
    pub create_role: bool,
    pub create_db: bool,
    pub bypass_rls: bool,
    /// May read `pg_authid.rolpassword` in the connection's database.
    pub reads_passwords: bool,
    /// Is a member of `pg_signal_backend`.
    pub signals_backends: bool,
    /// Database of the connection.
    pub database: Name,
    /// `server_version_num`, such as 150_014.
    pub version: i32,
}

/// A session. Never holds a transaction between calls.
pub struct Session {
    way: Way,
    reader: Reader,
    pub account: Account,
}

/// Everything that is needed to connect once more.
struct Way {
    cx: OpenContext,
    credentials: Credentials,
    tls: Option<MakeRustlsConnect>,
}

impl Session {
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let tls = tls::connector(credentials.ssl_mode, credentials.ca_certificate.as_deref())?;
        let way = Way { cx: cx.clone(), credentials, tls };
        let reader = way.connect(&way.credentials.database, way.cx.call_timeout).await?;
        let account = account(&reader).await?;
        Ok(Self { way, reader, account })
    }

    /// For statements that only read, in the connection's own database.
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// For statements that only read, in another database of the server.
    pub async fn reader_of(&self, database: &Name) -> Result<Reader, ConnectorError> {
        self.way.connect(database, self.way.cx.call_timeout).await
    }

    /// Begins a transaction on a connection of its own. The server gives up on any statement after
    /// `limit`, and on the whole when it hears nothing for that long, so an effect that we lost sight
    /// of cannot happen later.
    pub async fn begin(&self, database: &Name, limit: Duration) -> Result<Work, ConnectorError> {
        let reader = self.way.connect(database, limit).await?;
        reader.batch("BEGIN").await?;
        if self.account.superuser {
            // Verifiers must not be left in the server's log or in pg_stat_statements. Only
            // superusers may say so; others rely on the password being random.
            reader
                .batch(
                    "SET LOCAL log_statement = 'none'; SET LOCAL log_min_duration_statement = -1; \
                     SET LOCAL log_min_error_statement = 'panic'; \
                     SET LOCAL pg_stat_statements.track_utility = off",
                )
                .await?;
        }
        Ok(Work { reader })
    }
}

impl Way {
    async fn connect(&self, database: &Name, limit: Duration) -> Result<Reader, ConnectorError> {
        let host = &self.credentials.host;
        let mut stream = self.cx.egress.connect(host, self.credentials.port).await?;
        // Small messages back and forth; a failure only costs speed.
        drop(stream.set_nodelay(true));
        let mut config = Config::new();
        config
            .user(self.credentials.username.as_str())
            .password(self.credentials.password.expose())
            .dbname(database.as_str())
            .application_name("nexplane");
        let client = if let Some(tls) = &self.tls {
            request_tls(&mut stream).await?;
            config.ssl_mode(Tls::Require).ssl_negotiation(SslNegotiation::Direct);
            let mut tls = tls.clone();
            let Ok(handshake) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, bare(host));
            start(&config, stream, handshake).await?
        } else {
            config.ssl_mode(Tls::Disable);
            start(&config, Greeted::new(stream), NoTls).await?
        };
        let reader = Reader { client };
        // A little less than our own limit: the server's clear answer shall come first.
        let ms = limit.saturating_sub(Duration::from_millis(500)).as_millis().max(500);
        reader
            .batch(&format!(
                "{SETTINGS}; SET statement_timeout = {ms}; SET lock_timeout = {}; \
                 SET idle_in_transaction_session_timeout = {ms}",
                ms / 2,
            ))
            .await?;
        Ok(reader)
    }
}

async fn start<S, T>(config: &Config, stream: S, tls: T) -> Result<Client, ConnectorError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(connecting)?;
    tokio::spawn(async move {
        // Ends when the client is dropped. What breaks it also fails the statement that waits.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a PostgreSQL server ended");
        }
    });
    Ok(client)
}

async fn account(reader: &Reader) -> Result<Account, ConnectorError> {
    let row = reader
        .row(
            "SELECT r.rolname::text, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, \
                    pg_has_role('pg_signal_backend', 'USAGE'), \
                    current_database()::text, current_setting('server_version_num')::int \
             FROM pg_roles r WHERE r.rolname = current_user",
            &[],
        )
        .await?;
    Ok(Account {
        name: row.get(0)?,
        superuser: row.get(1)?,
        create_role: row.get(2)?,
        reads_passwords: reader.row(MAY_READ, &[]).await?.get(0)?,
        create_db: row.get(3)?,
        bypass_rls: row.get(4)?,
        signals_backends: row.get(5)?,
        database: row.get(6)?,
        version: row.get(7)?,
    })
}

/// One connection. Errors of its statements promise that nothing is committed.
pub struct Reader {
    client: Client,
}

impl Reader {
    pub async fn rows(
        &self,
        sql: &str,
        parameters: &[SqlParameter<'_>],
    ) -> Result<Vec<Columns>, ConnectorError> {
        let rows = self.client.query(sql, parameters).await.map_err(before_commit)?;
        Ok(rows.into_iter().map(Columns).collect())
    }

    pub async fn row(
        &self,
        sql: &str,
        parameters: &[SqlParameter<'_>],
    ) -> Result<Columns, ConnectorError> {
        self.client.query_one(sql, parameters).await.map(Columns).map_err(before_commit)
    }

    pub async fn optional(
        &self,
        sql: &str,
        parameters: &[SqlParameter<'_>],
    ) -> Result<Option<Columns>, ConnectorError> {
        let row = self.client.query_opt(sql, parameters).await.map_err(before_commit)?;
        Ok(row.map(Columns))
    }

    /// Utility statements. Every name and value in the text has passed through [`super::sql`].
    pub async fn batch(&self, sql: &str) -> Result<(), ConnectorError> {
        self.client.batch_execute(sql).await.map_err(before_commit)
    }
}

/// A row whose columns are read without panicking.
pub struct Columns(Row);

impl Columns {
    pub fn get<'a, T: Column<'a>>(&'a self, index: usize) -> Result<T, ConnectorError> {
        T::read(&self.0, index)
    }
}

/// Types that a column can be read as.
pub trait Column<'a>: Sized {
    fn read(row: &'a Row, index: usize) -> Result<Self, ConnectorError>;
}

macro_rules! columns {
    ($($type:ty),*) => {$(
        impl Column<'_> for $type {
            fn read(row: &Row, index: usize) -> Result<Self, ConnectorError> {
                row.try_get(index).map_err(before_commit)
            }
        }
    )*};
}

columns!(
    bool,
    i32,
    i64,
    u32,
    String,
    Option<bool>,
    Option<i64>,
    Option<u32>,
    Option<String>,
    Vec<String>,
    Option<Vec<String>>
);

impl Column<'_> for Name {
    fn read(row: &Row, index: usize) -> Result<Self, ConnectorError> {
        Self::try_new(&String::read(row, index)?).map_err(ConnectorError::invalid)
    }
}

/// A transaction on a connection of its own. Dropped without `commit`, it never happened.
pub struct Work {
    reader: Reader,
}

impl Work {
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits until no other effect of ours works on this role, and, where we may, until nobody else's
    /// does either: then the role cannot move between our look and our statement.
    pub async fn lock_role(&self, session: &Session, role: &Name) -> Result<(), ConnectorError> {
        let key = format!("nexplane role {role}");
        self.reader.rows("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&key]).await?;
        if session.account.superuser {
            self.reader
                .rows("SELECT 1 FROM pg_authid WHERE rolname = $1 FOR UPDATE", &[&role.as_str()])
                .await?;
        }
        Ok(())
    }

    /// Runs utility statements as another role, as whose act the server then records them.
    pub async fn batch_as(&self, role: Option<&str>, sql: &str) -> Result<(), ConnectorError> {
        match role {
            None => self.reader.batch(sql).await,
            Some(role) => {
                let role = literal(role);
                self.reader
                    .batch(&format!("SET LOCAL ROLE {role}; {sql}; SET LOCAL ROLE NONE"))
                    .await
            }
        }
    }

    /// Makes it happen. The connection stays usable for what has to follow.
    pub async fn commit(self) -> Result<Reader, ConnectorError> {
        self.reader.client.batch_execute("COMMIT").await.map_err(at_commit)?;
        Ok(self.reader)
    }
}
