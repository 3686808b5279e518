//! The command line: one command per file.

mod check;
mod run;
mod status;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nexplane_agent::config::Config;

/// The Nexplane host agent: carries out approved, typed changes on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "nexplane-agent",
    version,
    after_help = "Examples:\n  \
        nexplane-agent run --control-plane https://nexplane.example:8443 --token-file token --ca ca.pem\n  \
        nexplane-agent check\n  \
        nexplane-agent status --config-dir /etc/nexplane-agent"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrol if need be, then serve in the foreground until SIGTERM.
    Run(run::Run),
    /// Show who this agent is and what its journal says.
    Status(status::Status),
    /// Try everything the agent needs, and say what to do about what does not work.
    Check(check::Check),
    /// Print the version.
    Version(version::Version),
}

/// Where the agent keeps what it knows.
#[derive(Debug, Args)]
struct Directory {
    /// Directory of identity, journal, snapshots and the host owner's policy.
    #[arg(long = "config-dir", env = "NEXPLANE_CONFIG_DIR", default_value = "/etc/nexplane-agent")]
    config_dir: PathBuf,
}

impl Directory {
    fn config(&self) -> Config {
        Config::new(&self.config_dir)
    }
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Version(command) => command.run(),
        }
    }
}
