//! `nexplane-agent rotate-cert`

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nexplane_agent::client::Client;
use nexplane_agent::config::{Config, ConfigError};
use nexplane_agent::identity::Identity;
use rustix::process::{Signal, kill_process};

use super::Directory;

/// Longest that a running agent may take: it may be at work on an order.
const PATIENCE: Duration = Duration::from_secs(90);

/// Make a fresh key and get a certificate for it now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nexplane-agent rotate-cert

An agent that runs is told to do it, and goes on with the new key; otherwise it is done here. Renewal happens by
itself at half of a certificate's life.

Exit status: 0 when there is a new certificate, 1 otherwise; then the earlier one stays in use.")]
pub struct RotateCert {
    #[command(flatten)]
    directory: Directory,
}

impl RotateCert {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.directory.config()?;
        let Some(earlier) = Identity::load(&config.keep())? else {
            bail!("this agent is not enrolled");
        };
        let renewed = match config.lock() {
            Ok(_lock) => renew(&config, &earlier)?,
            Err(ConfigError::InUse { .. }) => ask(&config, &earlier)?,
            Err(error) => return Err(error.into()),
        };
        let ends = renewed.not_after().map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        writeln!(std::io::stdout(), "OK    certificate: a new key, until {ends}")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Renews here, while no agent runs.
fn renew(config: &Config, earlier: &Identity) -> anyhow::Result<Identity> {
    let (control_plane, ca_pem) =
        config.gateway().unwrap_or((&earlier.control_plane, &earlier.ca_pem));
    let client = Client::new(control_plane, ca_pem, &earlier.certificate_pem, &earlier.key_pem)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    Ok(runtime.block_on(earlier.renew(&config.keep(), &client))?)
}

/// Tells the running agent, and waits for what it saves.
fn ask(config: &Config, earlier: &Identity) -> anyhow::Result<Identity> {
    let agent = config.holder().context("an agent runs, and does not say which process it is")?;
    kill_process(agent, Signal::USR1).context("could not tell the running agent")?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(now) = Identity::load(&config.keep())?
            && now.key_pem != earlier.key_pem
        {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!(
        "the running agent has no new certificate after {} seconds: see journalctl -u nexplane-agent",
        PATIENCE.as_secs()
    )
}
