//! Accounts and kernel settings of a host, carried out by a real agent beneath a directory that has what
//! they are kept in. On the kernel itself and under a real systemd they are tested with the agent.

use std::fs;

use serde_json::{Value, json};

use super::reader::{Snapshot, files};
use super::{Row, Stage};
use crate::harness::Agent;

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
