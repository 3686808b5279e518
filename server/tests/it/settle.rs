//! The server dies in the middle of an effect, and cannot reach the target when it is back: the outcome
//! is unknown until a person who did not write the change has looked.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::crash_stage::execute;
use crate::harness::{Client, Server, Shop, eventually, id, text};

/// The way to the target, which can be cut.
struct Line {
    port: u16,
    open: Arc<watch::Sender<bool>>,
}

impl Line {
    async fn to(host: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near_port = listener.local_addr().unwrap().port();
        let (open, watched) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    if !*watched.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect((host, port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = watched.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port: near_port, open: Arc::new(open) }
    }

    fn is_open(&self, open: bool) {
        self.open.send(open).unwrap();
    }
}

struct Stage {
    server: Server,
    shop: Shop,
    line: Line,
    author: Client,
    approvers: [Client; 2],
    other: Client,
}

impl Stage {
    async fn new() -> Self {
        let mut server = Server::start().await;
        server.arguments = ["--patience-s", "1"].map(str::to_owned).to_vec();
        server.restart().await;
        let mut shop = Shop::connect(&server, "dev").await;
        let line = Line::to(shop.target.host(), shop.target.port()).await;
        let mut credentials = shop.credentials();
        credentials["port"] = json!(line.port);
        let body = json!({
            "name": "far-away",
            "type": "postgres",
            "environment": "dev",
            "credentials": credentials,
        });
        shop.connection = id(&server.admin.post("/connections", body).await.is(201));
        // Every role there is: what they lack is distance.
        let author = server.person("ann", &["operator", "approver", "admin"]).await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let other = server.person("eve", &["operator"]).await;
        Self { server, shop, line, author, approvers, other }
    }

    async fn approve(&self, submitted: &Value) {
        let mut now = submitted.clone();
        for approver in &self.approvers {
            if now["state"] == "submitted" {
                let digest = &submitted["plan"]["digest"];
                now = approver.approve(&id(submitted), digest).await.is(200);
            }
        }
        assert_eq!(now["state"], "approved", "{now:#}");
    }

    /// Locks the roles, and loses sight of the last of them.
    async fn unknown(&mut self, roles: &[String]) -> String {
        let mut request = self.shop.request(&self.author, "postgres.lock_user", &roles[0]).await;
        for role in &roles[1..] {
            let asset = self.shop.asset(&self.author, role).await;
            request["targets"].as_array_mut().unwrap().push(asset["key"].clone());
        }
        let submitted = self.author.submitted(request).await;
        let change = id(&submitted);
        self.approve(&submitted).await;

        // Another transaction has the last role, so that the effect waits at the target.
        let mut held = self.shop.target.admin().await;
        let alter = format!("BEGIN; ALTER ROLE {} CONNECTION LIMIT 7", roles.last().unwrap());
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
        // The answer may come when it has waited too long.
        let asked = execute(&self.author, &change);
        self.waits_for_a_lock().await;
        self.line.is_open(false);
        self.server.kill9().await;
        drop(asked.await);
        self.server.up().await;
        let settled = self.author.settled(&change).await;
        assert_eq!(settled["state"], "outcome_unknown", "{settled:#}");
        held.close().await.unwrap();
        change
    }

