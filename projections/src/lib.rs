//! What Nexplane answers: workers that turn events into read models, and the queries over them.
//!
//! | Module | Holds |
//! |---|---|
//! | [`runner`] | what is the same for all: leases, checkpoints, rebuilds, waiting, notices |
//! | [`projection`] | what a projection is |
//! | [`table`] | the tables of read models and their generations |
//! | [`approvals`] | what waits for approval, and who approved what |
//! | [`audit`] | every event as one searchable line |
//! | [`changes`] | change requests, now and as of any moment |
//! | [`hosts`] | machines with an agent |
//! | [`inventory`] | assets, their relations, and connections |
//! | [`people`] | who may approve, and for whom |
//! | [`rollouts`] | every target of a change with many |
//! | [`risk`] | open risk, and how changes ended |
//! | [`projects`] | ordered groups of changes |
//! | [`schedules`] | recurring changes |
//! | [`upkeep`] | work that nobody was woken for |
//!
//! A read model depends on the log alone and can be thrown away. Nothing here decides, and nothing
//! here has an effect outside of its own tables. Queries read views (`nexplane.rm_…`), never tables.

pub mod approvals;
pub mod audit;
pub mod changes;
mod checkpoint;
mod grams;
pub mod hosts;
pub mod inventory;
pub mod operations;
pub mod page;
pub mod people;
pub mod projection;
pub mod projects;
pub mod risk;
pub mod rollouts;
pub mod runner;
pub mod schedules;
pub mod table;
pub mod upkeep;

use std::sync::Arc;

pub use page::QueryError;
pub use projection::{Notice, Projection, decode};
pub use runner::{Options, Projections, Role};

/// Every projection there is, in alphabetical order.
pub fn all() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(approvals::Approvals),
        Arc::new(audit::Audit),
        Arc::new(changes::Changes),
        Arc::new(hosts::Hosts),
        Arc::new(inventory::Inventory),
        Arc::new(people::People),
        Arc::new(projects::Projects),
        Arc::new(risk::RiskModel),
        Arc::new(rollouts::Rollouts),
        Arc::new(schedules::Schedules),
    ]
}
