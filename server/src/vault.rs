//! The secret table, as the server uses it: kinds, owners and the pool in one place.

use nexplane_connectors::sdk::{SecretJson, SecretText};
use nexplane_core::id::SecretId;
use nexplane_store::secret::{SealedSecret, SecretBytes, SecretError, SecretStore};
use sqlx::PgPool;

#[derive(Clone, Debug)]
pub struct Vault {
    store: SecretStore,
    pool: PgPool,
}

/// What a secret is; shown to people who look at the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BeforeState,
    Credentials,
    Key,
    Produced,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeState => "before-state",
            Self::Credentials => "credentials",
            Self::Key => "key",
            Self::Produced => "produced",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Store(#[from] SecretError),
    #[error("a stored secret is not what it was stored as")]
    Shape,
}

impl VaultError {
    /// The database did not answer; the same request may be answered later.
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Store(SecretError::Database { .. }))
    }
}

impl Vault {
    pub const fn new(store: SecretStore, pool: PgPool) -> Self {
        Self { store, pool }
    }

    /// The table itself, for work on its keys.
    pub const fn store(&self) -> &SecretStore {
        &self.store
    }

    /// Encrypts and stores; the id is the only way back to it, together with the owner.
    pub async fn seal(
        &self,
        owner: &str,
        kind: Kind,
        name: &str,
        bytes: &[u8],
    ) -> Result<SecretId, VaultError> {
        let value = SecretBytes::new(bytes.to_vec());
        Ok(self.store.put(&self.pool, owner, kind.as_str(), name, &value).await?)
    }

    /// Encrypts without storing; no database is asked.
    pub fn seal_apart(&self, owner: &str, bytes: &[u8]) -> Result<SealedSecret, VaultError> {
        Ok(self.store.seal_apart(owner, &SecretBytes::new(bytes.to_vec()))?)
    }

    /// Stores what was sealed apart. Doing it again is nothing.
    pub async fn put_sealed(
        &self,
        owner: &str,
        kind: Kind,
        name: &str,
        secret: &SealedSecret,
    ) -> Result<(), VaultError> {
        Ok(self.store.put_sealed(&self.pool, owner, kind.as_str(), name, secret).await?)
    }

    pub async fn open(&self, owner: &str, id: SecretId) -> Result<SecretBytes, VaultError> {
        Ok(self.store.open(&self.pool, id, owner).await?)
    }

    pub async fn open_json(&self, owner: &str, id: SecretId) -> Result<SecretJson, VaultError> {
        let bytes = self.open(owner, id).await?;
        SecretJson::from_slice(bytes.expose()).map_err(|_| VaultError::Shape)
    }

    /// A produced secret, once.
    pub async fn reveal(&self, owner: &str, id: SecretId) -> Result<SecretText, VaultError> {
        let bytes = self.store.reveal_once(&self.pool, id, owner).await?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| VaultError::Shape)?;
        Ok(SecretText::new(text.to_owned()))
    }

    pub async fn delete(&self, owner: &str, id: SecretId) -> Result<(), VaultError> {
        self.store.delete(&self.pool, id, owner).await?;
        Ok(())
    }
}
