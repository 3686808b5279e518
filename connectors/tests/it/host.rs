//! Connector `host` against a stand-in for the agent: the agent's own operations on a machine in
//! memory, behind the port that the server provides. Signatures and journals are the agent's tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nexplane_agent::host::fake::Node;
use nexplane_agent::host::{FakeHost, HostPath, Mode};
use nexplane_agent::operation::{self, Bound, Observation};
use nexplane_connectors::host::{HostJobs, HostPort, SignedOutcome};
use nexplane_connectors::sdk::{
    Advice, AnyConnector, AnySession, ConnectorError, EarlierEffect, ErrorKind, OpenContext,
    StepContext,
};
use nexplane_core::catalog::ActionSpec;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{HostFacts, JobResult, Order, Prepared, RefusalCode, SignedReceipt};
use nexplane_core::plan::Field;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{action, context, open, registry, step, target};

/// An agent without network, journal and signatures.
struct Standin {
    machine: FakeHost,
    /// Results by idempotency key.
    done: Mutex<BTreeMap<String, SignedOutcome>>,
    /// Before-states by the job that captured them.
    kept: Mutex<BTreeMap<JobId, (Value, Observation)>>,
    /// Answers everything with this instead.
    canned: Mutex<Option<JobResult>>,
    orders: Mutex<Vec<(String, Order)>>,
}

fn bind(id: &str, parameters: &Value, prepared: Option<&Prepared>) -> Box<dyn Bound> {
    let entry = operation::find(id).expect("a registered operation");
    entry.bind_prepared(parameters, prepared).expect("valid")
}

impl Standin {
    fn new() -> Self {
        let (done, kept, canned, orders) = Default::default();
        Self { machine: FakeHost::furnished(), done, kept, canned, orders }
    }

    fn carry_out(&self, job: JobId, order: &Order) -> JobResult {
        if let Some(canned) = self.canned.lock().unwrap().clone() {
            return canned;
        }
        let machine = &self.machine;
        match order {
            Order::Inspect { operation, target, parameters } => {
                let operation = bind(operation, parameters, None);
                let before = operation.snapshot(machine).unwrap();
                JobResult::Inspected {
                    checks: operation.validate(machine),
                    diff: operation.diff(machine, target, &before).unwrap(),
                    summary: operation.summary(target),
                    rollback: operation.rollback(),
                    before: before.fields,
                    fingerprint: before.fingerprint,
                }
            }
            Order::Verify { operation, parameters, prepared, .. } => {
                let operation = bind(operation, parameters, prepared.as_ref());
                let (satisfied, now) = operation.verify(machine).unwrap();
                let (observed, fingerprint) = (now.fields, now.fingerprint);
                JobResult::Verified { satisfied, observed, fingerprint }
            }
            Order::CollectFacts => JobResult::Facts {
                facts: Box::new(operation::collect_facts::collect(machine).unwrap()),
            },
            Order::Apply { step, authority, prepared } => {
                let operation = bind(&step.action, &step.parameters, prepared.as_ref());
                let before = operation.snapshot(machine).unwrap();
                if before.fingerprint != authority.precondition {
                    return refused(RefusalCode::Drift, before.fields);
                }
                let (already, _) = operation.verify(machine).unwrap();
                operation.apply(machine, &before).unwrap();
                let (_, now) = operation.verify(machine).unwrap();
                let kept = (step.parameters.clone(), before.clone());
                self.kept.lock().unwrap().insert(job, kept);
                JobResult::Applied {
                    changed: !already,
                    before: before.fields,
                    before_fingerprint: before.fingerprint,
                    observed: now.fields,
                    after_fingerprint: now.fingerprint,
                }
            }
            Order::Revert { step, undoes, authority } => {
                let kept = self.kept.lock().unwrap().get(undoes).cloned();
                let Some((parameters, before)) = kept else {
                    return refused(RefusalCode::NoSnapshot, Vec::new());
                };
                let operation = bind(&step.action, &parameters, None);
                let now = operation.snapshot(machine).unwrap();
                if now.fingerprint != authority.precondition && now != before {
                    return refused(RefusalCode::Drift, now.fields);
                }
                operation.revert(machine, &before).unwrap();
                let now = operation.snapshot(machine).unwrap();
                JobResult::Reverted { observed: now.fields, after_fingerprint: now.fingerprint }
            }
        }
    }
}

