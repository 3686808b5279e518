//! `up`, `serve` and `migrate`.

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::{note, say};
use crate::config::{Options, ServerOptions};
use crate::open;
use crate::serve::{self, Ready};

pub async fn run(options: ServerOptions) -> anyhow::Result<()> {
    let options = options.with_file()?;
    let running = serve::start(&options).await?;
    announce(&running.ready, options.ready_json)?;
    until_stopped().await?;
    note("Stopping …");
    running.stop().await
}

pub async fn serve(options: ServerOptions) -> anyhow::Result<()> {
    if options.base.database_url.is_none()
        && options.clone().with_file()?.base.database_url.is_none()
    {
        bail!("'serve' needs DATABASE_URL; 'nexplane up' runs a private PostgreSQL");
    }
    run(options).await
}

pub async fn migrate(options: Options) -> anyhow::Result<()> {
    let opened = open::open(&options).await?;
    note("The schema is up to date.");
    opened.close().await
}

/// Tells people and programs where the server is.
pub fn announce(ready: &Ready, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string(ready).context("cannot write the ready line")?);
    }
    note(&format!("Nexplane is ready:  {}", ready.api));
    note(&format!("Agents connect to:  {}   (CA: {})", ready.gateway, ready.ca));
    if let Some(link) = &ready.first_run {
        note(&format!(
            "\nNobody is here yet. Make the first admin with this one-time link:\n  {link}"
        ));
    }
    note("\nCtrl-C stops it.");
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn until_stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
