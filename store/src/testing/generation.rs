//! Finding, starting and joining the shared cluster. The parent module tells the rules.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::statvfs;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::TestingError;
use crate::database::{Database, DatabaseOptions, migrations};
use crate::embedded::{Cluster, ClusterOptions, EmbeddedError, Network, stop_left_behind};
use crate::secret::crypto;

/// Part of the folder's name: programs that disagree about its content do not share one.
const LAYOUT: u32 = 2;
/// In memory, where there is enough of it: a database is some 370 small files. Otherwise `/tmp` and
/// not the temporary directory of the environment, which may be closed to the user who runs
/// PostgreSQL.
const MEMORY: &str = "/dev/shm";
const DISK: &str = "/tmp";
const MEMORY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
const JOIN_UNTIL_SECONDS: u64 = 30 * 60;
const STOP_AFTER_SECONDS: u64 = 45 * 60;
const REMOVE_AFTER_SECONDS: u64 = 50 * 60;
const STOP_WHEN_IDLE_SECONDS: u64 = 60;
const LOCK_WITHIN: Duration = Duration::from_mins(2);
const WATCHDOG: &str = include_str!("watchdog.sh");

/// The shared server, as written into the file `ready` of its generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Server {
    pub generation: PathBuf,
    pub socket_directory: String,
    pub port: u16,
    pub username: String,
    pub password: String,
    pub ca_pem: String,
}

impl Server {
    /// Joins the running generation or starts the next.
    pub async fn join() -> Result<Self, TestingError> {
        if let Some(server) = Self::find().await {
            return Ok(server);
        }
        let _lock = lock().await?;
        if let Some(server) = Self::find().await {
            return Ok(server);
        }
        let generation = prepare().await?;
        let cluster = Cluster::open(options(&generation)).await?;
        let ca = cluster.ca_path().unwrap_or(Path::new(""));
        let server = Self {
            socket_directory: cluster.socket_directory().to_string_lossy().into_owned(),
            port: cluster.port().unwrap_or_default(),
            username: cluster.superuser().to_owned(),
            password: cluster.password().expose_secret().to_owned(),
            ca_pem: fs::read_to_string(ca).map_err(io("read", ca))?,
            generation: generation.clone(),
        };
        cluster.detach();
        server.make_password_cheap().await?;
        let text = serde_json::to_vec(&server).map_err(io::Error::from);
        let ready = generation.join("ready");
        let unfinished = generation.join("ready.new");
        text.and_then(|text| {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(&text)?;
            fs::rename(&unfinished, &ready)
        })
        .map_err(io("write", &ready))?;
        Ok(server)
    }

    /// The youngest generation, when it answers and lets us in.
    async fn find() -> Option<Self> {
        let (age, generation) = generations().into_iter().min()?;
        if age > JOIN_UNTIL_SECONDS || register(&generation).is_err() {
            return None;
        }
        let text = fs::read(generation.join("ready")).ok()?;
        let server: Self = serde_json::from_slice(&text).ok()?;
        server.connect("postgres").await.ok()?.close().await.ok()?;
        Some(server)
    }

    pub fn socket_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_directory)
            .port(self.port)
            .username(&self.username)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    pub async fn connect(&self, database: &str) -> Result<PgConnection, TestingError> {
        let connected = self.socket_options(database).connect().await;
        connected.map_err(|source| TestingError::Sql { attempt: "connect to a database", source })
    }

    pub async fn create_database(&self, name: &str, template: &str) -> Result<(), TestingError> {
        // Copying the files is twice as fast as writing them to the log for a database this small.
        let create =
            format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\" STRATEGY file_copy");
        self.admin("create a database", create).await
    }

    /// The name of the database that has all migrations of this program, made by the first test
    /// that needs it.
    pub async fn template(&self) -> Result<String, TestingError> {
        let mut hash = Sha256::new();
        for migration in migrations().iter() {
            hash.update(migration.version.to_be_bytes());
            hash.update(&migration.checksum);
        }
        let hash = hex::encode(hash.finalize());
        let name = format!("template_{}", hash.get(..16).unwrap_or(&hash));
        let made = self.generation.join(&name);
        if made.exists() {
            return Ok(name);
        }
        let _lock = lock().await?;
        if made.exists() {
            return Ok(name);
        }
        let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
        self.admin("drop an unfinished template", drop).await?;
        self.create_database(&name, "template0").await?;
        let few = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
        let database = Database::connect_with(self.socket_options(&name), &few).await?;
        let migrated = database.migrate().await;
        database.close().await;
        migrated?;
        File::create(&made).map_err(io("write", &made))?;
        Ok(name)
    }

    /// The same password, checked with less work.
    async fn make_password_cheap(&self) -> Result<(), TestingError> {
        let verifier = crypto::scram_verifier(&self.password).map_err(|_| EmbeddedError::Random)?;
        let statement = format!("ALTER ROLE \"{}\" PASSWORD '{verifier}'", self.username);
        self.admin("set a password", statement).await
    }

    async fn admin(&self, attempt: &'static str, statement: String) -> Result<(), TestingError> {
        let failed = |source| TestingError::Sql { attempt, source };
        let mut connection = self.connect("postgres").await?;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.map_err(failed)?;
        connection.close().await.map_err(failed)
    }
}

