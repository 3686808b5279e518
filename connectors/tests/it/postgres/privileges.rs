//! Refusals of the actions that take privileges or drop roles: everything that could not be restored
//! exactly is refused before, and says what to do.

use nexplane_connectors::sdk::{ErrorKind, Inspection};
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD, database_target, role_target};
use super::cases::objects;
use crate::fixture::step;

async fn inspect(bench: &Bench, id: &str, target: &TargetRef, parameters: &Value) -> Inspection {
    let session = bench.session().await;
    bench.action(id).inspect(&*session, target, parameters).await.expect("inspect")
}

/// The only check that fails, with its advice.
fn the_failure(inspection: &Inspection) -> (String, String) {
    let failed: Vec<_> = inspection.checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    (failed[0].name.clone(), failed[0].detail.clone())
}

/// Refused when planned, and refused once more when it happens between plan and execution.
async fn refused(bench: &Bench, id: &str, role: &str, parameters: Value, sql: &str, check: &str) {
    let target = role_target(role);
    let planned = inspect(bench, id, &target, &parameters).await;
    assert!(planned.is_ready(), "{:#?}", planned.checks);
    bench.sql(sql).await;
    let (name, detail) = the_failure(&inspect(bench, id, &target, &parameters).await);
    assert_eq!(name, check, "{detail}");
    let witness = bench.witness().await;
    let action = bench.action(id);
    let session = bench.session().await;
    let cx = step(action, &target, &parameters, &planned.before.fingerprint);
    let error = action.execute(&*session, &cx, &planned.before).await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(!error.is_outcome_unknown());
    assert_eq!(bench.witness().await, witness, "{sql}");
}

async fn drop_refused(sql: &str, check: &str) {
    let bench = Bench::new().await;
    let role = bench.role("leaver").await;
    let (other, third) = (bench.server.role("other"), bench.server.role("third"));
    bench.sql(&format!("CREATE ROLE \"{other}\"; CREATE TABLE t (id int)")).await;
    let sql = [("$role", &role), ("$other", &other), ("$third", &third)]
        .iter()
        .fold(sql.to_owned(), |sql, (name, role)| sql.replace(name, &format!("\"{role}\"")));
    refused(&bench, "postgres.drop_user", &role, json!({}), &sql, check).await;
}

#[tokio::test]
async fn real_an_owner_is_not_dropped() {
    drop_refused("ALTER TABLE t OWNER TO $role", "the role owns nothing").await;
}

#[tokio::test]
async fn real_an_owner_of_default_privileges_is_not_dropped() {
    let sql = "ALTER DEFAULT PRIVILEGES FOR ROLE $role GRANT SELECT ON TABLES TO $other";
    drop_refused(sql, "the role owns nothing").await;
}

#[tokio::test]
async fn real_a_role_in_a_policy_is_not_dropped() {
    let sql = "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO $role USING (true)";
    drop_refused(sql, "everything of the role can be captured").await;
}

#[tokio::test]
async fn real_a_role_that_passed_privileges_on_is_not_dropped() {
    let sql = "GRANT SELECT ON t TO $role WITH GRANT OPTION; SET ROLE $role; \
               GRANT SELECT ON t TO $other; RESET ROLE";
    drop_refused(sql, "nobody else's privileges rest on the role's").await;
}

#[tokio::test]
async fn real_a_role_that_granted_memberships_is_not_dropped() {
    let sql = "GRANT $other TO $role WITH ADMIN OPTION; CREATE ROLE $third; SET ROLE $role; \
               GRANT $other TO $third; RESET ROLE";
    drop_refused(sql, "nobody's membership was granted by the role").await;
}