fn refused(code: RefusalCode, observed: Vec<Field>) -> JobResult {
    JobResult::Refused { code, detail: "because".to_owned(), observed }
}

#[async_trait]
impl HostJobs for Standin {
    async fn run(
        &self,
        _: HostId,
        order: Order,
        _: Duration,
        key: &str,
    ) -> Result<SignedOutcome, ConnectorError> {
        self.orders.lock().unwrap().push((key.to_owned(), order.clone()));
        if let Some(done) = self.done.lock().unwrap().get(key) {
            return Ok(done.clone());
        }
        let job = JobId(Uuid::now_v7());
        let result = self.carry_out(job, &order);
        let receipt = SignedReceipt { payload: String::new(), signature: String::new() };
        let outcome = SignedOutcome { job, result, undo_until: None, receipt };
        self.done.lock().unwrap().insert(key.to_owned(), outcome.clone());
        Ok(outcome)
    }

    async fn find(&self, _: HostId, key: &str) -> Result<Option<JobId>, ConnectorError> {
        Ok(self.done.lock().unwrap().get(key).map(|outcome| outcome.job))
    }
}

struct Bench {
    agent: Arc<Standin>,
    session: Box<dyn AnySession>,
}

impl Bench {
    async fn new() -> Self {
        let agent = Arc::new(Standin::new());
        agent.machine.put_file(&path("/etc/motd"), b"welcome\n", mode("0644"));
        let id = HostId(Uuid::now_v7());
        let port = HostPort { id, name: "web-1".to_owned(), jobs: Arc::clone(&agent) as _ };
        let cx = OpenContext { host: Some(port), ..context() };
        let session = open("host", json!({}), &cx).await.expect("open");
        Self { agent, session }
    }

    fn operations(&self) -> Vec<ActionSpec> {
        registry().connector("host").unwrap().spec().actions.clone()
    }
}

fn path(text: &str) -> HostPath {
    serde_json::from_value(json!(text)).unwrap()
}

fn mode(text: &str) -> Mode {
    serde_json::from_value(json!(text)).unwrap()
}

/// What is on the machine, without what a removed package leaves of its configuration.
fn there(machine: &FakeHost) -> BTreeMap<HostPath, Node> {
    let mut nodes = machine.nodes();
    let packages: HostPath = "/var/lib/packages.json".parse().unwrap();
    if let Some(Node::File { content, .. }) = nodes.get_mut(&packages) {
        let mut found: BTreeMap<String, Value> = serde_json::from_slice(content).unwrap();
        found.retain(|_, package| package["version"].is_string());
        *content = serde_json::to_vec(&found).unwrap();
    }
    nodes
}

