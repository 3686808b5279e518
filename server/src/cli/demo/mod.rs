//! `demo`: a sandbox made through the real engine: a server, people, servers to practise on, a host with
//! an agent, and changes in different states. Everything lies below one temporary directory.
//!
//! | Module | Holds |
//! |---|---|
//! | [`cache`] | a Redis, when one is installed |
//! | [`changes`] | changes of the database and of the host |
//! | [`database`] | a PostgreSQL |
//! | [`directory`] | an OpenLDAP, when one is installed |
//! | [`host`] | a host, and its agent |
//! | [`sandbox`] | what people do through the API |

mod cache;
mod changes;
mod database;
mod directory;
mod host;
mod sandbox;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nexplane_core::actor::Role;
use nexplane_core::aggregate::Principal;
use nexplane_core::api::{ChangeView, Page};
use nexplane_peers::slapd::Slapd;
use nexplane_store::embedded::Cluster;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use self::cache::Cache;
use self::sandbox::Sandbox;
use super::note;
use super::up::{announce, until_stopped};
use crate::api::people::add_person;
use crate::auth;
use crate::config::{Options, ServerOptions};
use crate::serve::{self, Running};
use crate::stream::{self, Request};

/// Every quarter of an hour: somebody who looks around for a while sees it happen.
const REDISCOVER_S: u32 = 900;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address of the dashboard; when the default port is taken, a free one is used.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Keep the sandbox in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Print one JSON line with the addresses and the people on stdout when ready.
    #[arg(long)]
    ready_json: bool,
}

/// Somebody in the sandbox.
struct Somebody {
    name: &'static str,
    email: &'static str,
    roles: &'static [Role],
    password: String,
}

/// All that the sandbox consists of. Dropped, its programs end.
struct Made {
    running: Running,
    people: Vec<Somebody>,
    target: Cluster,
    agent: Child,
    directory: Option<Slapd>,
    cache: Option<Cache>,
    /// What it goes without, in sentences.
    left_out: Vec<String>,
    changes: usize,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let temporary = tempfile::Builder::new().prefix("nexplane-demo-").tempdir()?;
    // PostgreSQL runs as a user of its own, who has to get through.
    set_mode(temporary.path(), 0o755)?;
    let dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let bar = ProgressBar::new(4);
    bar.set_style(ProgressStyle::with_template("{spinner} [{pos}/{len}] {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(120));
    let mut directory = aside(&dir, async |dir| directory::start(&dir).await);
    let mut cache = aside(&dir, async |dir| Cache::start(&dir).await);
    let made = tokio::select! {
        made = make(&args, &dir, &bar, &mut directory, &mut cache) => made.map(Some),
        stopped = until_stopped() => stopped.map(|()| None),
    };
    bar.finish_and_clear();
    let Ok(Some(mut made)) = made else {
        // Their threads are at work in the directory that is removed now.
        if !directory.is_finished() {
            drop(directory.await);
        }
        if !cache.is_finished() {
            drop(cache.await);
        }
        return made.map(drop);
    };

    if args.ready_json {
        let people: Vec<_> = made
            .people
            .iter()
            .map(|p| json!({ "email": p.email, "password": p.password, "roles": p.roles }))
            .collect();
        let mut line = serde_json::to_value(&made.running.ready)?;
        if let Value::Object(line) = &mut line {
            line.insert("people".to_owned(), people.into());
        }
        super::say(&line.to_string());
    }
    announce(&made.running.ready, false)?;
    tell(&made, &dir, begun.elapsed());
    for line in &made.left_out {
        note(line);
    }

    let ended = tokio::select! {
        stopped = until_stopped() => stopped,
        status = made.agent.wait() => {
            note(&format!("The sandbox agent ended: {}", status?));
            until_stopped().await
        }
    };
    note("Stopping and removing the sandbox …");
    host::stop(&mut made.agent).await;
    made.running.stop().await?;
    made.target.stop().await?;
    // The servers of these two stop with them.
    drop((made.directory, made.cache));
    ended
}

async fn make(
    args: &Args,
    dir: &Path,
    bar: &ProgressBar,
    directory: &mut JoinHandle<anyhow::Result<Slapd>>,
    cache: &mut JoinHandle<anyhow::Result<Cache>>,
) -> anyhow::Result<Made> {
    let stage = |text: &'static str| {
        bar.inc(1);
        bar.set_message(text);
    };
    stage("starting the server, and others to practise on");
    let (running, target) = tokio::join!(start_server(args, dir), database::start(dir));
    let (mut running, target) = (running?, target?);
    stage("adding people");
    let people = add_people(&running).await?;
    running.ready.first_run = None;
    let sandbox = Sandbox::open(&running, &people).await?;
    stage("enrolling a host");
    let agent = host::start(&sandbox, &running, dir).await?;
    let mut left_out = Vec::new();
    let directory = present("an LDAP directory", directory.await, &mut left_out);
    let cache = present("a Redis", cache.await, &mut left_out);
    stage("discovering, making changes, and discovering what they did");
    let (necessary, of_directory, of_cache) = tokio::join!(
        async {
            let shop = sandbox.connect(&database::connection(&target)?).await?;
            changes::make(&sandbox, &shop, host::asset(&sandbox).await?).await?;
            sandbox.discover(shop.id).await
        },
        async {
            let Some(slapd) = &directory else { return Ok(()) };
            let connection = sandbox.connect(&directory::connection(slapd)).await?;
            directory::make_changes(&sandbox, connection.id).await?;
            sandbox.discover(connection.id).await
        },
        async {
            let Some(cache) = &cache else { return Ok(()) };
            let connection = sandbox.connect(&cache.connection()).await?;
            cache::make_changes(&sandbox, connection.id).await?;
            sandbox.discover(connection.id).await
        },
    );
    necessary?;
    for (what, made) in [("LDAP directory", of_directory), ("Redis", of_cache)] {
        left_out.extend(made.err().map(|error| {
            format!("Not everything was done that the sandbox shows of its {what}: {error:#}.")
        }));
    }
    let listed: Page<ChangeView> = sandbox.operator.get("/change-requests?limit=200").await?;
    let changes = listed.items.len();
    Ok(Made { running, people, target, agent, directory, cache, left_out, changes })
}

/// Starts something on a thread of its own, for it waits for programs.
fn aside<T: Send + 'static>(
    dir: &Path,
    start: impl AsyncFnOnce(PathBuf) -> anyhow::Result<T> + Send + 'static,
) -> JoinHandle<anyhow::Result<T>> {
    let (dir, runtime) = (dir.to_owned(), Handle::current());
    tokio::task::spawn_blocking(move || runtime.block_on(start(dir)))
}

