//! What the actions mean for those who log in, asked by logging in; and which binds the connector is refused.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use nexplane_connectors::sdk::{Advice, ErrorKind, Executed, Snapshot, StepContext};
use nexplane_core::plan::TargetRef;
use nexplane_peers::slapd::{ADMIN, POLICY, SERVICE, WEAK};
use serde_json::{Value, json};

use super::directory::{AWKWARD, OpenLdap, PASSWORD};
use crate::fixture::{action, context, open, step};
use crate::suite::{Peer as _, meddle};

struct Done {
    cx: StepContext,
    before: Snapshot,
    executed: Executed,
}

async fn execute(directory: &OpenLdap, id: &str, target: &TargetRef) -> Done {
    let (action, parameters) = (action(id), json!({}));
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let inspection = action.inspect(&*session, target, &parameters).await.expect("inspect");
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(action, target, &parameters, &before.fingerprint);
    let executed = action.execute(&*session, &cx, &before).await.expect("execute");
    Done { cx, before, executed }
}

async fn roll_back(directory: &OpenLdap, id: &str, done: &Done) {
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    action(id).rollback(&*session, &done.cx, &done.before, None).await.expect("rollback");
}

async fn failed_checks(directory: &OpenLdap, id: &str, target: &TargetRef) -> String {
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let inspection = action(id).inspect(&*session, target, &json!({})).await.unwrap();
    let failed = inspection.checks.into_iter().filter(|check| !check.ok);
    failed.map(|check| format!("{}: {}\n", check.name, check.detail)).collect()
}

#[tokio::test]
async fn real_what_an_action_does_is_what_a_login_says() {
    let directory = OpenLdap::new().await;
    let dn = directory.user(AWKWARD, "ada");
    let target = directory.user_target(&dn);
    assert_eq!(directory.refusal(&dn, PASSWORD), None);

    let locked = execute(&directory, "ldap.lock_user", &target).await;
    assert!(directory.refusal(&dn, PASSWORD).unwrap().contains("Account locked"));
    roll_back(&directory, "ldap.lock_user", &locked).await;
    assert_eq!(directory.refusal(&dn, PASSWORD), None);

    let expired = execute(&directory, "ldap.expire_password", &target).await;
    assert!(directory.refusal(&dn, PASSWORD).unwrap().contains("must be changed"));
    roll_back(&directory, "ldap.expire_password", &expired).await;
    assert_eq!(directory.refusal(&dn, PASSWORD), None);

    // With a history, into which a hash goes once in a second.
    directory.modify(POLICY, "replace: pwdInHistory\npwdInHistory: 3");
    let reset = execute(&directory, "ldap.reset_password", &target).await;
    roll_back(&directory, "ldap.reset_password", &reset).await;
    let reset = execute(&directory, "ldap.reset_password", &target).await;
    let [new] = &reset.executed.produced[..] else { panic!("one password") };
    assert_eq!(directory.refusal(&dn, new.value.expose()), None);
    assert!(directory.refusal(&dn, PASSWORD).unwrap().contains("Invalid credentials"));
    roll_back(&directory, "ldap.reset_password", &reset).await;
    assert_eq!(directory.refusal(&dn, PASSWORD), None);
    assert!(directory.refusal(&dn, new.value.expose()).is_some());

    // Locked out by failed logins, and let in again.
    for _ in 0..3 {
        directory.refusal(&dn, "wrong-password");
    }
    assert!(directory.refusal(&dn, PASSWORD).unwrap().contains("Account locked"));
    execute(&directory, "ldap.unlock_user", &target).await;
    assert_eq!(directory.refusal(&dn, PASSWORD), None);
}

