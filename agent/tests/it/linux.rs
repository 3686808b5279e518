//! A Linux host in a directory: what is refused, and what exactly is kept.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use nexplane_agent::host::{Access, FileMeta, Host, HostError, Ids, LinuxHost, Mode};
use nexplane_agent::operation::{self, collect_facts};
use serde_json::json;
use tempfile::TempDir;

use crate::rig::{linux, path};

const MODE: Mode = Mode::from_bits(0o644);

fn write(host: &LinuxHost, file: &str, expected: Option<&FileMeta>) -> Result<(), HostError> {
    host.write(&path(file), expected, b"new", MODE, host.own_ids())
}

/// A root with a secret outside of it and every kind of trap inside.
fn trapped() -> (TempDir, LinuxHost, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let secret = outer.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("etc/dir")).unwrap();
    fs::write(root.join("etc/file"), "plain").unwrap();
    symlink("file", root.join("etc/link")).unwrap();
    symlink(&secret, root.join("etc/absolute")).unwrap();
    symlink("../../secret", root.join("etc/relative")).unwrap();
    symlink("..", root.join("etc/up")).unwrap();
    symlink("/proc/self/cwd", root.join("etc/magic")).unwrap();
    symlink("nothing", root.join("etc/dangling")).unwrap();
    fs::write(root.join("etc/twin"), "twin").unwrap();
    fs::hard_link(root.join("etc/twin"), root.join("etc/hard")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("etc/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let host = LinuxHost::open(&root, &[]).unwrap();
    (outer, host, secret)
}

#[test]
fn every_way_out_is_refused_for_reading_writing_and_removing() {
    let (_outer, host, secret) = trapped();
    let some = host.stat(&path("/etc/file")).unwrap().unwrap();
    for file in [
        "/etc/link",
        "/etc/absolute",
        "/etc/relative",
        "/etc/dangling",
        "/etc/up/secret",
        "/etc/up/etc/file",
        "/etc/magic/etc/passwd",
        "/etc/hard",
        "/etc/twin",
        "/etc/pipe",
        "/etc/dir",
    ] {
        let file = path(file);
        let refused = |result: Result<(), HostError>| {
            assert!(matches!(result, Err(HostError::Unsafe { .. })), "{file}: {result:?}");
        };
        refused(host.stat(&file).map(drop));
        refused(host.read(&file, 1000).map(drop));
        for expected in [None, Some(&some)] {
            refused(write(&host, file.as_str(), expected));
        }
        refused(host.remove(&file, &some));
        refused(host.set_permission(&file, &some, MODE, host.own_ids()));
    }
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
}

#[test]
fn kernel_interfaces_are_refused_even_without_the_deny_list() {
    let host = LinuxHost::open("/".as_ref(), &[]).unwrap();
    let file = path("/proc/self/status");
    assert!(matches!(host.stat(&file), Err(HostError::Unsafe { .. })));
    assert!(matches!(host.may_touch(&file, Access::Content), Err(HostError::Denied { .. })));
    assert!(matches!(host.stat(&path("/proc/self/cwd/Cargo.toml")), Err(HostError::Unsafe { .. })));
    assert!(matches!(host.stat(&path("/dev/null")), Err(HostError::Unsafe { .. })));
}

#[test]
fn the_agents_own_files_are_out_of_reach_by_path_and_by_identity() {
    let (root, _) = linux();
    let own = root.path().join("var/agent");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("identity.json"), "key").unwrap();
    let host = LinuxHost::open(root.path(), std::slice::from_ref(&own)).unwrap();
    let file = path("/var/agent/identity.json");
    assert!(matches!(host.may_touch(&file, Access::Content), Err(HostError::Denied { .. })));
    assert!(matches!(host.read(&file, 10), Err(HostError::Denied { .. })));
    assert!(matches!(write(&host, "/var/agent/new", None), Err(HostError::Denied { .. })));
    // The same directory under another name.
    fs::rename(root.path().join("var"), root.path().join("other")).unwrap();
    let moved = path("/other/agent/identity.json");
    assert!(matches!(host.read(&moved, 10), Err(HostError::Denied { .. })));
}

