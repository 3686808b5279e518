//! The approval policy: who publishes it, what it decides from then on, and drafts of it.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, Shop, id, items, text};

struct Stage {
    server: Server,
    shop: Shop,
    operator: Client,
    approver: Client,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let shop = Shop::connect(&server, "staging").await;
        let operator = server.operator().await;
        let approver = server.approver().await;
        Self { server, shop, operator, approver }
    }

    async fn planned(&self, action: &str, role: &str) -> String {
        let request = self.shop.request(&self.operator, action, role).await;
        let change = id(&self.operator.post("/change-requests", request).await.is(201));
        self.operator.act(&change, "plan").await.is(200);
        change
    }

    async fn submit(&self, change: &str) -> Answer {
        self.operator.act(change, "submit").await
    }

    async fn submitted(&self, action: &str, role: &str) -> Value {
        let change = self.planned(action, role).await;
        self.submit(&change).await.is(200)
    }

    async fn approve(&self, submitted: &Value) {
        self.approver.approve(&id(submitted), &submitted["plan"]["digest"]).await.is(200);
    }

    async fn complete(&self, role: &str) -> String {
        let submitted = self.submitted("postgres.lock_user", role).await;
        self.approve(&submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        id(&submitted)
    }
}

async fn publish(by: &Client, document: Value, based_on: u32) -> Answer {
    let body = json!({ "document": document, "note": "as agreed", "based_on": based_on });
    by.post("/policies", body).await
}

async fn simulate(by: &Client, document: Value) -> Answer {
    by.post("/policies/simulate", json!({ "document": document })).await
}

fn ask(approvals: u32) -> Value {
    json!({ "ask": { "approvals": approvals } })
}

/// These rules, and this many approvals for everything else.
fn document(rules: &[Value], otherwise: u32) -> Value {
    let last = json!({ "then": ask(otherwise) });
    json!({ "rules": rules.iter().cloned().chain([last]).collect::<Vec<_>>() })
}

