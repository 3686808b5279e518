//! A control plane's signature, an agent's key, a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexplane_agent::config::Retention;
use nexplane_agent::deadman::{DeadMan, Limit, Line, Moment, Watch};
#[cfg(target_os = "linux")]
use nexplane_agent::host::LinuxHost;
use nexplane_agent::host::fake::{FILES, SEALING_KEY};
#[cfg(unix)]
use nexplane_agent::host::macos::MacosHost;
#[cfg(windows)]
use nexplane_agent::host::windows::WindowsHost;
use nexplane_agent::host::{FakeHost, Host, HostPath, SealingKey};
use nexplane_agent::journal::Journal;
use nexplane_agent::key::{AgentKey, receipt_is_authentic};
use nexplane_agent::operation::{self, Bound, Entry};
use nexplane_agent::runner::{Clock, Runner, RunnerError, Who};
use nexplane_agent::snapshot::Snapshots;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId, JobId, PersonId, RunId};
use nexplane_core::job::{
    Authority, DispatcherKey, Envelope, JOB_CONTEXT, Job, JobResult, Order, Prepared, Receipt,
    RefusalCode, SignedReceipt,
};
use nexplane_core::plan::{Plan, PlanHeader, Step, TargetRef, Undoes};
use nexplane_core::time::Timestamp;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

pub const HOST: HostId = HostId(Uuid::from_u128(0xa1));
pub const NAME: &str = "web-1";
pub const RUN: RunId = RunId(Uuid::from_u128(0x40));

pub fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub fn path(text: &str) -> HostPath {
    text.parse().unwrap()
}

/// A line that is always there.
#[derive(Debug)]
struct Sound;

impl Line for Sound {
    fn reach(&self, _patience: Duration) -> Result<(), String> {
        Ok(())
    }
}

/// A watch whose time passes only while somebody sleeps, or when a test says so.
#[derive(Debug)]
pub struct Hand {
    pub moment: Mutex<Moment>,
}

impl Default for Hand {
    fn default() -> Self {
        let boot = Some("first".to_owned());
        Self { moment: Mutex::new(Moment { at: now(), boot, uptime_ms: 1_000_000 }) }
    }
}

impl Watch for Hand {
    fn moment(&self) -> Moment {
        self.moment.lock().unwrap().clone()
    }

    fn running(&self) -> Duration {
        Duration::from_millis(self.moment.lock().unwrap().uptime_ms)
    }

    fn sleep(&self, pause: Duration) {
        let mut moment = self.moment.lock().unwrap();
        moment.uptime_ms += u64::try_from(pause.as_millis()).unwrap();
        moment.at = moment.at.plus_seconds(pause.as_secs().cast_signed());
    }
}

/// What survives a crash: the host, the configuration directory, the keys.
pub struct Rig {
    pub config: Config,
    pub host: Arc<dyn Host>,
    pub now: Timestamp,
    /// In place of one that stands still at `now`.
    pub clock: Option<Clock>,
    pub retention: Retention,
    pub line: Arc<dyn Line>,
    pub watch: Arc<dyn Watch>,
    pub limit: Limit,
    dispatcher: Ed25519KeyPair,
    agent_key: rcgen::KeyPair,
}

/// The configuration directory: for one test, or one that outlives the process.
pub enum Config {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Config {
    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }
}

