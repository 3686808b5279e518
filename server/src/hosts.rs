//! Agents and the rest of the server: what the gateway sees becomes events, and what the events say
//! about a host is what the gateway lets in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use async_trait::async_trait;
use nexplane_connectors::host::HostJobs;
use nexplane_core::aggregate::{Principal, Reject as _};
use nexplane_core::event::Event;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::host::{Host, HostCommand, HostRejection, HostState};
use nexplane_core::id::{Category, HostId};
use nexplane_projections::hosts;
use nexplane_store::log::{Cursor, Log};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::gateway::authority::GatewayKeys;
use crate::gateway::{
    Enrolled, Gateway, GatewayOptions, HostRegistry, NewHost, RegistryError, Standing, presence,
};
use crate::open::{self, Opened, write_private};
use crate::stream::{self, Request, StreamError};

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

/// Starts the gateway with the installation's keys.
pub async fn start(
    opened: &Opened,
    listen: SocketAddr,
    names: &[String],
    stop: CancellationToken,
) -> anyhow::Result<Hosts> {
    let made = || Ok(GatewayKeys::generate(stream::now())?.to_bytes());
    let bytes = open::key(&opened.directory, &opened.vault, "gateway", made).await?;
    let keys = GatewayKeys::from_bytes(&bytes)?;
    let registry = Arc::new(Registry::load(&opened.log, &opened.pool).await?);
    tokio::spawn(Arc::clone(&registry).follow(stop));
    let gateway = Gateway::start(GatewayOptions {
        listen,
        names: names.to_vec(),
        keys,
        pool: opened.pool.clone(),
        hosts: registry,
        silence: presence::SILENCE,
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
}

#[derive(Clone, Debug)]
struct Known {
    standing: Standing,
    /// The newest key, and the one before it: an agent uses that until it has stored the new one.
    keys: [Option<String>; 2],
}

impl Registry {
    async fn load(log: &Log, pool: &PgPool) -> anyhow::Result<Self> {
        let from = Cursor::end(log.head().await?);
        let mut known = HashMap::new();
        for credential in hosts::credentials(pool).await? {
            let host = credential.host;
            let state = stream::load::<Host>(log, host.into()).await?.state;
            known.extend(known_as(&state).map(|entry| (host, entry)));
        }
        Ok(Self { log: log.clone(), from, known: RwLock::new(known) })
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
                                    self.learn(HostId(recorded.header.stream.id), event);
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

    fn learn(&self, host: HostId, event: &HostEvent) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            HostEvent::Enrolled { certificate, .. } => {
                let keys = [Some(certificate.key_hash.clone()), None];
                known.insert(host, Known { standing: Standing::Good, keys });
            }
            HostEvent::Renewed { certificate } => {
                if let Some(known) = known.get_mut(&host) {
                    let [newest, _] = &known.keys;
                    if newest.as_ref() != Some(&certificate.key_hash) {
                        known.keys = [Some(certificate.key_hash.clone()), newest.clone()];
                    }
                }
            }
            HostEvent::Locked { .. } => {
                known.entry(host).and_modify(|known| known.standing = Standing::Locked);
            }
            HostEvent::Revoked { .. } => {
                known.entry(host).and_modify(|known| known.standing = Standing::Revoked);
            }
            HostEvent::CameOnline {}
            | HostEvent::WentOffline { .. }
            | HostEvent::PolicyChanged { .. } => {}
        }
    }

    async fn tell(&self, host: HostId, command: HostCommand) -> Result<(), RegistryError> {
        let request = Request::once(Principal::SYSTEM, stream::now());
        let done = stream::execute::<Host>(&self.log, host.into(), &request, command).await;
        let done = done.map_err(refusal)?;
        for event in &done.events {
            self.learn(host, event);
        }
        Ok(())
    }
}

fn known_as(state: &HostState) -> Option<Known> {
    let key = |certificate: &Certificate| [Some(certificate.key_hash.clone()), None];
    Some(match state {
        HostState::Absent => return None,
        HostState::Offline(phase) => {
            Known { standing: Standing::Good, keys: key(&phase.enrolment.certificate) }
        }
        HostState::Online(phase) => {
            Known { standing: Standing::Good, keys: key(&phase.enrolment.certificate) }
        }
        HostState::Locked(phase) => {
            Known { standing: Standing::Locked, keys: key(&phase.enrolment.certificate) }
        }
        HostState::Revoked(phase) => {
            Known { standing: Standing::Revoked, keys: key(&phase.certificate) }
        }
    })
}

fn refusal(error: StreamError<HostRejection>) -> RegistryError {
    match error {
        StreamError::Rejected(rejection) => {
            RegistryError::Rejected { code: rejection.code(), detail: rejection.to_string() }
        }
        StreamError::Stale { .. } | StreamError::Read { .. } | StreamError::Append { .. } => {
            RegistryError::Unavailable(error.into())
        }
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
        self.tell(host, HostCommand::ReportPolicy { host, policy_hash }).await
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
}
