//! What locking and unlocking mean for those who log in: asked with the server's own client.

use nexplane_connectors::sdk::{
    Advice, AnySession, ErrorKind, Executed, Inspection, Snapshot, StepContext,
};
use nexplane_core::plan::TargetRef;
use nexplane_peers::redis::{RedisServer, Setup};
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD, user_target};
use crate::fixture::{action, step};

pub struct Done {
    pub cx: StepContext,
    pub before: Snapshot,
    pub executed: Executed,
}

pub async fn inspect(session: &dyn AnySession, id: &str, target: &TargetRef) -> Inspection {
    action(id).inspect(session, target, &json!({})).await.expect("inspect")
}

pub async fn execute(session: &dyn AnySession, id: &str, target: &TargetRef) -> Done {
    let inspection = inspect(session, id, target).await;
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(action(id), target, &json!({}), &before.fingerprint);
    let executed = action(id).execute(session, &cx, &before).await.expect("execute");
    Done { cx, before, executed }
}

pub async fn roll_back(session: &dyn AnySession, id: &str, done: &Done) {
    let outcome = Some(&done.executed.outcome);
    action(id).rollback(session, &done.cx, &done.before, outcome).await.expect("rollback");
}

/// The only check that fails.
pub fn the_failure(inspection: &Inspection) -> (&str, &str) {
    let failed: Vec<_> = inspection.checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    (&failed[0].name, &failed[0].detail)
}

#[tokio::test]
async fn real_a_locked_user_is_out_and_stays_out_until_the_rollback() {
    let bench = Bench::new().await;
    let (app, other) = (bench.user("app"), bench.user("other"));
    let session = bench.session().await;
    let (mut inside, mut also) = (bench.inside(&app, PASSWORD), bench.inside(&app, PASSWORD));
    let mut bystander = bench.inside(&other, PASSWORD);

    let id = "redis.lock_user";
    let target = user_target(&app);
    let inspection = inspect(&*session, id, &target).await;
    let sessions = inspection.diff.iter().find(|line| line.field == "open_sessions").unwrap();
    assert_eq!((&sessions.before, &sessions.after), (&json!(2), &json!(0)));
    assert!(inspection.summary.contains("2 open sessions"), "{}", inspection.summary);
    assert!(inspection.summary.contains("saved with ACL SAVE"), "{}", inspection.summary);

    let done = execute(&*session, id, &target).await;
    let outcome = json!({ "sessions_ended": 2, "survives_restart": true });
    assert_eq!(done.executed.outcome, outcome);
    assert!(inside.is_over() && also.is_over(), "a session survived");
    assert!(bystander.is_open(), "somebody else's session was ended");
    assert!(!bench.lets_in(&app, PASSWORD));
    assert!(bench.server.kept().contains("user app off"), "{}", bench.server.kept());

    roll_back(&*session, id, &done).await;
    assert!(bench.lets_in(&app, PASSWORD));
    assert!(bench.server.kept().contains("user app on"));
}

/// Locked by hand, but still logged in: not locked.
#[tokio::test]
async fn real_a_user_with_an_old_session_is_not_locked_yet() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let (id, target) = ("redis.lock_user", user_target(&app));
    let before = inspect(&*session, id, &target).await.before;
    let mut inside = bench.inside(&app, PASSWORD);
    bench.run("ACL SETUSER app off");
    assert!(inside.is_open(), "Redis itself leaves the session open");
    let satisfied = async || {
        let verified = action(id).verify(&*session, &target, &json!({}), &before, None).await;
        verified.unwrap().satisfied
    };
    assert!(!satisfied().await);
    let cx = step(action(id), &target, &json!({}), &before.fingerprint);
    let executed = action(id).execute(&*session, &cx, &before).await.unwrap();
    assert!(executed.changed && inside.is_over());
    assert!(satisfied().await);
}

/// The rollback of an unlocking ends the sessions that it let in.
#[tokio::test]
async fn real_unlocking_and_its_rollback() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    bench.run("ACL SETUSER app off");
    let session = bench.session().await;
    let done = execute(&*session, "redis.unlock_user", &user_target(&app)).await;
    let mut inside = bench.inside(&app, PASSWORD);
    roll_back(&*session, "redis.unlock_user", &done).await;
    assert!(inside.is_over() && !bench.lets_in(&app, PASSWORD));
}

/// The user that everybody is before they authenticate.
#[tokio::test]
async fn real_the_default_user_can_be_locked_while_strangers_knock() {
    let bench = Bench::with(Setup::Requirepass).await;
    let requirepass = bench.server.requirepass.clone().unwrap();
    let session = bench.session().await;
    let _stranger = tokio::net::TcpStream::connect(("127.0.0.1", bench.server.port)).await.unwrap();
    let mut inside = bench.inside("default", &requirepass);
    let target = user_target("default");
    let done = execute(&*session, "redis.lock_user", &target).await;
    assert!(inside.is_over() && !bench.lets_in("default", &requirepass));
    let outcome = Some(&done.executed.outcome);
    let verified = action("redis.lock_user")
        .verify(&*session, &target, &json!({}), &done.before, outcome)
        .await
        .unwrap();
    assert!(verified.satisfied);
    roll_back(&*session, "redis.lock_user", &done).await;
    assert!(bench.lets_in("default", &requirepass));
}

