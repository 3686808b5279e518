//! The approval policy: who must approve what, as documents with versions.
//!
//! ```text
//! version 1, which is built in ──publish──→ version 2 ──publish──→ version 3 …
//! ```
//!
//! A [`PolicyDocument`] is an ordered list of typed rules, and the first that matches decides. The
//! sentence that people read of a rule is made from the rule itself, so it cannot say anything else
//! than what is executed. Every document keeps a floor ([`faults`]), and [`analyse`] proves, over
//! every case that there can be, which rules never decide anything and where a document asks for
//! less than the one before.
//!
//! | Level | Version 1 asks for |
//! |---|---|
//! | low | no approval outside prod, one in prod |
//! | medium | one approval |
//! | high | two |
//! | critical | two, one of them an admin's, and a delay of 15 minutes |
//!
//! A rollback takes the fast lane there: one approval, no delay. Each approval is valid for 72 hours, and where
//! one is asked for, a responder may break glass.
//!
//! An installation has one policy, in one stream with a fixed id, [`POLICY`]: a submission guards the
//! version of that stream, so of a submission and a new version exactly one comes first. This stream
//! guarantees: versions follow each other without a gap, each is published by an admin who is signed
//! in and who had the one before in view, and each keeps the floor.
//!
//! Deliberately absent: retiring a version without another in its place, which would leave changes
//! without a rule; and a general policy language (`docs/adr/0011-policy-documents.md`).

mod analysis;
mod case;
#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
mod document;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
mod floor;
mod pool;
#[cfg(feature = "decide")]
mod rejection;
mod sentence;
mod simulation;
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

use uuid::Uuid;

use crate::change::event::Quorum;
use crate::id::PolicyId;
use crate::risk::{Environment, RiskLevel};

pub use self::{
    analysis::{Analysis, Unreachable, Weakened, analyse},
    case::{Case, Refusal},
    document::{Ask, OnConflict, PolicyDocument, ReversibilityKind, Rule, Then, VALID_S, When},
    floor::{Fault, MAX_APPROVALS, MAX_DELAY_S, MAX_RULES, MAX_VALID_S, MIN_VALID_S, faults},
    pool::{Known, Owned, Pool, Seat, seats},
    simulation::{MAX_EXAMPLES, Replayed, Shift, SimulatedChange, Simulation},
    state::PolicyState,
};
#[cfg(feature = "decide")]
pub use self::{command::PolicyCommand, decide::Policy, rejection::PolicyRejection};

/// The policy of this installation: version 5 of `policy` in the nil namespace.
pub const POLICY: PolicyId = PolicyId(Uuid::from_u128(0x9635_ad70_91ae_5541_abe6_ff0d_7ed6_b39a));

/// The version that is built in, and in force until another is published.
pub const VERSION: u32 = 1;

/// What version 1 asks for. It looks at nothing else.
pub fn quorum(level: RiskLevel, environment: Environment, is_rollback: bool) -> Quorum {
    let case = Case { level, environment, is_rollback, ..Case::any() };
    PolicyState::default().quorum(&case).expect("version 1 refuses nothing; a test says so")
}
