//! A control plane's signature, an agent's key, a clock that stands still.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexplane_agent::config::Retention;
use nexplane_agent::host::fake::FILES;
use nexplane_agent::host::{FakeHost, Host, HostPath, LinuxHost};
use nexplane_agent::journal::Journal;
use nexplane_agent::key::{AgentKey, receipt_is_authentic};
use nexplane_agent::operation;
use nexplane_agent::runner::{Clock, Runner, RunnerError, Who};
use nexplane_agent::snapshot::Snapshots;
use nexplane_core::catalog::{EffectClass, Reversibility};
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId, JobId, PersonId, RunId};
use nexplane_core::job::{
    Authority, DispatcherKey, Envelope, JOB_CONTEXT, Job, JobResult, Order, Receipt, RefusalCode,
    SignedReceipt,
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

/// What survives a crash: the host, the configuration directory, the keys.
pub struct Rig {
    pub config: TempDir,
    pub host: Arc<dyn Host>,
    pub now: Timestamp,
    pub retention: Retention,
    dispatcher: Ed25519KeyPair,
    agent_key: rcgen::KeyPair,
}

impl Rig {
    pub fn new(host: Arc<dyn Host>) -> Self {
        let seed = [7; 32];
        Self {
            config: tempfile::tempdir().unwrap(),
            host,
            now: now(),
            retention: Retention::default(),
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
        let now = self.now;
        let clock: Clock = Arc::new(move || now);
        let who = Who { host: HOST, name: NAME.into(), dispatchers: self.dispatchers() };
        Runner::new(
            who,
            AgentKey::from_pem(&self.agent_key.serialize_pem()).unwrap(),
            Arc::clone(&self.host),
            Journal::open(&self.journal_path(), HOST).unwrap(),
            Snapshots::open(&self.config.path().join("snapshots"), 1 << 30)
                .unwrap()
                .kept_for(self.retention),
            self.config.path().join("policy.toml"),
            clock,
        )
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
        let step = step(operation, parameters, &before.fingerprint, None);
        let authority = authority(&step, &before.fingerprint);
        Order::Apply { step: Box::new(step), authority: Box::new(authority) }
    }

    pub fn revert_order(&self, operation: &str, parameters: &Value, undoes: JobId) -> Order {
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        let current = bound.snapshot(self.host.as_ref()).unwrap().fingerprint;
        let step = step(operation, parameters, &current, Some(Undoes { run: RUN, step: 0 }));
        let authority = authority(&step, &current);
        Order::Revert { step: Box::new(step), undoes, authority: Box::new(authority) }
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

pub fn refusal(result: &JobResult) -> RefusalCode {
    match result {
        JobResult::Refused { code, .. } => *code,
        other => panic!("refused was expected: {other:?}"),
    }
}

/// Operations that work on a whole machine only, not beneath a directory: on a real one they are tested
/// by modules of their own.
pub const WHOLE_HOST: [&str; 4] =
    ["host.disable_service", "host.enable_service", "host.install_package", "host.remove_package"];

/// A Linux host on an empty directory with the same files as the fake one.
pub fn linux() -> (TempDir, LinuxHost) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/sysctl.d")).unwrap();
    for (file, content) in FILES {
        let file = root.path().join(path(file).relative());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    let host = LinuxHost::open(root.path(), &[]).unwrap();
    (root, host)
}
