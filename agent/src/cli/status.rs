//! `nexplane-agent status`

use std::io::Write;
use std::process::ExitCode;

use nexplane_agent::identity::Identity;
use nexplane_agent::journal::Journal;
use nexplane_agent::policy::Policy;
use nexplane_agent::release::{TARGET, VERSION};
use nexplane_agent::snapshot::{Snapshots, TOTAL_LIMIT};

use super::Directory;

/// Show who this agent is and what its journal says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent status

Exit status: 0 when enrolled, 1 when not. Changes nothing and needs no network.")]
pub struct Status {
    #[command(flatten)]
    directory: Directory,
}

impl Status {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.directory.config()?;
        let mut out = std::io::stdout();
        let Some(identity) = Identity::of(&config)? else {
            writeln!(out, "not enrolled: there is no identity in {}", config.state().display())?;
            return Ok(ExitCode::FAILURE);
        };
        writeln!(out, "agent          {VERSION} for {TARGET}")?;
        #[cfg(target_os = "linux")]
        if let Some(trial) = super::guard::trial(&config) {
            writeln!(out, "trial          {trial}")?;
        }
        let ends = identity.not_after().map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        writeln!(out, "host           {} ({})", identity.name, identity.host)?;
        writeln!(out, "control plane  {}", identity.control_plane)?;
        writeln!(out, "certificate    until {ends}, renewed from {}", identity.renew_after)?;
        match Journal::read(&config.journal(), identity.host)? {
            None => writeln!(out, "journal        none yet")?,
            Some(journal) => writeln!(
                out,
                "journal        order {}, {} receipts, {} interrupted, {} not sent yet",
                journal.high_water(),
                journal.receipt_head().0,
                journal.unfinished().len(),
                journal.unreported()?.len(),
            )?,
        }
        if config.snapshots().is_dir() {
            let used = Snapshots::open(&config.snapshots(), TOTAL_LIMIT)?.used();
            writeln!(out, "snapshots      {used} of {TOTAL_LIMIT} bytes")?;
        }
        match Policy::load(&config.policy()) {
            Err(error) => writeln!(out, "policy         refuses everything: {error}")?,
            Ok(loaded) if loaded.policy.hold => writeln!(out, "policy         holds all changes")?,
            Ok(loaded) => {
                let policy = loaded.hash.map_or_else(
                    || "none: everything within the root is allowed".to_owned(),
                    |hash| format!("SHA-256 {hash}"),
                );
                writeln!(out, "policy         {policy}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
