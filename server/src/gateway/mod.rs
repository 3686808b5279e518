//! Mutual TLS for host agents: enrolment, long-poll, orders and receipts.
//!
//! Agents call; nothing here ever calls an agent. A held poll costs an entry in memory: the database
//! is asked when an agent comes and when there is something for it. Orders are signed when they are
//! stored and answered by receipts that only the agent can sign; this part stores them and can make
//! none. It owns no rule about hosts: the rest of the server decides through [`HostRegistry`] who
//! exists and who may act, and hears who comes and goes.
//!
//! | Module | Holds |
//! |---|---|
//! | `admission` | who gets in when many come at once |
//! | `arrival` | where agents are, noted for many at a time |
//! | [`authority`] | the two certificate authorities, and the key that signs orders |
//! | [`dispatcher`] | from an order to its receipt |
//! | [`job`] | orders and receipts in the database |
//! | [`ledger`] | orders and receipts of a host, as people read them |
//! | [`presence`] | which agents are here right now |
//! | [`refusal`] | what was refused, on its way into the log |
//! | [`token`] | enrolment tokens |
//! | [`release`] | programs of the agent, for agents to fetch |
//! | `tls`, `listener`, `route` | whose certificate is accepted; the accept loop; the routes |

mod admission;
mod arrival;
pub mod authority;
pub mod dispatcher;
pub mod job;
pub mod ledger;
mod listener;
pub mod presence;
pub mod refusal;
pub mod release;
mod route;
pub mod tls;
pub mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use nexplane_core::host::event::Certificate;
use nexplane_core::id::{GatewayId, HostId, PersonId};
use nexplane_core::time::Timestamp;
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use arrival::Arrivals;
use authority::{Authority, AuthorityError, GATEWAY_CERTIFICATE_S, GatewayKeys};
use dispatcher::Dispatcher;
use job::Wake;
use listener::Listener;
use presence::{Held, Presence, Slot};
use refusal::{Refusals, Telling};
use release::Releases;
use tls::{OwnCertificate, TlsError};
use token::TokenError;

/// How often a gateway says that it lives, and looks for hosts of gateways that do not.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(20);
/// Connections that the kernel keeps until they are accepted, as far as it is willing to
/// (`net.core.somaxconn`): agents that return at once need not try again.
const BACKLOG: u32 = 16_384;
/// Hosts of which it is told at the same time that they are offline.
const TOLD_AT_ONCE: usize = 16;
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// How often it is looked whether hosts that hold a poll may still act; in memory.
const STANDING_EVERY: Duration = Duration::from_secs(4);

/// What the rest of the server decides about hosts, and hears of them.
///
/// Calls for one host come one after the other. An error is logged here; what comes and goes is told
/// again at the next occasion.
#[async_trait]
pub trait HostRegistry: Send + Sync {
    /// A token was redeemed: the host exists from now on. Telling it twice is no harm:
    /// [`RegistryError::AlreadyEnrolled`].
    async fn enroll(&self, host: NewHost) -> Result<Enrolled, RegistryError>;

    /// The host has another certificate.
    async fn renewed(&self, host: HostId, certificate: Certificate) -> Result<(), RegistryError>;

    /// The host's agent polls.
    async fn came_online(&self, host: HostId) -> Result<(), RegistryError>;

    /// The host's agent has been silent for [`presence::SILENCE`].
    async fn went_offline(&self, host: HostId, reason: &str) -> Result<(), RegistryError>;

    /// The host owner's policy file has this hash; told once per gateway and change, and at the
    /// agent's first poll.
    async fn policy_changed(
        &self,
        host: HostId,
        policy_hash: Option<String>,
    ) -> Result<(), RegistryError>;

    /// The host's agent says that it runs in this version; told once per gateway and change, and at the agent's
    /// first poll.
    async fn agent_changed(&self, host: HostId, agent_version: &str) -> Result<(), RegistryError>;

    /// Something was refused. Told one after the other, and again with the same id when it was
    /// [`RegistryError::Unavailable`].
    async fn refused(&self, telling: &Telling) -> Result<(), RegistryError>;

    /// The host must be locked.
    async fn lock(&self, host: HostId, reason: &str) -> Result<(), RegistryError>;

    /// Whether the host may act. Asked for every request, so it answers from memory; what it learns
    /// later ends a held poll within 4 s, and [`Gateway::revoke`] ends it at once.
    fn standing(&self, host: HostId, key_hash: &str) -> Standing;

    /// Whether the log says that the host is online, as far as it is known here.
    fn is_online(&self, host: HostId) -> bool;
}

