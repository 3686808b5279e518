//! Whether people are let in afterwards, asked of Debian's own programs.

use nexplane_connectors::sdk::{AnySession, ErrorKind, Executed, Snapshot, StepContext};
use serde_json::json;

use super::bench::{Bench, MANAGER, account_target};
use super::cases::{USER, user};
use crate::fixture::{action, context, open, step};

async fn execute(session: &dyn AnySession, id: &str) -> (Snapshot, StepContext, Executed) {
    let (action, target) = (action(id), account_target(USER));
    let inspection = action.inspect(session, &target, &json!({})).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(action, &target, &json!({}), &before.fingerprint);
    let executed = action.execute(session, &cx, &before).await.unwrap();
    (before, cx, executed)
}

/// Whether the password is the one whose hash stands there, by the host's own `crypt(3)`.
fn lets_in(bench: &Bench, password: &str) -> bool {
    let said = bench.sh(&format!(
        "perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"in\" : \"out\"' \
             '{password}' \"$(getent shadow {USER} | cut -d: -f2)\""
    ));
    said == "in"
}

#[tokio::test]
async fn real_the_new_password_is_taken_and_the_old_one_again_after_an_undo() {
    let bench = Bench::new().await;
    user(&bench, "");
    bench.sh(&format!("echo '{USER}:the old one' | chpasswd; chage --lastday 20001 {USER}"));
    let session = open("ssh", bench.credentials(MANAGER, true), &context()).await.unwrap();
    let (before, cx, executed) = execute(&*session, "ssh.rotate_local_password").await;
    let new = executed.produced[0].value.expose().to_owned();
    assert!(lets_in(&bench, &new) && !lets_in(&bench, "the old one"));
    let rotate = action("ssh.rotate_local_password");
    rotate.rollback(&*session, &cx, &before, None).await.unwrap();
    assert!(lets_in(&bench, "the old one") && !lets_in(&bench, &new));
    assert_eq!(bench.sh(&format!("getent shadow {USER} | cut -d: -f3")).trim(), "20001");
}

#[tokio::test]
async fn real_a_locked_account_is_not_let_in_by_key_until_it_is_unlocked() {
    let bench = Bench::new().await;
    user(&bench, "--shell /bin/sh");
    bench.sh(&format!(
        "mkdir -m 700 /home/{USER}/.ssh; cp ~root/.ssh/authorized_keys /home/{USER}/.ssh
         chown -R {USER} /home/{USER}/.ssh"
    ));
    let log_in = async || open("ssh", bench.credentials(USER, false), &context()).await;
    log_in().await.expect("the key opens the door");
    let session = bench.session().await;
    execute(&*session, "ssh.lock_local_user").await;
    let error = log_in().await.err().expect("it is locked");
    assert!(matches!(error.kind, ErrorKind::Unauthorised | ErrorKind::Unreachable), "{error:?}");
    execute(&*session, "ssh.unlock_local_user").await;
    log_in().await.expect("the key opens the door again");
}

#[tokio::test]
async fn real_an_account_that_lets_everybody_in_is_not_locked_and_one_without_a_password_not_rotated()
 {
    let bench = Bench::new().await;
    user(&bench, "");
    let session = bench.session().await;
    let failed = async |id: &str| {
        let target = account_target(USER);
        let inspection = action(id).inspect(&*session, &target, &json!({})).await.unwrap();
        let failed = inspection.checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| check.detail).collect::<Vec<_>>().join("\n")
    };
    bench.sh(&format!("passwd --quiet --delete {USER}"));
    let said = failed("ssh.lock_local_user").await;
    assert!(said.contains("lets everybody in"), "{said}");
    bench.sh(&format!("usermod --password '*' {USER}"));
    assert_eq!(failed("ssh.lock_local_user").await, "");
    let said = failed("ssh.rotate_local_password").await;
    assert!(said.contains("it has none"), "{said}");

    // There and back, also where there is no hash.
    let line = || bench.sh(&format!("getent shadow {USER}"));
    let was = line();
    let lock = action("ssh.lock_local_user");
    let (before, cx, _) = execute(&*session, "ssh.lock_local_user").await;
    assert!(line().starts_with(&format!("{USER}:!*:")), "{}", line());
    lock.rollback(&*session, &cx, &before, None).await.unwrap();
    assert_eq!(line(), was);
}
