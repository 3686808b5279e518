//! Durable appends per second of the log, beside what the same tables take without it.
//!
//! Everybody writes the same rows (commands of one event with a record of about 600 bytes, sixteen
//! to a stream) into the same tables of a database of their own on one server, with fsync, in one
//! run and in turns:
//!
//! - **log**: callers append and wait for each answer; every condition is checked;
//! - **raw batches**: one connection inserts the rows of 256 commands per transaction, the next
//!   ones are prepared meanwhile, positions are made up, nothing is checked: the physical limit;
//! - **one by one**: 32 connections, a transaction of one statement per command, positions are made
//!   up, nothing is checked;
//! - **one by one in order**: the same with positions from the head, so that they have no gaps.
//!
//! Then the time that an append takes when they come at half of the highest rate, at fixed moments
//! whether or not the earlier ones have been answered.
//!
//! Run with `cargo bench --workspace --bench log`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::unwrap_used, reason = "a bench that fails may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use nexplane_core::actor::Actor;
use nexplane_core::id::{ChangeId, CommandId, StreamId};
use nexplane_core::record::{self, Header};
use nexplane_core::time::Timestamp;
use nexplane_store::database::{Database, DatabaseOptions};
use nexplane_store::embedded::{Cluster, ClusterOptions};
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use serde_json::value::RawValue;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _, query, query_scalar};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// Fills caches of plans and pages before the first round.
const WARM_UP: Duration = Duration::from_millis(500);
const PACED: Duration = Duration::from_secs(5);
const CALLERS: [usize; 3] = [32, 128, 512];
const BATCH: usize = 256;
const CONNECTIONS: usize = 32;
/// Events of one stream.
const LONG: u64 = 16;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let cluster =
        Cluster::open(ClusterOptions::new(directory.path().join("cluster"))).await.unwrap();
    let mut writers = Vec::new();
    for callers in CALLERS {
        writers.push(Writer::Log { callers, log: Logged::open(&cluster, callers).await });
    }
    let mut raw = prepared(&cluster, "raw", 1).await;
    writers.push(Writer::Batches { connection: raw.pop().unwrap(), next: 0 });
    for in_order in [false, true] {
        let name = if in_order { "in_order" } else { "unordered" };
        let connections = prepared(&cluster, name, CONNECTIONS).await;
        writers.push(Writer::Single { connections, next: Arc::default(), in_order });
    }
    settings(&cluster).await;

    let mut rates = vec![Vec::new(); writers.len()];
    for writer in &mut writers {
        writer.round(WARM_UP).await;
    }
    for _ in 0..ROUNDS {
        for (writer, rates) in writers.iter_mut().zip(&mut rates) {
            rates.push(writer.round(ROUND).await);
        }
    }
    let best = report(&writers, &rates);

    for writer in writers {
        if let Writer::Log { callers: 128, log } = writer {
            latency(&log.log, best / 2.0).await;
            log.close().await;
        }
    }
    cluster.stop().await.unwrap();
}