#[test]
fn a_write_replaces_the_file_and_leaves_nothing_beside_it() {
    let (root, host) = linux();
    let file = path("/etc/motd");
    let before = host.stat(&file).unwrap().unwrap();
    let names = host.list(&path("/etc")).unwrap();
    write(&host, "/etc/motd", Some(&before)).unwrap();
    assert_eq!(fs::read(root.path().join("etc/motd")).unwrap(), b"new");
    assert_eq!(host.list(&path("/etc")).unwrap(), names);
    assert!(matches!(write(&host, "/etc/motd", Some(&before)), Err(HostError::Moved { .. })));
    assert!(matches!(write(&host, "/etc/motd", None), Err(HostError::Moved { .. })));
    write(&host, "/etc/fresh", None).unwrap();
    write(&host, "/top", None).unwrap();
    assert!(matches!(write(&host, "/no/such", None), Err(HostError::Missing { .. })));
    assert_eq!(fs::metadata(root.path().join("top")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn a_leftover_of_a_crash_is_replaced_and_discarded() {
    let (root, host) = linux();
    let etc = root.path().join("etc");
    let leftover = || -> Vec<String> {
        let names = host.list(&path("/etc")).unwrap().into_iter();
        names.filter(|name| name.starts_with(".nexplane")).collect()
    };
    // Learn the name from a write that fails after it began: the name is taken by a directory.
    fs::create_dir(etc.join("taken")).unwrap();
    assert!(write(&host, "/etc/taken", None).is_err());
    assert!(leftover().is_empty());
    let name = {
        use sha2::{Digest, Sha256};
        format!(".nexplane-{}.tmp", &hex::encode(Sha256::digest("motd"))[..16])
    };
    fs::write(etc.join(&name), "half").unwrap();
    host.discard_leftovers(&path("/etc/motd")).unwrap();
    assert!(leftover().is_empty());
    host.discard_leftovers(&path("/etc/motd")).unwrap();
    host.discard_leftovers(&path("/nowhere/motd")).unwrap();
}

#[test]
fn mode_owner_and_attributes_survive_new_content() {
    let (root, host) = linux();
    let real = root.path().join("etc/motd");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o604)).unwrap();
    let root_user = rustix::process::geteuid().is_root();
    if root_user {
        std::os::unix::fs::chown(&real, Some(33), Some(33)).unwrap();
    }
    let attributed =
        rustix::fs::setxattr(&real, "user.note", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
    let bound = operation::find("host.set_file_content")
        .unwrap()
        .bind(&json!({ "path": "/etc/motd", "content": "new" }))
        .unwrap();
    let before = bound.snapshot(&host).unwrap();
    bound.apply(&host, &before).unwrap();
    let meta = fs::metadata(&real).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o604);
    if root_user {
        assert_eq!((meta.uid(), meta.gid()), (33, 33));
    }
    let mut value = [0; 16];
    if attributed {
        assert_eq!(rustix::fs::getxattr(&real, "user.note", &mut value[..]).unwrap(), 4);
    }
    bound.revert(&host, &before).unwrap();
    assert_eq!(bound.snapshot(&host).unwrap(), before);
    if attributed {
        assert_eq!(rustix::fs::getxattr(&real, "user.note", &mut value[..]).unwrap(), 4);
    }
}

#[test]
fn a_file_that_was_not_there_is_removed_by_the_revert() {
    let (root, host) = linux();
    let bound = operation::find("host.set_file_content")
        .unwrap()
        .bind(&json!({ "path": "/etc/fresh", "content": "new", "mode": "0600" }))
        .unwrap();
    let before = bound.snapshot(&host).unwrap();
    bound.apply(&host, &before).unwrap();
    let real = root.path().join("etc/fresh");
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o600);
    bound.revert(&host, &before).unwrap();
    assert!(!real.exists());
}

