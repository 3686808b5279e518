//! What `nexplane audit verify` finds when somebody with every right on the database, or on an
//! exported folder, changes history.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use nexplane_core::event::Event;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::id::{CommandId, HostId};
use nexplane_core::proof::note::VerifierKey;
use nexplane_core::proof::witness::WitnessPolicy;
use nexplane_core::time::Timestamp;
use nexplane_server::audit::{self, DatabaseEvidence, Evidence, Folder, Pins, Report, Verdict};
use nexplane_server::seal::Sealer;
use nexplane_store::database::Role;
use nexplane_store::log::seal::Seals;
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use nexplane_store::testing::{TestDatabase, tamper};
use sqlx::ConnectOptions as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
/// Two bundles, the second one partial.
const EVENTS: u64 = 300;

/// A sealed log of hosts that come and go.
struct Stage {
    database: TestDatabase,
    log: Log,
    seals: Seals,
    dir: TempDir,
    key: VerifierKey,
}

impl Stage {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let connect = Role::Append.at(database.options());
        let log = Log::open(database.pool().clone(), connect, LogOptions::default()).await.unwrap();
        let incarnation = log.head().await.unwrap().incarnation;
        let seals = Seals::new(database.pool().clone(), incarnation);
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(log.clone(), seals.clone(), dir.path()).await.unwrap();
        let key = sealer.key().verifier().clone();
        drop(sealer);
        let stage = Self { database, log, seals, dir, key };
        for (half, salt) in [(EVENTS / 2, 0), (EVENTS, 1)] {
            stage.fill(half, salt).await;
            stage.seal(half).await;
        }
        stage
    }

    /// Hosts of three events each, up to a size of the log.
    async fn fill(&self, size: u64, salt: u128) {
        let mut number = salt << 32;
        while self.log.head().await.unwrap().next_position < size {
            number += 1;
            self.log.append(host(number)).await.unwrap();
        }
    }

    async fn seal(&self, size: u64) {
        let sealer = Sealer::open(self.log.clone(), self.seals.clone(), self.dir.path()).await;
        let sealer = sealer.unwrap();
        let (stop, mut signed) = (CancellationToken::new(), sealer.signed());
        let task = tokio::spawn(sealer.run(stop.clone()));
        let reached = signed.wait_for(|signed| signed.size >= size);
        tokio::time::timeout(PATIENCE, reached).await.expect("sealed in time").unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    fn pins(&self) -> Pins {
        Pins { key: self.key.clone(), witnesses: None, kept: Vec::new() }
    }

    async fn verify_database(&self, pins: &Pins) -> Report {
        let connection = Role::Read.at(self.database.options()).connect().await.unwrap();
        let evidence = DatabaseEvidence::open(connection, "the test".to_owned()).await.unwrap();
        judge(Box::new(evidence), pins).await
    }

    async fn export(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("evidence");
        let exported = audit::export(&self.log, &self.seals, &out, (None, None), |_, _| ()).await;
        assert_eq!(exported.unwrap().to, EVENTS);
        (dir, out)
    }

    async fn tamper(&self, statements: &str) {
        tamper(self.database.pool(), statements).await.unwrap();
    }
}

async fn judge(evidence: Box<dyn Evidence>, pins: &Pins) -> Report {
    let pins = pins.clone();
    let judged = tokio::task::spawn_blocking(move || audit::verify(evidence, &pins, &mut |_| ()));
    judged.await.unwrap().unwrap()
}

async fn verify_folder(path: &Path, pins: &Pins) -> Report {
    judge(Box::new(Folder::open(path).unwrap()), pins).await
}

