//! A change on a whole fleet of agents, through a crash of the server, and its way back. Told in figures.
//!
//! The test has a small fleet. `cargo bench --workspace --bench rollout -- 10000` has a large one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Client, Server, id, items};
use crate::simulated::{Conduct, Fleet};

/// Hosts whose owners hold all changes once the plan is made.
const REFUSING: usize = 3;
const PATH: &str = "/etc/motd";
const CONTENT: &str = "Closed on Friday.\n";
/// What simulated machines have there.
const BEFORE: &str = "at first\n";

/// What one who looks at the change is sent: when, and how many targets were over by then.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Instant, u64)>>>);

struct Story {
    server: Server,
    fleet: Fleet,
    operator: Client,
    approvers: [Client; 2],
    seen: Seen,
}

/// The whole story with so many agents; panics where it does not go as it has to.
pub async fn roll_out(count: usize) {
    let mut server = Server::start().await;
    server.lease_s = 5;
    server.pin_gateway().await;
    let fleet = Fleet::enrol(&server, count).await;
    fleet.until_online(&server).await;
    let assets = fleet.assets(&server).await;
    assert_eq!(assets.len(), count);
    println!("{count} agents, enrolled in {:.1?}", fleet.enrolled_in);
    let operator = server.operator().await;
    let approvers = [server.approver().await, server.person("arno", &["approver", "admin"]).await];
    let mut story = Story { server, fleet, operator, approvers, seen: Seen::default() };

    let first = assets.values().next().unwrap();
    let size = u32::try_from(count).unwrap();
    let request = json!({
        "title": "The message of the day, everywhere",
        "reason": "The office is closed on Friday.",
        "change_type": "host.set_file_content",
        "connection_id": first["connection_id"],
        "targets": assets.values().map(|asset| asset["id"].clone()).collect::<Vec<_>>(),
        "parameters": { "path": PATH, "content": CONTENT },
        "rollout": {
            "canary": (size / 100).clamp(1, 1000), "batch": (size / 10).clamp(1, 1000),
            "parallel": 100, "max_failed": REFUSING,
        },
    });
    let submitted = story.submitted(request).await;
    let change = id(&submitted);
    assert_eq!(submitted["plan"]["step_count"], count);
    // From the second batch on: a canary that is not well stops everything.
    let refusing: Vec<_> =
        story.fleet.names().skip(count / 2).take(REFUSING).map(str::to_owned).collect();
    for host in &refusing {
        story.fleet.conduct(host, Conduct::Refuses);
    }

    let start = Instant::now();
    story.execute(&change).await;
    story.until_over(&change, count * 3 / 10).await;
    story.server.kill9().await;
    let killed = Instant::now();
    story.server.up().await;
    println!("killed after {:.1?}, up {:.1?} later", killed - start, killed.elapsed());
    story.until_over(&change, count).await;
    let ended = story.operator.settled(&change).await;
    println!(
        "rolled out in {:.1?} with the crash in it: {:.0} targets a second",
        start.elapsed(),
        count as f64 / start.elapsed().as_secs_f64()
    );

    assert_eq!(ended["state"], "failed", "{ended:#}");
    let progress = &ended["rollout"]["progress"];
    let expected = json!([count - REFUSING, REFUSING, 0, 0, 0, 0]);
    let told = ["complete", "failed", "unknown", "not_started", "waiting", "executing"];
    assert_eq!(told.map(|name| progress[name].clone()).to_vec(), *expected.as_array().unwrap());
    let failed = format!("/change-requests/{change}/targets?state=failed");
    let failed = items(&story.operator.get(&failed).await.is(200));
    let names: Vec<_> = failed.iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(names, refusing);
    story.effects(&refusing, 1, CONTENT);
    story.seen.is_smooth();

    for host in &refusing {
        story.fleet.conduct(host, Conduct::Obeys);
    }
    let start = Instant::now();
    let rollback = story.long(&change, "rollback").await.is(201);
    println!("the rollback was planned and submitted in {:.1?}", start.elapsed());
    assert_eq!(rollback["plan"]["step_count"], count - REFUSING);
    story.approve(&rollback).await;
    let start = Instant::now();
    let rollback = id(&rollback);
    story.execute(&rollback).await;
    story.until_over(&rollback, count - REFUSING).await;
    let ended = story.operator.settled(&rollback).await;
    assert_eq!(ended["state"], "complete", "{ended:#}");
    println!("undone in {:.1?}", start.elapsed());
    story.effects(&refusing, 2, BEFORE);
    assert_eq!(story.operator.undone(&change).await["state"], "rolled_back");
    story.is_sound().await;
    story.fleet.stop().await;
}

