//! Orders to real agents, and their receipts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexplane_agent::identity::Identity;
use nexplane_agent::keep::Keep;
use nexplane_agent::poll::Enrolment;
use nexplane_core::id::HostId;
use nexplane_core::job::{Envelope, Job, JobEvent, JobResult, Order, PollRequest, Receipt};
use nexplane_server::gateway::dispatcher::DispatchError;
use nexplane_server::gateway::job::Outcome;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::gateway_rig::{Agent, PATIENCE, Rig, SILENCE, now, sandbox, until};

const CONTENT: &str = "host.set_file_content";

fn motd(content: &str) -> Value {
    json!({ "path": "/etc/motd", "content": content })
}

async fn run(rig: &Rig, host: HostId, order: Order, key: &str) -> Outcome {
    rig.gateway.dispatcher().run(host, order, PATIENCE, key).await.unwrap()
}

fn poll(number: u64, have: u64) -> PollRequest {
    PollRequest {
        wait_s: 10,
        have,
        instance: Uuid::from_u128(1),
        number,
        policy_hash: None,
        distrusted: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_the_agent_and_its_receipt_comes_back() {
    let rig = Rig::new().await;
    let agent = rig.agent("web-1").await;
    let parameters = motd("new\n");
    let (operation, target) = (CONTENT.to_owned(), "web-1".to_owned());
    let inspect = Order::Inspect { operation, target, parameters: parameters.clone() };
    let inspected = run(&rig, agent.host, inspect, "inspect").await;
    assert!(matches!(inspected.result, JobResult::Inspected { .. }), "{inspected:?}");

    let order = agent.apply(CONTENT, &parameters);
    let applied = run(&rig, agent.host, order.clone(), "apply").await;
    assert!(matches!(applied.result, JobResult::Applied { changed: true, .. }), "{applied:?}");
    assert_eq!(agent.read("etc/motd"), "new\n");

    // The same key is the same job, whatever lease asks.
    let mut later = order;
    if let Order::Apply { authority, .. } = &mut later {
        authority.epoch = 2;
    }
    assert_eq!(run(&rig, agent.host, later, "apply").await, applied);
    let other = agent.apply(CONTENT, &motd("other"));
    let reused = rig.gateway.dispatcher().run(agent.host, other, PATIENCE, "apply").await;
    assert!(matches!(reused, Err(DispatchError::KeyReused)), "{reused:?}");

    let undo = agent.revert(CONTENT, &parameters, applied.job);
    let reverted = run(&rig, agent.host, undo, "revert").await;
    assert!(matches!(reverted.result, JobResult::Reverted { .. }), "{reverted:?}");
    assert_eq!(agent.read("etc/motd"), "hello\n");

    let progress = "SELECT count(*) FROM nexplane.agent_jobs
         WHERE has_effect AND received_at IS NOT NULL AND intent_at IS NOT NULL";
    until_count(&rig, progress, 2).await;
    let facts = run(&rig, agent.host, Order::CollectFacts, "facts").await;
    assert!(matches!(facts.result, JobResult::Facts { .. }));
    chain_is_whole(&rig, agent.host, 4).await;
    agent.stop().await;
}

async fn until_count(rig: &Rig, sql: &'static str, expected: i64) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while rig.count(sql).await != expected {
        assert!(tokio::time::Instant::now() < end, "{sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn chain_is_whole(rig: &Rig, host: HostId, length: usize) {
    let stored: Vec<String> = sqlx::query_scalar(
        "SELECT receipt FROM nexplane.agent_receipts WHERE host_id = $1 ORDER BY number",
    )
    .bind(host.0)
    .fetch_all(rig.database.pool())
    .await
    .unwrap();
    assert_eq!(stored.len(), length);
    let mut previous = "0".repeat(64);
    for (number, text) in (1..).zip(stored) {
        let signed: nexplane_core::job::SignedReceipt = serde_json::from_str(&text).unwrap();
        let receipt: Receipt = serde_json::from_str(&signed.payload).unwrap();
        assert_eq!((receipt.number, receipt.previous), (number, previous));
        previous = hex::encode(Sha256::digest(&signed.payload));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_a_host_that_is_away_is_withdrawn_and_can_be_given_again() {
    let rig = Rig::new().await;
    let agent = rig.agent("web-1").await;
    let host = agent.host;
    let order = agent.apply(CONTENT, &motd("new\n"));
    // Who never came does not go.
    rig.registry.until_told(host, "online").await;
    let (root, config, enrolment) = agent.stop().await;
    rig.registry.until_told(host, "offline").await;
    let dispatcher = rig.gateway.dispatcher();
    let away = dispatcher.run(host, order.clone(), PATIENCE, "apply").await;
    assert!(matches!(away, Err(DispatchError::Offline)), "{away:?}");

    let agent = Agent::start(root, config, enrolment).await;
    assert_eq!(agent.host, host);
    // A poll that is held brought no order.
    until("the poll is held", || rig.gateway.held_polls() == 1).await;
    assert_eq!(agent.read("etc/motd"), "hello\n", "a withdrawn order never happens");
    let applied = run(&rig, host, order, "apply").await;
    assert!(matches!(applied.result, JobResult::Applied { .. }));
    agent.stop().await;
}

/// The orders that a poll brings.
async fn take(rig: &Rig, identity: &Identity, number: u64, have: u64) -> Vec<(Job, Envelope)> {
    let answer = rig.client(identity).poll(&poll(number, have)).await.unwrap();
    let jobs = answer.jobs.into_iter();
    jobs.map(|envelope| (serde_json::from_str(&envelope.payload).unwrap(), envelope)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_handed_out_is_unknown_until_its_receipt_comes() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let host = identity.host;
    let dispatcher = rig.gateway.dispatcher();
    let waiting = tokio::spawn({
        let dispatcher = dispatcher.clone();
        let deadline = Duration::from_millis(1500);
        async move { dispatcher.run(host, Order::CollectFacts, deadline, "facts").await }
    });
    let taken = take(&rig, &identity, 1, 0).await;
    assert_eq!(taken.len(), 1);
    let (job, _) = &taken[0];
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Err(DispatchError::Timeout)), "{outcome:?}");
    // It is handed out again until the agent says that it has it.
    assert_eq!(take(&rig, &identity, 2, 0).await[0].0.id, job.id);

    let receipt = sign(&identity, job, 1, &"0".repeat(64));
    let event = JobEvent::Result { receipt: receipt.clone() };
    rig.client(&identity).report(job.id, &event).await.unwrap();
    let outcome = run(&rig, host, Order::CollectFacts, "facts").await;
    assert_eq!((outcome.job, outcome.receipt), (job.id, receipt));
    // The answer to the report was lost, and it comes again.
    rig.client(&identity).report(job.id, &event).await.unwrap();
    chain_is_whole(&rig, host, 1).await;
}

fn sign(
    identity: &Identity,
    job: &Job,
    number: u64,
    previous: &str,
) -> nexplane_core::job::SignedReceipt {
    let key = nexplane_agent::key::AgentKey::from_pem(&identity.key_pem).unwrap();
    key.sign(&Receipt {
        job: job.id,
        host: job.host,
        number,
        previous: previous.to_owned(),
        at: now(),
        result: JobResult::Failed { detail: "a test".into() },
        undo_until: None,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_are_not_the_hosts_are_refused() {
    let rig = Rig::new().await;
    let (_one, identity) = rig.enroll("web-1").await;
    let (_two, other) = rig.enroll("web-2").await;
    let host = identity.host;
    let dispatcher = rig.gateway.dispatcher();
    let run = dispatcher.run(host, Order::CollectFacts, Duration::from_secs(1), "facts");
    let (_, taken) = tokio::join!(run, take(&rig, &identity, 1, 0));
    let (job, _) = &taken[0];
    let zeros = "0".repeat(64);
    let client = rig.client(&identity);
    let report = async |id, receipt| {
        let sent = client.report(id, &JobEvent::Result { receipt }).await;
        sent.map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    let refused = || Err("validation.failed".to_owned());
    assert_eq!(report(job.id, sign(&other, job, 1, &zeros)).await, refused());
    let mut altered = sign(&identity, job, 1, &zeros);
    altered.payload = altered.payload.replace("a test", "A test");
    assert_eq!(report(job.id, altered).await, refused());
    let stranger = Job { host: other.host, ..job.clone() };
    assert_eq!(report(job.id, sign(&identity, &stranger, 1, &zeros)).await, refused());
    let another_job = nexplane_core::id::JobId(Uuid::from_u128(9));
    assert_eq!(report(another_job, sign(&identity, job, 1, &zeros)).await, refused());
    assert_eq!(rig.count("SELECT count(*) FROM nexplane.agent_receipts").await, 0);
    assert_eq!(report(job.id, sign(&identity, job, 1, &zeros)).await, Ok(()));
    // Another receipt with the same number: two agents, or a lost journal.
    assert_eq!(
        report(job.id, sign(&identity, job, 1, &zeros)).await,
        Err("host.locked".to_owned()),
    );
    rig.registry.until_told(host, "locked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_signed_with_an_earlier_key_counts() {
    let rig = Rig::new().await;
    let (config, identity) = rig.enroll("web-1").await;
    let keep = Keep::directory(config.path());
    let renewed = identity.renew(&keep, &rig.client(&identity)).await.unwrap();
    let dispatcher = rig.gateway.dispatcher();
    let run = dispatcher.run(identity.host, Order::CollectFacts, Duration::from_secs(1), "facts");
    let (_, taken) = tokio::join!(run, take(&rig, &renewed, 1, 0));
    let (job, _) = &taken[0];
    let receipt = sign(&identity, job, 1, &"0".repeat(64));
    rig.client(&renewed).report(job.id, &JobEvent::Result { receipt }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_same_key_finds_its_job() {
    let mut rig = Rig::new().await;
    let agent = rig.agent("web-1").await;
    let host = agent.host;
    let order = agent.apply(CONTENT, &motd("new\n"));
    let applied = run(&rig, host, order.clone(), "apply").await;
    rig.restart().await;
    assert_eq!(run(&rig, host, order, "apply").await, applied);
    // The agent comes back by itself and serves the new process, which waits for it also longer than a host
    // is waited for that is silent: nobody was told that it went.
    let next = agent.apply(CONTENT, &motd("newer\n"));
    let (root, config, enrolment) = agent.stop().await;
    rig.restart().await;
    let dispatcher = rig.gateway.dispatcher();
    let back = async {
        tokio::time::sleep(3 * SILENCE).await;
        Agent::start(root, config, enrolment).await
    };
    let (outcome, agent) = tokio::join!(dispatcher.run(host, next, PATIENCE, "next"), back);
    let outcome = outcome.unwrap();
    assert!(matches!(outcome.result, JobResult::Applied { .. }));
    assert_eq!(agent.read("etc/motd"), "newer\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_did_not_get_through_is_sent_again() {
    let rig = Rig::new().await;
    let line = Line::to(rig.gateway.local_addr()).await;
    let enrolment = Enrolment { control_plane: line.url(), ..rig.enrolment("web-1").await };
    let agent = Agent::start(sandbox(), tempfile::tempdir().unwrap(), enrolment).await;
    let gateway = rig.gateway.clone();
    until("the poll is held", || gateway.held_polls() == 1).await;
    let order = agent.apply(CONTENT, &motd("new\n"));
    let dispatcher = rig.gateway.dispatcher();
    line.slow_down();
    let waiting = tokio::spawn({
        let (host, order) = (agent.host, order.clone());
        async move { dispatcher.run(host, order, PATIENCE, "apply").await }
    });
    until("it happened", || agent.read("etc/motd") == "new\n").await;
    line.cut().await;
    assert_eq!(rig.count("SELECT count(*) FROM nexplane.agent_receipts").await, 0);
    line.mend();
    let outcome = waiting.await.unwrap().unwrap();
    assert!(matches!(outcome.result, JobResult::Applied { changed: true, .. }), "{outcome:?}");
    chain_is_whole(&rig, agent.host, 1).await;
    agent.stop().await;
}

/// The line between an agent and its gateway: can be slow, and can be cut.
struct Line {
    port: u16,
    delay_ms: Arc<AtomicU64>,
    state: watch::Sender<bool>,
}

impl Line {
    async fn to(gateway: SocketAddr) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let (state, is_whole) = watch::channel(true);
        let delay = Arc::clone(&delay_ms);
        tokio::spawn(async move {
            while let Ok((agent, _)) = socket.accept().await {
                let mut is_whole = is_whole.clone();
                if !*is_whole.borrow_and_update() {
                    continue;
                }
                let delay = Arc::clone(&delay);
                tokio::spawn(async move {
                    let Ok(gateway) = TcpStream::connect(gateway).await else { return };
                    let (mut from_agent, mut to_agent) = agent.into_split();
                    let (mut from_gateway, mut to_gateway) = gateway.into_split();
                    let up = async {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(size @ 1..) = from_agent.read(&mut buffer).await {
                            let pause = Duration::from_millis(delay.load(Ordering::SeqCst));
                            tokio::time::sleep(pause).await;
                            if to_gateway.write_all(&buffer[..size]).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::select! {
                        () = up => {}
                        _ = tokio::io::copy(&mut from_gateway, &mut to_agent) => {}
                        _ = is_whole.changed() => {}
                    }
                });
            }
        });
        Self { port, delay_ms, state }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// From now on what the agent says takes longer than this test.
    fn slow_down(&self) {
        self.delay_ms.store(60_000, Ordering::SeqCst);
    }

    /// Ends every connection; what was on its way is lost.
    async fn cut(&self) {
        self.state.send_replace(false);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    fn mend(&self) {
        self.delay_ms.store(0, Ordering::SeqCst);
        self.state.send_replace(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_can_order_an_agent_of_another() {
    let rig = Rig::new().await;
    let agent = rig.agent("web-1").await;
    let other = rig.another().await;
    let order = agent.apply(CONTENT, &motd("new\n"));
    let dispatcher = other.dispatcher();
    let outcome = dispatcher.run(agent.host, order, PATIENCE, "apply").await.unwrap();
    assert!(matches!(outcome.result, JobResult::Applied { .. }));
    other.shutdown().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_come_in_their_sequence_and_old_questions_are_forgotten() {
    let rig = Rig::new().await;
    let agent = rig.agent("web-1").await;
    let orders = (0..20).map(|n| {
        let dispatcher = rig.gateway.dispatcher();
        let host = agent.host;
        tokio::spawn(async move {
            dispatcher.run(host, Order::CollectFacts, PATIENCE, &format!("facts {n}")).await
        })
    });
    for order in orders.collect::<Vec<_>>() {
        let outcome = order.await.unwrap().unwrap();
        assert!(matches!(outcome.result, JobResult::Facts { .. }), "{outcome:?}");
    }
    chain_is_whole(&rig, agent.host, 20).await;
    sqlx::query("UPDATE nexplane.agent_jobs SET created_at = now() - interval '8 days'")
        .execute(rig.database.pool())
        .await
        .unwrap();
    let forgotten =
        nexplane_server::gateway::job::forget_old_questions(rig.database.pool()).await.unwrap();
    assert_eq!(forgotten, 20);
    let chain = "SELECT count(*) FROM nexplane.agent_receipts WHERE receipt IS NULL";
    assert_eq!(rig.count(chain).await, 20, "the hashes of the chain stay");
    agent.stop().await;
}
