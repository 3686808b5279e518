//! The one task that writes: takes batches, survives broken connections, isolates bad commands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::append::{AppendError, InvalidAppend, Prepared};
use super::batch::{self, Answer};
use super::{BATCH_BYTES, BATCH_COMMANDS, LogOptions};

/// Positions per partition: as in `nexplane.ensure_log_partitions`.
const PARTITION: u64 = 1_000_000;

/// Partitions kept ready after the current one.
const PARTITIONS_AHEAD: i32 = 2;

/// The part of the last batch's time in which those whom it answered may join the next one.
const GATHERING: u32 = 8;

/// And no longer than this, however long the last batch took.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A command in the queue. Its place there is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Request {
    pub prepared: Prepared,
    pub answer: oneshot::Sender<Answer>,
    #[expect(dead_code, reason = "held, not read")]
    pub permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl AsRef<Prepared> for Request {
    fn as_ref(&self) -> &Prepared {
        &self.prepared
    }
}

impl Request {
    fn reply(self, answer: Answer) {
        // A caller that went away does not need to know.
        let _ = self.answer.send(answer);
    }
}

/// Why a batch was not written.
enum Failure {
    /// The database refuses something in it.
    Refused(sqlx::Error),
    /// The database cannot be reached, or cannot write anything now.
    Unavailable(Arc<sqlx::Error>),
}

pub(super) struct Appender {
    connect: PgConnectOptions,
    connection: Option<PgConnection>,
    head: watch::Sender<u64>,
    give_up_after: Duration,
    attempt_timeout: Duration,
    /// The partition after which the next ones were made on this connection.
    partition: Option<u64>,
}

impl Appender {
    pub(super) async fn connect(
        connect: PgConnectOptions,
        options: &LogOptions,
        head: watch::Sender<u64>,
    ) -> Result<Self, sqlx::Error> {
        let mut appender = Self {
            connect: connect.application_name("nexplane-appender"),
            connection: None,
            head,
            give_up_after: options.give_up_after,
            attempt_timeout: options.attempt_timeout,
            partition: None,
        };
        appender.connection = Some(appender.reconnect().await?);
        Ok(appender)
    }

