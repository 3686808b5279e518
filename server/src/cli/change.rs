//! `change`: the life of a change from the shell. Tables for people, `--json` for scripts.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::Table;
use futures_util::{SinkExt as _, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use nexplane_core::api::{
    ApproveRequest, BreakGlassRequest, ChangeState, ChangeView, DraftRequest, LiveMessage, Page,
    ReasonRequest, ReviewRequest, RolloutTargetView, SettleRequest, StepProgress, StepState,
    Subscribe,
};
use nexplane_core::change::event::Found;
use nexplane_core::id::ConnectionId;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::client::{Client, ClientError, Server};
use super::rollout::{self, RolloutArgs, lines};
use super::{complain, note, say};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  nexplane change list --state submitted,approved
  nexplane change draft --type postgres.lock_user --connection shop-db --target role/reporting \\
      --title 'Lock reporting' --reason 'Key leaked, INC-42'
  nexplane change plan 7 && nexplane change submit 7
  nexplane change approve 7 && nexplane change execute 7 --watch
  nexplane change break-glass 7 --justification 'The key is in use by an attacker, nobody else is up'
  nexplane change review 7 --comment 'It had to be; the key is gone'
  nexplane change draft --type host.set_file_permission --connection web-1 --targets-file hosts.txt \\
      --canary 5 --batch 100 --max-failed 3 --parameters @mode.json --title 'Close it' --reason 'OPS-7'

A change is named by its number or its id.

Exit codes: 0 done · 1 the server said no · 2 wrong usage · 3 the server is not reachable ·
4 the change ended in another state than complete or rolled back (watch, execute --watch)")]
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
    /// List changes, newest first.
    List {
        /// One or more states, separated by commas.
        #[arg(long)]
        state: Option<String>,
        /// Words in title, reason, ticket or type.
        #[arg(long)]
        search: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a change: plan, diff, risk, approvals, steps.
    Show { change: String },
    /// Draft a change.
    Draft {
        /// Action id, such as postgres.lock_user.
        #[arg(long = "type", value_name = "ACTION")]
        change_type: String,
        /// Name or id of the connection.
        #[arg(long)]
        connection: String,
        /// Asset id, or external key such as role/reporting; repeat for several.
        #[arg(long = "target", required_unless_present = "targets_file")]
        targets: Vec<String>,
        #[command(flatten)]
        rollout: RolloutArgs,
        /// Parameters as a JSON object; @FILE reads a file.
        #[arg(long, default_value = "{}")]
        parameters: String,
        #[arg(long)]
        title: String,
        #[arg(long)]
        reason: String,
        #[arg(long)]
        ticket: Option<String>,
        /// Undo what it did when its run fails. Its approvals cover that.
        #[arg(long)]
        auto_rollback: bool,
    },
    /// Plan it against the real target. Changes nothing.
    Plan { change: String },
    /// Ask for approval of the plan.
    Submit { change: String },
    /// Approve the plan that 'show' shows.
    Approve {
        change: String,
        /// The plan's digest; the current plan's when absent.
        #[arg(long)]
        digest: Option<String>,
        #[arg(long)]
        comment: Option<String>,
        /// For whom, when somebody delegated approving to you: their e-mail address, or their id.
        #[arg(long = "for")]
        delegator: Option<String>,
    },
    /// Reject it.
    Reject {
        change: String,
        #[arg(long)]
        reason: String,
    },
    /// Stand for the whole quorum of the plan that 'show' shows, in an emergency: it is approved at once,
    /// for at most four hours. For responders who neither wrote nor edited it, where the policy's rule lets
    /// glass be broken. Somebody else has to review it within 72 hours after the change has ended.
    #[command(after_help = "Example:
  nexplane change break-glass 7 --justification 'The key is in use by an attacker, nobody else is up'")]
    BreakGlass {
        change: String,
        /// Why it cannot wait for approvals; whoever reviews it reads it.
        #[arg(long)]
        justification: String,
        /// The plan's digest; the current plan's when absent.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Look back at what responders did for a change that has ended: overrides, and broken glass.
    Review {
        change: String,
        /// What you found.
        #[arg(long)]
        comment: String,
    },
    /// Execute an approved change.
    Execute {
        change: String,
        /// Follow it to its end.
        #[arg(long)]
        watch: bool,
    },
    /// Make the change that undoes this one.
    Rollback { change: String },
    /// Say what you found at the target, when the outcome is unknown. Not for its author or editors.
    Settle {
        change: String,
        /// Whether the effect took place.
        #[arg(long, value_enum)]
        finding: Finding,
        /// What you looked at, and what was there.
        #[arg(long)]
        evidence: String,
    },
    /// Give it up. Of a change that executes no further step begins; what is under way comes to its end.
    Cancel {
        change: String,
        #[arg(long)]
        reason: String,
    },
    /// List the targets of a rollout, those that need somebody first.
    Targets {
        change: String,
        /// One or more states, separated by commas: failed,outcome_unknown.
        #[arg(long)]
        state: Option<String>,
        /// The `next_cursor` of the page before.
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 200)]
        limit: u32,
    },
    /// Begin no further target of a rollout until it is resumed.
    Pause {
        change: String,
        #[arg(long)]
        reason: String,
    },
    /// Let a paused rollout go on.
    Resume { change: String },
    /// Begin no further target of a rollout, for good. What is under way comes to its end.
    Stop {
        change: String,
        #[arg(long)]
        reason: String,
    },
    /// Follow a change until it ends.
    Watch { change: String },
}

