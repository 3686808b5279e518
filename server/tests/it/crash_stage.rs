//! What the crash matrix plays on: a server whose lines to its own database and to its target can be
//! held and cut, and a target that counts by itself what was done to it.

use std::collections::HashMap;
use std::path::PathBuf;

use nexplane_core::record;
use nexplane_store::testing::{TargetServer, TestDatabase, event_records_with};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::fault_proxy::{Hold, Proxy, Spot, Trap, Upstream};
use crate::harness::{Answer, Client, Server, Shop, eventually, id};

pub const LOCK: &str = "postgres.lock_user";
pub const UNLOCK: &str = "postgres.unlock_user";

/// How a change ends.
pub const ENDS: [&str; 6] = [
    "change.completed",
    "change.failed",
    "change.outcome_unknown",
    "change.rollback_blocked",
    "change.rollback_partial",
    "change.rolled_back",
];

pub struct Stage {
    pub server: Server,
    pub shop: Shop,
    /// From the server to its own database.
    pub log: Proxy,
    /// From the server to the target.
    pub line: Proxy,
    pub operator: Client,
    pub approvers: [Client; 2],
    pub count: Count,
}

impl Stage {
    pub async fn new(lease_s: u32) -> Self {
        let mut server = Server::start().await;
        let socket = socket(server.database());
        let log = Proxy::to(Upstream::Postgres(socket.clone())).await;
        server.database_url = Some(url_by(server.database(), log.port()));
        server.lease_s = lease_s;
        server.restart().await;
        let line = Proxy::to(Upstream::Postgres(socket)).await;
        let shop = shop_by(&server, &line).await;
        let count = Count::of(&shop).await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { server, shop, log, line, operator, approvers, count }
    }

    /// A change of these roles that may be executed.
    pub async fn approved(&self, action: &str, roles: &[String]) -> String {
        let mut keys = Vec::new();
        for role in roles {
            keys.push(self.shop.asset(&self.operator, role).await["key"].clone());
        }
        let request = json!({
            "title": action,
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.shop.connection,
            "targets": keys,
            "parameters": {},
        });
        let submitted = self.operator.submitted(request).await;
        self.approve(&submitted).await;
        id(&submitted)
    }

    /// As often as its policy asks for.
    pub async fn approve(&self, submitted: &Value) {
        approve(&self.approvers, submitted).await;
    }

    /// Asks for the execution; the answer may never come.
    pub fn execute(&self, change: &str) -> tokio::task::JoinHandle<Option<Answer>> {
        execute(&self.operator, change)
    }

    /// A message of the effect on this role.
    pub fn trap_effect(&self, hold: Hold, role: &str, at: &str) -> std::sync::Arc<Trap> {
        let alter = format!("ALTER ROLE \"{role}\" ");
        let spot = match at {
            "ALTER" => Spot { at: vec![alter], ..Spot::default() },
            _ => Spot { after: vec![alter], at: vec![at.to_owned()], ..Spot::default() },
        };
        self.line.trap(hold, spot)
    }

    /// The append of an event of this change.
    pub fn trap_append(&self, hold: Hold, change: &str, kind: &str) -> std::sync::Arc<Trap> {
        let spot = Spot {
            on: "nexplane-appender",
            after: Vec::new(),
            at: vec![format!("\"type\":\"{kind}\""), change.to_owned()],
        };
        self.log.trap(hold, spot)
    }

    /// Kills the server and starts it again, with whole lines.
    pub async fn crash(&mut self) {
        self.server.kill9().await;
        self.log.cut();
        self.server.up().await;
    }

    /// What the log says of a change, once it has ended.
    pub async fn ended(&self, change: &str) -> Story {
        ended(&self.server, change).await
    }
}

pub async fn approve(approvers: &[Client], submitted: &Value) {
    let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
    for approver in approvers.iter().take(needed) {
        approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
    }
}

pub fn execute(operator: &Client, change: &str) -> tokio::task::JoinHandle<Option<Answer>> {
    let (operator, path) = (operator.clone(), format!("/change-requests/{change}/execute"));
    tokio::spawn(async move {
        operator.try_send(operator.request(reqwest::Method::POST, &path)).await.ok()
    })
}

pub async fn ended(server: &Server, change: &str) -> Story {
    eventually("the change has ended", async || {
        let story = Story::of(server, change).await;
        (story.end().is_some()).then_some(story)
    })
    .await
}

/// The socket of the test database's server, which is the target's, too.
pub fn socket(database: &TestDatabase) -> PathBuf {
    let options = database.options();
    let directory = options.get_socket().expect("a socket");
    directory.join(format!(".s.PGSQL.{}", options.get_port()))
}

/// The address of a database over a line.
pub fn url_by(database: &TestDatabase, port: u16) -> String {
    let url = database.url();
    let (login, _) = url.rsplit_once('@').unwrap();
    format!("{login}@127.0.0.1:{port}/{}?sslmode=disable", database.name())
}

/// Where agents reach a server.
pub fn gateway_of(server: &Server) -> Upstream {
    Upstream::Bytes(server.gateway.trim_start_matches("https://").parse().unwrap())
}

/// A target that the server reaches over a line, without TLS: its messages can be told apart.
pub async fn shop_by(server: &Server, line: &Proxy) -> Shop {
    let other = json!({
        "host": "127.0.0.1",
        "port": line.port(),
        "ssl_mode": "disable",
        "ca_certificate": null,
    });
    Shop::connect_by(server, "dev", TargetServer::new().await, other).await
}

