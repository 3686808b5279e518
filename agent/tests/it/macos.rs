//! What a Mac's host refuses, run on any Unix: its files are reached step by step, whatever the system.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nexplane_agent::host::macos::MacosHost;
use nexplane_agent::host::{Host, HostError, Mode};

use crate::rig::{ON_MACOS, macos, path, the_rest_is_refused};

#[test]
fn what_a_mac_cannot_do_is_refused_by_name() {
    let (_root, host) = macos();
    the_rest_is_refused(&host, &ON_MACOS);
}

#[test]
fn no_link_and_no_second_name_is_followed() {
    let outer = tempfile::tempdir().unwrap();
    let secret = outer.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("etc/dir")).unwrap();
    fs::write(root.join("etc/file"), "plain").unwrap();
    symlink("file", root.join("etc/link")).unwrap();
    symlink(&secret, root.join("etc/absolute")).unwrap();
    symlink("..", root.join("etc/up")).unwrap();
    symlink("nothing", root.join("etc/dangling")).unwrap();
    fs::write(root.join("etc/twin"), "twin").unwrap();
    fs::hard_link(root.join("etc/twin"), root.join("etc/hard")).unwrap();
    let host = MacosHost::open(&root, &[]).unwrap();
    let some = host.stat(&path("/etc/file")).unwrap().unwrap();
    for file in [
        "/etc/link",
        "/etc/absolute",
        "/etc/dangling",
        "/etc/up/secret",
        "/etc/up/etc/file",
        "/etc/hard",
        "/etc/dir",
    ] {
        let file = path(file);
        let seen = host.stat(&file);
        assert!(matches!(seen, Err(HostError::Unsafe { .. })), "{file}: {seen:?}");
        assert!(matches!(host.read(&file, 99), Err(HostError::Unsafe { .. })), "{file}");
        let written = host.write(&file, Some(&some), b"x", Mode::from_bits(0o644), host.own_ids());
        assert!(written.is_err(), "{file}");
        assert!(host.remove(&file, &some).is_err(), "{file}");
    }
    assert!(matches!(host.list(&path("/etc/up")), Err(HostError::Unsafe { .. })));
    assert_eq!(host.stat(&path("/etc/file/below")).unwrap(), None);
    assert_eq!(host.list(&path("/etc/nowhere")).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert_eq!(fs::read(root.join("etc/twin")).unwrap(), b"twin");
}

#[test]
fn a_file_is_replaced_whole_and_only_as_it_was_seen() {
    let (root, host) = macos();
    let (file, real) = (path("/etc/motd"), root.path().join("etc/motd"));
    let seen = host.stat(&file).unwrap().unwrap();
    let write = |expected, content: &[u8]| {
        host.write(&file, expected, content, Mode::from_bits(0o640), host.own_ids())
    };
    write(Some(&seen), b"new").unwrap();
    assert!(matches!(write(Some(&seen), b"newer"), Err(HostError::Moved { .. })));
    assert!(matches!(write(None, b"newer"), Err(HostError::Moved { .. })));
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(&real).unwrap().nlink(), 1);
    let names = host.list(&path("/etc")).unwrap();
    assert!(names.iter().all(|name| !name.starts_with(".nexplane")), "{names:?}");
}
