//! What a rollout on one connection costs: as many events, and as many of them read, as it has targets.

use serde_json::json;

use crate::crash_stage::{LOCK, Stage};
use crate::harness::id;

/// Each time that credentials were opened.
const OPENED: &str = "\"connection.credentials_opened\"";

/// Events of opened credentials that a rollout on so many roles adds, and how often the server reads one.
async fn cost(count: usize) -> (usize, usize) {
    let stage = Stage::new(30).await;
    let names: Vec<_> = (0..count).map(|no| format!("r{no:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let roles = stage.shop.roles(&stage.server, &names).await;
    let first = stage.shop.asset(&stage.operator, &roles[0]).await["key"].clone();
    let (connection, _) = first.as_str().unwrap().split_once('/').unwrap();
    let targets: Vec<_> = roles.iter().map(|role| format!("{connection}/role/{role}")).collect();
    // What is closed is looked at by the environments of each target, and these are its connection's, too.
    let scope = json!({ "kind": "environment", "environment": "prod" });
    let now = nexplane_core::time::Timestamp::new(jiff::Timestamp::now());
    let freeze = json!({
        "scope": scope, "start": now.to_string(), "end": now.plus_seconds(3600).to_string(),
        "reason": "Christmas shopping",
    });
    stage.server.admin.post("/freeze-windows", freeze).await.is(201);
    let submitted = stage
        .operator
        .submitted(json!({
            "title": "Lock them",
            "reason": "Their owners have left the company.",
            "change_type": LOCK,
            "connection_id": stage.shop.connection,
            "targets": targets,
            "parameters": {},
            "rollout": { "canary": 1, "batch": count, "parallel": 8 },
        }))
        .await;
    stage.approve(&submitted).await;
    let before = opened(&stage).await;
    stage.log.listen(OPENED);
    let view = stage.operator.executed(&id(&submitted)).await;
    assert_eq!(view["rollout"]["progress"]["complete"], count, "{view:#}");
    (opened(&stage).await - before, stage.log.told())
}

async fn opened(stage: &Stage) -> usize {
    let pool = stage.server.database().pool();
    let mut database = pool.acquire().await.unwrap();
    let kind = OPENED.trim_matches('"');
    nexplane_store::testing::records_of(&mut database, kind).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_as_many_targets_cost_twice_as_much() {
    let (few, many) = (cost(25).await, cost(50).await);
    println!("25 targets: {few:?}, 50 targets: {many:?}");
    let (added, read) = many;
    assert!(added <= 2 * 50 && added <= 3 * few.0, "{few:?}, {many:?}");
    // Each is read by those who follow the log, and not again for each that comes after it.
    assert!(read <= 3 * few.1, "{few:?}, {many:?}");
}
