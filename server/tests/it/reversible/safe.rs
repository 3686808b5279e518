//! Actions on a real OpenBao.

use serde_json::{Value, json};

use super::reader::Snapshot;
use super::{Row, Stage};
use crate::harness_vault::Safe;

pub const ROWS: [Row; 5] = [
    ("vault.delete_kv_version", "an earlier version"),
    ("vault.delete_kv_version", "the current version"),
    ("vault.rotate_kv_secret", "texts, numbers and more"),
    ("vault.update_policy", "a text with odd blanks"),
    ("vault.update_policy", "settings beside the text"),
];

/// What a row is about: asset, parameters, and what must be in what moved.
type Case = ((&'static str, &'static str), Value, &'static str);

fn case(row: Row) -> Case {
    let policy = json!({ "policy": "path \"x\" { capabilities = [\"deny\"] }" });
    match row {
        ("vault.delete_kv_version", "an earlier version") => {
            (("vault_kv_path", "secret/two"), json!({ "version": 1 }), "two")
        }
        ("vault.delete_kv_version", _) => {
            (("vault_kv_path", "secret/one"), json!({ "version": 1 }), "one")
        }
        ("vault.rotate_kv_secret", _) => {
            (("vault_kv_path", "secret/app"), json!({ "keys": ["password"] }), "app")
        }
        ("vault.update_policy", "settings beside the text") => {
            (("vault_policy", "strict"), policy, "strict")
        }
        ("vault.update_policy", _) => (("vault_policy", "plain"), policy, "plain"),
        (action, what) => panic!("a row without a case: {action}, {what}"),
    }
}

/// Secrets with the states of their versions, and policies. Not compared is what no way back can restore: numbers
/// of versions that a rotation adds, and times.
async fn read(safe: &Safe) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for path in ["one", "two", "app"] {
        let current = safe.get(&format!("secret/data/{path}")).await;
        snapshot.insert(format!("secret {path}"), current["data"].to_string());
        if path == "app" {
            continue;
        }
        let metadata = safe.get(&format!("secret/metadata/{path}")).await;
        for (no, version) in metadata["versions"].as_object().unwrap() {
            let state = [&version["deletion_time"] == "", version["destroyed"] == true];
            snapshot.insert(format!("version {no} of {path}"), format!("{state:?}"));
        }
    }
    for name in ["plain", "strict", "default", "nexplane"] {
        let policy = safe.get(&format!("sys/policies/acl/{name}")).await;
        for (field, value) in policy.as_object().unwrap() {
            if !["modified", "version"].contains(&field.as_str()) {
                snapshot.insert(format!("policy {name} {field}"), value.to_string());
            }
        }
    }
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_is_as_before_after_every_way_back() {
    let stage = Stage::new().await;
    let safe = Safe::connect(&stage.server, "dev").await;
    for (path, value) in [("one", "a"), ("two", "a"), ("two", "b")] {
        safe.put(path, json!({ "password": value })).await;
    }
    let data = json!({ "password": "old", "n": 1.25, "deep": { "z": [null, "<é>"], "a": 1e25 } });
    safe.put("app", data).await;
    let text = "\n\tpath \"secret/data/x\" { capabilities = [\"read\"] } \r\n";
    let body = json!({ "policy": text });
    safe.call("POST", "sys/policies/acl/plain", &body).await;
    let body = json!({
        "policy": text, "cas_required": true, "cas": -1, "expiration": "2099-01-02T03:04:05Z",
    });
    safe.call("POST", "sys/policies/acl/strict", &body).await;
    safe.discover(&stage.server).await;
    for row in ROWS {
        let (asset, parameters, own) = case(row);
        let request = safe.request(&stage.operator, row.0, asset, parameters).await;
        let look = async || read(&safe).await;
        let moved = |now: &Snapshot| match row.0 {
            "vault.update_policy" => {
                assert!(now[&format!("policy {own} policy")].contains("deny"), "{row:?}");
            }
            "vault.rotate_kv_secret" => assert!(!now["secret app"].contains("\"old\"")),
            _ => assert_eq!(now[&format!("version 1 of {own}")], "[false, false]"),
        };
        stage.there_and_back(row, request, look, own, moved).await;
    }
}
