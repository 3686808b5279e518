//! A new password for a local account: what is in `/etc/shadow` before, between and after, and that the hash of
//! the old one is nowhere else in clear.

use std::fs;

use nexplane_agent::host::fake::SHADOW;
use nexplane_agent::host::{Host, HostError, LinuxHost, SealingKey};
use nexplane_agent::operation::Bound;
use nexplane_core::job::{JobResult, Order, RefusalCode};
use nexplane_core::plan::Check;
use serde_json::{Value, json};

use crate::rig::{HASH, Rig, bound, files, linux, refusal};

const ROTATE: &str = "host.rotate_local_password";

fn rotate(user: &str) -> Box<dyn Bound> {
    bound(ROTATE, &json!({ "user": user }))
}

fn failed(checks: Vec<Check>) -> Vec<String> {
    checks.into_iter().filter(|check| !check.ok).map(|check| check.detail).collect()
}

#[test]
fn two_fields_of_one_line_move_and_a_lock_stays() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    for (user, old, between) in [
        (
            "deploy",
            "deploy:$y$j9T$salt$hash:20001:1:99999:7:3::",
            format!("deploy:{HASH}:20419:1:99999:7:3::"),
        ),
        (
            "former",
            "former:!$6$salt$hash:20002:0:99999:7::1:",
            format!("former:!{HASH}:20419:0:99999:7::1:"),
        ),
    ] {
        let operation = rotate(user);
        assert_eq!(failed(operation.validate(&host)), [""; 0]);
        let before = operation.snapshot(&host).unwrap();
        operation.apply(&host, &before).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), SHADOW.replace(old, &between));
        assert!(operation.verify(&host).unwrap().0);
        operation.revert(&host, &before).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), SHADOW, "{user}");
    }
}

#[test]
fn a_lock_that_came_in_between_stays_when_the_password_goes_back() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    let operation = rotate("deploy");
    let before = operation.snapshot(&host).unwrap();
    operation.apply(&host, &before).unwrap();
    let lock = bound("host.lock_local_account", &json!({ "user": "deploy" }));
    lock.apply(&host, &lock.snapshot(&host).unwrap()).unwrap();
    operation.revert(&host, &before).unwrap();
    let now = fs::read_to_string(&file).unwrap();
    assert!(now.contains("\ndeploy:!$y$j9T$salt$hash:20001:1:99999:7:3:1:\n"), "{now}");
}

#[test]
fn who_has_no_password_gets_none_and_the_owners_account_is_left_alone() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    let shadow = SHADOW.replace("root:*:", "root:$6$salt$hash:");
    fs::write(&file, &shadow).unwrap();
    for (user, why) in [
        ("root", "belongs to the host's owner"),
        ("www-data", "the account has no password"),
        ("nobody-knows", "there is no local account"),
    ] {
        let operation = rotate(user);
        let failed = failed(operation.validate(&host)).join("; ");
        assert!(failed.contains(why), "{user}: {failed}");
        if let Ok(state) = operation.snapshot(&host) {
            assert!(matches!(operation.apply(&host, &state), Err(HostError::Denied { .. })));
            assert!(matches!(operation.revert(&host, &state), Err(HostError::Denied { .. })));
        }
    }
    for none in ["", "*", "!", "!!", "!*", "!!$6$salt$hash"] {
        let without = SHADOW.replace("deploy:$y$j9T$salt$hash:", &format!("deploy:{none}:"));
        fs::write(&file, &without).unwrap();
        assert!(rotate("deploy").snapshot(&host).is_err(), "{none:?}");
        assert!(!failed(rotate("deploy").validate(&host)).is_empty(), "{none:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), without);
    }
}

#[test]
fn without_the_key_of_the_host_nothing_is_begun_and_nothing_put_back() {
    let (root, host) = linux();
    let operation = rotate("deploy");
    let before = operation.snapshot(&host).unwrap();
    operation.apply(&host, &before).unwrap();
    let file = root.path().join("etc/shadow");
    let now = fs::read_to_string(&file).unwrap();
    let open = || LinuxHost::open(root.path(), &[]).unwrap();
    let why = failed(operation.validate(&open())).join("; ");
    assert!(why.contains("no sealing key"), "{why}");
    assert!(operation.snapshot(&open()).is_err());
    let other = open().with_sealing_key(SealingKey::new(&[9; 32]));
    let error = operation.revert(&other, &before).unwrap_err().sentence();
    assert!(error.contains("another key"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), now);
}

