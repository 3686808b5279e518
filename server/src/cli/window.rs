//! `window`: maintenance windows from the shell. Tables for people, `--json` for scripts.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{DefineWindowRequest, Page, ReasonRequest, WindowView};
use nexplane_core::id::WindowId;

use super::client::{Client, ClientError, Server};
use super::freeze::{ScopeArgs, covers, perform_with};
use super::{note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane window list
  nexplane window define --name 'Nightly' --environment prod --cron '0 22 * * mon-fri' \\
      --zone Europe/Vienna --duration 4h
  nexplane window remove 0199a3f0-… --reason 'Replaced by Weekend'

What a window covers runs while it is open; asked for at another time, it is scheduled and starts by
itself when the window opens. A run that is under way when it closes stops after its current step.

Exit codes: 0 done · 1 the server said no · 2 wrong usage · 3 the server is not reachable")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    server: Server,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List maintenance windows, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Define a maintenance window. Needs the admin role.
    Define {
        #[command(flatten)]
        scope: ScopeArgs,
        /// What who waits for it reads.
        #[arg(long)]
        name: String,
        /// When it opens: minute, hour, day of the month, month, day of the week.
        #[arg(long)]
        cron: String,
        /// IANA name of the time zone that the pattern is in.
        #[arg(long)]
        zone: String,
        /// How long it stays open, such as 90m, 4h or 1d.
        #[arg(long, value_parser = seconds)]
        duration: u32,
    },
    /// Remove a maintenance window. Needs the admin role.
    Remove {
        window: WindowId,
        #[arg(long)]
        reason: String,
    },
}

fn seconds(text: &str) -> Result<u32, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    u32::try_from(duration.as_secs()).map_err(|_| "between a minute and a week".to_owned())
}

pub async fn run(args: Args) -> ExitCode {
    let Args { command, server, json } = args;
    perform_with(&server, async |client| perform(client, command, json).await).await
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<(), ClientError> {
    let view: WindowView = match command {
        Command::List { limit } => {
            let page: Page<WindowView> =
                client.get(&format!("/maintenance-windows?limit={limit}")).await?;
            return Ok(list(&page, json)?);
        }
        Command::Define { scope, name, cron, zone, duration } => {
            let (scope, duration_s) = (scope.into(), duration);
            let body = DefineWindowRequest { name, scope, cron, zone, duration_s };
            client.post("/maintenance-windows", &body).await?
        }
        Command::Remove { window, reason } => {
            let path = format!("/maintenance-windows/{window}/remove");
            client.post(&path, &ReasonRequest { reason }).await?
        }
    };
    if json {
        say(&serde_json::to_string_pretty(&view).map_err(anyhow::Error::from)?);
        return Ok(());
    }
    Ok(list(&Page { items: vec![view], next_cursor: None }, false)?)
}

fn list(page: &Page<WindowView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No maintenance windows. 'nexplane window define --help' shows how to define one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Id", "Name", "State", "Covers", "Opens", "For", "Next"]);
    for view in &page.items {
        table.add_row([
            view.id.to_string(),
            view.name.clone(),
            view.state.as_str().to_owned(),
            covers(&view.scope),
            format!("{} ({})", view.slots.cron, view.slots.zone),
            format!("{:#}", jiff::SignedDuration::from_secs(i64::from(view.slots.duration_s))),
            view.next.first().map_or_else(String::new, ToString::to_string),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