impl Rig {
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self::with(host, Config::Temporary(tempfile::tempdir().unwrap()))
    }

    /// One that every process has that names the same directory.
    pub fn kept(host: Arc<dyn Host>, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let mut rig = Self::with(host, Config::Kept(directory.to_owned()));
        let key = directory.join("agent.pem");
        if !key.exists() {
            std::fs::write(&key, rig.agent_key.serialize_pem()).unwrap();
        }
        let pem = std::fs::read_to_string(&key).unwrap();
        rig.agent_key = rcgen::KeyPair::from_pem(&pem).unwrap();
        rig
    }

    fn with(host: Arc<dyn Host>, config: Config) -> Self {
        let seed = [7; 32];
        Self {
            config,
            host,
            now: now(),
            clock: None,
            retention: Retention::default(),
            line: Arc::new(Sound),
            watch: Arc::new(Hand::default()),
            limit: Limit::default(),
            dispatcher: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(),
            agent_key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        }
    }

    pub fn fake() -> (Self, Arc<FakeHost>) {
        let host = Arc::new(FakeHost::furnished());
        (Self::new(Arc::clone(&host) as Arc<dyn Host>), host)
    }

    pub fn journal_path(&self) -> PathBuf {
        self.config.path().join("journal")
    }

    pub fn dispatchers(&self) -> Vec<DispatcherKey> {
        let public_key = STANDARD.encode(self.dispatcher.public_key());
        vec![DispatcherKey { key_id: "d1".into(), public_key }]
    }

    /// An agent process: opens what is on disk. Does not recover yet.
    pub fn start(&self) -> Runner {
        self.start_in(self.config.path())
    }

    /// The same, with another directory for what is on disk.
    pub fn start_in(&self, directory: &Path) -> Runner {
        let now = self.now;
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(move || now));
        let who = Who { host: HOST, name: NAME.into(), dispatchers: self.dispatchers() };
        Runner::new(
            who,
            AgentKey::from_pem(&self.agent_key.serialize_pem()).unwrap(),
            Arc::clone(&self.host),
            Journal::open(&directory.join("journal"), HOST).unwrap(),
            Snapshots::open(&directory.join("snapshots"), 1 << 30)
                .unwrap()
                .kept_for(self.retention),
            directory.join("policy.toml"),
            clock,
        )
        .with_dead_man(DeadMan {
            line: Some(Arc::clone(&self.line)),
            watch: Arc::clone(&self.watch),
            limit: self.limit,
            marker: Some(directory.join("armed")),
        })
    }

    pub fn sign(&self, job: &Job) -> Envelope {
        self.sign_text(serde_json::to_string(job).unwrap())
    }

    pub fn sign_text(&self, payload: String) -> Envelope {
        let signature = self.dispatcher.sign(&[JOB_CONTEXT, payload.as_bytes()].concat());
        Envelope { payload, key_id: "d1".into(), signature: STANDARD.encode(signature) }
    }

    pub fn job(&self, seq: u64, order: Order) -> Job {
        Job {
            id: JobId(Uuid::from_u128(u128::from(seq) + 0x1000)),
            host: HOST,
            seq,
            not_before: self.now.plus_seconds(-60),
            not_after: self.now.plus_seconds(600),
            order,
        }
    }

    /// Runs one order to its end and checks the receipt's signature.
    pub fn run(&self, runner: &mut Runner, job: &Job) -> JobResult {
        self.deliver(runner, &self.sign(job)).expect("the order is answered").result
    }

    pub fn deliver(&self, runner: &mut Runner, envelope: &Envelope) -> Option<Receipt> {
        self.try_deliver(runner, envelope).unwrap()
    }

    pub fn try_deliver(
        &self,
        runner: &mut Runner,
        envelope: &Envelope,
    ) -> Result<Option<Receipt>, RunnerError> {
        let answer = runner.handle(envelope, &mut |_, _| {})?;
        Ok(answer.map(|(job, receipt)| {
            let payload = self.open(&receipt);
            assert_eq!(payload.job, job);
            payload
        }))
    }

    pub fn open(&self, receipt: &SignedReceipt) -> Receipt {
        assert!(receipt_is_authentic(receipt, self.agent_key.public_key_raw()));
        serde_json::from_str(&receipt.payload).unwrap()
    }

    /// Reads the target and makes the order that a control plane would make of it.
    pub fn apply_order(&self, operation: &str, parameters: &Value) -> Order {
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        let before = bound.snapshot(self.host.as_ref()).unwrap();
        let mut step = step(operation, parameters, &before.fingerprint, None);
        step.diff = bound.diff(self.host.as_ref(), NAME, &before).unwrap_or_default();
        let authority = authority(&step, &before.fingerprint);
        let (step, authority) = (Box::new(step), Box::new(authority));
        Order::Apply { step, authority, prepared: prepared(operation) }
    }

    pub fn revert_order(&self, operation: &str, parameters: &Value, undoes: JobId) -> Order {
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        let current = bound.snapshot(self.host.as_ref()).unwrap().fingerprint;
        Self::revert_order_from(&current, operation, parameters, undoes)
    }

    /// The same for a target that was found to have this fingerprint.
    pub fn revert_order_from(
        current: &str,
        operation: &str,
        parameters: &Value,
        undoes: JobId,
    ) -> Order {
        let step = step(operation, parameters, current, Some(Undoes { run: RUN, step: 0 }));
        let authority = authority(&step, current);
        Order::Revert { step: Box::new(step), undoes, authority: Box::new(authority) }
    }

    pub fn may_cut_line(&self, operation: &str, parameters: &Value) -> bool {
        operation::find(operation).unwrap().bind(parameters).unwrap().may_cut_line()
    }

    pub fn write_policy(&self, text: &str) {
        std::fs::write(self.config.path().join("policy.toml"), text).unwrap();
    }

    pub fn snapshot_files(&self) -> Vec<PathBuf> {
        files(&self.config.path().join("snapshots"))
    }
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

