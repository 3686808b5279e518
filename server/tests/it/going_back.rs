//! Changes that go back by themselves: what was approved with them is done when their run fails, past
//! everything that holds up a rollback, and by nothing else.

use nexplane_core::audit::Auditor;
use nexplane_core::event::{Event, Recorded};
use nexplane_core::record;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::crash_stage::{LOCK, Stage};
use crate::fault_proxy::Hold;
use crate::harness::{Client, eventually, id, items, text};

impl Stage {
    /// Locks these roles, one after the other, and is approved.
    async fn locking(&self, roles: &[String], auto_rollback: bool) -> String {
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
            "auto_rollback": auto_rollback,
        });
        let submitted = self.operator.submitted(request).await;
        assert_eq!(submitted["auto_rollback"], auto_rollback, "{submitted:#}");
        self.approve(&submitted).await;
        id(&submitted)
    }

    /// Somebody does something to the target right after the second step's effect, so that it is found to
    /// be not as intended.
    async fn disturbed(&self, change: &str, role: &str, sql: &str) {
        let trap = self.trap_effect(Hold::Answer, role, "COMMIT");
        let asked = self.execute(change);
        trap.sprung().await;
        self.shop.sql(&format!("ALTER ROLE {role} LOGIN; {sql}")).await;
        trap.release();
        asked.await.unwrap().unwrap().is(200);
    }

    /// What the log says, held against the rules.
    async fn is_legitimate(&self) {
        let pool = self.server.database().pool();
        let mut auditor = Auditor::starting_at(0);
        let records = nexplane_store::testing::event_records(pool).await.unwrap();
        for (position, text) in (0..).zip(&records) {
            let (header, event) = Event::decode(record::decode(text).unwrap()).unwrap();
            auditor.observe(&Recorded { position, header, event });
        }
        let report = auditor.finish();
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        assert!(report.incomplete.is_empty(), "{:#?}", report.incomplete);
    }
}

/// A change, once it has failed, and what then became of it.
async fn gone_back(client: &Client, change: &str) -> Value {
    eventually("it has gone back", async || {
        let view = client.change(change).await;
        let ends = ["rolled_back", "rollback_partial", "rollback_blocked"];
        ends.contains(&view["state"].as_str().unwrap()).then_some(view)
    })
    .await
}

