//! Identifiers. Each kind is a type of its own, so that a change cannot be passed for a run.
//!
//! All of them are UUIDs; new ones are version 7 (RFC 9562), made at the edge (server, agent,
//! command line), never here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Version};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// One change request.
    ChangeId;
    /// One execution of an approved plan; of a plan for many targets, the execution of one part of it.
    RunId;
    /// One execution of an approved plan for many targets. A change names it as its run.
    RolloutId;
    /// The steps of a plan for many targets.
    ManifestId;
    /// One configured connector instance.
    ConnectionId;
    /// One thing that can be a target.
    AssetId;
    /// One process that listens to agents.
    GatewayId;
    /// One machine with an agent.
    HostId;
    /// One person.
    PersonId;
    /// The calendar of an installation; there is one.
    CalendarId;
    /// One freeze, an entry of the calendar.
    FreezeId;
    /// One maintenance window, an entry of the calendar.
    WindowId;
    /// The policy of an installation; there is one.
    PolicyId;
    /// One ordered group of changes.
    ProjectId;
    /// One recurring change.
    ScheduleId;
    /// One entry of the encrypted secret table; written `secret:<uuid>` in text.
    SecretId;
    /// One order to an agent.
    JobId;
    /// One command; the log answers a repeated one with its first answer.
    CommandId;
}

impl RunId {
    /// The run of one part of a rollout. The id follows from both (a hash as in UUID version 5, marked as
    /// version 8, RFC 9562), so who begins the part twice begins one run.
    pub fn of_part(rollout: RolloutId, no: u32) -> Self {
        let hash = Uuid::new_v5(&rollout.0, &no.to_be_bytes());
        let marked = Builder::from_bytes(hash.into_bytes()).with_version(Version::Custom);
        Self(marked.into_uuid())
    }

    /// Whether it is the run of a part: no other id is of version 8.
    pub fn is_part(self) -> bool {
        self.0.get_version_num() == 8
    }
}

impl From<RunId> for RolloutId {
    fn from(run: RunId) -> Self {
        Self(run.0)
    }
}

/// What kind of aggregate a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Asset,
    Calendar,
    Change,
    Connection,
    Gateway,
    Host,
    Manifest,
    Person,
    Policy,
    Rollout,
    Project,
    Run,
    Schedule,
}

impl Category {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Calendar => "calendar",
            Self::Change => "change",
            Self::Connection => "connection",
            Self::Gateway => "gateway",
            Self::Host => "host",
            Self::Manifest => "manifest",
            Self::Person => "person",
            Self::Policy => "policy",
            Self::Rollout => "rollout",
            Self::Project => "project",
            Self::Run => "run",
            Self::Schedule => "schedule",
        }
    }
}

impl FromStr for Category {
    type Err = BadStream;
    fn from_str(text: &str) -> Result<Self, BadStream> {
        Ok(match text {
            "asset" => Self::Asset,
            "calendar" => Self::Calendar,
            "change" => Self::Change,
            "connection" => Self::Connection,
            "gateway" => Self::Gateway,
            "host" => Self::Host,
            "manifest" => Self::Manifest,
            "person" => Self::Person,
            "policy" => Self::Policy,
            "rollout" => Self::Rollout,
            "project" => Self::Project,
            "run" => Self::Run,
            "schedule" => Self::Schedule,
            other => return Err(BadStream(other.to_owned())),
        })
    }
}

/// The events of one aggregate instance; written `<category>-<uuid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub category: Category,
    pub id: Uuid,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.category.as_str(), self.id)
    }
}

/// A stream name that no aggregate has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a stream name: expected <category>-<uuid>, such as change-0190…")]
pub struct BadStream(pub String);

impl FromStr for StreamId {
    type Err = BadStream;
    fn from_str(text: &str) -> Result<Self, BadStream> {
        let bad = || BadStream(text.to_owned());
        let (category, id) = text.split_once('-').ok_or_else(bad)?;
        Ok(Self { category: category.parse()?, id: id.parse().map_err(|_| bad())? })
    }
}

impl Serialize for StreamId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! streams {
    ($($name:ident => $category:ident),*) => {$(
        impl From<$name> for StreamId {
            fn from(id: $name) -> Self {
                Self { category: Category::$category, id: id.0 }
            }
        }
    )*};
}

streams! {
    AssetId => Asset, CalendarId => Calendar, ChangeId => Change, ConnectionId => Connection,
    GatewayId => Gateway, HostId => Host, ManifestId => Manifest, PersonId => Person, PolicyId => Policy,
    ProjectId => Project, RolloutId => Rollout, RunId => Run, ScheduleId => Schedule
}
