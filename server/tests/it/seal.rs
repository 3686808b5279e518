//! What the sealer signs, and what it refuses to sign.

use std::path::Path;
use std::time::Duration;

use nexplane_core::actor::Actor;
use nexplane_core::id::{ChangeId, CommandId};
use nexplane_core::proof::checkpoint;
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::proof::tile;
use nexplane_core::proof::tree::{self, Frontier, Hash};
use nexplane_core::time::Timestamp;
use nexplane_server::seal::{self, Memory, Sealer, SealerError};
use nexplane_store::database::Role;
use nexplane_store::log::seal::Seals;
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use nexplane_store::testing::{TestDatabase, tamper};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The longest that a checkpoint may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    database: TestDatabase,
    log: Log,
    seals: Seals,
    dir: TempDir,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), SealerError>>,
    key: VerifierKey,
    signed: tokio::sync::watch::Receiver<seal::Signed>,
}

impl Running {
    async fn until(&mut self, size: u64) -> String {
        let reached = self.signed.wait_for(|signed| signed.size >= size);
        let signed =
            tokio::time::timeout(PATIENCE, reached).await.expect("sealed in time").unwrap();
        signed.note.clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Stage {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let connect = Role::Append.at(database.options());
        let log = Log::open(database.pool().clone(), connect, LogOptions::default()).await.unwrap();
        let incarnation = log.head().await.unwrap().incarnation;
        let seals = Seals::new(database.pool().clone(), incarnation);
        Self { database, log, seals, dir: tempfile::tempdir().unwrap() }
    }

    async fn sealer(&self, dir: &Path) -> Result<Sealer, SealerError> {
        Sealer::open(self.log.clone(), self.seals.clone(), dir).await
    }

    async fn start(&self) -> Running {
        let sealer = self.sealer(self.dir.path()).await.unwrap();
        let stop = CancellationToken::new();
        let (key, signed) = (sealer.key().verifier().clone(), sealer.signed());
        let task = tokio::spawn(sealer.run(stop.clone()));
        Running { stop, task, key, signed }
    }

    /// Why a sealer that is started now stops.
    async fn refusal(&self) -> SealerError {
        let sealer = self.sealer(self.dir.path()).await.unwrap();
        let run = sealer.run(CancellationToken::new());
        tokio::time::timeout(PATIENCE, run).await.expect("it stops").unwrap_err()
    }

    async fn append(&self, commands: u64, events: usize) {
        let appends = (0..commands).map(|_| self.log.append(append(events)));
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }

    /// The tree of the records that are in the database.
    async fn leaves(&self) -> Vec<Hash> {
        let records = nexplane_store::testing::event_records(self.database.pool()).await.unwrap();
        records.iter().map(|record| tree::leaf_hash(record.as_bytes())).collect()
    }
}

fn append(events: usize) -> Append {
    let command = Uuid::now_v7();
    let event = || NewEvent {
        id: Uuid::now_v7(),
        kind: "test.happened".to_owned(),
        schema: 1,
        data: RawValue::from_string("{}".to_owned()).unwrap(),
    };
    Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream: ChangeId(Uuid::now_v7()).into(),
        expected_version: 0,
        guards: Vec::new(),
        events: (0..events).map(|_| event()).collect(),
        actor: Actor::SYSTEM,
        at: Timestamp::new(jiff::Timestamp::now()),
        correlation: command,
        causation: command,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_under_a_signed_root_and_can_be_proven() {
    let stage = Stage::new().await;
    let mut running = stage.start().await;
    // Through a tile of level 1: 66,000 events have 257 full tiles of level 0.
    stage.append(7, 1).await;
    running.until(7).await;
    for _ in 0..8 {
        stage.append(9, 917).await;
    }
    let size = stage.log.head().await.unwrap().next_position;
    assert!(size > 65_536, "{size}");
    let note = running.until(size).await;
    let note = Note::parse(note.as_bytes()).unwrap();
    let signed = checkpoint::verify(&note, &running.key).unwrap();
    assert_eq!(signed.size(), size);

    let leaves = stage.leaves().await;
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.append(*leaf).unwrap());
    assert_eq!(frontier.root(), *signed.root());
    for position in [0, 6, 7, 255, 256, 65_535, 65_536, size - 1] {
        let proof = seal::proof::of(&stage.log, &stage.seals, position).await.unwrap().unwrap();
        assert_eq!(proof.size, size);
        let path: Vec<Hash> =
            proof.path.iter().map(|h| hex::decode(h).unwrap().try_into().unwrap()).collect();
        let leaf = tree::leaf_hash(proof.record.as_bytes());
        tree::verify_inclusion(position, size, &leaf, &path, signed.root()).unwrap();
    }
    // Every tile is what the records make it, level by level.
    let mut below: Vec<Hash> = leaves;
    for tile in tile::tiles(size).unwrap() {
        let bytes = stage.seals.tile(tile).await.unwrap().expect("every tile is there");
        let hashes = tile.decode(&bytes).unwrap();
        if tile.level() > 0 && tile.index() == 0 {
            below = below.as_chunks::<256>().0.iter().map(|h| tile::parent(h).unwrap()).collect();
        }
        let first = usize::try_from(tile.index()).unwrap() * 256;
        assert_eq!(hashes, below[first..first + hashes.len()], "{tile}");
    }
    // Every earlier checkpoint has the root of its prefix.
    let mut frontier = Frontier::new();
    let mut leaves = stage.leaves().await.into_iter();
    for earlier in stage.seals.list(1, 10_000).await.unwrap() {
        while frontier.size() < earlier.size {
            frontier.append(leaves.next().unwrap()).unwrap();
        }
        assert_eq!(frontier.root(), earlier.root, "size {}", earlier.size);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_start_goes_on_where_the_last_one_ended() {
    let stage = Stage::new().await;
    let mut sizes = Vec::new();
    for events in [3, 300, 1, 513] {
        stage.append(1, events).await;
        let mut running = stage.start().await;
        let size = stage.log.head().await.unwrap().next_position;
        running.until(size).await;
        running.stop().await;
        sizes.push(size);
    }
    // There may be more: what comes in pieces may be sealed in pieces.
    let stored = stage.seals.list(1, 100).await.unwrap();
    let stored: Vec<_> = stored.iter().map(|sealed| sealed.size).collect();
    assert!(sizes.iter().all(|size| stored.contains(size)), "{stored:?}");
    assert_eq!(stored.last(), sizes.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_a_crash_is_published_after_it() {
    let stage = Stage::new().await;
    stage.append(1, 300).await;
    let mut running = stage.start().await;
    running.until(300).await;
    stage.append(1, 300).await;
    let note = running.until(600).await;
    running.stop().await;
    // As if the machine had stopped between the memory and the database.
    let undo = "DELETE FROM nexplane.log_checkpoints WHERE size = 600;
                DELETE FROM nexplane.log_tiles WHERE index = 1";
    tamper(stage.database.pool(), undo).await.unwrap();
    let mut running = stage.start().await;
    assert_eq!(running.until(600).await, note, "the same signature, not another one");
    running.stop().await;
    let newest = stage.seals.newest().await.unwrap().unwrap();
    assert_eq!((newest.size, newest.note), (600, note));
    assert!(seal::proof::of(&stage.log, &stage.seals, 300).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_not_the_signed_one_is_not_signed() {
    let forged = "UPDATE {events} SET leaf_hash = sha256('x') WHERE position = ";
    type Expected = fn(&SealerError) -> bool;
    let cases: [(String, Expected); 4] = [
        (format!("{forged} 299"), |e| matches!(e, SealerError::Rewritten { size: 300 })),
        (format!("{forged} 290"), |e| matches!(e, SealerError::Rewritten { size: 300 })),
        (
            "UPDATE nexplane.log_tiles SET hashes = overlay(hashes placing '\\x00' from 9),
                 root = sha256('y')"
                .to_owned(),
            |e| matches!(e, SealerError::Rewritten { size: 300 }),
        ),
        (
            "DELETE FROM {events} WHERE position >= 280;
             UPDATE nexplane.log_head SET next_position = 280"
                .to_owned(),
            |e| matches!(e, SealerError::Shorter { found: 280, signed: 300 }),
        ),
    ];
    for (sabotage, expected) in cases {
        let stage = Stage::new().await;
        stage.append(1, 300).await;
        let mut running = stage.start().await;
        running.until(300).await;
        running.stop().await;
        tamper(stage.database.pool(), &sabotage).await.unwrap();
        let refusal = stage.refusal().await;
        assert!(expected(&refusal), "{sabotage}: {refusal:?}");
        let sizes: Vec<_> =
            stage.seals.list(1, 100).await.unwrap().iter().map(|sealed| sealed.size).collect();
        assert_eq!(sizes, [300], "nothing more was signed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_machine_with_key_and_newest_memory_seals() {
    let stage = Stage::new().await;
    stage.append(1, 10).await;
    let mut running = stage.start().await;
    running.until(10).await;
    assert!(matches!(stage.sealer(stage.dir.path()).await, Err(SealerError::Busy)));
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = stage.sealer(elsewhere.path()).await;
    assert!(matches!(refused, Err(SealerError::NotOurs { size: 10, .. })), "{refused:?}");
    running.stop().await;

    // A backup of the machine, without what it signed later.
    let incarnation = stage.seals.incarnation();
    let old = Memory::open(stage.dir.path(), incarnation).unwrap().unwrap();
    stage.append(1, 10).await;
    let mut running = stage.start().await;
    running.until(20).await;
    running.stop().await;
    old.save(stage.dir.path()).unwrap();
    let refusal = stage.refusal().await;
    assert!(matches!(refusal, SealerError::OldMemory { found: 20, remembered: 10 }), "{refusal:?}");
    // Without any memory it does not begin again, either.
    std::fs::remove_file(stage.dir.path().join(format!("{incarnation}.json"))).unwrap();
    let refused = stage.sealer(stage.dir.path()).await;
    assert!(matches!(refused, Err(SealerError::NotOurs { size: 20, .. })), "{refused:?}");
}
