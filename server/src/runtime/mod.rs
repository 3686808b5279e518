//! What happens between an event and the world: planning, execution, discovery, and the reactor that
//! performs the effects of process managers.
//!
//! Nothing here decides. Every step asks an aggregate through [`crate::stream`], and an effect is
//! sent only after the intent for it is in the log.

mod assess;
mod back;
mod begin;
mod discovery;
mod earlier;
mod engine;
mod lease;
mod limiter;
mod manifest;
mod parts;
mod planner;
mod progress;
mod projects;
pub mod queue;
mod reactor;
mod recurring;
mod report;
mod reread;
mod retreat;
mod rollout;
mod round;
mod schedule;
mod secret_refs;
mod settle;
mod spool;
mod step;
mod targets;
mod telling;

pub use assess::{AssessError, assess};
pub use discovery::{DiscoverError, Discoverer, UnderWay};
pub use engine::{Engine, EngineOptions};
pub use lease::clear as clear_leases;
pub use limiter::Limiter;
pub use planner::{PlanError, Planner};
pub use reactor::Reactor;
pub use reread::reread;
pub use secret_refs::{READER, references};
pub use spool::Spool;
pub use targets::{OpenError, Opened, Targets, change_owner, owner as connection_owner};
