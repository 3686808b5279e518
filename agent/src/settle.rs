//! What an identity's agent left open, opened for the runner that settles it.
//!
//! `run` does it before it serves, `install` before another identity takes the place of the earlier one, and
//! `take-back` before the network is up. The caller holds the lock of the state directory.

use std::path::Path;
use std::sync::Arc;

use nexplane_core::time::Timestamp;

use crate::config::{Config, Retention};
use crate::deadman::{DeadMan, Limit};
use crate::host::{OpenRootError, SealingKey, local};
use crate::identity::{Identity, IdentityError};
use crate::journal::{Journal, JournalError};
use crate::key::{AgentKey, KeyError};
use crate::line::FreshLine;
use crate::runner::{Clock, Runner, RunnerError, Who};
use crate::snapshot::{self, SnapshotError, Snapshots};
use crate::vital::Vital;

/// Why what is open cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    Root(#[from] OpenRootError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("could not set the journal of an earlier identity aside")]
    SetAside(#[source] std::io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// How an identity's orders are carried out.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub config: &'a Config,
    /// Everything that orders can reach lies beneath this directory.
    pub root: &'a Path,
    /// How long what it changes can be undone.
    pub retention: Retention,
    /// How long an effect that may cut the line may stand unconfirmed.
    pub dead_man: Limit,
}

impl<'a> Terms<'a> {
    /// Those of `config.toml`, for the whole machine.
    pub fn of(config: &'a Config, root: &'a Path) -> Self {
        let retention = config.retention().unwrap_or_default();
        Self { config, root, retention, dead_man: config.dead_man().unwrap_or_default() }
    }

    /// Settles what the identity that is kept has left open, and says how many orders that were.
    ///
    /// # Errors
    /// Then something of it may be open still.
    pub fn settle(&self, vital: &Vital) -> Result<usize, SettleError> {
        let Some(identity) = Identity::of(self.config)? else { return Ok(0) };
        let mut runner = self.open(&identity, vital)?;
        Ok(runner.recover()?.len())
    }

    /// The runner of this identity, which has not recovered yet. No network, but for the line of an effect
    /// whose time to be confirmed is not over. A journal of another identity is set aside.
    pub fn open(&self, identity: &Identity, vital: &Vital) -> Result<Runner, SettleError> {
        let Self { config, root, retention, dead_man } = *self;
        let journal = match Journal::open(&config.journal(), identity.host) {
            Err(JournalError::OfAnotherHost { found, .. }) => {
                tracing::warn!(earlier.host.id = %found, "The journal of an earlier identity is set aside");
                let aside = config.state().join(format!("journal.{found}"));
                std::fs::rename(config.journal(), aside).map_err(SettleError::SetAside)?;
                Journal::open(&config.journal(), identity.host)?
            }
            other => other?,
        };
        let snapshots =
            Snapshots::open(&config.snapshots(), snapshot::TOTAL_LIMIT)?.kept_for(retention);
        let sealing_key = SealingKey::load_or_make(&config.keep()).inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "The sealing key cannot be used; what needs it is refused"
            );
        });
        let (own, packages) = (config.own_paths(), config.packages());
        let program = local::own_program(config, root);
        let host = local::open(root, &own, packages, sealing_key.ok(), program)?;
        let who = Who {
            host: identity.host,
            name: identity.name.clone(),
            dispatchers: identity.dispatchers.clone(),
        };
        let key = AgentKey::from_pem(&identity.key_pem)?;
        let clock: Clock = Arc::new(|| Timestamp::new(jiff::Timestamp::now()));
        let dead_man = DeadMan {
            line: Some(Arc::new(FreshLine::new(identity))),
            limit: dead_man,
            marker: Some(config.armed()),
            ..DeadMan::default()
        };
        Ok(Runner::new(who, key, host, journal, snapshots, config.policy(), clock)
            .with_dead_man(dead_man)
            .with_vital(vital.clone()))
    }
}
