//! The agent's own program, as an operation sees it.

use std::fmt::Debug;
use std::time::Duration;

use nexplane_core::plan::Check;
use serde::{Deserialize, Serialize};

use super::HostError;
use crate::release::Version;

/// A program of the agent, told apart by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    pub version: Version,
    /// In 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// Id of the release key that signed it; none when the host's owner put it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

/// How far a new program is in its trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no trial.
    None,
    /// The control plane has to answer it for this long still.
    Open { left: Duration },
    /// The control plane has answered it.
    Confirmed,
    /// It is over, and the earlier program is back or has to come back.
    Over { why: String },
}

/// What can be asked of the agent's own program, and done with it.
///
/// The process that runs is never another than it was when it was started: whoever replaces the program ends,
/// and the next process is the new one. Then a trial runs, which code of the earlier program watches.
pub trait OwnProgram: Send + Sync + Debug {
    /// What this process is.
    fn running(&self) -> Result<Build, HostError>;

    /// Whether anything can be replaced here, and how it comes back. Changes nothing.
    fn checks(&self) -> Vec<Check>;

    /// The release of this version that the control plane offers, once it is believed: signed by a pinned key, for
    /// this machine, and allowed to follow what has run here. Changes nothing.
    fn release(&self, version: &Version) -> Result<Build, HostError>;

    /// Fetches the program of that release, and keeps it when it is what was signed.
    fn fetch(&self, build: &Build) -> Result<(), HostError>;

    /// Whether the program is kept here, whole.
    fn is_kept(&self, build: &Build) -> Result<bool, HostError>;

    /// Puts a program that is kept in place of the one that runs, which is kept, and begins the trial.
    ///
    /// # Errors
    /// Then nothing was replaced.
    fn replace(&self, from: &Build, to: &Build) -> Result<(), HostError>;

    fn standing(&self) -> Result<Standing, HostError>;

    /// Ends the trial well.
    ///
    /// # Errors
    /// When it was over already.
    fn confirm(&self) -> Result<(), HostError>;

    /// Ends the trial, with the earlier program in its place. Does nothing when there is none, or it is confirmed.
    fn put_back(&self, why: &str) -> Result<(), HostError>;

    /// The result is in the journal: forgets a trial that ended.
    fn settled(&self) -> Result<(), HostError>;

    /// Nothing is on trial: from now on no older version than this one may follow.
    fn noted(&self) -> Result<(), HostError>;
}
