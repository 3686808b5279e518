//! What Nexplane decides.
//!
//! Everything here is pure: no file, socket, clock, random number, environment variable or task. Time
//! and identifiers arrive as arguments, so a decision taken twice on the same facts is the same
//! decision. The crate compiles to WebAssembly; the agent and the dashboard use it without the
//! `decide` feature and so without aggregates, policy and risk.
//!
//! | Module | Holds |
//! |---|---|
//! | [`id`], [`time`], [`actor`] | the words every other module uses |
//! | [`canonical`] | one JSON text per value, for digests |
//! | [`record`] | the bytes of one event in the log, and their leaf hash |
//! | [`proof`] | Merkle tree, tiles, signed checkpoints: checking the log without trusting its server |
//! | [`catalog`] | what connectors and actions say of themselves |
//! | [`plan`] | steps, diff, fingerprints and the plan digest that approvals bind to |
//! | [`job`] | orders to host agents and their receipts |
//! | [`api`] | the shapes of REST answers, shared with the dashboard and the command line |
//! | [`event`] | every event of every aggregate, as one type |
//! | `change`, `run`, `rollout`, `manifest`, `connection`, `asset`, `gateway`, `host`, `person`, `calendar`, `policy`, `schedule`, `project` | the aggregates |
//! | [`policy`], [`risk`] | who must approve, and how dangerous it is |
//! | `freeze` | what the calendar, projects and a change have to know of each other |
//! | [`refusal`] | why somebody is refused, as hosts and gateways record it |
//! | [`recurrence`] | times that come again, in a time zone |
//! | [`secret_ref`] | where a secret is, instead of the secret |
//! | `audit` | whether a log says only what can have happened |
//! | `process` | what follows from an event in another stream |

pub mod actor;
#[cfg(feature = "decide")]
pub mod aggregate;
pub mod api;
pub mod asset;
#[cfg(feature = "decide")]
pub mod audit;
pub mod calendar;
pub mod canonical;
pub mod catalog;
pub mod change;
pub mod connection;
pub mod event;
#[cfg(feature = "decide")]
pub mod freeze;
pub mod gateway;
pub mod host;
pub mod id;
pub mod job;
pub mod manifest;
pub mod person;
pub mod plan;
pub mod policy;
#[cfg(feature = "decide")]
pub mod process;
pub mod project;
pub mod proof;
pub mod record;
pub mod recurrence;
pub mod refusal;
pub mod risk;
pub mod rollout;
pub mod run;
pub mod schedule;
pub mod secret_ref;
pub mod time;
