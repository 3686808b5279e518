//! The crash matrix at a host: a real agent that is killed in the middle of a job, whose line is cut,
//! and whose server dies while a job is on its way to it, with it, or on its way back.
//!
//! What was done is counted on the host: jobs that the agent began, out of its journal, and the file
//! itself, which is another one (its inode) after every write.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::crash_stage::{Story, approve, ended, execute, gateway_of, socket, url_by};
use crate::fault_proxy::{Hold, Proxy, Spot, Trap, Upstream};
use crate::harness::{Agent, Client, Server, eventually, id, text};

const FILE: &str = "/etc/motd";

struct Stage {
    server: Server,
    agent: Agent,
    /// From the agent to the server.
    gateway: Proxy,
    /// From the server to its own database.
    log: Proxy,
    operator: Client,
    approvers: [Client; 2],
}

/// What is on the host.
#[derive(Debug, PartialEq)]
struct Found {
    content: String,
    inode: u64,
    jobs: usize,
}

impl Stage {
    async fn new() -> Self {
        let mut server = Server::start().await;
        let log = Proxy::to(Upstream::Postgres(socket(server.database()))).await;
        server.database_url = Some(url_by(server.database(), log.port()));
        server.lease_s = 5;
        server.restart().await;
        let gateway = Proxy::to(gateway_of(&server)).await;
        let address = format!("https://127.0.0.1:{}", gateway.port());
        let agent = Agent::start_by(&server, &address).await;
        std::fs::write(agent.path(FILE), "at first\n").unwrap();
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { server, agent, gateway, log, operator, approvers }
    }

    async fn approved(&self, content: &str) -> String {
        let parameters = json!({ "path": FILE, "content": content });
        let request = self.agent.request("host.set_file_content", parameters);
        let submitted = self.operator.submitted(request).await;
        approve(&self.approvers, &submitted).await;
        id(&submitted)
    }

    /// Executes until the intent is durable, and the server does not know it yet.
    async fn until_intended(&self, change: &str) -> Arc<Trap> {
        let spot = Spot {
            on: "nexplane-appender",
            after: Vec::new(),
            at: vec!["\"type\":\"run.step_intended\"".to_owned(), change.to_owned()],
        };
        let trap = self.log.trap(Hold::Answer, spot);
        drop(execute(&self.operator, change));
        trap.sprung().await;
        // Until the agent, which has just answered a question, asks for its next order.
        tokio::time::sleep(Duration::from_millis(300)).await;
        trap
    }

    /// The next server, to which the agent finds its way.
    async fn up(&mut self) {
        self.log.cut();
        self.server.up().await;
        self.gateway.lead_to(gateway_of(&self.server));
        self.gateway.mend();
        self.gateway.cut();
    }

    fn found(&self) -> Found {
        let path = self.agent.path(FILE);
        Found {
            content: std::fs::read_to_string(&path).unwrap(),
            inode: std::fs::metadata(&path).unwrap().ino(),
            jobs: jobs(&self.agent.journal(), "intent").len(),
        }
    }

    async fn until_content(&self, change: &str, content: &str) -> Found {
        eventually("the file is written", async || {
            let found = self.found();
            let story = Story::of(&self.server, change).await;
            let [(kind, why)] = story.events.last_chunk().unwrap();
            assert!(found.content == content || kind != "run.finished", "{why:#}");
            (found.content == content).then_some(found)
        })
        .await
    }

    async fn ended(&self, name: &str, change: &str) -> Story {
        let story = ended(&self.server, change).await;
        eprintln!("{name}: {:?}\n  {}", self.found(), story.told());
        story.is_sound();
        assert_eq!(story.end(), Some("change.completed"), "{name}: {}", story.told());
        story
    }
}