impl Story {
    async fn submitted(&self, request: Value) -> Value {
        let start = Instant::now();
        let drafted =
            self.operator.request(reqwest::Method::POST, "/change-requests").json(&request);
        let drafted = self.operator.send(drafted.timeout(Duration::from_mins(5))).await.is(201);
        let (change, drafted_in) = (id(&drafted), start.elapsed());
        let start = Instant::now();
        self.long(&change, "plan").await.is(200);
        let planned_in = start.elapsed();
        let start = Instant::now();
        let submitted = self.long(&change, "submit").await.is(200);
        println!(
            "drafted in {drafted_in:.1?}, planned in {planned_in:.1?}, submitted in {:.1?}",
            start.elapsed()
        );
        self.approve(&submitted).await;
        submitted
    }

    async fn approve(&self, submitted: &Value) {
        let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
        for approver in self.approvers.iter().take(needed) {
            approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }

    /// What may take as long as there are targets.
    async fn long(&self, change: &str, verb: &str) -> crate::harness::Answer {
        let path = format!("/change-requests/{change}/{verb}");
        let asked = self.operator.request(reqwest::Method::POST, &path).json(&json!({}));
        self.operator.send(asked.timeout(Duration::from_mins(10))).await
    }

    async fn execute(&self, change: &str) {
        self.long(change, "execute").await.is(200);
    }

    /// Follows the change as a browser does, until so many of its targets are over.
    async fn until_over(&self, change: &str, count: usize) {
        let count = u64::try_from(count).unwrap();
        let end = Instant::now() + Duration::from_mins(15);
        let mut over = 0;
        while over < count {
            assert!(Instant::now() < end, "{over} of {count} targets are over");
            let mut socket = self.operator.follow(&[format!("rollout:{change}")]).await;
            // What happened before this line was there.
            over = over.max(self.over(change).await);
            while over < count {
                let next = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
                let Ok(Some(Ok(message))) = next else { break };
                let Message::Text(text) = message else { continue };
                let notice: Value = serde_json::from_str(&text).unwrap();
                let progress = &notice["changed"]["progress"];
                if progress.is_object() {
                    over = sum(progress);
                    self.seen.0.lock().unwrap().push((Instant::now(), over));
                }
            }
        }
    }

    async fn over(&self, change: &str) -> u64 {
        sum(&self.operator.change(change).await["rollout"]["progress"])
    }

    /// Each host was changed so often, and is as it has to be; those that refused were not touched.
    fn effects(&self, refusing: &[String], times: u64, content: &str) {
        for (host, effects) in self.fleet.all_effects() {
            let has_refused = refusing.iter().any(|name| name == host);
            let (times, content) = if has_refused { (0, BEFORE) } else { (times, content) };
            assert_eq!(effects, times, "{host}");
            assert_eq!(self.fleet.read(host, PATH).as_deref(), Some(content), "{host}");
        }
    }

    async fn is_sound(&self) {
        let start = Instant::now();
        let key = self.server.data_dir().join("log.vkey");
        let shown = self.server.command(&["keys", "show", "log"]).output().await.unwrap();
        std::fs::write(&key, shown.stdout).unwrap();
        let dsn = self.server.database().url();
        let verify = ["audit", "verify", "--dsn", &dsn, "--key", key.to_str().unwrap(), "--json"];
        let mut verifier = Command::new(env!("CARGO_BIN_EXE_nexplane"));
        let output = verifier.args(verify).env_remove("DATABASE_URL").output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said} {output:?}");
        let events = self.server.events().await;
        println!("{events} events, verified in {:.1?}", start.elapsed());
    }
}

/// Targets that are over.
fn sum(progress: &Value) -> u64 {
    let over = ["complete", "failed", "unknown", "not_started"];
    over.iter().map(|name| progress[*name].as_u64().unwrap_or(0)).sum()
}

impl Seen {
    /// Counts came at most four times a second, and did not go back but for the crash.
    fn is_smooth(&self) {
        let seen = self.0.lock().unwrap().clone();
        let gaps: Vec<_> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        for second in seen.iter().map(|(at, _)| *at) {
            let in_it = seen
                .iter()
                .filter(|(at, _)| *at >= second && *at < second + Duration::from_secs(1))
                .count();
            // Four paces of 250 ms begin in a second, and a fifth at its very end.
            assert!(in_it <= 5, "{in_it} frames in one second");
        }
        let mut sorted = gaps.clone();
        sorted.sort();
        if let (Some(middle), Some(longest)) = (sorted.get(sorted.len() / 2), sorted.last()) {
            println!(
                "live: {} frames, one in {middle:.2?}, the longest wait {longest:.1?}",
                seen.len()
            );
        }
        let back = seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
        assert_eq!(back, 0, "counts went back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_rolled_out_to_through_a_crash_and_back() {
    roll_out(120).await;
}
