//! How long a change of a host can be undone: its agent's receipt says it, everybody sees it, and from then on
//! no step of a rollback goes on. The agent is the real one, of an owner who keeps before-states for seconds.

use std::fs;
use std::time::Duration;

use nexplane_core::audit::Auditor;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::record;
use nexplane_core::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Agent, Client, Server, id, items, text};

/// Long enough to propose a rollback, and have it approved, on a slow machine.
const KEPT: &str = "30s";

struct Stage {
    server: Server,
    agent: Agent,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    async fn new(kept: &str) -> Self {
        let server = Server::start().await;
        let agent = Agent::start_keeping(&server, kept).await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        fs::write(agent.path("/etc/motd"), "before\n").unwrap();
        Self { server, agent, operator, approvers }
    }

    /// With as many as the policy wants.
    async fn approve(&self, submitted: &Value) {
        let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
        for approver in self.approvers.iter().take(needed) {
            approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
        }
    }

    async fn executed(&self) -> Value {
        let parameters = json!({ "path": "/etc/motd", "content": "after\n" });
        let request = self.agent.request("host.set_file_content", parameters);
        let submitted = self.operator.submitted(request).await;
        assert_eq!(submitted["rollback"], Value::Null, "nothing was done yet");
        self.approve(&submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    fn motd(&self) -> String {
        fs::read_to_string(self.agent.path("/etc/motd")).unwrap()
    }
}

fn until(change: &Value) -> Timestamp {
    text(&change["rollback"]["possible_until"]).parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}

fn rollback_allowed(change: &Value) -> Value {
    let allowed = change["allowed"].as_array().unwrap();
    allowed.iter().find(|entry| entry["action"] == "rollback").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_undone_in_time_or_not_at_all() {
    let stage = Stage::new(KEPT).await;
    let started = now();
    let done = stage.executed().await;
    let change = id(&done);
    let until = until(&done);
    assert!(until > started.plus_seconds(30) && until <= now().plus_seconds(30), "{until}");
    let history = stage.operator.history(&change).await;
    let limited = history.iter().position(|kind| kind == "change.undo_limited");
    assert_eq!(history.get(limited.unwrap() + 1).unwrap(), "change.completed", "{history:?}");

    // In time, it may be proposed and approved.
    assert_eq!(rollback_allowed(&stage.operator.change(&change).await)["ok"], true);
    let proposed = stage.operator.act(&change, "rollback").await.is(201);
    stage.approve(&proposed).await;
    let rollback = id(&proposed);

    while now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let late = rollback_allowed(&stage.operator.change(&change).await);
    assert_eq!((&late["ok"], &late["code"]), (&json!(false), &json!("rollback.too_late")));
    assert!(text(&late["why_not"]).contains(&until.to_string()), "{late:#}");
    stage.operator.act(&change, "rollback").await.refused(409, "rollback.too_late");
    stage.operator.act(&rollback, "execute").await.refused(409, "rollback.too_late");
    stage.operator.act(&rollback, "withdraw").await.is(200);
    stage.operator.act(&rollback, "submit").await.refused(409, "rollback.too_late");
    stage.operator.act(&rollback, "plan").await.refused(409, "rollback.too_late");
    assert_eq!(stage.operator.change(&change).await["state"], "complete");
    assert_eq!(stage.motd(), "after\n");

    let page = stage.server.admin.get("/audit?type=change.undo_limited").await.is(200);
    let [said] = items(&page).try_into().unwrap();
    assert_eq!(text(&said["summary"]), format!("What the change did can be undone until {until}."));
    is_legitimate(&stage.server).await;
}

/// What the log says, held against the rules.
async fn is_legitimate(server: &Server) {
    let records = nexplane_store::testing::event_records(server.database().pool()).await.unwrap();
    let mut auditor = Auditor::starting_at(0);
    for (position, text) in (0..).zip(&records) {
        let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
        auditor.observe(&Recorded { position, header, event });
    }
    let report = auditor.finish();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}
