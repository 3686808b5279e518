//! Follows the log and signs it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexplane_core::proof::checkpoint::{self, BadCheckpoint, Checkpoint, Unverified};
use nexplane_core::proof::note::{BadNote, Note, Unsigned};
use nexplane_core::proof::tree::OutOfRange;
use nexplane_store::log::seal::{SealError, Sealed, Seals};
use nexplane_store::log::{Cursor, Log, ReadError, Subscription};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::growing::Growing;
use super::key::{KeyError, LogKey};
use super::memory::{Memory, MemoryError};
use super::origin;
use crate::problem::chain;

/// An event is sealed at the latest this long after the sealer saw it.
const WITHIN: Duration = Duration::from_secs(1);
/// With this many events there is no waiting.
const EVENTS: u64 = 256;
/// Between two checkpoints under load: each costs two durable writes beside the log's own.
const AT_LEAST_BETWEEN: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);

/// The newest checkpoint of this sealer: size and signed note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    pub size: u64,
    pub note: String,
}

/// Why there is no further checkpoint. All but `Unavailable` and `Log` with a database that is away
/// are for a person to look into: the sealer does not sign what it cannot answer for.
#[derive(Debug, thiserror::Error)]
pub enum SealerError {
    #[error("another process of this machine seals this log")]
    Busy,
    #[error(
        "this log was sealed up to size {size} by somebody whose key and memory are not in {}",
        dir.display()
    )]
    NotOurs { size: u64, dir: PathBuf },
    #[error(
        "the database has a checkpoint of size {found}, but this sealer signed {remembered} last: its \
         memory is of an earlier time, or somebody has its key"
    )]
    OldMemory { found: u64, remembered: u64 },
    #[error(
        "the log in the database is not the one that was signed: at size {size} its tree has another \
         root"
    )]
    Rewritten { size: u64 },
    #[error("the log has {found} events, fewer than the {signed} that were signed")]
    Shorter { found: u64, signed: u64 },
    #[error("the newest checkpoint in the database was not signed by this log's key")]
    Foreign(#[source] Unverified),
    #[error("the tiles in the database are not whole")]
    Tiles,
    #[error("a checkpoint could not be made")]
    Checkpoint(#[from] BadCheckpoint),
    #[error("a note could not be made")]
    Note(#[from] BadNote),
    #[error("a checkpoint could not be signed")]
    Sign(#[from] Unsigned),
    #[error("the log is longer than a tree can be")]
    Size(#[from] OutOfRange),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("cannot use {}", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not follow the log")]
    Log(#[source] ReadError),
    #[error("could not store a checkpoint")]
    Seal(#[source] SealError),
}

impl SealerError {
    /// Whether trying again later can help.
    fn passes(&self) -> bool {
        match self {
            Self::Log(ReadError::Unavailable(_)) | Self::Seal(SealError::Unavailable(_)) => true,
            Self::Busy
            | Self::NotOurs { .. }
            | Self::OldMemory { .. }
            | Self::Rewritten { .. }
            | Self::Shorter { .. }
            | Self::Foreign(_)
            | Self::Tiles
            | Self::Checkpoint(_)
            | Self::Note(_)
            | Self::Sign(_)
            | Self::Size(_)
            | Self::Key(_)
            | Self::Memory(_)
            | Self::Directory { .. }
            | Self::Log(_)
            | Self::Seal(_) => false,
        }
    }
}

/// Seals one log. See the module.
#[derive(Debug)]
pub struct Sealer {
    log: Log,
    seals: Seals,
    dir: PathBuf,
    key: LogKey,
    memory: Option<Memory>,
    signed: watch::Sender<Signed>,
    /// While this is held, nobody else on this machine seals.
    _lock: File,
}

impl Sealer {
    /// Takes the sealing of this log over, or says why this machine does not. The directory holds the
    /// key and the memory.
    pub async fn open(log: Log, seals: Seals, dir: &Path) -> Result<Self, SealerError> {
        let directory = |source| SealerError::Directory { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(directory)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(directory)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SealerError::Busy),
            Err(TryLockError::Error(source)) => return Err(directory(source)),
        }
        let incarnation = seals.incarnation();
        let memory = Memory::open(dir, incarnation)?;
        let newest = seals.newest().await.map_err(SealerError::Seal)?;
        let key = match (LogKey::open(dir, incarnation)?, &memory, &newest) {
            (Some(key), Some(_), _) | (Some(key), None, None) => key,
            (None, None, None) => LogKey::make(dir, incarnation)?,
            (_, _, newest) => {
                let size = newest.as_ref().map_or(0, |newest| newest.size);
                return Err(SealerError::NotOurs { size, dir: dir.to_owned() });
            }
        };
        let signed = watch::channel(Signed::default()).0;
        Ok(Self { log, seals, dir: dir.to_owned(), key, memory, signed, _lock: lock })
    }

    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// Changes with every checkpoint that is stored.
    pub fn signed(&self) -> watch::Receiver<Signed> {
        self.signed.subscribe()
    }

    /// Seals until `stop`, or until something is not as it was signed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SealerError> {
        loop {
            let worked = stop.run_until_cancelled(self.work()).await;
            let Some(Err(error)) = worked else { return Ok(()) };
            if matches!(error, SealerError::Log(ReadError::Closed)) {
                return Ok(());
            }
            if !error.passes() {
                return Err(error);
            }
            tracing::warn!(cause = %chain(&error), "sealing is interrupted; it is taken up again");
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn work(&mut self) -> Result<(), SealerError> {
        let (mut growing, mut stored) = self.resume().await?;
        let mut subscription = self.subscribe(&growing);
        let mut waiting_since: Option<Instant> = None;
        let mut last = Instant::now();
        loop {
            let unsealed = growing.frontier.size() - stored.unwrap_or(0);
            if unsealed > 0 {
                let since = *waiting_since.get_or_insert_with(Instant::now);
                let due = if unsealed >= EVENTS { last + AT_LEAST_BETWEEN } else { since + WITHIN };
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => {
                        self.seal(&mut growing, stored).await?;
                        stored = Some(growing.frontier.size());
                        waiting_since = None;
                        last = Instant::now();
                    }
                    events = subscription.next() => {
                        for event in events.map_err(SealerError::Log)? {
                            growing.add(event.leaf_hash)?;
                        }
                    }
                }
            } else {
                for event in subscription.next().await.map_err(SealerError::Log)? {
                    growing.add(event.leaf_hash)?;
                }
            }
        }
    }

    fn subscribe(&self, growing: &Growing) -> Subscription {
        self.log.subscribe(Cursor {
            incarnation: self.seals.incarnation(),
            position: growing.frontier.size(),
            last_leaf_hash: growing.last_leaf_hash,
        })
    }

    /// Where to go on: the tree of the newest stored checkpoint, carried forward to the one that was
    /// signed last, which is published if a crash came in between. Gives the size of the newest
    /// stored checkpoint, too.
    async fn resume(&mut self) -> Result<(Growing, Option<u64>), SealerError> {
        let newest = self.seals.newest().await.map_err(SealerError::Seal)?;
        let stored = newest.as_ref().map(|newest| newest.size);
        let Some(memory) = &self.memory else { return Ok((Growing::default(), stored)) };
        let signed = memory.frontier.size();
        if let Some(found) = stored.filter(|stored| *stored > signed) {
            return Err(SealerError::OldMemory { found, remembered: signed });
        }
        let head = self.log.head().await.map_err(SealerError::Log)?.next_position;
        if head < signed {
            return Err(SealerError::Shorter { found: head, signed });
        }
        let mut growing = Growing::default();
        if let Some(newest) = &newest {
            let note = Note::parse(newest.note.as_bytes())?;
            let checkpoint =
                checkpoint::verify(&note, self.key.verifier()).map_err(SealerError::Foreign)?;
            growing = Growing::read(&self.seals, newest.size).await?;
            if growing.frontier.root() != *checkpoint.root() || checkpoint.size() != newest.size {
                return Err(SealerError::Rewritten { size: newest.size });
            }
        }
        while growing.frontier.size() < signed {
            let from = growing.frontier.size();
            let wanted = usize::try_from(signed - from).unwrap_or(usize::MAX);
            let events = self.log.read(from, wanted).await.map_err(SealerError::Log)?;
            for event in events {
                growing.add(event.leaf_hash)?;
            }
        }
        if growing.frontier != memory.frontier {
            return Err(SealerError::Rewritten { size: signed });
        }
        growing.last_leaf_hash = memory.last_leaf_hash();
        let last = Signed { size: signed, note: memory.note.clone() };
        if stored == Some(signed) {
            self.signed.send_replace(last);
        } else {
            self.store(&mut growing, stored, last).await?;
        }
        Ok((growing, Some(signed)))
    }

    /// Signs the tree, remembers that durably, and only then shows it to anybody.
    async fn seal(
        &mut self,
        growing: &mut Growing,
        stored: Option<u64>,
    ) -> Result<(), SealerError> {
        let incarnation = self.seals.incarnation();
        let (size, root) = (growing.frontier.size(), growing.frontier.root());
        let checkpoint = Checkpoint::try_new(origin(incarnation), size, root, Vec::new())?;
        let signature = checkpoint.sign(self.key.verifier(), &self.key)?;
        let note = Note::try_new(checkpoint.to_string(), vec![signature])?.to_string();
        let memory = Memory {
            incarnation,
            frontier: growing.frontier.clone(),
            last_leaf_hash: hex::encode(growing.last_leaf_hash.unwrap_or_default()),
            note: note.clone(),
        };
        let dir = self.dir.clone();
        let saving = memory.clone();
        let saved = tokio::task::spawn_blocking(move || saving.save(&dir)).await;
        saved.map_err(|error| MemoryError::Write(error.into()))??;
        self.memory = Some(memory);
        self.store(growing, stored, Signed { size, note }).await
    }

    async fn store(
        &self,
        growing: &mut Growing,
        after: Option<u64>,
        signed: Signed,
    ) -> Result<(), SealerError> {
        let root = growing.frontier.root();
        let sealed = Sealed { size: signed.size, root, note: signed.note.clone() };
        self.seals.put(&sealed, after, &growing.full).await.map_err(SealerError::Seal)?;
        growing.full.clear();
        self.signed.send_replace(signed);
        Ok(())
    }
}
