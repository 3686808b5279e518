//! From configuration to open parts: database, log, keys. Used by the server and by commands beside
//! a running one.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use nexplane_connectors::sdk::DigestKey;
use nexplane_store::database::{Database, DatabaseOptions, Role};
use nexplane_store::embedded::{Cluster, ClusterOptions, EmbeddedError};
use nexplane_store::log::{Log, LogOptions};
use nexplane_store::secret::{Keyring, SecretStore};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::auth::{self, JwtKey, People};
use crate::config::Options;
use crate::directory::Directory;
use crate::vault::{Kind, Vault};

/// Of a server's pool.
const CONNECTIONS: u32 = 32;
/// Name of the private database.
const DATABASE: &str = "nexplane";
/// Who owns the installation's own keys in the secret table.
pub const INSTALLATION: &str = "installation";

/// Open parts that every command needs.
#[derive(Debug)]
pub struct Opened {
    pub data_dir: PathBuf,
    pub pool: PgPool,
    pub log: Log,
    /// The database as the login sees it, without a role.
    pub target: PgConnectOptions,
    pub directory: Directory,
    pub vault: Vault,
    pub people: People,
    /// The private database, when this process runs it.
    pub cluster: Option<Cluster>,
}

/// What a running server leaves in its data directory for commands beside it.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    database_url: String,
}

/// Opens everything, for one command.
pub async fn open(options: &Options) -> anyhow::Result<Opened> {
    open_with(options, false).await
}

/// The same for a server, with all connections at once.
pub async fn open_for_load(options: &Options) -> anyhow::Result<Opened> {
    open_with(options, true).await
}

async fn open_with(options: &Options, at_once: bool) -> anyhow::Result<Opened> {
    let data_dir = options.data_dir()?;
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make the data directory {}", data_dir.display()))?;
    let (target, cluster) = database(options, &data_dir).await?;
    let database_options =
        DatabaseOptions { max_connections: CONNECTIONS, at_once, ..DatabaseOptions::default() };
    let database = Database::open(target.clone(), &database_options)
        .await
        .context("cannot open the database")?;
    let pool = database.pool().clone();
    let log = Log::open(pool.clone(), Role::Append.at(target.clone()), LogOptions::default())
        .await
        .context("cannot open the event log")?;
    let vault = Vault::new(secret_store(&data_dir)?, pool.clone());
    let directory = Directory::new(pool.clone());
    let jwt = key(&directory, &vault, "jwt", || Ok(JwtKey::generate())).await?;
    let jwt = JwtKey::from_pkcs8(&jwt)
        .map_err(|error| anyhow::anyhow!("the stored token key cannot be used: {error}"))?;
    let people = People::new(log.clone(), directory.clone(), Arc::new(jwt));
    Ok(Opened { data_dir, pool, log, target, directory, vault, people, cluster })
}

/// Where the database is; the private one runs on return.
pub async fn database(
    options: &Options,
    data_dir: &Path,
) -> anyhow::Result<(PgConnectOptions, Option<Cluster>)> {
    match &options.database_url {
        Some(url) => Ok((
            PgConnectOptions::from_str(url).context("DATABASE_URL is not a PostgreSQL URL")?,
            None,
        )),
        None => private(data_dir).await,
    }
}

/// Starts the private cluster, or finds the one that a running server has open.
async fn private(data_dir: &Path) -> anyhow::Result<(PgConnectOptions, Option<Cluster>)> {
    let options = ClusterOptions::new(data_dir.join("postgres"));
    match Cluster::open(options).await {
        Ok(cluster) => {
            cluster.create_database(DATABASE).await?;
            let target = cluster.connect_options(DATABASE);
            let beside = Beside { database_url: cluster.url(DATABASE).expose_secret().to_owned() };
            write_private(&data_dir.join("running.json"), &serde_json::to_vec(&beside)?)?;
            Ok((target, Some(cluster)))
        }
        Err(EmbeddedError::InUse { .. }) => {
            let path = data_dir.join("running.json");
            let text = std::fs::read(&path).with_context(|| {
                format!("a server is starting in {}; try again in a moment", data_dir.display())
            })?;
            let beside: Beside = serde_json::from_slice(&text)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let target = PgConnectOptions::from_str(&beside.database_url)
                .context("the running server's database address cannot be read")?;
            Ok((target, None))
        }
        Err(error) => Err(error).context("cannot start the private database"),
    }
}

/// Stops the private database.
pub async fn stop(cluster: Cluster, data_dir: &Path) -> anyhow::Result<()> {
    let _ = std::fs::remove_file(data_dir.join("running.json"));
    Ok(cluster.stop().await?)
}

/// With the key-encryption keys of `NEXPLANE_KEK`, or of a file in the data directory that is made
/// once.
fn secret_store(data_dir: &Path) -> anyhow::Result<SecretStore> {
    match std::env::var("NEXPLANE_KEK") {
        Ok(text) => {
            let keyring = Keyring::parse(&text).context("NEXPLANE_KEK cannot be used")?;
            Ok(SecretStore::new(Arc::new(keyring)))
        }
        Err(std::env::VarError::NotPresent) => {
            let path = keyring_file(data_dir);
            SecretStore::with_file(&path).with_context(|| format!("cannot use {}", path.display()))
        }
        Err(error) => bail!("NEXPLANE_KEK cannot be read: {error}"),
    }
}

/// Where the key-encryption keys are when they are not in the environment.
pub fn keyring_file(data_dir: &Path) -> PathBuf {
    data_dir.join("kek")
}

/// A key of the installation, made the first time and kept encrypted in the database.
pub async fn key(
    directory: &Directory,
    vault: &Vault,
    name: &str,
    make: impl FnOnce() -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Vec<u8>> {
    let id = directory
        .installation(&format!("key:{name}"), async || {
            let made = zeroize::Zeroizing::new(make()?);
            Ok(vault.seal(INSTALLATION, Kind::Key, name, &made).await?.to_string())
        })
        .await?;
    let id = id.parse().context("the installation table names a key that is not one")?;
    let bytes = vault.open(INSTALLATION, id).await.with_context(|| {
        format!("cannot open the installation's key '{name}': is this the right key file or NEXPLANE_KEK?")
    })?;
    Ok(bytes.expose().to_vec())
}

/// The key under which secrets enter fingerprints.
pub async fn digest_key(directory: &Directory, vault: &Vault) -> anyhow::Result<DigestKey> {
    let bytes = key(directory, vault, "fingerprint", || Ok(auth::random::<32>().to_vec())).await?;
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| anyhow::anyhow!("the fingerprint key is not 32 bytes"))?;
    Ok(DigestKey::new(&bytes))
}

/// Writes a file that only its owner can read, all of it or nothing.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let dir = path.parent().context("a file has to be in a directory")?;
    let mut file = tempfile::Builder::new()
        .tempfile_in(dir)
        .with_context(|| format!("cannot write in {}", dir.display()))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

impl Opened {
    /// Writes what is queued, and stops the private database if it is ours.
    pub async fn close(self) -> anyhow::Result<()> {
        self.log.close().await;
        self.pool.close().await;
        match self.cluster {
            Some(cluster) => stop(cluster, &self.data_dir).await,
            None => Ok(()),
        }
    }
}