#[tokio::test]
async fn real_a_lock_that_would_count_for_nothing_is_refused_before() {
    let directory = OpenLdap::new().await;
    let dn = directory.user("cn=Ada", "ada");
    let target = directory.user_target(&dn);
    directory.modify(POLICY, "replace: pwdLockout\npwdLockout: FALSE\n-\nreplace: pwdMustChange\npwdMustChange: FALSE\n-\nreplace: pwdCheckQuality\npwdCheckQuality: 2");
    for (id, attribute) in [
        ("ldap.lock_user", "pwdLockout TRUE"),
        ("ldap.expire_password", "pwdMustChange TRUE"),
        ("ldap.reset_password", "pwdCheckQuality 2"),
        ("ldap.reset_ad_password", "use ldap.reset_password"),
    ] {
        let said = failed_checks(&directory, id, &target).await;
        assert!(said.contains(attribute), "{id}: {said}");
    }
    let own = directory.target("ldap_user", "user", SERVICE);
    let said = failed_checks(&directory, "ldap.lock_user", &own).await;
    assert!(said.contains("not the connection's own"), "{said}");
}

#[tokio::test]
async fn real_refused_binds_are_told_apart_and_start_tls_does_the_same() {
    let directory = OpenLdap::new().await;
    let with = |change: Value| {
        let mut credentials = directory.credentials_of(SERVICE);
        for (name, value) in change.as_object().unwrap() {
            credentials[name] = value.clone();
        }
        credentials
    };
    let why = async |change: Value| {
        let error = open("ldap", with(change), &context()).await.err().expect("it is refused");
        (error.kind, error.advice, error.message)
    };
    let plain = format!("ldap://localhost:{}", directory.server.port);
    let starttls = json!({ "url": plain, "starttls": true });
    open("ldap", with(starttls.clone()), &context()).await.expect("StartTLS");
    let mut wrong = starttls;
    wrong["bind_password"] = json!("wrong-password");
    assert_eq!(why(wrong).await.0, ErrorKind::Unauthorised);

    let (kind, _, message) = why(json!({ "bind_dn": "cn=nobody,dc=corp,dc=example" })).await;
    assert_eq!(kind, ErrorKind::Unauthorised, "{message}");
    assert!(message.contains("does not accept bind_dn"), "{message}");
    let (kind, _, message) = why(json!({ "base_dn": "dc=nowhere" })).await;
    assert_eq!(kind, ErrorKind::NotFound, "{message}");
    let (kind, _, message) = why(json!({ "url": "ldaps://a#b" })).await;
    assert_eq!(kind, ErrorKind::Invalid, "{message}");
    // Neither a way without TLS nor one without a password.
    assert_eq!(why(json!({ "url": plain })).await.0, ErrorKind::Invalid);
    assert_eq!(why(json!({ "bind_password": "" })).await.0, ErrorKind::Invalid);
    // TLS is spoken on the wrong port: no hang, no plain text.
    assert_ne!(why(json!({ "url": plain.replace("ldap:", "ldaps:") })).await.0, ErrorKind::Timeout);

    directory.modify(WEAK, "replace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z");
    let (kind, advice, message) = why(json!({ "bind_dn": WEAK })).await;
    assert_eq!((kind, advice), (ErrorKind::Unauthorised, Advice::Never));
    assert!(message.contains("is locked"), "{message}");
    directory.modify(WEAK, "delete: pwdAccountLockedTime\n-\nreplace: pwdReset\npwdReset: TRUE");
    let (_, _, message) = why(json!({ "bind_dn": WEAK })).await;
    assert!(message.contains("must be changed first"), "{message}");
    open("ldap", directory.credentials_of(ADMIN), &context()).await.expect("the others get in");
}

