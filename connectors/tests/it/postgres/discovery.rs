//! What discovery finds on a real server.

use std::collections::BTreeMap;

use nexplane_connectors::sdk::{DiscoveredAsset, Relation};

use super::bench::Bench;

async fn discover(bench: &Bench) -> BTreeMap<String, DiscoveredAsset> {
    let found = bench.session().await.discover().await.expect("discover");
    assert!(found.assets.is_sorted_by_key(|a| (a.kind.clone(), a.external_key.clone())));
    found.assets.into_iter().map(|asset| (asset.external_key.clone(), asset)).collect()
}

fn relation(kind: &str, to_kind: &str, to: &str) -> Relation {
    Relation { kind: kind.into(), to_kind: to_kind.into(), to_external_key: to.into() }
}

#[tokio::test]
async fn real_databases_roles_and_what_connects_them() {
    let bench = Bench::new().await;
    let (app, group) = (bench.role("app").await, bench.role("group").await);
    let (owner, weird) = (bench.role("owner").await, bench.server.role("we/ird \"x\" ä"));
    let database = bench.server.database();
    bench
        .sql(&format!(
            "GRANT \"{group}\" TO \"{app}\"; ALTER DATABASE \"{database}\" OWNER TO \"{owner}\"; \
             CREATE TABLE t (); GRANT SELECT ON t TO \"{app}\"; CREATE TABLE mine (); \
             ALTER TABLE mine OWNER TO \"{app}\"; \
             GRANT CONNECT ON DATABASE \"{database}\" TO \"{group}\"; \
             ALTER ROLE \"{app}\" CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 00:00:00+00' CREATEDB; \
             CREATE ROLE \"{}\"",
            weird.replace('"', "\"\"")
        ))
        .await;
    let found = discover(&bench).await;

    let there = &found[&format!("database/{database}")];
    assert_eq!((there.kind.as_str(), there.name.as_str()), ("postgres_database", database));
    assert_eq!(there.metadata["owner"], owner.as_str());
    assert_eq!(there.metadata["allows_connections"], true);

    let role = &found[&format!("role/{app}")];
    assert_eq!((role.kind.as_str(), &role.name), ("postgres_role", &app));
    assert_eq!(role.metadata["can_login"], true);
    assert_eq!(role.metadata["superuser"], false);
    assert_eq!(role.metadata["create_db"], true);
    assert_eq!(role.metadata["predefined"], false);
    assert_eq!(role.metadata["connection_limit"], 3);
    assert_eq!(role.metadata["valid_until"], "2030-01-01 00:00:00+00");
    assert_eq!(role.metadata["owned_objects"], 1);
    let (database_key, group_key) = (format!("database/{database}"), format!("role/{group}"));
    assert_eq!(
        role.relations,
        [
            relation("has_access_to", "postgres_database", &database_key),
            relation("member_of", "postgres_role", &group_key),
        ]
    );
    assert_eq!(
        found[&group_key].relations,
        [relation("has_access_to", "postgres_database", &database_key)]
    );
    assert_eq!(
        found[&format!("role/{owner}")].relations,
        [relation("owns", "postgres_database", &database_key)]
    );
    assert!(found.contains_key(&format!("role/{weird}")));
    assert_eq!(found["role/pg_monitor"].metadata["predefined"], true);
    assert!(!found.contains_key("database/template0"));
}

/// Two discoveries of an unchanged role are equal: nothing in them moves by itself.
#[tokio::test]
async fn real_discovery_is_steady_and_sees_changes() {
    let bench = Bench::new().await;
    let app = bench.role("app").await;
    let key = format!("role/{app}");
    let first = discover(&bench).await[&key].clone();
    let _inside = bench.log_in(&app, super::bench::PASSWORD).await.unwrap();
    assert_eq!(discover(&bench).await[&key], first);
    bench.sql(&format!("ALTER ROLE \"{app}\" NOLOGIN")).await;
    assert_eq!(discover(&bench).await[&key].metadata["can_login"], false);
    bench.sql(&format!("DROP ROLE \"{app}\"")).await;
    assert!(!discover(&bench).await.contains_key(&key));
}

/// Discovery needs no rights beyond a login.
#[tokio::test]
async fn real_discovery_works_without_rights() {
    let bench = Bench::new().await;
    let weak = bench.role("weak").await;
    let found = bench.session_of(&weak).await.discover().await.unwrap();
    assert!(found.assets.iter().any(|asset| asset.name == weak));
    assert!(
        !serde_json::to_string(&found.assets.iter().map(|a| &a.metadata).collect::<Vec<_>>())
            .unwrap()
            .contains("SCRAM")
    );
}
