//! The gate that the policy is: a submission is decided by the version that is in force at its place
//! in the log.
//!
//! The policy is one stream, so one guard on its version decides which of a submission and a new
//! version comes first. While the policy looks at tags, or at owners, the targets' streams are guarded as well: what
//! is recorded of them is what they had at that position.
//!
//! Deliberately absent: a cache. The stream is an event for each version there ever was, a few dozen
//! in the life of an installation.

use nexplane_core::change::{Change, ChangeCommand, ChangeState};
use nexplane_core::id::StreamId;
use nexplane_core::policy::{Known, POLICY, Policy};
use nexplane_core::risk::{Environment, Risk};
use nexplane_store::log::{Guard, Log};

use crate::approving;
use crate::calendar::{About, reach_of};
use crate::directory::Directory;
use crate::stream::{self, LoadError, Loaded, Prepare, Prepared};

/// The policy as it is.
pub async fn current(log: &Log) -> Result<Loaded<Policy>, LoadError> {
    stream::load::<Policy>(log, POLICY.into()).await
}

/// A submission, of what the policy is when it is appended.
#[derive(Debug)]
pub struct Submitting<'a> {
    pub log: &'a Log,
    pub directory: &'a Directory,
    pub environment: Environment,
    pub risk: Risk,
}

impl Prepare<Change> for Submitting<'_> {
    async fn prepare(&self, state: &ChangeState) -> Result<Prepared<ChangeCommand>, LoadError> {
        let Loaded { state: policy, version } = current(self.log).await?;
        let mut guards = vec![Guard { stream: POLICY.into(), version }];
        let (reach, targets) = match About::of(state) {
            Some(about) => reach_of(self.log, &about).await?,
            None => Default::default(),
        };
        let document = &policy.document;
        let known = match state.subject().filter(|_| document.pools().next().is_some()) {
            Some(subject) => {
                approving::known(self.log, self.directory, document, &subject.draft.targets).await?
            }
            None => Known::default(),
        };
        if document.names_tags() || document.pools().any(|pool| pool.owners) {
            guards.extend(targets);
        }
        let (environment, risk, tags) = (self.environment, self.risk.clone(), reach.tags);
        let command = ChangeCommand::Submit { environment, risk, tags, known, policy };
        Ok(Prepared { command, at: None, guards })
    }

    fn is_decided_again(&self, _moved: StreamId) -> bool {
        true
    }
}
