//! A gateway on a real database, a registry in memory, and real agents.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nexplane_agent::client::Client;
use nexplane_agent::config::{Config, Retention};
use nexplane_agent::deadman::Limit;
use nexplane_agent::host::LinuxHost;
use nexplane_agent::identity::Identity;
use nexplane_agent::keep::Keep;
use nexplane_agent::operation;
use nexplane_agent::poll::{self, Enrolment, Ready, RunError, Settings};
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::host::event::Certificate;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId, PersonId, RunId};
use nexplane_core::job::{Authority, Order};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef, Undoes};
use nexplane_core::time::Timestamp;
use nexplane_server::gateway::authority::GatewayKeys;
use nexplane_server::gateway::refusal::Telling;
use nexplane_server::gateway::release::Releases;
use nexplane_server::gateway::{
    Enrolled, Gateway, GatewayOptions, HostRegistry, NewHost, RegistryError, Standing,
};
use nexplane_store::testing::TestDatabase;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const RUN: RunId = RunId(Uuid::from_u128(0x40));
pub const SILENCE: Duration = Duration::from_millis(600);
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}

pub fn person() -> PersonId {
    PersonId(Uuid::from_u128(7))
}

/// What the log would know of hosts.
#[derive(Default)]
pub struct Registry {
    hosts: Mutex<HashMap<HostId, (String, Standing)>>,
    told: Mutex<Vec<(HostId, String)>>,
    versions: Mutex<Vec<(HostId, String)>>,
}

impl Registry {
    pub fn set(&self, host: HostId, standing: Standing) {
        if let Some(entry) = self.hosts.lock().unwrap().get_mut(&host) {
            entry.1 = standing;
        }
    }

    /// Lets a host in that enrolled elsewhere.
    pub fn admit(&self, host: HostId, name: &str) {
        self.hosts.lock().unwrap().insert(host, (name.to_owned(), Standing::Good));
    }

    /// What was told of a host, in order.
    pub fn told(&self, host: HostId) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|(about, _)| *about == host).map(|(_, what)| what.clone()).collect()
    }

    /// The versions that agents of a host said they are, in order.
    pub fn versions(&self, host: HostId) -> Vec<String> {
        let told = self.versions.lock().unwrap();
        told.iter()
            .filter(|(about, _)| *about == host)
            .map(|(_, version)| version.clone())
            .collect()
    }

    pub async fn until_told(&self, host: HostId, what: &str) {
        until(what, || self.told(host).iter().any(|told| told.starts_with(what))).await;
    }

    fn tell(&self, host: HostId, what: impl Into<String>) -> Result<(), RegistryError> {
        self.told.lock().unwrap().push((host, what.into()));
        Ok(())
    }
}

/// Waits until something is so; a test that waits too long has failed.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[async_trait]
impl HostRegistry for Registry {
    async fn enroll(&self, new: NewHost) -> Result<Enrolled, RegistryError> {
        if new.hostname == "unwanted" {
            let detail = "this host is not wanted".to_owned();
            return Err(RegistryError::Rejected { code: "host.unwanted", detail });
        }
        let mut hosts = self.hosts.lock().unwrap();
        if let Some((name, _)) = hosts.get(&new.host) {
            return Err(RegistryError::AlreadyEnrolled { name: name.clone() });
        }
        hosts.insert(new.host, (new.hostname.clone(), Standing::Good));
        drop(hosts);
        self.tell(new.host, "enrolled")?;
        Ok(Enrolled { name: new.hostname })
    }

    async fn renewed(&self, host: HostId, _: Certificate) -> Result<(), RegistryError> {
        self.tell(host, "renewed")
    }

    async fn came_online(&self, host: HostId) -> Result<(), RegistryError> {
        self.tell(host, "online")
    }

    async fn went_offline(&self, host: HostId, reason: &str) -> Result<(), RegistryError> {
        self.tell(host, format!("offline: {reason}"))
    }

    async fn policy_changed(
        &self,
        host: HostId,
        hash: Option<String>,
    ) -> Result<(), RegistryError> {
        self.tell(host, format!("policy {hash:?}"))
    }

    async fn agent_changed(&self, host: HostId, version: &str) -> Result<(), RegistryError> {
        self.versions.lock().unwrap().push((host, version.to_owned()));
        Ok(())
    }

    /// What becomes of it is the subject of `attacks`.
    async fn refused(&self, _: &Telling) -> Result<(), RegistryError> {
        Ok(())
    }

    async fn lock(&self, host: HostId, reason: &str) -> Result<(), RegistryError> {
        self.set(host, Standing::Locked);
        self.tell(host, format!("locked: {reason}"))
    }

    fn standing(&self, host: HostId, _key_hash: &str) -> Standing {
        self.hosts.lock().unwrap().get(&host).map_or(Standing::Unknown, |(_, standing)| *standing)
    }

    fn is_online(&self, _host: HostId) -> bool {
        true
    }
}

pub struct Rig {
    pub database: TestDatabase,
    pub registry: Arc<Registry>,
    pub gateway: Gateway,
    keys: Vec<u8>,
}

impl Rig {
    pub async fn new() -> Self {
        let database = TestDatabase::new().await;
        let registry = Arc::new(Registry::default());
        let keys = GatewayKeys::generate(now()).unwrap().to_bytes();
        let gateway = start(&database, &registry, &keys, "127.0.0.1:0").await;
        Self { database, registry, gateway, keys }
    }

    pub fn keys(&self) -> GatewayKeys {
        GatewayKeys::from_bytes(&self.keys).unwrap()
    }

    /// Another gateway of the same installation.
    pub async fn another(&self) -> Gateway {
        start(&self.database, &self.registry, &self.keys, "127.0.0.1:0").await
    }

