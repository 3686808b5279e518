//! Kernel settings: the running value, and the agent's file for the next start.

use std::fs;

use nexplane_agent::host::HostError;
use nexplane_agent::operation::{self, Bound};
use serde_json::{Value, json};

use crate::rig::linux;

const KEY: &str = "net.ipv4.conf.all.log_martians";
const RUNNING: &str = "proc/sys/net/ipv4/conf/all/log_martians";
const KEPT: &str = "etc/sysctl.d/zz-nexplane.conf";

fn operation(parameters: &Value) -> Box<dyn Bound> {
    operation::find("host.set_sysctl").unwrap().bind(parameters).unwrap()
}

#[test]
fn the_file_keeps_other_settings_and_goes_when_the_last_one_goes() {
    let (root, host) = linux();
    let read = |file: &str| fs::read_to_string(root.path().join(file)).ok();
    let set = operation(&json!({ "key": KEY, "value": "1" }));
    let before = set.snapshot(&host).unwrap();
    set.apply(&host, &before).unwrap();
    assert_eq!(read(RUNNING).unwrap(), "1\n");
    let kept = read(KEPT).unwrap();
    assert!(kept.starts_with('#') && kept.ends_with(&format!("\n{KEY} = 1\n")), "{kept}");
    set.revert(&host, &before).unwrap();
    assert_eq!((read(RUNNING).unwrap().as_str(), read(KEPT)), ("0\n", None));

    // Somebody's comments, order and other settings stay to the byte.
    let theirs = format!("# ours\nvm.swappiness=10\n\n-{KEY} = 0\n; end\n");
    fs::write(root.path().join(KEPT), &theirs).unwrap();
    let before = set.snapshot(&host).unwrap();
    set.apply(&host, &before).unwrap();
    assert_eq!(read(KEPT).unwrap(), format!("# ours\nvm.swappiness=10\n\n{KEY} = 1\n; end\n"));
    set.revert(&host, &before).unwrap();
    assert_eq!(read(KEPT).unwrap(), format!("# ours\nvm.swappiness=10\n\n{KEY} = 0\n; end\n"));
    assert_eq!(set.snapshot(&host).unwrap(), before);
}

#[test]
fn without_persistence_no_file_is_written() {
    let (root, host) = linux();
    let set = operation(&json!({ "key": KEY, "value": "1", "persist": false }));
    let before = set.snapshot(&host).unwrap();
    set.apply(&host, &before).unwrap();
    assert!(set.verify(&host).unwrap().0);
    assert!(!root.path().join(KEPT).exists());
    assert!(set.paths().is_empty());
}

#[test]
fn what_may_not_be_set_is_said_before_and_refused_at_the_effect() {
    let (root, host) = linux();
    let pattern = root.path().join("proc/sys/kernel/core_pattern");
    fs::create_dir_all(pattern.parent().unwrap()).unwrap();
    fs::write(&pattern, "core\n").unwrap();
    let set = operation(&json!({ "key": "kernel.core_pattern", "value": "|/tmp/x" }));
    let failed = set.validate(&host).into_iter().find(|check| !check.ok).unwrap();
    assert_eq!(failed.name, "setting_allowed");
    assert!(failed.detail.contains("starts as root"), "{}", failed.detail);
    let before = set.snapshot(&host).unwrap();
    assert!(matches!(set.apply(&host, &before), Err(HostError::Denied { .. })));
    assert_eq!(fs::read_to_string(&pattern).unwrap(), "core\n");

    let unknown = operation(&json!({ "key": "net.ipv4.no_such", "value": "1" }));
    assert!(matches!(unknown.snapshot(&host), Err(HostError::Missing { .. })));
    assert!(unknown.validate(&host).iter().any(|check| !check.ok));
    for (key, value) in [("net/../x", "1"), ("net.x", ""), ("net.x", "1\n2"), ("etc.passwd", "1")] {
        let entry = operation::find("host.set_sysctl").unwrap();
        assert!(entry.bind(&json!({ "key": key, "value": value })).is_err(), "{key} {value:?}");
    }
}

#[test]
fn a_link_in_place_of_a_setting_is_not_followed() {
    let (root, host) = linux();
    let secret = root.path().join("secret");
    fs::write(&secret, "0\n").unwrap();
    let running = root.path().join(RUNNING);
    fs::remove_file(&running).unwrap();
    std::os::unix::fs::symlink("../../../../../../secret", &running).unwrap();
    let set = operation(&json!({ "key": KEY, "value": "1" }));
    assert!(matches!(set.snapshot(&host), Err(HostError::Unsafe { .. })));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "0\n");
}