/// What the policy asked of the newest submission, from its event.
async fn decided(client: &Client, change: &str) -> Value {
    let page = client.get(&format!("/change-requests/{change}/events?limit=200")).await.is(200);
    let events = items(&page);
    let submitted = events.iter().rfind(|event| event["type"] == "change.submitted").unwrap();
    submitted["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_decides_what_is_submitted_from_then_on() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, .. } = &stage;
    let roles = shop.roles(server, &["a", "b", "c"]).await;
    let before = stage.submitted("postgres.lock_user", &roles[0]).await;
    assert_eq!(before["approvals_needed"], 1, "{before:#}");
    let planned = stage.planned("postgres.lock_user", &roles[1]).await;

    let locking = json!({ "when": { "change_type": ["postgres.*"] }, "then": ask(2) });
    let second = publish(&server.admin, document(&[locking], 3), 1).await.is(201);
    assert_eq!((&second["version"], &second["current"]), (&json!(2), &json!(true)), "{second:#}");
    let said = "a change of type postgres.* needs two approvers";
    assert_eq!(second["text"], json!([said, "anything else needs three approvers"]));

    // A plan of version 1 is not judged by version 2, which it says nothing of.
    let refused = stage.submit(&planned).await.refused(409, "change.plan_outdated");
    assert!(text(&refused["detail"]).contains("version 1"), "{refused:#}");
    let shown = operator.change(&planned).await;
    let submit = items(&json!({ "items": shown["allowed"] }));
    let submit = submit.iter().find(|allowed| allowed["action"] == "submit").unwrap();
    assert_eq!(submit["code"], "change.plan_outdated", "{shown:#}");
    let again = operator.act(&planned, "plan").await.is(200);
    assert_ne!(again["plan"]["digest"], shown["plan"]["digest"]);
    let after = stage.submit(&planned).await.is(200);
    assert_eq!(after["approvals_needed"], 2, "{after:#}");
    let payload = decided(operator, &planned).await;
    assert_eq!(payload["quorum"]["policy_version"], 2, "{payload:#}");
    assert_eq!(payload["quorum"]["rule"], said, "{payload:#}");
    assert_eq!(payload["tags"], json!([]), "{payload:#}");

    // What was submitted before stays what it was.
    stage.approve(&before).await;
    let done = operator.executed(&id(&before)).await;
    assert_eq!(done["state"], "complete", "{done:#}");

    // Tags of targets, and what is refused.
    let tagged = json!({ "when": { "tag": ["billing"], "rollback": false }, "then": ask(4) });
    let dropping = json!({
        "when": { "change_type": ["postgres.drop_user"], "rollback": false },
        "then": { "refuse": { "reason": "roles are locked, not dropped" } },
    });
    let third = publish(&server.admin, document(&[dropping, tagged], 1), 2).await.is(201);
    let weakened = &third["analysis"]["weakened"];
    assert_eq!(weakened[0]["rule"], 3, "{third:#}");
    let asset = id(&shop.asset(operator, &roles[2]).await);
    operator.patch(&format!("/assets/{asset}"), json!({ "tags": ["billing"] })).await.is(200);
    let billed = stage.submitted("postgres.lock_user", &roles[2]).await;
    assert_eq!(billed["approvals_needed"], 4, "{billed:#}");
    assert_eq!(decided(operator, &id(&billed)).await["tags"], json!(["billing"]));
    let drop = stage.planned("postgres.drop_user", &roles[2]).await;
    let refused = stage.submit(&drop).await.refused(422, "change.refused_by_policy");
    assert!(text(&refused["detail"]).contains("locked, not dropped"), "{refused:#}");
    assert_eq!(operator.change(&drop).await["state"], "draft");

    // A rollback is a change as well.
    let back = operator.act(&id(&before), "rollback").await.is(201);
    assert_eq!((&back["state"], &back["approvals_needed"]), (&json!("submitted"), &json!(1)));

    let page = operator.get("/policies").await.is(200);
    let versions: Vec<_> = items(&page).iter().map(|view| view["version"].clone()).collect();
    assert_eq!(versions, [3, 2, 1]);
    let current: Vec<_> = items(&page).iter().map(|view| view["current"].clone()).collect();
    assert_eq!(current, [true, false, false]);
    assert_eq!(page["items"][0]["note"], "as agreed");
    assert!(page["items"][2].get("published_by").is_none_or(Value::is_null), "{page:#}");
    let by = text(&page["items"][0]["published_by"]);
    assert!(page["items"][0]["names"][by].is_string(), "{page:#}");
    let one = operator.get("/policies?limit=1&cursor=3").await.is(200);
    assert_eq!((&one["items"][0]["version"], &one["next_cursor"]), (&json!(2), &json!("2")));
    // The newest page and the others say the same of a version.
    assert_eq!(one["items"][0]["analysis"], page["items"][1]["analysis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_who_are_signed_in_publish_and_only_on_what_is_in_force() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let machine = json!({ "name": "pipeline", "kind": "machine" });
    let machine = server.admin.post("/tokens", machine).await.is(201);
    let machine = server.admin.with_token(&text(&machine["token"]));
    let good = || document(&[], 2);
    for by in [&operator, &machine] {
        publish(by, good(), 1).await.refused(403, "access.denied");
    }
    let admin = &server.admin;
    publish(admin, good(), 2).await.refused(409, "policy.moved");
    publish(admin, good(), 1).await.is(201);
    publish(admin, good(), 1).await.refused(409, "policy.moved");
    publish(admin, good(), 2).await.refused(409, "policy.unchanged");

    let wrong = [
        (document(&[], 0), "/document/rules/0/then/ask/approvals"),
        (document(&[], 6), "/document/rules/0/then/ask/approvals"),
        (json!({ "rules": [] }), "/document/rules"),
        (
            json!({ "rules": [{ "when": { "levels": ["low"] }, "then": ask(1) }] }),
            "/document/rules/0/when/levels",
        ),
        (
            document(&[json!({ "when": { "level": [] }, "then": ask(1) })], 1),
            "/document/rules/0/when/level",
        ),
    ];
    for (document, pointer) in wrong {
        for answer in
            [publish(admin, document.clone(), 2).await, simulate(&operator, document).await]
        {
            let problem = answer.refused(422, "validation.failed");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
        }
    }
    let body = json!({ "document": document(&[], 3), "note": " ", "based_on": 2 });
    let problem = admin.post("/policies", body).await.refused(422, "validation.failed");
    assert_eq!(problem["errors"][0]["pointer"], "/note", "{problem:#}");
    assert_eq!(items(&operator.get("/policies").await.is(200)).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_held_against_what_was_really_submitted() {
    let stage = Stage::new().await;
    let Stage { server, shop, operator, approver, .. } = &stage;
    let viewer = server.person("vera", &["viewer"]).await;
    let nothing = simulate(&viewer, document(&[], 2)).await.is(200);
    assert_eq!(nothing["compared"], 0, "{nothing:#}");
    assert_eq!(nothing["sentence"], "There is no submission to compare with.");

    let roles = shop.roles(server, &["a", "b", "c", "d", "e"]).await;
    stage.complete(&roles[0]).await;
    stage.complete(&roles[1]).await;
    let undone = stage.complete(&roles[2]).await;
    let back = operator.act(&undone, "rollback").await.is(201);
    stage.approve(&back).await;
    operator.executed(&id(&back)).await;
    operator.undone(&undone).await;
    let rejected = stage.submitted("postgres.lock_user", &roles[3]).await;
    let path = format!("/change-requests/{}/reject", id(&rejected));
    approver.post(&path, json!({ "reason": "not today" })).await.is(200);
    // A draft is no submission.
    stage.planned("postgres.lock_user", &roles[4]).await;

    let events = server.events().await;
    let as_before = json!({ "ask": { "approvals": 1, "break_glass": true } });
    let rollbacks = json!({ "when": { "rollback": true }, "then": as_before });
    let found = simulate(&viewer, document(&[rollbacks], 2)).await.is(200);
    let counts = ["compared", "stricter", "looser", "refused", "mixed", "unknown"];
    let counts: Vec<_> = counts.iter().map(|name| found[name].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 4, 0, 0, 0, 0], "{found:#}");
    assert_eq!(
        found["by_outcome"],
        json!({ "stricter": { "complete": 2, "rejected": 1, "rolled_back": 1 } })
    );
    assert_eq!(
        found["sentence"],
        "It would have asked for more in 4 of 5 changes: 1 was rolled back, 2 were fine, 1 has no \
         outcome."
    );
    assert_eq!(found["cut"], false);
    let changed = found["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 4);
    assert_eq!(changed[0]["id"], rejected["id"], "newest first: {found:#}");
    assert_eq!(
        changed[0]["was"], "medium risk needs one approver; a responder may break glass",
        "{found:#}"
    );
    assert_eq!(changed[0]["would_be"], "anything else needs two approvers");

    let locking = json!({
        "when": { "change_type": ["postgres.lock_user"], "rollback": false },
        "then": { "refuse": { "reason": "not here" } },
    });
    let found = simulate(&viewer, document(&[locking], 1)).await.is(200);
    assert_eq!((&found["refused"], &found["looser"]), (&json!(4), &json!(0)), "{found:#}");
    assert_eq!(server.events().await, events, "a simulation changes nothing");
    assert_eq!(items(&viewer.get("/policies").await.is(200)).len(), 1);
}
