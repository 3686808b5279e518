//! How long it takes from the approval of a change until its order is in the agent's hands, while
//! many other agents hold their polls. Prints; judges nothing.
//!
//! The server is a process of its own on PostgreSQL; people approve and execute over HTTP; the
//! agents are the real runner with journals of their own, all in this process.
//!
//! `cargo bench --workspace --bench dispatch -- [agents]`

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

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexplane_agent::client::Client as AgentClient;
use nexplane_agent::host::LinuxHost;
use nexplane_agent::identity::Identity;
use nexplane_agent::journal::Journal;
use nexplane_agent::keep::Keep;
use nexplane_agent::key::AgentKey;
use nexplane_agent::runner::{Runner, Who};
use nexplane_agent::snapshot::{self, Snapshots};
use nexplane_core::job::{Job, JobEvent, Order, PollRequest};
use nexplane_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use harness::{Client, Server, eventually, id, items, text};

const SAMPLES: usize = 200;
/// How many agents enrol at the same moment.
const ENROLLING: usize = 16;

#[tokio::main]
async fn main() {
    let agents: usize = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(1000);
    let server = Server::start().await;
    let resident_alone = resident_kib(server.pid());
    let idle_alone = idle_transactions(&server).await;
    let files = tempfile::tempdir().unwrap();

    let start = Instant::now();
    let (hands, taken) = mpsc::unbounded_channel();
    let answered = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(Semaphore::new(ENROLLING));
    for number in 0..agents {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let directory = files.path().join(number.to_string());
        std::fs::create_dir_all(directory.join("root/etc")).unwrap();
        let (admin, ca) = (server.admin.clone(), server.ca.clone());
        let (hands, answered) = (hands.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            let identity = enroll(&admin, &ca, &directory, &format!("host-{number}")).await;
            drop(turn);
            work(&identity, &directory, &hands, &answered).await;
        });
    }
    eventually("every agent has said what its host is", async || {
        (answered.load(Ordering::Relaxed) >= agents).then_some(())
    })
    .await;
    println!("{agents} agents enrolled and polling after {:.1?}", start.elapsed());
    let of_polls = resident_kib(server.pid()).saturating_sub(resident_alone);
    println!("the server's memory has grown by {} KiB per agent", of_polls / agents as u64);

    let idle = idle_transactions(&server).await;
    println!("database transactions in 10 idle seconds: {idle}, and {idle_alone} without agents");
    measure(&server, taken).await;
}

/// Approves and executes one change after the other.
async fn measure(server: &Server, mut taken: mpsc::UnboundedReceiver<Instant>) {
    let operator = server.operator().await;
    let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
    let hosts = items(&operator.get("/assets?type=host&limit=200").await.is(200));
    let [mut approval, mut execution, mut order, mut whole] = [const { Vec::new() }; 4];
    // Every host in turn: each has time to hold its next poll.
    for (sample, asset) in hosts.iter().cycle().take(SAMPLES).enumerate() {
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
        let start = Instant::now();
        last.approve(&change, digest).await.is(200);
        let approved = Instant::now();
        operator.act(&change, "execute").await.is(200);
        let executed = Instant::now();
        let at = taken.recv().await.unwrap();
        operator.settled(&change).await;
        approval.push(approved - start);
        execution.push(executed - approved);
        order.push(at.saturating_duration_since(executed));
        whole.push(at - start);
    }
    report("approve: asked to answered", &mut approval);
    report("execute: asked to answered, with a reading of the host", &mut execution);
    report("execute answered to the order in the agent's hands", &mut order);
    report("approve asked to the order in the agent's hands", &mut whole);
}

async fn enroll(admin: &Client, ca: &Path, config: &Path, name: &str) -> Identity {
    let invited = admin.post("/hosts/enrollment-tokens", json!({ "ttl_s": 600 })).await.is(201);
    let field = |name: &str| text(invited.get(name).unwrap_or(&Value::Null));
    let ca = std::fs::read_to_string(ca).unwrap();
    let keep = Keep::directory(config);
    Identity::enroll(&keep, &field("gateway"), &ca, &field("token"), name, None).await.unwrap()
}

/// An agent that does what it is told, and says when it got an order to change something.
async fn work(
    identity: &Identity,
    directory: &Path,
    hands: &mpsc::UnboundedSender<Instant>,
    answered: &AtomicUsize,
) {
    let Identity { host, name, dispatchers, control_plane, ca_pem, .. } = identity;
    let Identity { certificate_pem, key_pem, .. } = identity;
    let client = AgentClient::new(control_plane, ca_pem, certificate_pem, key_pem).unwrap();
    let mut runner = Runner::new(
        Who { host: *host, name: name.clone(), dispatchers: dispatchers.clone() },
        AgentKey::from_pem(key_pem).unwrap(),
        Arc::new(LinuxHost::open(&directory.join("root"), &[]).unwrap()),
        Journal::open(&directory.join("journal"), *host).unwrap(),
        Snapshots::open(&directory.join("snapshots"), snapshot::TOTAL_LIMIT).unwrap(),
        directory.join("policy.toml"),
        Arc::new(|| Timestamp::new(jiff::Timestamp::now())),
    );
    let instance = Uuid::new_v4();
    let mut request = PollRequest {
        wait_s: 50,
        have: 0,
        instance,
        number: 1,
        policy_hash: None,
        distrusted: Vec::new(),
    };
    // Until the server is gone.
    while let Ok(answer) = client.poll(&request).await {
        let at = Instant::now();
        for envelope in answer.jobs {
            let job: Job = serde_json::from_str(&envelope.payload).unwrap();
            if matches!(job.order, Order::Apply { .. }) {
                let _ = hands.send(at);
            }
            let (_, receipt) = runner.handle(&envelope, &mut |_, _| {}).unwrap().unwrap();
            client.report(job.id, &JobEvent::Result { receipt }).await.unwrap();
            request.have = job.seq;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        request.number += 1;
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let last = times.last().copied().unwrap_or_default();
    println!("{what}: p50 {:.2?}, p99 {:.2?}, max {last:.2?}", at(50), at(99));
}

/// Database transactions in ten seconds in which nobody does anything.
async fn idle_transactions(server: &Server) -> i64 {
    let sql = "SELECT coalesce(sum(xact_commit + xact_rollback), 0)::bigint
         FROM pg_stat_database WHERE datname = current_database()";
    let count =
        async || sqlx::query_scalar::<_, i64>(sql).fetch_one(server.database().pool()).await;
    // PostgreSQL counts transactions up to ten seconds late.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let before = count().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    count().await.unwrap() - before
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
