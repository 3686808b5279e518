//! Reading: pages of the log and of streams, always contiguous or an error.

use std::collections::HashMap;
use std::sync::Arc;

use nexplane_core::id::{CommandId, StreamId};
use nexplane_core::record::{self, BadRecord, LeafHash, Record};
use nexplane_core::time::Timestamp;
use sqlx::postgres::{PgExecutor, PgPool};
use uuid::Uuid;

use super::Head;

/// Events in one page, at most.
pub const READ_LIMIT: usize = 1000;

/// Streams that one statement asks for.
const STREAMS_AT_ONCE: usize = 500;

/// An event as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub position: u64,
    /// The record's text, byte for byte what was hashed.
    pub record: Arc<str>,
    pub leaf_hash: LeafHash,
}

impl Stored {
    /// Reads the record. Does not check the hash.
    pub fn decode(&self) -> Result<Record, BadRecord> {
        record::decode(&self.record)
    }
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An event that was appended is not there: the log was damaged or tampered with.
    #[error("the event log has a hole at position {position}")]
    Hole { position: u64 },
    /// The same, seen from a stream.
    #[error("stream {stream} has a hole at version {version}")]
    StreamHole { stream: StreamId, version: u64 },
    /// The database was restored or exchanged since the cursor was made.
    #[error("the cursor belongs to incarnation {expected} of the event log, this is {actual}")]
    Incarnation { expected: Uuid, actual: Uuid },
    /// The log ends before the cursor: events that were delivered are gone.
    #[error("the cursor is at position {position}, the event log ends before {next_position}")]
    Behind { position: u64, next_position: u64 },
    /// The event before the cursor is not the one that was delivered.
    #[error("the event at position {position} is not the one that was delivered")]
    Rewritten { position: u64 },
    /// A column has a value that no append writes: the log was damaged or tampered with.
    #[error("the event log has an impossible value at position {position}")]
    Damaged { position: i64 },
    #[error("could not read the event log")]
    Unavailable(#[from] sqlx::Error),
    /// The log was closed while a subscription waited.
    #[error("the event log is closed")]
    Closed,
}

/// A command as the log remembers it.
pub(super) struct Written {
    pub request_hash: Vec<u8>,
    pub first_position: u64,
    pub last_position: u64,
}

/// Contiguous events and the incarnation they belong to.
pub(super) struct Page {
    pub incarnation: Uuid,
    pub events: Vec<Stored>,
}

pub(super) async fn head(pool: &PgPool) -> Result<Head, sqlx::Error> {
    let (incarnation, next_position): (Uuid, i64) =
        sqlx::query_as("SELECT incarnation, next_position FROM nexplane.log_head")
            .fetch_one(pool)
            .await?;
    Ok(Head { incarnation, next_position: unsigned(next_position)? })
}

// The statements over the event table are planned anew at each use. A plan made while the table
// was empty would scan it, and would be kept until somebody runs ANALYZE.

/// Positions `from` and following, at most `limit` of them.
///
/// Rows and head come from one snapshot each, never from two: an event cannot be committed between
/// looking for it and asking whether it ought to be there.
pub(super) async fn page(pool: &PgPool, from: u64, limit: usize) -> Result<Page, ReadError> {
    let limit = limit.min(READ_LIMIT);
    // No position is beyond what PostgreSQL can count.
    let first = i64::try_from(from).unwrap_or(i64::MAX);
    let end = first.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX));
    loop {
        let rows: Vec<(Uuid, i64, String, Vec<u8>)> = sqlx::query_as(
            "SELECT (SELECT incarnation FROM nexplane.log_head), position, record, leaf_hash \
             FROM nexplane.log_events WHERE position >= $1 AND position < $2 ORDER BY position",
        )
        .bind(first)
        .bind(end)
        .persistent(false)
        .fetch_all(pool)
        .await?;
        if let Some((incarnation, ..)) = rows.first() {
            let incarnation = *incarnation;
            let events =
                rows.into_iter().map(|(_, position, record, hash)| stored(position, record, hash));
            return Ok(Page { incarnation, events: contiguous(from, events)? });
        }

        // Nothing there. Rightly so?
        let (incarnation, next_position, present): (Uuid, i64, bool) = sqlx::query_as(
            "SELECT incarnation, next_position, \
             EXISTS (SELECT FROM nexplane.log_events WHERE position = $1) FROM nexplane.log_head",
        )
        .bind(first)
        .persistent(false)
        .fetch_one(pool)
        .await?;
        let next_position = unsigned(next_position)?;
        if from >= next_position || limit == 0 {
            return Ok(Page { incarnation, events: Vec::new() });
        }
        if !present {
            return Err(ReadError::Hole { position: from });
        }
        // It was committed between the two statements; the next look finds it.
    }
}