    /// The gateway stops; a new process takes its place at the same address.
    pub async fn restart(&mut self) {
        let address = self.gateway.local_addr().to_string();
        self.gateway.shutdown().await;
        self.gateway = start(&self.database, &self.registry, &self.keys, &address).await;
    }

    pub async fn token(&self) -> String {
        self.gateway.invite(None, 900, person()).await.unwrap()
    }

    /// An enrolled identity without a running agent, in a directory of its own.
    pub async fn enroll(&self, name: &str) -> (TempDir, Identity) {
        let config = tempfile::tempdir().unwrap();
        let token = self.token().await;
        let (url, ca) = (self.gateway.url(), self.gateway.ca_pem());
        let keep = Keep::directory(config.path());
        let identity = Identity::enroll(&keep, &url, ca, &token, name, None).await.unwrap();
        (config, identity)
    }

    pub fn client(&self, identity: &Identity) -> Client {
        let Identity { ca_pem, certificate_pem, key_pem, .. } = identity;
        Client::new(&self.gateway.url(), ca_pem, certificate_pem, key_pem).unwrap()
    }

    pub async fn enrolment(&self, name: &str) -> Enrolment {
        Enrolment {
            control_plane: self.gateway.url(),
            ca_pem: self.gateway.ca_pem().to_owned(),
            token: self.token().await,
            name: Some(name.to_owned()),
        }
    }

    /// A real agent on a directory with `/etc/motd`.
    pub async fn agent(&self, name: &str) -> Agent {
        let enrolment = self.enrolment(name).await;
        Agent::start(sandbox(), tempfile::tempdir().unwrap(), enrolment).await
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.database.pool()).await.unwrap()
    }
}

async fn start(
    database: &TestDatabase,
    registry: &Arc<Registry>,
    keys: &[u8],
    listen: &str,
) -> Gateway {
    Gateway::start(GatewayOptions {
        listen: listen.parse().unwrap(),
        names: Vec::new(),
        keys: GatewayKeys::from_bytes(keys).unwrap(),
        pool: database.pool().clone(),
        hosts: Arc::clone(registry) as Arc<dyn HostRegistry>,
        silence: SILENCE,
        releases: Releases::within(None),
    })
    .await
    .unwrap()
}

/// A root directory with `/etc/motd`.
pub fn sandbox() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/motd"), "hello\n").unwrap();
    root
}

/// A running agent.
pub struct Agent {
    pub root: TempDir,
    pub config: TempDir,
    pub enrolment: Enrolment,
    pub host: HostId,
    pub name: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Agent {
    pub async fn start(root: TempDir, config: TempDir, enrolment: Enrolment) -> Self {
        let stop = CancellationToken::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let settings = Settings {
            config: Config::new(config.path()),
            root: root.path().to_owned(),
            retention: Retention::default(),
            dead_man: Limit::default(),
            enrolment: Some(enrolment.clone()),
        };
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            poll::run(settings, stopping.cancelled_owned(), |ready| {
                let _ = sender.send(ready);
            })
            .await
        });
        let Ready { host, name } =
            tokio::time::timeout(PATIENCE, receiver).await.unwrap().expect("the agent starts");
        Self { root, config, enrolment, host, name, stop, task }
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(self) -> (TempDir, TempDir, Enrolment) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        (self.root, self.config, self.enrolment)
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.path().join(file)).unwrap()
    }

    /// The order that an approved plan becomes, from the file as it is now.
    pub fn apply(&self, operation: &str, parameters: &Value) -> Order {
        let (step, authority) = self.step(operation, parameters, None);
        Order::Apply { step: Box::new(step), authority: Box::new(authority), prepared: None }
    }

    pub fn revert(
        &self,
        operation: &str,
        parameters: &Value,
        undoes: nexplane_core::id::JobId,
    ) -> Order {
        let undone = Some(Undoes { run: RUN, step: 0 });
        let (step, authority) = self.step(operation, parameters, undone);
        Order::Revert { step: Box::new(step), undoes, authority: Box::new(authority) }
    }

    fn step(
        &self,
        operation: &str,
        parameters: &Value,
        undoes: Option<Undoes>,
    ) -> (Step, Authority) {
        let host = LinuxHost::open(self.root.path(), &[]).unwrap();
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        let before = bound.snapshot(&host).unwrap().fingerprint;
        approved(operation, parameters, &self.name, &before, undoes)
    }
}

pub fn approved(
    operation: &str,
    parameters: &Value,
    name: &str,
    before: &str,
    undoes: Option<Undoes>,
) -> (Step, Authority) {
    let step = Step {
        no: 0,
        action: operation.into(),
        connection: ConnectionId(Uuid::from_u128(3)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(4)),
            kind: "host".into(),
            external_key: name.into(),
            name: name.into(),
        },
        parameters: parameters.clone(),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: before.into(),
        summary: "Does it.".into(),
        rollback: "Undoes it.".into(),
        diff: Vec::new(),
        undoes,
    };
    let header = PlanHeader {
        change: ChangeId(Uuid::from_u128(5)),
        change_type: operation.into(),
        connection: step.connection,
        targets: vec![step.target.asset],
        parameters: parameters.clone(),
        policy_version: 1,
        author: PersonId(Uuid::from_u128(6)),
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let plan = Plan::new(header, vec![step.clone()], Vec::new(), now());
    let authority = Authority {
        change: plan.header.change,
        run: RUN,
        epoch: 1,
        plan_digest: plan.digest.clone(),
        proof: plan.proof(),
        precondition: before.into(),
        approvals: vec![person()],
    };
    (step, authority)
}