#[tokio::test]
async fn contract_every_operation_conforms() {
    for spec in Bench::new().await.operations() {
        let bench = Bench::new().await;
        let (session, id) = (&*bench.session, &spec.id);
        let action = action(id);
        let (host, example) = (target("host", "web-1", "web-1"), spec.example.clone());
        let initially = there(&bench.agent.machine);

        let inspection = action.inspect(session, &host, &example).await.expect(id);
        assert!(inspection.is_ready(), "{id}: {:#?}", inspection.checks);
        assert!(!inspection.diff.is_empty() && !inspection.summary.is_empty());
        assert!(!inspection.rollback.is_empty(), "{id}");
        let before = inspection.before;
        let read = action.read(session, &host, &example, None).await.unwrap();
        assert_eq!(read.fingerprint, before.fingerprint, "{id}");
        assert_eq!(there(&bench.agent.machine), initially, "{id}: inspect had an effect");
        let verified = action.verify(session, &host, &example, &before, None).await.unwrap();
        assert!(!verified.satisfied, "{id}: satisfied before execute");

        let cx = step(action, &host, &example, &before.fingerprint);
        let executed = action.execute(session, &cx, &before).await.expect(id);
        assert!(executed.changed, "{id}");
        let afterwards = there(&bench.agent.machine);
        let again = action.execute(session, &cx, &before).await.expect(id);
        assert_eq!(again.outcome, executed.outcome, "{id}: the same key is the same job");
        assert_eq!(there(&bench.agent.machine), afterwards, "{id}");
        let verified = action.verify(session, &host, &example, &before, None).await.unwrap();
        assert!(verified.satisfied, "{id}: verify does not see the effect");
        assert_eq!(executed.outcome["after_fingerprint"], json!(verified.fingerprint), "{id}");

        // The rollback is a step of its own, planned from the state that the effect left.
        let undo = step(action, &host, &example, &verified.fingerprint);
        let outcome = Some(&executed.outcome);
        let undone = action.rollback(session, &undo, &before, outcome).await.expect(id);
        assert!(undone.changed, "{id}");
        assert_eq!(there(&bench.agent.machine), initially, "{id}: not restored");
        let read = action.read(session, &host, &example, None).await.unwrap();
        assert_eq!(read.fingerprint, before.fingerprint, "{id}");
        action.rollback(session, &undo, &before, outcome).await.expect(id);
        assert_eq!(there(&bench.agent.machine), initially, "{id}: undone twice");
    }
}

#[tokio::test]
async fn contract_orders_carry_step_authority_and_undone_job() {
    let bench = Bench::new().await;
    let spec = bench.operations().into_iter().next().expect("there are operations");
    let action = action(&spec.id);
    let host = target("host", "web-1", "web-1");
    let before = action.inspect(&*bench.session, &host, &spec.example).await.unwrap().before;
    let cx = step(action, &host, &spec.example, &before.fingerprint);
    let executed = action.execute(&*bench.session, &cx, &before).await.unwrap();
    let job: JobId = serde_json::from_value(executed.outcome["job"].clone()).unwrap();
    let now = executed.outcome["after_fingerprint"].as_str().unwrap().to_owned();
    let mut undo = step(action, &host, &spec.example, &now);
    let error = action.rollback(&*bench.session, &undo, &before, None).await.expect_err("which?");
    assert_eq!(error.kind, ErrorKind::Invalid);
    // The answer was lost; the key of the effect still leads to its job.
    let key = cx.idempotency_key.clone();
    undo.undoes = Some(EarlierEffect { job: None, key: key.clone(), before: None });
    action.rollback(&*bench.session, &undo, &before, None).await.expect("the job is found");
    undo.undoes = Some(EarlierEffect { job: Some(job), key, before: None });
    undo.idempotency_key = Uuid::now_v7().to_string();
    action.rollback(&*bench.session, &undo, &before, None).await.expect("the job is named");
    // What the effect covered is read, once more by its key and by its job.
    for job in [None, Some(job)] {
        let effect = EarlierEffect { job, key: cx.idempotency_key.clone(), before: None };
        action.read(&*bench.session, &host, &spec.example, Some(&effect)).await.expect("read");
    }

    let orders = bench.agent.orders.lock().unwrap().clone();
    let keys: std::collections::BTreeSet<_> = orders.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), orders.len(), "every question is a job of its own");
    let applied = orders.iter().find(|(key, _)| *key == cx.idempotency_key).expect("apply");
    let Order::Apply { step, authority, prepared: None } = &applied.1 else {
        panic!("{applied:?}")
    };
    assert_eq!((**step).clone(), cx.step);
    assert_eq!(authority.precondition, before.fingerprint);
    assert_eq!((authority.change, authority.run, authority.epoch), (cx.change, cx.run, cx.epoch));
    assert_eq!(authority.approvals, cx.approvals);
    let read = |undone: &&(String, Order)| matches!(undone.1, Order::Verify { undoes: Some(of), .. } if of == job);
    assert_eq!(orders.iter().filter(read).count(), 2, "{orders:?}");
    let reverted = orders.iter().find(|(key, _)| *key == undo.idempotency_key).expect("revert");
    let Order::Revert { undoes, authority, .. } = &reverted.1 else { panic!("{reverted:?}") };
    assert_eq!((*undoes, &authority.precondition), (job, &now));
}