#[test]
fn special_files_do_not_get_new_content() {
    let (root, host) = linux();
    let real = root.path().join("etc/motd");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o4755)).unwrap();
    let bind =
        |parameters| operation::find("host.set_file_content").unwrap().bind(&parameters).unwrap();
    let failed = |parameters| -> Vec<String> {
        let checks = bind(parameters).validate(&host);
        checks.into_iter().filter(|check| !check.ok).map(|check| check.name).collect()
    };
    assert_eq!(failed(json!({ "path": "/etc/motd", "content": "" })), ["file_replaceable"]);
    let special = json!({ "path": "/etc/x", "content": "", "mode": "4755" });
    assert_eq!(failed(special), ["mode_plain"]);
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(failed(json!({ "path": "/etc/x", "content": large })), ["content_size"]);
    fs::write(root.path().join("etc/large"), &large).unwrap();
    assert_eq!(failed(json!({ "path": "/etc/large", "content": "" })), ["file_replaceable"]);
    assert_eq!(failed(json!({ "path": "/no/x", "content": "" })), ["directory_exists"]);
    let denied = failed(json!({ "path": "/etc/sudoers", "content": "" }));
    assert_eq!(denied, ["path_allowed"]);
}

#[test]
fn owners_go_by_name_or_number() {
    let (root, host) = linux();
    let entry = operation::find("host.set_file_permission").unwrap();
    let unknown = entry
        .bind(&json!({ "path": "/etc/motd", "mode": "0640", "owner": "nobody-here" }))
        .unwrap();
    assert!(unknown.validate(&host).iter().any(|check| !check.ok));
    assert!(unknown.diff(&host, "h", &unknown.snapshot(&host).unwrap()).is_err());
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (owner, uid) in [("www-data", 33), ("1234", 1234)] {
        let bound = entry
            .bind(&json!({ "path": "/etc/motd", "mode": "2750", "owner": owner, "group": "33" }))
            .unwrap();
        let before = bound.snapshot(&host).unwrap();
        bound.apply(&host, &before).unwrap();
        let meta = fs::metadata(root.path().join("etc/motd")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, 33, 0o2750));
        bound.revert(&host, &before).unwrap();
        assert_eq!(bound.snapshot(&host).unwrap(), before);
    }
}

#[test]
fn a_file_only_some_may_read_is_not_copied_into_the_diff() {
    let (root, host) = linux();
    let real = root.path().join("etc/motd");
    let entry = operation::find("host.set_file_content").unwrap();
    let bound = entry.bind(&json!({ "path": "/etc/motd", "content": "new" })).unwrap();
    let shown = || {
        let before = bound.snapshot(&host).unwrap();
        let lines = bound.diff(&host, "h", &before).unwrap();
        let line = lines.into_iter().find(|line| line.field == "content").unwrap();
        (line.before, line.after)
    };
    assert_eq!(shown(), (json!("hello\n"), json!("new")));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!shown().0.as_str().unwrap().contains("hello"));
}

#[test]
fn facts_come_from_the_files_beneath_the_root() {
    let (root, host) = linux();
    let put = |file: &str, text: &str| {
        let file = root.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    put("usr/lib/os-release", "ID=debian\nPRETTY_NAME=\"Debian 12\"\nVERSION_ID=\"12\"\n");
    symlink("../usr/lib/os-release", root.path().join("etc/os-release")).unwrap();
    put(
        "var/lib/dpkg/status",
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n\n\
         Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
    );
    put("usr/lib/systemd/system/ssh.service", "");
    put("usr/lib/systemd/system/cron.service", "");
    put("usr/lib/systemd/system/getty@.service", "");
    put("etc/systemd/system/multi-user.target.wants/ssh.service", "");
    let facts = collect_facts::collect(&host).unwrap();
    assert_eq!((facts.os.as_str(), facts.os_version.as_str()), ("debian", "12"));
    assert_eq!(facts.accounts.len(), 4);
    assert_eq!(facts.accounts[1].shell, "/bin/false");
    assert_eq!(facts.packages.len(), 1);
    let services: Vec<_> = facts.services.iter().map(|s| (s.unit.as_str(), s.enabled)).collect();
    assert_eq!(services, [("cron.service", false), ("ssh.service", true)]);
    assert!(facts.cpus > 0 && facts.memory_bytes > 0 && !facts.kernel.is_empty());
    let ids = Ids { uid: 33, gid: 0 };
    let names = nexplane_agent::host::account::names(&host, ids).unwrap();
    assert_eq!(names, ("www-data".to_owned(), "root".to_owned()));
}
