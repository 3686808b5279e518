//! A fleet of agents in this process. Everything is the agent's own code (identity, key, TLS,
//! long-poll, runner, journal, receipts); only the machine is a simulated one, in memory, which counts
//! what is done to it. One runtime of its own serves all of them.
//!
//! ```ignore
//! let mut server = Server::start().await;
//! server.pin_gateway().await; // when the test restarts the server
//! let fleet = Fleet::enrol(&server, 200).await; // sim-00001 to sim-00200
//! fleet.until_online(&server).await;
//! let assets = fleet.assets(&server).await; // by name: what changes are asked for with
//! …
//! assert_eq!(fleet.effects("sim-00007"), 1);
//! assert_eq!(fleet.read("sim-00007", "/etc/motd").as_deref(), Some("hello\n"));
//! fleet.stop().await;
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use nexplane_agent::host::fake::Node;
use nexplane_agent::host::{
    Access, FakeHost, FileMeta, FileView, Held, Host, HostError, HostPath, Ids, Mode, SysctlKey,
    SystemFacts, Unit, UnitName,
};
use nexplane_agent::journal::Journal;
use nexplane_agent::keep::Keep;
use nexplane_agent::key::AgentKey;
use nexplane_agent::policy::{self, Policy};
use nexplane_agent::poll::{self, Enrolment};
use nexplane_agent::runner::{Runner, Who};
use nexplane_agent::settle::SettleError;
use nexplane_agent::snapshot::Snapshots;
use nexplane_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::{Client, Server, items, text};

/// How many agents enrol at the same moment.
const ENROLLING: usize = 32;
/// Tokens that one admin makes: each is an event of theirs, and all of them are read for the next.
const TOKENS_EACH: usize = 100;
/// Admins that are added at the same moment.
const ADDING: usize = 4;
/// Orders that are carried out at the same moment; a silent host keeps its place.
const AT_ONCE: usize = 512;
/// What a whole fleet may take for something, besides the time for each of its agents.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_EACH: Duration = Duration::from_millis(60);

/// How a simulated machine takes what changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    #[default]
    Obeys,
    /// The machine's owner holds all changes: questions are answered, checks of a plan do not pass,
    /// and an order to change something is refused with a typed refusal.
    Refuses,
    /// Every write fails and changes nothing: an order comes back as failed.
    Fails,
    /// A write does not come to an end, so an order has no answer, until the conduct is another one.
    /// At most 500 orders at a time can hang like this.
    Silent,
}

/// Agents, and the machines that they believe to be on.
pub struct Fleet {
    runtime: Option<Runtime>,
    machines: BTreeMap<String, Arc<Machine>>,
    knobs: Arc<Knobs>,
    stop: CancellationToken,
    agents: TaskTracker,
    broken: Arc<Mutex<Vec<String>>>,
    /// How long it took to enrol, and to reach the gateway with the new certificate.
    pub enrolled_in: Duration,
}

#[derive(Debug, Default)]
struct Knobs {
    latency_us: AtomicU64,
}

/// One machine, in memory.
#[derive(Debug)]
struct Machine {
    name: String,
    files: FakeHost,
    effects: AtomicU64,
    conduct: Mutex<Conduct>,
    changed: Condvar,
    policy: Arc<RwLock<Policy>>,
    knobs: Arc<Knobs>,
}

impl Fleet {
    /// Enrols agents, and waits until each of them has reached the gateway with its certificate.
    pub async fn enrol(server: &Server, count: usize) -> Self {
        let start = Instant::now();
        let mut fleet = Self::new(count);
        let runtime = fleet.runtime.as_ref().unwrap();
        let ca_pem = std::fs::read_to_string(&server.ca).unwrap();
        let mut admins: Vec<_> = stream::iter(1..count.div_ceil(TOKENS_EACH))
            .map(async |number| server.person(&format!("admin-{number}"), &["admin"]).await)
            .buffer_unordered(ADDING)
            .collect()
            .await;
        admins.push(server.admin.clone());
        let turns = Arc::new(Semaphore::new(ENROLLING));
        let ready = Arc::new(AtomicUsize::new(0));
        for (machine, admin) in fleet.machines.values().zip(admins.iter().cycle()) {
            let enrolment = Enrolment {
                control_plane: server.gateway.clone(),
                ca_pem: ca_pem.clone(),
                token: String::new(),
                name: Some(machine.name.clone()),
            };
            let (machine, admin) = (Arc::clone(machine), admin.clone());
            let (turns, ready) = (Arc::clone(&turns), Arc::clone(&ready));
            let (stop, broken) = (fleet.stop.clone(), Arc::clone(&fleet.broken));
            let life = async move {
                let name = machine.name.clone();
                if let Err(error) = live(machine, &admin, enrolment, &turns, &ready, stop).await {
                    broken.lock().unwrap().push(format!("{name}: {error}"));
                }
            };
            fleet.agents.spawn_on(life, runtime.handle());
        }
        fleet.until("all have enrolled", async || ready.load(Ordering::Relaxed) >= count).await;
        fleet.enrolled_in = start.elapsed();
        fleet
    }