pub fn step(operation: &str, parameters: &Value, before: &str, undoes: Option<Undoes>) -> Step {
    Step {
        no: 0,
        action: operation.into(),
        connection: ConnectionId(Uuid::from_u128(3)),
        target: TargetRef {
            asset: AssetId(Uuid::from_u128(4)),
            kind: "host".into(),
            external_key: NAME.into(),
            name: NAME.into(),
        },
        parameters: parameters.clone(),
        effect_class: EffectClass::Verifiable,
        reversibility: Reversibility::Reversible,
        before_fingerprint: before.into(),
        summary: "Does it.".into(),
        rollback: "Undoes it.".into(),
        diff: Vec::new(),
        undoes,
    }
}

pub fn authority(step: &Step, precondition: &str) -> Authority {
    let header = PlanHeader {
        change: ChangeId(Uuid::from_u128(5)),
        change_type: step.action.clone(),
        connection: step.connection,
        targets: vec![step.target.asset],
        parameters: step.parameters.clone(),
        policy_version: 1,
        author: PersonId(Uuid::from_u128(6)),
        editors: Vec::new(),
        rollback_of: None,
        rollout: None,
        auto_rollback: false,
        limit_s: None,
    };
    let plan = Plan::new(header, vec![step.clone()], Vec::new(), now());
    Authority {
        change: plan.header.change,
        run: RUN,
        epoch: 1,
        plan_digest: plan.digest.clone(),
        proof: plan.proof(),
        precondition: precondition.into(),
        approvals: vec![PersonId(Uuid::from_u128(7))],
    }
}

/// Parameters of the two file operations, by name: the conformance suite's examples.
pub fn motd(content: &str) -> Value {
    json!({ "path": "/etc/motd", "content": content })
}

/// A password, and its hash as every system makes it.
pub const CLEAR: &str = "correct-horse-battery";
pub const HASH: &str = "$6$rounds=5000$saltsaltsaltsalt$\
    0XjSD.8/6JkHXmNzhkRF3iK1zjZBe1xLhx80sjtLDOHPsYmd3Jxb9y/FSHReAthgVwargV.7qgpEQbC/qO7E/.";

/// What an order of this operation brings beside its parameters.
pub fn prepared(operation: &str) -> Option<Prepared> {
    let produces = operation::find(operation)?.spec().produces;
    match produces.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => None,
        ["password"] => Some(Prepared::Password { hash: HASH.to_owned(), day: 20_419 }),
        other => panic!("it is not known how to prepare {other:?}"),
    }
}

/// The operation as an order would have it done.
pub fn bound(operation: &str, parameters: &Value) -> Box<dyn Bound> {
    let entry = operation::find(operation).unwrap();
    entry.bind_prepared(parameters, prepared(operation).as_ref()).unwrap()
}

pub fn refusal(result: &JobResult) -> RefusalCode {
    match result {
        JobResult::Refused { code, .. } => *code,
        other => panic!("refused was expected: {other:?}"),
    }
}

