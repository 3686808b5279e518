//! The shapes of REST answers and requests, shared by server, dashboard and command line.
//!
//! Field names are a contract with clients. Requests refuse unknown fields; answers may gain fields.

mod calendar;
mod change;
mod context;
mod delegation;
mod freeze;
mod home;
mod host;
mod inventory;
mod maintenance;
mod operations;
mod policy;
mod problem;
mod project;
mod rollout;
mod schedule;

pub use calendar::*;
pub use change::*;
pub use context::*;
pub use delegation::*;
pub use freeze::*;
pub use home::*;
pub use host::*;
pub use inventory::*;
pub use maintenance::*;
pub use operations::*;
pub use policy::*;
pub use problem::*;
pub use project::*;
pub use rollout::*;
pub use schedule::*;

use serde::{Deserialize, Serialize};

/// One page of a list. `next_cursor` is opaque; absent on the last page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}
