//! The tables and what is sealed in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use nexplane_core::id::SecretId;
use sqlx::{Acquire, PgConnection, PgExecutor, PgPool, Postgres};
use uuid::Uuid;

use super::crypto::{self, CryptoError};
use super::keyring::{KeyId, Keyring, KeyringError};
use super::value::SecretBytes;

/// The longest value: room for a certificate chain with its key. The table checks it too.
const VALUE_BYTES: usize = 64 * 1024;
/// Data keys that one transaction of a rotation rewraps.
const ROTATION_BATCH: i64 = 200;
/// The first version of a secret.
const FIRST: i32 = 1;

/// Why a secret was not stored or opened. No variant contains a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("there is no secret {id}")]
    NotFound { id: SecretId },

    #[error("secret {id} does not belong to {owner}")]
    WrongOwner { id: SecretId, owner: String },

    #[error("secret {id} was already shown")]
    AlreadyRevealed { id: SecretId },

    #[error("secret {id} cannot be opened: its row is not what was written")]
    Damaged { id: SecretId },

    #[error("secret {id} needs the key-encryption key {key}, which is not in the keyring")]
    MissingKey { id: SecretId, key: KeyId },

    #[error("a secret has at most {limit} bytes, this one has {length}")]
    TooLong { length: usize, limit: usize },

    #[error("the value could not be sealed")]
    Seal,

    #[error("cannot {attempt}")]
    Database {
        attempt: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

/// One key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    pub id: KeyId,
    /// It wraps what is written from now on.
    pub current: bool,
    /// The keyring has it. Otherwise what it wraps cannot be opened.
    pub present: bool,
    /// Versions of secrets.
    pub wraps: u64,
}

/// What a rotation of the key-encryption key did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KekRotation {
    /// Versions whose data key is now wrapped by the current key.
    pub rewrapped: u64,
    /// Secrets with a version that could not be opened (missing key, damaged row): still wrapped by
    /// an older key, which must be kept.
    pub failed: Vec<SecretId>,
}

/// Seals values into the database and opens them again.
#[derive(Debug, Clone)]
pub struct SecretStore {
    keyring: Arc<RwLock<Arc<Keyring>>>,
    /// Read again when a secret needs a key that the keyring does not have.
    file: Option<Arc<Path>>,
}

/// One row of `secret_versions` with the columns of `secrets` that matter.
#[derive(sqlx::FromRow)]
struct Row {
    owner: String,
    version: i32,
    key_id: String,
    wrapped_key: Vec<u8>,
    sealed: Vec<u8>,
}

