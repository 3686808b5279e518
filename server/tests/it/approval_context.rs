//! What somebody is told before they approve: why they may, who else, how such changes ended before, and
//! whether undoing one ever worked.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, id, items, text};

const LIMIT: &str = "postgres.set_connection_limit";

async fn context(client: &Client, change: &Value) -> Value {
    client.get(&format!("/change-requests/{}/context", id(change))).await.is(200)
}

async fn submitted(operator: &Client, shop: &Shop, role: &str) -> Value {
    let mut request = shop.request(operator, LIMIT, role).await;
    request["parameters"] = json!({ "limit": 5 });
    operator.submitted(request).await
}

fn names(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(|person| text(&person["name"])).collect()
}

async fn ask_for_two(server: &Server) {
    let rules = json!([
        { "when": { "rollback": false }, "then": { "ask": { "approvals": 2 } } },
        { "then": { "ask": { "approvals": 1 } } },
    ]);
    let body = json!({ "document": { "rules": rules }, "note": "x", "based_on": 1 });
    server.admin.post("/policies", body).await.is(201);
}

/// Approves and executes the rollback of a change; how the change is after that.
async fn undone(operator: &Client, approver: &Client, change: &Value) -> (Value, Value) {
    let rollback = operator.act(&id(change), "rollback").await.is(201);
    approver.approve(&id(&rollback), &rollback["plan"]["digest"]).await.is(200);
    let ended = operator.executed(&id(&rollback)).await;
    (ended, operator.undone(&id(change)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_is_told_what_they_have_to_know() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let (operator, anna) = (server.operator().await, server.approver().await);
    let bob = server.person("bob", &["approver"]).await;
    let roles = shop.roles(&server, &["one", "two"]).await;
    let [one, two] = [roles[0].as_str(), roles[1].as_str()];
    ask_for_two(&server).await;
    let asset = shop.asset(&operator, one).await;
    let edit = json!({ "critical": true, "owner": "the batch team" });
    operator.patch(&format!("/assets/{}", id(&asset)), edit).await.is(200);

    // The first of its kind: nothing is known of such changes, and nothing is made up.
    let first = submitted(&operator, &shop, one).await;
    let said = context(&anna, &first).await;
    assert!(text(&said["headline"]).contains(one), "{said:#}");
    assert!(text(&said["headline"]).ends_with("(staging)."), "{said:#}");
    assert_eq!(said["plan_digest"], first["plan"]["digest"]);
    let place = &said["place"];
    assert_eq!((&place["target_count"], &place["critical_targets"]), (&json!(1), &json!(1)));
    assert_eq!(place["targets"][0]["owner"], "the batch team", "{said:#}");
    assert_eq!(
        (&place["connector"], &place["environment"]),
        (&json!("postgres"), &json!("staging"))
    );
    assert_eq!(said["similar"]["first_here"], true, "{said:#}");
    assert_eq!(said["similar"]["counts"]["total"], 0);
    assert_eq!(said["undo"]["possible"], true);
    assert_eq!((&said["undo"]["proven"], &said["undo"]["failed_since"]), (&Value::Null, &json!(0)));

    // Why she may, what it takes, and who else may: neither the author nor she herself.
    let approving = &said["approving"];
    assert_eq!(approving["policy_version"], 2, "{said:#}");
    assert!(text(&approving["rule"]).contains("two approvers"), "{said:#}");
    assert_eq!(items(&json!({ "items": approving["ways"] })).len(), 1);
    assert_eq!(approving["ways"][0]["ok"], true, "{said:#}");
    assert!(text(&approving["needed"]).starts_with("0 of 2 approvals are given."), "{said:#}");
    let after = text(&approving["after_mine"]);
    assert!(after.contains("1 of 2 approvals is given") && after.contains("anna"), "{after}");
    assert!(text(&approving["four_eyes"]).contains("not olga (author)"), "{said:#}");
    assert_eq!(names(&approving["others"]), ["bob"], "{said:#}");
    let own = context(&operator, &first).await;
    assert_eq!(own["approving"]["ways"][0]["code"], "change.own_approval", "{own:#}");
    assert_eq!(own["approving"]["after_mine"], Value::Null);
    assert_eq!(names(&own["approving"]["others"]), ["anna", "bob"]);

    // A delegation is a way of its own, until it would count somebody twice.
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let body = json!({ "to": bob.id, "until": format!("{until:.6}"), "reason": "On leave" });
    anna.post(&format!("/users/{}/delegations", anna.id), body).await.is(201);
    let delegated = crate::harness::eventually("the delegation is known", async || {
        let said = context(&bob, &first).await;
        (said["approving"]["ways"].as_array().unwrap().len() == 2).then_some(said)
    });
    let way = delegated.await["approving"]["ways"][1].clone();
    assert_eq!((&way["ok"], &way["for"]["name"]), (&json!(true), &json!("anna")), "{way:#}");
    anna.approve(&id(&first), &first["plan"]["digest"]).await.is(200);
    let said = context(&bob, &first).await;
    let approving = &said["approving"];
    assert_eq!(approving["ways"][1]["code"], "change.approved_already", "{said:#}");
    assert!(text(&approving["needed"]).contains("1 of 2 approvals is given."), "{said:#}");
    assert!(text(&approving["after_mine"]).contains("the last one"), "{said:#}");
    assert!(names(&approving["others"]).is_empty(), "anna has approved: {said:#}");
    bob.approve(&id(&first), &first["plan"]["digest"]).await.is(200);
    assert_eq!(operator.executed(&id(&first)).await["state"], "complete");

    // The next one of its kind: how the first ended, with the state in which it is now.
    let next = submitted(&operator, &shop, two).await;
    let similar = async || context(&anna, &next).await["similar"].clone();
    let said = similar().await;
    assert_eq!((&said["first_here"], &said["capped"]), (&json!(false), &json!(false)), "{said:#}");
    assert_eq!((&said["counts"]["total"], &said["counts"]["complete"]), (&json!(1), &json!(1)));
    assert_eq!(said["on_targets"]["total"], 0, "another target: {said:#}");
    assert_eq!(said["last"][0]["id"], first["id"], "{said:#}");
    assert_eq!(said["last"][0]["same_target"], false);

    // A rollback that was stopped proves nothing, and is told.
    shop.sql(&format!("ALTER ROLE {one} CONNECTION LIMIT 7")).await;
    let (blocked, stuck) = undone(&operator, &anna, &first).await;
    assert_eq!(stuck["state"], "rollback_blocked", "{stuck:#}");
    let undo = context(&anna, &next).await["undo"].clone();
    assert_eq!((&undo["proven"], &undo["failed_since"]), (&Value::Null, &json!(1)), "{undo:#}");
    let said = similar().await;
    assert_eq!(
        (&said["counts"]["complete"], &said["counts"]["rolling_back"]),
        (&json!(0), &json!(1))
    );

    // One that worked does, and is named.
    shop.sql(&format!("ALTER ROLE {one} CONNECTION LIMIT 5")).await;
    let (worked, back) = undone(&operator, &anna, &first).await;
    assert_eq!(back["state"], "rolled_back", "{back:#}");
    let undo = context(&anna, &next).await["undo"].clone();
    assert_eq!(undo["proven"]["rollback"], worked["id"], "{undo:#}");
    assert_ne!(worked["id"], blocked["id"]);
    assert_eq!((&undo["proven"]["here"], &undo["failed_since"]), (&json!(true), &json!(0)));
    let said = similar().await;
    assert_eq!((&said["counts"]["total"], &said["counts"]["rolled_back"]), (&json!(1), &json!(1)));

    // On another connection it is not the same place.
    let other = Shop::connect(&server, "staging").await;
    let role = other.role(&server, "three").await;
    let elsewhere = submitted(&operator, &other, &role).await;
    let said = context(&anna, &elsewhere).await;
    assert_eq!(said["similar"]["first_here"], true, "{said:#}");
    assert_eq!(said["undo"]["proven"]["rollback"], worked["id"], "{said:#}");
    assert_eq!(said["undo"]["proven"]["here"], false, "{said:#}");

    // What a person found is no reading of the target: neither a proof nor a success.
    let pool = server.database().pool();
    for (row, state) in [(&worked, "complete"), (&first, "complete")] {
        let done = sqlx::query(
            "UPDATE nexplane.rm_changes SET settled = true, state = $2 WHERE id::text = $1",
        )
        .bind(id(row))
        .bind(state)
        .execute(pool)
        .await
        .unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
    let said = context(&anna, &next).await;
    assert_eq!(said["undo"]["proven"], Value::Null, "{said:#}");
    assert_eq!(said["undo"]["failed_since"], 2, "{said:#}");
    let counts = &said["similar"]["counts"];
    assert_eq!((&counts["complete"], &counts["settled"]), (&json!(0), &json!(1)), "{said:#}");
}
