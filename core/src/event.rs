//! Every event of every aggregate, as one type, and the way from and to records.

pub mod upcast;

use serde::Serialize;
use serde::de::value::MapDeserializer;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::asset::event::AssetEvent;
use crate::calendar::event::CalendarEvent;
use crate::change::event::ChangeEvent;
use crate::connection::event::ConnectionEvent;
use crate::gateway::event::GatewayEvent;
use crate::host::event::HostEvent;
use crate::id::{Category, ChangeId, StreamId};
use crate::manifest::event::ManifestEvent;
use crate::person::event::PersonEvent;
use crate::policy::event::PolicyEvent;
use crate::project::event::ProjectEvent;
use crate::record::{Header, Record};
use crate::rollout::event::RolloutEvent;
use crate::run::event::RunEvent;
use crate::schedule::event::ScheduleEvent;

/// An event of any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Asset(AssetEvent),
    Calendar(CalendarEvent),
    Change(ChangeEvent),
    Connection(ConnectionEvent),
    Gateway(GatewayEvent),
    Host(HostEvent),
    Manifest(ManifestEvent),
    Person(PersonEvent),
    Policy(PolicyEvent),
    Rollout(RolloutEvent),
    Project(ProjectEvent),
    Run(RunEvent),
    Schedule(ScheduleEvent),
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
    pub source: Unreadable,
}

