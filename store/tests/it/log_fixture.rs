//! A log on a database of its own, and commands for it.

use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};

use nexplane_core::actor::Actor;
use nexplane_core::id::{ChangeId, CommandId, StreamId};
use nexplane_core::record::{self, Record};
use nexplane_core::time::Timestamp;
use nexplane_store::database::Role;
use nexplane_store::log::{
    Append, AppendError, Appended, Cursor, Log, LogOptions, NewEvent, Stored,
};
use nexplane_store::testing::TestDatabase;
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

pub struct Fixture {
    pub log: Log,
    pub database: TestDatabase,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(LogOptions::default()).await
    }

    pub async fn with(options: LogOptions) -> Self {
        let database = TestDatabase::new().await;
        let connect = Role::Append.at(database.options());
        let log = Log::open(database.pool().clone(), connect, options).await.unwrap();
        Self { log, database }
    }

    /// Another server's log on the same database.
    pub async fn second_log(&self) -> Log {
        Log::open(self.pool().clone(), self.connect(), LogOptions::default()).await.unwrap()
    }

    /// As an appender connects.
    pub fn connect(&self) -> PgConnectOptions {
        Role::Append.at(self.database.options())
    }

    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub async fn start(&self) -> Cursor {
        Cursor::start(self.log.head().await.unwrap().incarnation)
    }

    /// Every event of the log.
    pub async fn all(&self) -> Vec<Stored> {
        let mut all = Vec::new();
        loop {
            let page = self.log.read(all.len() as u64, 1000).await.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Holds up every append until it is rolled back.
    pub async fn hold_head(&self) -> Transaction<'static, Postgres> {
        let mut holder = self.pool().begin().await.unwrap();
        let hold = sqlx::query("SELECT FROM nexplane.log_head FOR UPDATE");
        hold.execute(&mut *holder).await.unwrap();
        holder
    }

    /// Ends the appenders' connections and returns how many there were.
    pub async fn kill_appenders(&self) -> usize {
        let killed: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'nexplane-appender'",
        )
        .fetch_all(self.pool())
        .await
        .unwrap();
        killed.len()
    }
}

pub fn stream(number: u128) -> StreamId {
    ChangeId(Uuid::from_u128(number)).into()
}

pub fn event(kind: &str, data: &str) -> NewEvent {
    NewEvent {
        id: Uuid::now_v7(),
        kind: kind.to_owned(),
        schema: 1,
        data: RawValue::from_string(data.to_owned()).unwrap(),
    }
}

/// A new command with `count` events.
pub fn append(stream: StreamId, expected_version: u64, count: usize) -> Append {
    let command = Uuid::now_v7();
    Append {
        command: CommandId(command),
        request_hash: [1; 32],
        stream,
        expected_version,
        guards: Vec::new(),
        events: (0..count).map(|n| event("test.happened", &format!("{{\"n\":{n}}}"))).collect(),
        actor: Actor::SYSTEM,
        at: at(0),
        correlation: command,
        causation: command,
    }
}

/// Seconds after a fixed moment.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_str("2026-11-23T12:00:00.000001Z").unwrap().plus_seconds(seconds)
}

pub fn records(events: &[Stored]) -> Vec<Record> {
    events.iter().map(|event| record::decode(&event.record).unwrap()).collect()
}

/// Puts a command into the log's queue; the future is its answer.
pub fn queue(
    log: &Log,
    append: Append,
) -> Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + '_>> {
    let mut answer = Box::pin(log.append(append));
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => answer,
        Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
    }
}