/// Somebody adds a second password at every moment of a reset in turn, and of its undo: it is never lost.
#[tokio::test]
async fn real_a_password_that_is_added_meanwhile_is_kept() {
    let directory = Arc::new(OpenLdap::new().await);
    // Else ppolicy sets pwdReset along with it, and that would give it away.
    directory.modify(POLICY, "replace: pwdMustChange\npwdMustChange: FALSE");
    let reset = action("ldap.reset_password");
    let direct = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    for undo in [false, true] {
        let mut moments = 0;
        loop {
            let dn = directory.user(&format!("cn=Ada {undo} {moments}"), "ada");
            let target = directory.user_target(&dn);
            let before = reset.inspect(&*direct, &target, &json!({})).await.unwrap().before;
            let cx = step(reset, &target, &json!({}), &before.fingerprint);
            if undo {
                reset.execute(&*direct, &cx, &before).await.unwrap();
            }
            // How many messages are still to come before it is done; none before the session is open.
            let left = Arc::new(AtomicUsize::new(0));
            let (there, who, count) = (directory.clone(), dn.clone(), left.clone());
            let port = meddle(directory.address(), move |_, _| {
                let before = count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
                if before == Ok(1) {
                    there.modify(&who, "add: userPassword\nuserPassword: of-somebody-else");
                }
            })
            .await;
            let through = directory.moved(directory.credentials_of(SERVICE), port);
            let session = open("ldap", through, &context()).await.unwrap();
            moments += 1;
            left.store(moments, SeqCst);
            let done = if undo {
                reset.rollback(&*session, &cx, &before, None).await.map(drop)
            } else {
                reset.execute(&*session, &cx, &before).await.map(drop)
            };
            if left.load(SeqCst) > 0 {
                // It has no such moment any more.
                break done.unwrap();
            }
            let error = done.expect_err("what was read has moved");
            assert_eq!(
                (error.kind, error.advice),
                (ErrorKind::Conflict, Advice::Never),
                "{error:?}"
            );
            let said = directory.refusal(&dn, "of-somebody-else");
            assert_eq!(said, None, "{undo} {moments}: it is lost");
        }
        assert!(moments >= 4, "only {moments} moments");
    }
}

/// The prechecks say so, and so does the effect, whatever became of them.
#[tokio::test]
async fn real_the_connections_own_account_is_never_changed() {
    let directory = OpenLdap::new().await;
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let own = directory.target("ldap_user", "user", SERVICE);
    let witness = || directory.search(SERVICE, &["-s", "base", "*", "+"]);
    let initially = witness();
    for id in ["lock_user", "unlock_user", "expire_password", "reset_password"] {
        let action = action(&format!("ldap.{id}"));
        let before = action.inspect(&*session, &own, &json!({})).await.unwrap().before;
        let cx = step(action, &own, &json!({}), &before.fingerprint);
        let executed = action.execute(&*session, &cx, &before).await.map(|_| ());
        let undone = action.rollback(&*session, &cx, &before, None).await.map(|_| ());
        for error in [executed.expect_err(id), undone.expect_err(id)] {
            assert_eq!(
                (error.kind, error.advice),
                (ErrorKind::Invalid, Advice::Never),
                "{error:?}"
            );
            assert!(error.message.contains("Nexplane itself uses"), "{id}: {error}");
        }
    }
    assert_eq!(witness(), initially);

    let other = directory.user("cn=Other", "other");
    let parameters = json!({ "member": SERVICE });
    let (inside, outside) = (
        directory.group("cn=inside", &[SERVICE, &other]),
        directory.group("cn=outside", &[&other]),
    );
    for (id, group) in [("ldap.add_group_member", outside), ("ldap.remove_group_member", inside)] {
        let target = directory.target("ldap_group", "group", &group);
        let look = || directory.search(&group, &["-s", "base", "member"]);
        let members = look();
        let before = action(id).inspect(&*session, &target, &parameters).await.unwrap().before;
        let cx = step(action(id), &target, &parameters, &before.fingerprint);
        let error = action(id).execute(&*session, &cx, &before).await.expect_err(id);
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
        assert_eq!(look(), members);
        // What an administrator did by hand is not undone either.
        let change = if id.contains("add") { "add" } else { "delete" };
        directory.modify(&group, &format!("{change}: member\nmember: {SERVICE}"));
        let members = look();
        let error = action(id).rollback(&*session, &cx, &before, None).await.expect_err(id);
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
        assert_eq!(look(), members);
    }
}
