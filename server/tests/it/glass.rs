//! Breaking glass: who may, what it stands for, what it does not, and the review that follows.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, Shop, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approver: Client,
    responder: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        let responder = server.person("rita", &["responder"]).await;
        Self { server, shop, operator, approver, responder }
    }

    async fn submitted(&self, role: &str) -> Value {
        let request = self.shop.request(&self.operator, "postgres.lock_user", role).await;
        self.operator.submitted(request).await
    }
}

async fn break_glass(by: &Client, submitted: &Value) -> Answer {
    let body = json!({
        "plan_digest": submitted["plan"]["digest"],
        "justification": "The key has leaked, and nobody else is awake.",
    });
    by.post(&format!("/change-requests/{}/break-glass", id(submitted)), body).await
}

/// Why this client may not break glass; null when they may.
async fn why_not(by: &Client, change: &str) -> Value {
    let view = by.change(change).await;
    let allowed = items(&json!({ "items": view["allowed"] }));
    allowed.iter().find(|allowed| allowed["action"] == "break_glass").unwrap()["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_stands_for_the_quorum_and_somebody_reviews_it() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, responder } = &stage;
    let role = shop.role(server, "app").await;
    let both = server.person("bodo", &["operator", "responder"]).await;
    let request = shop.request(&both, "postgres.lock_user", &role).await;
    let submitted = both.submitted(request).await;
    let change = id(&submitted);

    assert_eq!(why_not(&both, &change).await, "change.own_override");
    assert_eq!(why_not(approver, &change).await, "access.denied");
    assert_eq!(why_not(responder, &change).await, Value::Null);
    break_glass(&both, &submitted).await.refused(403, "change.own_override");
    for client in [operator, approver, &server.admin] {
        break_glass(client, &submitted).await.refused(403, "access.denied");
    }
    let machine = json!({ "name": "pipeline", "kind": "machine" });
    let machine = responder.post("/tokens", machine).await.is(201);
    let machine = responder.with_token(&text(&machine["token"]));
    break_glass(&machine, &submitted).await.refused(403, "access.denied");
    let path = format!("/change-requests/{change}/break-glass");
    let digest = &submitted["plan"]["digest"];
    let stale = json!({ "plan_digest": "0".repeat(64), "justification": "now" });
    responder.post(&path, stale).await.refused(409, "change.stale_digest");
    for body in [
        json!({ "plan_digest": digest }),
        json!({ "plan_digest": digest, "justification": " " }),
        json!({ "plan_digest": digest, "justification": "x".repeat(2001) }),
    ] {
        responder.post(&path, body).await.refused(422, "validation.failed");
    }
    both.act(&change, "execute").await.refused(409, "change.quorum_missing");

    let broken = break_glass(responder, &submitted).await.is(200);
    assert_eq!(broken["state"], "approved", "{broken:#}");
    assert_eq!(broken["approvals"], json!([]), "no approval is made of it: {broken:#}");
    assert_eq!(broken["glass"][0]["by"], responder.id, "{broken:#}");
    assert_eq!(broken["glass"][0]["digest"], *digest);
    assert_eq!(broken["review_required"], true);
    assert!(broken["names"][&responder.id].is_string(), "{broken:#}");
    let until: jiff::Timestamp = text(&broken["approved_until"]).parse().unwrap();
    let hours = until.duration_since(jiff::Timestamp::now()).as_hours();
    assert_eq!(hours, 3, "just under four hours: {broken:#}");
    // Once it is broken it is broken.
    break_glass(responder, &submitted).await.is(200);
    let history = operator.history(&change).await;
    let last: Vec<_> = history.iter().rev().take(2).rev().collect();
    assert_eq!(last, ["change.glass_broken", "change.approved"]);

    let done = both.executed(&change).await;
    assert_eq!((&done["state"], &done["review_required"]), (&json!("complete"), &json!(true)));
    assert!(!shop.lets_in(&role, &role).await);
    assert!(text(&done["waiting_for"]).contains("to review that glass was broken"), "{done:#}");
    let due: jiff::Timestamp = text(&done["review_due"]).parse().unwrap();
    assert_eq!(due.duration_since(jiff::Timestamp::now()).as_hours(), 71, "{done:#}");
    // The run says who is behind it.
    let page = operator.get(&format!("/change-requests/{change}/events?limit=200")).await.is(200);
    let events = items(&page);
    let started = events.iter().find(|event| event["type"] == "run.started").unwrap();
    assert_eq!(started["data"]["approvals"], json!([responder.id]), "{started:#}");

    // It waits in the inbox of whoever may review it, and of nobody else.
    for (client, mine, code) in [
        (approver, true, Value::Null),
        (&both, false, json!("change.own_review")),
        (responder, false, json!("change.own_review")),
        (operator, false, json!("access.denied")),
    ] {
        let inbox = items(&client.get("/approvals/inbox").await.is(200));
        let item = inbox.iter().find(|item| item["change"]["id"] == change.as_str()).unwrap();
        assert_eq!((&item["may_review"], &item["code"]), (&json!(mine), &code), "{item:#}");
        assert_eq!(item["may_approve"], false);
    }
    let path = format!("/change-requests/{change}/review");
    let reviewed = approver.post(&path, json!({ "comment": "It had to be." })).await.is(200);
    assert_eq!(
        (&reviewed["review_required"], &reviewed["waiting_for"]),
        (&json!(false), &Value::Null)
    );
    assert!(items(&approver.get("/approvals/inbox").await.is(200)).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_and_another_plan_voids_it() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, responder, .. } = &stage;
    let role = shop.role(server, "app").await;
    let submitted = stage.submitted(&role).await;
    let change = id(&submitted);
    let now = jiff::Timestamp::now();
    let [start, end] = [-1, 1].map(|hours| now + jiff::SignedDuration::from_hours(hours));
    let freeze = json!({
        "scope": { "kind": "all" }, "reason": "year-end close",
        "start": format!("{start:.6}"), "end": format!("{end:.6}"),
    });
    let freeze = id(&server.admin.post("/freeze-windows", freeze).await.is(201));
    assert_eq!(why_not(responder, &change).await, "change.frozen");
    let refused = break_glass(responder, &submitted).await.refused(423, "change.frozen");
    assert_eq!(refused["freezes"], json!([freeze]));
    let path = format!("/change-requests/{change}/override-freeze");
    let body = json!({ "freeze": freeze, "justification": "The key has leaked." });
    responder.post(&path, body).await.is(200);
    break_glass(responder, &submitted).await.is(200);
    let path = format!("/change-requests/{change}");
    operator.patch(&path, json!({ "reason": "It leaked, and the audit asks." })).await.is(200);
    operator.act(&change, "plan").await.is(200);
    let again = operator.act(&change, "submit").await.is(200);
    assert_eq!(
        (&again["state"], &again["glass"][0]["superseded"]),
        (&json!("submitted"), &json!(true))
    );
    let path = format!("/freeze-windows/{freeze}/end");
    server.admin.post(&path, json!({ "reason": "over" })).await.is(200);
    operator.act(&change, "execute").await.refused(409, "change.quorum_missing");
    break_glass(responder, &submitted).await.refused(409, "change.stale_digest");
    break_glass(responder, &again).await.is(200);
    assert_eq!(operator.executed(&change).await["state"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_whether_and_no_review_may_be_overdue() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, responder } = &stage;
    let roles = shop.roles(server, &["a", "b", "c"]).await;
    let first = stage.submitted(&roles[0]).await;
    break_glass(responder, &first).await.is(200);
    let path = format!("/change-requests/{}/cancel", id(&first));
    operator.post(&path, json!({ "reason": "no longer" })).await.is(200);
    // Not yet due: it may be done again.
    let second = stage.submitted(&roles[1]).await;
    break_glass(responder, &second).await.is(200);
    // Only time makes it overdue, and the server has no other: the read model is told a time that is over.
    let overdue =
        "UPDATE nexplane.rm_changes SET review_due = now() - interval '1 hour' WHERE id = $1";
    let pool = server.database().pool();
    let moved = sqlx::query(overdue).bind(uuid::Uuid::parse_str(&id(&first)).unwrap());
    assert_eq!(moved.execute(pool).await.unwrap().rows_affected(), 1);
    let third = stage.submitted(&roles[2]).await;
    assert_eq!(why_not(responder, &id(&third)).await, "change.review_overdue");
    let refused = break_glass(responder, &third).await.refused(409, "change.review_overdue");
    assert_eq!(refused["blocking"], json!([id(&first)]), "{refused:#}");
    // That is for whoever broke it.
    let other = server.person("rolf", &["responder"]).await;
    assert_eq!(why_not(&other, &id(&third)).await, Value::Null);
    let path = format!("/change-requests/{}/review", id(&first));
    approver.post(&path, json!({ "comment": "It had to be." })).await.is(200);
    break_glass(responder, &third).await.is(200);

    // A document that says nothing of it lets nobody.
    let document = json!({ "rules": [{ "then": { "ask": { "approvals": 1 } } }] });
    let body = json!({ "document": document, "note": "No glass", "based_on": 1 });
    let published = server.admin.post("/policies", body).await.is(201);
    assert_eq!(published["text"], json!(["anything else needs one approver"]), "{published:#}");
    let fourth = stage.submitted(&roles[0]).await;
    assert_eq!(why_not(responder, &id(&fourth)).await, "change.glass_not_allowed");
    break_glass(responder, &fourth).await.refused(422, "change.glass_not_allowed");
    let document =
        json!({ "rules": [{ "then": { "ask": { "approvals": 1, "break_glass": true } } }] });
    let body = json!({ "document": document, "note": "Glass again", "based_on": 2 });
    let published = server.admin.post("/policies", body).await.is(201);
    let weakened = &published["analysis"]["weakened"][0]["sentence"];
    assert!(text(weakened).contains("glass that a responder may break"), "{published:#}");
}