fn contiguous(
    from: u64,
    events: impl Iterator<Item = Result<Stored, ReadError>>,
) -> Result<Vec<Stored>, ReadError> {
    events
        .zip(from..)
        .map(|(event, position)| {
            let event = event?;
            if event.position == position { Ok(event) } else { Err(ReadError::Hole { position }) }
        })
        .collect()
}

pub(super) async fn stream(
    pool: &PgPool,
    stream: StreamId,
    from_version: u64,
    until_position: Option<u64>,
) -> Result<Vec<Stored>, ReadError> {
    type Row = (i64, Option<i64>, Option<i64>, Option<String>, Option<Vec<u8>>);
    let from_version = from_version.max(1);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT stream.version, event.position, event.version, event.record, event.leaf_hash \
         FROM nexplane.log_streams stream \
         LEFT JOIN nexplane.log_events event \
             ON event.stream_id = $1 AND event.version >= $2 AND event.position <= $3 \
         WHERE stream.stream_id = $1 ORDER BY event.version",
    )
    .bind(stream.to_string())
    .bind(i64::try_from(from_version).unwrap_or(i64::MAX))
    .bind(until_position.map_or(i64::MAX, |until| i64::try_from(until).unwrap_or(i64::MAX)))
    .persistent(false)
    .fetch_all(pool)
    .await?;

    let mut last = 0;
    let mut next = from_version;
    let mut events = Vec::with_capacity(rows.len());
    for (end, position, version, record, leaf_hash) in rows {
        last = unsigned(end)?;
        let (Some(position), Some(version), Some(record), Some(leaf_hash)) =
            (position, version, record, leaf_hash)
        else {
            break;
        };
        if unsigned(version)? != next {
            return Err(ReadError::StreamHole { stream, version: next });
        }
        next += 1;
        events.push(stored(position, record, leaf_hash)?);
    }
    if until_position.is_none() && next <= last {
        return Err(ReadError::StreamHole { stream, version: next });
    }
    Ok(events)
}

pub(super) async fn streams(
    pool: &PgPool,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, Vec<Stored>>, ReadError> {
    type Row = (String, i64, Option<i64>, Option<i64>, Option<String>, Option<Vec<u8>>);
    let mut found = HashMap::with_capacity(streams.len());
    for some in streams.chunks(STREAMS_AT_ONCE) {
        let named: HashMap<String, StreamId> =
            some.iter().map(|stream| (stream.to_string(), *stream)).collect();
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        // The lateral has each stream looked up in the index, whatever the planner thinks of so many.
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT stream.stream_id, stream.version, event.position, event.version, event.record, \
             event.leaf_hash \
             FROM unnest($1::text[]) wanted (id) \
             JOIN nexplane.log_streams stream ON stream.stream_id = wanted.id \
             LEFT JOIN LATERAL ( \
                 SELECT position, version, record, leaf_hash FROM nexplane.log_events \
                 WHERE stream_id = wanted.id ORDER BY version \
             ) event ON true \
             ORDER BY stream.stream_id, event.version",
        )
        .bind(names)
        .persistent(false)
        .fetch_all(pool)
        .await?;
        let mut rows = rows.into_iter().peekable();
        while let Some((name, end, ..)) = rows.peek() {
            let (name, end) = (name.clone(), unsigned(*end)?);
            let Some(stream) = named.get(&name).copied() else { break };
            let mut events = Vec::new();
            let mut next = 1;
            while let Some((_, _, position, version, record, leaf_hash)) =
                rows.next_if(|(other, ..)| *other == name)
            {
                let (Some(position), Some(version), Some(record), Some(leaf_hash)) =
                    (position, version, record, leaf_hash)
                else {
                    continue;
                };
                if unsigned(version)? != next {
                    return Err(ReadError::StreamHole { stream, version: next });
                }
                next += 1;
                events.push(stored(position, record, leaf_hash)?);
            }
            if next <= end {
                return Err(ReadError::StreamHole { stream, version: next });
            }
            found.insert(stream, events);
        }
    }
    Ok(found)
}

