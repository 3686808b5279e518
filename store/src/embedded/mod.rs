//! A private PostgreSQL cluster: `nexplane up` on an empty machine needs no database administrator.
//!
//! The server is the one installed on this machine (15 or newer), run as a child of ours on files
//! of ours. It listens on a Unix socket in a directory that only its user and root can enter, and
//! asks for a generated password there too; a loopback port with TLS can be added for things that
//! need one. It has a process group of its own, so that Ctrl-C reaches only us, and we stop it.
//!
//! After `kill -9` of our process the server goes on alone; the next [`Cluster::open`] of the same
//! directory takes it over, or starts a new one, which recovers from the write-ahead log.
//!
//! What this part does not do: backups, upgrades of the major version, replication, access from
//! other machines. Whoever needs those brings a database of their own.

mod account;
mod binary;
mod error;
mod layout;
mod postmaster;
mod tls;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use account::Account;
use binary::Installation;
use error::io_error;
use layout::{Layout, Lock};
use postmaster::{Holder, PidFile, Postmaster};

pub use binary::MINIMUM_MAJOR;
pub use error::EmbeddedError;

/// How long a server may take until it answers, recovery included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// The name of the socket file ends in it; nothing listens on this port.
const SOCKET_ONLY_PORT: u16 = 5432;
/// Longest name that PostgreSQL does not cut off.
const NAME_BYTES: usize = 63;

/// Where the server can be reached besides its Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Nowhere.
    SocketOnly,
    /// On 127.0.0.1 with a password (SCRAM-SHA-256). Port 0 takes the port of the last start when
    /// it is free, else any free one. With `tls` only encrypted connections are accepted.
    Loopback { port: u16, tls: bool },
}

/// How to open a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Ours alone; created when missing.
    pub directory: PathBuf,
    pub network: Network,
    /// Off only where data may be lost with the machine: tests.
    pub fsync: bool,
    /// The superuser; fixed when the database is created.
    pub superuser: String,
    /// Directory of `initdb` and `postgres`; the newest installation found when not given.
    pub binaries: Option<PathBuf>,
    /// Further settings (`max_connections`, …), which win over ours.
    pub settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// Socket only, durable, superuser `nexplane`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            network: Network::SocketOnly,
            fsync: true,
            superuser: "nexplane".to_owned(),
            binaries: None,
            settings: Vec::new(),
        }
    }
}

/// A running private cluster that this process owns. Dropping it stops the server and blocks until
/// it has stopped (usually 0.1 s, 35 s at most); [`Cluster::stop`] does the same without blocking
/// other tasks and tells about failure.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    layout: Layout,
    account: Account,
    installation: Installation,
    socket_directory: PathBuf,
    password: SecretString,
    port: u16,
    adopted: bool,
    /// None before the start and after the stop.
    postmaster: Option<Postmaster>,
    /// Last: given back after the server has stopped.
    _lock: Lock,
}

impl Cluster {
    /// Opens the cluster in `options.directory`, creating it when there is none. On return the
    /// server answers. Takes 0.2 s for an existing cluster and about 1.5 s for a new one.
    ///
    /// Fails with [`EmbeddedError::InUse`] when another process has it open.
    pub async fn open(options: ClusterOptions) -> Result<Self, EmbeddedError> {
        let prepared = tokio::task::spawn_blocking(move || Self::prepare(options));
        let mut cluster = prepared.await.map_err(|_| EmbeddedError::Cancelled)??;
        let deadline = Instant::now() + ANSWER_WITHIN;
        if !cluster.adopt(deadline).await? {
            cluster.start(deadline).await?;
        }
        Ok(cluster)
    }

