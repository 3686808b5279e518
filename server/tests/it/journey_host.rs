//! The story of one change of a file, carried out by a real agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nexplane_peers::spelling::spellings;
use serde_json::{Value, json};

use crate::harness::{Agent, Client, Server, id, text};
use crate::leak::nothing_leaked;

struct Stage {
    server: Server,
    agent: Agent,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let agent = Agent::start(&server).await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        Self { server, agent, operator, approvers }
    }

    /// Approves as often as the policy wants: a host is in prod until somebody says otherwise.
    async fn approve(&self, submitted: &Value) {
        let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
        assert!((1..=2).contains(&needed), "{submitted:#}");
        for approver in self.approvers.iter().take(needed) {
            approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }

    async fn set_content(&self, content: &str) -> Value {
        let parameters = json!({ "path": "/etc/motd", "content": content });
        let request = self.agent.request("host.set_file_content", parameters);
        let submitted = self.operator.submitted(request).await;
        self.approve(&submitted).await;
        self.operator.executed(&id(&submitted)).await
    }

    async fn roll_back(&self, change: &Value) -> Value {
        let rollback = self.operator.act(&id(change), "rollback").await.is(201);
        self.approve(&rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        self.operator.undone(&id(change)).await;
        settled
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_and_put_back_as_it_was() {
    let stage = Stage::new().await;
    let motd = stage.agent.path("/etc/motd");
    fs::write(&motd, "before\n").unwrap();
    fs::set_permissions(&motd, fs::Permissions::from_mode(0o664)).unwrap();

    let parameters = json!({ "path": "/etc/motd", "content": "after\n" });
    let request = stage.agent.request("host.set_file_content", parameters);
    let submitted = stage.operator.submitted(request).await;
    let diff = submitted["plan"]["diff"].as_array().unwrap();
    let content = diff.iter().find(|line| line["field"] == "content").unwrap();
    assert_eq!((&content["before"], &content["after"]), (&json!("before\n"), &json!("after\n")));
    assert_eq!(fs::read_to_string(&motd).unwrap(), "before\n", "a plan changes nothing");
    let change = id(&submitted);
    let digest = &submitted["plan"]["digest"];
    stage.operator.approve(&change, digest).await.refused(403, "change.own_approval");
    stage.approve(&submitted).await;

    let complete = stage.operator.executed(&change).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert_eq!(fs::read_to_string(&motd).unwrap(), "after\n");
    assert_eq!(fs::metadata(&motd).unwrap().permissions().mode() & 0o7777, 0o664);

    let rollback = stage.roll_back(&complete).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert_eq!(stage.operator.change(&change).await["state"], "rolled_back");
    assert_eq!(fs::read_to_string(&motd).unwrap(), "before\n");
    assert_eq!(fs::metadata(&motd).unwrap().permissions().mode() & 0o7777, 0o664);
}

const OLD: &str = "deploy:$6$ofold$ofoldofold:20001:1:90:7:3::\n";

/// What this system's own `crypt(3)` says.
fn lets_in(shadow: &str, user: &str, password: &str) -> bool {
    let line = shadow.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':'));
    let hash = line.unwrap().split(':').next().unwrap();
    let script = "exit(crypt($ARGV[0], $ARGV[1]) ne $ARGV[1])";
    std::process::Command::new("perl")
        .args(["-e", script, password, hash])
        .status()
        .unwrap()
        .success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_handed_over_once_and_is_nowhere_else() {
    let stage = Stage::new().await;
    let Stage { server, agent, operator, approvers } = &stage;
    let shadow = agent.path("/etc/shadow");
    fs::write(agent.path("/etc/passwd"), "deploy:x:1001:1001::/home/deploy:/bin/sh\n").unwrap();
    fs::write(&shadow, OLD).unwrap();
    let request = agent.request("host.rotate_local_password", json!({ "user": "deploy" }));
    let submitted = operator.submitted(request).await;
    let diff = &submitted["plan"]["diff"][0];
    assert_eq!((&diff["field"], &diff["after"]), (&json!("password"), &json!("a new random one")));
    stage.approve(&submitted).await;
    let complete = operator.executed(&id(&submitted)).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");

    let secret = &complete["secrets"][0];
    assert_eq!((&secret["name"], &secret["revealed"]), (&json!("password"), &json!(false)));
    let path = format!("/secrets/{}/reveal", id(secret));
    approvers[0].post(&path, json!({})).await.refused(403, "access.denied");
    server.admin.post(&path, json!({})).await.refused(403, "access.denied");
    let revealed = operator.post(&path, json!({})).await.is(200);
    let value = text(&revealed["value"]);
    assert!(lets_in(&fs::read_to_string(&shadow).unwrap(), "deploy", &value));
    operator.post(&path, json!({})).await.refused(409, "secret.already_revealed");

    // The new password is in nothing that is kept or shown, and of the old one not even the hash.
    operator.get(&format!("/change-requests/{}/events?limit=200", id(&complete))).await.is(200);
    nothing_leaked(server, &[&value, "ofoldofold"]).await;
    let kept = agent.kept();
    assert!(kept.len() > 200, "{kept}");
    for spelling in [&value, "ofoldofold"].into_iter().flat_map(spellings) {
        assert!(!kept.contains(&spelling), "the agent has {spelling}");
    }
    let rollback = stage.roll_back(&complete).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert_eq!(fs::read_to_string(&shadow).unwrap(), OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_new_is_gone_after_the_rollback() {
    let stage = Stage::new().await;
    let complete = stage.set_content("hello\n").await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    assert_eq!(fs::read_to_string(stage.agent.path("/etc/motd")).unwrap(), "hello\n");
    let rollback = stage.roll_back(&complete).await;
    assert_eq!(rollback["state"], "complete", "{rollback:#}");
    assert!(!stage.agent.path("/etc/motd").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_edited_since_is_left_alone() {
    let stage = Stage::new().await;
    let motd = stage.agent.path("/etc/motd");
    fs::write(&motd, "before\n").unwrap();
    let complete = stage.set_content("after\n").await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    fs::write(&motd, "of somebody else\n").unwrap();

    let blocked = stage.roll_back(&complete).await;
    assert_eq!(blocked["state"], "rollback_blocked", "{blocked:#}");
    let step = &blocked["run"]["steps"][0];
    let hash = |side: &str| {
        let fields = step[side].as_array().unwrap();
        fields.iter().find(|field| field["name"] == "sha256").unwrap()["value"].to_string()
    };
    let (before, after, now) = (hash("before"), hash("after"), hash("now"));
    assert!(before != after && before != now && after != now, "{step:#}");
    assert_eq!(stage.operator.change(&id(&complete)).await["state"], "rollback_blocked");
    assert_eq!(fs::read_to_string(&motd).unwrap(), "of somebody else\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_takes_no_more_orders() {
    let stage = Stage::new().await;
    let hosts = stage.server.admin.get("/hosts").await.is(200);
    let path = format!("/hosts/{}/revoke", id(&hosts["items"][0]));
    let revoked = stage.server.admin.post(&path, json!({ "reason": "stolen" })).await.is(200);
    assert_eq!(revoked["status"], "revoked");
    let parameters = json!({ "path": "/etc/motd", "content": "x" });
    let request = stage.agent.request("host.set_file_content", parameters);
    let change = id(&stage.operator.post("/change-requests", request).await.is(201));
    let refused = stage.operator.act(&change, "plan").await;
    refused.is_problem();
    assert!(!stage.agent.path("/etc/motd").exists());
}
