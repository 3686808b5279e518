//! Cancelling a change that executes: what is under way ends, nothing else begins, and everybody is told.

use serde_json::{Value, json};

use crate::crash_matrix_spool::until_held;
use crate::crash_stage::{LOCK, Stage, Story, UNLOCK};
use crate::fault_proxy::Hold;
use crate::harness::{Client, eventually, items, text};

async fn cancel(by: &Client, change: &str, reason: &str) -> crate::harness::Answer {
    by.post(&format!("/change-requests/{change}/cancel"), json!({ "reason": reason })).await
}

fn action<'a>(change: &'a Value, name: &str) -> Option<&'a Value> {
    change["allowed"].as_array().unwrap().iter().find(|allowed| allowed["action"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_under_way_ends_and_no_other_begins() {
    let stage = Stage::new(30).await;
    let responder = stage.server.person("rosa", &["responder"]).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two"]).await;
    let change = stage.approved(LOCK, &roles).await;
    let (first, traps) = until_held(&stage, &change, &roles).await;

    // An approver has no brake; a responder who has no part in the change does.
    cancel(&stage.approvers[0], &change, "no").await.refused(403, "access.denied");
    assert_eq!(action(&stage.approvers[0].change(&change).await, "cancel").unwrap()["ok"], false);
    assert_eq!(action(&responder.change(&change).await, "cancel").unwrap()["ok"], true);
    cancel(&responder, &change, " ").await.refused(422, "validation.failed");
    let asked = cancel(&responder, &change, "the wrong roles").await.is(200);
    assert_eq!(asked["state"], "executing", "{asked:#}");
    let waits = text(&asked["waiting_for"]);
    assert!(waits.contains("after the step that is under way"), "{waits}");
    assert!(waits.contains("0 of 2") && waits.contains("the wrong roles"), "{waits}");
    assert_eq!(action(&asked, "cancel"), None, "it is so already: {asked:#}");
    cancel(&stage.operator, &change, "me too").await.is(200);

    traps.iter().for_each(|trap| trap.release());
    let ended = stage.operator.settled(&change).await;
    assert_eq!(ended["state"], "failed", "{ended:#}");
    let why = text(&ended["closing_reason"]);
    assert!(why.contains("Cancelled after 1 of 2 steps"), "{why}");
    assert!(why.contains("the wrong roles"), "{why}");
    let mut states: Vec<_> =
        ended["run"]["steps"].as_array().unwrap().iter().map(|step| text(&step["state"])).collect();
    states.sort();
    assert_eq!(states, ["blocked", "verified"]);
    assert_eq!(action(&ended, "rollback").unwrap()["ok"], true, "what was done can be undone");
    assert_eq!(stage.count.alterations(&roles[first]).await, 1);
    assert_eq!(stage.count.alterations(&roles[1 - first]).await, 0);
    cancel(&stage.operator, &change, "again").await.refused(409, "change.not_in_state");

    let story = Story::of(&stage.server, &change).await;
    story.is_sound();
    assert_eq!(story.count("run.cancel_asked"), 1, "{}", story.told());
    let line = eventually("the audit view has it", async || {
        let events = stage.operator.get(&format!("/change-requests/{change}/events")).await.is(200);
        items(&events).into_iter().find(|event| event["type"] == "run.cancel_asked")
    })
    .await;
    assert_eq!(line["summary"], "Asked that no further step begins.");
    assert_eq!(line["actor"]["id"].as_str(), Some(&*responder.id), "{line:#}");

    // What was done is undone, and only that.
    let rollback = stage.operator.act(&change, "rollback").await.is(201);
    assert_eq!(rollback["plan"]["step_count"], 1, "{rollback:#}");
    stage.approve(&rollback).await;
    stage.operator.executed(&crate::harness::id(&rollback)).await;
    assert_eq!(stage.count.alterations(&roles[first]).await, 2);
    assert!(stage.shop.lets_in(&roles[first], &roles[first]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_step_is_too_late_and_a_run_that_waits_ends_at_once() {
    let stage = Stage::new(30).await;
    let role = stage.shop.role(&stage.server, "app").await;
    let roles = std::slice::from_ref(&role);
    let change = stage.approved(LOCK, roles).await;
    let waiting = stage.approved(LOCK, roles).await;
    // Nothing has happened at the target yet, so the other one may be executed.
    let trap = stage.trap_effect(Hold::Request, &role, "ALTER");
    stage.execute(&change).await.unwrap().unwrap().is(200);
    trap.sprung().await;

    let told = cancel(&stage.operator, &change, "not today").await.refused(409, "run.too_late");
    assert!(text(&told["detail"]).contains("no step is left"), "{told:#}");
    let told = stage.operator.change(&change).await;
    let cancelling = action(&told, "cancel").unwrap();
    assert_eq!((&cancelling["ok"], &cancelling["code"]), (&json!(false), &json!("run.too_late")));

    // Its turn has not come, and need not.
    stage.operator.act(&waiting, "execute").await.is(200);
    cancel(&stage.operator, &waiting, "not today").await.is(200);
    let ended = stage.operator.settled(&waiting).await;
    assert_eq!(ended["state"], "failed", "{ended:#}");
    assert!(text(&ended["closing_reason"]).contains("after 0 of 1 steps"), "{ended:#}");
    let story = Story::of(&stage.server, &waiting).await;
    assert!(!story.has("run.step_intended"), "{}", story.told());

    trap.release();
    assert_eq!(stage.operator.settled(&change).await["state"], "complete");
    assert_eq!(stage.count.alterations(&role).await, 1);

    // Whoever stands in the queue after that has its turn.
    let next = stage.approved(UNLOCK, roles).await;
    assert_eq!(stage.operator.executed(&next).await["state"], "complete");
}

/// Whoever takes the run over begins nothing either.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_outlives_a_crash_of_the_server() {
    let mut stage = Stage::new(10).await;
    let roles = stage.shop.roles(&stage.server, &["one", "two"]).await;
    let change = stage.approved(LOCK, &roles).await;
    let (first, traps) = until_held(&stage, &change, &roles).await;
    cancel(&stage.operator, &change, "not today").await.is(200);
    stage.server.kill9().await;
    traps.iter().for_each(|trap| trap.cut());
    stage.server.up().await;
    let story = stage.ended(&change).await;
    story.is_sound();
    assert_eq!(story.end(), Some("change.failed"), "{}", story.told());
    assert_eq!(story.count("run.step_intended"), 1, "{}", story.told());
    assert_eq!(stage.count.alterations(&roles[first]).await, 1);
    assert_eq!(stage.count.alterations(&roles[1 - first]).await, 0);
}
