//! A whole Debian is hardened, and is afterwards as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nexplane_agent::host::LinuxHost;
use nexplane_agent::operation::Observation;
use serde_json::json;

use super::{put, sh, within};
use crate::hardening::{Tree, debian, detail, tree};

/// What must be as before: `/etc` and what the kernel says of the network, and the units.
fn machine() -> (Tree, BTreeMap<String, String>, String) {
    let mut settings = BTreeMap::new();
    let mut open = vec![PathBuf::from("/proc/sys/net")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_string_lossy().into_owned();
            // The kernel changes these by itself.
            let changing = ["random", "flush", "secret", "nf_conntrack_count"];
            if path.is_dir() {
                open.push(path);
            } else if !changing.iter().any(|word| name.contains(word))
                && let Ok(text) = fs::read_to_string(&path)
            {
                settings.insert(name, text);
            }
        }
    }
    let units = sh("systemctl list-unit-files --no-pager --no-legend");
    (tree(Path::new("/etc")), settings, units)
}

#[test]
fn real_a_whole_machine_is_hardened_and_put_back() {
    within("real::hardening::real_a_whole_machine_is_hardened_and_put_back", || {
        there_and_back();
        what_somebody_set_stays();
    });
}

fn there_and_back() {
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    let profile = debian(&json!({}));
    let machine_before = machine();
    let checks = profile.validate(&host);
    for check in &checks {
        println!("{} {}: {}", if check.ok { "ok " } else { "NOT" }, check.name, check.detail);
    }
    assert!(checks.iter().all(|check| check.ok));
    let before = profile.snapshot(&host).unwrap();
    assert!(machine() == machine_before, "looking changes nothing");
    let diff = profile.diff(&host, "h", &before).unwrap();
    for line in &diff {
        println!("{}: {} -> {}", line.field, line.before, line.after);
    }
    assert!(diff.len() > 20, "{}", diff.len());
    profile.apply(&host, &before).unwrap();
    let (satisfied, after) = profile.verify(&host).unwrap();
    assert!(satisfied);
    assert_eq!(after, profile.intended(&host, &before).unwrap());
    let machine_after = machine();
    assert!(machine_after.0 != machine_before.0, "files");
    assert!(machine_after.1 != machine_before.1, "settings of the network");
    profile.apply(&host, &after).unwrap();
    assert!(machine() == machine_after, "applying twice is applying once");
    let effective = sh("/usr/sbin/sshd -T");
    let journal = fs::read_to_string("/etc/systemd/journald.conf").unwrap();
    let section = journal.split("[Journal]").nth(1).unwrap();
    assert!(section.contains("\nStorage=persistent\n"), "{journal}");
    for line in ["maxauthtries 4\n", "logingracetime 60\n", "clientaliveinterval 15\n"] {
        assert!(effective.contains(line), "{line} {effective}");
    }
    assert!(detail(&profile.validate(&host), "items").starts_with("0 items will be set"));
    for _ in 0..2 {
        profile.revert(&host, &before).unwrap();
        assert_eq!(machine(), machine_before);
    }
    println!("{}; {} values differed", detail(&checks, "items"), diff.len());
}

/// And sshd is asked before anything is put in place.
fn what_somebody_set_stays() {
    const THEIRS: &str = "/etc/ssh/sshd_config.d/10-theirs.conf";
    let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
    let profile = debian(&json!({}));
    let machine_before = machine();
    put(THEIRS, "MaxAuthTries 9\n");
    let checks = profile.validate(&host);
    assert!(detail(&checks, "ssh-maxauthtries").contains("sets MaxAuthTries to 9, and that stays"));
    assert!(detail(&checks, "ssh-maxsessions").ends_with("will be set"));
    fs::remove_file(THEIRS).unwrap();

    // Also after it was set: then the item does not apply any more, and comes undone all the same.
    let before = profile.snapshot(&host).unwrap();
    profile.apply(&host, &before).unwrap();
    put(THEIRS, "MaxAuthTries 9\n");
    let covered = |state: &Observation| {
        state.fields.iter().any(|field| field.name.starts_with("ssh-maxauthtries"))
    };
    assert!(!covered(&profile.snapshot(&host).unwrap()));
    let left = profile.reread(&host, &before).unwrap();
    assert!(covered(&left) && left != before);
    assert_eq!(left, profile.intended(&host, &before).unwrap());
    profile.revert(&host, &before).unwrap();
    assert_eq!(profile.reread(&host, &before).unwrap(), before);

    put(THEIRS, "NoSuchDirective 9\n");
    let checks = profile.validate(&host);
    let refused = detail(&checks, "ssh-maxsessions");
    assert!(
        refused.contains("does not accept it") && refused.contains("NoSuchDirective"),
        "{refused}"
    );
    fs::remove_file(THEIRS).unwrap();
    assert_eq!(machine(), machine_before);
}
