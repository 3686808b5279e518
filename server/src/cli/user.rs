//! `user` and `token`: people, beside a running server or before its first start.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use nexplane_core::actor::Role;
use nexplane_core::aggregate::Principal;
use nexplane_core::id::PersonId;
use nexplane_core::person::event::TokenKind;
use nexplane_core::person::{Person, PersonCommand};

use super::{delegation, note, say};
use crate::api::people;
use crate::auth;
use crate::config::Options;
use crate::open::{self, Opened};
use crate::problem::ApiError;
use crate::stream::{self, Request};

#[derive(Args, Debug)]
pub struct UserArgs {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    #[command(flatten)]
    Account(AccountCommand),
    #[command(flatten)]
    Delegation(delegation::Command),
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add a person.
    #[command(after_help = "Example:
  nexplane user add --email ada@example.org --name Ada --roles operator,approver --password-stdin < password.txt

Roles: viewer, operator, approver, auditor, responder, admin.")]
    Add {
        #[arg(long)]
        email: String,
        /// As others see them [default: the part of the address before the @].
        #[arg(long)]
        name: Option<String>,
        #[arg(long, value_delimiter = ',', required = true)]
        roles: Vec<Role>,
        /// Read the password from stdin; without it one is made and printed once.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Set a new password and end all sessions.
    #[command(after_help = "Example:
  nexplane user reset --email ada@example.org")]
    Reset {
        #[arg(long)]
        email: String,
        /// Read the password from stdin; without it one is made and printed once.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make an API token and print it once.
    #[command(after_help = "Example:
  export NEXPLANE_TOKEN=$(nexplane token create --email ada@example.org --name laptop)")]
    Create {
        /// Whose token it is.
        #[arg(long)]
        email: String,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// For programs: may draft and plan, never approve or execute.
        #[arg(long)]
        machine: bool,
        /// Days until it expires; never when absent.
        #[arg(long)]
        days: Option<u32>,
        #[command(flatten)]
        options: Options,
    },
}

pub async fn run(command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::Add { email, name, roles, password_stdin, options } => {
            let given = password_stdin.then(read_password).transpose()?;
            let password = given.clone().unwrap_or_else(auth::generate_password);
            let name =
                name.unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned());
            let opened = open::open(&options).await?;
            let request = Request::once(Principal::SYSTEM, stream::now());
            let added = people::add_person(
                &opened.log,
                &opened.directory,
                &request,
                &email,
                &name,
                roles,
                Some(password.clone()),
            )
            .await
            .map_err(plain);
            finish(opened, added).await?;
            note(&format!("Added {email}."));
            if given.is_none() {
                say(&password);
            }
            Ok(())
        }
        AccountCommand::Reset { email, password_stdin, options } => {
            let given = password_stdin.then(read_password).transpose()?;
            let password = given.clone().unwrap_or_else(auth::generate_password);
            people::check_password(&password).map_err(plain)?;
            let opened = open::open(&options).await?;
            let done = reset(&opened, &email, password.clone()).await;
            finish(opened, done).await?;
            note(&format!("{email} has a new password; all sessions are ended."));
            if given.is_none() {
                say(&password);
            }
            Ok(())
        }
    }
}

pub async fn token(args: TokenArgs) -> anyhow::Result<()> {
    let TokenCommand::Create { email, name, machine, days, options } = args.command;
    let opened = open::open(&options).await?;
    let made = create_token(&opened, &email, &name, machine, days).await;
    let token = finish(opened, made).await?;
    say(&token);
    Ok(())
}

async fn create_token(
    opened: &Opened,
    email: &str,
    name: &str,
    machine: bool,
    days: Option<u32>,
) -> anyhow::Result<String> {
    let person = person(opened, email).await?;
    let now = stream::now();
    let request = Request::once(Principal::SYSTEM, now);
    let kind = if machine { TokenKind::Machine } else { TokenKind::User };
    let expires_at = days.map(|days| now.plus_seconds(i64::from(days) * 86_400));
    let (view, _) = people::create_token(
        &opened.log,
        &opened.directory,
        &request,
        person,
        name,
        kind,
        expires_at,
    )
    .await
    .map_err(plain)?;
    view.token.context("a new token comes with its secret")
}

async fn reset(opened: &Opened, email: &str, password: String) -> anyhow::Result<()> {
    let person = person(opened, email).await?;
    let request = Request::once(Principal::SYSTEM, stream::now());
    let command = PersonCommand::SetPassword { person };
    stream::execute::<Person>(&opened.log, person.into(), &request, command).await?;
    let hash = auth::hash(password).await?;
    opened.directory.set_password(person, &hash).await?;
    Ok(())
}

async fn person(opened: &Opened, email: &str) -> anyhow::Result<PersonId> {
    match opened.directory.by_email(email).await? {
        Some((entry, _)) => Ok(entry.id),
        None => {
            bail!("there is nobody with the address {email}; add them with 'nexplane user add'")
        }
    }
}

/// Closes what was opened, whatever came of the work.
async fn finish<T>(opened: Opened, result: anyhow::Result<T>) -> anyhow::Result<T> {
    let closed = opened.close().await;
    let value = result?;
    closed?;
    Ok(value)
}

fn plain(error: ApiError) -> anyhow::Error {
    anyhow!("{}", error.detail().to_owned())
}

/// One line from stdin.
fn read_password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        note("Password (it will be visible; better to pipe it in):");
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).context("cannot read the password from stdin")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        bail!("there was no password on stdin");
    }
    Ok(password)
}
