//! Somebody else is at work between our last look and our command: nothing of theirs is lost.

use std::collections::VecDeque;
use std::sync::Arc;

use nexplane_connectors::sdk::{Advice, AnySession, ErrorKind};
use nexplane_peers::redis::Setup;
use serde_json::json;

use super::bench::{Bench, PASSWORD, instance_target, user_target};
use super::login::{execute, inspect};
use crate::fixture::{action, step};
use crate::suite::{Peer as _, meddle};

const ROTATE: &str = "redis.rotate_auth_password";
/// In the message that sets it, in the server's own protocol.
const SET_REQUIREPASS: &str = "SET\r\n$11\r\nrequirepass";

/// A session of this user over a line on which these commands of the administrator are run, each before the next
/// message that has its word in it.
async fn meddled(
    bench: &Arc<Bench>,
    (user, password): (&str, &str),
    script: &[(&'static str, &'static str)],
) -> Box<dyn AnySession> {
    let mut script: VecDeque<_> = script.iter().copied().collect();
    let there = bench.clone();
    let port = meddle(bench.address(), move |_, message| {
        let message = String::from_utf8_lossy(message).into_owned();
        if let Some((_, command)) = script.pop_front_if(|(word, _)| message.contains(*word)) {
            there.run(command);
        }
    })
    .await;
    bench.open(bench.moved(bench.credentials_of(user, password), port)).await.unwrap()
}

async fn as_admin(
    bench: &Arc<Bench>,
    script: &[(&'static str, &'static str)],
) -> Box<dyn AnySession> {
    let password = bench.server.password.clone();
    meddled(bench, ("admin", &password), script).await
}

fn requirepass(bench: &Bench) -> String {
    bench.run("CONFIG GET requirepass").lines().nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn real_a_requirepass_that_somebody_sets_meanwhile_stays() {
    let once = [(SET_REQUIREPASS, "CONFIG SET requirepass of-somebody-else")];
    for undo in [false, true] {
        let bench = Arc::new(Bench::with(Setup::Requirepass).await);
        let old = bench.server.requirepass.clone().unwrap();
        let direct = bench.session().await;
        let target = instance_target();
        let (cx, before, new) = if undo {
            let done = execute(&*direct, ROTATE, &target).await;
            let new = done.executed.produced[0].value.expose().to_owned();
            (done.cx, done.before, Some(new))
        } else {
            let before = inspect(&*direct, ROTATE, &target).await.before;
            (step(action(ROTATE), &target, &json!({}), &before.fingerprint), before, None)
        };
        let session = as_admin(&bench, &once).await;
        let error = if undo {
            action(ROTATE).rollback(&*session, &cx, &before, None).await.map(drop)
        } else {
            action(ROTATE).execute(&*session, &cx, &before).await.map(drop)
        }
        .expect_err("somebody was faster");
        assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
        assert_eq!(requirepass(&bench), "of-somebody-else", "undo: {undo}");
        assert!(bench.lets_in("default", "of-somebody-else"));
        let one = bench
            .run("ACL LIST")
            .lines()
            .find(|line| line.starts_with("user default "))
            .unwrap()
            .matches('#')
            .count();
        assert_eq!(one, 1, "another password was made valid again");
        assert!(!bench.lets_in("default", &old));
        assert!(new.is_none_or(|new| !bench.lets_in("default", &new)));
    }
}

/// Twice within one moment: then nobody knows.
#[tokio::test]
async fn real_a_requirepass_that_is_set_again_and_again_is_unknown() {
    let bench = Arc::new(Bench::with(Setup::Requirepass).await);
    let target = instance_target();
    let before = inspect(&*bench.session().await, ROTATE, &target).await.before;
    let cx = step(action(ROTATE), &target, &json!({}), &before.fingerprint);
    let script = ["CONFIG SET requirepass of-somebody", "CONFIG SET requirepass of-somebody-else"]
        .map(|command| (SET_REQUIREPASS, command));
    let session = as_admin(&bench, &script).await;
    let error =
        action(ROTATE).execute(&*session, &cx, &before).await.expect_err("they were faster");
    assert!(error.is_outcome_unknown(), "{error:?}");
}

/// The second `ACL SETUSER` takes the old password away. What somebody did before it is theirs to say.
#[tokio::test]
async fn real_passwords_that_somebody_sets_meanwhile_stay_and_what_they_made_void_is_void() {
    for (command, old_lets_in) in [
        ("ACL SETUSER app resetpass >of-somebody-else", false),
        ("ACL SETUSER app >of-somebody-else", true),
    ] {
        let bench = Arc::new(Bench::with(Setup::Requirepass).await);
        let target = user_target(&bench.user("app"));
        let before = inspect(&*bench.session().await, ROTATE, &target).await.before;
        let cx = step(action(ROTATE), &target, &json!({}), &before.fingerprint);
        let script = [("SETUSER", "PING"), ("SETUSER", command)];
        let session = as_admin(&bench, &script).await;
        let error = action(ROTATE).execute(&*session, &cx, &before).await.expect_err(command);
        assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
        assert!(bench.lets_in("app", "of-somebody-else"), "{command}");
        assert_eq!(bench.lets_in("app", PASSWORD), old_lets_in, "{command}");
        let line = bench
            .run("ACL LIST")
            .lines()
            .find(|line| line.starts_with("user app "))
            .unwrap()
            .to_owned();
        assert_eq!(
            line.matches('#').count(),
            1 + usize::from(old_lets_in),
            "{command}: ours is left"
        );
    }
}

/// Sessions were ended, and then it cannot be seen whether all of them are: nobody may take that for nothing.
#[tokio::test]
async fn real_what_fails_after_sessions_were_ended_is_unknown() {
    let bench = Arc::new(Bench::with(Setup::Requirepass).await);
    let (app, manager) = (bench.user("app"), bench.manager());
    let target = user_target(&app);
    let before = inspect(&*bench.session().await, "redis.lock_user", &target).await.before;
    let cx = step(action("redis.lock_user"), &target, &json!({}), &before.fingerprint);
    let mut inside = bench.inside(&app, PASSWORD);
    // Somebody has locked it already: ending the sessions is all that is left to do.
    bench.run("ACL SETUSER app off");
    let script = [("KILL", "PING"), ("LIST", "ACL SETUSER manager -client|list")];
    let session = meddled(&bench, (&manager, PASSWORD), &script).await;
    let error =
        action("redis.lock_user").execute(&*session, &cx, &before).await.expect_err("no right");
    assert_eq!(
        (error.kind, error.advice),
        (ErrorKind::Forbidden, Advice::OutcomeUnknown),
        "{error:?}"
    );
    assert!(inside.is_over());
}
