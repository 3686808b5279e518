//! How fast a log is exported and verified: signatures, tree, streams and rules, of a folder and of a
//! database. Prints; judges nothing.
//!
//! The events are those of hosts that come and go, three to a stream. `NEXPLANE_BENCH_EVENTS` sets the
//! length of the log; 1,000,000 when it is not given.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "printing is what it is for, and a measurement that cannot go on has no result"
)]

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use nexplane_core::actor::Actor;
use nexplane_core::event::Event;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::id::{CommandId, HostId};
use nexplane_core::time::Timestamp;
use nexplane_server::audit::{self, DatabaseEvidence, Evidence, Folder, Pins};
use nexplane_server::seal::Sealer;
use nexplane_store::database::Role;
use nexplane_store::log::seal::Seals;
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use nexplane_store::testing::TestDatabase;
use sqlx::ConnectOptions as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Commands under way at the same moment.
const CALLERS: usize = 512;
const EVENTS_OF_A_HOST: u64 = 3;

#[tokio::main]
async fn main() {
    let wanted = std::env::var("NEXPLANE_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let hosts = wanted.unwrap_or(1_000_000_u64).div_ceil(EVENTS_OF_A_HOST);
    let events = hosts * EVENTS_OF_A_HOST;
    let database = TestDatabase::new().await;
    let connect = Role::Append.at(database.options());
    let log = Log::open(database.pool().clone(), connect, LogOptions::default()).await.unwrap();
    let incarnation = log.head().await.unwrap().incarnation;
    let seals = Seals::new(database.pool().clone(), incarnation);
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(log.clone(), seals.clone(), dir.path()).await.unwrap();
    let key = sealer.key().verifier().clone();
    let (stop, mut signed) = (CancellationToken::new(), sealer.signed());
    let sealing = tokio::spawn(sealer.run(stop.clone()));

    let start = Instant::now();
    futures_util::stream::iter(0..hosts)
        .for_each_concurrent(CALLERS, async |number| {
            log.append(host(u128::from(number))).await.unwrap();
        })
        .await;
    report("appended in commands of three", events, start.elapsed());
    signed.wait_for(|signed| signed.size == events).await.unwrap();
    report("appended and sealed", events, start.elapsed());
    stop.cancel();
    sealing.await.unwrap().unwrap();

    let out = dir.path().join("evidence");
    let start = Instant::now();
    audit::export(&log, &seals, &out, (None, None), |_, _| ()).await.unwrap();
    report("exported", events, start.elapsed());

    let pins = Pins { key, witnesses: None, kept: Vec::new() };
    println!("memory before verification, at its highest: {} MiB", highest_mib());
    verify("folder verified", Box::new(Folder::open(&out).unwrap()), &pins, events).await;
    let connection = Role::Read.at(database.options()).connect().await.unwrap();
    let evidence = DatabaseEvidence::open(connection, "the benchmark".to_owned()).await.unwrap();
    verify("database verified", Box::new(evidence), &pins, events).await;
}

async fn verify(what: &str, evidence: Box<dyn Evidence>, pins: &Pins, events: u64) {
    let (pins, start) = (pins.clone(), Instant::now());
    let judged = tokio::task::spawn_blocking(move || audit::verify(evidence, &pins, &mut |_| ()));
    let report_of = judged.await.unwrap().unwrap();
    report(what, events, start.elapsed());
    println!("  {:?}; memory at its highest: {} MiB", report_of.verdict, highest_mib());
}

fn host(number: u128) -> Append {
    let certificate = Certificate {
        key_hash: format!("{number:064x}"),
        not_after: "2027-11-23T12:00:00.000001Z".parse().unwrap(),
    };
    let (hostname, agent_version) = (format!("web-{number}"), "1.0".to_owned());
    let events = [
        HostEvent::Enrolled { hostname, agent_version, policy_hash: None, certificate },
        HostEvent::CameOnline {},
        HostEvent::WentOffline { reason: "switched off".to_owned() },
    ];
    let command = Uuid::from_u128(number + 1);
    let new = |event: HostEvent| {
        let encoded = Event::Host(event).encode();
        NewEvent {
            id: Uuid::now_v7(),
            kind: encoded.kind,
            schema: encoded.schema,
            data: encoded.data,
        }
    };
    Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream: HostId(Uuid::from_u128(number)).into(),
        expected_version: 0,
        guards: Vec::new(),
        events: events.map(new).into(),
        actor: Actor::SYSTEM,
        at: Timestamp::new(jiff::Timestamp::now()),
        correlation: command,
        causation: command,
    }
}

fn report(what: &str, events: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{what:<30} {:>9.0} events/s  ({seconds:.1} s)", events as f64 / seconds);
}

/// The most memory that this process has had.
fn highest_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
