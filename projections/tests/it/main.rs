//! Projections against a real PostgreSQL and a real log.

mod audit;
mod changes;
mod history;
mod inventory;
mod lease;
mod rebuild;
mod runner;
mod stall;
mod support;
mod waiting;