fn host(number: u128) -> Append {
    let certificate = Certificate {
        key_hash: format!("{number:064x}"),
        not_after: "2027-11-23T12:00:00.000001Z".parse().unwrap(),
    };
    let hostname = format!("web-{number}");
    let (agent_version, policy_hash) = ("1.0".to_owned(), None);
    let events = [
        HostEvent::Enrolled { hostname, agent_version, policy_hash, certificate },
        HostEvent::CameOnline {},
        HostEvent::WentOffline { reason: "switched off".to_owned() },
    ];
    let command = Uuid::from_u128(number + 1);
    let encoded = events.map(|event| Event::Host(event).encode());
    Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream: HostId(Uuid::from_u128(number)).into(),
        expected_version: 0,
        guards: Vec::new(),
        events: encoded
            .into_iter()
            .map(|event| NewEvent {
                id: Uuid::now_v7(),
                kind: event.kind,
                schema: event.schema,
                data: event.data,
            })
            .collect(),
        actor: nexplane_core::actor::Actor::SYSTEM,
        at: Timestamp::new(jiff::Timestamp::now()),
        correlation: command,
        causation: command,
    }
}

fn rules(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.rule.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_touched_is_verified_from_both() {
    let stage = Stage::new().await;
    let report = stage.verify_database(&stage.pins()).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:#?}");
    assert_eq!((report.to, report.size, report.checkpoints), (EVENTS, EVENTS, 2));
    let (_dir, folder) = stage.export().await;
    let report = verify_folder(&folder, &stage.pins()).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:#?}");
    assert_eq!((report.from, report.to, report.checkpoints), (0, EVENTS, 2));

    // Another key, or a witness that nobody asked.
    let elsewhere = Stage::new().await;
    let report = verify_folder(&folder, &elsewhere.pins()).await;
    assert_eq!(report.verdict, Verdict::Tampering);
    assert!(rules(&report).contains(&"log.signature"), "{report:#?}");
    let policy = witness_policy(&stage.key);
    let report = verify_folder(&folder, &Pins { witnesses: Some(policy), ..stage.pins() }).await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(rules(&report), ["witness.quorum"]);
}

fn witness_policy(log: &VerifierKey) -> WitnessPolicy {
    let pkcs8 = nexplane_server::witness::WitnessKey::generate().unwrap();
    let witness = nexplane_server::witness::WitnessKey::from_pkcs8(&pkcs8, "w").unwrap().unwrap();
    format!("log {log}\nwitness w {}\nquorum w\n", witness.verifier()).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_superuser_does_to_the_log_is_found() {
    let rehash = "leaf_hash = sha256('\\x00'::bytea || convert_to(record, 'UTF8'))";
    let cases = [
        (
            "edits a record and its hash",
            format!(
                "UPDATE {{events}} SET record = replace(record, 'web-', 'wab-') WHERE position = 99;
                 UPDATE {{events}} SET {rehash} WHERE position = 99"
            ),
            "log.root",
        ),
        (
            "edits a record and not its hash",
            "UPDATE {events} SET record = replace(record, 'web-', 'wab-') WHERE position = 99"
                .to_owned(),
            "log.leaf",
        ),
        (
            "puts something else in the place of a record",
            format!(
                "UPDATE {{events}} SET record = 'nothing to see' WHERE position = 99;
                 UPDATE {{events}} SET {rehash} WHERE position = 99"
            ),
            "log.unreadable",
        ),
        (
            "says that a command wrote what it did not write",
            "UPDATE nexplane.log_commands SET first_position = first_position + 3,
                 last_position = last_position + 3 WHERE first_position = 99"
                .to_owned(),
            "log.beside",
        ),
        ("deletes", "DELETE FROM {events} WHERE position = 100".to_owned(), "log.gap"),
        (
            "inserts in the middle",
            "UPDATE {events} SET position = position + 1000 WHERE position >= 100;
             UPDATE {events} SET position = position - 999 WHERE position >= 1000;
             INSERT INTO {events} SELECT 100, 'host-' || gen_random_uuid(), category, 1,
                 type, recorded_at, record, leaf_hash FROM {events} WHERE position = 102"
                .to_owned(),
            "log.root",
        ),
        (
            "reorders",
            "UPDATE {events} SET position = 9999 WHERE position = 100;
             UPDATE {events} SET position = 100 WHERE position = 103;
             UPDATE {events} SET position = 103 WHERE position = 9999"
                .to_owned(),
            "log.root",
        ),
        ("truncates a partition", "TRUNCATE {events}_p000000".to_owned(), "log.gap"),
        (
            "swaps two records",
            "UPDATE {events} e SET record = o.record, leaf_hash = o.leaf_hash
             FROM {events} o
             WHERE (e.position, o.position) IN ((100, 103), (103, 100))"
                .to_owned(),
            "log.column",
        ),
        (
            "changes a column but not the record",
            "UPDATE {events} SET recorded_at = recorded_at - interval '1 day'
             WHERE position = 100"
                .to_owned(),
            "log.column",
        ),
        (
            "changes what stands beside the events",
            "UPDATE nexplane.log_streams SET version = version + 1
             WHERE stream_id = (SELECT stream_id FROM {events} WHERE position = 100)"
                .to_owned(),
            "log.beside",
        ),
        (
            "takes checkpoints away",
            "DELETE FROM nexplane.log_checkpoints WHERE size = 300;
             UPDATE {events} SET recorded_at = now() - interval '1 hour'
             WHERE position >= 150"
                .to_owned(),
            "log.unsealed",
        ),
        (
            // The last one: it is not put back.
            "leaves the triggers off",
            "DROP TRIGGER refuse_change ON {events}_p000001;
             CREATE TRIGGER refuse_change BEFORE UPDATE ON {events}_p000001
                 FOR EACH ROW EXECUTE FUNCTION nexplane.refuse_change()"
                .to_owned(),
            "log.beside",
        ),
    ];
    let stage = Stage::new().await;
    let tables = [
        ("{events}", "kept_events"),
        ("nexplane.log_streams", "kept_streams"),
        ("nexplane.log_commands", "kept_commands"),
        ("nexplane.log_checkpoints", "kept_checkpoints"),
    ];
    for (table, kept) in tables {
        stage.tamper(&format!("CREATE TABLE {kept} AS TABLE {table}")).await;
    }
    for (what, statements, rule) in cases {
        stage.tamper(&statements).await;
        let report = stage.verify_database(&stage.pins()).await;
        assert_ne!(report.verdict, Verdict::Verified, "{what}");
        assert!(rules(&report).contains(&rule), "{what}: {report:#?}");
        for (table, kept) in tables {
            stage.tamper(&format!("DELETE FROM {table}; INSERT INTO {table} TABLE {kept}")).await;
        }
    }
}

/// Joins of the log's tables that compare all with all pass every test of a few hundred events.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_statistics_is_verified_in_a_time_that_grows_with_its_length() {
    const LONG: u64 = 30_000;
    let stage = Stage::new().await;
    futures_util::stream::iter(0..(LONG - EVENTS) / 3)
        .for_each_concurrent(256, async |number| {
            stage.log.append(host((7 << 32) | u128::from(number))).await.unwrap();
        })
        .await;
    stage.seal(LONG).await;
    let start = Instant::now();
    let report = stage.verify_database(&stage.pins()).await;
    let took = start.elapsed();
    assert_eq!((report.verdict, report.size), (Verdict::Verified, LONG), "{report:#?}");
    println!("{LONG} events verified in {took:?}");
    assert!(took < PATIENCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_state_that_was_brought_back_lacks_what_was_signed() {
    let stage = Stage::new().await;
    let kept = stage.seals.newest().await.unwrap().unwrap().note;
    // As a dump of the moment after the first checkpoint would be.
    stage
        .tamper(
            "DELETE FROM nexplane.log_checkpoints WHERE size > 150;
             DELETE FROM nexplane.log_tiles;
             DELETE FROM nexplane.log_commands WHERE first_position >= 150;
             DELETE FROM nexplane.log_streams s WHERE NOT EXISTS (SELECT FROM {events} e
                 WHERE e.stream_id = s.stream_id AND e.position < 150);
             DELETE FROM {events} WHERE position >= 150;
             UPDATE nexplane.log_head SET next_position = 150",
        )
        .await;
    let report = stage.verify_database(&stage.pins()).await;
    assert_eq!(report.verdict, Verdict::Verified, "by itself it is whole: {report:#?}");
    let report = stage.verify_database(&Pins { kept: vec![kept], ..stage.pins() }).await;
    assert_eq!(report.verdict, Verdict::Tampering);
    assert_eq!(rules(&report), ["log.shorter"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_rewritten_with_the_logs_own_key_lacks_the_witness() {
    let stage = Stage::new().await;
    let pkcs8 = nexplane_server::witness::WitnessKey::generate().unwrap();
    let witness = nexplane_server::witness::WitnessKey::from_pkcs8(&pkcs8, "w").unwrap().unwrap();
    let text = format!("log {}\nwitness w {}\nquorum w\n", stage.key, witness.verifier());
    let policy: WitnessPolicy = text.parse().unwrap();
    let pins = Pins { witnesses: Some(policy), ..stage.pins() };
    let sealed = stage.seals.newest().await.unwrap().unwrap();
    let note = nexplane_core::proof::note::Note::parse(sealed.note.as_bytes()).unwrap();
    let checkpoint = nexplane_core::proof::checkpoint::verify(&note, &stage.key).unwrap();
    let line = checkpoint.cosign(witness.verifier(), 1_800_000_000, &witness).unwrap().to_string();
    stage.seals.add_cosignature(sealed.size, "w", &line).await.unwrap();
    let report = stage.verify_database(&pins).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:#?}");
    assert_eq!((report.witnessed_size, report.witnesses.len()), (Some(EVENTS), 1));

    // Everything anew, by somebody who has the database and the sealer's files.
    stage
        .tamper(
            "DELETE FROM nexplane.log_cosignatures; DELETE FROM nexplane.log_checkpoints;
             DELETE FROM nexplane.log_tiles; DELETE FROM nexplane.log_commands;
             DELETE FROM nexplane.log_streams; DELETE FROM {events};
             UPDATE nexplane.log_head SET next_position = 0",
        )
        .await;
    let incarnation = stage.seals.incarnation();
    std::fs::remove_file(stage.dir.path().join(format!("{incarnation}.json"))).unwrap();
    stage.fill(EVENTS, 7).await;
    stage.seal(EVENTS).await;
    let report = stage.verify_database(&stage.pins()).await;
    assert_eq!(report.verdict, Verdict::Verified, "the key alone cannot tell: {report:#?}");
    let report = stage.verify_database(&pins).await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(rules(&report), ["witness.quorum"]);
    // With the witness's old signature on the new note, it is a lie that can be seen.
    stage.seals.add_cosignature(EVENTS, "w", &line).await.unwrap();
    let report = stage.verify_database(&pins).await;
    assert_eq!(report.verdict, Verdict::Tampering);
    assert!(rules(&report).contains(&"witness.signature"), "{report:#?}");
    // And so it is against the note that the witness has.
    let kept = Pins { kept: vec![sealed.note], ..stage.pins() };
    assert!(rules(&stage.verify_database(&kept).await).contains(&"log.root"));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_random_mutations_of_an_export_are_a_thousand_findings() {
    let stage = Stage::new().await;
    let (_dir, folder) = stage.export().await;
    let files = files(&folder);
    // The same mutations every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators".
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(random % limit as u64).unwrap()
    };
    let mut detected = 0;
    for round in 0..1000 {
        let path = &files[below(files.len())];
        let original = std::fs::read(path).unwrap();
        let mut bytes = original.clone();
        let place = below(bytes.len());
        let what = below(5);
        match what {
            0 => bytes[place] ^= 1 << below(8),
            1 => drop(bytes.remove(place)),
            2 => bytes.insert(place, u8::try_from(below(256)).unwrap()),
            3 => bytes.truncate(place),
            _ => {
                let other = below(bytes.len());
                if bytes[place] == bytes[other] {
                    bytes[place] ^= 1;
                } else {
                    bytes.swap(place, other);
                }
            }
        }
        std::fs::write(path, &bytes).unwrap();
        let found = match Folder::open(&folder) {
            Err(_) => true,
            Ok(evidence) => {
                judge(Box::new(evidence), &stage.pins()).await.verdict != Verdict::Verified
            }
        };
        assert!(found, "round {round}: mutation {what} at {place} of {}", path.display());
        detected += 1;
        std::fs::write(path, &original).unwrap();
    }
    assert_eq!(detected, 1000);
    let report = verify_folder(&folder, &stage.pins()).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:#?}");
}