/// The host gets the hash and nothing else, and whoever lost the answer gets the same password again.
#[tokio::test]
async fn contract_a_new_password_is_produced_here_and_the_host_gets_its_hash() {
    let bench = Bench::new().await;
    let session = &*bench.session;
    let action = action("host.rotate_local_password");
    let (host, user) = (target("host", "web-1", "web-1"), json!({ "user": "deploy" }));
    let inspect = async || action.inspect(session, &host, &user).await.unwrap().before;
    let before = inspect().await;
    let cx = step(action, &host, &user, &before.fingerprint);
    let executed = action.execute(session, &cx, &before).await.unwrap();
    let [produced] = executed.produced.as_slice() else { panic!("{:?}", executed.produced) };
    let clear = produced.value.expose().to_owned();
    assert_eq!((produced.name.as_str(), clear.len()), ("password", 28));

    let orders = bench.agent.orders.lock().unwrap().clone();
    let (key, order) = orders.last().unwrap();
    assert!(key.starts_with(&cx.idempotency_key) && *key != cx.idempotency_key, "{key}");
    assert!(orders.iter().all(|(_, order)| !json!(order).to_string().contains(&clear)));
    let Some(Prepared::Password { hash, .. }) = order.prepared() else { panic!("{order:?}") };
    assert!(hash.starts_with("$6$") && !format!("{order:?}").contains(hash.as_str()));
    assert!(text(&bench.agent.machine.nodes()).contains(hash.as_str()), "it is in the file");

    // After a crash: from the before-state alone.
    let verified = action.verify(session, &host, &user, &before, None).await.unwrap();
    assert!(verified.satisfied);
    assert_eq!(verified.produced[0].value.expose(), clear);
    assert!(!json!(verified.observed).to_string().contains("$6$"), "{:?}", verified.observed);

    // Another before-state has another password: it is not there, and is not said to be.
    let other = inspect().await;
    let verified = action.verify(session, &host, &user, &other, None).await.unwrap();
    assert!(!verified.satisfied && verified.produced.is_empty());
    let again = step(action, &host, &user, &other.fingerprint);
    let again = StepContext { idempotency_key: cx.idempotency_key.clone(), ..again };
    let executed = action.execute(session, &again, &other).await.unwrap();
    assert_ne!(executed.produced[0].value.expose(), clear);
    assert_ne!(executed.outcome["after_fingerprint"], json!(other.fingerprint), "a job of its own");

    let read = action.read(session, &host, &user, None).await.unwrap();
    let error = action.execute(session, &cx, &read).await.expect_err("no password");
    assert_eq!(error.kind, ErrorKind::Invalid);
}