/// What only a superuser could restore is not dropped by anybody else.
#[tokio::test]
async fn real_a_role_that_could_not_be_made_again_is_not_dropped() {
    let bench = Bench::new().await;
    let manager = bench.manager().await;
    let (role, group) = (bench.role("leaver").await, bench.server.role("group"));
    bench
        .sql(&format!(
            "CREATE ROLE \"{group}\"; GRANT \"{group}\" TO \"{role}\"; \
             ALTER ROLE \"{role}\" BYPASSRLS; ALTER ROLE \"{role}\" SET my.option TO 'x'; \
             ALTER ROLE \"{role}\" SET log_statement TO 'all'"
        ))
        .await;
    let id = "postgres.drop_user";
    let session = bench.session_of(&manager).await;
    let inspection =
        bench.action(id).inspect(&*session, &role_target(&role), &json!({})).await.unwrap();
    let (name, detail) = the_failure(&inspection);
    assert_eq!(name, "the connection could make the role again");
    for part in ["BYPASSRLS", "my.option", "log_statement", &group] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(inspect(&bench, id, &role_target(&role), &json!({})).await.is_ready());
}

#[tokio::test]
async fn real_a_role_that_is_logged_in_is_not_dropped() {
    let bench = Bench::new().await;
    let role = bench.role("leaver").await;
    let _inside = bench.log_in(&role, PASSWORD).await.unwrap();
    let inspection = inspect(&bench, "postgres.drop_user", &role_target(&role), &json!({})).await;
    let (name, detail) = the_failure(&inspection);
    assert_eq!(name, "the role is not logged in");
    assert!(detail.contains("lock the role first"), "{detail}");
}

#[tokio::test]
async fn real_a_role_with_privileges_in_another_database_is_not_dropped() {
    let (bench, elsewhere) = (Bench::new().await, Bench::new().await);
    let role = bench.role("leaver").await;
    elsewhere.sql(&format!("CREATE TABLE t (); GRANT SELECT ON t TO \"{role}\"")).await;
    let inspection = inspect(&bench, "postgres.drop_user", &role_target(&role), &json!({})).await;
    let (name, detail) = the_failure(&inspection);
    assert_eq!(name, "the role has privileges in this database only");
    assert!(detail.contains(elsewhere.server.database()), "{detail}");
    drop(elsewhere);
}

#[tokio::test]
async fn real_owners_superusers_and_grantors_keep_their_privileges() {
    let bench = Bench::new().await;
    let owner = objects(&bench, None).await;
    let (id, schema) = ("postgres.revoke_all_privileges", json!({ "schema": "app \"x\"" }));

    let (name, _) = the_failure(&inspect(&bench, id, &role_target(&owner), &schema).await);
    assert_eq!(name, "the role owns nothing in the schema");

    let boss = bench.role("boss").await;
    bench.sql(&format!("ALTER ROLE \"{boss}\" SUPERUSER")).await;
    let (name, _) = the_failure(&inspect(&bench, id, &role_target(&boss), &schema).await);
    assert_eq!(name, "privileges bind the role");

    let (app, other) = (bench.role("app").await, bench.role("other").await);
    let sql = format!(
        r#"GRANT USAGE ON SCHEMA "app ""x""" TO "{app}";
           GRANT ALL ON "app ""x""".plain TO "{app}" WITH GRANT OPTION; SET ROLE "{app}";
           GRANT SELECT ON "app ""x""".plain TO "{other}"; RESET ROLE"#
    );
    let check = "nobody else's privileges rest on them";
    refused(&bench, id, &app, schema, &sql, check).await;

    let nowhere = json!({ "schema": "no such schema" });
    let (name, _) = the_failure(&inspect(&bench, id, &role_target(&other), &nowhere).await);
    assert_eq!(name, "the schema exists");
}