async fn settings(cluster: &Cluster) {
    let mut connection = cluster.connect_options("raw").connect().await.unwrap();
    for name in ["server_version", "fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        print!("{name} {value}, ");
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, record of {} bytes", Row::new(1).record.len());
    println!("{ROUNDS} rounds of {} s, in turns", ROUND.as_secs());
}

/// Prints the medians and what they are to each other; returns the log's highest.
fn report(writers: &[Writer], rates: &[Vec<f64>]) -> f64 {
    let medians: Vec<f64> = rates.iter().map(|rates| median(rates)).collect();
    let of = |wanted: fn(&Writer) -> bool| {
        let index = writers.iter().position(wanted).unwrap();
        medians.get(index).copied().unwrap()
    };
    let raw = of(|writer| matches!(writer, Writer::Batches { .. }));
    let single = of(|writer| matches!(writer, Writer::Single { in_order: false, .. }));
    println!(
        "\n{:<26} {:>9}  {:>10} {:>13}  rounds",
        "appends/s", "median", "of raw", "one by one"
    );
    let mut best: f64 = 0.0;
    for ((writer, rates), median) in writers.iter().zip(rates).zip(&medians) {
        if matches!(writer, Writer::Log { .. }) {
            best = best.max(*median);
        }
        let rounds: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!(
            "{:<26} {median:>9.0} {:>9.0} % {:>11.1} x  {}",
            writer.name(),
            100.0 * median / raw,
            median / single,
            rounds.join(" ")
        );
    }
    best
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

async fn migrated(cluster: &Cluster, name: &str) -> Database {
    cluster.create_database(name).await.unwrap();
    let options = DatabaseOptions::default();
    let database = Database::connect_with(cluster.connect_options(name), &options).await.unwrap();
    database.migrate().await.unwrap();
    database
}

/// Connections to a new database that may write the log's tables themselves.
async fn prepared(cluster: &Cluster, name: &str, count: usize) -> Vec<PgConnection> {
    migrated(cluster, name).await.close().await;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(cluster.connect_options(name).connect().await.unwrap());
    }
    connections
}

struct Logged {
    log: Log,
    database: Database,
}

impl Logged {
    async fn open(cluster: &Cluster, callers: usize) -> Self {
        let name = format!("log_{callers}");
        let database = migrated(cluster, &name).await;
        let connect = cluster.connect_options(&name);
        let log = Log::open(database.pool().clone(), connect, LogOptions::default()).await.unwrap();
        Self { log, database }
    }

    async fn close(self) {
        self.log.close().await;
        self.database.close().await;
    }
}

enum Writer {
    Log { callers: usize, log: Logged },
    Batches { connection: PgConnection, next: i64 },
    Single { connections: Vec<PgConnection>, next: Arc<AtomicI64>, in_order: bool },
}

impl Writer {
    fn name(&self) -> String {
        match self {
            Self::Log { callers, .. } => format!("log, {callers} callers"),
            Self::Batches { .. } => format!("raw batches of {BATCH}"),
            Self::Single { in_order: false, .. } => "one by one".to_owned(),
            Self::Single { in_order: true, .. } => "one by one in order".to_owned(),
        }
    }

    /// Durable commands per second.
    async fn round(&mut self, time: Duration) -> f64 {
        let started = Instant::now();
        let until = started + time;
        let count = match self {
            Self::Log { callers, log } => log_round(&log.log, *callers, until).await,
            Self::Batches { connection, next } => batches_round(connection, next, until).await,
            Self::Single { connections, next, in_order } => {
                let mut tasks = JoinSet::new();
                for connection in connections.drain(..) {
                    let next = Arc::clone(next);
                    tasks.spawn(single_round(connection, next, *in_order, until));
                }
                let mut sum = 0;
                for (connection, count) in tasks.join_all().await {
                    connections.push(connection);
                    sum += count;
                }
                sum
            }
        };
        f64::from(count) / started.elapsed().as_secs_f64()
    }
}

/// Each caller appends one event after the other.
async fn log_round(log: &Log, callers: usize, until: Instant) -> u32 {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let log = log.clone();
        tasks.spawn(async move {
            let mut count = 0;
            'time: loop {
                let stream = ChangeId(Uuid::now_v7()).into();
                for version in 0..LONG {
                    if Instant::now() >= until {
                        break 'time count;
                    }
                    log.append(append(stream, version)).await.unwrap();
                    count += 1;
                }
            }
        });
    }
    tasks.join_all().await.into_iter().sum()
}

fn append(stream: StreamId, expected_version: u64) -> Append {
    let command = Uuid::now_v7();
    Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream,
        expected_version,
        guards: Vec::new(),
        events: vec![NewEvent {
            id: Uuid::now_v7(),
            kind: "change.drafted".to_owned(),
            schema: 1,
            data: data(),
        }],
        actor: Actor::SYSTEM,
        at: now(),
        correlation: command,
        causation: command,
    }
}