#[tokio::test]
async fn real_the_plan_says_when_nothing_survives_a_restart() {
    let bench = Bench::with(Setup::Nothing).await;
    let app = bench.user("app");
    let session = bench.session().await;
    let inspection = inspect(&*session, "redis.lock_user", &user_target(&app)).await;
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    assert!(inspection.summary.contains("NOT survive a restart"), "{}", inspection.summary);
    let done = execute(&*session, "redis.lock_user", &user_target(&app)).await;
    assert_eq!(done.executed.outcome["survives_restart"], false);
    assert!(!bench.lets_in(&app, PASSWORD));

    let bench = Bench::with(Setup::Requirepass).await;
    let app = bench.user("app");
    let session = bench.session().await;
    let done = execute(&*session, "redis.lock_user", &user_target(&app)).await;
    assert_eq!(done.executed.outcome["survives_restart"], true);
    assert!(bench.server.kept().contains("user app off"), "{}", bench.server.kept());
}

/// What cannot be saved is not done: the file is where nothing can be written.
#[tokio::test]
async fn real_what_cannot_be_saved_is_not_done() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let users = bench.server.folder().join("users.acl");
    for (id, word) in [("redis.lock_user", "lock"), ("redis.rotate_auth_password", "rotate")] {
        let before = inspect(&*session, id, &user_target(&app)).await.before;
        let witness = bench.run("ACL LIST");
        // Redis renames a new file to this name, which a folder that is not empty does not allow.
        let text = std::fs::read(&users).unwrap();
        std::fs::remove_file(&users).unwrap();
        std::fs::create_dir(&users).unwrap();
        std::fs::write(users.join("in-the-way"), "").unwrap();
        let cx = step(action(id), &user_target(&app), &json!({}), &before.fingerprint);
        let error = action(id).execute(&*session, &cx, &before).await.expect_err(word);
        assert!(!error.is_outcome_unknown(), "{word}: {error:?}");
        assert_eq!(bench.run("ACL LIST"), witness, "{word}");
        assert!(bench.lets_in(&app, PASSWORD), "{word}");
        std::fs::remove_dir_all(&users).unwrap();
        std::fs::write(&users, text).unwrap();
    }
}

#[tokio::test]
async fn real_the_connections_own_user_is_never_touched() {
    let bench = Bench::new().await;
    let session = bench.session().await;
    let witness = bench.witness();
    let own = user_target(RedisServer::ADMIN);
    for id in ["redis.lock_user", "redis.rotate_auth_password", "redis.unlock_user"] {
        let inspection = inspect(&*session, id, &own).await;
        let (name, detail) = the_failure(&inspection);
        assert_eq!(name, "the user is not the connection's own");
        assert!(detail.contains("give the connection another user first"), "{detail}");
        // And if it is tried all the same.
        let before = inspection.before;
        let cx = step(action(id), &own, &json!({}), &before.fingerprint);
        let error = action(id).execute(&*session, &cx, &before).await.expect_err("own user");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    }
    assert_eq!(bench.witness(), witness);
}

/// A replica that logs in as the user would be cut off.
#[tokio::test]
async fn real_the_user_of_a_replica_is_left_alone() {
    let setup = Setup::Requirepass;
    let (primary, replica) = (Bench::with(setup).await, Bench::with(setup).await);
    primary.run(&format!("ACL SETUSER repl on >{PASSWORD} +psync +replconf +ping"));
    replica.run("CONFIG SET masteruser repl");
    replica.run(&format!("CONFIG SET masterauth {PASSWORD}"));
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", primary.server.port));
    for _ in 0..200 {
        if replica.run("INFO replication").contains("master_link_status:up") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let session = primary.session().await;
    for id in ["redis.lock_user", "redis.rotate_auth_password"] {
        let inspection = inspect(&*session, id, &user_target("repl")).await;
        let (name, detail) = the_failure(&inspection);
        assert_eq!(name, "no replica is logged in as the user");
        assert!(detail.contains("masterauth"), "{detail}");
    }
}

/// A user that somebody deleted does not come back by the rollback, nor by the effect.
#[tokio::test]
async fn real_a_user_that_is_gone_does_not_come_back() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let done = execute(&*session, "redis.lock_user", &user_target(&app)).await;
    bench.run("ACL DELUSER app");
    let again = action("redis.lock_user").execute(&*session, &done.cx, &done.before).await;
    assert_eq!(again.expect_err("gone").kind, ErrorKind::NotFound);
    let back = action("redis.lock_user").rollback(&*session, &done.cx, &done.before, None).await;
    assert_eq!(back.expect_err("gone").kind, ErrorKind::NotFound);
    assert!(!bench.run("ACL USERS").lines().any(|name| name == "app"));
}

/// Parameters that are none are refused by name.
#[test]
fn parameters_of_users_are_empty() {
    let faults = action("redis.lock_user").validate(&json!({ "force": true })).expect_err("none");
    assert_eq!(faults[0].pointer, "/force");
    assert!(action("redis.lock_user").validate(&Value::Null).is_err());
}

/// Planned where there was nothing to do; then somebody switched the user the other way. Theirs stays.
#[tokio::test]
async fn real_a_user_that_somebody_switched_after_a_plan_of_nothing_is_left_alone() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let target = user_target(&app);
    for (id, planned, switched) in
        [("redis.lock_user", "off", "on"), ("redis.unlock_user", "on", "off")]
    {
        bench.run(&format!("ACL SETUSER app {planned}"));
        let before = inspect(&*session, id, &target).await.before;
        let cx = step(action(id), &target, &json!({}), &before.fingerprint);
        bench.run(&format!("ACL SETUSER app {switched}"));
        bench.save();
        let witness = bench.witness();
        let executed = action(id).execute(&*session, &cx, &before).await.map(drop);
        let undone = action(id).rollback(&*session, &cx, &before, None).await.map(drop);
        for error in [executed.expect_err(id), undone.expect_err(id)] {
            assert_eq!(
                (error.kind, error.advice),
                (ErrorKind::Conflict, Advice::Never),
                "{error:?}"
            );
        }
        assert_eq!(bench.witness(), witness, "{id}");
    }
}
