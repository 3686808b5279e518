//! What a log signs: [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint).
//!
//! ```text
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! ```
//!
//! Origin, size and root of the tree, then lines that are the log's own business, each with its
//! newline. As the text of a [`Note`] it carries the log's signature and those of witnesses.
//!
//! Where we are stricter than the specification: a log's key has the origin as its name (there a
//! SHOULD, but tlog-policy relies on it), a size is at most 2⁶³, and the root of the empty tree is
//! the one it has. Logs sign with Ed25519 (`0x01`); the newest edition of the specification
//! recommends ML-DSA-44, which we do not have.
//!
//! Deliberately not here: whether a checkpoint continues another one
//! ([`super::tree::verify_consistency`]), whose witnesses matter ([`super::witness`]), and the rule
//! that a log never signs two histories, which needs a memory.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::note::{NotVerified, Note, Signature, SignatureType, Signer, Unsigned, VerifierKey};
use super::tree::{EMPTY_ROOT, Hash, MAX_SIZE};

/// A tree head: which log, how many leaves, which root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

/// This is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    #[error("a checkpoint has a line each for origin, size and root, and ends with a newline")]
    Form,
    #[error("the origin and extension lines are not empty and have no control characters")]
    Line,
    #[error("the size is a decimal number of at most 2^63, without leading zeros")]
    Size,
    #[error("the root is the base64 of 32 bytes")]
    Root,
    #[error("an empty tree has another root")]
    EmptyRoot,
}

/// A note is not a checkpoint of the log that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error(transparent)]
    Note(#[from] NotVerified),
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    #[error("the key of a log makes signatures of type 0x01")]
    KeyType,
    #[error("no known log with the origin {origin} signed the checkpoint")]
    UnknownLog { origin: String },
}

impl Checkpoint {
    /// A checkpoint from its parts. Extension lines are given without their newlines.
    pub fn try_new(
        origin: impl Into<String>,
        size: u64,
        root: Hash,
        extensions: Vec<String>,
    ) -> Result<Self, BadCheckpoint> {
        let origin = origin.into();
        let is_line = |line: &String| !line.is_empty() && line.chars().all(|c| c >= ' ');
        if !is_line(&origin) || !extensions.iter().all(is_line) {
            return Err(BadCheckpoint::Line);
        }
        if size > MAX_SIZE {
            return Err(BadCheckpoint::Size);
        }
        if size == 0 && root != EMPTY_ROOT {
            return Err(BadCheckpoint::EmptyRoot);
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// Which log it is about.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Further lines of the log. Nobody but the log says anything about them.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Signs it as the log: with a key of type `0x01` whose name is the origin.
    pub fn sign(&self, key: &VerifierKey, signer: &impl Signer) -> Result<Signature, Unsigned> {
        if key.name() == self.origin {
            Signature::sign(&self.to_string(), key, signer)
        } else {
            Err(Unsigned::Origin)
        }
    }

    /// Cosigns it as a witness, with a key of type `0x04`: as of `time_s` (seconds since 1970), this
    /// is the largest consistent tree of this log that the witness has seen. Whoever calls this has
    /// checked that it is.
    pub fn cosign(
        &self,
        key: &VerifierKey,
        time_s: u64,
        signer: &impl Signer,
    ) -> Result<Signature, Unsigned> {
        Signature::cosign(&self.to_string(), key, time_s, signer)
    }
}

/// The checkpoint in a note, if `log` signed it. Other signatures are not looked at.
pub fn verify(note: &Note, log: &VerifierKey) -> Result<Checkpoint, Unverified> {
    if log.kind() != SignatureType::Ed25519 {
        return Err(Unverified::KeyType);
    }
    note.verify(&[log])?;
    let checkpoint: Checkpoint = note.text().parse()?;
    if checkpoint.origin == log.name() {
        Ok(checkpoint)
    } else {
        Err(Unverified::UnknownLog { origin: checkpoint.origin })
    }
}

/// The text of the note.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Reads exactly what is written.
impl FromStr for Checkpoint {
    type Err = BadCheckpoint;

    fn from_str(text: &str) -> Result<Self, BadCheckpoint> {
        let mut lines = text.strip_suffix('\n').ok_or(BadCheckpoint::Form)?.split('\n');
        let mut line = || lines.next().ok_or(BadCheckpoint::Form);
        let (origin, size, root) = (line()?, line()?, line()?);
        let digits = size.bytes().all(|byte| byte.is_ascii_digit());
        let size_value: u64 = size.parse().map_err(|_| BadCheckpoint::Size)?;
        if !digits || (size.starts_with('0') && size != "0") {
            return Err(BadCheckpoint::Size);
        }
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        let extensions = lines.map(str::to_owned).collect();
        Self::try_new(origin, size_value, root.ok_or(BadCheckpoint::Root)?, extensions)
    }
}