fn options(generation: &Path) -> ClusterOptions {
    let settings = [
        ("max_connections", "300"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("max_wal_size", "256MB"),
        ("jit", "off"),
        // Here the server's log is for the author of a test.
        ("log_min_messages", "warning"),
        ("log_error_verbosity", "default"),
    ];
    ClusterOptions {
        network: Network::Loopback { port: 0, tls: true },
        fsync: false,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ClusterOptions::new(generation.join("cluster"))
    }
}

fn base() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let size = statvfs(MEMORY).map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize));
    Path::new(if size >= MEMORY_BYTES { MEMORY } else { DISK })
        .join(format!("nexplane-test-{uid}-{LAYOUT}"))
}

/// All generations with their age in seconds.
fn generations() -> Vec<(u64, PathBuf)> {
    let now = unix_seconds();
    let Ok(entries) = fs::read_dir(base()) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let (started, _) = name.to_str()?.strip_prefix('g')?.split_once('-')?;
            let started: u64 = started.parse().ok()?;
            Some((now.saturating_sub(started), entry.path()))
        })
        .collect()
}

/// Tells the watchdog of a generation that this process uses it. Fails when the generation is
/// closed: its `users` folder is gone.
fn register(generation: &Path) -> io::Result<()> {
    File::create(generation.join("users").join(process::id().to_string())).map(drop)
}

/// Makes a new generation with its watchdog and removes forgotten ones. The lock is held.
async fn prepare() -> Result<PathBuf, TestingError> {
    for (age, old) in generations() {
        if age > REMOVE_AFTER_SECONDS {
            let data = old.join("cluster/data");
            let _ = tokio::task::spawn_blocking(move || stop_left_behind(&data)).await;
            let _ = fs::remove_dir_all(&old);
        }
    }
    let random = Uuid::new_v4().simple().to_string();
    let name = format!("g{}-{}", unix_seconds(), random.get(..6).unwrap_or(&random));
    let generation = base().join(name);
    let users = generation.join("users");
    make_directory(&generation)?;
    make_directory(&users)?;
    register(&generation).map_err(io("write in", &users))?;
    let watchdog = generation.join("watchdog.sh");
    fs::write(&watchdog, WATCHDOG).map_err(io("write", &watchdog))?;
    Command::new("/bin/sh")
        .arg(&watchdog)
        .arg(&generation)
        .args([STOP_WHEN_IDLE_SECONDS.to_string(), STOP_AFTER_SECONDS.to_string()])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        // Neither Ctrl-C nor a test runner that ends a test's process group is meant for it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io("run", "/bin/sh"))?;
    Ok(generation)
}

/// Writable for us only; others may pass, because PostgreSQL may run as another user.
fn make_directory(path: &Path) -> Result<(), TestingError> {
    match DirBuilder::new().mode(0o711).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io("create", path)(error)),
    }
    let found = fs::symlink_metadata(path).map_err(io("read", path))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "it is somebody else's");
        return Err(io("use", path)(source));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
        .map_err(io("set the permissions of", path))
}

/// Waits for the lock without blocking a thread; given back when the file is closed.
async fn lock() -> Result<File, TestingError> {
    make_directory(&base())?;
    let path = base().join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    let deadline = std::time::Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if std::time::Instant::now() > deadline => {
                return Err(TestingError::Busy { seconds: LOCK_WITHIN.as_secs() });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn io(attempt: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> TestingError {
    let path = path.as_ref().display().to_string();
    move |source| TestingError::Io { attempt, path, source }
}
