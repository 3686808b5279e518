//! `policy`: the approval policy from the shell. Tables for people, `--json` for scripts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{
    Page, PolicyView, PublishPolicyRequest, SimulatePolicyRequest, SimulationView,
};
use nexplane_core::policy::{Analysis, PolicyDocument};

use super::client::{Client, ClientError, Server};
use super::{complain, note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane policy list
  nexplane policy show
  nexplane policy show --document > policy.json
  nexplane policy simulate policy.json
  nexplane policy publish policy.json --based-on 1 --note 'Two people for whatever drops a role'

A document is a list of rules, and the first that matches decides:
  { \"rules\": [
    { \"when\": { \"change_type\": [\"postgres.drop_user\"], \"rollback\": false },
      \"then\": { \"ask\": { \"approvals\": 2, \"admin\": true, \"delay_s\": 900 } } },
    { \"then\": { \"ask\": { \"approvals\": 1 } } } ] }

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
    /// List versions, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show what a version says, the one in force when none is named.
    Show {
        version: Option<u32>,
        /// Print the document alone, to be edited and published.
        #[arg(long)]
        document: bool,
    },
    /// Publish the next version. Needs the admin role.
    Publish {
        /// File with the document.
        file: PathBuf,
        /// Why.
        #[arg(long)]
        note: String,
        /// The version that it was written on.
        #[arg(long)]
        based_on: u32,
    },
    /// Hold a draft against everything that was submitted. Changes nothing.
    Simulate {
        /// File with the document.
        file: PathBuf,
    },
}

pub async fn run(args: Args) -> ExitCode {
    let client = match Client::new(&args.server) {
        Ok(client) => client,
        Err(error) => {
            complain(&format!("{error:#}"));
            return ExitCode::from(2);
        }
    };
    match perform(&client, args.command, args.json).await {
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
    match command {
        Command::List { limit } => {
            let page: Page<PolicyView> = client.get(&format!("/policies?limit={limit}")).await?;
            if json {
                return Ok(print(&page)?);
            }
            list(&page);
        }
        Command::Show { version, document } => {
            // The list goes from the newest down, and begins below its cursor.
            let cursor = version.map(|version| format!("&cursor={}", version.saturating_add(1)));
            let path = format!("/policies?limit=1{}", cursor.unwrap_or_default());
            let page: Page<PolicyView> = client.get(&path).await?;
            let wanted = |view: &PolicyView| version.is_none_or(|version| view.version == version);
            let view = page.items.into_iter().find(wanted).context("there is no such version")?;
            if document {
                return Ok(print(&view.document)?);
            }
            if json {
                return Ok(print(&view)?);
            }
            show(&view);
        }
        Command::Publish { file, note, based_on } => {
            let body = PublishPolicyRequest { document: read(&file)?, note, based_on };
            let view: PolicyView = client.post("/policies", &body).await?;
            if json {
                return Ok(print(&view)?);
            }
            show(&view);
        }
        Command::Simulate { file } => {
            let body = SimulatePolicyRequest { document: read(&file)? };
            let view: SimulationView = client.post("/policies/simulate", &body).await?;
            if json {
                return Ok(print(&view)?);
            }
            simulated(&view);
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<PolicyDocument> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no policy", file.display()))
}

fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(value)?);
    Ok(())
}

fn list(page: &Page<PolicyView>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Version", "In force", "Rules", "Published", "By", "Note"]);
    for view in &page.items {
        let by = view.published_by.map(|person| person.to_string());
        let by = by.map(|id| view.names.get(&id).cloned().unwrap_or(id));
        table.add_row([
            view.version.to_string(),
            if view.current { "yes" } else { "" }.to_owned(),
            view.text.len().to_string(),
            view.published_at.map_or_else(|| "built in".to_owned(), |at| at.to_string()),
            by.unwrap_or_default(),
            view.note.clone().unwrap_or_default(),
        ]);
    }
    say(&table.to_string());
}

fn show(view: &PolicyView) {
    say(&format!("Version {}{}", view.version, if view.current { ", in force" } else { "" }));
    rules(&view.text);
    found(&view.analysis);
}

fn simulated(view: &SimulationView) {
    rules(&view.text);
    found(&view.analysis);
    say(&view.simulation.sentence);
    if view.cut {
        say("Only the newest changes were compared; there are more.");
    }
    if view.simulation.changed.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Change", "Type", "Is", "Was asked", "Would be asked"]);
    for change in &view.simulation.changed {
        table.add_row([
            format!("#{}", change.number),
            change.change_type.clone(),
            change.state.as_str().to_owned(),
            change.was.clone(),
            change.would_be.clone(),
        ]);
    }
    say(&table.to_string());
}

fn rules(text: &[String]) {
    for (no, sentence) in (1..).zip(text) {
        say(&format!("  {no}. {sentence}"));
    }
}

fn found(analysis: &Analysis) {
    for idle in &analysis.unreachable {
        say(&format!("Idle: {}", idle.sentence));
    }
    for weaker in &analysis.weakened {
        say(&format!("Weaker: {}", weaker.sentence));
    }
}
