//! Every event of every aggregate, as one type, and the way from and to records.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::asset::event::AssetEvent;
use crate::calendar::event::CalendarEvent;
use crate::change::event::ChangeEvent;
use crate::connection::event::ConnectionEvent;
use crate::host::event::HostEvent;
use crate::id::{Category, ChangeId, StreamId};
use crate::person::event::PersonEvent;
use crate::record::{Header, Record};
use crate::run::event::RunEvent;

/// An event of any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Asset(AssetEvent),
    Calendar(CalendarEvent),
    Change(ChangeEvent),
    Connection(ConnectionEvent),
    Host(HostEvent),
    Person(PersonEvent),
    Run(RunEvent),
}

/// An event with everything the log knows about it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub position: u64,
    pub header: Header,
    pub event: Event,
}

/// A record that this build cannot read as an event.
#[derive(Debug, thiserror::Error)]
#[error("event {kind} (schema {schema}) in {stream} at version {version} cannot be read")]
pub struct UnreadableEvent {
    pub kind: String,
    pub schema: u16,
    pub stream: StreamId,
    pub version: u64,
    #[source]
    pub source: serde_json::Error,
}

/// An event's type, schema version and data, ready for a record.
#[derive(Debug)]
pub struct Encoded {
    pub kind: String,
    pub schema: u16,
    pub data: Box<RawValue>,
}

/// All event types are at their first schema version.
pub const SCHEMA: u16 = 1;

/// The type of every event, sorted.
pub const KINDS: [&str; 64] = [
    "asset.annotated",
    "asset.discovered",
    "asset.drifted",
    "asset.gone",
    "asset.returned",
    "calendar.freeze_declared",
    "calendar.freeze_ended",
    "change.approval_given",
    "change.approved",
    "change.cancelled",
    "change.completed",
    "change.drafted",
    "change.edited",
    "change.execution_started",
    "change.expired",
    "change.failed",
    "change.freeze_overridden",
    "change.outcome_unknown",
    "change.planned",
    "change.rejected",
    "change.rollback_blocked",
    "change.rollback_partial",
    "change.rollback_started",
    "change.rolled_back",
    "change.secret_revealed",
    "change.submitted",
    "change.withdrawn",
    "connection.created",
    "connection.credentials_opened",
    "connection.credentials_replaced",
    "connection.discovered",
    "connection.discovery_failed",
    "connection.relabelled",
    "connection.removed",
    "connection.renamed",
    "connection.tested",
    "host.came_online",
    "host.enrolled",
    "host.locked",
    "host.policy_changed",
    "host.renewed",
    "host.revoked",
    "host.went_offline",
    "person.added",
    "person.agent_invited",
    "person.disabled",
    "person.enabled",
    "person.password_set",
    "person.roles_changed",
    "person.signed_in",
    "person.signed_out",
    "person.token_created",
    "person.token_revoked",
    "run.claimed",
    "run.finished",
    "run.started",
    "run.step_blocked",
    "run.step_failed",
    "run.step_intended",
    "run.step_reconciled",
    "run.step_succeeded",
    "run.step_unknown",
    "run.step_unverified",
    "run.step_verified",
];

impl Event {
    /// Reads a record's data as the event its header names.
    pub fn decode(record: Record) -> Result<(Header, Self), UnreadableEvent> {
        let Record { header, data } = record;
        let tagged = json!({ "type": header.kind, "data": data });
        let event = match header.stream.category {
            Category::Asset => read(tagged).map(Self::Asset),
            Category::Calendar => read(tagged).map(Self::Calendar),
            Category::Change => read(tagged).map(Self::Change),
            Category::Connection => read(tagged).map(Self::Connection),
            Category::Host => read(tagged).map(Self::Host),
            Category::Person => read(tagged).map(Self::Person),
            Category::Run => read(tagged).map(Self::Run),
        };
        match event {
            Ok(event) => Ok((header, event)),
            Err(source) => Err(UnreadableEvent {
                kind: header.kind,
                schema: header.schema,
                stream: header.stream,
                version: header.version,
                source,
            }),
        }
    }

    pub fn encode(&self) -> Encoded {
        match self {
            Self::Asset(event) => encode(event),
            Self::Calendar(event) => encode(event),
            Self::Change(event) => encode(event),
            Self::Connection(event) => encode(event),
            Self::Host(event) => encode(event),
            Self::Person(event) => encode(event),
            Self::Run(event) => encode(event),
        }
    }

    /// The change that an event of this stream is about, when the event itself says so.
    pub fn change(&self, stream: StreamId) -> Option<ChangeId> {
        match self {
            Self::Change(_) => Some(ChangeId(stream.id)),
            Self::Run(RunEvent::Started { change, .. }) => Some(*change),
            Self::Connection(ConnectionEvent::CredentialsOpened { change, .. }) => *change,
            Self::Asset(AssetEvent::Drifted { explained_by, .. }) => *explained_by,
            Self::Asset(_)
            | Self::Calendar(_)
            | Self::Connection(_)
            | Self::Host(_)
            | Self::Person(_)
            | Self::Run(_) => None,
        }
    }
}

fn read<E: serde::de::DeserializeOwned>(tagged: Value) -> Result<E, serde_json::Error> {
    serde_json::from_value(tagged)
}

fn encode<E: Serialize>(event: &E) -> Encoded {
    #[derive(serde::Deserialize)]
    struct Tagged {
        #[serde(rename = "type")]
        kind: String,
        data: Box<RawValue>,
    }
    let text = serde_json::to_string(event).expect("events have string keys and no custom errors");
    let Tagged { kind, data } =
        serde_json::from_str(&text).expect("every event enum is tagged with type and data");
    Encoded { kind, schema: SCHEMA, data }
}
