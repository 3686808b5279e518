//! The Nexplane host agent: typed operations, journal, enrolment, long-poll.
//!
//! One agent acts on one machine. It calls out to the control plane and never listens. It does only
//! what [`operation`] registers; there is no operation that takes a command line.
//!
//! | Module | Holds |
//! |---|---|
//! | [`operation`] | what can be done: validate, snapshot, apply, verify, revert |
//! | [`host`] | how a machine is read and written: Linux, macOS and Windows, and a fake in memory |
//! | [`deadman`], [`line`] | what becomes of an effect that may cut the line, and how the line is tried |
//! | [`journal`], [`snapshot`] | what was promised and done, and what it can be undone from |
//! | [`keep`] | the agent's own small files |
//! | [`policy`] | the host owner's say |
//! | [`key`] | signatures of orders and receipts |
//! | [`runner`] | checks an order and carries it out |
//! | [`release`], [`update`] | which program is believed to be a newer agent, and how it takes the place of the running one |
//! | [`settle`] | what an earlier process left open, opened for its runner |
//! | [`config`], [`identity`] | the agent's directory, key and certificate |
//! | [`client`], [`poll`] | the way to the control plane, and the agent's life |
//! | [`vital`] | what the service manager is told of it |
//! | [`os`] | what the agent needs of its operating system for itself |
//! | [`sentence`] | errors as people read them |
//! | [`install`] | the agent as a service of a Linux host |

mod backoff;
pub mod client;
pub mod config;
pub mod deadman;
pub mod host;
pub mod identity;
#[cfg(target_os = "linux")]
pub mod install;
pub mod journal;
pub mod keep;
pub mod key;
pub mod line;
pub mod operation;
pub mod os;
pub mod policy;
pub mod poll;
pub mod release;
pub mod runner;
pub mod sentence;
pub mod settle;
pub mod snapshot;
#[cfg(target_os = "linux")]
pub mod update;
pub mod vital;
