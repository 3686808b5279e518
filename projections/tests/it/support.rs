//! A log to append to, read models over it, and ways to look at all of their rows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nexplane_core::actor::Actor;
use nexplane_core::event::Event;
use nexplane_core::id::{CommandId, StreamId};
use nexplane_core::time::Timestamp;
use nexplane_projections::{Options, Projection, Projections, Role};
use nexplane_store::log::{Append, Log, LogOptions, NewEvent};
use nexplane_store::testing::TestDatabase;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

pub const LONG: Duration = Duration::from_secs(30);

/// Commands given to the log at once.
const WINDOW: usize = 200;

/// Events of one stream that are appended together.
#[derive(Clone, Debug)]
pub struct Command {
    pub stream: StreamId,
    /// The stream's version before.
    pub expected: u64,
    pub actor: Actor,
    pub at: Timestamp,
    pub events: Vec<Event>,
}

pub struct World {
    pub database: TestDatabase,
    pub log: Log,
}

impl World {
    pub async fn new() -> Self {
        let database = TestDatabase::new().await;
        let log =
            Log::open(database.pool().clone(), database.options(), LogOptions::default()).await;
        Self { log: log.unwrap(), database }
    }

    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Appends in order; returns the position of the last event.
    pub async fn append(&self, commands: Vec<Command>) -> u64 {
        let mut last = 0;
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let window = commands.by_ref().take(WINDOW).map(|command| {
                let encoded = command.events.iter().map(Event::encode);
                let events = encoded.map(|e| (e.kind, e.data)).collect();
                self.append_raw(command.stream, command.expected, command.actor, command.at, events)
            });
            for position in join_all(window).await {
                last = last.max(position);
            }
        }
        last
    }

    /// Appends what need not be an event of ours.
    pub async fn append_raw(
        &self,
        stream: StreamId,
        expected: u64,
        actor: Actor,
        at: Timestamp,
        events: Vec<(String, Box<RawValue>)>,
    ) -> u64 {
        let command = Uuid::new_v4();
        let events = events
            .into_iter()
            .map(|(kind, data)| NewEvent { id: Uuid::new_v4(), kind, schema: 1, data })
            .collect();
        let appended = self
            .log
            .append(Append {
                command: CommandId(command),
                request_hash: [0; 32],
                stream,
                expected_version: expected,
                guards: Vec::new(),
                events,
                actor,
                at,
                correlation: command,
                causation: command,
            })
            .await;
        appended.unwrap().last_position
    }

    /// All read models, without workers.
    pub async fn open(&self) -> Projections {
        self.open_with(nexplane_projections::all(), quick()).await
    }

    pub async fn open_with(
        &self,
        projections: Vec<Arc<dyn Projection>>,
        options: Options,
    ) -> Projections {
        let opened =
            Projections::open(self.pool().clone(), self.log.clone(), projections, options).await;
        opened.unwrap()
    }

    /// All read models, with workers.
    pub async fn start(&self) -> Projections {
        let projections = self.open().await;
        projections.start(Role::Worker);
        projections
    }

    /// Every row of every read model, as JSON text in the order of that text, by view.
    pub async fn dump(&self) -> Vec<(String, Vec<String>)> {
        self.dump_of(&nexplane_projections::all()).await
    }

    pub async fn dump_of(&self, all: &[Arc<dyn Projection>]) -> Vec<(String, Vec<String>)> {
        let mut dump = Vec::new();
        for table in all.iter().flat_map(|projection| projection.tables()) {
            let sql = format!("SELECT to_jsonb(t)::text FROM nexplane.{} t ORDER BY 1", table.name);
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self.pool()).await.unwrap();
            dump.push((table.name.to_owned(), rows));
        }
        dump
    }

    /// Every row of every read model, made from the beginning by somebody who sees the whole log at
    /// once: the one that all others are compared with.
    pub async fn rebuilt(&self) -> Vec<(String, Vec<String>)> {
        let projections = self.open().await;
        for name in projections.names() {
            projections.rebuild(name, |_| {}).await.unwrap();
        }
        self.dump().await
    }
}

/// Short leases, so that tests of crashes need not wait.
pub fn quick() -> Options {
    Options {
        lease: Duration::from_millis(400),
        heartbeat: Duration::from_millis(100),
        ..Options::default()
    }
}

/// Asserts that two dumps are the same, and shows the first difference if not.
pub fn assert_same(left: &[(String, Vec<String>)], right: &[(String, Vec<String>)]) {
    for ((name, left), (other, right)) in left.iter().zip(right) {
        assert_eq!(name, other);
        if let Some((left, right)) = left.iter().zip(right).find(|(left, right)| left != right) {
            panic!("{name} differs:\n{left}\n{right}");
        }
        assert_eq!(left.len(), right.len(), "{name} has another number of rows");
    }
    assert_eq!(left.len(), right.len());
}

/// Waits for something that happens soon, at most 30 s.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "did not happen within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
