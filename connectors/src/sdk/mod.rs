//! How connectors are written, and how the server uses them.
//!
//! A connector is one folder and one line in [`Registry::standard`]; an action is one file and one
//! line in its connector's list. Writers implement [`Connector`], [`Action`] and, where the
//! before-state can come back, [`Reversible`]. The server sees only [`AnyConnector`], [`AnySession`]
//! and [`AnyAction`].
//!
//! What an action never does itself: time limits, tracing, removal of secrets (the layer), deciding
//! whether it may run (core), remembering (store).

mod action;
mod connector;
mod discovery;
mod egress;
mod erased;
mod error;
pub mod http;
mod layer;
mod progress;
mod registry;
mod retry;
mod schema;
mod secret;
mod settle;
mod spelling;
pub mod tls;
mod typed;

pub use action::{
    Action, ActionMeta, Before, Description, Effect, Reversible, SessionOf, TargetState, check,
    line,
};
pub use connector::{Actions, Connector, ConnectorMeta};
pub use egress::{Destinations, Egress, EgressRules, Lent};
pub use erased::{
    AnyAction, AnyConnector, AnySession, CALL_TIMEOUT, DiscoveredAsset, Discovery, EarlierEffect,
    Executed, Inspection, OpenContext, Produced, Relation, RolledBack, Snapshot, StepContext,
    Verification,
};
pub use error::{Advice, ConnectorError, ErrorKind, FieldError, find_cause};
pub use progress::{Done, Progress};
pub use registry::Registry;
pub use secret::{DigestKey, SecretBytes, SecretJson, SecretText, sealed};

pub(crate) use layer::{Call, Redactor};
pub(crate) use schema::check as check_schema;
pub(crate) use typed::TypedSession;