impl SecretStore {
    /// With a keyring that stays as it is.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring: Arc::new(RwLock::new(keyring)), file: None }
    }

    /// With the keyring of a file, which is made when there is none ([`Keyring::open`]). A key that
    /// is put into the file later is known here as soon as a secret needs it, and wraps what is
    /// written from then on.
    pub fn with_file(path: &Path) -> Result<Self, KeyringError> {
        let keyring = Arc::new(RwLock::new(Arc::new(Keyring::open(path)?)));
        Ok(Self { keyring, file: Some(path.into()) })
    }

    fn keyring(&self) -> Arc<Keyring> {
        // A keyring is replaced as a whole, so it is whole whatever happened to the one who did it.
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keyring with this key, from the file if need be.
    fn keyring_with(&self, id: &KeyId) -> Option<Arc<Keyring>> {
        let known = self.keyring();
        if known.contains(id) {
            return Some(known);
        }
        let read = Arc::new(Keyring::open(self.file.as_deref()?).ok()?);
        let found = read.contains(id);
        if found {
            *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
        }
        found.then_some(read)
    }

    /// Stores a new secret of `owner`. `kind` and `name` are shown to people.
    pub async fn put(
        &self,
        executor: impl PgExecutor<'_>,
        owner: &str,
        kind: &str,
        name: &str,
        value: &SecretBytes,
    ) -> Result<SecretId, SecretError> {
        let sealed = self.seal_apart(owner, value)?;
        self.put_sealed(executor, owner, kind, name, &sealed).await?;
        Ok(sealed.id)
    }

    /// Seals a new secret without storing it. No database is asked.
    pub fn seal_apart(
        &self,
        owner: &str,
        value: &SecretBytes,
    ) -> Result<SealedSecret, SecretError> {
        let id = SecretId(Uuid::now_v7());
        let Envelope { key_id, wrapped_key, sealed } = self.seal(id, owner, FIRST, value)?;
        Ok(SealedSecret { id, key_id: key_id.as_str().to_owned(), wrapped_key, sealed })
    }

    /// Stores what was sealed for this owner; nothing happens when it is there already.
    pub async fn put_sealed(
        &self,
        executor: impl PgExecutor<'_>,
        owner: &str,
        kind: &str,
        name: &str,
        secret: &SealedSecret,
    ) -> Result<(), SecretError> {
        sqlx::query(
            "WITH secret AS (
                 INSERT INTO nexplane.secrets (id, owner, kind, name, version)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING
             )
             INSERT INTO nexplane.secret_versions (secret_id, version, key_id, wrapped_key, sealed)
             VALUES ($1, $5, $6, $7, $8)
             ON CONFLICT DO NOTHING",
        )
        .bind(secret.id.0)
        .bind(owner)
        .bind(kind)
        .bind(name)
        .bind(FIRST)
        .bind(&secret.key_id)
        .bind(&secret.wrapped_key)
        .bind(&secret.sealed)
        .execute(executor)
        .await
        .map_err(failed("store a secret"))?;
        Ok(())
    }

    /// Stores a newer value and returns its version, from 2. The older ones stay, so that a change
    /// can be undone; see [`SecretStore::open_version`]. A secret that was shown once can be shown
    /// once again.
    pub async fn put_version(
        &self,
        connection: impl Acquire<'_, Database = Postgres>,
        id: SecretId,
        owner: &str,
        value: &SecretBytes,
    ) -> Result<i32, SecretError> {
        let failed = || failed("store a version of a secret");
        let mut transaction = connection.begin().await.map_err(failed())?;
        let known: Option<(String, i32)> = sqlx::query_as(
            "UPDATE nexplane.secrets SET version = version + 1, revealed_at = NULL
             WHERE id = $1 RETURNING owner, version",
        )
        .bind(id.0)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed())?;
        let (known_owner, version) = known.ok_or(SecretError::NotFound { id })?;
        check_owner(id, &known_owner, owner)?;
        let envelope = self.seal(id, owner, version, value)?;
        sqlx::query(
            "INSERT INTO nexplane.secret_versions (secret_id, version, key_id, wrapped_key, sealed)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id.0)
        .bind(version)
        .bind(envelope.key_id.as_str())
        .bind(envelope.wrapped_key)
        .bind(envelope.sealed)
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(version)
    }

    /// The newest value, for `owner` only.
    pub async fn open(
        &self,
        executor: impl PgExecutor<'_>,
        id: SecretId,
        owner: &str,
    ) -> Result<SecretBytes, SecretError> {
        self.open_row(id, owner, fetch(executor, id, None).await?)
    }

    /// An older value, for `owner` only.
    pub async fn open_version(
        &self,
        executor: impl PgExecutor<'_>,
        id: SecretId,
        owner: &str,
        version: i32,
    ) -> Result<SecretBytes, SecretError> {
        self.open_row(id, owner, fetch(executor, id, Some(version)).await?)
    }

    /// The newest value, the first time only: of several callers at once, one gets it and the
    /// others get [`SecretError::AlreadyRevealed`]. A caller's own transaction must be committed
    /// before the value is shown to anybody.
    pub async fn reveal_once(
        &self,
        connection: impl Acquire<'_, Database = Postgres>,
        id: SecretId,
        owner: &str,
    ) -> Result<SecretBytes, SecretError> {
        let failed = || failed("reveal a secret");
        let mut transaction = connection.begin().await.map_err(failed())?;
        let known: Option<(String, bool)> = sqlx::query_as(
            "SELECT owner, revealed_at IS NOT NULL FROM nexplane.secrets WHERE id = $1 FOR UPDATE",
        )
        .bind(id.0)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed())?;
        let (known_owner, revealed) = known.ok_or(SecretError::NotFound { id })?;
        check_owner(id, &known_owner, owner)?;
        if revealed {
            return Err(SecretError::AlreadyRevealed { id });
        }
        let value = self.open(&mut *transaction, id, owner).await?;
        sqlx::query("UPDATE nexplane.secrets SET revealed_at = now() WHERE id = $1")
            .bind(id.0)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        Ok(value)
    }

    /// Removes a secret of `owner` with all its versions. False when there is none.
    pub async fn delete(
        &self,
        executor: impl PgExecutor<'_>,
        id: SecretId,
        owner: &str,
    ) -> Result<bool, SecretError> {
        let deleted = sqlx::query("DELETE FROM nexplane.secrets WHERE id = $1 AND owner = $2")
            .bind(id.0)
            .bind(owner)
            .execute(executor)
            .await
            .map_err(failed("delete a secret"))?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Wraps every data key with the current key-encryption key; values are not decrypted. May be
    /// interrupted and run again, also beside writers and a second rotation.
    pub async fn rotate_kek(&self, pool: &PgPool) -> Result<KekRotation, SecretError> {
        let keyring = self.keyring();
        let mut rotation = KekRotation::default();
        let mut after = (Uuid::nil(), 0);
        loop {
            let mut transaction = pool.begin().await.map_err(failed("rotate the key"))?;
            let last = self.rotate_batch(&mut transaction, &keyring, after, &mut rotation).await?;
            transaction.commit().await.map_err(failed("rotate the key"))?;
            let Some(last) = last else { return Ok(rotation) };
            after = last;
        }
    }

    /// Every key-encryption key of the keyring or of a stored secret, with the number of secret
    /// versions that it wraps.
    pub async fn keys_in_use(
        &self,
        executor: impl PgExecutor<'_>,
    ) -> Result<Vec<KeyUse>, SecretError> {
        let counted: Vec<(String, i64)> =
            sqlx::query_as("SELECT key_id, count(*) FROM nexplane.secret_versions GROUP BY key_id")
                .fetch_all(executor)
                .await
                .map_err(failed("count the keys in use"))?;
        let keyring = self.keyring();
        let mut uses: BTreeMap<KeyId, u64> = keyring.ids().map(|id| (id.clone(), 0)).collect();
        for (id, count) in counted {
            uses.insert(KeyId::from_column(id), count.unsigned_abs());
        }
        let known = |id: KeyId, wraps| KeyUse {
            current: id == *keyring.current(),
            present: keyring.contains(&id),
            id,
            wraps,
        };
        Ok(uses.into_iter().map(|(id, wraps)| known(id, wraps)).collect())
    }

    /// Key-encryption keys that some secret needs and that the keyring does not have: those
    /// secrets are lost unless the keys are brought back.
    pub async fn missing_keys(
        &self,
        executor: impl PgExecutor<'_>,
    ) -> Result<Vec<KeyId>, SecretError> {
        let used: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT key_id FROM nexplane.secret_versions")
                .fetch_all(executor)
                .await
                .map_err(failed("list the keys in use"))?;
        let used = used.into_iter().map(KeyId::from_column);
        let keyring = self.keyring();
        Ok(used.filter(|key| !keyring.contains(key)).collect())
    }

    /// Rewraps the next rows after `after`; returns the last of them, nothing at the end.
    async fn rotate_batch(
        &self,
        connection: &mut PgConnection,
        keyring: &Keyring,
        after: (Uuid, i32),
        rotation: &mut KekRotation,
    ) -> Result<Option<(Uuid, i32)>, SecretError> {
        let rows: Vec<(Uuid, i32, String, String, Vec<u8>)> = sqlx::query_as(
            "SELECT v.secret_id, v.version, s.owner, v.key_id, v.wrapped_key
             FROM nexplane.secret_versions v JOIN nexplane.secrets s ON s.id = v.secret_id
             WHERE v.key_id <> $1 AND (v.secret_id, v.version) > ($2, $3)
             ORDER BY v.secret_id, v.version LIMIT $4
             FOR UPDATE OF v",
        )
        .bind(keyring.current().as_str())
        .bind(after.0)
        .bind(after.1)
        .bind(ROTATION_BATCH)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("read the wrapped keys"))?;
        let mut last = None;
        for (secret, version, owner, key_id, wrapped) in rows {
            last = Some((secret, version));
            let id = SecretId(secret);
            let context = context(id, version, &owner);
            let Ok(wrapped) = self.rewrap(keyring, id, &context, key_id, &wrapped) else {
                if rotation.failed.last() != Some(&id) {
                    rotation.failed.push(id);
                }
                continue;
            };
            sqlx::query(
                "UPDATE nexplane.secret_versions SET key_id = $3, wrapped_key = $4
                 WHERE secret_id = $1 AND version = $2",
            )
            .bind(secret)
            .bind(version)
            .bind(keyring.current().as_str())
            .bind(wrapped)
            .execute(&mut *connection)
            .await
            .map_err(failed("write a wrapped key"))?;
            rotation.rewrapped += 1;
        }
        Ok(last)
    }

    fn rewrap(
        &self,
        keyring: &Keyring,
        id: SecretId,
        context: &Context,
        key_id: String,
        wrapped: &[u8],
    ) -> Result<Vec<u8>, SecretError> {
        let key = self.unwrap_key(id, context, key_id, wrapped)?;
        wrap(keyring, context, &key).map_err(|CryptoError| SecretError::Seal)
    }

    fn seal(
        &self,
        id: SecretId,
        owner: &str,
        version: i32,
        value: &SecretBytes,
    ) -> Result<Envelope, SecretError> {
        let length = value.expose().len();
        if length > VALUE_BYTES {
            return Err(SecretError::TooLong { length, limit: VALUE_BYTES });
        }
        let context = context(id, version, owner);
        let keyring = self.keyring();
        let sealed = || {
            let key = crypto::random_key()?;
            let sealed = crypto::seal(&key, &context.value, value.expose())?;
            let wrapped_key = wrap(&keyring, &context, &key)?;
            Ok(Envelope { key_id: keyring.current().clone(), wrapped_key, sealed })
        };
        sealed().map_err(|CryptoError| SecretError::Seal)
    }

    fn unwrap_key(
        &self,
        id: SecretId,
        context: &Context,
        key_id: String,
        wrapped: &[u8],
    ) -> Result<crypto::Key, SecretError> {
        let key_id = KeyId::from_column(key_id);
        let keyring = self.keyring_with(&key_id);
        let Some(kek) = keyring.as_ref().and_then(|keyring| keyring.key(&key_id)) else {
            return Err(SecretError::MissingKey { id, key: key_id });
        };
        crypto::open(kek, &context.key, wrapped)
            .ok()
            .and_then(|bytes| crypto::key_from(&bytes))
            .ok_or(SecretError::Damaged { id })
    }

    /// What the caller says is what must have been sealed: the row is only asked for its version.
    fn open_row(
        &self,
        id: SecretId,
        owner: &str,
        row: Option<Row>,
    ) -> Result<SecretBytes, SecretError> {
        let row = row.ok_or(SecretError::NotFound { id })?;
        check_owner(id, &row.owner, owner)?;
        let context = context(id, row.version, owner);
        let key = self.unwrap_key(id, &context, row.key_id, &row.wrapped_key)?;
        crypto::open(&key, &context.value, &row.sealed)
            .map(SecretBytes::from)
            .map_err(|CryptoError| SecretError::Damaged { id })
    }
}

