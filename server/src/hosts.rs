//! Agents and the rest of the server: what the gateway sees becomes events, and what the events say
//! about a host is what the gateway lets in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use async_trait::async_trait;
use nexplane_connectors::host::HostJobs;
use nexplane_core::aggregate::{Principal, Reject};
use nexplane_core::event::Event;
use nexplane_core::gateway::{Gateway as GatewayStream, GatewayCommand, GatewayState};
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::host::{Host, HostCommand};
use nexplane_core::id::{Category, GatewayId, HostId};
use nexplane_core::refusal::Refused;
use nexplane_projections::hosts;
use nexplane_store::log::{Cursor, Log};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::gateway::authority::GatewayKeys;
use crate::gateway::refusal::{Refusal, Telling};
use crate::gateway::release::Releases;
use crate::gateway::{
    Enrolled, Gateway, GatewayOptions, HostRegistry, NewHost, RegistryError, Standing, presence,
};
use crate::open::{self, Opened, write_private};
use crate::stream::{self, Loaded, Request, StreamError};

/// The gateway, and the way to agents.
pub struct Hosts {
    pub gateway: Gateway,
    pub jobs: Arc<dyn HostJobs>,
    /// The CA certificate that agents pin, as a file.
    pub ca_path: PathBuf,
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosts").field("ca_path", &self.ca_path).finish_non_exhaustive()
    }
}

/// Starts the gateway with the installation's keys. The read model of hosts has come to `from`.
pub async fn start(
    opened: &Opened,
    from: Cursor,
    listen: SocketAddr,
    names: &[String],
    releases: Releases,
    stop: CancellationToken,
) -> anyhow::Result<Hosts> {
    let made = || Ok(GatewayKeys::generate(stream::now())?.to_bytes());
    let bytes = open::key(&opened.directory, &opened.vault, "gateway", made).await?;
    let keys = GatewayKeys::from_bytes(&bytes)?;
    let registry = Arc::new(Registry::load(&opened.log, &opened.pool, from).await?);
    tokio::spawn(Arc::clone(&registry).follow(stop));
    let gateway = Gateway::start(GatewayOptions {
        listen,
        names: names.to_vec(),
        keys,
        pool: opened.pool.clone(),
        hosts: registry,
        silence: presence::SILENCE,
        releases,
    })
    .await
    .context("cannot start the agent gateway")?;
    let ca_path = opened.data_dir.join("gateway-ca.pem");
    write_private(&ca_path, gateway.ca_pem().as_bytes())?;
    let jobs = Arc::new(gateway.dispatcher());
    Ok(Hosts { gateway, jobs, ca_path })
}

/// Who may act, in memory; kept so by following the log.
#[derive(Debug)]
struct Registry {
    log: Log,
    /// Where the following of the log begins.
    from: Cursor,
    known: RwLock<HashMap<HostId, Known>>,
    /// The stream of this process's gateway, which nobody else writes.
    refused: tokio::sync::Mutex<Loaded<GatewayStream>>,
}

#[derive(Clone, Debug)]
struct Known {
    standing: Standing,
    /// The newest key, and the one before it: an agent uses that until it has stored the new one.
    keys: [Option<String>; 2],
    is_online: bool,
    policy_hash: Option<String>,
    /// What its agent last said that it is; none until it is heard here.
    agent_version: Option<String>,
    /// Of the host's stream, as far as it was heard here.
    version: u64,
}

impl Registry {
    async fn load(log: &Log, pool: &PgPool, from: Cursor) -> anyhow::Result<Self> {
        let credentials = hosts::credentials(pool).await?.into_iter();
        let known = credentials.map(|credential| (credential.host, Known::from(credential)));
        let nothing = Loaded { state: GatewayState, version: 0 };
        Ok(Self {
            log: log.clone(),
            from,
            known: RwLock::new(known.collect()),
            refused: tokio::sync::Mutex::new(nothing),
        })
    }

