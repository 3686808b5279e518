//! The past, as it was, from the database and from an export.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nexplane_core::proof::note::{SignatureType, VerifierKey};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{Base, Client, Server, Shop, eventually, id, items, text};

/// A change that was approved, executed and rolled back, and how it was seen on the way.
struct Stage {
    server: Server,
    operator: Client,
    change: String,
    /// Position and answer, after the submission and after the approval.
    submitted: (u64, Value),
    approved: (u64, Value),
    files: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let (operator, approver) = (server.operator().await, server.approver().await);
        let role = shop.role(&server, "app").await;
        let request = shop.request(&operator, "postgres.lock_user", &role).await;
        let change = id(&operator.submitted(request).await);
        let submitted = seen(&server, &operator, &change).await;
        approver.approve(&change, &submitted.1["plan"]["digest"]).await.is(200);
        let approved = seen(&server, &operator, &change).await;
        operator.executed(&change).await;
        let back = operator.act(&change, "rollback").await.is(201);
        approver.approve(&id(&back), &back["plan"]["digest"]).await.is(200);
        operator.executed(&id(&back)).await;
        operator.undone(&change).await;
        let files = tempfile::tempdir().unwrap();
        Self { server, operator, change, submitted, approved, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    async fn key(&self) -> PathBuf {
        let shown = self.server.command(&["keys", "show", "log"]).output().await.unwrap();
        let path = self.file("log.vkey");
        std::fs::write(&path, shown.stdout).unwrap();
        path
    }

    /// A folder with everything that is under a checkpoint: all that there is now.
    async fn export(&self) -> PathBuf {
        let head = self.server.events().await;
        eventually("everything is sealed", async || {
            let note = self.operator.get("/log/checkpoint").await.json;
            let size: i64 = note.as_str()?.lines().nth(1)?.parse().ok()?;
            (size >= head).then_some(())
        })
        .await;
        let out = self.file("evidence");
        let dsn = self.server.database().url();
        let done = Command::new(env!("CARGO_BIN_EXE_nexplane"))
            .args(["audit", "export", "--dsn", &dsn, "--out", path(&out)])
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    }

    /// Runs a replay to its end: whether it went well, and what it said.
    async fn replay(&self, arguments: &[&str]) -> (bool, String) {
        let done = replay(&self.file("scratch"), arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned()
            + &String::from_utf8_lossy(&done.stdout);
        (done.status.success(), said)
    }
}

/// The change as the API shows it now, and the last position of the log.
async fn seen(server: &Server, client: &Client, change: &str) -> (u64, Value) {
    let shown = client.change(change).await;
    (u64::try_from(server.events().await).unwrap() - 1, shown)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn replay(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexplane"));
    command
        .arg("replay")
        .args(arguments)
        .args(["--ready-json", "--data-dir", path(data_dir)])
        .env_remove("DATABASE_URL")
        .kill_on_drop(true);
    command
}

/// A replay that is served.
struct Shown {
    child: Child,
    ready: Value,
    guest: Client,
}

impl Shown {
    async fn start(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut child = replay(data_dir, arguments)
            .args(["--serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("the replay says where it is");
        let ready: Value = serde_json::from_str(&line).unwrap();
        let base = Base::default();
        ready["api"].as_str().unwrap().clone_into(&mut base.lock().unwrap());
        let mut guest = Client::new(base, None);
        guest.get("/audit").await.refused(401, "auth.invalid");
        let link = text(&ready["link"]);
        let (email, password) =
            link.split_once("#email=").unwrap().1.split_once("&password=").unwrap();
        let wrong = json!({ "email": email, "password": "guess" });
        guest.post("/auth/login", wrong).await.refused(401, "auth.invalid");
        let right = json!({ "email": email, "password": password });
        guest.token = Some(text(&guest.post("/auth/login", right).await.is(200)["access_token"]));
        Self { child, ready, guest }
    }

    /// Ctrl-C.
    async fn stop(mut self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// What does not depend on who asks, and when.
fn core_of(change: &Value) -> Value {
    let fields = ["state", "version", "title", "plan", "risk", "approvals", "targets", "run"];
    fields.iter().map(|field| (field.to_string(), change[*field].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_the_day_as_it_was_and_changes_nothing() {
    let stage = Stage::new().await;
    let (dsn, scratch) = (stage.server.database().url(), stage.file("scratch"));
    let before = stage.server.events().await;
    for ((position, then), state) in
        [(&stage.submitted, "submitted"), (&stage.approved, "approved")]
    {
        assert_eq!(then["state"], state);
        let until = position.to_string();
        let shown = Shown::start(&scratch, &["--until", &until, "--database-url", &dsn]).await;
        let guest = &shown.guest;
        let now = guest.change(&stage.change).await;
        assert_eq!(core_of(&now), core_of(then), "{state}");
        assert_eq!(now["names"], then["names"], "people have their names");

        let me = guest.get("/auth/me").await.is(200);
        assert_eq!(
            (&me["roles"], &me["replay"]["position"]),
            (&json!(["auditor"]), &json!(position))
        );
        let newest = items(&guest.get("/audit?limit=1").await.is(200)).remove(0);
        assert_eq!(newest["position"], *position);
        assert_eq!(newest["at"], shown.ready["at"]);
        let later = guest.get(&format!("/audit/events/{}", position + 1)).await;
        later.is_refused_with(&[404]);
        for list in [
            "/change-requests",
            "/assets",
            "/users",
            "/tokens",
            "/connections",
            "/hosts",
            "/risk/calibration",
            "/risk/summary",
        ] {
            guest.get(list).await.is(200);
        }

        let digest = &then["plan"]["digest"];
        guest.approve(&stage.change, digest).await.refused(409, "replay.read_only");
        guest.act(&stage.change, "withdraw").await.refused(409, "replay.read_only");
        let login = json!({ "email": "olga@example.org", "password": "x" });
        guest.post("/auth/login", login).await.refused(401, "auth.invalid");
        guest.post("/auth/logout", json!({})).await.is(204);
        shown.stop().await;
        assert!(!scratch.join("replay").exists(), "nothing is left behind");
    }
    assert_eq!(stage.server.events().await, before, "nothing was written to the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_enough_and_what_was_signed_is_compared() {
    let stage = Stage::new().await;
    let (position, then) = &stage.approved;
    let (key, evidence) = (stage.key().await, stage.export().await);
    let page = stage.operator.get(&format!("/change-requests/{}/events", stage.change)).await;
    let events = items(&page.is(200));
    let approval = events.iter().find(|event| event["position"] == *position).unwrap();

    // By time instead of by position; the whole export has a checkpoint at its end.
    let moment = text(&approval["at"]);
    let of = ["--until", &moment, "--evidence", path(&evidence), "--key", path(&key)];
    let shown = Shown::start(&stage.file("scratch"), &of).await;
    assert_eq!(shown.ready["position"], *position);
    assert_eq!(core_of(&shown.guest.change(&stage.change).await), core_of(then));
    shown.stop().await;

    let last = (stage.server.events().await - 1).to_string();
    let all = ["--until", &last, "--evidence", path(&evidence), "--key", path(&key)];
    let (well, said) = stage.replay(&all).await;
    assert!(well, "{said}");
    let ready: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(ready["sealed"].as_i64().unwrap(), stage.server.events().await);

    let beyond = (stage.server.events().await + 7).to_string();
    for (until, why) in
        [(beyond.as_str(), "the last one is at"), ("2020-01-01T00:00:00Z", "no event was recorded")]
    {
        let (well, said) = stage.replay(&["--until", until, "--evidence", path(&evidence)]).await;
        assert!(!well && said.contains(why), "{said}");
    }
    let (well, said) = stage.replay(&["--until", "yesterday"]).await;
    assert!(!well && said.contains("RFC 3339"), "{said}");

    // Another log's key.
    let other = stage.file("other.vkey");
    let vkey = std::fs::read_to_string(&key).unwrap();
    let name = vkey.split_once('+').unwrap().0;
    // The public key of RFC 8032, section 7.1, test 1.
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let public: [u8; 32] = hex::decode(public).unwrap().try_into().unwrap();
    let forged = VerifierKey::try_new(name, SignatureType::Ed25519, &public).unwrap();
    std::fs::write(&other, forged.to_string()).unwrap();
    let (well, said) = stage
        .replay(&["--until", &last, "--evidence", path(&evidence), "--key", path(&other)])
        .await;
    assert!(!well && said.contains("not signed by the key"), "{said}");

    // Another record: the same length, one letter of the title.
    let records = evidence.join("tile/records");
    let bundle = std::fs::read_dir(records.join("")).unwrap().next().unwrap().unwrap().path();
    let bundle = if bundle.is_dir() {
        std::fs::read_dir(&bundle).unwrap().next().unwrap().unwrap().path()
    } else {
        bundle
    };
    let text = std::fs::read_to_string(&bundle).unwrap();
    assert!(text.contains("has left the company"));
    std::fs::write(&bundle, text.replacen("has left the company", "has left the kompany", 1))
        .unwrap();
    let (well, said) = stage.replay(&["--until", &last, "--evidence", path(&evidence)]).await;
    assert!(!well && said.contains("not those that were signed"), "{said}");
}