fn wrap(keyring: &Keyring, context: &Context, key: &crypto::Key) -> Result<Vec<u8>, CryptoError> {
    let kek = keyring.current_key().ok_or(CryptoError)?;
    crypto::seal(kek, &context.key, key.as_slice())
}

/// A secret that is sealed and not in the database yet. It opens only there, for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub id: SecretId,
    /// The key-encryption key that its data key is wrapped with.
    pub key_id: String,
    pub wrapped_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

/// What goes into one row of `secret_versions`.
struct Envelope {
    key_id: KeyId,
    wrapped_key: Vec<u8>,
    sealed: Vec<u8>,
}

/// Additional authenticated data of the value and of its data key.
struct Context {
    value: Vec<u8>,
    key: Vec<u8>,
}

/// The label, the id and the version have fixed lengths and the owner is the rest: no two different
/// secrets have the same bytes.
fn context(id: SecretId, version: i32, owner: &str) -> Context {
    let bound = |label: &[u8; 24]| {
        [label, id.0.as_bytes().as_slice(), &version.to_be_bytes(), owner.as_bytes()].concat()
    };
    Context { value: bound(b"nexplane secret value v1"), key: bound(b"nexplane secret key   v1") }
}

fn check_owner(id: SecretId, known: &str, owner: &str) -> Result<(), SecretError> {
    if known == owner {
        Ok(())
    } else {
        Err(SecretError::WrongOwner { id, owner: owner.to_owned() })
    }
}

/// The newest version of a secret, or a certain one.
async fn fetch(
    executor: impl PgExecutor<'_>,
    id: SecretId,
    version: Option<i32>,
) -> Result<Option<Row>, SecretError> {
    sqlx::query_as(
        "SELECT s.owner, v.version, v.key_id, v.wrapped_key, v.sealed
         FROM nexplane.secrets s
         JOIN nexplane.secret_versions v
           ON v.secret_id = s.id AND v.version = coalesce($2, s.version)
         WHERE s.id = $1",
    )
    .bind(id.0)
    .bind(version)
    .fetch_optional(executor)
    .await
    .map_err(failed("read a secret"))
}

fn failed(attempt: &'static str) -> impl FnOnce(sqlx::Error) -> SecretError {
    move |source| SecretError::Database { attempt, source }
}