/// A host whose agent has shown a token.
#[derive(Clone, Debug)]
pub struct NewHost {
    pub host: HostId,
    pub hostname: String,
    pub agent_version: String,
    pub policy_hash: Option<String>,
    pub certificate: Certificate,
}

/// What became of a new host.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The external key of the host's asset, by which approved steps name it.
    pub name: String,
}

/// Whether a host may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    Unknown,
    Locked,
    Revoked,
}

/// Why the registry did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("'{name}' is enrolled already")]
    AlreadyEnrolled { name: String },
    /// The domain says no.
    #[error("{detail}")]
    Rejected { code: &'static str, detail: String },
    #[error("the log is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RegistryError {
    fn log(&self, host: HostId, what: &str) {
        tracing::warn!(host.id = %host, error = self as &dyn std::error::Error, "{what}");
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}; choose another address with --gateway-listen")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the gateway could not be registered")]
    Database(#[from] sqlx::Error),
}

/// How a gateway is started.
pub struct GatewayOptions {
    /// Port 0 picks one.
    pub listen: SocketAddr,
    /// Names and addresses by which agents reach it, besides this machine's own; the first one is in
    /// [`Gateway::url`].
    pub names: Vec<String>,
    pub keys: GatewayKeys,
    pub pool: PgPool,
    pub hosts: Arc<dyn HostRegistry>,
    /// How long an agent counts as online after its last sign of life: [`presence::SILENCE`], less in
    /// tests.
    pub silence: Duration,
    /// Programs that agents may be updated to.
    pub releases: Releases,
}

impl std::fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayOptions")
            .field("listen", &self.listen)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// A running gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    url: String,
    tasks: TaskTracker,
    /// Tells what was refused, until nothing more is.
    recorder: TaskTracker,
    quiet: CancellationToken,
}

/// What every request needs.
pub(crate) struct Shared {
    /// This gateway, among those of other servers.
    pub id: Uuid,
    pub pool: PgPool,
    pub authority: Arc<Authority>,
    pub hosts: Arc<dyn HostRegistry>,
    pub presence: Arc<Presence>,
    pub arrivals: Arrivals,
    pub refusals: Arc<Refusals>,
    pub dispatcher: Dispatcher,
    pub releases: Releases,
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts listening. On return agents are served.
    pub async fn start(options: GatewayOptions) -> Result<Self, StartError> {
        let GatewayOptions { listen, names, keys, pool, hosts, silence, releases } = options;
        let failed = |source| StartError::Listen { address: listen, source };
        let socket = bind(listen).map_err(failed)?;
        let local_addr = socket.local_addr().map_err(failed)?;
        let authority = Arc::new(Authority::open(&keys)?);
        drop(keys);
        let url = url(names.first(), local_addr);
        let own = Arc::new(OwnCertificate::new(&authority, all_names(names), now())?);
        let config = tls::config(&authority, Arc::clone(&own))?;

        let id = Uuid::now_v7();
        let stop = CancellationToken::new();
        let presence = Arc::new(Presence::new(silence));
        let dispatcher =
            Dispatcher::new(pool.clone(), Arc::clone(&authority), Arc::clone(&presence), id);
        let (arrivals, queue) = arrival::channel();
        tokio::spawn(queue.run(pool.clone(), id));
        let refusals = Arc::new(Refusals::default());
        let (recorder, quiet) = (TaskTracker::new(), CancellationToken::new());
        let (telling, heard, until) = (Arc::clone(&refusals), Arc::clone(&hosts), quiet.clone());
        recorder.spawn(async move { telling.run(GatewayId(id), heard.as_ref(), until).await });
        let stops = stop.clone();
        let shared = Arc::new(Shared {
            id,
            pool,
            authority,
            hosts,
            presence,
            arrivals,
            refusals,
            dispatcher,
            releases,
            stop: stops,
        });
        shared.heartbeat().await?;

        let tasks = TaskTracker::new();
        let router = route::router(Arc::clone(&shared));
        let (authority, refusals) = (Arc::clone(&shared.authority), Arc::clone(&shared.refusals));
        let listener = Listener::new(config, authority, refusals, router);
        tasks.spawn(listener.serve(socket, stop.clone()));
        let dispatcher = shared.dispatcher.clone();
        let stopping = stop.clone();
        tasks.spawn(async move { dispatcher.listen(stopping).await });
        let watcher = Arc::clone(&shared);
        tasks.spawn(async move {
            let both = async { tokio::join!(watcher.watch_held(), watcher.live()) };
            watcher.stop.run_until_cancelled(both).await;
        });
        let housekeeper = Arc::clone(&shared);
        tasks.spawn(async move {
            stop.run_until_cancelled(housekeeper.keep_house(&own)).await;
        });
        Ok(Self { shared, local_addr, url, tasks, recorder, quiet })
    }

    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where agents reach it.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The authority that agents pin.
    pub fn ca_pem(&self) -> &str {
        &self.shared.authority.gateway_ca_pem
    }