    fn new(count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(AT_ONCE)
            .thread_name("fleet")
            .enable_all()
            .build()
            .unwrap();
        let knobs = Arc::<Knobs>::default();
        let machines = (1..=count).map(|number| {
            let machine = Machine::new(format!("sim-{number:05}"), Arc::clone(&knobs));
            (machine.name.clone(), Arc::new(machine))
        });
        Self {
            runtime: Some(runtime),
            machines: machines.collect(),
            knobs,
            stop: CancellationToken::new(),
            agents: TaskTracker::new(),
            broken: Arc::default(),
            enrolled_in: Duration::ZERO,
        }
    }

    /// The names of all hosts, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.machines.keys().map(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// How often something was done to a host: files written or removed, modes or owners set.
    pub fn effects(&self, host: &str) -> u64 {
        self.machine(host).effects.load(Ordering::SeqCst)
    }

    /// The same for all of them.
    pub fn all_effects(&self) -> BTreeMap<&str, u64> {
        self.names().map(|name| (name, self.effects(name))).collect()
    }

    /// A file of a host; none when it is not there.
    pub fn read(&self, host: &str, path: &str) -> Option<String> {
        let view = self.machine(host).files.read(&path.parse().unwrap(), u64::MAX).unwrap();
        view.map(|view| String::from_utf8(view.content).unwrap())
    }

    /// What somebody else writes on a host.
    pub fn put(&self, host: &str, path: &str, content: &str) {
        let mode = Mode::from_bits(0o644);
        self.machine(host).files.put_file(&path.parse().unwrap(), content.as_bytes(), mode);
    }

    /// How long every write takes from now on.
    pub fn set_latency(&self, latency: Duration) {
        let latency = u64::try_from(latency.as_micros()).unwrap();
        self.knobs.latency_us.store(latency, Ordering::Relaxed);
    }

    /// How a host behaves from now on.
    pub fn conduct(&self, host: &str, conduct: Conduct) {
        self.machine(host).behave(conduct);
    }

    fn machine(&self, host: &str) -> &Machine {
        self.machines.get(host).unwrap_or_else(|| panic!("there is no {host} in this fleet"))
    }

    /// Until the server says of every host that it is online.
    pub async fn until_online(&self, server: &Server) {
        self.until("all are online", async || {
            let sql = "SELECT count(*) FROM nexplane.rm_hosts
                 WHERE status = 'online' AND hostname LIKE 'sim-%'";
            self.count(server, sql).await == self.len()
        })
        .await;
    }

    /// Until every agent has polled the server that was started last.
    pub async fn until_connected(&self, server: &Server) {
        self.until("all are connected", async || self.connected(server).await == self.len()).await;
    }

