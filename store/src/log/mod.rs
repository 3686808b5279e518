//! The event log.
//!
//! # What it promises
//!
//! - **Order.** Every event has a position; positions start at 0 and have no gaps. Whoever can read
//!   position *n* can read every position before it.
//! - **Streams.** The versions of a stream start at 1 and have no gaps. An append says which version
//!   it builds on and is refused when that is no longer the last one.
//! - **Guards.** An append may say that other streams are still at a version. All appends, of all
//!   servers, are one serial schedule, so a guard that held is not overtaken: of two commands that
//!   guard each other's stream, at most one succeeds.
//! - **Once.** A command id writes once. Sent again it is answered with the positions of the first
//!   time; sent again with another request it is refused.
//! - **Durable.** An answer means that PostgreSQL has committed, with `synchronous_commit` not off.
//! - **Bounded.** At most [`LogOptions::queue`] commands and 64 MiB of records wait; the next one is
//!   refused at once with [`AppendError::Overloaded`].
//! - **Holes are alarms.** A position that ought to be there and is not is an error for the reader
//!   ([`ReadError::Hole`]), never something to wait for.
//!
//! # How
//!
//! One task per [`Log`] owns one connection. It takes whatever is waiting, writes it in one call of
//! `nexplane.append_batch`, answers, and looks again; there is no timer. A batch whose connection
//! broke is sent again: whether or not the first attempt was committed, de-duplication makes the
//! answer the same. A batch that PostgreSQL refuses is cut in halves until the culprit is alone.
//!
//! Subscribers are woken by a watch on the head, fed by the appender and, for appends of other
//! servers, by a poll of one row that runs only while somebody is subscribed.
//!
//! # What it does not do
//!
//! It does not understand events: a record is text with a header. It does not decide, retry a
//! conflict, or remember refused commands (a conflict today may succeed tomorrow).

mod append;
mod appender;
mod batch;
pub mod copy;
pub mod evidence;
mod poll;
pub(crate) mod protection;
mod read;
pub mod seal;
mod subscription;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nexplane_core::id::{CommandId, StreamId};
use nexplane_core::time::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::sync::{Notify, Semaphore, TryAcquireError, mpsc, oneshot, watch};
use uuid::Uuid;

pub use append::{Append, AppendError, Appended, Guard, InvalidAppend, NewEvent};
pub use read::{READ_LIMIT, ReadError, Stored};
pub use subscription::{Cursor, Subscription};

use append::Prepared;
use appender::{Appender, Request};

/// Commands written in one transaction, at most.
const BATCH_COMMANDS: usize = 256;

/// Bytes of records written in one transaction, at most, unless one command alone has more.
const BATCH_BYTES: usize = 1024 * 1024;

/// Bytes of records that may wait, in KiB.
const QUEUE_KIB: usize = 64 * 1024;

/// Where the log is: which life of it, and where the next event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Changes when the database is restored from a backup.
    pub incarnation: Uuid,
    /// The position that the next event will get; equal to the number of events.
    pub next_position: u64,
}