/// What a person found.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Finding {
    Applied,
    #[value(name = "not_applied", alias = "not-applied")]
    NotApplied,
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
        Ok(code) => code,
        Err(ClientError::Unreachable(error)) => {
            complain(&format!("{error:#}", error = ClientError::Unreachable(error)));
            ExitCode::from(3)
        }
        Err(ClientError::Refused(problem)) => {
            complain(&ClientError::Refused(problem.clone()).to_string());
            for field in &problem.errors {
                note(&format!("  {}: {}", field.pointer, field.reason));
            }
            ExitCode::from(1)
        }
        Err(ClientError::Other(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::from(1)
        }
    }
}

async fn perform(client: &Client, command: Command, json: bool) -> Result<ExitCode, ClientError> {
    let view: ChangeView = match command {
        Command::List { state, search, limit } => {
            let mut query = vec![format!("limit={limit}")];
            query.extend(state.map(|state| format!("state={}", encode(&state))));
            query.extend(search.map(|words| format!("q={}", encode(&words))));
            let page: Page<ChangeView> =
                client.get(&format!("/change-requests?{}", query.join("&"))).await?;
            list(&page, json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Show { change } => find(client, &change).await?,
        Command::Draft {
            change_type,
            connection,
            targets,
            rollout: args,
            parameters,
            title,
            reason,
            ticket,
            auto_rollback,
        } => {
            let (connection_id, name) = connection_of(client, &connection).await?;
            let mut targets: Vec<_> = targets
                .into_iter()
                .map(|target| {
                    let is_id = target.parse::<uuid::Uuid>().is_ok();
                    if is_id { target } else { format!("{name}/{target}") }
                })
                .collect();
            if let Some(path) = &args.targets_file {
                targets.extend(lines(path)?);
            }
            let parameters = parameters_of(&parameters)?;
            let rollout = args.strategy(targets.len());
            let body = DraftRequest {
                title,
                reason,
                ticket,
                change_type,
                connection_id,
                targets,
                parameters,
                window: None,
                rollout,
                auto_rollback,
            };
            client.post("/change-requests", &body).await?
        }
        Command::Plan { change } => act(client, &change, "plan", json!({})).await?,
        Command::Submit { change } => act(client, &change, "submit", json!({})).await?,
        Command::Approve { change, digest, comment, delegator } => {
            let view = find(client, &change).await?;
            let plan_digest = digest_of(&view, digest)?;
            let body = ApproveRequest { plan_digest, comment, delegator };
            client.post(&format!("/change-requests/{}/approve", view.id), &body).await?
        }
        Command::BreakGlass { change, justification, digest } => {
            let view = find(client, &change).await?;
            let body = BreakGlassRequest { plan_digest: digest_of(&view, digest)?, justification };
            client.post(&format!("/change-requests/{}/break-glass", view.id), &body).await?
        }
        Command::Review { change, comment } => {
            act(client, &change, "review", ReviewRequest { comment }).await?
        }
        Command::Reject { change, reason } => {
            act(client, &change, "reject", ReasonRequest { reason }).await?
        }
        Command::Cancel { change, reason } => {
            act(client, &change, "cancel", ReasonRequest { reason }).await?
        }
        Command::Targets { change, state, after, limit } => {
            let id = find(client, &change).await?.id;
            let mut query = vec![format!("limit={limit}")];
            query.extend(state.map(|state| format!("state={}", encode(&state))));
            query.extend(after.map(|after| format!("cursor={}", encode(&after))));
            let path = format!("/change-requests/{id}/targets?{}", query.join("&"));
            let page: Page<RolloutTargetView> = client.get(&path).await?;
            if json {
                say(&serde_json::to_string(&page).context("cannot write JSON")?);
            } else {
                say(&rollout::table(&page).to_string());
                rollout::more(&page);
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Pause { change, reason } => {
            act(client, &change, "pause", ReasonRequest { reason }).await?
        }
        Command::Resume { change } => act(client, &change, "resume", json!({})).await?,
        Command::Stop { change, reason } => {
            act(client, &change, "stop", ReasonRequest { reason }).await?
        }
        Command::Execute { change, watch } => {
            let view: ChangeView = act(client, &change, "execute", json!({})).await?;
            if watch {
                return follow(client, view, json).await;
            }
            view
        }
        Command::Settle { change, finding, evidence } => {
            let finding = match finding {
                Finding::Applied => Found::Applied,
                Finding::NotApplied => Found::NotApplied,
            };
            act(client, &change, "settle", SettleRequest { finding, evidence }).await?
        }
        Command::Rollback { change } => act(client, &change, "rollback", json!({})).await?,
        Command::Watch { change } => {
            let view = find(client, &change).await?;
            return follow(client, view, json).await;
        }
    };
    show(&view, json)?;
    Ok(ExitCode::SUCCESS)
}

/// The one that is named, or that of the plan there is.
fn digest_of(view: &ChangeView, named: Option<String>) -> anyhow::Result<String> {
    let digest = named.or_else(|| view.plan.as_ref().map(|plan| plan.digest.clone()));
    digest.context("the change has no plan to approve")
}

async fn act<B: serde::Serialize>(
    client: &Client,
    change: &str,
    verb: &str,
    body: B,
) -> Result<ChangeView, ClientError> {
    let id = find(client, change).await?.id;
    client.post(&format!("/change-requests/{id}/{verb}"), &body).await
}

pub(super) async fn find(client: &Client, change: &str) -> Result<ChangeView, ClientError> {
    client.get(&format!("/change-requests/{}", encode(change.trim_start_matches('#')))).await
}

pub(super) async fn connection_of(
    client: &Client,
    name: &str,
) -> Result<(ConnectionId, String), ClientError> {
    use nexplane_core::api::ConnectionView;
    if let Ok(id) = name.parse::<ConnectionId>() {
        let view: ConnectionView = client.get(&format!("/connections/{id}")).await?;
        return Ok((id, view.name));
    }
    let mut cursor = String::new();
    loop {
        let page: Page<ConnectionView> =
            client.get(&format!("/connections?limit=200{cursor}")).await?;
        if let Some(found) = page.items.iter().find(|view| view.name == name) {
            return Ok((found.id, found.name.clone()));
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={}", encode(&next)),
            None => return Err(anyhow::anyhow!("there is no connection called '{name}'").into()),
        }
    }
}

pub(super) fn parameters_of(text: &str) -> anyhow::Result<Value> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?
        }
        None => text.to_owned(),
    };
    serde_json::from_str(&text).context("the parameters are not a JSON object")
}

/// Follows the change over the WebSocket until it ends.
async fn follow(client: &Client, view: ChangeView, json: bool) -> Result<ExitCode, ClientError> {
    let (url, token) = client.live();
    let mut request = url.into_client_request().context("the server's address is not a URL")?;
    let protocol = format!("bearer,{token}").parse().context("the token is not one")?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .context("cannot follow the change: the WebSocket was refused")?;
    let topics = vec![format!("change:{}", view.id), format!("rollout:{}", view.id)];
    let subscribe = Subscribe { subscribe: topics, since: Some(view.position) };
    let text = serde_json::to_string(&subscribe).context("cannot write the subscription")?;
    socket.send(Message::Text(text.into())).await.context("the WebSocket broke")?;

    let mut last = None;
    let mut view: ChangeView = find(client, &view.id.to_string()).await?;
    let effect = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("  {spinner} {wide_bar} {human_pos} of {human_len} {msg}")
            .context("the template of the progress bar")?,
    );
    loop {
        effect.finish_and_clear();
        effect.reset();
        if last.as_ref() != Some(&view) {
            progress(&view, json)?;
        }
        if view.state.is_settled() {
            let good = matches!(view.state, ChangeState::Complete | ChangeState::RolledBack);
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(4) });
        }
        let id = view.id.to_string();
        last = Some(view);
        loop {
            let message = tokio::time::timeout(Duration::from_mins(1), socket.next()).await;
            let message = message
                .context("the server says nothing any more")?
                .context("the server closed the connection")?
                .context("the WebSocket broke")?;
            let Message::Text(text) = message else { continue };
            match serde_json::from_str::<LiveMessage>(&text) {
                Ok(LiveMessage::Notice { topic, changed, .. }) if topic.starts_with("rollout:") => {
                    rollout::counts(&changed, json);
                }
                Ok(LiveMessage::Notice { .. } | LiveMessage::Resync { .. }) => break,
                Ok(LiveMessage::Progress { progress, .. }) => how_far(&effect, &progress),
                Ok(LiveMessage::Error { error }) => return Err(anyhow::anyhow!(error).into()),
                Err(_) => {}
            }
        }
        view = find(client, &id).await?;
    }
}