pub(super) async fn positions(
    pool: &PgPool,
    stream: StreamId,
    versions: &[u64],
) -> Result<HashMap<u64, u64>, ReadError> {
    let versions: Vec<i64> = versions.iter().filter_map(|v| i64::try_from(*v).ok()).collect();
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT version, position FROM nexplane.log_events \
         WHERE stream_id = $1 AND version = ANY($2)",
    )
    .bind(stream.to_string())
    .bind(versions)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(|(version, at)| Ok((unsigned(version)?, unsigned(at)?))).collect()
}

pub(super) async fn spans(
    pool: &PgPool,
    commands: &[Uuid],
) -> Result<HashMap<Uuid, (u64, u64)>, ReadError> {
    let rows: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "SELECT command_id, first_position, last_position \
         FROM nexplane.log_commands WHERE command_id = ANY($1)",
    )
    .bind(commands)
    .persistent(false)
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|(id, first, last)| Ok((id, (unsigned(first)?, unsigned(last)?))))
        .collect()
}

pub(super) async fn version(pool: &PgPool, stream: StreamId) -> Result<u64, ReadError> {
    let version: Option<i64> =
        sqlx::query_scalar("SELECT version FROM nexplane.log_streams WHERE stream_id = $1")
            .bind(stream.to_string())
            .persistent(false)
            .fetch_optional(pool)
            .await?;
    Ok(version.map_or(Ok(0), unsigned)?)
}

/// The same of many; streams that do not exist are left out.
pub(super) async fn versions(
    pool: &PgPool,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, u64>, ReadError> {
    let mut found = HashMap::with_capacity(streams.len());
    for some in streams.chunks(STREAMS_AT_ONCE) {
        let named: HashMap<String, StreamId> =
            some.iter().map(|stream| (stream.to_string(), *stream)).collect();
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT stream_id, version FROM nexplane.log_streams WHERE stream_id = ANY($1)",
        )
        .bind(names)
        .persistent(false)
        .fetch_all(pool)
        .await?;
        for (name, version) in rows {
            if let Some(stream) = named.get(&name) {
                found.insert(*stream, unsigned(version)?);
            }
        }
    }
    Ok(found)
}

/// The request hash and the positions that a command id was written with.
pub(super) async fn command(
    pool: &PgPool,
    command: CommandId,
) -> Result<Option<Written>, sqlx::Error> {
    let row: Option<(Vec<u8>, i64, i64)> = sqlx::query_as(
        "SELECT request_hash, first_position, last_position \
         FROM nexplane.log_commands WHERE command_id = $1",
    )
    .bind(command.0)
    .fetch_optional(pool)
    .await?;
    row.map(|(request_hash, first, last)| {
        Ok(Written {
            request_hash,
            first_position: unsigned(first)?,
            last_position: unsigned(last)?,
        })
    })
    .transpose()
}

pub(super) async fn position_at(
    database: impl PgExecutor<'_>,
    at: Timestamp,
) -> Result<Option<u64>, sqlx::Error> {
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM nexplane.log_events WHERE recorded_at <= $1::timestamptz \
         ORDER BY recorded_at DESC, position DESC LIMIT 1",
    )
    .bind(at.to_string())
    .persistent(false)
    .fetch_optional(database)
    .await?;
    position.map(unsigned).transpose()
}

fn stored(position: i64, record: String, leaf_hash: Vec<u8>) -> Result<Stored, ReadError> {
    let damaged = || ReadError::Damaged { position };
    Ok(Stored {
        position: u64::try_from(position).map_err(|_| damaged())?,
        record: record.into(),
        leaf_hash: leaf_hash.try_into().map_err(|_| damaged())?,
    })
}

fn unsigned(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}