/// What can be tuned. The defaults are for production.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Commands that may wait for the appender, those in the running batch included; at least 1.
    /// Default 4,096.
    pub queue: usize,
    /// How long after a first failure the appender still starts attempts, before it answers
    /// everything that waits with [`AppendError::Unavailable`]. Default 10 s.
    pub give_up_after: Duration,
    /// How long one attempt to write a batch may take before its connection counts as broken.
    /// Default 10 s.
    pub attempt_timeout: Duration,
    /// How often the head is polled for other servers' appends while it moves. Default 50 ms.
    pub poll_busy: Duration,
    /// How often it is polled while it stands still. Default 250 ms.
    pub poll_idle: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue: 4096,
            give_up_after: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(10),
            poll_busy: Duration::from_millis(50),
            poll_idle: Duration::from_millis(250),
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not open the appender's connection")]
    Connect(#[source] sqlx::Error),
    #[error("could not read the head of the event log: is the database migrated?")]
    Head(#[source] sqlx::Error),
    #[error("the database's encoding is {0}: records are stored as the bytes they are, in UTF8")]
    Encoding(String),
}

/// A handle to the event log; clones share one appender.
///
/// When the last clone is dropped, what was accepted is still written. [`Log::close`] does the same
/// and waits for it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opening: Uuid,
    pool: PgPool,
    options: LogOptions,
    queue: mpsc::UnboundedSender<Request>,
    free_commands: Arc<Semaphore>,
    free_kib: Arc<Semaphore>,
    head: watch::Sender<u64>,
    /// Wakes the poller when a first watcher arrives.
    watched: Arc<Notify>,
    closed: watch::Sender<bool>,
    /// Its sender lives in the appender's task: an error means that the task has ended.
    appending: watch::Receiver<()>,
    poller: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Log {
    /// Opens the log of a migrated database: connects the appender and reads the head.
    ///
    /// `pool` serves the reads and must lead to the same, writable database as `connect`, from
    /// which the appender's own connection is made, again and again when it breaks. Must be called
    /// inside a tokio runtime.
    pub async fn open(
        pool: PgPool,
        connect: PgConnectOptions,
        options: LogOptions,
    ) -> Result<Self, OpenError> {
        let start = read::head(&pool).await.map_err(OpenError::Head)?;
        let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
            .fetch_one(&pool)
            .await
            .map_err(OpenError::Head)?;
        if encoding != "UTF8" {
            return Err(OpenError::Encoding(encoding));
        }

        let (queue, requests) = mpsc::unbounded_channel();
        let (head, _) = watch::channel(start.next_position);
        let (closed, closing) = watch::channel(false);
        let (running, appending) = watch::channel(());
        let appender =
            Appender::connect(connect, &options, head.clone()).await.map_err(OpenError::Connect)?;
        tokio::spawn(async move {
            appender.run(requests, closing).await;
            drop(running);
        });

        let watched = Arc::new(Notify::new());
        let poller = tokio::spawn(poll::run(
            pool.clone(),
            head.clone(),
            Arc::clone(&watched),
            options.clone(),
        ));
        Ok(Self(Arc::new(Inner {
            opening: Uuid::now_v7(),
            pool,
            free_commands: Arc::new(Semaphore::new(options.queue.max(1))),
            free_kib: Arc::new(Semaphore::new(QUEUE_KIB)),
            options,
            queue,
            head,
            watched,
            closed,
            appending,
            poller,
        })))
    }

    /// Another one each time that a log is opened: by it two logs of one process are told apart.
    pub fn opening(&self) -> Uuid {
        self.0.opening
    }

    /// Writes the events of one command, all of them or none, and waits until they are durable.
    ///
    /// Commands for one stream are tried in the order in which they were given to this log. When
    /// the future is dropped the command may still be written; give it again with the same id to
    /// learn what became of it.
    ///
    /// Every error but [`AppendError::Unavailable`] and [`AppendError::Closed`] means that this
    /// call wrote nothing.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let prepared = Prepared::try_new(append)?;
        // At least 1, and far from what u32 holds: a command has at most 1 MiB.
        let kib = u32::try_from(prepared.bytes / 1024 + 1).unwrap_or(u32::MAX);
        let permits = (
            Arc::clone(&self.0.free_commands).try_acquire_owned().map_err(refusal)?,
            Arc::clone(&self.0.free_kib).try_acquire_many_owned(kib).map_err(refusal)?,
        );
        let (answer, answered) = oneshot::channel();
        self.0
            .queue
            .send(Request { prepared, answer, permits })
            .map_err(|_| AppendError::Closed)?;
        answered.await.map_err(|_| AppendError::Closed)?
    }

    /// Where the events of a command are, if it was written before; to be asked when a command that
    /// may be a repetition is refused, because its own first time may be the reason.
    ///
    /// # Errors
    /// [`AppendError::KeyReused`] when the id was used with another request hash, as `append` would
    /// answer.
    pub async fn written(
        &self,
        command: CommandId,
        request_hash: [u8; 32],
    ) -> Result<Option<Appended>, AppendError> {
        let written = read::command(&self.0.pool, command)
            .await
            .map_err(|error| AppendError::Unavailable(Arc::new(error)))?;
        let Some(written) = written else { return Ok(None) };
        if written.request_hash != request_hash {
            return Err(AppendError::KeyReused);
        }
        let (first_position, last_position) = (written.first_position, written.last_position);
        Ok(Some(Appended { first_position, last_position, duplicate: true }))
    }

    /// Reads where the log is now, from the database.
    pub async fn head(&self) -> Result<Head, ReadError> {
        Ok(read::head(&self.0.pool).await?)
    }

    /// A watch on the next position: a hint that there is something to read, never behind this
    /// log's own answered appends, and behind those of other servers by at most
    /// [`LogOptions::poll_idle`] while the database answers.
    pub fn watch(&self) -> watch::Receiver<u64> {
        let receiver = self.0.head.subscribe();
        self.0.watched.notify_one();
        receiver
    }

    /// Reads at most `limit` events (and at most [`READ_LIMIT`]) from position `from` on, in order
    /// and without a gap; empty when `from` is the next position or later.
    pub async fn read(&self, from: u64, limit: usize) -> Result<Vec<Stored>, ReadError> {
        Ok(read::page(&self.0.pool, from, limit).await?.events)
    }

    /// Reads a stream from a version on (from 1; 0 is the same), in order and without a gap. With
    /// `until_position`, only events at or before that position: the stream as of then.
    ///
    /// Empty when the stream does not exist or has nothing there. The result is as long as the
    /// stream: aggregates are short by design.
    pub async fn read_stream(
        &self,
        stream: StreamId,
        from_version: u64,
        until_position: Option<u64>,
    ) -> Result<Vec<Stored>, ReadError> {
        read::stream(&self.0.pool, stream, from_version, until_position).await
    }

    /// Reads these streams whole, each in order and without a gap; those that do not exist are left out.
    ///
    /// As long as all of them together: for streams of a few events each.
    pub async fn read_streams(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, Vec<Stored>>, ReadError> {
        read::streams(&self.0.pool, streams).await
    }

    /// Where these versions of a stream are in the log. What does not exist is left out.
    pub async fn positions(
        &self,
        stream: StreamId,
        versions: &[u64],
    ) -> Result<HashMap<u64, u64>, ReadError> {
        read::positions(&self.0.pool, stream, versions).await
    }

    /// Where the events of these commands are: first and last position. Ids that no command has are
    /// left out.
    pub async fn spans(&self, commands: &[Uuid]) -> Result<HashMap<Uuid, (u64, u64)>, ReadError> {
        read::spans(&self.0.pool, commands).await
    }

    /// The version of the last event of a stream; 0 when it has none.
    pub async fn version(&self, stream: StreamId) -> Result<u64, ReadError> {
        read::version(&self.0.pool, stream).await
    }

    /// The same of many streams, in few questions; those that do not exist are left out.
    pub async fn versions(
        &self,
        streams: &[StreamId],
    ) -> Result<HashMap<StreamId, u64>, ReadError> {
        read::versions(&self.0.pool, streams).await
    }

    /// The position of the event that was recorded last, of those recorded at or before a moment;
    /// `None` when there is none. Of several recorded at the same moment, the last.
    ///
    /// Moments are those of the servers that recorded: as far as their clocks disagree, events
    /// beside the answer may lie on the other side of the moment.
    pub async fn position_at(&self, at: Timestamp) -> Result<Option<u64>, ReadError> {
        Ok(read::position_at(&self.0.pool, at).await?)
    }

    /// Delivers every event from the cursor on, in order, each once, waiting for new ones.
    pub fn subscribe(&self, cursor: Cursor) -> Subscription {
        Subscription::new(self.clone(), cursor)
    }

    /// Refuses new commands, writes those that were accepted, and returns when the last one is
    /// answered. Subscriptions that wait end with [`ReadError::Closed`]; reading goes on.
    pub async fn close(&self) {
        self.0.free_commands.close();
        self.0.closed.send_replace(true);
        // Only ever an error: nothing is sent, the sender goes away with the appender.
        while self.0.appending.clone().changed().await.is_ok() {}
        self.0.poller.abort();
    }
}

fn refusal(error: TryAcquireError) -> AppendError {
    match error {
        TryAcquireError::NoPermits => AppendError::Overloaded,
        TryAcquireError::Closed => AppendError::Closed,
    }
}
