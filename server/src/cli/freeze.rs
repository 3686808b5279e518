//! `freeze`: the calendar from the shell. Tables for people, `--json` for scripts.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{DeclareFreezeRequest, FreezeView, Page, ReasonRequest, ScopeRequest};
use nexplane_core::calendar::event::Scope;
use nexplane_core::id::FreezeId;
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;

use super::client::{Client, ClientError, Server};
use super::{complain, note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane freeze list
  nexplane freeze declare --all --end 2027-01-02T06:00:00Z --reason 'Year-end close'
  nexplane freeze declare --tag billing --start 2026-12-24T12:00:00Z --end 2026-12-27T06:00:00Z \\
      --reason 'Nobody is here'
  nexplane freeze end 0199a3f0-… --reason 'The books are closed'

While a freeze is in force, nothing that it covers is approved or executed, and a run that is under
way stops after its current step.

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
    /// List freezes, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Declare a freeze. Needs the admin role.
    Declare {
        #[command(flatten)]
        scope: ScopeArgs,
        /// When it begins, in RFC 3339; at once when absent.
        #[arg(long)]
        start: Option<Timestamp>,
        /// When it ends, in RFC 3339.
        #[arg(long)]
        end: Timestamp,
        /// What everybody reads whom it stops.
        #[arg(long)]
        reason: String,
    },
    /// End a freeze before its time. Needs the admin role.
    End {
        freeze: FreezeId,
        #[arg(long)]
        reason: String,
    },
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub struct ScopeArgs {
    /// Cover every change.
    #[arg(long)]
    all: bool,
    /// Cover changes in an environment: prod, staging or dev.
    #[arg(long, value_parser = environment)]
    environment: Option<Environment>,
    /// Cover changes with a target that has this tag.
    #[arg(long)]
    tag: Option<String>,
}

impl From<ScopeArgs> for ScopeRequest {
    fn from(scope: ScopeArgs) -> Self {
        match scope {
            ScopeArgs { environment: Some(environment), .. } => Self::Environment { environment },
            ScopeArgs { tag: Some(tag), .. } => Self::Tag { tag },
            ScopeArgs { environment: None, tag: None, all: _ } => Self::All {},
        }
    }
}

fn environment(text: &str) -> Result<Environment, String> {
    serde_json::from_value(text.into()).map_err(|_| "one of prod, staging and dev".to_owned())
}

pub async fn run(args: Args) -> ExitCode {
    let Args { command, server, json } = args;
    perform_with(&server, async |client| perform(client, command, json).await).await
}

/// Says what went wrong, if something did, and makes an exit code of it.
pub async fn perform_with(
    server: &Server,
    perform: impl AsyncFnOnce(&Client) -> Result<(), ClientError>,
) -> ExitCode {
    let client = match Client::new(server) {
        Ok(client) => client,
        Err(error) => {
            complain(&format!("{error:#}"));
            return ExitCode::from(2);
        }
    };
    match perform(&client).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let unreachable = matches!(error, ClientError::Unreachable(_));
            if let ClientError::Refused(problem) = &error {
                for field in &problem.errors {
                    note(&format!("  {}: {}", field.pointer, field.reason));
                }
            }
            complain(&format!("{:#}", anyhow::Error::from(error)));
            ExitCode::from(if unreachable { 3 } else { 1 })
        }
    }
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<(), ClientError> {
    let view: FreezeView = match command {
        Command::List { limit } => {
            let page: Page<FreezeView> =
                client.get(&format!("/freeze-windows?limit={limit}")).await?;
            return Ok(list(&page, json)?);
        }
        Command::Declare { scope, start, end, reason } => {
            let start = start.unwrap_or_else(crate::stream::now);
            let body = DeclareFreezeRequest { scope: scope.into(), start, end, reason };
            client.post("/freeze-windows", &body).await?
        }
        Command::End { freeze, reason } => {
            client.post(&format!("/freeze-windows/{freeze}/end"), &ReasonRequest { reason }).await?
        }
    };
    let page = Page { items: vec![view], next_cursor: None };
    if json {
        for view in &page.items {
            say(&serde_json::to_string_pretty(view).map_err(anyhow::Error::from)?);
        }
        return Ok(());
    }
    Ok(list(&page, false)?)
}

pub fn covers(scope: &Scope) -> String {
    match scope {
        Scope::All => "everything".to_owned(),
        Scope::Environment { environment } => environment.as_str().to_owned(),
        Scope::Tag { tag } => format!("tag {tag}"),
    }
}

fn list(page: &Page<FreezeView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No freezes. 'nexplane freeze declare --help' shows how to declare one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Id", "State", "Covers", "From", "Until", "Reason"]);
    for view in &page.items {
        table.add_row([
            view.id.to_string(),
            view.state.as_str().to_owned(),
            covers(&view.scope),
            view.start.to_string(),
            view.ended_at.unwrap_or(view.end).to_string(),
            view.reason.clone(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
