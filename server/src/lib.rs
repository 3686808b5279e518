//! The server: joins the parts and owns no rules.
//!
//! | Module | Holds |
//! |---|---|
//! | [`api`] | REST and WebSocket: one table of routes |
//! | [`gateway`] | mutual TLS for host agents: enrolment, long-poll, jobs |
//! | [`runtime`] | planning, execution, discovery, the reactor of process managers |
//! | [`seal`] | signing the log's Merkle root |
//! | [`stream`] | from a command to events in the log |
//! | [`approving`] | who may approve: whom a policy names, and delegates |
//! | [`calendar`] | what freezes stop, as guards in appends |
//! | [`audit`] | taking evidence out of the log, and judging it |
//! | [`replay`] | the read models of an earlier moment |
//! | [`auth`], [`directory`] | who is asking; people's names, sessions, tokens |
//! | [`vault`] | the secret table as the server uses it |
//! | `secret_folder` | secrets that are files, which the operator of the server keeps |
//! | [`open`], [`config`], [`serve`] | from configuration to a running server |
//! | [`cli`] | the commands of the one executable |
//! | `operations` | what waits, what has stalled, who carries out what |
//! | [`policy`] | the gate of a submission: which policy is in force |
//! | [`problem`] | what went wrong, as an answer |
//! | [`web`] | the dashboard's files |
//! | [`witness`] | cosigning other people's logs, and having ours cosigned |

pub mod api;
pub mod app;
pub mod approving;
pub mod audit;
pub mod auth;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod directory;
pub mod gateway;
pub mod hosts;
pub mod meeting;
mod metrics;
pub mod open;
mod operations;
pub mod policy;
pub mod problem;
pub mod project;
pub mod replay;
pub mod runtime;
pub mod seal;
mod secret_folder;
pub mod serve;
pub mod stream;
pub mod vault;
pub mod web;
pub mod witness;
