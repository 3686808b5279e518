//! Nothing but an append adds an event, nothing changes or removes one, and a log that lost its
//! protection is not used.

use nexplane_store::database::{Database, DatabaseError, DatabaseOptions, Role};
use nexplane_store::testing::TestDatabase;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::log_fixture::{Fixture, append, stream};

/// Every way to write to the log but the append function.
const WRITES: [&str; 21] = [
    "INSERT INTO nexplane.log_events SELECT * FROM nexplane.log_events",
    "INSERT INTO nexplane.log_events_p000000 SELECT * FROM nexplane.log_events",
    "UPDATE nexplane.log_events SET record = '{}'",
    "UPDATE nexplane.log_events_p000000 SET type = 'x'",
    "DELETE FROM nexplane.log_events",
    "DELETE FROM nexplane.log_events_p000000",
    "TRUNCATE nexplane.log_events",
    "TRUNCATE nexplane.log_events_p000001",
    "DROP TABLE nexplane.log_events",
    "ALTER TABLE nexplane.log_events DETACH PARTITION nexplane.log_events_p000000",
    "ALTER TABLE nexplane.log_events_p000000 DISABLE TRIGGER ALL",
    "DROP TRIGGER refuse_change ON nexplane.log_events_p000000",
    "CREATE OR REPLACE FUNCTION nexplane.refuse_change() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN RETURN NEW; END'",
    "UPDATE nexplane.log_head SET next_position = 0",
    "UPDATE nexplane.log_streams SET version = 1",
    "DELETE FROM nexplane.log_streams",
    "UPDATE nexplane.log_commands SET last_position = 0",
    "DELETE FROM nexplane.log_commands",
    "SET session_replication_role = replica",
    "SET ROLE nexplane_log_owner; SELECT nexplane.protect('nexplane.log_head')",
    "SELECT nexplane.protect('nexplane.log_head')",
];

async fn run(db: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.map(drop)
}