/// The rollback of a change, once there is one.
async fn rollback_of(client: &Client, change: &str) -> Value {
    eventually("a rollback is made", async || {
        let page = client.get("/change-requests?limit=100").await.is(200);
        items(&page).into_iter().find(|view| view["rollback_of"] == change)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_undone_when_the_next_step_is_not_as_intended() {
    let stage = Stage::new(30).await;
    let roles = stage.shop.roles(&stage.server, &["a", "b", "c", "d"]).await;
    let (first, second) = roles.split_at(2);
    let change = stage.locking(first, true).await;
    stage.disturbed(&change, &first[1], "").await;
    let undone = gone_back(&stage.operator, &change).await;
    assert_eq!(undone["state"], "rolled_back", "{undone:#}");
    assert!(text(&undone["closing_reason"]).contains("is not as intended"), "{undone:#}");
    for role in first {
        assert!(stage.shop.lets_in(role, role).await, "{role}");
    }
    // Nobody wrote it, and nobody was asked.
    let rollback = rollback_of(&stage.operator, &change).await;
    assert_eq!(rollback["requester"], Uuid::nil().to_string());
    assert_eq!(rollback["names"][Uuid::nil().to_string()], "Nexplane");
    assert_eq!(
        (&rollback["approvals_needed"], &rollback["state"]),
        (&json!(0), &json!("complete"))
    );
    let path = format!("/change-requests/{}/events", id(&rollback));
    let events = items(&stage.operator.get(&path).await.is(200));
    assert!(events.iter().all(|event| event["actor"]["kind"] == "system"), "{events:#?}");
    let history = stage.operator.history(&id(&rollback)).await;
    assert_eq!(history.iter().filter(|kind| *kind == "change.execution_started").count(), 1);
    assert!(!history.contains(&"change.approval_given".to_owned()), "{history:?}");

    // A target that is neither as the change left it nor as it was stays as it is.
    let change = stage.locking(second, true).await;
    stage.disturbed(&change, &second[1], &format!("DROP ROLE {}", second[0])).await;
    let blocked = gone_back(&stage.operator, &change).await;
    assert_eq!(blocked["state"], "rollback_blocked", "{blocked:#}");
    stage.is_legitimate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_it_up_and_without_the_wish_nothing_goes_back() {
    let stage = Stage::new(30).await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["a", "b", "c", "d"]).await;
    let wished = stage.locking(&roles[..2], true).await;
    let unwished = stage.locking(&roles[2..], false).await;
    let mut held = shop.target.admin().await;
    let (a, c) = (&roles[0], &roles[2]);
    let alter =
        format!("BEGIN; ALTER ROLE {a} CONNECTION LIMIT 7; ALTER ROLE {c} CONNECTION LIMIT 7");
    sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
    for change in [&wished, &unwished] {
        operator.act(change, "execute").await.is(200);
        eventually("the first step is intended", async || {
            let history = operator.history(change).await;
            history.contains(&"run.step_intended".to_owned()).then_some(())
        })
        .await;
    }
    let times = [-1, 1].map(|hours| {
        format!("{:.6}", jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours))
    });
    let body = json!({
        "scope": { "kind": "all" }, "start": times[0], "end": times[1], "reason": "closing",
    });
    let freeze = id(&server.admin.post("/freeze-windows", body).await.is(201));
    drop(held);
    for change in [&wished, &unwished] {
        let stopped = operator.settled(change).await;
        assert_eq!(stopped["state"], "failed", "{stopped:#}");
    }
    let rollback = id(&rollback_of(operator, &wished).await);
    let waits = operator.change(&rollback).await;
    assert_eq!(waits["state"], "approved", "{waits:#}");
    assert!(text(&waits["waiting_for"]).starts_with("Frozen until"), "{waits:#}");
    assert!(!shop.lets_in(a, a).await, "nothing was undone");
    // Nobody goes around the freeze, and it was not approved by asking twice.
    operator.act(&rollback, "execute").await.refused(423, "change.frozen");

    let path = format!("/freeze-windows/{freeze}/end");
    server.admin.post(&path, json!({ "reason": "over" })).await.is(200);
    let undone = gone_back(operator, &wished).await;
    assert_eq!(undone["state"], "rolled_back", "{undone:#}");
    assert!(shop.lets_in(a, a).await);
    let view = operator.change(&unwished).await;
    assert_eq!((&view["state"], &view["rolled_back_by"]), (&json!("failed"), &Value::Null));
    assert!(!shop.lets_in(c, c).await, "it stays done");
    stage.is_legitimate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_right_after_the_failure_does_not_keep_it_from_going_back() {
    let mut stage = Stage::new(6).await;
    let roles = stage.shop.roles(&stage.server, &["a", "b"]).await;
    let change = stage.locking(&roles, true).await;
    let trap = stage.trap_append(Hold::Answer, &change, "change.failed");
    stage.disturbed(&change, &roles[1], "").await;
    trap.sprung().await;
    stage.crash().await;
    let undone = gone_back(&stage.operator, &change).await;
    assert_eq!(undone["state"], "rolled_back", "{undone:#}");
    assert!(stage.shop.lets_in(&roles[0], &roles[0]).await);
    let page = stage.operator.get("/change-requests?limit=100").await.is(200);
    let rollbacks =
        items(&page).iter().filter(|view| view["rollback_of"] == change.as_str()).count();
    assert_eq!(rollbacks, 1);
    stage.is_legitimate().await;
}
