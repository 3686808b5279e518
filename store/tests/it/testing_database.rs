//! The databases that all other tests stand on.

use nexplane_store::testing::{TargetServer, TestDatabase};
use sqlx::{ConnectOptions, Connection, PgConnection};

#[tokio::test]
async fn a_test_database_has_the_schema_and_is_its_own() {
    let (one, two) = (TestDatabase::new().await, TestDatabase::new().await);
    assert_ne!(one.name(), two.name());
    for database in [&one, &two] {
        let schema: Option<String> = sqlx::query_scalar("SELECT to_regnamespace('nexplane')::text")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(schema.as_deref(), Some("nexplane"));
        sqlx::query("CREATE TABLE mine ()").execute(database.pool()).await.unwrap();
        // Already applied: nothing to do.
        database.database().migrate().await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_database_is_empty_and_its_url_works() {
    let database = TestDatabase::empty().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let (name, schema): (String, Option<String>) =
        sqlx::query_as("SELECT current_database()::text, to_regnamespace('nexplane')::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!((name.as_str(), schema), (database.name(), None));
}

#[tokio::test]
async fn a_database_and_its_roles_are_dropped_with_the_test() {
    let other = TestDatabase::empty().await;
    let target = TargetServer::new().await;
    let (name, role) = (target.database().to_owned(), target.role("alice"));
    let mut admin = target.admin().await;
    let statement =
        format!("CREATE ROLE {role} LOGIN; CREATE TABLE t (); ALTER TABLE t OWNER TO {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    drop(target);
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = $1) \
              + (SELECT count(*) FROM pg_roles WHERE rolname = $2)",
    )
    .bind(name)
    .bind(role)
    .fetch_one(other.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_target_server_wants_tls_that_verifies() {
    let target = TargetServer::new().await;
    let mut connection = target.options().connect().await.unwrap();
    let encrypted: bool =
        sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(encrypted);
    let plain = target.options().ssl_mode(sqlx::postgres::PgSslMode::Disable);
    assert!(plain.connect().await.is_err());
    let wrong = target.options().password("wrong");
    assert!(wrong.connect().await.is_err());
}
