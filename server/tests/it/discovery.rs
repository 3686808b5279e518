//! Connections are discovered by themselves, when somebody wants it so.

use serde_json::{Value, json};

use crate::harness::{Server, Shop, eventually, items, text};

async fn with(server: &Server, shop: &Shop, edit: Value) -> Value {
    server.admin.patch(&format!("/connections/{}", shop.connection), edit).await.is(200)
}

async fn view(server: &Server, shop: &Shop) -> Value {
    server.admin.get(&format!("/connections/{}", shop.connection)).await.is(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_discovered_on_its_schedule_and_not_twice_at_once() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let never = view(&server, &shop).await;
    assert_eq!((&never["discover_every_s"], &never["discover_next"]), (&Value::Null, &Value::Null));

    let asked = with(&server, &shop, json!({ "discover_every_s": 300 })).await;
    assert_eq!(asked["discover_every_s"], 300);
    let found = eventually("it is discovered by itself", async || {
        let now = view(&server, &shop).await;
        (!now["discovered_at"].is_null()).then_some(now)
    })
    .await;
    assert!(found["assets"].as_u64().unwrap() > 0, "{found:#}");
    let moment = |name: &str| text(&found[name]).parse::<jiff::Timestamp>().unwrap();
    let pause = moment("discover_next").duration_since(moment("discovered_at"));
    assert_eq!(pause.as_secs(), 300);

    // What is gone is marked, and what an operator noted about it stays.
    let role = shop.role(&server, "leaver").await;
    let path = format!("/assets?connection={}&q={role}", shop.connection);
    let asset = items(&server.admin.get(&path).await.is(200)).remove(0);
    let asset_path = format!("/assets/{}", text(&asset["id"]));
    server.admin.patch(&asset_path, json!({ "owner": "payments" })).await.is(200);
    shop.sql(&format!("DROP ROLE \"{role}\"")).await;
    with(&server, &shop, json!({ "discover_every_s": 0 })).await;
    let again = with(&server, &shop, json!({ "discover_every_s": 400 })).await;
    assert_eq!(again["discover_every_s"], 400);
    let gone = eventually("the role is gone", async || {
        let asset = server.admin.get(&asset_path).await.is(200);
        (asset["status"] == "gone").then_some(asset)
    })
    .await;
    assert_eq!(gone["owner"], "payments");

    let history = format!("/connections/{}/history?limit=50", shop.connection);
    let count =
        |events: &[Value], kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    // Two by themselves, and one that the shop asked for, for its new role.
    let events = eventually("all discoveries are told", async || {
        let events = items(&server.admin.get(&history).await.is(200));
        (count(&events, "connection.discovered") >= 3).then_some(events)
    })
    .await;
    assert_eq!(count(&events, "connection.discovered"), 3, "{events:#?}");
    assert_eq!(count(&events, "connection.credentials_opened"), 0);
    assert_eq!(count(&events, "connection.discovery_scheduled"), 3);

    let stopped = with(&server, &shop, json!({ "discover_every_s": 0 })).await;
    assert_eq!(stopped["discover_next"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_is_tried_at_the_next_time_and_says_why() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let mut credentials = shop.credentials();
    credentials["port"] = json!(1);
    let body = json!({ "name": "away", "type": "postgres", "environment": "dev",
        "credentials": credentials, "discover_every_s": 300 });
    let away = server.admin.post("/connections", body.clone()).await.is(201);
    assert_eq!(away["discover_every_s"], 300);
    let path = format!("/connections/{}", text(&away["id"]));
    let failed = eventually("it failed", async || {
        let now = server.admin.get(&path).await.is(200);
        (!now["discovery_error"].is_null()).then_some(now)
    })
    .await;
    assert!(failed["discovered_at"].is_null());
    let next = text(&failed["discover_next"]).parse::<jiff::Timestamp>().unwrap();
    let in_s = next.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((200..=300).contains(&in_s), "in {in_s} s");

    // Too often, and too rarely.
    for every in [1, 299, 604_801] {
        let body = json!({ "discover_every_s": every });
        let refused = server.admin.patch(&path, body).await.refused(422, "validation.failed");
        assert!(refused.to_string().contains("five minutes"), "{refused:#}");
    }
    let mut refused = body.clone();
    (refused["name"], refused["discover_every_s"]) = (json!("never"), json!(60));
    server.admin.post("/connections", refused.clone()).await.refused(422, "validation.failed");
    // Nothing was made of it, and 0 is as good as nothing.
    refused["discover_every_s"] = json!(0);
    let never = server.admin.post("/connections", refused).await.is(201);
    assert!(never["discover_next"].is_null(), "{never:#}");
    let operator = server.operator().await;
    let body = json!({ "discover_every_s": 600 });
    operator.patch(&path, body).await.refused(403, "access.denied");
}
