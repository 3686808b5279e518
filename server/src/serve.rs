//! A running server: starts the parts in their order, and stops them in the opposite one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::middleware::from_fn;
use nexplane_connectors::host::{HostJobs, SignedOutcome};
use nexplane_connectors::sdk::{Advice, ConnectorError, Egress, EgressRules, ErrorKind, Registry};
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::Order;
use nexplane_projections::{Options as ProjectionOptions, Projections, Role};
use nexplane_store::log::Cursor;
use nexplane_store::log::seal::Seals;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::app::{App, Parts};
use crate::auth::{self, Throttle};
use crate::config::ServerOptions;
use crate::gateway::release::Releases;
use crate::hosts;
use crate::metrics::Metrics;
use crate::open::{self, Opened};
use crate::problem::chain;
use crate::replay::{Guest, Replay};
use crate::runtime::{
    self, Discoverer, Engine, EngineOptions, Limiter, Planner, Reactor, Spool, Targets, UnderWay,
};
use crate::seal;
use crate::secret_folder::SecretFolder;
use crate::stream;
use crate::web;

/// How long a start waits for the read model of hosts.
const HOSTS_WITHIN: Duration = Duration::from_mins(1);
/// Nothing is ever leased in a replay.
const REPLAY_LEASE: Duration = Duration::from_secs(30);
/// Seconds that the link for the first admin works.
const FIRST_RUN_S: i64 = 24 * 60 * 60;

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    pub app: App,
    pub ready: Ready,
    opened: Opened,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What `--ready-json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    ready: bool,
    pub api: String,
    pub gateway: String,
    pub ca: String,
    pub first_run: Option<String>,
}

/// Starts a server. On return it answers.
pub async fn start(options: &ServerOptions) -> anyhow::Result<Running> {
    raise_file_limit();
    let listen = options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8000)));
    let gateway_listen = options.gateway_listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8443)));
    let folder = SecretFolder::within(options.secrets_dir.clone())?;
    let (listener, address) = bind(listen).await?;
    let public_url = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

    let opened = open::open_for_load(&options.base).await?;
    let Opened { pool, log, .. } = &opened;
    if opened.cluster.is_some() {
        // A private database has one server: whoever had a lease is gone.
        runtime::clear_leases(pool).await?;
    }
    let projections = Projections::open(
        pool.clone(),
        log.clone(),
        nexplane_projections::all(),
        ProjectionOptions::default(),
    )
    .await?;
    projections.start(Role::Worker);
    // Who may act is read from the read model of hosts, so it has to be whole.
    let head = log.head().await?;
    if let Some(last) = head.next_position.checked_sub(1) {
        let hosts = projections.wait_for_some(&["hosts"], last, HOSTS_WITHIN).await;
        hosts.context(
            "the read model of hosts does not catch up; 'nexplane projections list' tells why",
        )?;
    }

    let stop = CancellationToken::new();
    let (from, names) = (Cursor::end(head), &options.gateway_names);
    let releases = Releases::within(options.agent_releases.clone());
    let hosts = hosts::start(&opened, from, gateway_listen, names, releases, stop.clone()).await?;
    let (seals, sealer) = seal::start(&opened).await?;
    let log_key = sealer.as_ref().map(|sealer| sealer.key().verifier().to_string());
    let spool = Spool::open(&opened.data_dir)
        .with_context(|| format!("cannot keep outcomes in {}", opened.data_dir.display()))?;
    let local = Local { engine: options.engine(), spool, folder };
    let app = App::new(Parts {
        gateway: Some(hosts.gateway),
        demo: options.demo,
        ..parts(&opened, &projections, hosts.jobs, seals, log_key, local).await?
    });
    let (engine, discoverer) = (app.engine.clone(), app.discoverer.clone());
    let planner = app.planner.clone();

    let tasks = TaskTracker::new();
    if let Some(sealer) = sealer {
        let stopping = stop.clone();
        if let Some(path) = &options.witness_policy {
            let witnesses = seal::witnesses(&opened, path).await?;
            tasks.spawn(witnesses.run(sealer.signed(), stop.clone()));
        }
        tasks.spawn(async move {
            if let Err(error) = sealer.run(stopping).await {
                tracing::error!(cause = %chain(&error), "the log is no longer sealed");
            }
        });
    } else if options.witness_policy.is_some() {
        tracing::warn!("this server does not seal the log, so it shows nothing to witnesses");
    }
    let teller = engine.clone();
    tasks.spawn(async move { teller.empty_spool().await });
    let reactor = Reactor {
        discoveries: UnderWay::default(),
        pool: pool.clone(),
        log: log.clone(),
        projections: projections.clone(),
        engine,
        discoverer,
        planner,
        targets: app.targets.clone(),
        lease: options.engine().lease,
    };
    tasks.spawn(reactor.run(stop.clone()));
    tasks.spawn(answer(listener, app.clone(), stop.clone()));

    let first_run = first_run_link(&opened, &public_url).await?;
    let gateway = app.gateway.as_ref().map(crate::gateway::Gateway::url).unwrap_or_default();
    let ready = Ready {
        ready: true,
        api: format!("http://{address}"),
        gateway,
        ca: hosts.ca_path.display().to_string(),
        first_run,
    };
    Ok(Running { app, ready, opened, stop, tasks })
}

/// Each agent is an open file, and the limit is usually a low one that programs may raise themselves.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files was not raised");
    }
}

/// Before anything else is started: a port in use is the commonest reason to fail.
async fn bind(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; choose another address with --listen")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// What a process has on its own machine, and how it works.
#[derive(Default)]
struct Local {
    engine: EngineOptions,
    spool: Spool,
    folder: SecretFolder,
}

/// What handlers use, without a gateway.
async fn parts(
    opened: &Opened,
    projections: &Projections,
    hosts: Arc<dyn HostJobs>,
    seals: Seals,
    log_key: Option<String>,
    local: Local,
) -> anyhow::Result<Parts> {
    let Opened { pool, log, directory, vault, people, .. } = opened;
    let targets = Targets {
        log: log.clone(),
        registry: Arc::new(Registry::standard()),
        vault: vault.clone(),
        egress: Arc::new(Egress::new(EgressRules::default())),
        folder: local.folder,
        digest_key: open::digest_key(directory, vault).await?,
        hosts,
        limiter: Limiter::default(),
    };
    Ok(Parts {
        pool: pool.clone(),
        log: log.clone(),
        seals,
        log_key,
        projections: projections.clone(),
        directory: directory.clone(),
        people: people.clone(),
        vault: vault.clone(),
        planner: Planner::new(targets.clone()),
        discoverer: Discoverer { targets: targets.clone(), log: log.clone(), pool: pool.clone() },
        engine: Engine::new(pool.clone(), targets.clone(), local.engine, local.spool),
        targets,
        gateway: None,
        guest: None,
        demo: false,
        metrics: Metrics::new(),
        throttle: Throttle::default(),
    })
}

/// Serves the API and the dashboard until `stop`.
async fn answer(listener: TcpListener, app: App, stop: CancellationToken) {
    let service = api::router(&app).merge(web::router()).layer(from_fn(web::protect));
    let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the API stopped");
    }
}

/// Serves a replay until `until` is done. `ready` is told the address, and the link for the guest.
pub async fn replay(
    replay: &Replay,
    listen: SocketAddr,
    log_key: Option<String>,
    ready: impl FnOnce(&str, &str) -> anyhow::Result<()>,
    until: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (listener, address) = bind(listen).await?;
    let opened = &replay.opened;
    let (guest, password) = Guest::invite(replay.moment.clone());
    let head = opened.log.head().await?;
    let seals = Seals::new(opened.pool.clone(), head.incarnation);
    let projections = &replay.projections;
    let engine = EngineOptions { lease: REPLAY_LEASE, ..EngineOptions::default() };
    let idle = Local { engine, ..Local::default() };
    let app = App::new(Parts {
        people: opened.people.with_guest(guest.id),
        guest: Some(guest),
        ..parts(opened, projections, Arc::new(NoHosts), seals, log_key, idle).await?
    });
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(answer(listener, app, stop.clone()));
    let api = format!("http://{address}");
    ready(&api, &Guest::link(&api, &password))?;
    until.await?;
    stop.cancel();
    drain(&tasks).await;
    Ok(())
}

/// In a replay there is nobody who could be given an order.
struct NoHosts;

#[async_trait]
impl HostJobs for NoHosts {
    async fn run(
        &self,
        _: HostId,
        _: Order,
        _: Duration,
        _: &str,
    ) -> Result<SignedOutcome, ConnectorError> {
        Err(ConnectorError::new(ErrorKind::Unreachable, Advice::Never, "a replay has no agents"))
    }

    async fn find(&self, _: HostId, _: &str) -> Result<Option<JobId>, ConnectorError> {
        Ok(None)
    }
}

/// Open WebSockets and slow downloads do not hold up a stop for long.
async fn drain(tasks: &TaskTracker) {
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
}

/// A one-time link for the first admin, while there is nobody.
async fn first_run_link(opened: &Opened, public_url: &str) -> anyhow::Result<Option<String>> {
    if !opened.directory.is_empty().await? {
        return Ok(None);
    }
    let token = auth::random_token("first");
    let until = stream::now().plus_seconds(FIRST_RUN_S);
    opened.directory.offer_first_run(&token, until).await?;
    // After '#': browsers keep it to themselves, so it is in no server's or proxy's log.
    Ok(Some(format!("{public_url}/first-run#token={token}")))
}

impl Running {
    /// Stops: no new requests, steps under way come to an end, everything is on disk.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.app.engine.stop().await;
        if let Some(gateway) = &self.app.gateway {
            gateway.shutdown().await;
        }
        drain(&self.tasks).await;
        self.app.projections.stop().await;
        self.opened.close().await
    }
}