/// Everything that leaves the host or lies beside it says nothing of the old password.
#[test]
fn the_old_hash_is_in_no_answer_and_in_nothing_that_the_agent_keeps() {
    let (_root, host) = linux();
    let rig = Rig::new(std::sync::Arc::new(host));
    let user = json!({ "user": "deploy" });
    let mut runner = rig.start();
    let (operation, target) = (ROTATE.to_owned(), "h".to_owned());
    let inspect = Order::Inspect { operation, target, parameters: user.clone() };
    let inspected = rig.run(&mut runner, &rig.job(1, inspect));
    let JobResult::Inspected { diff, checks, .. } = &inspected else { panic!("{inspected:?}") };
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let line = diff.iter().find(|line| line.field == "password").unwrap();
    assert_eq!(line.after, json!("a new random one"));

    let apply = rig.job(2, rig.apply_order(ROTATE, &user));
    let applied = rig.run(&mut runner, &apply);
    assert!(matches!(applied, JobResult::Applied { changed: true, .. }), "{applied:?}");
    let undo = rig.job(3, rig.revert_order(ROTATE, &user, apply.id));
    let reverted = rig.run(&mut runner, &undo);
    assert!(matches!(reverted, JobResult::Reverted { .. }), "{reverted:?}");

    let mut kept = json!([inspected, applied, reverted]).to_string();
    for file in files(rig.config.path()).into_iter().filter(|file| file.is_file()) {
        kept += &fs::read_to_string(file).unwrap();
    }
    for file in rig.snapshot_files() {
        kept += &fs::read_to_string(file).unwrap();
    }
    assert!(kept.contains("\"record\":\"result\""), "the journal was read");
    assert!(!kept.contains("j9T") && !kept.contains("$hash"), "{kept}");
}

#[test]
fn an_order_without_a_hash_or_with_something_else_changes_nothing() {
    let (rig, fake) = Rig::fake();
    let (before, mut runner) = (fake.nodes(), rig.start());
    let order = |with: Value| {
        let mut order = json!(rig.apply_order(ROTATE, &json!({ "user": "deploy" })));
        order["prepared"] = with;
        serde_json::from_value::<Order>(order).unwrap()
    };
    let result = rig.run(&mut runner, &rig.job(1, order(Value::Null)));
    let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("brings no hash"), "{detail}");
    for (seq, hash) in (2..).zip(["", "!", "x:0:0:::::\nroot2::0::::::"]) {
        let order = order(json!({ "password": { "hash": hash, "day": 20_419 } }));
        let result = rig.run(&mut runner, &rig.job(seq, order));
        assert_eq!(refusal(&result), RefusalCode::InvalidParameters, "{hash:?}");
    }
    assert_eq!(fake.nodes(), before);
}

#[test]
fn a_password_that_somebody_else_set_since_is_not_put_back() {
    let (rig, fake) = Rig::fake();
    let user = json!({ "user": "deploy" });
    let mut runner = rig.start();
    let apply = rig.job(1, rig.apply_order(ROTATE, &user));
    rig.run(&mut runner, &apply);
    let undo = rig.revert_order(ROTATE, &user, apply.id);
    let file = "/etc/shadow".parse().unwrap();
    let view = fake.read(&file, 1 << 20).unwrap().unwrap();
    let theirs = String::from_utf8(view.content).unwrap().replace(HASH, "$6$of$theirs");
    fake.put_file(&file, theirs.as_bytes(), view.meta.mode);
    let refused = rig.run(&mut runner, &rig.job(2, undo));
    assert_eq!(refusal(&refused), RefusalCode::Drift, "{refused:?}");
    assert!(!json!(refused).to_string().contains("theirs"));
}
