//! `schedule`: recurring changes from the shell. Tables for people, `--json` for scripts.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{
    EditScheduleRequest, NewScheduleRequest, Page, ReasonRequest, ScheduleView,
};
use nexplane_core::id::ScheduleId;
use serde_json::json;

use super::change::{connection_of, parameters_of};
use super::client::{Client, ClientError, Server};
use super::freeze::perform_with;
use super::{note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane schedule list
  nexplane schedule create --type postgres.rotate_user_password --connection shop-db \\
      --target role/reporting --title 'Rotate reporting' --reason 'Weekly rotation' \\
      --cron '0 3 * * sun' --zone Europe/Vienna
  nexplane schedule pause 0199a3f0-… --reason 'Migration until Friday'
  nexplane schedule resume 0199a3f0-…

At each tick a change is drafted, planned and submitted in the name of whoever created the schedule. It
waits for approvals like any other, and whoever created or edited the schedule gives none of them.

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
    /// List schedules, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a schedule: its next ticks, its last change, and what it skipped.
    Show { schedule: ScheduleId },
    /// Have a change made again and again. Needs the operator role.
    Create {
        /// Action id, such as postgres.rotate_user_password.
        #[arg(long = "type", value_name = "ACTION")]
        change_type: String,
        /// Name or id of the connection.
        #[arg(long)]
        connection: String,
        /// Asset id, or external key such as role/reporting; repeat for several.
        #[arg(long = "target", required = true)]
        targets: Vec<String>,
        /// Parameters as a JSON object; @FILE reads a file.
        #[arg(long, default_value = "{}")]
        parameters: String,
        #[arg(long)]
        title: String,
        #[arg(long)]
        reason: String,
        #[arg(long)]
        ticket: Option<String>,
        /// When: minute, hour, day of the month, month, day of the week.
        #[arg(long)]
        cron: String,
        /// IANA name of the time zone that the pattern is in.
        #[arg(long)]
        zone: String,
    },
    /// Edit what is made from now on, or when. Needs the operator role.
    Edit {
        schedule: ScheduleId,
        #[arg(long)]
        title: Option<String>,
        #[arg(long)]
        reason: Option<String>,
        #[arg(long)]
        ticket: Option<String>,
        /// Asset id, or `<connection>/<external key>`; repeat for several.
        #[arg(long = "target")]
        targets: Vec<String>,
        /// Parameters as a JSON object; @FILE reads a file.
        #[arg(long)]
        parameters: Option<String>,
        #[arg(long)]
        cron: Option<String>,
        #[arg(long)]
        zone: Option<String>,
    },
    /// Make no changes until it is resumed.
    Pause {
        schedule: ScheduleId,
        #[arg(long)]
        reason: String,
    },
    /// Go on from the next tick.
    Resume { schedule: ScheduleId },
    /// Make no more changes of it.
    Delete {
        schedule: ScheduleId,
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(args: Args) -> ExitCode {
    let Args { command, server, json } = args;
    perform_with(&server, async |client| perform(client, command, json).await).await
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<(), ClientError> {
    let view: ScheduleView = match command {
        Command::List { limit } => {
            let page: Page<ScheduleView> = client.get(&format!("/schedules?limit={limit}")).await?;
            return Ok(list(&page, json)?);
        }
        Command::Show { schedule } => client.get(&format!("/schedules/{schedule}")).await?,
        Command::Create {
            change_type,
            connection,
            targets,
            parameters,
            title,
            reason,
            ticket,
            cron,
            zone,
        } => {
            let (connection_id, name) = connection_of(client, &connection).await?;
            let body = NewScheduleRequest {
                title,
                reason,
                ticket,
                change_type,
                connection_id,
                targets: targets.into_iter().map(|target| key_in(&name, target)).collect(),
                parameters: parameters_of(&parameters)?,
                cron,
                zone,
            };
            client.post("/schedules", &body).await?
        }
        Command::Edit { schedule, title, reason, ticket, targets, parameters, cron, zone } => {
            let body = EditScheduleRequest {
                title,
                reason,
                ticket,
                targets: (!targets.is_empty()).then_some(targets),
                parameters: parameters.as_deref().map(parameters_of).transpose()?,
                cron,
                zone,
            };
            client.patch(&format!("/schedules/{schedule}"), &body).await?
        }
        Command::Pause { schedule, reason } => {
            client.post(&format!("/schedules/{schedule}/pause"), &ReasonRequest { reason }).await?
        }
        Command::Resume { schedule } => {
            client.post(&format!("/schedules/{schedule}/resume"), &json!({})).await?
        }
        Command::Delete { schedule, reason } => {
            client.post(&format!("/schedules/{schedule}/delete"), &ReasonRequest { reason }).await?
        }
    };
    if json {
        say(&serde_json::to_string_pretty(&view).map_err(anyhow::Error::from)?);
        return Ok(());
    }
    show(&view);
    Ok(())
}

/// An external key, in the connection; an id stays what it is.
fn key_in(connection: &str, target: String) -> String {
    if target.parse::<uuid::Uuid>().is_ok() { target } else { format!("{connection}/{target}") }
}

fn show(view: &ScheduleView) {
    say(&format!("{}  {}  ({})", view.id, view.title, view.state.as_str()));
    say(&format!("{} on {} targets", view.change_type, view.targets.len()));
    say(&format!("{} in {}: {}", view.cron, view.zone, view.description));
    if let Some(waiting) = &view.waiting_for {
        say(waiting);
    }
    for next in &view.next {
        say(&format!("  next     {next}"));
    }
    if let Some(last) = &view.last_change {
        let number = last.number.map_or_else(|| last.id.to_string(), |n| format!("#{n}"));
        let state = last.state.map_or("not to be seen yet", |state| state.as_str());
        say(&format!("  last     {}: {number}, {state}", last.tick));
        if let Some(problem) = &last.problem {
            say(&format!("           {problem}"));
        }
    }
    for skipped in &view.skipped {
        let why = serde_json::to_string(&skipped.why).unwrap_or_default();
        say(&format!("  skipped  {}: {} ticks, {why}", skipped.tick, skipped.ticks));
    }
}

fn list(page: &Page<ScheduleView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No schedules. 'nexplane schedule create --help' shows how to create one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Id", "Title", "State", "When", "Next", "Last change"]);
    for view in &page.items {
        let last = view.last_change.as_ref().and_then(|last| last.number.zip(last.state));
        table.add_row([
            view.id.to_string(),
            view.title.clone(),
            view.state.as_str().to_owned(),
            format!("{} ({})", view.cron, view.zone),
            view.next.first().map_or_else(String::new, ToString::to_string),
            last.map_or_else(String::new, |(number, state)| {
                format!("#{number} {}", state.as_str())
            }),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
