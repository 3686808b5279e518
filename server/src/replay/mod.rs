//! The past, as it was: the read models of an earlier moment, beside everything else.
//!
//! Records up to a moment are copied, byte for byte, from a database or an export into a private
//! PostgreSQL of the replay's own; the read models are built from them as always, and may be served.
//! Whoever looks at them is a guest with the role auditor. The source is only read, and needs not be
//! the machine's own: an auditor can replay an export on a laptop.
//!
//! What is promised: what is shown is made of nothing but the records. Their tree has the root that the
//! newest checkpoint until then signs, or there is no replay. With a pinned key the signature is
//! verified, too; everything else that can be wrong with a log is for `nexplane audit verify`.
//!
//! What is not in the log is not as it was: names and addresses of people are today's, and unknown in a
//! replay of an export. Ages ("3 days ago") are counted from today.
//!
//! Deliberately absent: a runtime, a gateway, a sealer. Nothing can be changed in a replay: the API
//! refuses it, and in its database nobody has the right to append.

mod guest;
mod source;

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use nexplane_core::proof::checkpoint;
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::record;
use nexplane_core::time::Timestamp;
use nexplane_projections::{Options as ProjectionOptions, Projections, Role as WorkerRole};
use nexplane_store::database::{Database, DatabaseOptions};
use nexplane_store::embedded::{Cluster, ClusterOptions, EmbeddedError};
use nexplane_store::log::copy::Copy;
use nexplane_store::log::seal::{Sealed, Seals};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::config::Options;
use crate::open::{self, Opened};
use crate::seal::Growing;

pub use guest::{Guest, READ_ONLY, ROLES};
pub use source::Source;

/// How often the progress of the read models is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// The last moment that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The event at this position is the last one.
    Position(u64),
    /// The last one is the last that was recorded at or before this moment.
    Time(Timestamp),
}

impl FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let moment = text.parse().map_err(
            |_| "give a position of the log, or a moment such as 2026-11-24T17:00:00Z (RFC 3339)",
        )?;
        Ok(Self::Time(moment))
    }
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Of the last event.
    pub position: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Events under the signed root that the copy was compared with; 0 when there is none.
    pub sealed: u64,
}

/// What is going on, for a progress bar: done and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Copying(u64, u64),
    Building(u64, u64),
}

/// A finished replay, with a database of its own.
pub struct Replay {
    pub moment: Moment,
    pub opened: Opened,
    pub projections: Projections,
    cluster: Cluster,
    directory: std::path::PathBuf,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("moment", &self.moment).finish_non_exhaustive()
    }
}

/// Copies and builds below `directory`, which is the replay's own and removed at its end.
pub async fn build(
    mut source: Source,
    until: Until,
    key: Option<&VerifierKey>,
    directory: &Path,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Replay> {
    let count = source.count_until(&until).await?;
    let cluster = match Cluster::open(ClusterOptions::new(directory.join("postgres"))).await {
        Err(EmbeddedError::InUse { .. }) => {
            anyhow::bail!("another replay is running in {}; stop it first", directory.display())
        }
        other => other.context("cannot start a database for the replay")?,
    };
    // What a killed replay left is in a database of another name, and goes with the directory.
    let name = format!("replay_{}", Uuid::new_v4().simple());
    cluster.create_database(&name).await?;
    let target = cluster.connect_options(&name);
    let few = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
    let database = Database::connect_with(target.clone(), &few).await?;
    database.migrate().await?;

    let checkpoint = source.checkpoint(count)?;
    let mut to_seal = match checkpoint {
        Some((text, stated)) => {
            if let Some(key) = key {
                let note = Note::parse(text.as_bytes())?;
                checkpoint::verify(&note, key).context(
                    "the newest checkpoint until then is not signed by the key that you gave",
                )?;
            }
            Some(Sealed { size: stated.size(), root: *stated.root(), note: text.to_owned() })
        }
        None => None,
    };
    let mut copy = Copy::begin(target.clone(), source.incarnation).await?;
    let mut growing = Growing::default();
    let mut at = None;
    let mut sealed = 0;
    while growing.frontier.size() < count {
        let first = growing.frontier.size();
        let mut records = source.records(first).await?;
        records.truncate(usize::try_from(count - first).unwrap_or(usize::MAX));
        for leaf in copy.add(&records).await? {
            growing.add(leaf)?;
            if let Some(seal) = to_seal.take_if(|seal| seal.size == growing.frontier.size()) {
                ensure!(
                    growing.frontier.root() == seal.root,
                    "the first {} records are not those that were signed; 'nexplane audit verify' \
                     tells what is wrong",
                    seal.size
                );
                let seals = Seals::new(database.pool().clone(), source.incarnation);
                seals.put(&seal, None, &std::mem::take(&mut growing.full)).await?;
                sealed = seal.size;
            }
        }
        at = records.last().map(|record| record::decode(record)).transpose()?.or(at);
        progress(Progress::Copying(growing.frontier.size(), count));
    }
    let at = at.context("the log is empty")?.header.at;
    database.close().await;

    let options = Options {
        data_dir: Some(directory.to_owned()),
        database_url: Some(cluster.url(&name).expose_secret().to_owned()),
        config: None,
    };
    let opened = open::open(&options).await?;
    copy.finish().await?;
    source::enter(&source.people, &opened.directory, at).await?;
    let projections = Projections::open(
        opened.pool.clone(),
        opened.log.clone(),
        nexplane_projections::all(),
        ProjectionOptions::default(),
    )
    .await?;
    projections.start(WorkerRole::Worker);
    while let Err(late) = projections.wait_for(count - 1, LOOK).await {
        let all = projections.status().await?;
        ensure!(
            !late.stalled,
            "the read model '{}' cannot be built: {}",
            late.projection,
            all.iter()
                .find(|row| row.name == late.projection)
                .and_then(|row| row.error.as_deref())
                .unwrap_or("see the log")
        );
        let done = all.iter().map(|row| row.position.min(count)).min().unwrap_or(0);
        progress(Progress::Building(done, count));
    }
    progress(Progress::Building(count, count));
    let moment = Moment { position: count - 1, at, sealed };
    Ok(Replay { moment, opened, projections, cluster, directory: directory.to_owned() })
}

impl Replay {
    /// Stops everything, and removes what it wrote.
    pub async fn end(self) -> anyhow::Result<()> {
        self.projections.stop().await;
        self.opened.close().await?;
        self.cluster.stop().await?;
        std::fs::remove_dir_all(&self.directory)
            .with_context(|| format!("cannot remove {}", self.directory.display()))
    }
}