    /// How many agents have polled the server that was started last.
    pub async fn connected(&self, server: &Server) -> usize {
        let sql = "SELECT count(*) FROM nexplane.agent_hosts WHERE gateway_id = (
             SELECT max(gateway_id::text)::uuid FROM nexplane.agent_gateways)";
        self.count(server, sql).await
    }

    /// Until the facts of every host are in the inventory.
    pub async fn until_discovered(&self, server: &Server) {
        self.until("the facts of all are known", async || {
            let sql = "SELECT count(*) FROM nexplane.rm_assets
                 WHERE asset_type = 'host' AND name LIKE 'sim-%'";
            self.count(server, sql).await == self.len()
        })
        .await;
    }

    /// The assets of all hosts by their names, once they are in the inventory.
    pub async fn assets(&self, server: &Server) -> BTreeMap<String, Value> {
        self.until_discovered(server).await;
        let mut assets = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/assets?type=host&limit=200{cursor}");
            let page = server.admin.get(&path).await.is(200);
            assets.extend(items(&page).into_iter().map(|asset| (text(&asset["name"]), asset)));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return assets,
            }
        }
    }

    async fn count(&self, server: &Server, sql: &'static str) -> usize {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(server.database().pool()).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// Asks again until it is so, as long as a fleet of this size may take for it.
    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let size = u32::try_from(self.len()).unwrap();
        let end = Instant::now() + PATIENCE + PATIENCE_EACH * size;
        while !is_so().await {
            assert!(Instant::now() < end, "waited in vain: {what}; {:?}", self.first_broken());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Agents that ended by themselves: the first ones, and why.
    fn first_broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().iter().take(5).cloned().collect()
    }

    /// Stops all agents as SIGTERM does. None of them may have ended before.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.release();
        self.agents.close();
        let ended = tokio::time::timeout(PATIENCE, self.agents.wait()).await;
        assert!(ended.is_ok(), "{} agents do not stop", self.agents.len());
        assert_eq!(self.first_broken(), Vec::<String>::new());
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Silent machines would keep their threads for good.
    fn release(&self) {
        for machine in self.machines.values() {
            if *machine.conduct.lock().unwrap() == Conduct::Silent {
                machine.behave(Conduct::Fails);
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.release();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An agent from its enrolment to its end.
async fn live(
    machine: Arc<Machine>,
    admin: &Client,
    mut enrolment: Enrolment,
    turns: &Semaphore,
    ready: &AtomicUsize,
    stop: CancellationToken,
) -> Result<(), poll::RunError> {
    let turn = turns.acquire().await.unwrap();
    let body = json!({ "ttl_s": 3600, "hostname": machine.name });
    let invited = admin.post("/hosts/enrollment-tokens", body).await.is(201);
    enrolment.token = text(&invited["token"]);
    let keep = Keep::memory();
    let policy = policy::Source::Memory(Arc::clone(&machine.policy));
    let identity = poll::enroll(&keep, &policy, &enrolment).await?;
    drop(turn);
    let who = Who {
        host: identity.host,
        name: identity.name.clone(),
        dispatchers: identity.dispatchers.clone(),
    };
    let runner = Runner::new(
        who,
        AgentKey::from_pem(&identity.key_pem)?,
        machine,
        Journal::in_memory(identity.host)?,
        Snapshots::open_in(Keep::memory(), 1 << 20).map_err(SettleError::from)?,
        policy,
        Arc::new(|| Timestamp::new(jiff::Timestamp::now())),
    );
    let is_ready = |_| {
        ready.fetch_add(1, Ordering::Relaxed);
    };
    // On the heap, and without what was needed to enrol.
    Box::pin(poll::serve(keep, identity, runner, stop.cancelled_owned(), is_ready)).await
}

impl Machine {
    fn new(name: String, knobs: Arc<Knobs>) -> Self {
        let files = FakeHost::new();
        let release = "ID=simulated\nPRETTY_NAME=\"A simulated machine\"\nVERSION_ID=\"1\"\n";
        let mode = Mode::from_bits(0o644);
        for (path, content) in [
            ("/usr/lib/os-release", release),
            ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("/etc/group", "root:x:0:\n"),
            ("/etc/motd", "at first\n"),
        ] {
            files.put_file(&path.parse().unwrap(), content.as_bytes(), mode);
        }
        files.put(&"/etc/systemd/system".parse().unwrap(), Node::Directory);
        let (effects, conduct, changed, policy) = Default::default();
        Self { name, files, effects, conduct, changed, policy, knobs }
    }

    fn behave(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
        self.policy.write().unwrap().hold = conduct == Conduct::Refuses;
        self.changed.notify_all();
    }

    /// Does something to the machine, if that is how it behaves, and counts it.
    fn effect(
        &self,
        path: &HostPath,
        act: impl FnOnce() -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let latency = Duration::from_micros(self.knobs.latency_us.load(Ordering::Relaxed));
        if !latency.is_zero() {
            std::thread::sleep(latency);
        }
        let mut conduct = self.conduct.lock().unwrap();
        while *conduct == Conduct::Silent {
            conduct = self.changed.wait(conduct).unwrap();
        }
        if *conduct == Conduct::Fails {
            let source = std::io::Error::other("the simulated disk is full");
            return Err(HostError::Io { attempt: "write", path: path.clone(), source });
        }
        drop(conduct);
        act()?;
        self.effects.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Host for Machine {
    fn may_touch(&self, path: &HostPath, access: Access) -> Result<(), HostError> {
        self.files.may_touch(path, access)
    }

    fn stat(&self, path: &HostPath) -> Result<Option<FileMeta>, HostError> {
        self.files.stat(path)
    }

    fn read(&self, path: &HostPath, limit: u64) -> Result<Option<FileView>, HostError> {
        self.files.read(path, limit)
    }

    fn write(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
        content: &[u8],
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.effect(path, || self.files.write(path, expected, content, mode, ids))
    }

    fn set_permission(
        &self,
        path: &HostPath,
        expected: &FileMeta,
        mode: Mode,
        ids: Ids,
    ) -> Result<(), HostError> {
        self.effect(path, || self.files.set_permission(path, expected, mode, ids))
    }

    fn remove(&self, path: &HostPath, expected: &FileMeta) -> Result<(), HostError> {
        self.effect(path, || self.files.remove(path, expected))
    }

    fn discard_leftovers(&self, path: &HostPath) -> Result<(), HostError> {
        self.files.discard_leftovers(path)
    }

    fn is_directory(&self, path: &HostPath) -> Result<bool, HostError> {
        self.files.is_directory(path)
    }

    fn list(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        self.files.list(path)
    }

    fn kernel_setting(&self, key: &SysctlKey) -> Result<Option<String>, HostError> {
        self.files.kernel_setting(key)
    }

    fn set_kernel_setting(&self, key: &SysctlKey, value: &str) -> Result<(), HostError> {
        self.effect(&key.path(), || self.files.set_kernel_setting(key, value))
    }

    fn lock_accounts(&self) -> Result<Held, HostError> {
        self.files.lock_accounts()
    }

    fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.files.unit(name)
    }

    fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        self.files.set_enabled(name, enabled)
    }

    fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        self.files.set_active(name, active)
    }

    fn own_ids(&self) -> Ids {
        self.files.own_ids()
    }

    fn system(&self) -> SystemFacts {
        SystemFacts { hostname: self.name.clone(), ..self.files.system() }
    }
}