    /// Runs until the queue is closed and empty.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<Request>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut waiting = VecDeque::new();
        let mut last = Written { commands: 0, took: Duration::ZERO };
        loop {
            if waiting.is_empty() {
                let next = tokio::select! {
                    next = queue.recv() => next,
                    () = closed(&mut closing) => {
                        queue.close();
                        queue.recv().await
                    }
                };
                match next {
                    Some(request) => waiting.push_back(request),
                    None => break,
                }
            }
            gather(&mut queue, &mut waiting, &last).await;
            let batch = batch::take(&mut waiting, BATCH_COMMANDS, BATCH_BYTES);
            let (commands, start) = (batch.len(), Instant::now());
            if let Err(error) = self.write(batch).await {
                // Whoever waited meanwhile has waited long enough.
                for request in waiting.drain(..) {
                    request.reply(Err(AppendError::Unavailable(Arc::clone(&error))));
                }
            }
            last = Written { commands, took: start.elapsed() };
        }
        if let Some(connection) = self.connection.take() {
            // The server notices either way.
            let _ = connection.close().await;
        }
    }

    /// Writes a batch and answers its commands. When the database refuses it, writes its halves.
    /// The error has been answered to all commands of the batch that were not written.
    async fn write(&mut self, batch: Vec<Request>) -> Result<(), Arc<sqlx::Error>> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.write_part(&part).await {
                Ok(answers) => {
                    self.announce(&answers);
                    for (request, answer) in part.into_iter().zip(answers) {
                        request.reply(answer);
                    }
                }
                Err(Failure::Refused(error)) if part.len() == 1 => {
                    let error = Arc::new(error);
                    for request in part {
                        tracing::warn!(
                            command.id = %request.prepared.command,
                            stream = %request.prepared.stream_name,
                            error = &*error as &dyn std::error::Error,
                            "the database refuses this command"
                        );
                        let refused = InvalidAppend::Refused(Arc::clone(&error));
                        request.reply(Err(refused.into()));
                    }
                }
                Err(Failure::Refused(_)) => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(Failure::Unavailable(error)) => {
                    for request in part.into_iter().chain(parts.into_iter().flatten()) {
                        request.reply(Err(AppendError::Unavailable(Arc::clone(&error))));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Subscribers hear of events before the callers do: who reads after an answer sees them.
    fn announce(&self, answers: &[Answer]) {
        let last = answers.iter().filter_map(|answer| answer.as_ref().ok()?.last_position.into());
        if let Some(last) = last.max() {
            raise(&self.head, last + 1);
        }
    }

    /// Sends the same commands until the database has answered or the time is up.
    async fn write_part(&mut self, part: &[Request]) -> Result<Vec<Answer>, Failure> {
        let mut give_up_at = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt(part).await {
                Ok(answers) => return Ok(answers),
                Err(error) if is_refusal(&error) => return Err(Failure::Refused(error)),
                Err(error) => error,
            };
            self.connection = None;
            let now = Instant::now();
            let give_up_at = *give_up_at.get_or_insert(now + self.give_up_after);
            if now + pause > give_up_at {
                tracing::error!(
                    commands = part.len(),
                    error = &error as &dyn std::error::Error,
                    "the event log's database is not available; gave up"
                );
                return Err(Failure::Unavailable(Arc::new(error)));
            }
            tracing::warn!(
                commands = part.len(),
                pause_ms = pause.as_millis(),
                error = &error as &dyn std::error::Error,
                "lost the event log's database; the same commands are sent again"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&mut self, part: &[Request]) -> Result<Vec<Answer>, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => in_time(self.attempt_timeout, self.reconnect()).await?,
        };
        self.ensure_partitions(&mut connection).await;
        // The server stops by itself after `attempt_timeout`; a bit more is for the way back.
        let limit = self.attempt_timeout + Duration::from_secs(1);
        let answers = in_time(limit, batch::write(&mut connection, part)).await;
        if answers.as_ref().err().is_none_or(is_refusal) {
            self.connection = Some(connection);
        }
        answers
    }

    async fn reconnect(&mut self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect.connect().await?;
        // Keep-alive: a server that vanished must not hold the head's lock for hours.
        sqlx::query(
            "SELECT set_config('default_transaction_isolation', 'read committed', false), \
             set_config('statement_timeout', $1, false), \
             set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
                 WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false), \
             set_config('tcp_keepalives_idle', '10', false), \
             set_config('tcp_keepalives_interval', '5', false), \
             set_config('tcp_keepalives_count', '3', false)",
        )
        .bind(format!("{}ms", self.attempt_timeout.as_millis().max(1)))
        .execute(&mut connection)
        .await?;
        self.partition = None;
        Ok(connection)
    }

    /// Makes the next partitions, once per connection and whenever the head has entered a new one.
    /// Not being able to is no reason not to append: there is at least one in reserve, and without
    /// any the append fails, reconnects and so tries again.
    async fn ensure_partitions(&mut self, connection: &mut PgConnection) {
        let current = *self.head.borrow() / PARTITION;
        if self.partition.is_some_and(|made| current <= made) {
            return;
        }
        self.partition = Some(current);
        let made = sqlx::query("SELECT nexplane.ensure_log_partitions($1)")
            .bind(PARTITIONS_AHEAD)
            .execute(connection)
            .await;
        if let Err(error) = made {
            tracing::warn!(
                position = current * PARTITION,
                error = &error as &dyn std::error::Error,
                "could not make the next partitions of the event log"
            );
        }
    }
}

/// What the last batch was.
struct Written {
    commands: usize,
    took: Duration,
}

/// Takes what is in the queue, and gives those who were just answered a moment to come back: what
/// they ask for next joins this batch instead of waiting for its end. The moment is a small part of
/// what the last batch took, and over as soon as they are back; who is alone waits for nobody.
async fn gather(
    queue: &mut mpsc::UnboundedReceiver<Request>,
    waiting: &mut VecDeque<Request>,
    last: &Written,
) {
    let start = Instant::now();
    let patience = (last.took / GATHERING).min(LONGEST_GATHERING);
    let mut all = None;
    loop {
        while let Ok(request) = queue.try_recv() {
            waiting.push_back(request);
        }
        let all = *all.get_or_insert(waiting.len() + last.commands.saturating_sub(1));
        if waiting.len() >= all.min(BATCH_COMMANDS) || start.elapsed() > patience {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the log is closed, or dropped: then its queue is closed as well.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "the database did not answer in time",
        )))
    })
}

/// Whether the database would refuse the same statement again because of what is in it: data
/// exception (22), integrity violation (23), limit exceeded (54), raised by a function (P0). Not so
/// a row without a partition, which PostgreSQL reports as a check violation without a constraint.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let code = error.code().unwrap_or_default();
    let no_partition = code == "23514" && error.constraint().is_none();
    !no_partition && ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class))
}

/// Raises the hint; it never falls.
pub(super) fn raise(head: &watch::Sender<u64>, next_position: u64) {
    head.send_if_modified(|hint| {
        let higher = next_position > *hint;
        if higher {
            *hint = next_position;
        }
        higher
    });
}
