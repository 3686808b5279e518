//! What discovery finds, and what it does not read.

use nexplane_connectors::sdk::{DiscoveredAsset, ErrorKind};
use serde_json::json;

use super::bench::{Bench, OLD};
use crate::fixture::{context, open};

fn keys<'a>(assets: &'a [DiscoveredAsset], kind: &str) -> Vec<&'a str> {
    let of_kind = assets.iter().filter(|asset| asset.kind == kind);
    of_kind.map(|asset| asset.external_key.as_str()).collect()
}

#[tokio::test]
async fn real_discovery_finds_paths_policies_and_methods_but_no_values() {
    let bench = Bench::new().await;
    for path in ["app/db", "app/a b/c", "top", "app"] {
        bench.put(path, json!({ "password": OLD })).await;
    }
    let kv = |version: &str| json!({ "type": "kv", "options": { "version": version } });
    bench.call("POST", "sys/mounts/team/kv", &kv("2")).await;
    bench.call("POST", "sys/mounts/old", &kv("1")).await;
    bench.call("POST", "old/app", &json!({ "password": OLD })).await;
    let _server = bench.static_role().await;
    let credentials = bench.app_role().await;
    let session = open("vault", credentials, &context()).await.unwrap();
    let found = session.discover().await.unwrap();
    let assets = &found.assets;
    let secrets = [
        "secret/secret/app",
        "secret/secret/app/a b/c",
        "secret/secret/app/db",
        "secret/secret/top",
    ];
    assert_eq!(keys(assets, "vault_kv_path"), secrets);
    assert_eq!(keys(assets, "vault_kv_mount"), ["mount/secret", "mount/team%2Fkv"]);
    assert_eq!(keys(assets, "vault_policy"), ["policy/default", "policy/nexplane", "policy/root"]);
    assert_eq!(keys(assets, "vault_auth_method"), ["auth/approle", "auth/token"]);
    assert_eq!(keys(assets, "vault_database_mount"), ["mount/database"]);
    assert_eq!(keys(assets, "vault_database_role"), ["database/database/app"]);
    assert!(!format!("{found:?}").contains(OLD));
    // The documented policy is about secret/ only: of the other mount nothing can be listed, and it says so.
    let mount = |key: &str| assets.iter().find(|asset| asset.external_key == key).unwrap();
    assert_eq!(mount("mount/team%2Fkv").metadata["folders_not_listable"], 1);
    assert_eq!(mount("mount/secret").metadata["folders_not_listable"], 0);
    let secret = mount("secret/secret/app/db");
    assert_eq!(secret.relations[0].to_external_key, "mount/secret");
    // Every one of them was listed, and none was read.
    let audit = bench.bao.audit();
    let by_us = |line: &&str| line.contains("nexplane") && line.contains("secret/data/");
    assert_eq!(audit.lines().filter(by_us).count(), 0);
}

#[tokio::test]
async fn real_discovery_without_rights_is_an_error_and_not_an_empty_server() {
    let bench = Bench::new().await;
    let token = bench.bao.token(&["default"], "1h").await.unwrap();
    let session = open("vault", bench.credentials_of(&token), &context()).await.unwrap();
    let error = session.discover().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden, "{error:?}");
    assert!(error.message.contains("path \"sys/mounts\""), "{error}");
}

/// Roles that may not be listed are not known, which is not the same as none: the engine says so, and so does the
/// test of the connection.
#[tokio::test]
async fn real_a_database_engine_says_whether_its_roles_may_be_listed() {
    let bench = Bench::new().await;
    bench.call("POST", "sys/mounts/database", &json!({ "type": "database" })).await;
    let policy = "path \"sys/mounts\" { capabilities = [\"read\"] }\n\
                  path \"sys/auth\" { capabilities = [\"read\"] }\n\
                  path \"sys/policies/acl\" { capabilities = [\"list\"] }";
    bench.call("POST", "sys/policies/acl/blind", &json!({ "policy": policy })).await;
    let blind = bench.bao.token(&["default", "blind"], "1h").await.unwrap();
    for (credentials, listable) in
        [(bench.credentials_of(&blind), false), (bench.credentials(), true)]
    {
        let session = open("vault", credentials, &context()).await.unwrap();
        let found = session.discover().await.unwrap();
        let engine = found.assets.iter().find(|asset| asset.kind == "vault_database_mount");
        let engine = engine.expect("the engine is there");
        assert_eq!(engine.external_key, "mount/database");
        assert_eq!(engine.metadata, json!({ "roles_listable": listable }));
        let asked = session.test().await;
        let line = asked.iter().find(|check| check.name.contains("database/static-roles")).unwrap();
        assert_eq!(line.ok, listable, "{line:?}");
    }
}
