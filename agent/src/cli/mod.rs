//! The command line: one command per file.

mod check;
#[cfg(target_os = "linux")]
mod check_unit;
mod enrolment;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod install;
#[cfg(not(target_os = "linux"))]
mod not_here;
#[cfg(unix)]
mod release;
mod rotate_cert;
mod run;
#[cfg(target_os = "linux")]
mod service;
mod signal;
mod status;
mod take_back;
#[cfg(target_os = "linux")]
mod uninstall;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nexplane_agent::config::{Config, ConfigError};
use nexplane_agent::os;
#[cfg(not(unix))]
use not_here::NotHere as Release;
#[cfg(not(target_os = "linux"))]
use not_here::{NotHere as Guard, NotHere as Install, NotHere as Uninstall};
#[cfg(unix)]
use release::Release;
#[cfg(target_os = "linux")]
use {guard::Guard, install::Install, uninstall::Uninstall};

/// The Nexplane host agent: carries out approved, typed changes on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "nexplane-agent",
    version = nexplane_agent::release::VERSION,
    after_help = "Examples:\n  \
        nexplane-agent install --control-plane https://nexplane.example:8443 --token-file token --ca ca.pem\n  \
        nexplane-agent check\n  \
        nexplane-agent status --config-dir /etc/nexplane-agent"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the agent a service of this machine, enrolled and started.
    Install(Install),
    /// Enrol if need be, then serve in the foreground until SIGTERM.
    Run(run::Run),
    /// Show who this agent is and what its journal says.
    Status(status::Status),
    /// Try everything the agent needs, and say what to do about what does not work.
    Check(check::Check),
    /// Make a fresh key and get a certificate for it now.
    RotateCert(rotate_cert::RotateCert),
    /// Take back what may cut the line and was not confirmed before the machine was started.
    TakeBack(take_back::TakeBack),
    /// Count a start of a new program in its trial, and put the earlier one back when the trial is over.
    Guard(Guard),
    /// Make release keys, and sign and check releases of the agent.
    Release(Release),
    /// Stop the agent and remove everything that `install` made.
    Uninstall(Uninstall),
    /// Print the version, and what machines it is built for.
    Version(version::Version),
}

/// Where the agent keeps what it knows.
#[derive(Debug, Args)]
struct Directory {
    /// Directory of config.toml and the host owner's policy; of identity, journal and snapshots too,
    /// unless config.toml says otherwise.
    #[arg(long = "config-dir", env = "NEXPLANE_CONFIG_DIR", default_value = os::CONFIG_DIRECTORY)]
    config_dir: PathBuf,
}

impl Directory {
    fn config(&self) -> Result<Config, ConfigError> {
        Config::open(&self.config_dir)
    }
}

impl Arguments {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Install(command) => command.run(),
            Command::RotateCert(command) => command.run(),
            Command::TakeBack(command) => command.run(),
            Command::Guard(command) => command.run(),
            Command::Release(command) => command.run(),
            Command::Uninstall(command) => command.run(),
            Command::Version(command) => command.run(),
        }
    }
}