fn code(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A login that is a member of the roles and of nothing else, as one would give to a server.
async fn plain_login(database: &TestDatabase) -> sqlx::postgres::PgConnectOptions {
    let name = format!("plain_{}", database.name());
    let roles = Role::ALL.map(Role::name).join(", ");
    let sql = format!("CREATE ROLE {name} LOGIN PASSWORD 'p'; GRANT {roles} TO {name}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await.unwrap();
    database.options().username(&name).password("p")
}

async fn drop_login(database: &TestDatabase) {
    let sql = format!("DROP ROLE plain_{}", database.name());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(database.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_of_the_server_can_write_but_by_appending() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 3)).await.unwrap();
    let before = fixture.all().await;
    let login = plain_login(&fixture.database).await;
    for role in Role::ALL {
        let mut db = role.at(login.clone()).connect().await.unwrap();
        for write in WRITES {
            let refused = run(&mut db, write).await;
            let error = refused.expect_err(&format!("{}: {write}", role.name()));
            // 42501: insufficient privilege.
            assert_eq!(code(&error), "42501", "{}: {write}: {error}", role.name());
        }
        db.close().await.unwrap();
    }
    assert_eq!(fixture.all().await, before);
    drop_login(&fixture.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_is_stopped_by_the_triggers_until_he_removes_them() {
    let fixture = Fixture::new().await;
    fixture.log.append(append(stream(1), 0, 3)).await.unwrap();
    let before = fixture.all().await;
    let mut db = fixture.database.options().connect().await.unwrap();
    for replica in [false, true] {
        if replica {
            run(&mut db, "SET session_replication_role = replica").await.unwrap();
        }
        for write in [
            "UPDATE nexplane.log_events SET record = '{}'",
            "UPDATE nexplane.log_events_p000000 SET type = 'x'",
            "DELETE FROM nexplane.log_events WHERE position = 1",
            "DELETE FROM nexplane.log_events_p000000",
            "TRUNCATE nexplane.log_events",
            "TRUNCATE nexplane.log_events_p000000",
            "DELETE FROM nexplane.log_commands",
            "TRUNCATE nexplane.log_commands",
        ] {
            let error = run(&mut db, write).await.expect_err(write);
            assert!(error.to_string().contains("only ever added to"), "{write}: {error}");
        }
    }
    assert_eq!(fixture.all().await, before);
}

async fn open(database: &TestDatabase) -> Result<(), DatabaseError> {
    let options = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
    Database::open(database.options(), &options).await?.close().await;
    Ok(())
}

/// What the start says after a superuser did this.
async fn findings_after(sabotage: &str) -> String {
    let database = TestDatabase::new().await;
    open(&database).await.unwrap();
    let pool: &PgPool = database.pool();
    sqlx::raw_sql(AssertSqlSafe(sabotage.to_owned())).execute(pool).await.unwrap();
    match open(&database).await {
        Err(error @ DatabaseError::Unprotected { .. }) => error.to_string(),
        other => panic!("{sabotage}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_protection_is_not_opened() {
    for (sabotage, named) in [
        (
            "ALTER TABLE nexplane.log_events_p000001 DISABLE TRIGGER refuse_change",
            "trigger refuse_change of log_events_p000001",
        ),
        (
            "ALTER TABLE nexplane.log_events_p000000 ENABLE TRIGGER refuse_truncate",
            "trigger refuse_truncate of log_events_p000000",
        ),
        (
            "DROP TRIGGER refuse_change ON nexplane.log_commands",
            "trigger refuse_change of log_commands",
        ),
        (
            "DROP TRIGGER refuse_change ON nexplane.log_events_p000000;
             CREATE TRIGGER refuse_change BEFORE UPDATE ON nexplane.log_events_p000000
                 FOR EACH ROW EXECUTE FUNCTION nexplane.refuse_change();
             ALTER TABLE nexplane.log_events_p000000 ENABLE ALWAYS TRIGGER refuse_change",
            "trigger refuse_change of log_events_p000000",
        ),
        (
            "ALTER TABLE nexplane.log_events DETACH PARTITION nexplane.log_events_p000002",
            "log_events_p000002 is detached",
        ),
        ("GRANT UPDATE ON nexplane.log_events TO nexplane_app", "nexplane_app has UPDATE"),
        ("GRANT INSERT ON nexplane.log_head TO PUBLIC", "everybody has INSERT on log_head"),
        ("ALTER TABLE nexplane.log_streams OWNER TO nexplane_app", "log_streams belongs to"),
        (
            "CREATE OR REPLACE FUNCTION nexplane.refuse_change() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN RETURN NEW; END'",
            "refuse_change() was changed",
        ),
    ] {
        let said = findings_after(sabotage).await;
        assert!(said.contains(named), "{sabotage}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_rights_of_its_own_is_enough_once_the_schema_is_there() {
    let database = TestDatabase::new().await;
    let login = plain_login(&database).await;
    let options = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
    let opened = Database::open(login, &options).await.unwrap();
    let role: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(opened.pool()).await.unwrap();
    assert_eq!(role, "nexplane_app");
    sqlx::query("INSERT INTO nexplane.installation VALUES ('a', 'b')")
        .execute(opened.pool())
        .await
        .unwrap();
    opened.close().await;
    drop_login(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_made_later_are_protected_too() {
    let fixture = Fixture::new().await;
    let pool = fixture.pool();
    sqlx::query("UPDATE nexplane.log_head SET next_position = 5000000")
        .execute(pool)
        .await
        .unwrap();
    let mut db = fixture.connect().connect().await.unwrap();
    run(&mut db, "SELECT nexplane.ensure_log_partitions(2)").await.unwrap();
    let error = run(&mut db, "TRUNCATE nexplane.log_events_p000007").await.unwrap_err();
    assert_eq!(code(&error), "42501");
    let superuser = sqlx::raw_sql("TRUNCATE nexplane.log_events_p000007").execute(pool).await;
    assert!(superuser.unwrap_err().to_string().contains("only ever added to"));
    open(&fixture.database).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_database_need_not_be_a_superuser() {
    let database = TestDatabase::empty().await;
    let owner = format!("owner_{}", database.name());
    let prepare = format!(
        "CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'p';
         ALTER DATABASE {} OWNER TO {owner}",
        database.name()
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(database.pool()).await.unwrap();
    let options = DatabaseOptions { max_connections: 2, ..DatabaseOptions::default() };
    let login = database.options().username(&owner).password("p");
    Database::open(login.clone(), &options).await.unwrap().close().await;

    // What was made belongs to the log's owner; its maker has no more rights than the roles.
    let mut db = Role::App.at(login).connect().await.unwrap();
    let error = run(&mut db, "DELETE FROM nexplane.log_events").await.unwrap_err();
    assert_eq!(code(&error), "42501");
    db.close().await.unwrap();
    let tidy = format!(
        "REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}"
    );
    sqlx::raw_sql(AssertSqlSafe(tidy)).execute(database.pool()).await.unwrap();
}
