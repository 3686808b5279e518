//! Locking and unlocking local accounts: what is in `/etc/shadow` before, between and after.

use std::fs;
use std::time::{Duration, Instant};

use nexplane_agent::host::fake::SHADOW;
use nexplane_agent::host::{Host, HostError};
use nexplane_agent::operation::{self, Bound};
use rustix::fs::FlockOperation;
use serde_json::json;

use crate::rig::linux;

fn operation(verb: &str, user: &str) -> Box<dyn Bound> {
    let id = format!("host.{verb}_local_account");
    operation::find(&id).unwrap().bind(&json!({ "user": user })).unwrap()
}

fn line<'a>(shadow: &'a str, user: &str) -> &'a str {
    shadow.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap()
}

#[test]
fn a_lock_touches_two_fields_of_one_line_and_comes_undone_to_the_byte() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    for (user, between) in [
        ("deploy", "deploy:!$y$j9T$salt$hash:20001:1:99999:7:3:1:"),
        ("www-data", "www-data:!:20000:0:99999:7::1:"),
        ("former", "former:!$6$salt$hash:20002:0:99999:7::1:"),
    ] {
        let lock = operation("lock", user);
        let before = lock.snapshot(&host).unwrap();
        assert!(!format!("{before:?}{}", serde_json::to_string(&before).unwrap()).contains("salt"));
        lock.apply(&host, &before).unwrap();
        let now = fs::read_to_string(&file).unwrap();
        assert_eq!(line(&now, user), between);
        let others = |text: &str| -> Vec<String> {
            let others = text.lines().filter(|line| !line.starts_with(&format!("{user}:")));
            others.map(ToOwned::to_owned).collect()
        };
        assert_eq!(others(&now), others(SHADOW));
        lock.revert(&host, &before).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), SHADOW, "{user}");
    }
}

#[test]
fn an_unlock_opens_no_account_without_a_password_and_leaves_an_expiry_of_its_own() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    for (user, before, after) in [
        ("former", "former:!$6$x$y:1:0:9:7::1:", "former:$6$x$y:1:0:9:7:::"),
        ("former", "former:!$6$x$y:1:0:9:7::20500:", "former:$6$x$y:1:0:9:7::20500:"),
        ("former", "former:!:1:0:9:7::1:", "former:!:1:0:9:7:::"),
        ("former", "former:!!:1:0:9:7::1:", "former:!!:1:0:9:7:::"),
        ("former", "former:!*:1:0:9:7::1:", "former:!*:1:0:9:7:::"),
        ("former", "former:*:1:0:9:7::0:", "former:*:1:0:9:7:::"),
    ] {
        fs::write(&file, format!("root:*:1::::::\n{before}\n")).unwrap();
        let unlock = operation("unlock", user);
        let state = unlock.snapshot(&host).unwrap();
        unlock.apply(&host, &state).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("root:*:1::::::\n{after}\n"));
        assert!(unlock.verify(&host).unwrap().0);
        unlock.revert(&host, &state).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("root:*:1::::::\n{before}\n"));
    }
}

#[test]
fn root_strangers_and_broken_files_are_refused_and_nothing_is_written() {
    let (root, host) = linux();
    let file = root.path().join("etc/shadow");
    for user in ["root", "nobody-knows"] {
        for verb in ["lock", "unlock"] {
            let bound = operation(verb, user);
            assert!(bound.validate(&host).iter().any(|check| !check.ok), "{verb} {user}");
            if let Ok(state) = bound.snapshot(&host) {
                let result = bound.apply(&host, &state);
                assert!(matches!(result, Err(HostError::Denied { .. })), "{result:?}");
                assert!(matches!(bound.revert(&host, &state), Err(HostError::Denied { .. })));
            }
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), SHADOW);
    for broken in ["deploy:x:1\n", "deploy:x:1::::::\ndeploy:y:1::::::\n", "other:x:1::::::\n", ""]
    {
        fs::write(&file, broken).unwrap();
        let lock = operation("lock", "deploy");
        assert!(lock.snapshot(&host).is_err(), "{broken:?}");
        assert!(lock.validate(&host).iter().any(|check| !check.ok), "{broken:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), broken);
    }
    let names = ["", "a:b", "a\nb", "-x", "../x", "1000"];
    for name in names {
        let id = "host.lock_local_account";
        assert!(operation::find(id).unwrap().bind(&json!({ "user": name })).is_err(), "{name:?}");
    }
}

#[test]
fn another_program_at_the_accounts_is_waited_for() {
    // Locks of fcntl(2) are between processes, so another one holds it.
    let (root, host) = linux();
    let held = root.path().join("etc/.pwd.lock");
    fs::write(&held, "").unwrap();
    let script = "import fcntl, sys, time\n\
                  f = open(sys.argv[1], 'w')\n\
                  fcntl.lockf(f, fcntl.LOCK_EX)\n\
                  print('held', flush=True)\n\
                  time.sleep(1)\n";
    let mut other = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&held)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = [0; 5];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut told).unwrap();
    let begun = Instant::now();
    let lock = operation("lock", "deploy");
    lock.apply(&host, &lock.snapshot(&host).unwrap()).unwrap();
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(other.wait().unwrap().success());
    assert!(lock.verify(&host).unwrap().0);
    // And it was given back.
    let file = fs::File::options().write(true).open(&held).unwrap();
    rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn the_hash_of_a_password_may_change_in_between() {
    let (root, host) = linux();
    let lock = operation("lock", "deploy");
    let before = lock.snapshot(&host).unwrap();
    lock.apply(&host, &before).unwrap();
    let file = root.path().join("etc/shadow");
    let now = fs::read_to_string(&file).unwrap().replace("hash:20001", "other:20009");
    fs::write(&file, now).unwrap();
    lock.revert(&host as &dyn Host, &before).unwrap();
    let now = fs::read_to_string(&file).unwrap();
    assert_eq!(line(&now, "deploy"), "deploy:$y$j9T$salt$other:20009:1:99999:7:3::");
}