fn text(nodes: &BTreeMap<HostPath, Node>) -> String {
    let files = nodes.values().filter_map(|node| match node {
        Node::File { content, .. } => Some(String::from_utf8_lossy(content)),
        Node::Directory | Node::SymbolicLink => None,
    });
    files.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn contract_what_the_agent_says_becomes_kind_and_advice() {
    let bench = Bench::new().await;
    let spec = bench.operations().into_iter().next().unwrap();
    let action = action(&spec.id);
    let host = target("host", "web-1", "web-1");
    let before = action.inspect(&*bench.session, &host, &spec.example).await.unwrap().before;
    let text = || "because".to_owned();
    let refusal = |code| refused(code, Vec::new());
    for (result, kind, advice) in [
        (refusal(RefusalCode::Drift), ErrorKind::Conflict, Advice::Never),
        (refusal(RefusalCode::CheckFailed), ErrorKind::Conflict, Advice::Never),
        (refusal(RefusalCode::LocalPolicy), ErrorKind::Refused, Advice::Never),
        (refusal(RefusalCode::BadSignature), ErrorKind::Refused, Advice::Never),
        (refusal(RefusalCode::Expired), ErrorKind::Refused, Advice::RetryNow),
        (refusal(RefusalCode::UnknownOperation), ErrorKind::Invalid, Advice::Never),
        (refusal(RefusalCode::NoSnapshot), ErrorKind::NotFound, Advice::Never),
        (JobResult::Failed { detail: text() }, ErrorKind::Refused, Advice::Never),
        (JobResult::Unknown { detail: text() }, ErrorKind::Unexpected, Advice::OutcomeUnknown),
    ] {
        *bench.agent.canned.lock().unwrap() = Some(result.clone());
        let cx = step(action, &host, &spec.example, &before.fingerprint);
        let error = action.execute(&*bench.session, &cx, &before).await.expect_err("not applied");
        assert_eq!((error.kind, error.advice), (kind, advice), "{result:?}");
        assert_eq!(error.action.as_deref(), Some(&*spec.id));
        assert!(error.to_string().contains("because"), "{error}");
    }
}

#[tokio::test]
async fn contract_drift_is_refused_by_the_agent() {
    let bench = Bench::new().await;
    let spec = bench.operations().into_iter().next().unwrap();
    let action = action(&spec.id);
    let host = target("host", "web-1", "web-1");
    let mut before = action.inspect(&*bench.session, &host, &spec.example).await.unwrap().before;
    before.fingerprint = "0".repeat(64);
    let cx = step(action, &host, &spec.example, &before.fingerprint);
    let error = action.execute(&*bench.session, &cx, &before).await.expect_err("drift");
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never));
}

#[tokio::test]
async fn contract_discovery_is_the_facts_without_what_moves_by_itself() {
    let bench = Bench::new().await;
    let facts = HostFacts {
        hostname: "web-1".to_owned(),
        os: "debian".to_owned(),
        os_name: "Debian GNU/Linux 12".to_owned(),
        os_version: "12".to_owned(),
        kernel: "6.1".to_owned(),
        architecture: "x86_64".to_owned(),
        cpus: 2,
        memory_bytes: 1,
        uptime_s: 77,
        agent_version: "0.1.0".to_owned(),
        accounts: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
    };
    *bench.agent.canned.lock().unwrap() = Some(JobResult::Facts { facts: Box::new(facts) });
    let found = bench.session.discover().await.unwrap().assets;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind.as_str(), found[0].external_key.as_str()), ("host", "web-1"));
    assert_eq!(found[0].metadata["os"], "debian");
    assert!(found[0].metadata.get("uptime_s").is_none());
    assert!(bench.session.test().await.iter().all(|check| check.ok));

    *bench.agent.canned.lock().unwrap() = Some(refused(RefusalCode::LocalPolicy, Vec::new()));
    assert!(bench.session.discover().await.is_err());
    assert!(bench.session.test().await.iter().any(|check| !check.ok));
}

#[tokio::test]
async fn a_host_connection_without_an_agent_is_an_error() {
    let error = open("host", json!({}), &context()).await.err().expect("no agent");
    assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never));
    // And a session of one connector is of no use to another.
    let bench = Bench::new().await;
    let lock = action("postgres.lock_user");
    let role = target("postgres_role", "role/x", "x");
    let error = lock.inspect(&*bench.session, &role, &json!({})).await.expect_err("mixed up");
    assert_eq!(error.kind, ErrorKind::Invalid);
    let by_agents: Vec<_> = registry()
        .connectors()
        .filter(|connector: &&dyn AnyConnector| !connector.spec().managed)
        .map(|connector| connector.spec().id.as_str())
        .collect();
    assert_eq!(by_agents, ["host"]);
}
