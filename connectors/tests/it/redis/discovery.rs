//! What discovery finds on a real server.

use std::collections::BTreeMap;

use nexplane_connectors::sdk::{AnySession, DiscoveredAsset, ErrorKind, Relation};
use nexplane_peers::redis::Setup;
use serde_json::json;

use super::bench::{Bench, PASSWORD};

async fn discover(session: &dyn AnySession) -> BTreeMap<String, DiscoveredAsset> {
    let found = session.discover().await.expect("discover");
    assert!(found.assets.is_sorted_by_key(|a| (a.kind.clone(), a.external_key.clone())));
    found.assets.into_iter().map(|asset| (asset.external_key.clone(), asset)).collect()
}

fn of_instance(kind: &str) -> Vec<Relation> {
    let (to_kind, to_external_key) = ("redis_instance".to_owned(), "instance".to_owned());
    vec![Relation { kind: kind.to_owned(), to_kind, to_external_key }]
}

#[tokio::test]
async fn real_the_instance_its_users_and_its_databases() {
    let bench = Bench::new().await;
    bench.user("app");
    bench.run("ACL SETUSER gone off");
    bench.run("ACL SETUSER open on nopass ~cache:* +get");
    let found = discover(&*bench.session().await).await;

    let instance = &found["instance"];
    assert_eq!(instance.kind, "redis_instance");
    assert_eq!(instance.name, format!("127.0.0.1:{}", bench.server.port));
    let facts = &instance.metadata;
    assert_eq!(facts["product"], "redis");
    assert!(facts["version"].as_str().unwrap().split('.').count() >= 3, "{facts}");
    assert_eq!((&facts["mode"], &facts["role"]), (&json!("standalone"), &json!("primary")));
    assert_eq!((&facts["tls"], &facts["requirepass"]), (&json!(true), &json!(false)));
    assert!(facts["acl_file"].as_str().unwrap().ends_with("users.acl"), "{facts}");
    assert!(facts["config_file"].as_str().unwrap().ends_with("redis.conf"), "{facts}");
    assert_eq!((&facts["append_only_file"], &facts["snapshots"]), (&json!(false), &json!(null)));

    let app = &found["user/app"];
    assert_eq!((app.kind.as_str(), app.name.as_str()), ("redis_user", "app"));
    assert_eq!(app.metadata["enabled"], true);
    assert_eq!(app.metadata["nopass"], false);
    assert_eq!(app.metadata["passwords"], 1);
    let rules = app.metadata["rules"].as_str().unwrap();
    assert!(rules.contains("~app:*") && rules.contains("+get"), "{rules}");
    assert_eq!(app.relations, of_instance("has_access_to"));
    assert_eq!(found["user/gone"].metadata["enabled"], false);
    assert!(found["user/gone"].relations.is_empty());
    assert_eq!(found["user/open"].metadata["nopass"], true);
    assert_eq!(found["user/admin"].metadata["own"], true);
    assert_eq!(found["user/default"].metadata["enabled"], false);

    assert_eq!(found["database/15"].kind, "redis_database");
    assert_eq!(found["database/0"].relations, of_instance("runs_on"));
    assert!(!found.contains_key("database/16"));

    // No hash, in full or in part.
    let all = format!("{found:?}");
    assert!(!all.contains('#') && !all.contains(PASSWORD), "{all}");
}

/// Two discoveries of an unchanged server are equal: nothing in them moves by itself.
#[tokio::test]
async fn real_discovery_is_steady_and_sees_changes() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let first = discover(&*session).await;
    let _inside = bench.inside(&app, PASSWORD);
    bench.run("SET app:x 1");
    assert_eq!(discover(&*session).await, first);
    bench.run("ACL SETUSER app off");
    assert_eq!(discover(&*session).await["user/app"].metadata["enabled"], false);
    bench.run("ACL DELUSER app");
    assert!(!discover(&*session).await.contains_key("user/app"));
}

#[tokio::test]
async fn real_a_server_with_requirepass_says_so() {
    let bench = Bench::with(Setup::Requirepass).await;
    let found = discover(&*bench.session().await).await;
    let facts = &found["instance"].metadata;
    assert_eq!((&facts["requirepass"], &facts["tls"]), (&json!(true), &json!(false)));
    assert_eq!(facts["acl_file"], json!(null));
    assert!(!format!("{found:?}").contains(bench.server.requirepass.as_ref().unwrap()));
}

/// A part of it would count as all: without the rights there is an error, and no list.
#[tokio::test]
async fn real_discovery_without_rights_is_an_error() {
    let bench = Bench::new().await;
    let weak = bench.weak();
    let error = bench.session_of(&weak).await.discover().await.expect_err("no rights");
    assert_eq!(error.kind, ErrorKind::Forbidden, "{error:?}");
}

/// A replica is told from a primary, and keys are deleted on none.
#[tokio::test]
async fn real_a_replica_is_recognised() {
    let (primary, replica) = (Bench::new().await, Bench::new().await);
    replica.run("CONFIG SET tls-replication yes");
    replica.run("CONFIG SET masteruser admin");
    replica.run(&format!("CONFIG SET masterauth {}", primary.server.password));
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", primary.server.port));
    let session = replica.session().await;
    assert_eq!(discover(&*session).await["instance"].metadata["role"], "replica");
    let failed: Vec<_> = session.test().await.into_iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0].detail.contains("connect to the primary"), "{failed:#?}");

    let action = crate::fixture::action("redis.flush_volatile_keys");
    let target = super::bench::database_target(0);
    let inspection = action.inspect(&*session, &target, &json!({})).await.unwrap();
    let failed: Vec<_> = inspection.checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0].name, "the server can be written to");
}
