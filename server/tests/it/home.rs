//! The reader's own day, filters of the list of changes, and views that are kept for a person.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, eventually, id, items, text};

/// Change and what it asks, of a part of the home page.
async fn part(by: &Client, part: &str) -> Vec<(String, Value)> {
    let home = by.get("/home").await.is(200);
    let rows = items(&home[part]);
    rows.iter().map(|row| (id(&row["change"]), row["ask"].clone())).collect()
}

async fn listed(by: &Client, filter: &str) -> Vec<String> {
    items(&by.get(&format!("/change-requests?{filter}")).await.is(200)).iter().map(id).collect()
}

/// The first steps that are done.
async fn done(by: &Client) -> Vec<bool> {
    let home = by.get("/home").await.is(200);
    home["steps"].as_array().unwrap().iter().map(|step| step["done"] == true).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn home_asks_each_person_for_what_they_can_do_and_nobody_else() {
    let server = Server::start().await;
    let operator = server.operator().await;
    assert_eq!(done(&operator).await, [false, false, false]);
    let shop = Shop::connect(&server, "staging").await;
    let approver = server.approver().await;
    let auditor = server.person("audrey", &["auditor"]).await;
    let other = server.person("otto", &["operator"]).await;
    let responder = server.person("rita", &["responder"]).await;
    let role = shop.role(&server, "app").await;
    assert_eq!(done(&operator).await, [true, true, false]);

    // A draft is its author's to go on with, and nobody's to decide.
    let request = shop.request(&operator, "postgres.lock_user", &role).await;
    let draft = operator.post("/change-requests", request.clone()).await.is(201);
    let change = id(&draft);
    assert_eq!(part(&operator, "next").await, [(change.clone(), json!("plan"))]);
    operator.act(&change, "plan").await.is(200);
    assert_eq!(part(&operator, "next").await, [(change.clone(), json!("submit"))]);
    assert!(part(&other, "next").await.is_empty());
    assert_eq!(done(&operator).await, [true, true, true]);

    // In review it is the approver's alone.
    let submitted = operator.act(&change, "submit").await.is(200);
    assert!(part(&operator, "next").await.is_empty());
    assert!(part(&operator, "decide").await.is_empty());
    assert_eq!(part(&approver, "decide").await, [(change.clone(), json!("approve"))]);
    assert!(part(&auditor, "decide").await.is_empty());
    assert_eq!(listed(&approver, "waits=me").await, std::slice::from_ref(&change));
    assert_eq!(listed(&operator, "waits=me").await, Vec::<String>::new());

    // What is frozen waits for nobody, and is on the calendar.
    let freeze = json!({
        "scope": { "kind": "all" }, "reason": "year-end close",
        "start": in_days(-1), "end": in_days(300),
    });
    let freeze = id(&server.admin.post("/freeze-windows", freeze).await.is(201));
    assert!(part(&approver, "decide").await.is_empty());
    let home = operator.get("/home").await.is(200);
    assert_eq!(home["agenda"][0]["title"], "year-end close", "{home:#}");
    assert_eq!(home["agenda"][0]["now"], true);
    let end = format!("/freeze-windows/{freeze}/end");
    server.admin.post(&end, json!({ "reason": "done early" })).await.is(200);

    // Approved it is its author's again, executed it has ended, since a moment.
    approver.approve(&change, &submitted["plan"]["digest"]).await.is(200);
    assert!(part(&approver, "decide").await.is_empty());
    assert_eq!(part(&operator, "next").await, [(change.clone(), json!("execute"))]);
    let complete = operator.executed(&change).await;
    assert_eq!(complete["state"], "complete");
    assert!(part(&operator, "next").await.is_empty());
    assert_eq!(part(&operator, "ended").await, [(change.clone(), Value::Null)]);
    assert!(part(&other, "ended").await.is_empty());
    let later = operator.get(&format!("/home?since={}", in_days(1))).await.is(200);
    assert_eq!(later["ended"]["items"], json!([]));

    // A password that was made waits for whoever asked for it, until it was handed over.
    let request = shop.request(&operator, "postgres.rotate_user_password", &role).await;
    let rotated = operator.submitted(request).await;
    let rotated_id = id(&rotated);
    approver.approve(&rotated_id, &rotated["plan"]["digest"]).await.is(200);
    let rotated = operator.executed(&rotated_id).await;
    assert_eq!(part(&operator, "next").await, [(rotated_id.clone(), json!("reveal"))]);
    let secret = text(&rotated["secrets"][0]["id"]);
    operator.post(&format!("/secrets/{secret}/reveal"), json!({})).await.is(200);
    eventually("nothing is left to reveal", async || {
        part(&operator, "next").await.is_empty().then_some(())
    })
    .await;

    // Glass that was broken is to be explained; auditors and admins see that, approvers review it.
    let request = shop.request(&operator, "postgres.unlock_user", &role).await;
    let urgent = operator.submitted(request).await;
    let body = json!({
        "plan_digest": urgent["plan"]["digest"], "justification": "Nobody else is awake.",
    });
    let urgent = id(&urgent);
    responder.post(&format!("/change-requests/{urgent}/break-glass"), body).await.is(200);
    operator.executed(&urgent).await;
    assert_eq!(part(&auditor, "gaps").await, [(urgent.clone(), Value::Null)]);
    assert_eq!(operator.get("/home").await.is(200)["gaps"], Value::Null);
    assert_eq!(part(&approver, "decide").await, [(urgent.clone(), json!("review"))]);
    assert_eq!(listed(&auditor, "waits=review").await, std::slice::from_ref(&urgent));

    // Health in a sentence each.
    let home = auditor.get("/home").await.is(200);
    let health = home["health"].as_array().unwrap();
    let parts: Vec<_> = health.iter().map(|line| text(&line["part"])).collect();
    assert_eq!(parts, ["projections", "hosts", "connections", "seal"]);
    assert_eq!(health[1]["sentence"], "No host has an agent yet.");
    assert_eq!(home["at"].as_str().map(str::len), Some("2026-01-01T00:00:00.000000Z".len()));

    the_list_is_filtered(&operator, &change).await;
    views_are_kept_for_each_person(&operator, &other).await;
}

async fn the_list_is_filtered(operator: &Client, change: &str) {
    let all = listed(operator, "").await;
    assert_eq!(all.len(), 3);
    let view = operator.change(change).await;
    let level = text(&view["risk"]["level"]);
    assert!(listed(operator, &format!("risk={level}")).await.contains(&change.to_owned()));
    let others = ["low", "medium", "high", "critical"].into_iter().filter(|other| *other != level);
    let others = others.collect::<Vec<_>>().join(",");
    assert!(!listed(operator, &format!("risk={others}")).await.contains(&change.to_owned()));
    assert_eq!(listed(operator, "environment=staging").await, all);
    assert_eq!(listed(operator, "environment=prod").await, Vec::<String>::new());
    assert_eq!(
        listed(operator, "state=complete,draft&change_type=postgres.lock_user").await,
        [change]
    );
    for wrong in ["risk=enormous", "environment=moon", "waits=everybody", "state=gone"] {
        let answer = operator.get(&format!("/change-requests?{wrong}")).await;
        assert!(matches!(answer.status, 400 | 422), "{wrong}: {:#}", answer.json);
    }
}

async fn views_are_kept_for_each_person(operator: &Client, other: &Client) {
    let views = json!([
        { "name": "Prod, risky", "query": "risk=high,critical&environment=prod" },
        { "name": "Mine", "query": "mine=true" },
    ]);
    let saved = operator.post("/saved-views", json!({ "items": views })).await.is(200);
    assert_eq!(saved["items"], views);
    assert_eq!(operator.get("/saved-views").await.is(200)["items"], views);
    assert_eq!(other.get("/saved-views").await.is(200)["items"], json!([]));
    let twice = json!({ "items": [{ "name": "A", "query": "" }, { "name": "a", "query": "" }] });
    operator.post("/saved-views", twice).await.refused(422, "validation.failed");
    let elsewhere = json!({ "items": [{ "name": "A", "query": "#javascript:" }] });
    operator.post("/saved-views", elsewhere).await.refused(422, "validation.failed");
    assert_eq!(operator.get("/saved-views").await.is(200)["items"], views, "it stays as it was");
}

fn in_days(days: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    format!("{now:.6}")
}