fn data() -> Box<RawValue> {
    RawValue::from_string(format!("{{\"title\":\"{}\"}}", "Open port 443. ".repeat(10))).unwrap()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// What a command of one event writes.
struct Row {
    stream: String,
    version: i64,
    command: Uuid,
    at: String,
    record: String,
    leaf_hash: [u8; 32],
}

impl Row {
    fn new(version: u64) -> Self {
        Self::of(ChangeId(Uuid::now_v7()).into(), version)
    }

    fn of(stream: StreamId, version: u64) -> Self {
        let (command, at) = (Uuid::now_v7(), now());
        let header = Header {
            id: Uuid::now_v7(),
            stream,
            version,
            kind: "change.drafted".to_owned(),
            schema: 1,
            at,
            actor: Actor::SYSTEM,
            command,
            correlation: command,
            causation: command,
        };
        let record = record::encode(&header, &data()).unwrap();
        Self {
            stream: stream.to_string(),
            version: i64::try_from(version).unwrap(),
            command,
            at: at.to_string(),
            leaf_hash: record::leaf_hash(&record),
            record,
        }
    }
}

/// One connection, prepared batches.
async fn batches_round(connection: &mut PgConnection, next: &mut i64, until: Instant) -> u32 {
    let (ready, mut batches) = mpsc::channel(2);
    let preparing = tokio::task::spawn_blocking(move || {
        loop {
            let streams: Vec<StreamId> =
                (0..BATCH).map(|_| ChangeId(Uuid::now_v7()).into()).collect();
            for version in 1..=LONG {
                let batch: Vec<Row> =
                    streams.iter().map(|stream| Row::of(*stream, version)).collect();
                if ready.blocking_send(batch).is_err() {
                    return;
                }
            }
        }
    });
    let mut count = 0;
    while Instant::now() < until {
        let batch = batches.recv().await.unwrap();
        insert_batch(connection, *next, &batch).await;
        *next += i64::try_from(BATCH).unwrap();
        count += u32::try_from(BATCH).unwrap();
    }
    drop(batches);
    preparing.await.unwrap();
    count
}

async fn insert_batch(connection: &mut PgConnection, first: i64, batch: &[Row]) {
    let positions: Vec<i64> = (first..).take(batch.len()).collect();
    let streams: Vec<&str> = batch.iter().map(|row| row.stream.as_str()).collect();
    let versions: Vec<i64> = batch.iter().map(|row| row.version).collect();
    let commands: Vec<Uuid> = batch.iter().map(|row| row.command).collect();
    let times: Vec<&str> = batch.iter().map(|row| row.at.as_str()).collect();
    let records: Vec<&str> = batch.iter().map(|row| row.record.as_str()).collect();
    let hashes: Vec<&[u8]> = batch.iter().map(|row| row.leaf_hash.as_slice()).collect();
    let mut transaction = connection.begin().await.unwrap();
    query(
        "INSERT INTO nexplane.log_events \
         (position, stream_id, category, version, type, recorded_at, record, leaf_hash) \
         SELECT position, stream_id, 'change', version, 'change.drafted', at, record, hash \
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], \
         $6::bytea[]) row (position, stream_id, version, at, record, hash)",
    )
    .bind(&positions)
    .bind(&streams)
    .bind(&versions)
    .bind(&times)
    .bind(&records)
    .bind(&hashes)
    .execute(&mut *transaction)
    .await
    .unwrap();
    query(
        "INSERT INTO nexplane.log_streams (stream_id, version) \
         SELECT * FROM unnest($1::text[], $2::bigint[]) \
         ON CONFLICT (stream_id) DO UPDATE SET version = EXCLUDED.version",
    )
    .bind(&streams)
    .bind(&versions)
    .execute(&mut *transaction)
    .await
    .unwrap();
    query(
        "INSERT INTO nexplane.log_commands SELECT command, $3, position, position \
         FROM unnest($1::uuid[], $2::bigint[]) row (command, position)",
    )
    .bind(&commands)
    .bind(&positions)
    .bind([1_u8; 32])
    .execute(&mut *transaction)
    .await
    .unwrap();
    query("UPDATE nexplane.log_head SET next_position = next_position + $1")
        .bind(i64::try_from(batch.len()).unwrap())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// One of many connections, a transaction per command.
async fn single_round(
    mut connection: PgConnection,
    next: Arc<AtomicI64>,
    in_order: bool,
    until: Instant,
) -> (PgConnection, u32) {
    // The statement takes the position from the head, or as it is given.
    let sql = if in_order {
        "WITH head AS ( \
             UPDATE nexplane.log_head SET next_position = next_position + 1 \
             RETURNING next_position - 1 + 0 * $1 AS position \
         ), event AS ( \
             INSERT INTO nexplane.log_events \
             (position, stream_id, category, version, type, recorded_at, record, leaf_hash) \
             SELECT position, $2, 'change', $3, 'change.drafted', $4::timestamptz, $5, $6 FROM head \
         ), stream AS ( \
             INSERT INTO nexplane.log_streams (stream_id, version) VALUES ($2, $3) \
             ON CONFLICT (stream_id) DO UPDATE SET version = EXCLUDED.version \
         ) INSERT INTO nexplane.log_commands SELECT $7, $8, position, position FROM head"
    } else {
        "WITH event AS ( \
             INSERT INTO nexplane.log_events \
             (position, stream_id, category, version, type, recorded_at, record, leaf_hash) \
             VALUES ($1, $2, 'change', $3, 'change.drafted', $4::timestamptz, $5, $6) \
         ), stream AS ( \
             INSERT INTO nexplane.log_streams (stream_id, version) VALUES ($2, $3) \
             ON CONFLICT (stream_id) DO UPDATE SET version = EXCLUDED.version \
         ) INSERT INTO nexplane.log_commands VALUES ($7, $8, $1, $1)"
    };
    let mut count = 0;
    'time: loop {
        let stream: StreamId = ChangeId(Uuid::now_v7()).into();
        for version in 1..=LONG {
            if Instant::now() >= until {
                break 'time;
            }
            let row = Row::of(stream, version);
            query(sql)
                .bind(next.fetch_add(1, Ordering::Relaxed))
                .bind(row.stream)
                .bind(row.version)
                .bind(row.at)
                .bind(row.record)
                .bind(row.leaf_hash)
                .bind(row.command)
                .bind([1_u8; 32])
                .execute(&mut connection)
                .await
                .unwrap();
            count += 1;
        }
    }
    (connection, count)
}

/// Appends at fixed moments. The time of each counts from its moment, so one that had to wait for
/// the sender counts as slow.
async fn latency(log: &Log, per_second: f64) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let mut sent = 0_u32;
    while started.elapsed() < PACED {
        tick.tick().await;
        loop {
            let moment = started + Duration::from_secs_f64(f64::from(sent) / per_second);
            if moment > Instant::now() {
                break;
            }
            let log = log.clone();
            tasks.spawn(async move {
                log.append(append(ChangeId(Uuid::now_v7()).into(), 0)).await.unwrap();
                moment.elapsed()
            });
            sent += 1;
        }
    }
    let mut times = tasks.join_all().await;
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap();
    println!(
        "\nappends at {per_second:.0}/s for {} s: p50 {:.1?}, p99 {:.1?}, slowest {:.1?}",
        PACED.as_secs(),
        at(50),
        at(99),
        times.last().copied().unwrap()
    );
}
