//! The log behind the `EventStore` trait of the eventually-rs family.
//!
//! The only file of this crate that names that family. It adds nothing to the log and hides much of
//! it: no guards that change between appends, no subscription, 32-bit versions. An event store of
//! this kind belongs to one command, because in the log every append does.

use eventually::store::{
    AppendError as EventuallyAppendError, EventStore, EventStream, Expected, Persisted, Select,
};
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nexplane_core::actor::Actor;
use nexplane_core::id::{CommandId, StreamId};
use nexplane_core::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::log::{Append, AppendError, Guard, Log, NewEvent, READ_LIMIT, ReadError, Stored};

/// Tries of an append that expects no version, at most.
const TRIES: u32 = 16;

/// Everything of an [`Append`] but its stream, version and events.
#[derive(Clone, Debug)]
pub struct CommandContext {
    pub command: CommandId,
    pub request_hash: [u8; 32],
    pub guards: Vec<Guard>,
    pub actor: Actor,
    pub at: Timestamp,
    pub correlation: Uuid,
    pub causation: Uuid,
}

/// The log as one command sees it: reads everything, appends once.
#[derive(Clone, Debug)]
pub struct EventuallyStore {
    log: Log,
    context: CommandContext,
    appended: bool,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum EventuallyStoreError {
    #[error("could not append to the event log")]
    Append(#[from] AppendError),
    #[error("could not read the event log")]
    Read(#[from] ReadError),
    #[error("the record at position {position} cannot be read")]
    Record {
        position: u64,
        #[source]
        source: serde_json::Error,
    },
    /// The trait counts in 32 bits, the log in 64.
    #[error("{0} is more than 32 bits can count")]
    TooFar(u64),
    /// A second append of the same command would be taken for a repetition of the first.
    #[error("a command appends once")]
    SecondAppend,
    /// The log only grows.
    #[error("the event log removes nothing")]
    AppendOnly,
}

impl EventuallyAppendError for EventuallyStoreError {
    fn is_conflict_error(&self) -> bool {
        matches!(self, Self::Append(AppendError::Conflict { .. } | AppendError::GuardFailed { .. }))
    }
}

impl EventuallyStore {
    pub fn new(log: Log, context: CommandContext) -> Self {
        Self { log, context, appended: false }
    }

    async fn append_at(
        &self,
        stream: StreamId,
        expected_version: u64,
        events: Vec<NewEvent>,
    ) -> Result<u32, EventuallyStoreError> {
        let CommandContext { command, request_hash, ref guards, actor, at, correlation, causation } =
            self.context;
        let appended = self
            .log
            .append(Append {
                command,
                request_hash,
                stream,
                expected_version,
                guards: guards.clone(),
                events,
                actor,
                at,
                correlation,
                causation,
            })
            .await?;
        // A repeated command may have been written at another version than is expected now.
        let last = self.log.read(appended.last_position, 1).await?;
        let last = last.first().ok_or(ReadError::Hole { position: appended.last_position })?;
        narrow(Raw::of(last)?.version)
    }
}

impl EventStore for EventuallyStore {
    type SourceId = StreamId;
    type Event = NewEvent;
    type Error = EventuallyStoreError;

    fn append(
        &mut self,
        source_id: StreamId,
        version: Expected,
        events: Vec<NewEvent>,
    ) -> BoxFuture<'_, Result<u32, Self::Error>> {
        Box::pin(async move {
            if std::mem::replace(&mut self.appended, true) {
                return Err(EventuallyStoreError::SecondAppend);
            }
            let mut tries = 0;
            loop {
                let expected = match version {
                    Expected::Exact(version) => version.into(),
                    Expected::Any => self.log.version(source_id).await?,
                };
                let result = self.append_at(source_id, expected, events.clone()).await;
                tries += 1;
                let raced = matches!(
                    result,
                    Err(EventuallyStoreError::Append(AppendError::Conflict { .. }))
                );
                if !raced || version != Expected::Any || tries == TRIES {
                    return result;
                }
            }
        })
    }

    fn stream(
        &self,
        source_id: StreamId,
        select: Select,
    ) -> BoxFuture<'_, Result<EventStream<'_, Self>, Self::Error>> {
        Box::pin(async move {
            let from = first(select);
            let events = self.log.read_stream(source_id, from, None).await?;
            Ok(stream::iter(events).map(|event| persisted(&event)).boxed())
        })
    }

    /// `Select::From` is a position here.
    fn stream_all(
        &self,
        select: Select,
    ) -> BoxFuture<'_, Result<EventStream<'_, Self>, Self::Error>> {
        let pages = stream::try_unfold(first(select), move |from| async move {
            let page = self.log.read(from, READ_LIMIT).await?;
            let next = from + page.len() as u64;
            Ok::<_, EventuallyStoreError>((next > from).then_some((page, next)))
        });
        let events = pages
            .map_ok(|page| stream::iter(page).map(|event| persisted(&event)))
            .try_flatten()
            .boxed();
        Box::pin(future::ready(Ok(events)))
    }

    fn remove(&mut self, _: StreamId) -> BoxFuture<'_, Result<(), Self::Error>> {
        Box::pin(future::ready(Err(EventuallyStoreError::AppendOnly)))
    }
}

/// What the trait wants to know of a record.
#[derive(Deserialize)]
struct Raw {
    id: Uuid,
    stream: StreamId,
    version: u64,
    #[serde(rename = "type")]
    kind: String,
    schema: u16,
    data: Box<RawValue>,
}

impl Raw {
    fn of(stored: &Stored) -> Result<Self, EventuallyStoreError> {
        serde_json::from_str(&stored.record)
            .map_err(|source| EventuallyStoreError::Record { position: stored.position, source })
    }
}

fn persisted(stored: &Stored) -> Result<Persisted<StreamId, NewEvent>, EventuallyStoreError> {
    let Raw { id, stream, version, kind, schema, data } = Raw::of(stored)?;
    Ok(Persisted::from(stream, NewEvent { id, kind, schema, data })
        .version(narrow(version)?)
        .sequence_number(narrow(stored.position)?))
}

fn first(select: Select) -> u64 {
    match select {
        Select::All => 0,
        Select::From(first) => first.into(),
    }
}

fn narrow(number: u64) -> Result<u32, EventuallyStoreError> {
    number.try_into().map_err(|_| EventuallyStoreError::TooFar(number))
}
