//! `projections`: read models from the shell.

use anyhow::bail;
use clap::Subcommand;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use nexplane_projections::{Options as ProjectionOptions, Projections};

use super::{note, say};
use crate::config::Options;
use crate::open::{self, Opened};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every projection with position, lag and state.
    #[command(after_help = "Example:
  nexplane projections list --json | jq '.[] | select(.lag > 0)'")]
    List {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Make a read model again from the beginning of the log, beside the live one.
    #[command(after_help = "Example:
  nexplane projections rebuild audit")]
    Rebuild {
        /// One of those that 'list' shows, or 'all'.
        name: String,
        #[command(flatten)]
        options: Options,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List { json, options } => {
            let opened = open::open(&options).await?;
            let listed = list(&opened, json).await;
            opened.close().await?;
            listed
        }
        Command::Rebuild { name, options } => {
            let opened = open::open(&options).await?;
            let rebuilt = rebuild(&opened, &name).await;
            opened.close().await?;
            rebuilt
        }
    }
}

async fn projections(opened: &Opened) -> anyhow::Result<Projections> {
    Ok(Projections::open(
        opened.pool.clone(),
        opened.log.clone(),
        nexplane_projections::all(),
        ProjectionOptions::default(),
    )
    .await?)
}

async fn list(opened: &Opened, json: bool) -> anyhow::Result<()> {
    let rows = projections(opened).await?.status().await?;
    if json {
        say(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Projection", "Version", "Position", "Lag", "State", "Error"]);
    for row in rows {
        table.add_row([
            row.name,
            row.version.to_string(),
            row.position.to_string(),
            row.lag.to_string(),
            row.state,
            row.error.unwrap_or_default(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}

async fn rebuild(opened: &Opened, name: &str) -> anyhow::Result<()> {
    let projections = projections(opened).await?;
    let known: Vec<_> = nexplane_projections::all().iter().map(|p| p.name()).collect();
    let names: Vec<_> =
        known.iter().copied().filter(|known| name == "all" || *known == name).collect();
    if names.is_empty() {
        bail!("there is no projection '{name}'; there are {}", known.join(", "));
    }
    for name in names {
        let bar = ProgressBar::new(0);
        let style = "{msg:12} [{bar:40}] {pos}/{len} events  {per_sec}  {eta}";
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.set_message(name);
        let rebuilt = projections
            .rebuild(name, |progress| {
                bar.set_length(progress.head);
                bar.set_position(progress.position);
            })
            .await?;
        bar.finish();
        note(&format!("{name}: made again up to position {}.", rebuilt.position));
    }
    Ok(())
}
