//! What is given to the log, what is checked before it is queued, and what comes back.

use std::sync::Arc;

use nexplane_core::actor::Actor;
use nexplane_core::id::{CommandId, StreamId};
use nexplane_core::record::{self, BadRecord, Header, LeafHash};
use nexplane_core::time::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Events of one command, at most.
const MAX_EVENTS: usize = 1000;

/// Guards of one command, at most: as many as a change has targets, and some.
const MAX_GUARDS: usize = 128;

/// Bytes of one record, at most. Output of executions is stored elsewhere, by hash.
const MAX_RECORD_BYTES: usize = 512 * 1024;

/// Bytes of all records of one command, at most.
const MAX_COMMAND_BYTES: usize = 1024 * 1024;

/// Bytes of an event's type, at most.
const MAX_KIND_BYTES: usize = 100;

/// An event that is not in the log yet. Its stream and version follow from the [`Append`].
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub id: Uuid,
    /// The type, such as `change.submitted`: lower-case letters, digits, `_` and `.`.
    pub kind: String,
    /// Schema version of `data`, from 1.
    pub schema: u16,
    /// JSON in one line, taken over byte for byte.
    pub data: Box<RawValue>,
}

/// The events of one command, and under which conditions they may become facts.
#[derive(Clone, Debug)]
pub struct Append {
    /// Writes once, however often it is given.
    pub command: CommandId,
    /// Hash of the request that the command stands for: tells a repetition from a mistake.
    pub request_hash: [u8; 32],
    pub stream: StreamId,
    /// The version of the stream's last event as the decision saw it; 0 when it had none.
    pub expected_version: u64,
    /// Other streams that must not have moved; at most 64.
    pub guards: Vec<Guard>,
    /// At least one, at most 1,000; 512 KiB of record text each and 1 MiB together.
    pub events: Vec<NewEvent>,
    pub actor: Actor,
    pub at: Timestamp,
    pub correlation: Uuid,
    pub causation: Uuid,
}

/// A condition of an append: that stream is still at that version (0: it has no event).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    pub stream: StreamId,
    pub version: u64,
}

/// Where the events of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_position: u64,
    /// The position of the command's last event (not the one after it).
    pub last_position: u64,
    /// The command was in the log already. Also true when this very call wrote it, lost the
    /// connection before the answer arrived, and asked again.
    pub duplicate: bool,
}

/// Why a command was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The command id was used for another request.
    #[error("this command id belongs to another request")]
    KeyReused,
    /// The stream is not at the expected version: decide again on what it is now.
    #[error("stream {stream} is at version {actual}, not {expected}")]
    Conflict { stream: StreamId, expected: u64, actual: u64 },
    /// A guarded stream is not at its version: decide again.
    #[error("guarded stream {stream} is at version {actual}, not {expected}")]
    GuardFailed { stream: StreamId, expected: u64, actual: u64 },
    /// Too many commands are waiting: try again in a second or so.
    #[error("too many commands are waiting for the event log")]
    Overloaded,
    /// The command can never be appended as it is.
    #[error("this cannot be stored in the event log")]
    Invalid(#[source] InvalidAppend),
    /// The database could not be reached or cannot write. Nothing is known to be written; if the
    /// connection broke at the wrong moment the command may be. Given again with the same id it
    /// has no second effect.
    #[error("the event log's database is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The log was closed. As with `Unavailable`, a command that was already queued when the
    /// process went down may be written.
    #[error("the event log is closed")]
    Closed,
}

