//! Where evidence comes from: the same questions to a folder and to a database.

use std::io;
use std::path::PathBuf;

use nexplane_core::proof::tree::Hash;

/// Why evidence could not be read at all. Evidence that can be read and is wrong is a finding.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not the manifest of an export of this kind", path.display())]
    Manifest {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the manifest is of format {found}; this program reads format {known}")]
    Format { found: u32, known: u32 },
    #[error("cannot read the database")]
    Database(#[from] sqlx::Error),
}

/// What stands beside a record in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub position: i64,
    pub stream: String,
    pub category: String,
    pub version: i64,
    pub kind: String,
    pub recorded_at_us: i64,
}

/// Up to 256 records that follow each other, and what the evidence says about them.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Position of the first one.
    pub first: u64,
    /// What was found in the place of a record that is not there is a gap.
    pub records: Vec<Option<String>>,
    /// The leaf hashes that the evidence claims, where it does.
    pub claimed: Vec<Option<Hash>>,
    /// Empty when the evidence has no columns.
    pub rows: Vec<Option<Row>>,
    /// What is wrong with the piece as a whole.
    pub wrong: Vec<String>,
}

/// A log in some form, read from its first record to its last.
pub trait Evidence: Send {
    /// In words, for the report.
    fn place(&self) -> String;

    /// The log that the evidence says to be of, where it says so.
    fn origin(&self) -> Option<&str> {
        None
    }

    /// The records that the evidence says to have: `from..to`. `from` is a multiple of 256.
    fn range(&self) -> (u64, u64);

    /// Every signed note that the evidence has, by size.
    fn checkpoints(&mut self) -> Result<Vec<String>, EvidenceError>;

    /// The hashes of the complete subtrees before `from`, largest first; `None` when they are not
    /// there. Never asked when `from` is 0.
    fn peaks_before(&mut self, from: u64) -> Result<Option<Vec<Hash>>, EvidenceError>;

    /// The records from a position on, which is a multiple of 256, up to the next such multiple or
    /// the end.
    fn piece(&mut self, first: u64) -> Result<Piece, EvidenceError>;

    /// What only this kind of evidence can be asked, after all pieces were read: one sentence per
    /// disagreement.
    fn cross_check(&mut self) -> Result<Vec<String>, EvidenceError>;

    /// That there are records beyond the range which ought to be under a checkpoint by now.
    fn unsealed(&mut self) -> Result<Option<String>, EvidenceError> {
        Ok(None)
    }
}
