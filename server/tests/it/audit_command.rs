//! An auditor's work with the command line: export, verify, prove, and find what was planted.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nexplane_core::actor::Actor;
use nexplane_core::calendar::CALENDAR;
use nexplane_core::calendar::event::{CalendarEvent, Scope};
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::event::Event;
use nexplane_core::id::{ChangeId, FreezeId, PersonId, RunId, StreamId};
use nexplane_core::plan::Plan;
use nexplane_core::record;
use nexplane_server::seal::Sealer;
use nexplane_store::log::seal::Seals;
use nexplane_store::testing::event_records;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Server, Shop, eventually, id};
use crate::planted::{log_of, now, plant};

/// Runs `nexplane`; its exit code and what it says on stdout.
async fn nexplane(arguments: &[&str]) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_nexplane");
    let done = Command::new(program).args(arguments).env_remove("DATABASE_URL").output();
    let done = done.await.unwrap();
    (done.status.code().unwrap(), String::from_utf8_lossy(&done.stdout).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Stage {
    server: Server,
    /// The log's public key.
    key: PathBuf,
    files: tempfile::TempDir,
    author: PersonId,
    approver: PersonId,
    /// A change that was executed and rolled back.
    change: ChangeId,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let (operator, approver) = (server.operator().await, server.approver().await);
        let role = shop.role(&server, "app").await;
        let request = shop.request(&operator, "postgres.lock_user", &role).await;
        let submitted = operator.submitted(request).await;
        let change = id(&submitted);
        approver.approve(&change, &submitted["plan"]["digest"]).await.is(200);
        operator.executed(&change).await;
        let back = operator.act(&change, "rollback").await.is(201);
        approver.approve(&id(&back), &back["plan"]["digest"]).await.is(200);
        operator.executed(&id(&back)).await;
        operator.undone(&change).await;

        let files = tempfile::tempdir().unwrap();
        let key = files.path().join("log.vkey");
        let shown = server.command(&["keys", "show", "log"]).output().await.unwrap();
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        std::fs::write(&key, shown.stdout).unwrap();
        let person = |id: &str| PersonId(id.parse().unwrap());
        let (author, approver) = (person(&operator.id), person(&approver.id));
        Self { key, files, author, approver, change: change.parse().unwrap(), server }
    }

    fn dsn(&self) -> String {
        self.server.database().url()
    }

    /// Verifies the database; the exit code and the report.
    async fn verify(&self, more: &[&str]) -> (i32, Value) {
        let dsn = self.dsn();
        let mut arguments =
            vec!["audit", "verify", "--dsn", &dsn, "--key", text(&self.key), "--json"];
        arguments.extend(more);
        let (code, said) = nexplane(&arguments).await;
        (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{code}: {said}")))
    }

    /// Until everything is sealed that is in the log.
    async fn sealed(&self) {
        let head = u64::try_from(self.server.events().await).unwrap();
        eventually("the log is sealed", async || {
            let note = self.server.admin.get("/log/checkpoint").await;
            let note = note.json.as_str().unwrap_or_default().to_owned();
            let size: u64 = note.lines().nth(1)?.parse().ok()?;
            (size >= head).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_exports_verifies_and_proves() {
    let mut stage = Stage::new().await;
    stage.sealed().await;
    let (dsn, key) = (stage.dsn(), stage.key.clone());
    let key = text(&key);
    let (code, report) = stage.verify(&[]).await;
    assert_eq!((code, &report["verdict"]), (0, &"verified".into()), "{report:#}");

    let folder = stage.files.path().join("evidence");
    let folder = text(&folder);
    let (code, _) = nexplane(&["audit", "export", "--dsn", &dsn, "--out", folder]).await;
    assert_eq!(code, 0);
    let (code, said) = nexplane(&["audit", "verify", folder, "--key", key]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("VERIFIED"), "{said}");
    let (code, _) = nexplane(&["audit", "export", "--dsn", &dsn, "--out", folder]).await;
    assert_ne!(code, 0, "an export goes into a folder of its own");

    let (code, proof) = nexplane(&["audit", "proof", "3", "--dsn", &dsn]).await;
    assert_eq!(code, 0);
    let file = stage.files.path().join("proof.json");
    std::fs::write(&file, &proof).unwrap();
    let prove = ["audit", "verify", text(&file), "--key", key];
    assert_eq!(nexplane(&prove).await.0, 0);
    std::fs::write(&file, proof.replace("person", "pers0n")).unwrap();
    assert_eq!(nexplane(&prove).await.0, 1);
    // The same from the API.
    let path = "/audit/events/3/proof";
    let proof = stage.server.admin.get(path).await.is(200);
    std::fs::write(&file, proof.to_string()).unwrap();
    assert_eq!(nexplane(&prove).await.0, 0);
    stage.server.admin.get("/audit/events/999999/proof").await.refused(404, "not_found");

    an_event_comes_with_what_is_around_it(&stage).await;
    everything_can_be_had_as_a_file(&mut stage).await;

    // Damage, missing evidence, and wrong usage have codes of their own.
    let record = Path::new(folder).join("tile/records/000.p/");
    let record = std::fs::read_dir(record).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, good.replace("change.approved", "change.rejected")).unwrap();
    assert_eq!(nexplane(&["audit", "verify", folder, "--key", key]).await.0, 1);
    std::fs::write(&record, good).unwrap();
    std::fs::remove_file(Path::new(folder).join("manifest.json")).unwrap();
    assert_eq!(nexplane(&["audit", "verify", folder, "--key", key]).await.0, 2);
    assert_eq!(nexplane(&["audit", "verify", "nowhere", "--key", key]).await.0, 3);
    assert_eq!(nexplane(&["audit", "verify", folder]).await.0, 3);
    assert_eq!(nexplane(&["audit", "verify", "--key", key]).await.0, 3);
    assert_eq!(nexplane(&["audit", "verify", folder, "--key", folder]).await.0, 3);

    a_witness_cosigns(&mut stage).await;
}

/// Record, neighbours and causes of every event, compared with the records themselves.
async fn an_event_comes_with_what_is_around_it(stage: &Stage) {
    let records = event_records(stage.server.database().pool()).await.unwrap();
    let records: Vec<Value> =
        records.iter().map(|record| serde_json::from_str(record).unwrap()).collect();
    let at = |place: &Value| place.as_u64().map(|at| &records[usize::try_from(at).unwrap()]);
    let mut caused_by_events = 0;
    for (position, record) in records.iter().enumerate() {
        let event = stage.server.admin.get(&format!("/audit/events/{position}")).await.is(200);
        let text: Value = serde_json::from_str(event["record"].as_str().unwrap()).unwrap();
        assert_eq!((&text, &event["type"]), (record, &record["type"]));
        assert_eq!(event["next"].is_null(), position + 1 == records.len());

        let version = record["version"].as_u64().unwrap();
        assert_eq!(event["previous_in_stream"].is_null(), version == 1);
        for (place, version) in
            [("previous_in_stream", version - 1), ("next_in_stream", version + 1)]
        {
            if let Some(beside) = at(&event[place]) {
                assert_eq!(
                    (&beside["stream"], &beside["version"]),
                    (&record["stream"], &version.into())
                );
            }
        }

        let (first, last) = (&event["command_at"]["first"], &event["command_at"]["last"]);
        for end in [first, last] {
            assert_eq!(at(end).unwrap()["command"], record["command"]);
        }
        let Some(cause) = at(&event["causation_at"]["first"]) else { continue };
        if cause["id"] == record["causation"] {
            caused_by_events += 1;
        } else {
            assert_eq!(cause["command"], record["causation"]);
        }
    }
    assert!(caused_by_events > 0, "what a process manager did was caused by an event");
    stage.server.admin.get("/audit/events/999999").await.refused(404, "not_found");
    // A change is found by the number that people say, too.
    let by_number = stage.server.admin.get("/audit?change_request_id=1&limit=200").await.is(200);
    let by_id = format!("/audit?change_request_id={}&limit=200", stage.change);
    assert_eq!(by_number, stage.server.admin.get(&by_id).await.is(200));
    stage.server.admin.get("/audit?change_request_id=x").await.refused(404, "not_found");
}

async fn everything_can_be_had_as_a_file(stage: &mut Stage) {
    stage.server.expected_errors.push("read model 'audit' is not at position");
    let admin = &stage.server.admin;
    let path = format!("/audit/export?change_request_id={}", stage.change);
    let lines = admin.get(&path).await.is(200);
    let events: Vec<Value> =
        lines.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["type"], "change.drafted");
    let name = events[0]["stream_name"].as_str().unwrap();
    assert!(name.starts_with("#1 "), "{name}");
    assert!(events.iter().any(|event| event["type"] == "change.rolled_back"), "{events:#?}");
    let table = admin.get(&format!("{path}&format=csv")).await;
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
    let table = table.is(200);
    assert_eq!(table.as_str().unwrap().matches("\r\n").count(), events.len() + 1);
    // More than one piece, complete and in order.
    let all = admin.get("/audit/export").await.is(200);
    let positions: Vec<u64> = all
        .as_str()
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, (0..positions.len() as u64).collect::<Vec<_>>());
    // All of it, or nothing: the view cannot take in what happens meanwhile.
    let mut held = stage.server.database().pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE nexplane.rm_audit IN SHARE MODE").execute(&mut *held).await.unwrap();
    let late = stage.server.person("last", &["viewer"]).await;
    let refused = admin.get("/audit/export").await.refused(503, "unavailable");
    assert!(refused["detail"].as_str().unwrap().contains("not all of it"), "{refused:#}");
    held.rollback().await.unwrap();
    let all = admin.get("/audit/export").await.is(200);
    assert!(all.as_str().unwrap().contains(&late.id), "an export leaves out what happened last");
    admin.get("/audit/export?limit=5").await.is_refused_with(&[422]);
    admin.get("/audit/export?format=xml").await.is_refused_with(&[422]);
}

/// A witness as a process; killed when dropped.
async fn witness(dir: &Path, key: &str) -> (Child, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nexplane"))
        .args(["witness", "--dir", text(dir), "--log-key", key, "--name", "w.example.org"])
        .args(["--listen", "127.0.0.1:0", "--ready-json"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let of = |name: &str| ready[name].as_str().unwrap().to_owned();
    (child, of("witness"), of("key"))
}

async fn a_witness_cosigns(stage: &mut Stage) {
    let key = std::fs::read_to_string(&stage.key).unwrap();
    let (child, url, vkey) = witness(&stage.files.path().join("w"), text(&stage.key)).await;
    let policy = stage.files.path().join("policy");
    let lines = format!("log {}\nwitness w {vkey} {url}\nquorum w\n", key.trim());
    std::fs::write(&policy, lines).unwrap();
    let policy = text(&policy).to_owned();
    let asked = ["--witness-policy", policy.as_str()];
    let (code, report) = stage.verify(&asked).await;
    assert_eq!((code, &report["findings"][0]["rule"]), (2, &"witness.quorum".into()));

    stage.server.arguments = asked.map(str::to_owned).to_vec();
    stage.server.restart().await;
    let report = eventually("the witness has cosigned", async || {
        let (code, report) = stage.verify(&asked).await;
        (code == 0).then_some(report)
    })
    .await;
    assert_eq!(report["witnesses"][0], "w", "{report:#}");
    assert!(report["witnessed_size"].as_u64().unwrap() > 10);
    drop(child);
}

/// The events of a change up to its execution, as those of another change of now.
fn as_another(records: &[String], of: ChangeId, change: ChangeId) -> Vec<(Actor, ChangeEvent)> {
    use ChangeEvent as E;
    let mut digest = String::new();
    let mut events = Vec::new();
    for text in records {
        let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
        let Event::Change(mut event) = event else { continue };
        if header.stream != of.into() {
            continue;
        }
        match &mut event {
            E::Planned { plan } => {
                let Plan { header, steps, checks, .. } = plan.as_ref().clone();
                let header = nexplane_core::plan::PlanHeader { change, ..header };
                **plan = Plan::new(header, steps, checks, now());
                digest.clone_from(&plan.digest);
            }
            E::Submitted { digest: of, .. } | E::ApprovalGiven { digest: of, .. } => {
                of.clone_from(&digest);
            }
            E::Approved { digest: of, not_before, until } => {
                of.clone_from(&digest);
                *not_before = now().plus_seconds(1);
                *until = now().plus_seconds(3600);
            }
            E::ExecutionStarted { digest: of, run } => {
                of.clone_from(&digest);
                *run = RunId(Uuid::now_v7());
                events.push((header.actor, event));
                return events;
            }
            _ => {}
        }
        events.push((header.actor, event));
    }
    panic!("the change was not executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_have_happened_is_named() {
    let mut stage = Stage::new().await;
    // The server would act on what is planted.
    stage.server.stop().await;
    let pool = stage.server.database().pool().clone();
    let log = log_of(&stage.server).await;
    let records = nexplane_store::testing::event_records(&pool).await.unwrap();
    let (author, approver) = (Actor::user(stage.author), Actor::user(stage.approver));

    let mut planted = Vec::new();
    for case in ["legitimate", "self-approval", "another digest", "in a freeze"] {
        if case == "in a freeze" {
            let (start, end) = (now().plus_seconds(-60), now().plus_seconds(3600));
            let reason = "The books are closed.".to_owned();
            let (freeze, scope) = (FreezeId(Uuid::now_v7()), Scope::All);
            let declared = CalendarEvent::FreezeDeclared { freeze, scope, start, end, reason };
            plant(&log, CALENDAR.into(), 0, author, vec![declared.into()]).await;
        }
        let change = ChangeId(Uuid::now_v7());
        for ((by, mut event), version) in
            as_another(&records, stage.change, change).into_iter().zip(0..)
        {
            let mut by = by;
            match &mut event {
                ChangeEvent::ApprovalGiven { digest, .. } => {
                    assert_eq!(by, approver);
                    match case {
                        "self-approval" => by = author,
                        "another digest" => *digest = "0".repeat(64),
                        _ => {}
                    }
                }
                // What was approved becomes valid a second later.
                ChangeEvent::ExecutionStarted { .. } => {
                    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
                }
                _ => {}
            }
            plant(&log, change.into(), version, by, vec![event.into()]).await;
        }
        planted.push((case, change));
    }

    let incarnation = log.head().await.unwrap().incarnation;
    let seals = Seals::new(pool, incarnation);
    let sealer = Sealer::open(log.clone(), seals, &stage.server.data_dir().join("seal")).await;
    let sealer = sealer.unwrap();
    let (stop, mut signed) = (CancellationToken::new(), sealer.signed());
    let head = log.head().await.unwrap().next_position;
    let task = tokio::spawn(sealer.run(stop.clone()));
    signed.wait_for(|signed| signed.size >= head).await.unwrap();
    stop.cancel();
    task.await.unwrap().unwrap();

    let (code, report) = stage.verify(&[]).await;
    assert_eq!(code, 1, "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let of = |change: ChangeId| -> Vec<&str> {
        let stream = StreamId::from(change).to_string();
        let own = findings.iter().filter(|finding| finding["stream"] == stream.as_str());
        own.map(|finding| finding["rule"].as_str().unwrap()).collect()
    };
    for (case, change) in planted {
        let expected: &[&str] = match case {
            // The quorum is missed where it is said to be complete, and again at the execution.
            "self-approval" => {
                &["audit.self_approval", "audit.quorum_incomplete", "audit.quorum_incomplete"]
            }
            "another digest" => {
                &["audit.foreign_digest", "audit.quorum_incomplete", "audit.quorum_incomplete"]
            }
            "in a freeze" => &["audit.frozen"],
            _ => &[],
        };
        assert_eq!(of(change), expected, "{case}: {report:#}");
    }
}