    /// Stops the server: sessions are ended, everything is on disk.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        let stopped = tokio::task::spawn_blocking(move || self.stop_now());
        stopped.await.map_err(|_| EmbeddedError::Cancelled)?
    }

    /// Whether a server left behind by a killed process was taken over.
    pub fn was_adopted(&self) -> bool {
        self.adopted
    }

    /// The port on 127.0.0.1, when there is one.
    pub fn port(&self) -> Option<u16> {
        matches!(self.options.network, Network::Loopback { .. }).then_some(self.port)
    }

    /// The file with the certificate of the CA that signed the server's, when TLS is on.
    pub fn ca_path(&self) -> Option<&Path> {
        self.tls().then_some(self.layout.ca.as_path())
    }

    /// The folder of the socket; only root and the user who runs PostgreSQL can enter it.
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    pub fn superuser(&self) -> &str {
        &self.options.superuser
    }

    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The process id of the server.
    pub fn pid(&self) -> Option<i32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// How the superuser connects to `database` over the socket.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_directory)
            .port(self.port)
            .username(&self.options.superuser)
            .password(self.password.expose_secret())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL for libpq programs (`psql`, `pg_dump`). It contains the password.
    pub fn url(&self, database: &str) -> SecretString {
        let host = percent_encoded(&self.socket_directory.to_string_lossy());
        self.url_of(&host, database, "sslmode=disable")
    }

    /// A URL over 127.0.0.1, when the cluster is on it. It contains the password.
    pub fn loopback_url(&self, database: &str) -> Option<SecretString> {
        self.port()?;
        let parameters = match self.ca_path() {
            Some(ca) => {
                let ca = percent_encoded(&ca.to_string_lossy());
                format!("sslmode=verify-full&sslrootcert={ca}")
            }
            None => "sslmode=disable".to_owned(),
        };
        Some(self.url_of("localhost", database, &parameters))
    }

    /// Creates a database unless it exists.
    pub async fn create_database(&self, name: &str) -> Result<(), EmbeddedError> {
        check_name("database", name)?;
        let failed = |source| EmbeddedError::CreateDatabase { name: name.to_owned(), source };
        let mut connection = self.connect_options("postgres").connect().await.map_err(failed)?;
        let created = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
            .execute(&mut connection)
            .await;
        let _ = connection.close().await;
        match created {
            Ok(_) => Ok(()),
            // duplicate_database
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Leaves the server running for others; used by the shared cluster of the tests only, whose
    /// watchdog stops it.
    pub(crate) fn detach(mut self) {
        self.postmaster = None;
    }

    fn tls(&self) -> bool {
        matches!(self.options.network, Network::Loopback { tls: true, .. })
    }

    fn url_of(&self, host: &str, database: &str, parameters: &str) -> SecretString {
        let password = percent_encoded(self.password.expose_secret());
        let database = percent_encoded(database);
        format!(
            "postgresql://{}:{password}@{host}:{}/{database}?{parameters}",
            self.options.superuser, self.port
        )
        .into()
    }

    /// Everything up to a database that can be started.
    fn prepare(options: ClusterOptions) -> Result<Self, EmbeddedError> {
        check_name("user", &options.superuser)?;
        let layout = Layout::create(&options.directory)?;
        let lock = layout.lock()?;
        let account = Account::choose(&layout.data)?;
        layout.open_for(&account)?;
        let made_by = layout.made_by();
        let installation =
            binary::choose(options.binaries.as_deref(), made_by.as_deref(), &layout.data)?;
        let password = layout.password()?;
        let socket_directory = layout.socket_directory(&account)?;
        let cluster = Self {
            options,
            layout,
            account,
            installation,
            socket_directory,
            password,
            port: SOCKET_ONLY_PORT,
            adopted: false,
            postmaster: None,
            _lock: lock,
        };
        if made_by.is_none() {
            cluster.create()?;
        }
        Ok(cluster)
    }

    /// Runs `initdb` beside the final place, so that a half-made database is never taken for one.
    fn create(&self) -> Result<(), EmbeddedError> {
        let unfinished = self.layout.root.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(io_error("remove", &unfinished))?;
        }
        fs::create_dir(&unfinished).map_err(io_error("create", &unfinished))?;
        self.account.give(&unfinished, 0o700)?;
        let password = self.socket_directory.join("password");
        layout::write_private(&password, self.password.expose_secret())?;
        self.account.give(&password, 0o600)?;
        let mut initdb = self.account.command(&self.installation.initdb());
        initdb
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(&password)
            .args(["--username", &self.options.superuser, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C"]);
        if !self.options.fsync {
            initdb.arg("--no-sync");
        }
        initdb.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let output = initdb.output().map_err(io_error("run", self.installation.initdb()));
        fs::remove_file(&password).map_err(io_error("remove", &password))?;
        let output = output?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            return Err(EmbeddedError::Init {
                directory: self.layout.root.clone(),
                output: String::from_utf8_lossy(&text).trim().to_owned(),
            });
        }
        fs::rename(&unfinished, &self.layout.data).map_err(io_error("rename", &unfinished))?;
        File::open(&self.layout.root)
            .and_then(|root| root.sync_all())
            .map_err(io_error("write", &self.layout.root))
    }

    /// Takes over a server that a killed process left running with the settings that we want; one
    /// with other settings is stopped.
    async fn adopt(&mut self, deadline: Instant) -> Result<bool, EmbeddedError> {
        let Some(file) = PidFile::read(&self.layout.data) else { return Ok(false) };
        let (found, ours) = match file.holder(&self.layout.data) {
            Holder::Ours(found) => (found, true),
            Holder::Unknown(found) => (found, false),
            // What is left of a killed server is PostgreSQL's own to find out.
            Holder::Nobody => return Ok(false),
            Holder::Foreign => {
                // Sessions outlive a killed postmaster for a moment. Its file is what keeps another
                // one from starting beside them.
                while postmaster::works_in(&self.layout.data) {
                    if Instant::now() > deadline {
                        return Ok(false);
                    }
                    tokio::time::sleep(POLL).await;
                }
                // PostgreSQL would take the process for another server and refuse to start; also one
                // that has ended and was not waited for.
                let socket = format!(".s.PGSQL.{}.lock", file.port);
                for path in [PidFile::path(&self.layout.data), self.socket_directory.join(socket)] {
                    match fs::remove_file(&path) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(io_error("remove", &path)(error));
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
                return Ok(false);
            }
        };
        self.port = match self.options.network {
            Network::SocketOnly => SOCKET_ONLY_PORT,
            Network::Loopback { port: 0, .. } => file.port,
            Network::Loopback { port, .. } => port,
        };
        self.postmaster = Some(found);
        let known = fs::read_to_string(&self.layout.settings).unwrap_or_default();
        if known == self.arguments().join("\n")
            && self.tls_is_complete()
            && self.answer(deadline).await.is_ok()
        {
            tracing::info!(pid = file.pid, "took over the running PostgreSQL");
            self.adopted = true;
            return Ok(true);
        }
        // One that may be anybody's is left alone: PostgreSQL refuses to start beside another.
        if let Some(mut found) = self.postmaster.take().filter(|_| ours) {
            tracing::info!(pid = file.pid, "stopping the PostgreSQL that runs with other settings");
            let stopped = tokio::task::spawn_blocking(move || found.stop());
            stopped.await.map_err(|_| EmbeddedError::Cancelled)??;
        }
        Ok(false)
    }

    fn tls_is_complete(&self) -> bool {
        !self.tls() || self.layout.ca.exists()
    }

    async fn start(&mut self, deadline: Instant) -> Result<(), EmbeddedError> {
        // After a crash of the server its last sessions may hold the shared memory for a moment; a
        // free port may be taken by somebody else before the server takes it.
        let crashed = PidFile::read(&self.layout.data).is_some();
        let mut attempts = if crashed { 25 } else { 3 };
        loop {
            attempts -= 1;
            let log_start = self.spawn()?;
            match self.answer(deadline).await {
                Ok(()) => return Ok(()),
                Err(NoAnswer::Exited) if attempts > 0 && Instant::now() < deadline => {
                    tokio::time::sleep(POLL * 10).await;
                }
                Err(NoAnswer::Exited) => {
                    return Err(EmbeddedError::Start {
                        log: self.layout.log.clone(),
                        tail: self.layout.log_tail(log_start),
                    });
                }
                Err(NoAnswer::Late(source)) => {
                    return Err(EmbeddedError::NoAnswer {
                        seconds: ANSWER_WITHIN.as_secs(),
                        log: self.layout.log.clone(),
                        tail: self.layout.log_tail(log_start),
                        source,
                    });
                }
            }
        }
    }

    /// Starts the server process. Returns where its part of the log begins.
    fn spawn(&mut self) -> Result<u64, EmbeddedError> {
        self.port = self.choose_port()?;
        if self.tls() {
            tls::prepare(&self.layout.ca, &self.layout.data, &self.account)?;
        }
        let rules = self.layout.data.join("nexplane_hba.conf");
        fs::write(&rules, self.access_rules()).map_err(io_error("write", &rules))?;
        self.account.give(&rules, 0o600)?;
        let arguments = self.arguments();
        layout::write_private(&self.layout.settings, &arguments.join("\n"))?;
        let (log, log_start) = self.layout.open_log()?;
        let errors = log.try_clone().map_err(io_error("open", &self.layout.log))?;
        let program = self.installation.postgres();
        let child = self
            .account
            .command(&program)
            .args(&arguments)
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(io_error("run", &program))?;
        self.postmaster = Postmaster::started(child);
        Ok(log_start)
    }

    fn choose_port(&self) -> Result<u16, EmbeddedError> {
        let free = |port: u16| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .and_then(|listener| listener.local_addr())
                .map(|address| address.port())
        };
        match self.options.network {
            Network::SocketOnly => Ok(SOCKET_ONLY_PORT),
            Network::Loopback { port: 0, .. } => {
                let known = fs::read_to_string(&self.layout.settings).unwrap_or_default();
                let last = known.lines().find_map(|line| line.strip_prefix("port="));
                last.and_then(|port| free(port.parse().ok()?).ok())
                    .map_or_else(|| free(0).map_err(EmbeddedError::Port), Ok)
            }
            Network::Loopback { port, .. } => Ok(port),
        }
    }

    /// Who may connect from where. Nobody without a password. On the socket, which is in a directory
    /// of our own, it is sent as it is: SCRAM would protect it from nobody, and its 4,096 rounds, in
    /// which sqlx lets everybody else go first 800 times, can take longer than the patience of
    /// whoever waits for a connection of a busy process.
    fn access_rules(&self) -> String {
        let mut rules = "local all all password\n".to_owned();
        if let Network::Loopback { tls, .. } = self.options.network {
            let kind = if tls { "hostssl" } else { "host" };
            rules.push_str(kind);
            rules.push_str(" all all 127.0.0.1/32 scram-sha-256\n");
        }
        rules
    }

    /// The command line of the server; everything that matters is here and not in its files, so
    /// that every start of the same options gives the same server.
    fn arguments(&self) -> Vec<String> {
        let data = self.layout.data.to_string_lossy().into_owned();
        let rules = self.layout.data.join("nexplane_hba.conf").to_string_lossy().into_owned();
        let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
        let address = match self.options.network {
            Network::SocketOnly => String::new(),
            Network::Loopback { .. } => Ipv4Addr::LOCALHOST.to_string(),
        };
        let socket = self.socket_directory.to_string_lossy().into_owned();
        let settings = [
            ("hba_file", rules),
            ("port", self.port.to_string()),
            ("listen_addresses", address),
            ("unix_socket_directories", socket),
            ("unix_socket_permissions", "0700".to_owned()),
            ("password_encryption", "scram-sha-256".to_owned()),
            ("ssl", on(self.tls())),
            ("ssl_min_protocol_version", "TLSv1.2".to_owned()),
            ("fsync", on(self.options.fsync)),
            ("full_page_writes", on(self.options.fsync)),
            ("synchronous_commit", on(self.options.fsync)),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            // Failed statements are the client's to report, once; and their details may contain
            // values.
            ("log_min_messages", "log".to_owned()),
            ("log_error_verbosity", "terse".to_owned()),
            ("log_checkpoints", on(false)),
            ("log_line_prefix", "%m [%p] ".to_owned()),
        ];
        let mut arguments = vec!["-D".to_owned(), data];
        let own = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in own.chain(self.options.settings.iter().cloned()) {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        arguments
    }

    /// Waits until a real session works.
    async fn answer(&mut self, deadline: Instant) -> Result<(), NoAnswer> {
        let options = self.connect_options("postgres");
        loop {
            let error = match tokio::time::timeout(Duration::from_secs(5), options.connect()).await
            {
                Ok(Ok(connection)) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            if !self.postmaster.as_mut().is_some_and(Postmaster::is_alive) {
                return Err(NoAnswer::Exited);
            }
            let refused = matches!(&error, Some(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code.starts_with("28")));
            if refused || Instant::now() > deadline {
                return Err(NoAnswer::Late(error));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn stop_now(&mut self) -> Result<(), EmbeddedError> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        postmaster.stop()?;
        if !self.socket_directory.starts_with(&self.layout.root) {
            // Empty now, and made again when needed.
            let _ = fs::remove_dir(&self.socket_directory);
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop_now() {
            tracing::error!(%error, "the private PostgreSQL goes on running");
        }
    }
}

/// Stops the server of a data directory whose owner is gone, when there is one. Blocks.
pub(crate) fn stop_left_behind(data: &Path) -> Result<(), EmbeddedError> {
    match PidFile::read(data).map(|file| file.holder(data)) {
        Some(Holder::Ours(mut postmaster)) => postmaster.stop(),
        Some(Holder::Nobody | Holder::Foreign | Holder::Unknown(_)) | None => Ok(()),
    }
}

/// Why a session did not come about.
enum NoAnswer {
    Exited,
    Late(Option<sqlx::Error>),
}

/// Names are put into SQL and command lines: nothing that needs quoting.
fn check_name(what: &'static str, name: &str) -> Result<(), EmbeddedError> {
    let good = name.len() <= NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good { Ok(()) } else { Err(EmbeddedError::BadName { what, name: name.to_owned() }) }
}

/// RFC 3986: everything but letters and digits.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}