/// What happened to one change, out of the log.
#[derive(Debug)]
pub struct Story {
    /// Types of the events of the change and of its run, with what they say.
    pub events: Vec<(String, Value)>,
}

impl Story {
    pub async fn of(server: &Server, change: &str) -> Self {
        let records = event_records_with(server.database().pool(), change).await.unwrap();
        Self::out_of(&records, change)
    }

    /// The story in the records of a log.
    pub fn out_of(records: &[String], change: &str) -> Self {
        let about = records.iter().filter(|record| record.contains(change));
        let events = about.map(|record| record::decode(record).unwrap()).filter(|record| {
            let header = &record.header;
            let is_of_run = header.kind.starts_with("run.")
                && (header.correlation.to_string() == change || record.data["change"] == change);
            is_of_run || header.stream.to_string().ends_with(change)
        });
        Self { events: events.map(|record| (record.header.kind, record.data)).collect() }
    }

    /// The stories of all changes, by their ids.
    pub fn all(records: &[String]) -> HashMap<String, Self> {
        let mut stories: HashMap<String, Self> = HashMap::new();
        let mut changes = HashMap::new();
        for record in records {
            let record = record::decode(record).unwrap();
            let (stream, kind) = (record.header.stream, record.header.kind);
            let change = if kind == "run.started" {
                let change = record.data["change"].as_str().unwrap().to_owned();
                changes.insert(stream, change.clone());
                change
            } else if kind.starts_with("run.") {
                changes[&stream].clone()
            } else if kind.starts_with("change.") {
                stream.to_string().trim_start_matches("change-").to_owned()
            } else {
                continue;
            };
            let story = stories.entry(change).or_insert_with(|| Self { events: Vec::new() });
            story.events.push((kind, record.data));
        }
        stories
    }

    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|(seen, _)| seen == kind).count()
    }

    pub fn has(&self, kind: &str) -> bool {
        self.count(kind) > 0
    }

    /// How it ended.
    pub fn end(&self) -> Option<&str> {
        let mut kinds = self.events.iter().map(|(kind, _)| kind.as_str());
        kinds.find(|kind| ENDS.contains(kind))
    }

    /// Findings about what was unknown, in order.
    pub fn findings(&self) -> Vec<&str> {
        let found = self.events.iter().filter(|(kind, _)| kind == "run.step_reconciled");
        found.map(|(_, event)| event["finding"].as_str().unwrap()).collect()
    }

    /// Types alone, for people.
    pub fn told(&self) -> String {
        let kinds = self.events.iter().map(|(kind, _)| kind.as_str());
        kinds
            .filter(|kind| kind.starts_with("run.") || ENDS.contains(kind))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What holds of every execution, whatever happened: one run with one end; an intent is followed
    /// by another of the same step only when the target was found untouched; and at most one effect
    /// of a step is told of as done.
    #[track_caller]
    pub fn is_sound(&self) {
        for once in ["change.execution_started", "run.started", "run.finished"] {
            assert_eq!(self.count(once), 1, "{once}: {}", self.told());
        }
        assert_eq!(ENDS.iter().map(|end| self.count(end)).sum::<usize>(), 1, "{}", self.told());
        let of = |kind: &str, step: &Value| {
            let these = self.events.iter().filter(|(seen, _)| seen == kind);
            these.filter(|(_, event)| event["step"] == *step).cloned().collect::<Vec<_>>()
        };
        for (_, event) in self.events.iter().filter(|(kind, _)| kind == "run.step_intended") {
            let step = &event["step"];
            let untouched = of("run.step_reconciled", step);
            let untouched = untouched.iter().filter(|(_, e)| e["finding"] == "not_applied").count();
            let intents = of("run.step_intended", step).len();
            assert!(intents <= 1 + untouched, "step {step}: {}", self.told());
            assert!(of("run.step_succeeded", step).len() <= 1, "step {step}: {}", self.told());
            assert!(of("run.step_verified", step).len() <= 1, "step {step}: {}", self.told());
        }
    }
}

/// The target's own count of what was done to a role: how often its row was written by a transaction
/// that committed. Old versions of rows stay while a snapshot is open that could see them, so none is
/// missed, and none is counted that was rolled back.
pub struct Count(tokio::sync::Mutex<PgConnection>);

impl Count {
    pub async fn of(shop: &Shop) -> Self {
        shop.sql("CREATE EXTENSION pageinspect").await;
        let mut witness = shop.target.admin().await;
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current_snapshot()")
            .execute(&mut witness)
            .await
            .unwrap();
        Self(tokio::sync::Mutex::new(witness))
    }

    /// How often the role was altered since it was made.
    pub async fn alterations(&self, role: &str) -> i64 {
        let mut witness = self.0.lock().await;
        let versions: i64 = sqlx::query_scalar(
            "SELECT count(*)
             FROM generate_series(0, pg_relation_size('pg_authid') / 8192 - 1) AS page,
                  LATERAL heap_page_items(get_raw_page('pg_authid', page::int)) AS item
             WHERE position(convert_to($1, 'UTF8') || '\\x00'::bytea IN item.t_data) = 5
               AND pg_xact_status(item.t_xmin::text::xid8) = 'committed'",
        )
        .bind(role)
        .fetch_one(&mut *witness)
        .await
        .unwrap();
        assert!(versions > 0, "{role} is not there");
        versions - 1
    }
}
