//! The Nexplane host agent: typed operations, journal, enrolment, long-poll.
//!
//! One agent acts on one machine. It calls out to the control plane and never listens. It does only
//! what [`operation`] registers; there is no operation that takes a command line.
//!
//! | Module | Holds |
//! |---|---|
//! | [`operation`] | what can be done: validate, snapshot, apply, verify, revert |
//! | [`host`] | how a machine is read and written: Linux by descriptor, and a fake in memory |

pub mod host;
pub mod operation;
