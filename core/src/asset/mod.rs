//! A thing that can be a target.
//!
//! ```text
//! absent ──observe (discovered)──→ present ──mark gone──→ gone
//!                                     ↑                     │
//!                                     └─observe (returned)──┘
//! present: observe (drifted, or nothing)
//! present, gone: annotate
//! ```
//!
//! This stream guarantees: an asset vanishes but is never deleted; connection, type and external
//! key are those of its discovery for ever; a difference is an event, and it names the change that
//! explains it or none; what discovery says and what operators say never overwrite each other; the
//! same observation or annotation twice is one event.
//!
//! Deliberately absent: which asset an external key is (the discovery's runtime derives the id),
//! what explains a drift (it looks at the changes that ran), and the relabelling of a connection,
//! which is an event of the connection and not of its assets.

#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::{
    command::AssetCommand,
    decide::{Asset, MAX_OWNER, MAX_TAG, MAX_TAGS},
    rejection::AssetRejection,
    state::*,
};
