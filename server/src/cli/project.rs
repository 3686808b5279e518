//! `project`: ordered groups of changes from the shell. Tables for people, `--json` for scripts.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{
    AddMemberRequest, ChangeView, DependenciesRequest, MemberBack, NewProjectRequest, Page,
    ProjectView, ReasonRequest, RemoveMemberRequest,
};
use nexplane_core::id::{ChangeId, ProjectId};
use serde_json::json;

use super::change::find;
use super::client::{Client, ClientError, Server};
use super::freeze::perform_with;
use super::{note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane project create --name 'Move reporting'
  nexplane project add 0199a3f0-… 7
  nexplane project add 0199a3f0-… 8 --after 7
  nexplane project execute 0199a3f0-…
  nexplane project show 0199a3f0-…
  nexplane project rollback 0199a3f0-… --reason 'The reports are wrong'

A member starts only when every member that it comes after is complete, whoever has it executed. Changes
are named by their number or their id.

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
    /// List projects, newest first.
    List {
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a project: its members, what each comes after, and what it waits for.
    Show { project: ProjectId },
    /// Create a project. Needs the operator role.
    Create {
        #[arg(long)]
        name: String,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Add a change.
    Add {
        project: ProjectId,
        change: String,
        /// A member that has to be complete before it may start; repeat for several.
        #[arg(long)]
        after: Vec<String>,
    },
    /// Remove a change that no other comes after.
    Remove { project: ProjectId, change: String },
    /// Say anew what a member comes after; nothing when no other is named.
    Depend {
        project: ProjectId,
        change: String,
        #[arg(long)]
        after: Vec<String>,
    },
    /// Have every member started as soon as it may.
    Execute { project: ProjectId },
    /// Undo all of it that was applied, newest first; each rollback is a change that has to be approved.
    Rollback {
        project: ProjectId,
        #[arg(long)]
        reason: String,
    },
    /// Close it: its members wait for each other no more.
    Close {
        project: ProjectId,
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(args: Args) -> ExitCode {
    let Args { command, server, json } = args;
    perform_with(&server, async |client| perform(client, command, json).await).await
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<(), ClientError> {
    let view: ProjectView = match command {
        Command::List { limit } => {
            let page: Page<ProjectView> = client.get(&format!("/projects?limit={limit}")).await?;
            return Ok(list(&page, json)?);
        }
        Command::Show { project } => client.get(&format!("/projects/{project}")).await?,
        Command::Create { name, description } => {
            client.post("/projects", &NewProjectRequest { name, description }).await?
        }
        Command::Add { project, change, after } => {
            let (change, after) = (id_of(client, &change).await?, ids_of(client, &after).await?);
            let body = AddMemberRequest { change, after };
            client.post(&format!("/projects/{project}/members"), &body).await?
        }
        Command::Remove { project, change } => {
            let body = RemoveMemberRequest { change: id_of(client, &change).await? };
            client.post(&format!("/projects/{project}/remove-member"), &body).await?
        }
        Command::Depend { project, change, after } => {
            let (change, after) = (id_of(client, &change).await?, ids_of(client, &after).await?);
            let body = DependenciesRequest { change, after };
            client.post(&format!("/projects/{project}/dependencies"), &body).await?
        }
        Command::Execute { project } => {
            client.post(&format!("/projects/{project}/execute"), &json!({})).await?
        }
        Command::Rollback { project, reason } => {
            client.post(&format!("/projects/{project}/rollback"), &ReasonRequest { reason }).await?
        }
        Command::Close { project, reason } => {
            client.post(&format!("/projects/{project}/close"), &ReasonRequest { reason }).await?
        }
    };
    if json {
        say(&serde_json::to_string_pretty(&view).map_err(anyhow::Error::from)?);
        return Ok(());
    }
    show(&view);
    Ok(())
}

async fn id_of(client: &Client, change: &str) -> Result<ChangeId, ClientError> {
    let view: ChangeView = find(client, change).await?;
    Ok(view.id)
}

async fn ids_of(client: &Client, changes: &[String]) -> Result<Vec<ChangeId>, ClientError> {
    let mut ids = Vec::with_capacity(changes.len());
    for change in changes {
        ids.push(id_of(client, change).await?);
    }
    Ok(ids)
}

fn show(view: &ProjectView) {
    say(&format!("{}  {}  ({})", view.id, view.name, view.state.as_str()));
    if !view.description.is_empty() {
        say(&view.description);
    }
    if let Some(waiting) = &view.waiting_for {
        say(waiting);
    }
    let number = |change: &ChangeId| {
        let member = view.members.iter().find(|member| member.change == *change);
        let number = member.and_then(|member| member.number);
        number.map_or_else(|| change.to_string(), |number| format!("#{number}"))
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Change", "Title", "State", "After", "Going back"]);
    for member in &view.members {
        let back = member.back.map_or("", MemberBack::as_str);
        let by = member.rollback_number.map_or_else(String::new, |number| format!(" (#{number})"));
        table.add_row([
            number(&member.change),
            member.title.clone().unwrap_or_default(),
            member.state.map_or_else(String::new, |state| state.as_str().to_owned()),
            member.after.iter().map(number).collect::<Vec<_>>().join(", "),
            format!("{back}{by}"),
        ]);
    }
    say(&table.to_string());
}

fn list(page: &Page<ProjectView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No projects. 'nexplane project create --help' shows how to create one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Id", "Name", "State", "Members", "Waits for"]);
    for view in &page.items {
        table.add_row([
            view.id.to_string(),
            view.name.clone(),
            view.state.as_str().to_owned(),
            view.members.len().to_string(),
            view.waiting_for.clone().unwrap_or_default(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
