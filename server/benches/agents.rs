//! What thousands of agents that hold their polls cost, and how soon they are back after the server
//! was killed. Prints; judges nothing.
//!
//! The server is a process of its own on PostgreSQL; the agents are the real ones on machines in
//! memory, all in this process. People approve and execute over HTTP.
//!
//! `cargo bench --workspace --bench agents -- [agents …]`

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "printing is what it is for, and a measurement that cannot go on has no result"
)]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../tests/it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/harness_target.rs"]
mod harness_target;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/simulated.rs"]
mod simulated;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexplane_core::time::Timestamp;
use serde_json::{Value, json};

use harness::{Server, id};
use simulated::Fleet;

const SAMPLES: usize = 200;
/// Each agent begins another poll once in this time.
const IDLE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![1_000, 10_000] } else { given };
    for size in sizes {
        println!("--- {size} agents");
        measure(size).await;
    }
}

async fn measure(size: usize) {
    let mut server = Server::start().await;
    // As servers have it; tests have less.
    server.lease_s = 30;
    server.pin_gateway().await;
    let alone = Idle::of(&server).await;
    println!("without agents: {}", alone.told(&alone, 0));

    let here = resident_kib(std::process::id());
    let fleet = Fleet::enrol(&server, size).await;
    let start = Instant::now();
    fleet.until_online(&server).await;
    let online = start.elapsed();
    let assets = fleet.assets(&server).await;
    println!(
        "enrolled in {:.1?} ({:.0}/s), all online {online:.1?} later, facts of all {:.1?} later",
        fleet.enrolled_in,
        size as f64 / fleet.enrolled_in.as_secs_f64(),
        start.elapsed()
    );
    let idle = Idle::of(&server).await;
    println!("all polls held: {}", idle.told(&alone, size));
    let grown = resident_kib(std::process::id()).saturating_sub(here);
    println!("a simulated agent takes {:.0} KiB", grown as f64 / size as f64);

    come_back(&mut server, &fleet).await;
    let idle = Idle::of(&server).await;
    println!("after that: {}", idle.told(&alone, size));
    changes(&server, &assets).await;
    fleet.stop().await;
}

/// Kills the server, and looks how its agents find the next one.
async fn come_back(server: &mut Server, fleet: &Fleet) {
    server.kill9().await;
    let killed = Instant::now();
    server.up().await;
    let up = Instant::now();
    let mut reached = BTreeMap::new();
    while !reached.contains_key(&100) {
        let connected = fleet.connected(server).await;
        for percent in [50, 90, 99, 100] {
            if connected * 100 >= fleet.len() * percent {
                reached.entry(percent).or_insert(up.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reached: Vec<_> = reached.iter().map(|(of, at)| format!("{of} % {at:.1?}")).collect();
    println!(
        "killed: the next server was ready after {:.1?}, and then connected: {}",
        up - killed,
        reached.join(", ")
    );
}

/// Approves and executes one change after the other, on a host each.
async fn changes(server: &Server, assets: &BTreeMap<String, Value>) {
    let operator = server.operator().await;
    let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
    let [mut approvals, mut executions] = [const { Vec::new() }; 2];
    for (sample, asset) in assets.values().cycle().take(SAMPLES).enumerate() {
        let submitted = operator
            .submitted(json!({
                "title": "The message of the day",
                "reason": "The notice is out of date.",
                "change_type": "host.set_file_content",
                "connection_id": asset["connection_id"],
                "targets": [asset["id"]],
                "parameters": { "path": "/etc/motd", "content": format!("{sample}\n") },
            }))
            .await;
        let (change, digest) = (id(&submitted), &submitted["plan"]["digest"]);
        let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
        let (last, earlier) = approvers.split_at(needed).0.split_last().unwrap();
        for approver in earlier {
            approver.approve(&change, digest).await.is(200);
        }
        let approved = now_s();
        last.approve(&change, digest).await.is(200);
        let executed = now_s();
        operator.act(&change, "execute").await.is(200);
        operator.settled(&change).await;
        approvals.push(approved);
        executions.push(executed);
    }
    let jobs: Vec<(f64, f64, f64)> = sqlx::query_as(
        "SELECT extract(epoch FROM created_at)::float8, extract(epoch FROM delivered_at)::float8,
             extract(epoch FROM finished_at)::float8
         FROM nexplane.agent_jobs WHERE has_effect ORDER BY created_at",
    )
    .fetch_all(server.database().pool())
    .await
    .unwrap();
    assert_eq!(jobs.len(), SAMPLES);
    let between = |what: &str, from: &dyn Fn(usize) -> f64, to: &dyn Fn(usize) -> f64| {
        let mut times: Vec<f64> = (0..SAMPLES).map(|at| (to(at) - from(at)) * 1_000.0).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!("{what}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(50), at(99), at(100));
    };
    between("order stored to handed out", &|at| jobs[at].0, &|at| jobs[at].1);
    between("order stored to receipt stored", &|at| jobs[at].0, &|at| jobs[at].2);
    between("execute asked to receipt stored", &|at| executions[at], &|at| jobs[at].2);
    between("last approval asked to receipt stored", &|at| approvals[at], &|at| jobs[at].2);
}

fn now_s() -> f64 {
    Timestamp::new(jiff::Timestamp::now()).as_micros() as f64 / 1e6
}

/// What a server costs in which nobody does anything.
struct Idle {
    /// In ten seconds.
    transactions: f64,
    /// Of one core.
    cpu_percent: f64,
    resident_kib: u64,
    held: u64,
}

impl Idle {
    async fn of(server: &Server) -> Self {
        let sql = "SELECT coalesce(sum(xact_commit + xact_rollback), 0)::bigint
             FROM pg_stat_database WHERE datname = current_database()";
        let count =
            async || sqlx::query_scalar::<_, i64>(sql).fetch_one(server.database().pool()).await;
        // PostgreSQL counts transactions up to ten seconds late.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let (before, cpu) = (count().await.unwrap(), cpu_s(server.pid()));
        tokio::time::sleep(IDLE).await;
        let transactions = (count().await.unwrap() - before) as f64 * 10.0 / IDLE.as_secs_f64();
        let cpu_percent = (cpu_s(server.pid()) - cpu) * 100.0 / IDLE.as_secs_f64();
        let resident_kib = resident_kib(server.pid());
        Self { transactions, cpu_percent, resident_kib, held: held(server).await }
    }

    fn told(&self, alone: &Self, agents: usize) -> String {
        let mut text = format!(
            "{} polls held, {:.0} transactions in ten seconds, {:.1} % of a core, {} MiB resident",
            self.held,
            self.transactions,
            self.cpu_percent,
            self.resident_kib / 1024
        );
        if agents > 0 {
            let grown = self.resident_kib.saturating_sub(alone.resident_kib);
            text += &format!(" ({:.0} KiB per agent)", grown as f64 / agents as f64);
        }
        text
    }
}

/// How many polls the server says that it holds.
async fn held(server: &Server) -> u64 {
    let base = server.base.lock().unwrap().clone();
    let text = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("nexplane_agent_polls "));
    line.unwrap().parse().unwrap()
}

/// Processor time of a process, in seconds.
fn cpu_s(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel tells programs of a hundred ticks in a second, whatever its own are.
    ticks as f64 / 100.0
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
