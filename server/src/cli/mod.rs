//! The commands of `nexplane`.

mod audit;
mod change;
mod client;
mod delegation;
mod demo;
mod freeze;
mod keys;
mod log;
mod policy;
mod project;
mod projections;
mod replay;
mod rollout;
mod schedule;
mod up;
mod user;
mod window;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Options, ServerOptions};

/// A control plane for infrastructure change: plan, approve, execute, verify, undo.
#[derive(Debug, Parser)]
#[command(name = "nexplane", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Examples:
  nexplane demo                       a sandbox with people, targets and changes to try
  nexplane up                         everything on this machine, with a private PostgreSQL
  nexplane change list --state submitted
  nexplane help change                what a command takes")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a sandbox: a server, people, a PostgreSQL target, a host with an agent, and changes.
    #[command(after_help = "Example:
  nexplane demo --listen 127.0.0.1:0

Everything is real and everything is below one temporary directory, which is removed at the end.")]
    Demo(demo::Args),
    /// Start everything on this machine. Prints a one-time link for the first admin.
    #[command(after_help = "Example:
  nexplane up --data-dir ./data --listen 127.0.0.1:8000

Without DATABASE_URL a private PostgreSQL runs in the data directory and stops with the server.")]
    Up(ServerOptions),
    /// Start a server on a PostgreSQL that you run. Needs DATABASE_URL.
    #[command(after_help = "Example:
  DATABASE_URL=postgresql://nexplane@db.example.org/nexplane NEXPLANE_KEK=$(cat kek) nexplane serve --listen 0.0.0.0:8000")]
    Serve(ServerOptions),
    /// Bring the database's schema up to date, and do nothing else.
    #[command(after_help = "Example:
  nexplane migrate --database-url postgresql://owner@db.example.org/nexplane")]
    Migrate(Options),
    /// Export, verify and prove the event log.
    Audit(audit::Args),
    /// Draft, plan, submit, approve, execute, roll back and watch changes, over the API.
    Change(change::Args),
    /// List, declare and end freezes, over the API.
    Freeze(freeze::Args),
    /// List, define and remove maintenance windows, over the API.
    Window(window::Args),
    /// List, create, edit, pause, resume and delete recurring changes, over the API.
    Schedule(schedule::Args),
    /// Show or renew the keys that encrypt stored secrets.
    Keys(keys::Args),
    /// Break the history of the event log off after a backup was restored.
    Log(log::Args),
    /// List, publish and simulate versions of the approval policy, over the API.
    Policy(policy::Args),
    /// List, create, order, execute and close projects, over the API.
    Project(project::Args),
    /// Show read models, or make one again from the log.
    Projections(projections::Args),
    /// Build all read models as of an earlier moment, and show the dashboard of that day.
    Replay(replay::Args),
    /// Add people, set a new password, or delegate approving.
    User(user::UserArgs),
    /// Make API tokens.
    Token(user::TokenArgs),
    /// Print the version.
    Version,
    /// Cosign the checkpoints of logs, on a machine that their administrators do not control.
    #[command(after_help = "Example, on the other team's machine:
  nexplane witness --dir /var/lib/nexplane-witness --name witness.example.org --log-key log.vkey

and on the log's server a policy file for --witness-policy, which the auditor uses too:
  log <key of the log>
  witness w1 <key that the witness printed> http://witness.example.org:8090
  quorum w1")]
    Witness(witness::Args),
}

/// Runs a command. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable.
pub async fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let is_audit = std::env::args_os().nth(1).is_some_and(|command| command == "audit");
            let usage = if is_audit { audit::USAGE } else { 2 };
            return ExitCode::from(if error.use_stderr() { usage } else { 0 });
        }
    };
    let result = match cli.command {
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Up(options) => up::run(options).await,
        Command::Serve(options) => up::serve(options).await,
        Command::Migrate(options) => up::migrate(options).await,
        Command::Audit(args) => return audit::run(args).await,
        Command::Change(args) => return change::run(args).await,
        Command::Freeze(args) => return freeze::run(args).await,
        Command::Window(args) => return window::run(args).await,
        Command::Schedule(args) => return schedule::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Log(args) => log::run(args).await,
        Command::Policy(args) => return policy::run(args).await,
        Command::Project(args) => return project::run(args).await,
        Command::Projections(args) => projections::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::User(args) => match args.command {
            user::UserCommand::Delegation(command) => return delegation::run(command).await,
            user::UserCommand::Account(command) => user::run(command).await,
        },
        Command::Token(args) => user::token(args).await,
        Command::Witness(args) => witness::run(args).await,
        Command::Version => {
            say(concat!("nexplane ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong, on stderr.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// Says something, on stdout. A closed pipe is not an error.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Says something that is not the result, on stderr.
fn note(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
