//! What commands say where they do not exist: `install`, `uninstall` and `guard` without systemd, `release` where a
//! key's file has no mode.

use std::process::ExitCode;

use anyhow::bail;

/// Takes whatever the command takes elsewhere, so that the answer is the reason.
#[derive(Debug, clap::Args)]
pub struct NotHere {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<String>,
}

impl NotHere {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        bail!(
            "not on this kind of host: the agent is a service, and is updated, on Linux with systemd only; here it runs \
             as `nexplane-agent run`, for as long as whoever started it lets it. Releases are signed on Linux or macOS"
        )
    }
}