/// What started. Without the others the sandbox is smaller, and says so.
fn present<T>(
    what: &str,
    started: Result<anyhow::Result<T>, JoinError>,
    left_out: &mut Vec<String>,
) -> Option<T> {
    let why = |error| left_out.push(format!("The sandbox goes without {what}: {error:#}."));
    started.map_err(anyhow::Error::from).flatten().map_err(why).ok()
}

/// Has a program read this; fails with what it says.
fn feed(mut command: std::process::Command, input: &str, name: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("{name} does not read"))?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

async fn start_server(args: &Args, dir: &Path) -> anyhow::Result<Running> {
    let options = |listen| ServerOptions {
        base: Options { data_dir: Some(dir.join("server")), ..Options::default() },
        listen: Some(listen),
        gateway_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        lease_s: 30,
        patience_s: 60,
        demo: true,
        ..ServerOptions::default()
    };
    let wanted = args.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8000)));
    let taken = args.listen.is_none() && std::net::TcpListener::bind(wanted).is_err();
    let listen = if taken { SocketAddr::from(([127, 0, 0, 1], 0)) } else { wanted };
    serve::start(&options(listen)).await
}

async fn add_people(running: &Running) -> anyhow::Result<Vec<Somebody>> {
    use Role::{Admin, Approver, Auditor, Operator};
    let people = [
        ("Olivia Operator", "olivia@demo.example", [Operator].as_slice()),
        ("Arun Approver", "arun@demo.example", &[Approver]),
        ("Beata Approver", "beata@demo.example", &[Approver]),
        ("Audrey Auditor", "audrey@demo.example", &[Auditor]),
        ("Ada Admin", "ada@demo.example", &[Admin]),
    ];
    let mut added = Vec::new();
    for (name, email, roles) in people {
        let password = auth::generate_password();
        let request = Request::once(Principal::SYSTEM, stream::now());
        let app = &running.app;
        let roles_ = roles.to_vec();
        add_person(&app.log, &app.directory, &request, email, name, roles_, Some(password.clone()))
            .await
            .map_err(|error| anyhow::anyhow!("{}", error.detail().to_owned()))?;
        added.push(Somebody { name, email, roles, password });
    }
    Ok(added)
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn tell(Made { running, people, changes, .. }: &Made, dir: &Path, took: Duration) {
    let api = &running.ready.api;
    note(&format!(
        "\nThe sandbox was ready in {:.1} s. Its people, with passwords shown only now:\n",
        took.as_secs_f64()
    ));
    for Somebody { name, email, roles, password } in people {
        let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        note(&format!("  {name:<16} {email:<22} {password}   {}", roles.join(", ")));
    }
    note(&format!(
        "
Where to click:
  1. {api}/            sign in as olivia: {changes} changes, in different states
  2. open 'Lock the contractor', look at plan and risk; olivia cannot approve it
  3. sign in as arun in a private window: {api}/approvals, approve it
  4. as olivia, execute it, and roll it back
  5. as audrey: {api}/audit has every step

The host's files are below {}.",
        dir.join("host").display()
    ));
}
