//! A running server: starts the parts in their order, and stops them in the opposite one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use nexplane_connectors::sdk::{Egress, EgressRules, Registry};
use nexplane_projections::{Options as ProjectionOptions, Projections, Role};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::app::{App, Parts};
use crate::auth::{self, Throttle};
use crate::config::ServerOptions;
use crate::hosts;
use crate::metrics::Metrics;
use crate::open::{self, Opened};
use crate::problem::chain;
use crate::runtime::{self, Discoverer, Engine, EngineOptions, Planner, Reactor, Targets};
use crate::seal;
use crate::stream;
use crate::web;

/// How long a start waits for the read model of hosts.
const HOSTS_WITHIN: std::time::Duration = std::time::Duration::from_mins(1);
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
    let listen = options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8000)));
    let gateway_listen = options.gateway_listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8443)));
    // Before anything else is started: a port in use is the commonest reason to fail.
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; choose another address with --listen")
    })?;
    let address = listener.local_addr()?;
    let public_url = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

    let opened = open::open(&options.base).await?;
    let Opened { pool, log, directory, vault, people, .. } = &opened;
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
    let head = log.head().await?.next_position;
    if let Some(last) = head.checked_sub(1) {
        let hosts = projections.wait_for_some(&["hosts"], last, HOSTS_WITHIN).await;
        hosts.context(
            "the read model of hosts does not catch up; 'nexplane projections list' tells why",
        )?;
    }

    let registry = Arc::new(Registry::standard());
    let egress = Arc::new(Egress::new(EgressRules::default()));
    let digest_key = open::digest_key(directory, vault).await?;
    let stop = CancellationToken::new();
    let hosts = hosts::start(&opened, gateway_listen, &options.gateway_names, stop.clone()).await?;
    let targets = Targets {
        log: log.clone(),
        registry,
        vault: vault.clone(),
        egress,
        digest_key,
        hosts: hosts.jobs,
    };
    let discoverer = Discoverer { targets: targets.clone(), log: log.clone(), pool: pool.clone() };
    let engine_options = EngineOptions { lease: options.lease(), ..EngineOptions::default() };
    let engine = Engine::new(pool.clone(), targets.clone(), engine_options);
    let (seals, sealer) = seal::start(&opened).await?;
    let log_key = sealer.as_ref().map(|sealer| sealer.key().verifier().to_string());
    let app = App::new(Parts {
        pool: pool.clone(),
        log: log.clone(),
        seals,
        log_key,
        projections: projections.clone(),
        directory: directory.clone(),
        people: people.clone(),
        vault: vault.clone(),
        planner: Planner::new(targets.clone()),
        targets,
        discoverer: discoverer.clone(),
        engine: engine.clone(),
        gateway: Some(hosts.gateway),
        metrics: Metrics::new(),
        throttle: Throttle::default(),
    });

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
    }
    let reactor = Reactor { pool: pool.clone(), log: log.clone(), engine, discoverer };
    tasks.spawn(reactor.run(stop.clone()));
    let service = api::router(&app).merge(web::router());
    let stopping = stop.clone();
    tasks.spawn(async move {
        let served =
            axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the API stopped");
        }
    });

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
        self.tasks.close();
        // Open WebSockets and slow downloads do not hold up the stop for long.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.tasks.wait()).await;
        self.app.projections.stop().await;
        self.opened.close().await
    }
}
