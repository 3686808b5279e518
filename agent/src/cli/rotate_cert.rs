//! `nexplane-agent rotate-cert`

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nexplane_agent::config::{Config, ConfigError};
use nexplane_agent::identity::Identity;
use nexplane_agent::os;

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
        let Some(earlier) = Identity::of(&config)? else {
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
    let client = earlier.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    Ok(runtime.block_on(earlier.renew(&config.keep(), &client))?)
}

/// Tells the running agent, and waits for what it saves.
fn ask(config: &Config, earlier: &Identity) -> anyhow::Result<Identity> {
    let state = config.state().display();
    let Some(holder) = config.holder() else {
        bail!(
            "a process works with {state} and does not say which one it is: stop it, or wait until it has \
             ended, and run this again (see: fuser {state}/lock)"
        );
    };
    // The signal ends whoever does not wait for it: an installation, or an agent that begins just now.
    if !os::ask_renewal(holder).context("could not tell the running agent")? {
        bail!(
            "process {holder} works with {state} and is no agent that could be told now: wait until it has ended, \
             or until the agent has begun, and run this again"
        );
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(now) = Identity::of(config)?
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
