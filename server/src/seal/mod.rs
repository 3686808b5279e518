//! Sealing: signing the log's Merkle root, so that whoever keeps a signed root can tell when history
//! was changed afterwards.
//!
//! A sealer follows the log and signs a checkpoint ([`nexplane_core::proof`]) of what it has seen. It
//! does not trust the database: its key and the last tree that it signed are files on its own machine,
//! and every tree that it signs continues that one by construction, because it is made from the
//! remembered tree and the hashes that came after it. Where the database says something else than the
//! memory, the sealer stops and says so; it never signs two histories.
//!
//! There is one sealer per log: the machine that has the key. Servers without it serve the seals that
//! are in the database.
//!
//! Deliberately absent: what is verified later (`nexplane audit verify`), and making the seal wait for
//! witnesses. A server that has lost its memory does not begin a new one; a person has to decide that
//! (`nexplane log fork`).

mod growing;
mod key;
mod memory;
pub mod proof;
mod sealer;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nexplane_core::proof::witness::WitnessPolicy;
use nexplane_store::database::{Database, DatabaseOptions, Role};
use nexplane_store::log::seal::Seals;
use uuid::Uuid;

use crate::open::Opened;
use crate::problem::chain;
use crate::witness::Witnesses;

pub(crate) use growing::Growing;
pub use key::{KeyError, LogKey};
pub use memory::{Memory, MemoryError};
pub use sealer::{Sealer, SealerError, Signed};

/// The name of a log in checkpoints and of its key: a log that was forked is another log.
pub fn origin(incarnation: Uuid) -> String {
    format!("nexplane/{incarnation}")
}

/// Where key and memory are.
pub fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("seal")
}

/// The log's seals, for everybody to read, and the sealer when this machine is the one that seals.
pub async fn start(opened: &Opened) -> anyhow::Result<(Seals, Option<Sealer>)> {
    let seals = writable(opened).await?;
    let incarnation = seals.incarnation();
    let sealer = match Sealer::open(opened.log.clone(), seals, &dir(&opened.data_dir)).await {
        Ok(sealer) => Some(sealer),
        Err(error @ (SealerError::Busy | SealerError::NotOurs { .. })) => {
            tracing::warn!(cause = %chain(&error), "this server does not seal the log");
            None
        }
        Err(error) => return Err(error).context("cannot seal the log"),
    };
    Ok((Seals::new(opened.pool.clone(), incarnation), sealer))
}

/// The witnesses of a policy file, for the server that seals.
pub async fn witnesses(opened: &Opened, path: &Path) -> anyhow::Result<Witnesses> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let policy: WitnessPolicy =
        text.parse().with_context(|| format!("{} is not a witness policy", path.display()))?;
    Ok(Witnesses::new(&policy, writable(opened).await?)?)
}

/// The seals with the right to add to them, over connections of their own.
async fn writable(opened: &Opened) -> anyhow::Result<Seals> {
    let options = DatabaseOptions {
        max_connections: 2,
        application_name: "nexplane-sealer".to_owned(),
        ..DatabaseOptions::default()
    };
    let database = Database::connect_with(Role::Seal.at(opened.target.clone()), &options)
        .await
        .context("cannot open the database for sealing")?;
    let incarnation = opened.log.head().await?.incarnation;
    Ok(Seals::new(database.pool().clone(), incarnation))
}
