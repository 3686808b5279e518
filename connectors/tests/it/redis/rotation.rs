//! Rotating the password of a user, as those see it who log in.

use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD, user_target};
use super::login::{execute, inspect, roll_back, the_failure};
use crate::fixture::{action, step};

const ID: &str = "redis.rotate_auth_password";

#[tokio::test]
async fn real_the_new_password_lets_in_and_the_old_ones_do_not() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    bench.run("ACL SETUSER app >another-password");
    bench.save();
    let witness = bench.witness();
    let session = bench.session().await;
    let mut inside = bench.inside(&app, "another-password");

    let done = execute(&*session, ID, &user_target(&app)).await;
    assert_eq!(done.executed.outcome["sessions_ended"], 1);
    let new = done.executed.produced[0].value.expose().to_owned();
    assert!(inside.is_over(), "a session of an old password survived");
    assert!(bench.lets_in(&app, &new));
    assert!(!bench.lets_in(&app, PASSWORD) && !bench.lets_in(&app, "another-password"));
    // A session of the new password is not ended by looking at it.
    let mut fresh = bench.inside(&app, &new);
    let outcome = Some(&done.executed.outcome);
    let verified = action(ID)
        .verify(&*session, &user_target(&app), &json!({}), &done.before, outcome)
        .await
        .unwrap();
    assert!(verified.satisfied && fresh.is_open());

    roll_back(&*session, ID, &done).await;
    assert!(fresh.is_over(), "a session of the new password survived the rollback");
    assert!(!bench.lets_in(&app, &new));
    assert!(bench.lets_in(&app, PASSWORD) && bench.lets_in(&app, "another-password"));
    assert_eq!(bench.witness(), witness);
}

/// After a crash nobody has the new password: whoever is logged in began with an old one.
#[tokio::test]
async fn real_an_old_session_is_seen_after_a_crash() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let session = bench.session().await;
    let before = inspect(&*session, ID, &user_target(&app)).await.before;
    let sealed: Value = serde_json::from_slice(before.sealed.expose()).unwrap();
    let hash = sealed["prepared"]["hash"]["$secret"].as_str().unwrap();
    let mut inside = bench.inside(&app, PASSWORD);
    bench.run(&format!("ACL SETUSER app resetpass #{hash}"));
    let satisfied = async || {
        let (target, none) = (user_target(&app), json!({}));
        let verified = action(ID).verify(&*session, &target, &none, &before, None).await;
        verified.unwrap().satisfied
    };
    assert!(!satisfied().await);
    let cx = step(action(ID), &user_target(&app), &json!({}), &before.fingerprint);
    action(ID).execute(&*session, &cx, &before).await.unwrap();
    assert!(inside.is_over() && satisfied().await);
}

/// A crash between adding the new password and removing the old ones.
#[tokio::test]
async fn real_what_stands_in_between_goes_on_and_goes_back() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let witness = bench.witness();
    let session = bench.session().await;
    let before = inspect(&*session, ID, &user_target(&app)).await.before;
    let sealed: Value = serde_json::from_slice(before.sealed.expose()).unwrap();
    let text = |name: &str| sealed["prepared"][name]["$secret"].as_str().unwrap().to_owned();
    let cx = step(action(ID), &user_target(&app), &json!({}), &before.fingerprint);
    let add = format!("ACL SETUSER app #{}", text("hash"));

    bench.run(&add);
    assert!(bench.lets_in(&app, PASSWORD) && bench.lets_in(&app, &text("clear")));
    assert!(action(ID).rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_eq!(bench.witness(), witness);

    bench.run(&add);
    assert!(action(ID).execute(&*session, &cx, &before).await.unwrap().changed);
    assert!(!bench.lets_in(&app, PASSWORD) && bench.lets_in(&app, &text("clear")));
}

/// A user that is off stays off: its password is replaced all the same.
#[tokio::test]
async fn real_a_user_that_is_off_stays_off() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    bench.run("ACL SETUSER app off");
    let session = bench.session().await;
    let done = execute(&*session, ID, &user_target(&app)).await;
    let new = done.executed.produced[0].value.expose().to_owned();
    assert!(!bench.lets_in(&app, &new), "it was switched on");
    bench.run("ACL SETUSER app on");
    assert!(bench.lets_in(&app, &new) && !bench.lets_in(&app, PASSWORD));
}

/// What was a login that succeeded cannot be rotated where there was no password.
#[tokio::test]
async fn real_who_has_no_password_is_left_alone() {
    let bench = Bench::new().await;
    let session = bench.session().await;
    for (rules, says) in [("on nopass", "nopass"), ("on", "nobody logs in")] {
        bench.run(&format!("ACL SETUSER app reset {rules}"));
        let inspection = inspect(&*session, ID, &user_target("app")).await;
        let (name, detail) = the_failure(&inspection);
        assert_eq!(name, "the user has a password");
        assert!(detail.contains(says), "{detail}");
    }
}

/// The login that tries the new password cannot be made: the user is as it was, and nobody has to guess.
#[tokio::test]
async fn real_a_rotation_that_cannot_be_tried_is_put_back() {
    let bench = Bench::new().await;
    let app = bench.user("app");
    let witness = bench.witness();
    let session = bench.session().await;
    let before = inspect(&*session, ID, &user_target(&app)).await.before;
    let cx = step(action(ID), &user_target(&app), &json!({}), &before.fingerprint);
    bench.run("CONFIG SET maxclients 1");
    let error = action(ID).execute(&*session, &cx, &before).await.expect_err("no more clients");
    assert!(!error.is_outcome_unknown(), "{error:?}");
    assert!(error.message.contains("as it was before"), "{error}");
    let fingerprint = action(ID).read(&*session, &user_target(&app), &json!({}), None).await;
    assert_eq!(fingerprint.unwrap().fingerprint, before.fingerprint);
    drop(session);
    for _ in 0..100 {
        if bench.server.cli(&["CONFIG", "SET", "maxclients", "10000"]).is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(bench.witness(), witness);
    assert!(bench.lets_in(&app, PASSWORD));
}