/// A role that holds nothing: nothing to do is done at once, and undone at once.
#[tokio::test]
async fn real_nothing_to_revoke_is_no_effect() {
    let bench = Bench::new().await;
    let app = bench.role("app").await;
    let session = bench.session().await;
    let action = bench.action("postgres.revoke_all_privileges");
    let (target, parameters) = (role_target(&app), json!({ "schema": "public" }));
    let inspection = action.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.is_ready() && inspection.diff.is_empty());
    let cx = step(action, &target, &parameters, &inspection.before.fingerprint);
    assert!(!action.execute(&*session, &cx, &inspection.before).await.unwrap().changed);
    assert!(!action.rollback(&*session, &cx, &inspection.before, None).await.unwrap().changed);
}

/// An object that vanished in between makes an exact restoration impossible: nothing is restored.
#[tokio::test]
async fn real_a_rollback_is_whole_or_not_at_all() {
    let bench = Bench::new().await;
    let app = bench.role("app").await;
    bench
        .sql(&format!(
            "CREATE SCHEMA s; CREATE TABLE s.a (); CREATE TABLE s.b (); \
             GRANT SELECT ON s.a, s.b TO \"{app}\""
        ))
        .await;
    let session = bench.session().await;
    let action = bench.action("postgres.revoke_all_privileges");
    let (target, parameters) = (role_target(&app), json!({ "schema": "s" }));
    let before = action.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(action, &target, &parameters, &before.fingerprint);
    action.execute(&*session, &cx, &before).await.unwrap();
    bench.sql("DROP TABLE s.b").await;
    let revoked = bench.witness().await;
    let error = action.rollback(&*session, &cx, &before, None).await.expect_err("b is gone");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(!error.is_outcome_unknown());
    assert_eq!(bench.witness().await, revoked);
}

#[tokio::test]
async fn real_names_for_new_users() {
    let bench = Bench::new().await;
    let id = "postgres.create_read_only_user";
    let target = database_target(bench.server.database());
    let parameters = |user: &str| json!({ "user": user, "schema": "public" });
    for reserved in ["pg_reader", "public", "none"] {
        let inspection = inspect(&bench, id, &target, &parameters(reserved)).await;
        assert_eq!(the_failure(&inspection).0, "the name can be used");
    }
    let taken = bench.role("taken").await;
    let inspection = inspect(&bench, id, &target, &parameters(&taken)).await;
    assert_eq!(the_failure(&inspection).0, "the name is free");
    // PostgreSQL would cut it to 63 bytes and make another role.
    let faults = bench.action(id).validate(&parameters(&"ä".repeat(40))).expect_err("too long");
    assert!(faults[0].reason.contains("63 bytes"), "{faults:?}");
}

/// What somebody gave to the new user meanwhile is drift; it is not silently dropped with it.
#[tokio::test]
async fn real_more_privileges_of_a_created_user_are_drift() {
    let bench = Bench::new().await;
    bench.sql("CREATE SCHEMA app; CREATE SCHEMA more").await;
    let session = bench.session().await;
    let action = bench.action("postgres.create_read_only_user");
    let target = database_target(bench.server.database());
    let user = bench.server.role("reader");
    let parameters = json!({ "user": user, "schema": "app" });
    let before = action.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(action, &target, &parameters, &before.fingerprint);
    action.execute(&*session, &cx, &before).await.unwrap();
    let after = action.verify(&*session, &target, &parameters, &before, None).await.unwrap();
    bench.sql("CREATE TABLE app.later ()").await;
    let now = action.read(&*session, &target, &parameters, None).await.unwrap();
    assert_eq!(now.fingerprint, after.fingerprint, "a new table is not drift");
    bench.sql(&format!("GRANT USAGE ON SCHEMA more TO \"{user}\"")).await;
    let now = action.read(&*session, &target, &parameters, None).await.unwrap();
    assert_ne!(now.fingerprint, after.fingerprint, "another privilege is drift");
    // And somebody else's role of that name is not dropped.
    bench.sql(&format!("ALTER ROLE \"{user}\" PASSWORD 'another'")).await;
    let error = action.rollback(&*session, &cx, &before, None).await.expect_err("not ours");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
}