/// Operations for which a directory is no host, and what it lacks; `real_` tests run them.
const NEEDS_MORE_THAN_FILES: &[(&str, &str)] = &[
    ("host.disable_service", "systemd"),
    ("host.enable_service", "systemd"),
    ("host.install_package", "package manager"),
    ("host.remove_package", "package manager"),
    ("host.update_agent", "agent that is a service"),
];

/// The hosts on which an operation is tried here, furnished.
pub fn hosts(operation: &str) -> Vec<(Option<TempDir>, Arc<dyn Host>)> {
    let mut hosts: Vec<(_, Arc<dyn Host>)> = vec![(None, Arc::new(FakeHost::furnished()))];
    #[cfg(target_os = "linux")]
    match NEEDS_MORE_THAN_FILES.iter().find(|(id, _)| *id == operation) {
        Some((id, what)) => println!("{id}: not in a directory, which has no {what}"),
        None => {
            let (root, host) = linux();
            hosts.push((Some(root), Arc::new(host)));
        }
    }
    #[cfg(unix)]
    if ON_MACOS.contains(&operation) {
        let (root, host) = macos();
        hosts.push((Some(root), Arc::new(host)));
    }
    #[cfg(windows)]
    if ON_WINDOWS.contains(&operation) {
        let (root, host) = windows();
        hosts.push((Some(root), Arc::new(host)));
    }
    hosts
}

/// The operations that a Mac has. The suite runs them on every Unix.
#[cfg(unix)]
pub const ON_MACOS: [&str; 2] = ["host.set_file_content", "host.set_file_permission"];
/// The operations that a Windows machine has.
#[cfg(windows)]
pub const ON_WINDOWS: [&str; 1] = ["host.set_file_content"];

/// The operation's example, as far as the host knows what it says.
pub fn example(entry: &Entry, host: &dyn Host) -> Value {
    fitting(entry.meta.id, entry.spec().example, host)
}

/// The parameters without a mode where files have none.
pub fn fitting(operation: &str, mut parameters: Value, host: &dyn Host) -> Value {
    if !host.has_modes() && operation == "host.set_file_content" {
        parameters.as_object_mut().unwrap().remove("mode");
    }
    parameters
}

/// A directory with the same files as the fake host.
fn furnished() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/sysctl.d")).unwrap();
    for (file, content) in FILES {
        let file = root.path().join(path(file).relative());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    root
}

/// A Linux host on an empty directory with the same files as the fake one.
#[cfg(target_os = "linux")]
pub fn linux() -> (TempDir, LinuxHost) {
    let root = furnished();
    let host = LinuxHost::open(root.path(), &[]).unwrap();
    (root, host.with_sealing_key(SealingKey::new(&SEALING_KEY)))
}

/// The same as a Mac.
#[cfg(unix)]
pub fn macos() -> (TempDir, MacosHost) {
    let root = furnished();
    let host = MacosHost::open(root.path(), &[]).unwrap();
    (root, host.with_sealing_key(SealingKey::new(&SEALING_KEY)))
}

/// The same as a Windows machine.
#[cfg(windows)]
pub fn windows() -> (TempDir, WindowsHost) {
    let root = furnished();
    let host = WindowsHost::open(root.path(), &[]).unwrap();
    (root, host.with_sealing_key(SealingKey::new(&SEALING_KEY)))
}

/// Every operation that is not among `here` is refused, and says so, on a host that has the same files.
pub fn the_rest_is_refused(host: &dyn Host, here: &[&str]) {
    for entry in operation::OPERATIONS.iter().filter(|entry| !here.contains(&entry.meta.id)) {
        let (id, bound) = (entry.meta.id, bound(entry.meta.id, &entry.spec().example));
        let error = bound.snapshot(host).unwrap_err().sentence();
        assert!(error.contains("not on this kind of host"), "{id}: {error}");
        let checks = bound.validate(host);
        let why = checks.iter().find(|check| !check.ok).map(|check| check.detail.as_str());
        assert!(why.is_some_and(|why| why.contains("not on this kind of host")), "{id}: {why:?}");
    }
}