    /// What other servers and people do to hosts.
    async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut subscription = self.log.subscribe(self.from);
        loop {
            let batch = tokio::select! {
                batch = subscription.next() => batch,
                () = stop.cancelled() => return,
            };
            match batch {
                Ok(batch) => {
                    for stored in batch {
                        match stream::recorded(&stored) {
                            Ok(recorded) if recorded.header.stream.category == Category::Host => {
                                if let Event::Host(event) = &recorded.event {
                                    let host = HostId(recorded.header.stream.id);
                                    self.learn(host, recorded.header.version, event);
                                }
                            }
                            Ok(_) => {}
                            Err(error) => {
                                tracing::warn!(%error, "An event about hosts was not understood");
                            }
                        }
                    }
                }
                Err(nexplane_store::log::ReadError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "The log cannot be followed for hosts; trying again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Takes note of an event that was not heard before.
    fn learn(&self, host: HostId, version: u64, event: &HostEvent) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let HostEvent::Enrolled { certificate, policy_hash, agent_version, .. } = event {
            all.entry(host).or_insert_with(|| Known {
                standing: Standing::Good,
                keys: [Some(certificate.key_hash.clone()), None],
                is_online: false,
                policy_hash: policy_hash.clone(),
                agent_version: Some(agent_version.clone()),
                version,
            });
            return;
        }
        let Some(known) = all.get_mut(&host).filter(|known| known.version < version) else {
            return;
        };
        known.version = version;
        match event {
            HostEvent::Enrolled { .. } => {}
            HostEvent::Renewed { certificate } => {
                let [newest, _] = &known.keys;
                if newest.as_ref() != Some(&certificate.key_hash) {
                    known.keys = [Some(certificate.key_hash.clone()), newest.clone()];
                }
            }
            HostEvent::Locked { .. } => {
                (known.standing, known.is_online) = (Standing::Locked, false);
            }
            HostEvent::Revoked { .. } => {
                (known.standing, known.is_online) = (Standing::Revoked, false);
            }
            HostEvent::CameOnline {} => known.is_online = true,
            HostEvent::WentOffline { .. } => known.is_online = false,
            HostEvent::PolicyChanged { policy_hash } => known.policy_hash.clone_from(policy_hash),
            HostEvent::AgentChanged { agent_version } => {
                known.agent_version = Some(agent_version.clone());
            }
            HostEvent::Refused { .. }
            | HostEvent::OrderRefused { .. }
            | HostEvent::OrderDistrusted { .. } => {}
        }
    }

    async fn tell(&self, host: HostId, command: HostCommand) -> Result<(), RegistryError> {
        self.tell_as(&Request::once(Principal::SYSTEM, stream::now()), host, command).await
    }

    async fn tell_as(
        &self,
        request: &Request,
        host: HostId,
        command: HostCommand,
    ) -> Result<(), RegistryError> {
        let done = stream::execute::<Host>(&self.log, host.into(), request, command).await;
        let done = done.map_err(refusal)?;
        let before = done.version - done.events.len() as u64;
        for (version, event) in (before + 1..).zip(&done.events) {
            self.learn(host, version, event);
        }
        Ok(())
    }

    /// Records what cannot be laid to a host.
    async fn tell_of_nobody(
        &self,
        request: &Request,
        gateway: GatewayId,
        refused: Refused,
    ) -> Result<(), RegistryError> {
        let mut known = self.refused.lock().await;
        let command = GatewayCommand::RecordRefused { refused };
        let (log, from) = (&self.log, known.clone());
        let done =
            stream::execute_from::<GatewayStream>(log, gateway.into(), request, command, from)
                .await
                .map_err(refusal)?;
        *known = Loaded { state: done.state, version: done.version };
        Ok(())
    }

    /// Whether this is true of the host, as far as it is known here.
    fn knows(&self, host: HostId, what: impl FnOnce(&Known) -> bool) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&host).is_some_and(what)
    }
}

impl From<hosts::Credential> for Known {
    fn from(credential: hosts::Credential) -> Self {
        let standing = match (credential.is_revoked, credential.is_locked) {
            (true, _) => Standing::Revoked,
            (false, true) => Standing::Locked,
            (false, false) => Standing::Good,
        };
        Self {
            standing,
            keys: [Some(credential.key_hash), None],
            is_online: credential.is_online,
            policy_hash: credential.policy_hash,
            agent_version: Some(credential.agent_version),
            version: credential.version,
        }
    }
}

