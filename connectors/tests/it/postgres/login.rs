//! What locking, unlocking and rotating mean for those who log in: asked by logging in.

use std::time::Duration;

use nexplane_connectors::sdk::{Advice, AnySession, ErrorKind, Executed, Snapshot, StepContext};
use nexplane_core::plan::TargetRef;
use serde_json::json;
use sqlx::Connection;

use super::bench::{Bench, PASSWORD, database_target, role_target};
use crate::fixture::step;

struct Done {
    cx: StepContext,
    before: Snapshot,
    executed: Executed,
}

async fn execute(
    bench: &Bench,
    session: &dyn AnySession,
    id: &str,
    target: &TargetRef,
    parameters: serde_json::Value,
) -> Done {
    let action = bench.action(id);
    let inspection = action.inspect(session, target, &parameters).await.expect("inspect");
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(action, target, &parameters, &before.fingerprint);
    let executed = action.execute(session, &cx, &before).await.expect("execute");
    Done { cx, before, executed }
}

async fn roll_back(bench: &Bench, session: &dyn AnySession, id: &str, done: &Done) {
    let outcome = Some(&done.executed.outcome);
    bench.action(id).rollback(session, &done.cx, &done.before, outcome).await.expect("rollback");
}

/// The SQLSTATE with which the server refuses a login.
async fn refusal(bench: &Bench, role: &str, password: &str) -> String {
    let error = bench.log_in(role, password).await.expect_err("the login is refused");
    error.as_database_error().and_then(|e| e.code()).map(Into::into).unwrap_or_default()
}

#[tokio::test]
async fn real_a_locked_role_is_out_and_stays_out_until_the_rollback() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let mut inside = bench.log_in(&role, PASSWORD).await.expect("it can log in at first");
    let mut also = bench.log_in(&role, PASSWORD).await.expect("twice");

    let id = "postgres.lock_user";
    let done = execute(&bench, &*session, id, &role_target(&role), json!({})).await;
    assert_eq!(done.executed.outcome, json!({ "sessions_ended": 2 }));
    // 28000: invalid authorisation specification ("role is not permitted to log in").
    assert_eq!(refusal(&bench, &role, PASSWORD).await, "28000");
    assert!(inside.ping().await.is_err() && also.ping().await.is_err(), "a session survived");

    roll_back(&bench, &*session, id, &done).await;
    bench.log_in(&role, PASSWORD).await.expect("it can log in again").close().await.unwrap();
}

#[tokio::test]
async fn real_locking_shows_the_sessions_that_it_will_end() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let _inside = bench.log_in(&role, PASSWORD).await.unwrap();
    let action = bench.action("postgres.lock_user");
    let target = role_target(&role);
    let inspection = action.inspect(&*session, &target, &json!({})).await.unwrap();
    let sessions = inspection.diff.iter().find(|line| line.field == "open_sessions").unwrap();
    assert_eq!((&sessions.before, &sessions.after), (&json!(1), &json!(0)));
    assert!(inspection.summary.contains("1 open session"), "{}", inspection.summary);
}

/// Locked by hand, but still logged in: not locked.
#[tokio::test]
async fn real_nologin_alone_does_not_satisfy() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let mut inside = bench.log_in(&role, PASSWORD).await.unwrap();
    let action = bench.action("postgres.lock_user");
    let (target, none) = (role_target(&role), json!({}));
    let before = action.inspect(&*session, &target, &none).await.unwrap().before;
    bench.sql(&format!("ALTER ROLE \"{role}\" NOLOGIN")).await;
    let verified = action.verify(&*session, &target, &none, &before, None).await.unwrap();
    assert!(!verified.satisfied);
    let cx = step(action, &target, &none, &before.fingerprint);
    assert!(action.execute(&*session, &cx, &before).await.unwrap().changed);
    assert!(inside.ping().await.is_err());
    let verified = action.verify(&*session, &target, &none, &before, None).await.unwrap();
    assert!(verified.satisfied);
}

#[tokio::test]
async fn real_an_unlocked_role_gets_in_and_the_rollback_puts_it_out() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    bench.sql(&format!("ALTER ROLE \"{role}\" NOLOGIN")).await;
    let session = bench.session().await;
    let id = "postgres.unlock_user";
    let done = execute(&bench, &*session, id, &role_target(&role), json!({})).await;
    let mut inside = bench.log_in(&role, PASSWORD).await.expect("it can log in");
    roll_back(&bench, &*session, id, &done).await;
    assert!(inside.ping().await.is_err());
    assert_eq!(refusal(&bench, &role, PASSWORD).await, "28000");
}

#[tokio::test]
async fn real_a_rotated_password_works_and_the_old_one_does_not() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let id = "postgres.rotate_user_password";
    let done = execute(&bench, &*session, id, &role_target(&role), json!({})).await;
    let new = done.executed.produced.first().expect("a password is produced");
    assert_eq!(new.name, "password");
    // 28P01: invalid password.
    assert_eq!(refusal(&bench, &role, PASSWORD).await, "28P01");
    bench.log_in(&role, new.value.expose()).await.expect("the new one works");

    roll_back(&bench, &*session, id, &done).await;
    bench.log_in(&role, PASSWORD).await.expect("the old one works again");
    assert_eq!(refusal(&bench, &role, new.value.expose()).await, "28P01");
}

