//! Server, sealer and PostgreSQL are killed again and again while 32 clients write. What was
//! acknowledged is there, once; positions have no hole; read models are what a rebuild makes of the
//! log; and every checkpoint that anybody has seen is of the one history.
//!
//! A hundred times where `CI` is set, 12 times elsewhere; `NEXPLANE_CRASHES` says another number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexplane_server::audit::{self, DatabaseEvidence, Pins, Verdict};
use nexplane_store::database::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::harness::{Base, Client, eventually, items};

const CLIENTS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(90);

/// A server with its private PostgreSQL, in one directory.
struct Installation {
    dir: tempfile::TempDir,
    base: Base,
    child: Option<Child>,
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(80).collect();
            eprintln!("--- the end of the server's log, newest first\n{}", tail.join("\n"));
        }
    }
}

impl Installation {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexplane"));
        command.args(arguments).arg("--data-dir").arg(self.dir.path().join("data"));
        command.env_remove("DATABASE_URL").env("NO_COLOR", "1").kill_on_drop(true);
        command
    }

    async fn up(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut child = self
            .command(&["up", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"])
            .arg("--ready-json")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else { panic!("it did not start:\n{}", self.log()) };
        let ready: Value = serde_json::from_str(&line).unwrap();
        ready["api"].as_str().unwrap().clone_into(&mut self.base.lock().unwrap());
        self.child = Some(child);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    async fn kill_server(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// The postmaster; its processes end when it is gone.
    fn kill_postgres(&self) {
        let file = self.dir.path().join("data/postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        let pid = text.lines().next().unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    }

    async fn add_person(&self, email: &str, password: &str) {
        let mut child = self
            .command(&["user", "add", "--email", email, "--roles", "admin", "--password-stdin"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{password}\n").as_bytes()).await.unwrap();
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
    }

    async fn sign_in(&self, email: &str, password: &str) -> Client {
        let nobody = Client::new(self.base.clone(), None);
        let body = json!({ "email": email, "password": password });
        let signed_in = nobody.post("/auth/login", body).await.is(200);
        nobody.with_token(signed_in["access_token"].as_str().unwrap())
    }

    fn database(&self) -> PgConnectOptions {
        let text = std::fs::read(self.dir.path().join("data/running.json")).unwrap();
        let beside: Value = serde_json::from_slice(&text).unwrap();
        beside["database_url"].as_str().unwrap().parse().unwrap()
    }
}

/// Tokens that the server said it had made.
type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

async fn write(client: Client, acknowledged: Acknowledged, refused: Arc<AtomicU64>) {
    loop {
        let request = client.request(reqwest::Method::POST, "/tokens");
        match client.try_send(request.json(&json!({ "name": "load" }))).await {
            Ok(answer) if answer.status == 201 => {
                let token = answer.json["id"].as_str().unwrap().to_owned();
                assert!(acknowledged.lock().unwrap().insert(token));
            }
            Ok(answer) => {
                assert!(answer.status >= 500, "{}: {:#}", answer.status, answer.json);
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Keeps every checkpoint that the server shows.
async fn watch(client: Client, notes: Arc<Mutex<BTreeSet<String>>>) {
    loop {
        // Of whatever moment: it does not wait for what the others are told meanwhile.
        let request = client.request(reqwest::Method::GET, "/log/checkpoint");
        let request = request.header("x-min-position", 0);
        if let Ok(answer) = client.try_send(request).await
            && answer.status == 200
        {
            notes.lock().unwrap().insert(answer.json.as_str().unwrap().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_crash_loses_doubles_or_forks_anything() {
    let usual = if std::env::var_os("CI").is_some() { 100 } else { 12 };
    let crashes: u64 =
        std::env::var("NEXPLANE_CRASHES").map_or(usual, |count| count.parse().expect("a number"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    open_to_postgres(dir.path());
    let mut installation = Installation { dir, base: Base::default(), child: None };
    let password = "correct horse battery staple";
    installation.add_person("a0@example.org", password).await;
    installation.up().await;
    let first = installation.sign_in("a0@example.org", password).await;
    let mut clients = vec![first.clone()];
    for number in 1..CLIENTS {
        let email = format!("a{number}@example.org");
        let body = json!({ "email": email, "name": email, "roles": ["viewer"] });
        let added = first.post("/users", body).await.is(201);
        let password = added["password"].as_str().unwrap().to_owned();
        clients.push(installation.sign_in(&email, &password).await);
    }

    let (acknowledged, refused) = (Acknowledged::default(), Arc::new(AtomicU64::new(0)));
    let notes = Arc::new(Mutex::new(BTreeSet::new()));
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    for client in &clients {
        let writing = write(client.clone(), acknowledged.clone(), refused.clone());
        tasks.push(tokio::spawn(stop.clone().run_until_cancelled_owned(writing)));
    }
    let watching = watch(first.clone(), notes.clone());
    let watcher = tokio::spawn(stop.clone().run_until_cancelled_owned(watching));
    let begun = Instant::now();
    for crash in 0..crashes {
        let enough = acknowledged.lock().unwrap().len() + CLIENTS;
        // Some of the time the sealer comes to show a checkpoint, which later ones have to continue.
        let seen = notes.lock().unwrap().len() + usize::from(crash % 3 == 0);
        eventually(&format!("work goes on after {crash} crashes"), async || {
            (acknowledged.lock().unwrap().len() >= enough).then_some(())
        })
        .await;
        eventually(&format!("a checkpoint after {crash} crashes"), async || {
            (notes.lock().unwrap().len() >= seen).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(crash * 37 % 200)).await;
        if crash % 2 == 1 {
            installation.kill_postgres();
            tokio::time::sleep(Duration::from_millis(crash * 53 % 100)).await;
        }
        installation.kill_server().await;
        installation.up().await;
    }
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    watcher.await.unwrap();

    let acknowledged = acknowledged.lock().unwrap().clone();
    let notes: Vec<String> = notes.lock().unwrap().iter().cloned().collect();
    let mut db = installation.database().connect().await.unwrap();
    let written = tokens(&mut db).await;
    let lost: Vec<_> = acknowledged.iter().filter(|token| !written.contains_key(*token)).collect();
    let doubled: Vec<_> = written.iter().filter(|(_, count)| **count > 1).collect();
    println!(
        "{crashes} crashes in {:.0} s: {} writes acknowledged, {} in the log, {} answered 5xx, {} \
         checkpoints seen",
        begun.elapsed().as_secs_f64(),
        acknowledged.len(),
        written.len(),
        refused.load(Ordering::Relaxed),
        notes.len()
    );
    assert!(lost.is_empty(), "acknowledged and not in the log: {lost:?}");
    assert!(doubled.is_empty(), "in the log more than once: {doubled:?}");
    assert!(!notes.is_empty());

    read_models_are_what_a_rebuild_makes(&mut installation, &first, &mut db).await;
    // Positions, hashes, tree, streams, and every checkpoint that was ever shown.
    eventually("all is sealed", async || {
        let note = first.get("/log/checkpoint").await.json;
        let size: u64 = note.as_str()?.lines().nth(1)?.parse().ok()?;
        (size == head(&mut db).await).then_some(())
    })
    .await;
    let key = installation.command(&["keys", "show", "log"]).output().await.unwrap().stdout;
    let key = String::from_utf8(key).unwrap().trim().parse().unwrap();
    let reader = Role::Read.at(installation.database()).connect().await.unwrap();
    let evidence = DatabaseEvidence::open(reader, "the test".to_owned()).await.unwrap();
    let pins = Pins { key, witnesses: None, kept: notes };
    let judged = tokio::task::spawn_blocking(move || {
        audit::verify(Box::new(evidence), &pins, &mut |_| ()).unwrap()
    });
    let report = judged.await.unwrap();
    assert_eq!(report.verdict, Verdict::Verified, "{report:#?}");
    drop(db);
    installation.stop().await;
}

fn open_to_postgres(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    // PostgreSQL runs as a user of its own, who has to get through.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// How often each token was made.
async fn tokens(db: &mut PgConnection) -> BTreeMap<String, u32> {
    let mut count = BTreeMap::new();
    for record in nexplane_store::testing::records_of(db, "person.token_created").await.unwrap() {
        let record: Value = serde_json::from_str(&record).unwrap();
        *count.entry(record["data"]["token"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    count
}

async fn head(db: &mut PgConnection) -> u64 {
    let next: i64 = sqlx::query_scalar("SELECT next_position FROM nexplane.log_head")
        .fetch_one(db)
        .await
        .unwrap();
    next.unsigned_abs()
}

/// Every row of every read model, as one hash per view.
async fn rows(db: &mut PgConnection) -> BTreeMap<String, String> {
    let views: Vec<String> = sqlx::query_scalar(
        "SELECT viewname::text FROM pg_views WHERE schemaname = 'nexplane' ORDER BY 1",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let mut hashes = BTreeMap::new();
    for view in views {
        let sql = format!(
            "SELECT md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), '')) FROM nexplane.{view} r"
        );
        let hash: String =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *db).await.unwrap();
        hashes.insert(view, hash);
    }
    hashes
}

async fn read_models_are_what_a_rebuild_makes(
    installation: &mut Installation,
    client: &Client,
    db: &mut PgConnection,
) {
    eventually("the read models have caught up", async || {
        let models = items(&client.get("/projections").await.is(200));
        models.iter().all(|model| model["lag"] == 0).then_some(())
    })
    .await;
    let live = rows(db).await;
    assert!(live.len() > 5, "{live:?}");
    let rebuilt = installation.command(&["projections", "rebuild", "all"]).output().await.unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert_eq!(rows(db).await, live);
}
