//! `nexplane-agent version`

use std::io::Write;
use std::process::ExitCode;

use nexplane_agent::release::{TARGET, VERSION};

/// Print the version, and what machines it is built for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nexplane-agent version")]
pub struct Version {}

impl Version {
    #[allow(clippy::unused_self, reason = "every command is run the same way")]
    pub fn run(self) -> anyhow::Result<ExitCode> {
        writeln!(std::io::stdout(), "nexplane-agent {VERSION} {TARGET}")?;
        Ok(ExitCode::SUCCESS)
    }
}
