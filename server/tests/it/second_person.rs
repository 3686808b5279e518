//! Ways around the second person that were found once, and are closed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Shop, id, items, text};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_token_that_acts_as_somebody_else() {
    let server = Server::start().await;
    let (admin, approver) =
        (server.person("berta", &["admin", "operator"]).await, server.approver().await);
    let token = |kind: &str, owner: &Value| json!({ "name": "x", "kind": kind, "owner": owner });
    let other = json!(approver.id);
    admin.post("/tokens", token("user", &other)).await.refused(403, "access.denied");
    // One that only proposes may be made for them, and everybody may make their own.
    admin.post("/tokens", token("machine", &other)).await.is(201);
    approver.post("/tokens", token("user", &other)).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_no_second_secret() {
    let server = Server::start().await;
    let admin = server.person("berta", &["admin"]).await;
    for (path, body) in [
        ("/tokens", json!({ "name": "x", "kind": "user" })),
        ("/hosts/enrollment-tokens", json!({})),
    ] {
        let once = async || {
            let asked = admin.request(Method::POST, path).header("idempotency-key", path);
            admin.send(asked.json(&body)).await
        };
        once().await.is(201);
        once().await.refused(409, "idempotency.secret_given");
    }
    assert_eq!(items(&admin.get("/tokens").await.is(200)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_taken_away_after_the_submission_still_counts() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let (operator, approver) = (server.operator().await, server.approver().await);
    let admin = server.person("berta", &["admin"]).await;
    let role = shop.role(&server, "app").await;
    let asset = shop.asset(&operator, &role).await;
    let path = format!("/assets/{}", text(&asset["id"]));
    operator.patch(&path, json!({ "tags": ["billing"] })).await.is(200);
    let request = shop.request(&operator, "postgres.lock_user", &role).await;
    let submitted = operator.submitted(request).await;
    approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
    let now = jiff::Timestamp::now();
    let freeze = json!({
        "reason": "The books are closed.",
        "scope": { "kind": "tag", "tag": "billing" },
        "start": format!("{now:.6}"),
        "end": format!("{:.6}", now + jiff::SignedDuration::from_hours(1)),
    });
    let freeze = admin.post("/freeze-windows", freeze).await.is(201);
    operator.patch(&path, json!({ "tags": [] })).await.is(200);
    operator.act(&id(&submitted), "execute").await.refused(423, "change.frozen");
    let path = format!("/freeze-windows/{}/end", text(&freeze["id"]));
    admin.post(&path, json!({ "reason": "Done." })).await.is(200);
    assert_eq!(operator.executed(&id(&submitted)).await["state"], "complete");
}

/// Edits race with the submission: what is submitted for an environment is what was planned for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_is_what_was_assessed() {
    let server = Server::start().await;
    let (calm, dear) = (Shop::connect(&server, "dev").await, Shop::connect(&server, "prod").await);
    let operator = server.operator().await;
    let (low, high) = (calm.role(&server, "low").await, dear.role(&server, "high").await);
    let (low, high) = (
        calm.asset(&operator, &low).await["id"].clone(),
        dear.asset(&operator, &high).await["id"].clone(),
    );
    let strategy = json!({ "canary": 1, "batch": 1, "parallel": 1 });
    for round in 0..12_u64 {
        let request = json!({
            "title": "Lock",
            "reason": "It is not used.",
            "change_type": "postgres.lock_user",
            "connection_id": calm.connection,
            "targets": [low],
            "parameters": {},
            "rollout": strategy,
        });
        let change = id(&operator.post("/change-requests", request).await.is(201));
        operator.act(&change, "plan").await.is(200);
        let exchange = async {
            tokio::time::sleep(std::time::Duration::from_millis(round * 2)).await;
            let path = format!("/change-requests/{change}");
            let edited = operator.patch(&path, json!({ "targets": [high] })).await;
            if edited.status == 200 {
                operator.act(&change, "plan").await;
            }
        };
        tokio::join!(operator.act(&change, "submit"), exchange);
        let view = operator.change(&change).await;
        if view["state"] == "draft" {
            continue;
        }
        let environment = if view["targets"][0]["id"] == high { "prod" } else { "dev" };
        let said = format!("The environment is {environment} ");
        let factors = view["risk"]["factors"].as_array().unwrap().iter();
        let mut because = factors.map(|factor| text(&factor["because"]));
        assert!(because.any(|because| because.starts_with(&said)), "{view:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_limits_and_an_admin_sets_them() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let (operator, admin) = (server.operator().await, server.person("berta", &["admin"]).await);
    let path = format!("/connections/{}", text(&json!(shop.connection)));
    let usual = admin.get(&path).await.is(200);
    assert_eq!(usual["limits"], json!({ "sessions": 16 }));
    let limits = json!({ "limits": { "sessions": 1, "per_minute": 6000 } });
    operator.patch(&path, limits.clone()).await.refused(403, "access.denied");
    let view = admin.patch(&path, limits.clone()).await.is(200);
    assert_eq!(view["limits"], limits["limits"]);
    for wrong in [
        json!({ "sessions": 0 }),
        json!({ "sessions": 101 }),
        json!({ "sessions": 1, "per_minute": 0 }),
    ] {
        admin.patch(&path, json!({ "limits": wrong })).await.refused(422, "validation.failed");
    }
    // Changes take their turns, and all come to their end.
    let roles = shop.roles(&server, &["a", "b", "c"]).await;
    let done = roles.iter().map(async |role| {
        let request = shop.request(&operator, "postgres.lock_user", role).await;
        operator.submitted(request).await["state"].clone()
    });
    for state in futures_util::future::join_all(done).await {
        assert_eq!(state, "submitted");
    }
}
