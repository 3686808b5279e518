//! Secrets and their versions.

use nexplane_connectors::sdk::{Advice, ErrorKind};
use serde_json::{Value, json};

use super::bench::{Bench, OLD, secret_target};
use crate::fixture::{action, step};

#[tokio::test]
async fn real_an_undo_is_one_more_version_and_the_same_state() {
    let bench = Bench::new().await;
    let data =
        json!({ "password": OLD, "note": "<&> é", "n": 1.25, "deep": { "z": 1, "a": [true] } });
    assert_eq!(bench.put("app/db", data.clone()).await, 1);
    let session = bench.session().await;
    let rotate = action("vault.rotate_kv_secret");
    let (target, keys) = (secret_target("app/db"), json!({ "keys": ["password"] }));
    let before = rotate.inspect(&*session, &target, &keys).await.unwrap().before;
    let cx = step(rotate, &target, &keys, &before.fingerprint);
    let done = rotate.execute(&*session, &cx, &before).await.unwrap();
    assert_eq!(done.outcome, json!({ "version": 2 }));
    let new: Value = serde_json::from_str(done.produced[0].value.expose()).unwrap();
    let rotated = bench.witness_data("app/db").await;
    assert_eq!(rotated["password"], new["password"]);
    assert_eq!(new["password"].as_str().unwrap().len(), 28);
    for kept in ["note", "n", "deep"] {
        assert_eq!(rotated[kept], data[kept], "{kept}");
    }
    rotate.rollback(&*session, &cx, &before, None).await.unwrap();
    assert_eq!(bench.witness_data("app/db").await, data);
    let metadata = bench.get("secret/metadata/app/db").await;
    assert_eq!(metadata["data"]["current_version"], 3);
    let now = rotate.read(&*session, &target, &keys, None).await.unwrap();
    assert_eq!(now.fingerprint, before.fingerprint);
    assert_ne!(now.fields, before.fields, "the number of the version is shown");
}

/// Somebody writes between our look and our write: the server refuses ours.
#[tokio::test]
async fn real_of_many_rotations_at_once_one_wins() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let session = bench.session().await;
    let rotate = action("vault.rotate_kv_secret");
    let (target, keys) = (secret_target("app/db"), json!({ "keys": ["password"] }));
    let mut planned = Vec::new();
    for _ in 0..8 {
        let before = rotate.inspect(&*session, &target, &keys).await.unwrap().before;
        let cx = step(rotate, &target, &keys, &before.fingerprint);
        planned.push((before, cx));
    }
    let effects = planned.iter().map(|(before, cx)| rotate.execute(&*session, cx, before));
    let answers = futures_util::future::join_all(effects).await;
    let winners = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|done| done.changed));
    assert_eq!(winners.count(), 1);
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
    }
    let metadata = bench.get("secret/metadata/app/db").await;
    assert_eq!(metadata["data"]["current_version"], 2);
    let mut satisfied = 0;
    for (before, _) in &planned {
        let answer = rotate.verify(&*session, &target, &keys, before, None).await.unwrap();
        satisfied += u32::from(answer.satisfied);
    }
    assert_eq!(satisfied, 1, "each knows its own values");
}

#[tokio::test]
async fn real_a_key_without_a_text_is_not_rotated() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD, "n": 1 })).await;
    let session = bench.session().await;
    let rotate = action("vault.rotate_kv_secret");
    for (key, says) in [("n", "holds no text"), ("nothing", "not there")] {
        let keys = json!({ "keys": [key] });
        let inspection = rotate.inspect(&*session, &secret_target("app/db"), &keys).await.unwrap();
        let failed: Vec<_> = inspection.checks.iter().filter(|check| !check.ok).collect();
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert!(failed[0].detail.contains(says), "{failed:#?}");
    }
    let faults = rotate.validate(&json!({ "keys": [] })).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[tokio::test]
async fn real_a_version_that_the_server_will_delete_is_left_alone() {
    let bench = Bench::new().await;
    let after = json!({ "delete_version_after": "1h" });
    bench.call("POST", "secret/metadata/app/db", &after).await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let session = bench.session().await;
    let delete = action("vault.delete_kv_version");
    let parameters = json!({ "version": 1 });
    let target = secret_target("app/db");
    let inspection = delete.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(!inspection.is_ready());
    let failed = inspection.checks.iter().find(|check| !check.ok).unwrap();
    assert!(failed.detail.contains("an undo would lose that"), "{failed:?}");
}

/// What somebody destroyed cannot come back, and the undo says so.
#[tokio::test]
async fn real_a_destroyed_version_does_not_come_back() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let session = bench.session().await;
    let delete = action("vault.delete_kv_version");
    let (target, parameters) = (secret_target("app/db"), json!({ "version": 1 }));
    let inspection = delete.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.summary.contains("readers of the secret get nothing"));
    let before = inspection.before;
    let cx = step(delete, &target, &parameters, &before.fingerprint);
    delete.execute(&*session, &cx, &before).await.unwrap();
    bench.call("POST", "secret/destroy/app/db", &json!({ "versions": [1] })).await;
    let error = delete.rollback(&*session, &cx, &before, None).await.unwrap_err();
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
}
