//! `demo`: a sandbox made through the real engine: a server, people, a PostgreSQL target, a host with
//! an agent, and changes in different states. Everything lies below one temporary directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nexplane_core::actor::Role;
use nexplane_core::aggregate::Principal;
use nexplane_core::api::{
    AssetView, ChangeState, ChangeView, ConnectionView, EnrollmentToken, HostView, LoginResponse,
    Page,
};
use nexplane_core::id::ConnectionId;
use nexplane_store::embedded::{Cluster, ClusterOptions, Network};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::process::{Child, Command};

use super::client::Client;
use super::note;
use super::up::{announce, until_stopped};
use crate::api::people::add_person;
use crate::auth;
use crate::config::{Options, ServerOptions};
use crate::serve::{self, Running};
use crate::stream::{self, Request};

/// How long anything in the sandbox may take to become what it should be.
const PATIENCE: Duration = Duration::from_secs(30);

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

pub async fn run(args: Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let temporary = tempfile::Builder::new().prefix("nexplane-demo-").tempdir()?;
    // PostgreSQL runs as a user of its own, who has to get through.
    set_mode(temporary.path(), 0o755)?;
    let dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let bar = ProgressBar::new(6);
    bar.set_style(ProgressStyle::with_template("{spinner} [{pos}/{len}] {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(120));

    let stage = |text: &'static str| {
        bar.inc(1);
        bar.set_message(text);
    };
    stage("starting the server with a private PostgreSQL");
    let mut running = start_server(&args, &dir).await?;
    stage("adding people");
    let people = add_people(&running).await?;
    running.ready.first_run = None;
    stage("starting a PostgreSQL to practise on");
    let target = start_target(&dir).await?;
    let mut sandbox = Sandbox::open(&running, &people).await?;
    stage("enrolling a host");
    let mut agent = sandbox.start_agent(&running, &dir).await?;
    stage("discovering");
    let shop = sandbox.connect(&target).await?;
    let host = sandbox.host().await?;
    stage("making changes");
    sandbox.make_changes(shop, host).await?;
    bar.finish_and_clear();

    if args.ready_json {
        let people: Vec<_> = people
            .iter()
            .map(|p| json!({ "email": p.email, "password": p.password, "roles": p.roles }))
            .collect();
        let mut line = serde_json::to_value(&running.ready)?;
        if let Value::Object(line) = &mut line {
            line.insert("people".to_owned(), people.into());
        }
        super::say(&line.to_string());
    }
    announce(&running.ready, false)?;
    tell(&people, &running.ready.api, &dir, begun.elapsed());

    let ended = tokio::select! {
        stopped = until_stopped() => stopped,
        status = agent.wait() => {
            note(&format!("The sandbox agent ended: {}", status?));
            until_stopped().await
        }
    };
    note("Stopping and removing the sandbox …");
    stop_agent(&mut agent).await;
    running.stop().await?;
    target.stop().await?;
    ended
}

async fn start_server(args: &Args, dir: &Path) -> anyhow::Result<Running> {
    let options = |listen| ServerOptions {
        base: Options { data_dir: Some(dir.join("server")), ..Options::default() },
        listen: Some(listen),
        gateway_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        lease_s: 30,
        patience_s: 60,
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

/// A second cluster, reachable over TLS on this machine only, with people and rights in it.
async fn start_target(dir: &Path) -> anyhow::Result<Cluster> {
    let cluster = Cluster::open(ClusterOptions {
        network: Network::Loopback { port: 0, tls: true },
        superuser: "nexplane_admin".to_owned(),
        ..ClusterOptions::new(dir.join("target"))
    })
    .await?;
    cluster.create_database("shop").await?;
    let mut db = sqlx::PgConnection::connect_with(&cluster.connect_options("shop")).await?;
    sqlx::raw_sql(
        "CREATE SCHEMA sales;
         CREATE TABLE sales.orders (id bigint PRIMARY KEY, total numeric NOT NULL);
         CREATE TABLE sales.customers (id bigint PRIMARY KEY, name text NOT NULL);
         CREATE ROLE sales_read NOLOGIN;
         GRANT USAGE ON SCHEMA sales TO sales_read;
         GRANT SELECT ON ALL TABLES IN SCHEMA sales TO sales_read;
         CREATE ROLE app_orders LOGIN PASSWORD 'practise-1';
         GRANT USAGE ON SCHEMA sales TO app_orders;
         GRANT SELECT, INSERT, UPDATE ON sales.orders TO app_orders;
         CREATE ROLE reporting LOGIN PASSWORD 'practise-2' IN ROLE sales_read;
         CREATE ROLE contractor LOGIN PASSWORD 'practise-3' IN ROLE sales_read;
         CREATE ROLE intern LOGIN PASSWORD 'practise-4' IN ROLE sales_read;
         CREATE ROLE legacy_batch LOGIN PASSWORD 'practise-5';",
    )
    .execute(&mut db)
    .await?;
    db.close().await?;
    Ok(cluster)
}

/// The sandbox, seen through the API by its people.
struct Sandbox {
    operator: Client,
    approvers: [Client; 2],
    admin: Client,
}

impl Sandbox {
    async fn open(running: &Running, people: &[Somebody]) -> anyhow::Result<Self> {
        let base = &running.ready.api;
        let mut clients = Vec::new();
        for somebody in people {
            let body = json!({ "email": somebody.email, "password": somebody.password });
            let login: LoginResponse = Client::with(base, "")?.post("/auth/login", &body).await?;
            clients.push(Client::with(base, &login.access_token)?);
        }
        let mut clients = clients.into_iter();
        let mut next = || clients.next().context("the sandbox has five people");
        let (operator, first, second) = (next()?, next()?, next()?);
        let (_auditor, admin) = (next()?, next()?);
        Ok(Self { operator, approvers: [first, second], admin })
    }

    /// A host in a directory: its files, and an agent that is confined to them.
    async fn start_agent(&self, running: &Running, dir: &Path) -> anyhow::Result<Child> {
        let root = dir.join("host");
        for (path, content) in [
            ("etc/motd", "Welcome to web-1.\n"),
            ("etc/shop/app.toml", "workers = 4\ndebug = true\n"),
            ("etc/shop/backup.sh", "#!/bin/sh\nexec /usr/local/bin/backup --all\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
            std::fs::write(&path, content)?;
        }
        set_mode(&root.join("etc/shop/backup.sh"), 0o777)?;
        let invitation: EnrollmentToken =
            self.admin.post("/hosts/enrollment-tokens", &json!({})).await?;
        let executable = std::env::current_exe()?.with_file_name("nexplane-agent");
        if !executable.exists() {
            bail!(
                "{} is missing; 'just demo' builds it, or: cargo build -p nexplane-agent",
                executable.display()
            );
        }
        let log = std::fs::File::create(dir.join("agent.log"))?;
        let ca = dir.join("server").join("gateway-ca.pem");
        Command::new(executable)
            .arg("run")
            .args(["--control-plane", &invitation.gateway])
            .arg("--ca")
            .arg(ca)
            .arg("--config-dir")
            .arg(dir.join("agent"))
            .arg("--root")
            .arg(&root)
            .env("NEXPLANE_TOKEN", &invitation.token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the agent for {}", running.ready.api))
    }

    async fn connect(&self, target: &Cluster) -> anyhow::Result<ConnectionView> {
        let ca = target.ca_path().context("the target uses TLS")?;
        let view: ConnectionView = self
            .admin
            .post(
                "/connections",
                &json!({
                    "name": "shop-db",
                    "type": "postgres",
                    "environment": "staging",
                    "credentials": {
                        "host": "localhost",
                        "port": target.port(),
                        "database": "shop",
                        "username": target.superuser(),
                        "password": target.password().expose_secret(),
                        "ssl_mode": "verify-full",
                        "ca_certificate": std::fs::read_to_string(ca)?,
                    }
                }),
            )
            .await?;
        let _: Value =
            self.operator.post(&format!("/connections/{}/test", view.id), &json!({})).await?;
        let _: Value =
            self.operator.post(&format!("/connections/{}/discover", view.id), &json!({})).await?;
        Ok(view)
    }

    /// The host and its asset, once its agent has told what it is.
    async fn host(&mut self) -> anyhow::Result<(ConnectionId, AssetView)> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let hosts: Page<HostView> = self.operator.get("/hosts").await?;
            let assets: Page<AssetView> = self.operator.get("/assets?type=host").await?;
            let asset = assets.items.into_iter().next();
            if let (Some(host), Some(asset)) = (hosts.items.first(), asset) {
                return Ok((host.connection_id, asset));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the sandbox agent did not enrol in time; its log is beside the sandbox's files")
    }

    async fn make_changes(
        &self,
        shop: ConnectionView,
        (host, machine): (ConnectionId, AssetView),
    ) -> anyhow::Result<()> {
        let role = |name: &str| format!("{}/role/{name}", shop.name);
        let on_shop = |title, kind, target: String| (title, kind, shop.id, target, json!({}));
        let on_host =
            |title, kind, parameters| (title, kind, host, machine.id.to_string(), parameters);

        let undone = self
            .complete(on_shop(
                "Lock the reporting account while its key is examined",
                "postgres.lock_user",
                role("reporting"),
            ))
            .await?;
        self.roll_back(&undone).await?;
        let undone = self
            .complete(on_host(
                "Turn the debug switch of the shop off",
                "host.set_file_content",
                json!({ "path": "/etc/shop/app.toml", "content": "workers = 4\ndebug = false\n" }),
            ))
            .await?;
        self.roll_back(&undone).await?;
        self.complete(on_shop(
            "Lock the intern's account: internship over",
            "postgres.lock_user",
            role("intern"),
        ))
        .await?;
        self.complete(on_host(
            "Announce the maintenance on Saturday",
            "host.set_file_content",
            json!({ "path": "/etc/motd", "content": "Welcome to web-1.\nMaintenance on Saturday, 06:00 UTC.\n" }),
        ))
        .await?;
        let refused = self
            .submit(on_shop(
                "Drop the batch user nobody remembers",
                "postgres.drop_user",
                role("legacy_batch"),
            ))
            .await?;
        let [first, _] = &self.approvers;
        let reason = json!({ "reason": "The night batch still logs in with it. Lock it first." });
        let _: Value =
            first.post(&format!("/change-requests/{}/reject", refused.id), &reason).await?;
        let approved = self
            .submit(on_host(
                "Take the write bit for everybody off the backup script",
                "host.set_file_permission",
                json!({ "path": "/etc/shop/backup.sh", "mode": "0755" }),
            ))
            .await?;
        self.approve(&approved).await?;
        self.submit(on_shop(
            "Lock the contractor: contract ended",
            "postgres.lock_user",
            role("contractor"),
        ))
        .await?;
        self.draft(on_shop(
            "Rotate the password of the order service",
            "postgres.rotate_user_password",
            role("app_orders"),
        ))
        .await?;
        Ok(())
    }

    async fn draft(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let (title, change_type, connection_id, target, parameters) = wish;
        let body = json!({
            "title": title,
            "reason": "Made by the demo, to have something to look at.",
            "change_type": change_type,
            "connection_id": connection_id,
            "targets": [target],
            "parameters": parameters,
        });
        Ok(self.operator.post("/change-requests", &body).await?)
    }

    async fn submit(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let draft = self.draft(wish).await?;
        let _: Value = self.act(&draft, "plan").await?;
        self.act(&draft, "submit").await
    }

    async fn approve(&self, change: &ChangeView) -> anyhow::Result<()> {
        let id = change.id;
        let digest = change.plan.as_ref().map(|plan| plan.digest.clone());
        for approver in &self.approvers {
            let now: ChangeView = approver.get(&format!("/change-requests/{id}")).await?;
            if now.state == ChangeState::Submitted {
                let body = json!({ "plan_digest": digest, "comment": "Looks right." });
                let _: Value =
                    approver.post(&format!("/change-requests/{id}/approve"), &body).await?;
            }
        }
        Ok(())
    }

    async fn complete(&self, wish: Wish<'_>) -> anyhow::Result<ChangeView> {
        let change = self.submit(wish).await?;
        self.approve(&change).await?;
        let _: Value = self.act(&change, "execute").await?;
        self.settled(&change, ChangeState::Complete).await?;
        Ok(change)
    }

    async fn roll_back(&self, change: &ChangeView) -> anyhow::Result<()> {
        let rollback: ChangeView = self.act(change, "rollback").await?;
        self.approve(&rollback).await?;
        let _: Value = self.act(&rollback, "execute").await?;
        self.settled(change, ChangeState::RolledBack).await
    }

    async fn settled(&self, change: &ChangeView, wanted: ChangeState) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let now: ChangeView =
                self.operator.get(&format!("/change-requests/{}", change.id)).await?;
            if now.state == wanted {
                return Ok(());
            }
            let moving = !now.state.is_settled() || now.state == ChangeState::Complete;
            if !moving || Instant::now() >= until {
                bail!(
                    "the demo's change '{}' became {} instead of {}: {}",
                    now.title,
                    now.state.as_str(),
                    wanted.as_str(),
                    now.closing_reason.unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn act<T: serde::de::DeserializeOwned>(
        &self,
        change: &ChangeView,
        verb: &str,
    ) -> anyhow::Result<T> {
        Ok(self
            .operator
            .post(&format!("/change-requests/{}/{verb}", change.id), &json!({}))
            .await?)
    }
}

/// Title, action, connection, target, parameters.
type Wish<'a> = (&'a str, &'a str, ConnectionId, String, Value);

async fn stop_agent(agent: &mut Child) {
    if let Some(pid) =
        agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_secs(5), agent.wait()).await.is_err() {
        let _ = agent.kill().await;
    }
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn tell(people: &[Somebody], api: &str, dir: &Path, took: Duration) {
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
  1. {api}/            sign in as olivia: eight changes and two rollbacks, in different states
  2. open 'Lock the contractor', look at plan and risk; olivia cannot approve it
  3. sign in as arun in a private window: {api}/approvals, approve it
  4. as olivia, execute it, and roll it back
  5. as audrey: {api}/audit has every step

The host's files are below {}.",
        dir.join("host").display()
    ));
}
