//! Evidence: taking the log out of the database, and judging it without believing anybody.
//!
//! An export is a folder that is complete in itself: records as lines, the tiles of their tree,
//! every signed checkpoint with its cosignatures. [`verify`] needs that folder and the public keys
//! that the verifier got from somewhere else; nothing in the folder is believed but what a pinned key
//! has signed. With a database instead of a folder it also compares what the tables say beside the
//! records.
//!
//! What it checks, in this order: the signatures of every checkpoint; that the tree of the records has
//! exactly the signed roots (so that every checkpoint continues the one before); that each record is
//! what its hash says; that streams have no gap; and that what happened was allowed
//! ([`nexplane_core::audit`]).
//!
//! What it cannot know: that there is not another history with the same key. Against that there are
//! witnesses, and checkpoints that somebody kept.

mod database;
mod evidence;
mod export;
mod folder;
mod report;
mod verify;

pub use database::DatabaseEvidence;
pub use evidence::{Evidence, EvidenceError, Piece, Row};
pub use export::{ExportError, Exported, export};
pub use folder::{Folder, MANIFEST, Manifest};
pub use report::{Finding, Kind, Report, Verdict};
pub use verify::{Pins, verify};