/// Shows how far an effect is that lasts, to whoever sits at a terminal.
fn how_far(bar: &ProgressBar, StepProgress { done, most, unit, .. }: &StepProgress) {
    match most {
        Some(most) => bar.set_length(*most),
        None => bar.unset_length(),
    }
    bar.set_message(unit.clone());
    bar.set_position(*done);
}

fn progress(view: &ChangeView, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string(view)?);
        return Ok(());
    }
    let waiting = view.waiting_for.as_deref().unwrap_or_default();
    say(&format!("#{} {:<16} {waiting}", view.number, view.state.as_str()));
    for step in view.run.iter().flat_map(|run| &run.steps) {
        let reason = step.reason.as_deref().unwrap_or_default();
        let state = step.state.as_str();
        say(&format!("   {} {:<10} {} {reason}", mark(step.state), state, step.target));
    }
    Ok(())
}

const fn mark(state: StepState) -> char {
    match state {
        StepState::Planned => '·',
        StepState::Intended | StepState::Succeeded | StepState::Reconciled => '…',
        StepState::Verified => '✓',
        StepState::Failed | StepState::Blocked => '✗',
        StepState::Unknown => '?',
    }
}

fn list(page: &Page<ChangeView>, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(page)?);
        return Ok(());
    }
    if page.items.is_empty() {
        note("No changes. 'nexplane change draft --help' shows how to make one.");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["#", "State", "Risk", "Title", "Waits for"]);
    for view in &page.items {
        let risk = view.risk.as_ref().map(|risk| format!("{} {}", risk.score, risk.level.as_str()));
        table.add_row([
            view.number.to_string(),
            view.state.as_str().to_owned(),
            risk.unwrap_or_default(),
            view.title.clone(),
            view.waiting_for.clone().unwrap_or_default(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}

fn show(view: &ChangeView, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(view)?);
        return Ok(());
    }
    say(&format!("#{}  {}  [{}]", view.number, view.title, view.state.as_str()));
    say(&format!("id       {}", view.id));
    say(&format!("type     {}", view.change_type));
    say(&format!("reason   {}", view.reason));
    if let Some(waiting) = &view.waiting_for {
        say(&format!("waits    {waiting}"));
    }
    for conflict in &view.conflicts {
        let (number, state) = (conflict.number, conflict.state.as_str());
        say(&format!("meets    #{number} {} ({state}): {}", conflict.title, conflict.how));
    }
    if let Some(why) = &view.closing_reason {
        say(&format!("because  {why}"));
    }
    if let Some(settled) = &view.settled {
        say(&format!("found    {}", settled.evidence));
    }
    if let Some(risk) = &view.risk {
        say(&format!("risk     {} ({})", risk.score, risk.level.as_str()));
        for factor in &risk.factors {
            say(&format!("         {:+.2}  {}", factor.value, factor.because));
        }
    }
    if let Some(plan) = &view.plan {
        say(&format!("plan     {}", plan.digest));
        for line in &plan.diff {
            say(&format!(
                "         {} {}: {} → {}",
                line.target,
                line.field,
                plain(&line.before),
                plain(&line.after)
            ));
        }
        for check in plan.checks.iter().filter(|check| !check.ok) {
            say(&format!("       ✗ {}: {}", check.name, check.detail));
        }
    }
    say(&format!(
        "approved {} of {}",
        view.approvals.iter().filter(|a| !a.superseded).count(),
        view.approvals_needed
    ));
    for broken in view.glass.iter().filter(|broken| !broken.superseded) {
        say(&format!("glass    broken at {}: {}", broken.at, broken.justification));
    }
    if let Some(due) = view.review_due {
        say(&format!("review   due by {due}"));
    }
    for step in view.run.iter().flat_map(|run| &run.steps) {
        let reason = step.reason.as_deref().unwrap_or_default();
        say(&format!(
            "step {}   {} {} {} {reason}",
            step.no,
            mark(step.state),
            step.state.as_str(),
            step.target
        ));
    }
    for secret in &view.secrets {
        let state = if secret.revealed { "handed over" } else { "not handed over yet" };
        say(&format!("secret   {} {} ({state})", secret.name, secret.id));
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "(absent)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Percent-encoding of everything but unreserved characters (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
