//! Rollouts whose parts wait for each other or for somebody else.

use serde_json::{Value, json};

use crate::crash_stage::{LOCK, Stage};
use crate::fault_proxy::{Hold, Spot};
use crate::harness::{eventually, id};

impl Stage {
    /// An approved change that locks these roles, in their order.
    async fn rolling_out(&self, roles: &[String], strategy: Value) -> String {
        let mut targets = Vec::new();
        for role in roles {
            targets.push(self.shop.asset(&self.operator, role).await["key"].clone());
        }
        let request = json!({
            "title": "Lock them",
            "reason": "Their owner has left the company.",
            "change_type": LOCK,
            "connection_id": self.shop.connection,
            "targets": targets,
            "parameters": {},
            "rollout": strategy,
        });
        let submitted = self.operator.submitted(request).await;
        self.approve(&submitted).await;
        id(&submitted)
    }

    /// The first is a member of the second.
    async fn related(&self) -> Vec<String> {
        let roles = self.shop.roles(&self.server, &["member", "group"]).await;
        self.shop.sql(&format!("GRANT {} TO {}", roles[1], roles[0])).await;
        let path = format!("/connections/{}/discover", self.shop.connection);
        self.server.admin.post(&path, json!({})).await.is(200);
        roles
    }

    async fn waiting(&self, change: &str) -> i64 {
        let waiting =
            "SELECT count(DISTINCT run) FROM nexplane.target_queue WHERE change = $1::uuid";
        let pool = self.server.database().pool();
        sqlx::query_scalar(waiting).bind(change).fetch_one(pool).await.unwrap()
    }

    /// A rollout of two roles, of which one is being read and the other waits for it, that is then paused.
    async fn paused(&self, roles: &[String]) -> String {
        let strategy = json!({ "canary": 2, "batch": 2, "parallel": 2 });
        let change = self.rolling_out(roles, strategy).await;
        // Whichever comes first.
        let at = vec![self.shop.target.role("")];
        let trap = self.line.trap(Hold::Request, Spot { at, ..Spot::default() });
        self.operator.act(&change, "execute").await.is(200);
        trap.sprung().await;
        eventually("the other waits", async || (self.waiting(&change).await == 2).then_some(()))
            .await;
        let path = format!("/change-requests/{change}/pause");
        self.operator.post(&path, json!({ "reason": "a look at it" })).await.is(200);
        trap.release();
        // Nobody has to wait for what is paused.
        eventually("both gave up their turn", async || {
            (self.waiting(&change).await == 0).then_some(())
        })
        .await;
        change
    }
}

fn tally(view: &Value) -> [u64; 4] {
    let progress = &view["rollout"]["progress"];
    ["complete", "failed", "unknown", "not_started"].map(|name| progress[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_while_a_part_waits_for_another_is_over_when_somebody_says_so() {
    let stage = Stage::new(30).await;
    let roles = stage.related().await;
    let change = stage.paused(&roles).await;
    // Others have their turn meanwhile.
    let mut request =
        stage.shop.request(&stage.operator, "postgres.set_connection_limit", &roles[1]).await;
    request["parameters"] = json!({ "limit": 7 });
    let other = stage.operator.submitted(request).await;
    stage.approve(&other).await;
    let other = stage.operator.executed(&id(&other)).await;
    assert_eq!(other["state"], "complete", "{other:#}");
    assert_eq!(stage.operator.change(&change).await["state"], "executing");

    stage.operator.act(&change, "resume").await.is(200);
    let view = stage.operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("complete"), [2, 0, 0, 0]), "{view:#}");
    for role in &roles {
        assert!(!stage.shop.lets_in(role, role).await, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_after_a_pause_ends_parts_that_wait_for_each_other() {
    let stage = Stage::new(30).await;
    let roles = stage.related().await;
    let change = stage.paused(&roles).await;
    let path = format!("/change-requests/{change}/stop");
    stage.operator.post(&path, json!({ "reason": "enough" })).await.is(200);
    let view = stage.operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [0, 0, 0, 2]), "{view:#}");
    for role in &roles {
        assert!(stage.shop.lets_in(role, role).await, "{role}");
    }
}

/// More failed than was agreed while a part waited for somebody else's turn to end: it is not begun any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_the_canary_fails_is_not_begun() {
    let stage = Stage::new(30).await;
    let roles = stage.related().await;
    let (member, group) = (roles[0].clone(), roles[1].clone());
    let moved = stage.shop.role(&stage.server, "moved").await;
    let strategy = json!({ "canary": 2, "batch": 2, "parallel": 2 });
    let change = stage.rolling_out(&[member.clone(), moved.clone()], strategy).await;
    let elsewhere = stage.approved(LOCK, std::slice::from_ref(&group)).await;
    stage.shop.sql(&format!("ALTER ROLE {moved} NOLOGIN")).await;
    let trap = stage.trap_effect(Hold::Request, &group, "ALTER");
    let first = stage.execute(&elsewhere);
    trap.sprung().await;

    stage.operator.act(&change, "execute").await.is(200);
    let view = stage.operator.settled(&change).await;
    assert_eq!((&view["state"], tally(&view)), (&json!("failed"), [0, 1, 0, 1]), "{view:#}");
    assert!(trap.is_held(), "it did not wait for the other's end");
    trap.release();
    first.await.unwrap().unwrap().is(200);
    assert_eq!(stage.operator.settled(&elsewhere).await["state"], "complete");
    assert!(stage.shop.lets_in(&member, &member).await);
}
