//! `user delegate`, `user delegations`, `user end-delegation`: who approves for whom, over the API.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use nexplane_core::api::{DelegateRequest, DelegationView, Me, Page, UserView};
use nexplane_core::id::PersonId;
use nexplane_core::time::Timestamp;
use uuid::Uuid;

use super::client::{Client, ClientError, Server};
use super::freeze::perform_with;
use super::{note, say};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let somebody else approve for you, for at most 30 days.
    #[command(after_help = "Example:
  nexplane user delegate --to cat@example.org --until 2027-01-07T08:00:00Z --reason 'On leave'

Neither of you approves what either of you wrote, and together you count once.")]
    Delegate {
        /// Who may approve: an e-mail address, or the id of a person.
        #[arg(long)]
        to: String,
        /// At once when absent.
        #[arg(long)]
        from: Option<Timestamp>,
        #[arg(long)]
        until: Timestamp,
        #[arg(long)]
        reason: String,
        /// Whose approvals, for somebody who is away: their e-mail address. Needs the admin role.
        #[arg(long)]
        of: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// List who approves for you, and for whom you approve.
    Delegations {
        /// Of somebody else: their e-mail address. Needs the admin or the auditor role.
        #[arg(long)]
        of: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// End a delegation.
    EndDelegation {
        delegation: Uuid,
        /// Of somebody else: their e-mail address. Needs the admin role.
        #[arg(long)]
        of: Option<String>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Args, Debug)]
pub struct Output {
    #[command(flatten)]
    server: Server,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

pub async fn run(command: Command) -> ExitCode {
    let (Command::Delegate { output, .. }
    | Command::Delegations { output, .. }
    | Command::EndDelegation { output, .. }) = &command;
    let (server, json) = (output.server.clone(), output.json);
    perform_with(&server, async |client| perform(client, command, json).await).await
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<(), ClientError> {
    let page = match command {
        Command::Delegate { to, from, until, reason, of, .. } => {
            let path = format!("/users/{}/delegations", person(client, of).await?);
            let body = DelegateRequest { to, from, until, reason };
            let view: DelegationView = client.post(&path, &body).await?;
            Page { items: vec![view], next_cursor: None }
        }
        Command::Delegations { of, .. } => {
            client.get(&format!("/users/{}/delegations", person(client, of).await?)).await?
        }
        Command::EndDelegation { delegation, of, .. } => {
            let person = person(client, of).await?;
            client.delete(&format!("/users/{person}/delegations/{delegation}")).await?;
            note("The delegation has ended.");
            return Ok(());
        }
    };
    Ok(list(&page, json)?)
}

/// Oneself, or whose address this is.
async fn person(client: &Client, of: Option<String>) -> Result<PersonId, ClientError> {
    let Some(email) = of else { return Ok(client.get::<Me>("/auth/me").await?.id) };
    let users: Page<UserView> = client.get("/users").await?;
    let mut users = users.items.into_iter();
    let found = users.find(|user| user.email.eq_ignore_ascii_case(&email));
    Ok(found.with_context(|| format!("there is nobody with the address {email}"))?.id)
}

fn list(page: &Page<DelegationView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No delegations. 'nexplane user delegate --help' shows how to make one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["Id", "Of", "To", "From", "Until", "Reason"]);
    for view in &page.items {
        let DelegationView { id, of, of_name, to, to_name, from, until, reason } = view;
        table.add_row([
            id.to_string(),
            of_name.clone().unwrap_or_else(|| of.to_string()),
            to_name.clone().unwrap_or_else(|| to.to_string()),
            from.to_string(),
            until.to_string(),
            reason.clone(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