/// Before-states of all kinds come back: an MD5 hash, and no password at all.
#[tokio::test]
async fn real_old_hashes_and_absent_passwords_come_back() {
    let bench = Bench::new().await;
    let (old, none) = (bench.role("old").await, bench.role("none").await);
    bench
        .sql(&format!(
            "SET password_encryption = 'md5'; ALTER ROLE \"{old}\" PASSWORD '{PASSWORD}'; \
             ALTER ROLE \"{none}\" PASSWORD NULL"
        ))
        .await;
    let session = bench.session().await;
    let id = "postgres.rotate_user_password";
    let initially = bench.witness().await;
    for role in [&old, &none] {
        let done = execute(&bench, &*session, id, &role_target(role), json!({})).await;
        let new = done.executed.produced.first().unwrap();
        bench.log_in(role, new.value.expose()).await.expect("the new password works");
        roll_back(&bench, &*session, id, &done).await;
    }
    assert_eq!(bench.witness().await, initially);
}

/// The clear password never reaches the server, and its verifier stays out of the server's log.
#[tokio::test]
async fn real_only_a_verifier_is_stored() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let id = "postgres.rotate_user_password";
    let done = execute(&bench, &*session, id, &role_target(&role), json!({})).await;
    let stored = bench
        .scalar(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"))
        .await
        .unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$4096:"), "{stored}");
    assert!(!stored.contains(done.executed.produced.first().unwrap().value.expose()));
}

#[tokio::test]
async fn real_a_read_only_user_reads_and_does_not_write() {
    let bench = Bench::new().await;
    bench
        .sql(
            "CREATE SCHEMA app; CREATE TABLE app.now (n int); INSERT INTO app.now VALUES (7); \
             CREATE SCHEMA private; CREATE TABLE private.hidden ()",
        )
        .await;
    let session = bench.session().await;
    let user = bench.server.role("reader");
    let target = database_target(bench.server.database());
    let id = "postgres.create_read_only_user";
    let parameters = json!({ "user": user, "schema": "app" });
    let done = execute(&bench, &*session, id, &target, parameters).await;
    assert_eq!(done.executed.outcome, json!({ "role": format!("role/{user}") }));
    let password = done.executed.produced.first().unwrap().value.expose().to_owned();
    let mut reader = bench.log_in(&user, &password).await.expect("it can log in");
    // A table made later, by the schema's owner, can be read as well.
    bench.sql("CREATE TABLE app.later (n int)").await;
    for (sql, allowed) in [
        ("SELECT n FROM app.now", true),
        ("SELECT n FROM app.later", true),
        ("INSERT INTO app.now VALUES (1)", false),
        ("DELETE FROM app.later", false),
        ("CREATE TABLE app.mine ()", false),
        ("SELECT * FROM private.hidden", false),
        ("CREATE ROLE nobody", false),
    ] {
        assert_eq!(sqlx::raw_sql(sql).execute(&mut reader).await.is_ok(), allowed, "{sql}");
    }
    // The new table is no drift: what it adds comes by itself.
    let action = bench.action(id);
    let (target, parameters) = (&done.cx.step.target, &done.cx.step.parameters);
    let verified = action.verify(&*session, target, parameters, &done.before, None).await.unwrap();
    assert!(verified.satisfied);
    roll_back(&bench, &*session, id, &done).await;
    assert!(reader.ping().await.is_err(), "the dropped role is still logged in");
    assert!(bench.log_in(&user, &password).await.is_err());
}

/// What a plan promised for another moment is not done: the effect has to fit into its deadline.
#[tokio::test]
async fn real_an_effect_that_waits_too_long_ends_and_does_not_happen_later() {
    let bench = Bench::new().await;
    let role = bench.role("app").await;
    let session = bench.session().await;
    let action = bench.action("postgres.lock_user");
    let (target, none) = (role_target(&role), json!({}));
    let before = action.inspect(&*session, &target, &none).await.unwrap().before;
    // Somebody else holds the role's row.
    let mut holder = bench.server.admin().await;
    let hold = format!("BEGIN; SELECT 1 FROM pg_authid WHERE rolname = '{role}' FOR UPDATE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(hold)).execute(&mut holder).await.unwrap();
    let mut cx = step(action, &target, &none, &before.fingerprint);
    cx.deadline = Duration::from_millis(1_500);
    let error = action.execute(&*session, &cx, &before).await.expect_err("it cannot be done");
    // The server's own limit comes first: a definite answer.
    assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Later), "{error:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let now = action.read(&*session, &target, &none, None).await.unwrap();
    assert_eq!(now.fingerprint, before.fingerprint, "the effect happened after its end");
}
