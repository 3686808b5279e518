//! How long an order takes from its dispatch into the hands of an agent, while many agents hold
//! their polls. Prints; judges nothing.
//!
//! `cargo bench -p nexplane-server --bench dispatch -- [agents]`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has no result")]
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nexplane_agent::client::Client;
use nexplane_core::host::event::Certificate;
use nexplane_core::id::HostId;
use nexplane_core::job::{Job, Order, PollRequest};
use nexplane_core::time::Timestamp;
use nexplane_server::gateway::authority::{Authority, GatewayKeys, RequestedKey};
use nexplane_server::gateway::presence::SILENCE;
use nexplane_server::gateway::{
    Enrolled, Gateway, GatewayOptions, HostRegistry, NewHost, RegistryError, Standing,
};
use nexplane_store::testing::TestDatabase;
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

const SAMPLES: usize = 300;

struct Everybody;

#[async_trait]
impl HostRegistry for Everybody {
    async fn enroll(&self, host: NewHost) -> Result<Enrolled, RegistryError> {
        Ok(Enrolled { name: host.hostname })
    }
    async fn renewed(&self, _: HostId, _: Certificate) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn came_online(&self, _: HostId) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn went_offline(&self, _: HostId, _: &str) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn policy_changed(&self, _: HostId, _: Option<String>) -> Result<(), RegistryError> {
        Ok(())
    }
    async fn lock(&self, _: HostId, _: &str) -> Result<(), RegistryError> {
        Ok(())
    }
    fn standing(&self, _: HostId, _: &str) -> Standing {
        Standing::Good
    }
}

#[tokio::main]
async fn main() {
    let agents: usize = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(1000);
    let database = TestDatabase::new().await;
    let now = Timestamp::new(jiff::Timestamp::now());
    let keys = GatewayKeys::generate(now).unwrap();
    let authority = Authority::open(&keys).unwrap();
    let gateway = Gateway::start(GatewayOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        names: Vec::new(),
        keys,
        pool: database.pool().clone(),
        hosts: Arc::new(Everybody),
        silence: SILENCE,
    })
    .await
    .unwrap();

    let (hands, mut taken) = mpsc::unbounded_channel::<(HostId, Instant)>();
    let connecting = Arc::new(Semaphore::new(64));
    let start = Instant::now();
    let mut hosts = Vec::with_capacity(agents);
    for _ in 0..agents {
        let host = HostId(Uuid::now_v7());
        hosts.push(host);
        let client = client(&authority, &gateway, host, now);
        tokio::spawn(hold(client, Arc::clone(&connecting), hands.clone()));
    }
    while gateway.held_polls() < agents {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{agents} agents hold their polls after {:.1?}", start.elapsed());
    println!("resident memory of agents and gateway together: {} MiB", resident_mib());
    // PostgreSQL counts transactions up to ten seconds late.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let before = transactions(&database).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!(
        "database transactions in 10 idle seconds: {}",
        transactions(&database).await - before
    );

    let mut times = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES {
        // Spread over the hosts; each has time to hold its next poll.
        let host = *hosts.get(sample * 7919 % agents).unwrap();
        let dispatcher = gateway.dispatcher();
        let key = format!("sample {sample}");
        let start = Instant::now();
        let run = tokio::spawn(async move {
            let deadline = Duration::from_millis(100);
            let _ = dispatcher.run(host, Order::CollectFacts, deadline, &key).await;
        });
        let (by, at) = taken.recv().await.unwrap();
        assert_eq!(by, host);
        times.push(at - start);
        run.await.unwrap();
    }
    report("one at a time, from dispatch to the agent's hands", &mut times);
    gateway.shutdown().await;
}

/// Polls, notes when an order comes, and polls again.
async fn hold(
    client: Client,
    connecting: Arc<Semaphore>,
    hands: mpsc::UnboundedSender<(HostId, Instant)>,
) {
    let instance = Uuid::new_v4();
    let mut have = 0;
    {
        let _turn = connecting.acquire().await.unwrap();
        client.time().await.unwrap();
    }
    for number in 1.. {
        let request = PollRequest { wait_s: 50, have, instance, number, policy_hash: None };
        let Ok(answer) = client.poll(&request).await else { return };
        let at = Instant::now();
        for envelope in answer.jobs {
            let job: Job = serde_json::from_str(&envelope.payload).unwrap();
            have = job.seq;
            let _ = hands.send((job.host, at));
        }
    }
}

fn client(authority: &Authority, gateway: &Gateway, host: HostId, now: Timestamp) -> Client {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let requested = RequestedKey::from_request(&csr).unwrap();
    let pem = authority.certify_agent(host, &requested, now).unwrap().pem;
    Client::new(&gateway.url(), gateway.ca_pem(), &pem, &key.serialize_pem()).unwrap()
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let last = times.last().copied().unwrap_or_default();
    println!("{what}: p50 {:.2?}, p99 {:.2?}, max {last:.2?}", at(50), at(99));
}

async fn transactions(database: &TestDatabase) -> i64 {
    let sql = "SELECT coalesce(sum(xact_commit + xact_rollback), 0)::bigint
         FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(sql).fetch_one(database.pool()).await.unwrap()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