/// What is wrong with an [`Append`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidAppend {
    #[error("a command without events")]
    NoEvents,
    #[error("{0} events in one command; at most {MAX_EVENTS}")]
    TooManyEvents(usize),
    #[error("{0} guards on one command; at most {MAX_GUARDS}")]
    TooManyGuards(usize),
    #[error("a guard on the stream that is written; the expected version says it already")]
    GuardOnOwnStream,
    #[error("version {0} is beyond what a stream can have")]
    Version(u64),
    #[error("event type {0:?}: expected up to {MAX_KIND_BYTES} of a-z, 0-9, '_' and '.'")]
    Kind(String),
    #[error("a record of {0} bytes; at most {MAX_RECORD_BYTES}")]
    RecordTooLarge(usize),
    #[error("{0} bytes of records in one command; at most {MAX_COMMAND_BYTES}")]
    TooLarge(usize),
    #[error("event data with a line break between its tokens")]
    LineBreak,
    /// PostgreSQL's jsonb cannot hold it, so no read model could.
    #[error("event data with the character U+0000")]
    NulCharacter,
    /// For example half a surrogate pair, or nesting that no reader follows.
    #[error("event data that cannot be read back")]
    Unreadable(#[source] BadRecord),
    /// PostgreSQL refused this command and would again.
    #[error("refused by the database")]
    Refused(#[source] Arc<sqlx::Error>),
}

impl From<InvalidAppend> for AppendError {
    fn from(error: InvalidAppend) -> Self {
        Self::Invalid(error)
    }
}

/// A command as it goes to the database: checked, encoded and hashed on the caller's task.
#[derive(Debug)]
pub(super) struct Prepared {
    pub command: Uuid,
    pub request_hash: [u8; 32],
    pub stream: StreamId,
    pub stream_name: String,
    pub expected: u64,
    pub at: String,
    pub guards: Vec<Guard>,
    pub events: Vec<PreparedEvent>,
    /// Of all records.
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct PreparedEvent {
    pub kind: String,
    pub record: String,
    pub leaf_hash: LeafHash,
}

impl Prepared {
    pub(super) fn try_new(append: Append) -> Result<Self, InvalidAppend> {
        let Append { stream, expected_version, .. } = append;
        if append.events.is_empty() {
            return Err(InvalidAppend::NoEvents);
        }
        if append.events.len() > MAX_EVENTS {
            return Err(InvalidAppend::TooManyEvents(append.events.len()));
        }
        if append.guards.len() > MAX_GUARDS {
            return Err(InvalidAppend::TooManyGuards(append.guards.len()));
        }
        // PostgreSQL's bigint is signed.
        let limit = i64::MAX as u64 - MAX_EVENTS as u64;
        for guard in &append.guards {
            if guard.stream == stream {
                return Err(InvalidAppend::GuardOnOwnStream);
            }
            if guard.version > limit {
                return Err(InvalidAppend::Version(guard.version));
            }
        }
        if expected_version > limit {
            return Err(InvalidAppend::Version(expected_version));
        }

        let mut bytes = 0;
        let mut events = Vec::with_capacity(append.events.len());
        for (event, version) in append.events.into_iter().zip(expected_version + 1..) {
            let header = Header {
                id: event.id,
                stream,
                version,
                kind: event.kind,
                schema: event.schema,
                at: append.at,
                actor: append.actor,
                command: append.command.0,
                correlation: append.correlation,
                causation: append.causation,
            };
            let event = PreparedEvent::try_new(header, &event.data)?;
            bytes += event.record.len();
            events.push(event);
        }
        if bytes > MAX_COMMAND_BYTES {
            return Err(InvalidAppend::TooLarge(bytes));
        }
        Ok(Self {
            command: append.command.0,
            request_hash: append.request_hash,
            stream,
            stream_name: stream.to_string(),
            expected: expected_version,
            at: append.at.to_string(),
            guards: append.guards,
            events,
            bytes,
        })
    }
}

impl PreparedEvent {
    fn try_new(header: Header, data: &RawValue) -> Result<Self, InvalidAppend> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
        let kind = header.kind.as_str();
        if kind.is_empty() || kind.len() > MAX_KIND_BYTES || !kind.bytes().all(good) {
            return Err(InvalidAppend::Kind(header.kind));
        }
        if data.get().contains(['\n', '\r']) {
            return Err(InvalidAppend::LineBreak);
        }
        if has_nul_escape(data.get()) {
            return Err(InvalidAppend::NulCharacter);
        }
        let record = record::encode(&header, data).map_err(InvalidAppend::Unreadable)?;
        if record.len() > MAX_RECORD_BYTES {
            return Err(InvalidAppend::RecordTooLarge(record.len()));
        }
        // What cannot be read back would stop every projection for good.
        record::decode(&record).map_err(InvalidAppend::Unreadable)?;
        let leaf_hash = record::leaf_hash(&record);
        Ok(Self { kind: header.kind, record, leaf_hash })
    }
}

/// Whether JSON text contains `\u0000` as an escape (and not as a backslash followed by letters).
fn has_nul_escape(json: &str) -> bool {
    let mut rest = json;
    while let Some((_, after)) = rest.split_once('\\') {
        if after.starts_with("u0000") {
            return true;
        }
        // Skips the escaped character: it may be a backslash.
        let mut chars = after.chars();
        chars.next();
        rest = chars.as_str();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexplane_core::id::ChangeId;

    fn append(kind: &str, data: &str) -> Append {
        Append {
            command: CommandId(Uuid::from_u128(1)),
            request_hash: [7; 32],
            stream: ChangeId(Uuid::from_u128(2)).into(),
            expected_version: 4,
            guards: Vec::new(),
            events: vec![NewEvent {
                id: Uuid::from_u128(3),
                kind: kind.to_owned(),
                schema: 1,
                data: RawValue::from_string(data.to_owned()).unwrap(),
            }],
            actor: Actor::SYSTEM,
            at: "2026-11-23T12:00:00.123456Z".parse().unwrap(),
            correlation: Uuid::from_u128(4),
            causation: Uuid::from_u128(5),
        }
    }

    #[test]
    fn a_record_is_what_was_given() {
        let prepared =
            Prepared::try_new(append("change.submitted", r#"{"b":1.50,"a":2}"#)).unwrap();
        let event = &prepared.events[0];
        assert!(event.record.ends_with(r#""data":{"b":1.50,"a":2}}"#), "{}", event.record);
        let header = record::decode(&event.record).unwrap().header;
        assert_eq!(header.version, 5);
        assert_eq!(header.stream, prepared.stream);
        assert_eq!(event.leaf_hash, record::leaf_hash(&event.record));
        assert_eq!(prepared.at, "2026-11-23T12:00:00.123456Z");
    }

    #[test]
    fn what_cannot_be_stored_or_read_is_refused() {
        use InvalidAppend as Bad;
        let refused = |append: Append| Prepared::try_new(append).unwrap_err();
        let data = |data: &str| refused(append("a.b", data));

        assert!(matches!(data(r#""\u0000""#), Bad::NulCharacter));
        assert!(matches!(data(r#""\\\u0000""#), Bad::NulCharacter));
        assert!(Prepared::try_new(append("a.b", r#""\\u0000""#)).is_ok());
        assert!(matches!(data("{\n}"), Bad::LineBreak));
        assert!(matches!(data(r#""\ud800""#), Bad::Unreadable(_)));
        assert!(matches!(data(&("[".repeat(500) + &"]".repeat(500))), Bad::Unreadable(_)));
        assert!(matches!(data(&format!("\"{}\"", "x".repeat(600_000))), Bad::RecordTooLarge(_)));
        for kind in ["", "Change.submitted", "a\0b", "a b", &"a".repeat(101)] {
            assert!(matches!(refused(append(kind, "{}")), Bad::Kind(_)), "{kind:?}");
        }

        let mut many = append("a.b", &format!("\"{}\"", "x".repeat(200_000)));
        many.events = vec![many.events[0].clone(); 6];
        assert!(matches!(refused(many), Bad::TooLarge(_)));
        let mut none = append("a.b", "{}");
        none.events.clear();
        assert!(matches!(refused(none), Bad::NoEvents));
        let mut many = append("a.b", "{}");
        many.events = vec![many.events[0].clone(); 1001];
        assert!(matches!(refused(many), Bad::TooManyEvents(1001)));

        let mut far = append("a.b", "{}");
        far.expected_version = u64::MAX;
        assert!(matches!(refused(far), Bad::Version(u64::MAX)));
        let mut own = append("a.b", "{}");
        own.guards = vec![Guard { stream: own.stream, version: 4 }];
        assert!(matches!(refused(own), Bad::GuardOnOwnStream));
        let other = Guard { stream: ChangeId(Uuid::from_u128(9)).into(), version: 0 };
        let mut guarded = append("a.b", "{}");
        guarded.guards = vec![other; 129];
        assert!(matches!(refused(guarded), Bad::TooManyGuards(129)));
        let mut guarded = append("a.b", "{}");
        guarded.guards = vec![Guard { version: u64::MAX, ..other }];
        assert!(matches!(refused(guarded), Bad::Version(u64::MAX)));
    }
}