fn refusal<R: Reject>(error: StreamError<R>) -> RegistryError {
    match error {
        StreamError::Rejected(rejection) => {
            RegistryError::Rejected { code: rejection.code(), detail: rejection.to_string() }
        }
        StreamError::Disabled
        | StreamError::Stale { .. }
        | StreamError::Read { .. }
        | StreamError::Append { .. } => RegistryError::Unavailable(error.into()),
    }
}

#[async_trait]
impl HostRegistry for Registry {
    async fn enroll(&self, new: NewHost) -> Result<Enrolled, RegistryError> {
        let NewHost { host, hostname, agent_version, policy_hash, certificate } = new;
        let name = hostname.clone();
        let command = HostCommand::Enroll { hostname, agent_version, policy_hash, certificate };
        match self.tell(host, command).await {
            Ok(()) => Ok(Enrolled { name }),
            Err(RegistryError::Rejected { code: "host.already_enrolled", .. }) => {
                Err(RegistryError::AlreadyEnrolled { name })
            }
            Err(error) => Err(error),
        }
    }

    async fn renewed(&self, host: HostId, certificate: Certificate) -> Result<(), RegistryError> {
        self.tell(host, HostCommand::Renew { host, certificate }).await
    }

    async fn came_online(&self, host: HostId) -> Result<(), RegistryError> {
        // Ten thousand agents that return to a server which was restarted are no news.
        if self.is_online(host) {
            return Ok(());
        }
        self.tell(host, HostCommand::ComeOnline { host }).await
    }

    async fn went_offline(&self, host: HostId, reason: &str) -> Result<(), RegistryError> {
        self.tell(host, HostCommand::GoOffline { host, reason: reason.to_owned() }).await
    }

    async fn policy_changed(
        &self,
        host: HostId,
        policy_hash: Option<String>,
    ) -> Result<(), RegistryError> {
        if self.knows(host, |known| known.policy_hash == policy_hash) {
            return Ok(());
        }
        self.tell(host, HostCommand::ReportPolicy { host, policy_hash }).await
    }

    async fn agent_changed(&self, host: HostId, agent_version: &str) -> Result<(), RegistryError> {
        if self.knows(host, |known| known.agent_version.as_deref() == Some(agent_version)) {
            return Ok(());
        }
        let agent_version = agent_version.to_owned();
        self.tell(host, HostCommand::ReportAgent { host, agent_version }).await
    }

    async fn refused(&self, telling: &Telling) -> Result<(), RegistryError> {
        let Telling { id, gateway, refusal } = telling.clone();
        let request = Request::following(id, id, "refused", stream::now());
        match refusal {
            Refusal::Caller { host: Some(host), refused } if self.knows(host, |_| true) => {
                self.tell_as(&request, host, HostCommand::RecordRefused { refused }).await
            }
            Refusal::Caller { host: _, refused } => {
                self.tell_of_nobody(&request, gateway, refused).await
            }
            Refusal::Order { host, code, count, since, job, detail } => {
                let command = HostCommand::RecordOrderRefused { code, count, since, job, detail };
                self.tell_as(&request, host, command).await
            }
            Refusal::Distrusted { host, distrusted } => {
                let command = HostCommand::ReportDistrusted { host, distrusted };
                self.tell_as(&request, host, command).await
            }
        }
    }

    async fn lock(&self, host: HostId, reason: &str) -> Result<(), RegistryError> {
        self.tell(host, HostCommand::Lock { reason: reason.to_owned() }).await
    }

    fn standing(&self, host: HostId, key_hash: &str) -> Standing {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(&host) {
            Some(known) if known.keys.iter().flatten().any(|key| key == key_hash) => known.standing,
            Some(_) | None => Standing::Unknown,
        }
    }

    fn is_online(&self, host: HostId) -> bool {
        self.knows(host, |known| known.is_online)
    }
}
