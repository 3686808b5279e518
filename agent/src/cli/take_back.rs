//! `nexplane-agent take-back`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use nexplane_agent::config::ConfigError;
use nexplane_agent::identity::Identity;
use nexplane_agent::os;
use nexplane_agent::settle::Terms;
use nexplane_agent::vital::Vital;

use super::Directory;

/// Take back what may cut the line and was not confirmed before the machine was started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent take-back

nexplane-agent-takeback.service does this at the start of the machine, before anything of the network is read. It
puts files back, asks nobody, and leaves to the agent what cannot be put back as early as that.

Exit status: 0 when what could be taken back is, 1 when the agent's own files cannot be read.")]
pub struct TakeBack {
    #[command(flatten)]
    directory: Directory,
    /// Root directory that the agent is run with.
    #[arg(long, value_name = "DIR", default_value = os::ROOT)]
    root: PathBuf,
}

impl TakeBack {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.directory.config()?;
        let mut out = std::io::stdout();
        let Some(identity) = Identity::of(&config)? else {
            writeln!(out, "not enrolled: there is nothing to take back")?;
            return Ok(ExitCode::SUCCESS);
        };
        let _lock = match config.lock() {
            Ok(lock) => lock,
            Err(ConfigError::InUse { .. }) => {
                writeln!(out, "an agent runs, and sees to it itself")?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error.into()),
        };
        let mut runner = Terms::of(&config, &self.root).open(&identity, &Vital::default())?;
        let early = runner.take_back_early()?;
        for job in &early.taken_back {
            writeln!(out, "taken back: what job {job} did")?;
        }
        for (job, why) in &early.left {
            writeln!(out, "left to the agent: what job {job} did: {why}")?;
        }
        if early.taken_back.is_empty() && early.left.is_empty() {
            writeln!(out, "there is nothing to take back")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
