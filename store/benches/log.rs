//! Durable appends per second of the log, beside what the same tables take without it.
//!
//! Both sides write the same rows (one event of about 600 bytes per command, 64 streams' worth of
//! concurrent writers) into the same tables, with fsync, in one run and in turns:
//!
//! - **log**: writers call `Log::append` and wait for each answer; every condition is checked;
//! - **raw**: one connection inserts rows of 256 commands per transaction, positions and versions
//!   made up by the client, nothing checked. The floor that a checked log cannot go below.
//!
//! Run with `cargo bench -p nexplane-store --bench log`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]
#![allow(clippy::unwrap_used, reason = "a bench that fails may panic")]

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
use uuid::Uuid;

const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_secs(4);
const WRITERS: [usize; 3] = [1, 64, 512];
const RAW_BATCH: u64 = 256;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let cluster =
        Cluster::open(ClusterOptions::new(directory.path().join("cluster"))).await.unwrap();
    let database = migrated(&cluster, "log").await;
    let pool = database.pool();
    let fsync: String = query_scalar("SHOW fsync").fetch_one(pool).await.unwrap();
    let commit: String = query_scalar("SHOW synchronous_commit").fetch_one(pool).await.unwrap();
    println!("fsync {fsync}, synchronous_commit {commit}, record {} bytes", record_bytes());

    let connect = cluster.connect_options("log");
    let log = Log::open(pool.clone(), connect, LogOptions::default()).await.unwrap();
    migrated(&cluster, "raw").await.close().await;
    let connection = cluster.connect_options("raw").connect().await.unwrap();
    let mut raw = Raw { connection, next_position: 0 };

    println!("{:>8} {:>10} {:>12} {:>12} {:>7}", "round", "writers", "log", "raw", "ratio");
    for writers in WRITERS {
        let (mut log_total, mut raw_total) = (0.0, 0.0);
        for round in 1..=ROUNDS {
            let checked = log_round(&log, writers).await;
            let unchecked = raw.round().await;
            log_total += checked;
            raw_total += unchecked;
            let ratio = checked / unchecked;
            println!("{round:>8} {writers:>10} {checked:>10.0}/s {unchecked:>10.0}/s {ratio:>7.2}");
        }
        let ratio = log_total / raw_total;
        let (checked, unchecked) = (log_total / f64::from(ROUNDS), raw_total / f64::from(ROUNDS));
        println!("{:>8} {writers:>10} {checked:>10.0}/s {unchecked:>10.0}/s {ratio:>7.2}", "mean");
    }
    log.close().await;
    database.close().await;
    cluster.stop().await.unwrap();
}

async fn migrated(cluster: &Cluster, name: &str) -> Database {
    cluster.create_database(name).await.unwrap();
    let options = DatabaseOptions::default();
    let database = Database::connect_with(cluster.connect_options(name), &options).await.unwrap();
    database.migrate().await.unwrap();
    database
}

/// Writers append one event after the other, each to a new stream every 16 events.
async fn log_round(log: &Log, writers: usize) -> f64 {
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut count = 0_u32;
                while started.elapsed() < ROUND {
                    let stream = ChangeId(Uuid::now_v7()).into();
                    for version in 0..16 {
                        log.append(append(stream, version)).await.unwrap();
                        count += 1;
                    }
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    f64::from(count) / started.elapsed().as_secs_f64()
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

fn record_bytes() -> usize {
    record_text(ChangeId(Uuid::now_v7()).into(), 1, Uuid::now_v7()).len()
}

fn record_text(stream: StreamId, version: u64, command: Uuid) -> String {
    let header = Header {
        id: Uuid::now_v7(),
        stream,
        version,
        kind: "change.drafted".to_owned(),
        schema: 1,
        at: now(),
        actor: Actor::SYSTEM,
        command,
        correlation: command,
        causation: command,
    };
    record::encode(&header, &data()).unwrap()
}

/// The same rows without the log: one connection, no checks.
struct Raw {
    connection: PgConnection,
    next_position: u64,
}

impl Raw {
    async fn round(&mut self) -> f64 {
        let started = Instant::now();
        let mut count = 0_u32;
        while started.elapsed() < ROUND {
            for version in 1..=16 {
                self.batch(version).await;
                count += u32::try_from(RAW_BATCH).unwrap();
            }
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    }

    async fn batch(&mut self, version: u64) {
        let at = now().to_string();
        let mut positions = Vec::new();
        let mut streams = Vec::new();
        let mut commands = Vec::new();
        let mut records = Vec::new();
        let mut hashes = Vec::new();
        for position in self.next_position..self.next_position + RAW_BATCH {
            let stream: StreamId = ChangeId(Uuid::now_v7()).into();
            let command = Uuid::now_v7();
            let text = record_text(stream, version, command);
            positions.push(i64::try_from(position).unwrap());
            streams.push(stream.to_string());
            commands.push(command);
            hashes.push(record::leaf_hash(&text));
            records.push(text);
        }
        let version = i64::try_from(version).unwrap();
        let mut transaction = self.connection.begin().await.unwrap();
        query(
            "INSERT INTO nexplane.log_events \
             (position, stream_id, category, version, type, recorded_at, record, leaf_hash) \
             SELECT position, stream_id, 'change', $6, 'change.drafted', $5::timestamptz, record, \
             hash FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[]) \
             row (position, stream_id, record, hash)",
        )
        .bind(&positions)
        .bind(&streams)
        .bind(&records)
        .bind(&hashes)
        .bind(&at)
        .bind(version)
        .execute(&mut *transaction)
        .await
        .unwrap();
        query("INSERT INTO nexplane.log_streams SELECT stream_id, $2 FROM unnest($1::text[]) s (stream_id)")
            .bind(&streams)
            .bind(version)
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
        self.next_position += RAW_BATCH;
        query("UPDATE nexplane.log_head SET next_position = $1")
            .bind(i64::try_from(self.next_position).unwrap())
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
}