    /// Orders agents. Works for agents of other gateways too.
    pub fn dispatcher(&self) -> Dispatcher {
        self.shared.dispatcher.clone()
    }

    /// A one-time token for the enrolment of one host.
    pub async fn invite(
        &self,
        hostname: Option<&str>,
        ttl_s: u32,
        by: PersonId,
    ) -> Result<String, TokenError> {
        token::create(&self.shared.pool, hostname, ttl_s, by).await
    }

    /// Refuses everything that the host says from now on, here at once and at other gateways as soon
    /// as they hear of it. Whether it stays so is the registry's to say.
    pub async fn revoke(&self, host: HostId) {
        self.shared.presence.deny(host);
        let told = async {
            let mut connection = self.shared.pool.acquire().await?;
            Wake::Deny(host).send(&mut connection, self.shared.id).await
        };
        if let Err(error) = told.await {
            tracing::warn!(
                host.id = %host,
                error = &error as &dyn std::error::Error,
                "Other gateways were not told of the revocation; their registries know it"
            );
        }
    }

    /// How many polls are held right now.
    pub fn held_polls(&self) -> usize {
        self.shared.presence.held()
    }

    /// How often what was refused since this gateway started.
    pub fn refused(&self) -> Vec<refusal::Count> {
        self.shared.refusals.totals()
    }

    /// Whether the host's agent is connected to this gateway.
    pub fn is_online(&self, host: HostId) -> bool {
        self.shared.presence.is_online(host)
    }

    /// Answers held polls, lets requests end, records what was refused, and stops. Agents come back to wherever there is a
    /// gateway; nobody is reported offline for this.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.quiet.cancel();
        self.recorder.close();
        self.recorder.wait().await;
    }
}

impl Shared {
    /// Takes note of where an agent is, and tells the registry when that is news.
    async fn came(&self, host: HostId, held: &Held) {
        let mut told = held.slot.told_online.lock().await;
        if *told && !held.moved {
            return;
        }
        match self.arrivals.note(host).await {
            Ok(true) => held.slot.was_woken(),
            Ok(false) => held.slot.found_nothing(0),
            Err(error) => {
                RegistryError::Unavailable(error.into())
                    .log(host, "It was not noted where the host is");
                return;
            }
        }
        if !*told {
            match self.hosts.came_online(host).await {
                Ok(()) => *told = true,
                Err(error) => error.log(host, "That the host is online was not recorded"),
            }
        }
    }

    /// Ends the polls of hosts that may not act any more. Somebody else may have told that a host is
    /// offline which is here; then it is told again that it is not.
    async fn watch_held(&self) {
        let mut glance = tokio::time::interval(STANDING_EVERY);
        loop {
            glance.tick().await;
            for (host, slot) in self.presence.holding() {
                let may = |key: &str| self.hosts.standing(host, key) == Standing::Good;
                if !slot.goes_on(may) || self.hosts.is_online(host) {
                    continue;
                }
                let Ok(told) = slot.told_online.try_lock() else { continue };
                if *told && let Err(error) = self.hosts.came_online(host).await {
                    error.log(host, "That the host is online was not recorded");
                }
            }
        }
    }

    /// Tells of hosts that have gone silent, forgets what is old.
    async fn keep_house(&self, own: &OwnCertificate) {
        let mut sweep = tokio::time::interval(self.presence.silence() / 3);
        let mut round = tokio::time::interval(HEARTBEAT_EVERY);
        let mut forget = tokio::time::interval(FORGET_EVERY);
        let third = Duration::from_secs(GATEWAY_CERTIFICATE_S.unsigned_abs() / 3);
        let mut renew = tokio::time::interval_at(tokio::time::Instant::now() + third, third);
        loop {
            let kept = tokio::select! {
                _ = sweep.tick() => {
                    self.sweep().await;
                    Ok(())
                }
                _ = round.tick() => self.round().await,
                _ = forget.tick() => job::forget_old_questions(&self.pool).await.map(drop),
                _ = renew.tick() => {
                    if let Err(error) = own.renew(&self.authority, now()) {
                        tracing::error!(error = &error as &dyn std::error::Error,
                            "The gateway's certificate was not renewed; it is tried again later");
                    }
                    Ok(())
                }
            };
            if let Err(error) = kept {
                tracing::warn!(error = &error as &dyn std::error::Error, "Housekeeping failed");
            }
        }
    }