/// Why a record cannot be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("this build knows no event of that type")]
    UnknownType(#[source] serde_json::Error),
    #[error("this build knows its schema versions from 1 to {newest}")]
    UnknownSchema { newest: u16 },
    #[error("its data are not those of that type, or its stream is another category's")]
    Data(#[source] serde_json::Error),
}

/// An event's type, schema version and data, ready for a record.
#[derive(Debug)]
pub struct Encoded {
    pub kind: String,
    pub schema: u16,
    pub data: Box<RawValue>,
}

/// The type of every event, sorted.
pub const KINDS: [&str; 115] = [
    "asset.annotated",
    "asset.discovered",
    "asset.drifted",
    "asset.gone",
    "asset.returned",
    "calendar.freeze_declared",
    "calendar.freeze_ended",
    "calendar.window_defined",
    "calendar.window_removed",
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
    "change.glass_broken",
    "change.joined_project",
    "change.made_by_schedule",
    "change.outcome_unknown",
    "change.planned",
    "change.rejected",
    "change.reviewed",
    "change.rollback_blocked",
    "change.rollback_partial",
    "change.rollback_started",
    "change.rolled_back",
    "change.scheduled",
    "change.secret_revealed",
    "change.settled",
    "change.submitted",
    "change.undo_limited",
    "change.unscheduled",
    "change.window_overridden",
    "change.withdrawn",
    "connection.created",
    "connection.credentials_opened",
    "connection.credentials_replaced",
    "connection.discovered",
    "connection.discovery_failed",
    "connection.discovery_scheduled",
    "connection.limited",
    "connection.relabelled",
    "connection.removed",
    "connection.renamed",
    "connection.tested",
    "gateway.refused",
    "host.agent_changed",
    "host.came_online",
    "host.enrolled",
    "host.locked",
    "host.order_distrusted",
    "host.order_refused",
    "host.policy_changed",
    "host.refused",
    "host.renewed",
    "host.revoked",
    "host.went_offline",
    "manifest.page_added",
    "person.added",
    "person.agent_invited",
    "person.approvals_delegated",
    "person.delegation_ended",
    "person.disabled",
    "person.enabled",
    "person.password_set",
    "person.roles_changed",
    "person.signed_in",
    "person.signed_out",
    "person.token_created",
    "person.token_revoked",
    "policy.published",
    "project.back_blocked",
    "project.blocked",
    "project.closed",
    "project.completed",
    "project.created",
    "project.dependencies_changed",
    "project.execution_asked",
    "project.going_back",
    "project.member_added",
    "project.member_removed",
    "project.renamed",
    "project.went_back",
    "rollout.batch_begun",
    "rollout.batch_ended",
    "rollout.finished",
    "rollout.paused",
    "rollout.resumed",
    "rollout.started",
    "rollout.stopped",
    "run.cancel_asked",
    "run.claimed",
    "run.finished",
    "run.late_reported",
    "run.started",
    "run.step_blocked",
    "run.step_failed",
    "run.step_intended",
    "run.step_reconciled",
    "run.step_succeeded",
    "run.step_unknown",
    "run.step_unverified",
    "run.step_verified",
    "schedule.created",
    "schedule.deleted",
    "schedule.edited",
    "schedule.fired",
    "schedule.paused",
    "schedule.resumed",
    "schedule.skipped",
    "schedule.stalled",
];

impl Event {
    /// Reads a record's data, of whatever schema version, as the event its header names.
    pub fn decode(record: Record) -> Result<(Header, Self), UnreadableEvent> {
        let Record { header, data } = record;
        let data = match upcast::upcast(&header.kind, header.schema, data) {
            Ok(data) => data,
            Err(upcast::UnknownSchema { newest }) => {
                return Err(unreadable(header, Unreadable::UnknownSchema { newest }));
            }
        };
        let tagged = (header.kind.as_str(), data);
        let event = match header.stream.category {
            Category::Asset => read(tagged).map(Self::Asset),
            Category::Calendar => read(tagged).map(Self::Calendar),
            Category::Change => read(tagged).map(Self::Change),
            Category::Connection => read(tagged).map(Self::Connection),
            Category::Gateway => read(tagged).map(Self::Gateway),
            Category::Host => read(tagged).map(Self::Host),
            Category::Manifest => read(tagged).map(Self::Manifest),
            Category::Person => read(tagged).map(Self::Person),
            Category::Policy => read(tagged).map(Self::Policy),
            Category::Rollout => read(tagged).map(Self::Rollout),
            Category::Project => read(tagged).map(Self::Project),
            Category::Run => read(tagged).map(Self::Run),
            Category::Schedule => read(tagged).map(Self::Schedule),
        };
        match event {
            Ok(event) => Ok((header, event)),
            Err(source) if is_known(&header.kind) => {
                Err(unreadable(header, Unreadable::Data(source)))
            }
            Err(source) => Err(unreadable(header, Unreadable::UnknownType(source))),
        }
    }

    pub fn encode(&self) -> Encoded {
        match self {
            Self::Asset(event) => encode(event),
            Self::Calendar(event) => encode(event),
            Self::Change(event) => encode(event),
            Self::Connection(event) => encode(event),
            Self::Gateway(event) => encode(event),
            Self::Host(event) => encode(event),
            Self::Manifest(event) => encode(event),
            Self::Person(event) => encode(event),
            Self::Policy(event) => encode(event),
            Self::Rollout(event) => encode(event),
            Self::Project(event) => encode(event),
            Self::Run(event) => encode(event),
            Self::Schedule(event) => encode(event),
        }
    }

    /// The change that an event of this stream is about, when the event itself says so.
    pub fn change(&self, stream: StreamId) -> Option<ChangeId> {
        match self {
            Self::Change(_) => Some(ChangeId(stream.id)),
            Self::Manifest(ManifestEvent::PageAdded { change, .. })
            | Self::Rollout(RolloutEvent::Started { change, .. })
            | Self::Run(RunEvent::Started { change, .. }) => Some(*change),
            Self::Connection(ConnectionEvent::CredentialsOpened { change, .. }) => *change,
            Self::Asset(AssetEvent::Drifted { explained_by, .. }) => *explained_by,
            Self::Project(
                ProjectEvent::MemberAdded { change, .. }
                | ProjectEvent::MemberRemoved { change }
                | ProjectEvent::DependenciesChanged { change, .. }
                | ProjectEvent::Blocked { change, .. },
            ) => Some(*change),
            Self::Schedule(
                ScheduleEvent::Fired { change, .. } | ScheduleEvent::Stalled { change, .. },
            ) => Some(*change),
            Self::Asset(_)
            | Self::Calendar(_)
            | Self::Connection(_)
            | Self::Gateway(_)
            | Self::Host(_)
            | Self::Person(_)
            | Self::Policy(_)
            | Self::Project(_)
            | Self::Rollout(_)
            | Self::Run(_)
            | Self::Schedule(_) => None,
        }
    }
}

/// Whether this build knows events of this type.
pub fn is_known(kind: &str) -> bool {
    KINDS.binary_search(&kind).is_ok()
}

fn unreadable(header: Header, source: Unreadable) -> UnreadableEvent {
    let Header { kind, schema, stream, version, .. } = header;
    UnreadableEvent { kind, schema, stream, version, source }
}

/// Hands the data over as they are, behind their tag: nothing is copied or buffered.
fn read<E: serde::de::DeserializeOwned>(
    (kind, data): (&str, Value),
) -> Result<E, serde_json::Error> {
    let tagged = [("type", Value::String(kind.to_owned())), ("data", data)];
    E::deserialize(MapDeserializer::new(tagged.into_iter()))
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
    Encoded { schema: upcast::newest(&kind), kind, data }
}