/// Jobs of which the journal has a record of this kind.
fn jobs(journal: &str, kind: &str) -> BTreeSet<String> {
    // The last line may be half written.
    let records = journal.lines().filter_map(|line| line.split_once(' '));
    let records = records.filter_map(|(_, json)| serde_json::from_str::<Value>(json).ok());
    records.filter(|record| record["record"] == kind).map(|record| text(&record["job"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_server_while_a_job_is_at_the_agent() {
    let mut stage = Stage::new().await;

    // The intent is durable and nothing was ordered.
    let change = stage.approved("one\n").await;
    let intended = stage.until_intended(&change).await;
    stage.server.kill9().await;
    intended.cut();
    stage.up().await;
    let story = stage.ended("intent, nothing sent", &change).await;
    // An agent that is slow to come back may be too late for the second attempt's answer.
    assert_eq!(story.findings()[0], "not_applied", "{}", story.told());
    assert!(!story.findings()[1..].contains(&"conflict"), "{}", story.told());
    assert_eq!((stage.found().content.as_str(), stage.found().jobs), ("one\n", 1));

    // The job is on its way to the agent, which hears of it from the next server.
    let change = stage.approved("two\n").await;
    let intended = stage.until_intended(&change).await;
    stage.gateway.deafen();
    intended.release();
    until_delivered(&stage, 2).await;
    stage.server.kill9().await;
    assert_eq!((stage.found().content.as_str(), stage.found().jobs), ("one\n", 1));
    stage.up().await;
    let story = stage.ended("in flight", &change).await;
    assert_eq!(story.findings(), ["applied"], "{}", story.told());
    assert_eq!((stage.found().content.as_str(), stage.found().jobs), ("two\n", 2));

    // The job is done, and the server dies before it hears of it.
    let change = stage.approved("three\n").await;
    let intended = stage.until_intended(&change).await;
    stage.gateway.mute();
    intended.release();
    let done = stage.until_content(&change, "three\n").await;
    stage.server.kill9().await;
    stage.up().await;
    let story = stage.ended("applied, response lost", &change).await;
    assert_eq!(story.findings(), ["applied"], "{}", story.told());
    assert_eq!(stage.found(), done, "it was written once");
    assert_eq!(done.jobs, 3);

    // The same on the way back.
    eventually("the change can be rolled back", async || {
        (stage.operator.change(&change).await["state"] == "complete").then_some(())
    })
    .await;
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    approve(&stage.approvers, &rollback).await;
    let rollback = id(&rollback);
    let intended = stage.until_intended(&rollback).await;
    stage.gateway.mute();
    intended.release();
    let undone = stage.until_content(&rollback, "two\n").await;
    stage.server.kill9().await;
    stage.up().await;
    let story = ended(&stage.server, &rollback).await;
    eprintln!("rollback: {}", story.told());
    assert_eq!((story.end(), story.findings()), (Some("change.completed"), vec!["applied"]));
    assert_eq!(stage.found(), undone, "it was put back once");
    assert_eq!(stage.operator.undone(&change).await["state"], "rolled_back");
}

/// Until the server has handed out so many jobs with an effect.
async fn until_delivered(stage: &Stage, count: i64) {
    eventually("the job is handed out", async || {
        let sql = "SELECT count(*) FROM nexplane.agent_jobs
             WHERE has_effect AND delivered_at IS NOT NULL";
        let pool = stage.server.database().pool();
        let delivered: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        (delivered == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_the_agent_and_of_its_line() {
    let mut stage = Stage::new().await;

    // The line is cut when the job is done; the result comes again.
    let change = stage.approved("one\n").await;
    let intended = stage.until_intended(&change).await;
    stage.gateway.mute();
    intended.release();
    let done = stage.until_content(&change, "one\n").await;
    stage.gateway.cut();
    stage.gateway.mend();
    let story = stage.ended("line cut", &change).await;
    assert!(!story.findings().contains(&"not_applied"), "{}", story.told());
    assert_eq!(stage.found(), done, "it was written once");

    // The agent dies at the first sign of the job, and a little later each time.
    let mut reached = Vec::new();
    for (number, wait_us) in [0, 300, 900, 2_000].into_iter().enumerate() {
        // Long, so that there is a middle.
        let content = format!("{number}{}\n", "x".repeat(80_000));
        let change = stage.approved(&content).await;
        let before = jobs(&stage.agent.journal(), "received");
        let intended = stage.until_intended(&change).await;
        intended.release();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let job = loop {
            let now = jobs(&stage.agent.journal(), "received");
            if let Some(job) = now.difference(&before).next() {
                break job.clone();
            }
            assert!(std::time::Instant::now() < end, "the agent does not begin");
            tokio::task::yield_now().await;
        };
        std::thread::sleep(std::time::Duration::from_micros(wait_us));
        stage.agent.kill9().await;
        let journal = stage.agent.journal();
        let has = |kind: &str| jobs(&journal, kind).contains(&job);
        reached.push((has("intent"), stage.found().content == content, has("result")));
        stage.agent.up();
        let story = stage.ended("agent killed", &change).await;
        assert!(!story.findings().contains(&"conflict"), "{}", story.told());
        let found = stage.found();
        assert_eq!((found.content == content, found.jobs), (true, 2 + number));
    }
    eprintln!("(intent, written, result) when the agent was killed: {reached:?}");
    assert!(reached.iter().any(|(_, _, result)| !result), "never in the middle: {reached:?}");
}