    async fn waits_for_a_lock(&self) {
        let mut admin = self.shop.target.admin().await;
        let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database())";
        for _ in 0..5_000 {
            if sqlx::query_scalar(waiting).fetch_one(&mut admin).await.unwrap() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("nothing waits for the role");
    }
}

fn finding(finding: &str, evidence: &str) -> Value {
    json!({ "finding": finding, "evidence": evidence })
}

fn path(change: &str) -> String {
    format!("/change-requests/{change}/settle")
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_finds_out_what_nobody_could_read_back() {
    let mut stage = Stage::new().await;
    let role = stage.shop.role(&stage.server, "app").await;
    let change = stage.unknown(std::slice::from_ref(&role)).await;
    let Stage { server, shop, author, other, .. } = &stage;

    // Everybody reads who can settle it, and how; and it is not undone before.
    let shown = other.change(&change).await;
    let waits = text(&shown["waiting_for"]);
    assert!(waits.contains("an operator or admin other than its author"), "{waits}");
    assert!(shown["settled"].is_null(), "{shown:#}");
    let may = |view: &Value| {
        let allowed = view["allowed"].as_array().unwrap().clone();
        allowed.into_iter().find(|action| action["action"] == "settle").unwrap()
    };
    assert_eq!(may(&shown)["ok"], true);
    assert_eq!(may(&author.change(&change).await)["code"], "change.own_settlement");
    author.act(&change, "rollback").await.refused(409, "change.not_in_state");

    let looked = finding("applied", "psql: rolcanlogin is f, and nobody is logged in.");
    author.post(&path(&change), looked.clone()).await.refused(403, "change.own_settlement");
    for client in [&stage.approvers[0], &server.person("vera", &["viewer", "auditor"]).await] {
        client.post(&path(&change), looked.clone()).await.refused(403, "access.denied");
    }
    let machine = json!({ "name": "pipeline", "kind": "machine" });
    let machine = other.post("/tokens", machine).await.is(201);
    let machine = other.with_token(&text(&machine["token"]));
    machine.post(&path(&change), looked.clone()).await.refused(403, "access.denied");
    for bad in [
        finding("applied", " "),
        finding("applied", &"x".repeat(4001)),
        finding("conflict", "neither"),
        json!({ "finding": "applied" }),
    ] {
        other.post(&path(&change), bad).await.refused(422, "validation.failed");
    }
    assert_eq!(other.change(&change).await["state"], "outcome_unknown");

    // They finish it by hand, and say so.
    shop.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    let settled = other.post(&path(&change), looked.clone()).await.is(200);
    assert_eq!(settled["state"], "complete", "{settled:#}");
    assert_eq!(settled["settled"]["finding"], "applied");
    assert_eq!(settled["settled"]["by"], other.id);
    assert_eq!(settled["settled"]["evidence"], looked["evidence"]);
    assert!(text(&settled["closing_reason"]).starts_with("A person found"), "{settled:#}");
    assert!(settled["waiting_for"].is_null());
    assert_eq!(settled["run"]["state"], "outcome_unknown", "the run read nothing");
    other.post(&path(&change), looked).await.refused(409, "change.not_in_state");

    // The target comes back, and nothing that comes late says otherwise.
    stage.line.is_open(true);
    stays(stage, &change, "complete").await;
}

/// Also when the server starts anew with a target that it can read.
async fn stays(mut stage: Stage, change: &str, state: &str) {
    stage.server.restart().await;
    let history = stage.other.history(change).await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(stage.other.change(change).await["state"], state);
    assert_eq!(stage.other.history(change).await, history);
    assert_eq!(history.last().unwrap(), "change.settled");
    let auditor = stage.server.person("aude", &["auditor"]).await;
    let found = auditor.get("/audit?type=change.settled").await.is(200);
    let summary = text(&found["items"][0]["summary"]);
    assert!(summary.starts_with("Found, by looking at the target"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_applied_has_failed_and_the_rest_is_rolled_back() {
    let mut stage = Stage::new().await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let change = stage.unknown(&roles).await;
    let Stage { server, shop, line, author, other, .. } = &stage;
    assert!(!shop.lets_in(&roles[0], &roles[0]).await, "the first step was read back");
    assert!(shop.lets_in(&roles[1], &roles[1]).await, "the second never took place");

    // From the shell.
    let base = server.base.lock().unwrap().clone();
    let settle = async |by: &Client| {
        let done = tokio::process::Command::new(env!("CARGO_BIN_EXE_nexplane"))
            .args(["change", "settle", &change, "--finding", "not_applied", "--json"])
            .args(["--evidence", "psql: rolcanlogin is t."])
            .env("NEXPLANE_SERVER", &base)
            .env("NEXPLANE_TOKEN", by.token.as_deref().unwrap())
            .output()
            .await
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code().unwrap(), said(&done.stdout), said(&done.stderr))
    };
    let (code, _, why) = settle(author).await;
    assert_eq!(code, 1);
    assert!(why.contains("change.own_settlement"), "{why}");
    let (code, said, why) = settle(other).await;
    assert_eq!(code, 0, "{why}");
    let settled: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(settled["state"], "failed", "{settled:#}");
    assert_eq!(settled["settled"]["finding"], "not_applied");

    // What was read back can be undone, as of any change that failed.
    line.is_open(true);
    let rollback = eventually("the target can be read again", async || {
        let rollback = author.act(&change, "rollback").await;
        (rollback.status == 201).then_some(rollback.json)
    })
    .await;
    stage.approve(&rollback).await;
    let done = author.executed(&id(&rollback)).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    assert_eq!(author.undone(&change).await["state"], "rolled_back");
    for role in &roles {
        assert!(shop.lets_in(role, role).await, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_the_opposite_of_a_target_that_can_be_read_again() {
    let mut stage = Stage::new().await;
    let role = stage.shop.role(&stage.server, "app").await;
    let change = stage.unknown(std::slice::from_ref(&role)).await;
    let Stage { shop, line, other, author, .. } = &stage;
    line.is_open(true);
    let [applied, not_applied] = ["applied", "not_applied"].map(|what| finding(what, "I looked."));
    let contradicted = "change.finding_contradicted";
    other.post(&path(&change), applied.clone()).await.refused(409, contradicted);
    // Whose word does not count hears that first.
    author.post(&path(&change), applied.clone()).await.refused(403, "change.own_settlement");
    assert_eq!(other.change(&change).await["state"], "outcome_unknown");
    shop.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    other.post(&path(&change), not_applied).await.refused(409, contradicted);
    let settled = other.post(&path(&change), applied).await.is(200);
    assert_eq!(settled["state"], "complete", "{settled:#}");
    assert_eq!(settled["settled"]["finding"], "applied");
}
