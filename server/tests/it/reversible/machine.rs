//! Accounts and kernel settings of a host, carried out by a real agent beneath a directory that has what
//! they are kept in. On the kernel itself and under a real systemd they are tested with the agent.

use std::fs;

use serde_json::{Value, json};

use super::reader::{Snapshot, difference, files};
use super::{Row, Stage};
use crate::harness::{Agent, id};

pub const ROWS: [Row; 9] = [
    ("host.lock_local_account", "a password"),
    ("host.lock_local_account", "a key only, and an expiry of its own"),
    ("host.rotate_local_password", "a password that ages"),
    ("host.rotate_local_password", "locked"),
    ("host.run_hardening_profile", "two kernel settings"),
    ("host.set_sysctl", "nothing kept"),
    ("host.set_sysctl", "another value kept"),
    ("host.unlock_local_account", "a locked password"),
    ("host.unlock_local_account", "expired, and no password"),
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\na:x:1001:1001::/home/a:/bin/sh\n\
                      b:x:1002:1002::/home/b:/bin/sh\nc:x:1003:1003::/home/c:/bin/sh\n\
                      d:x:1004:1004::/home/d:/bin/sh\ne:x:1005:1005::/home/e:/bin/sh\n";
const SHADOW: &str = "root:*:20000:0:99999:7:::\na:$y$j9T$salt$hash:20000:0:99999:7:::\n\
                      b:*:20000:0:99999:7::29000:\nc:!$6$salt$hash:20000:0:99999:7::1:\n\
                      d:!:20000:0:99999:7::0:\ne:$y$j9T$old$hash:20001:1:90:7:3:29000:\n";
const SETTINGS: [&str; 2] = ["net.ipv4.ip_forward", "vm.swappiness"];
const KEPT: &str = "# by hand\nvm.swappiness = 60\nvm.overcommit_memory = 0\n";

/// What is asked for, and what the file says in between.
fn case(row: Row) -> (Value, &'static str, &'static str) {
    let user = |name: &str| json!({ "user": name });
    match row.1 {
        "a password" => (user("a"), "/etc/shadow", "a:!$y$j9T$salt$hash:20000:0:99999:7::1:\n"),
        "a key only, and an expiry of its own" => {
            (user("b"), "/etc/shadow", "b:!*:20000:0:99999:7::1:\n")
        }
        "a password that ages" => (user("e"), "/etc/shadow", "\ne:$6$rounds=5000$"),
        "locked" => (user("c"), "/etc/shadow", "\nc:!$6$rounds=5000$"),
        "a locked password" => (user("c"), "/etc/shadow", "c:$6$salt$hash:20000:0:99999:7:::\n"),
        "expired, and no password" => (user("d"), "/etc/shadow", "d:!:20000:0:99999:7:::\n"),
        "two kernel settings" => {
            let only = ["kernel-kptr-restrict", "net-syncookies"];
            let asked = json!({ "profile": "cis-debian12-level1", "only": only });
            (asked, "/etc/sysctl.d/zz-nexplane.conf", "net.ipv4.tcp_syncookies = 1\n")
        }
        "nothing kept" => {
            let asked = json!({ "key": SETTINGS[0], "value": "1" });
            (asked, "/etc/sysctl.d/zz-nexplane.conf", "net.ipv4.ip_forward = 1\n")
        }
        "another value kept" => {
            let asked = json!({ "key": SETTINGS[1], "value": "10" });
            (asked, "/etc/sysctl.d/zz-nexplane.conf", "vm.swappiness = 10\n")
        }
        other => panic!("a row without a case: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_the_kernel_are_as_before_after_every_way_back() {
    let stage = Stage::new().await;
    let agent = Agent::start(&stage.server).await;
    let root = agent.path("/");
    for folder in ["etc/sysctl.d", "proc/sys/kernel", "proc/sys/net/ipv4", "proc/sys/vm", "usr/lib"]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (file, content) in [
        ("etc/.pwd.lock", ""),
        ("etc/passwd", PASSWD),
        ("etc/shadow", SHADOW),
        ("proc/sys/kernel/kptr_restrict", "0\n"),
        ("proc/sys/net/ipv4/ip_forward", "0\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "0\n"),
        ("proc/sys/vm/swappiness", "60\n"),
        ("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
    ] {
        fs::write(root.join(file), content).unwrap();
    }
    for row in ROWS {
        let kept = root.join("etc/sysctl.d/zz-nexplane.conf");
        match row.1 {
            "another value kept" => fs::write(&kept, KEPT).unwrap(),
            _ => drop(fs::remove_file(&kept)),
        }
        let (parameters, file, line) = case(row);
        let request = agent.request(row.0, parameters);
        let own = if file == "/etc/shadow" { file } else { "sys" };
        stage
            .there_and_back(
                row,
                request,
                async || files(&root),
                own,
                |now: &Snapshot| {
                    let content = hex::decode(&now[&format!("{file} content")]).unwrap();
                    let content = String::from_utf8(content).unwrap();
                    assert!(content.contains(line), "{row:?}: {content}");
                    if let Some((_, value)) = line.split_once(" = ")
                        && let Some(key) = SETTINGS.iter().find(|key| line.starts_with(**key))
                    {
                        let running = format!("/proc/sys/{} content", key.replace('.', "/"));
                        assert_eq!(now[&running], hex::encode(value));
                    }
                },
            )
            .await;
    }
}

/// What a profile did is undone as far as it went, whatever would be in it today.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_undone_when_other_items_apply_than_did() {
    let stage = Stage::new().await;
    let Stage { server, operator, .. } = &stage;
    let agent = Agent::start(server).await;
    let root = agent.path("/");
    let martians = root.join("proc/sys/net/ipv4/conf/all");
    for folder in
        ["etc/modprobe.d", "etc/sysctl.d", "proc/sys/net/ipv4/conf", "usr/lib/modules/6.1.0"]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("proc/sys/net/ipv4/tcp_syncookies"), "0\n").unwrap();
    fs::write(root.join("usr/lib/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
    let only = ["module-hfs", "net-syncookies", "net-log-martians-all"];
    let profile = json!({ "profile": "cis-debian12-level1", "only": only });
    let request = agent.request("host.run_hardening_profile", profile);
    let submitted = operator.submitted(request).await;
    stage.approve(&submitted).await;
    let first = files(&root);
    let change = id(&submitted);
    assert_eq!(operator.executed(&change).await["state"], "complete");

    // Another kernel: one item is not offered any more, and another one is.
    let built_in = root.join("usr/lib/modules/6.1.0/modules.builtin");
    fs::write(&built_in, "kernel/fs/hfs/hfs.ko\n").unwrap();
    fs::create_dir_all(&martians).unwrap();
    fs::write(martians.join("log_martians"), "0\n").unwrap();

    // Somebody else's doing is not undone.
    let file = root.join("etc/modprobe.d/60-nexplane-module-hfs.conf");
    let ours = fs::read(&file).unwrap();
    fs::write(&file, "# theirs\n").unwrap();
    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    let blocked = operator.executed(&id(&rollback)).await;
    assert_eq!(blocked["state"], "rollback_blocked", "{blocked:#}");
    assert_eq!(fs::read(&file).unwrap(), b"# theirs\n");

    fs::write(&file, ours).unwrap();
    let rollback = operator.act(&change, "rollback").await.is(201);
    stage.approve(&rollback).await;
    let settled = operator.executed(&id(&rollback)).await;
    assert_eq!(settled["state"], "complete", "{settled:#}");
    assert_eq!(operator.undone(&change).await["state"], "rolled_back");
    fs::remove_file(&built_in).unwrap();
    fs::remove_dir_all(&martians).unwrap();
    let left = difference(&first, &files(&root));
    assert!(left.is_empty(), "not as it was: {left:#?}");
}