    async fn sweep(&self) {
        let silent = stream::iter(self.presence.silent());
        silent.for_each_concurrent(TOLD_AT_ONCE, |(host, slot)| self.fell_silent(host, slot)).await;
    }

    async fn fell_silent(&self, host: HostId, slot: Arc<Slot>) {
        let mut told = slot.told_online.lock().await;
        // It may have come back while we waited for the lock.
        if !*told || self.presence.is_here(&slot) {
            return;
        }
        match self.went(host).await {
            Ok(()) => *told = false,
            Err(error) => error.log(host, "That the host is offline was not recorded"),
        }
    }

    /// Tells that a host is offline, unless it is at another gateway meanwhile.
    async fn went(&self, host: HostId) -> Result<(), RegistryError> {
        let unavailable = |error: sqlx::Error| RegistryError::Unavailable(error.into());
        let ours: Option<bool> = sqlx::query_scalar(
            "SELECT gateway_id = $2 FROM nexplane.agent_hosts WHERE host_id = $1",
        )
        .bind(host.0)
        .bind(self.id)
        .fetch_optional(&self.pool)
        .await
        .map_err(unavailable)?
        .flatten();
        if ours != Some(true) {
            return Ok(());
        }
        self.hosts.went_offline(host, "its agent stopped polling").await?;
        sqlx::query(
            "UPDATE nexplane.agent_hosts SET gateway_id = NULL
             WHERE host_id = $1 AND gateway_id = $2",
        )
        .bind(host.0)
        .bind(self.id)
        .execute(&self.pool)
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    /// Says that this gateway lives, whatever else there is to do: others tell of its hosts that they
    /// are offline once it has been silent for a minute.
    async fn live(&self) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
        loop {
            heartbeat.tick().await;
            if let Err(error) = self.heartbeat().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "A heartbeat was left out"
                );
            }
        }
    }

    /// Looks after what was left lying.
    async fn round(&self) -> Result<(), sqlx::Error> {
        self.inherit().await?;
        // Nobody else looks for an order whose wake-up was lost.
        for host in job::hosts_with_orders(&self.pool).await? {
            self.presence.wake(host);
        }
        Ok(())
    }

    async fn heartbeat(&self) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO nexplane.agent_gateways (gateway_id) VALUES ($1)
             ON CONFLICT (gateway_id) DO UPDATE SET seen_at = now()",
        )
        .bind(self.id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Tells of hosts whose gateway is gone and that came to no other.
    async fn inherit(&self) -> Result<(), sqlx::Error> {
        let left: Vec<Uuid> = sqlx::query_scalar(
            "UPDATE nexplane.agent_hosts SET gateway_id = NULL
             WHERE gateway_id IS NOT NULL AND gateway_id NOT IN (
                 SELECT gateway_id FROM nexplane.agent_gateways
                 WHERE seen_at > now() - interval '60 seconds')
             RETURNING host_id",
        )
        .fetch_all(&self.pool)
        .await?;
        let left = stream::iter(left.into_iter().map(HostId));
        left.for_each_concurrent(TOLD_AT_ONCE, |host| self.was_left(host)).await;
        sqlx::query("DELETE FROM nexplane.agent_gateways WHERE seen_at < now() - interval '1 day'")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn was_left(&self, host: HostId) {
        let reason = "its gateway stopped, and its agent came to no other";
        if let Err(error) = self.hosts.went_offline(host, reason).await {
            error.log(host, "That the host is offline was not recorded");
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The configured names, and those of this machine.
fn all_names(names: Vec<String>) -> Vec<String> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut all = names;
    for own in ["localhost", "127.0.0.1", "::1", &hostname] {
        let usable = own.parse::<IpAddr>().is_ok() || nexplane_core::host::is_hostname(own);
        if usable && !all.iter().any(|name| name == own) {
            all.push(own.to_owned());
        }
    }
    all
}

fn url(name: Option<&String>, address: SocketAddr) -> String {
    let port = address.port();
    match name.map(|name| (name, name.parse::<IpAddr>())) {
        Some((_, Ok(IpAddr::V6(address)))) => format!("https://[{address}]:{port}"),
        Some((name, _)) => format!("https://{name}:{port}"),
        None => format!("https://127.0.0.1:{port}"),
    }
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}
