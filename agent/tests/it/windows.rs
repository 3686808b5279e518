//! What a Windows host refuses, and what it keeps.

use std::fs;

use nexplane_agent::host::windows::WindowsHost;
use nexplane_agent::host::{Access, FileMeta, Host, HostError, Mode};
use nexplane_agent::operation::collect_facts;

use crate::rig::{ON_WINDOWS, path, the_rest_is_refused, windows};

const MODE: Mode = Mode::from_bits(0o644);

fn write(host: &WindowsHost, expected: Option<&FileMeta>, content: &[u8]) -> Result<(), HostError> {
    host.write(&path("/etc/motd"), expected, content, MODE, host.own_ids())
}

#[test]
fn what_windows_cannot_do_is_refused_by_name() {
    let (_root, host) = windows();
    the_rest_is_refused(&host, &ON_WINDOWS);
}

#[test]
fn a_mode_is_refused_where_files_have_none() {
    let (_root, host) = windows();
    let parameters = serde_json::json!({ "path": "/etc/motd", "content": "x", "mode": "0644" });
    let bound = nexplane_agent::operation::find("host.set_file_content").unwrap();
    let checks = bound.bind(&parameters).unwrap().validate(&host);
    let check = checks.iter().find(|check| check.name == "mode_plain").unwrap();
    assert!(!check.ok && check.detail.contains("not on this kind of host"), "{check:?}");
}

#[test]
fn a_file_is_replaced_whole_and_only_as_it_was_seen() {
    let (root, host) = windows();
    let real = root.path().join("etc").join("motd");
    let seen = host.stat(&path("/etc/motd")).unwrap().unwrap();
    write(&host, Some(&seen), b"new").unwrap();
    assert!(matches!(write(&host, Some(&seen), b"newer"), Err(HostError::Moved { .. })));
    assert!(matches!(write(&host, None, b"newer"), Err(HostError::Moved { .. })));
    assert_eq!(fs::read(&real).unwrap(), b"new");
    let now = host.stat(&path("/etc/motd")).unwrap().unwrap();
    host.remove(&path("/etc/motd"), &now).unwrap();
    assert_eq!(host.stat(&path("/etc/motd")).unwrap(), None);
    write(&host, None, b"made").unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"made");
    let names = host.list(&path("/etc")).unwrap();
    assert!(names.iter().all(|name| !name.starts_with(".nexplane")), "{names:?}");
}

#[test]
fn what_windows_takes_for_something_else_is_refused() {
    let (root, host) = windows();
    fs::write(root.path().join("etc").join("twin"), "twin").unwrap();
    fs::hard_link(root.path().join("etc").join("twin"), root.path().join("etc").join("hard"))
        .unwrap();
    for file in [
        "/etc/motd:stream",
        "/etc/motd.",
        "/etc/motd ",
        "/etc/MOTD~1",
        "/etc/..\\..\\x",
        "/etc/NUL",
        "/etc/hard",
        "/etc/sysctl.d",
    ] {
        let seen = host.stat(&path(file));
        assert!(matches!(seen, Err(HostError::Unsafe { .. })), "{file}: {seen:?}");
        let written = host.write(&path(file), None, b"x", MODE, host.own_ids());
        assert!(written.is_err(), "{file}");
    }
    assert_eq!(host.stat(&path("/etc/motd/below")).unwrap(), None);
}

#[test]
fn the_agents_own_directory_is_out_of_reach_under_every_name() {
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("Agent State");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("identity.json"), "{}").unwrap();
    let host = WindowsHost::open(root.path(), &[own]).unwrap();
    for file in ["/Agent State/identity.json", "/agent state/IDENTITY.json", "/AGENT STATE"] {
        let denied = host.may_touch(&path(file), Access::Content);
        assert!(matches!(denied, Err(HostError::Denied { .. })), "{file}: {denied:?}");
        assert!(
            matches!(
                host.stat(&path(file)),
                Err(HostError::Denied { .. } | HostError::Unsafe { .. })
            ),
            "{file}"
        );
    }
    for file in [
        "/Windows/System32/config/SAM",
        "/WINDOWS/system32/CONFIG/sam",
        "/ProgramData/nexplane-agent/policy.toml",
        "/Users/b/.ssh/Authorized_Keys",
    ] {
        let denied = host.may_touch(&path(file), Access::Content);
        assert!(matches!(denied, Err(HostError::Denied { .. })), "{file}: {denied:?}");
    }
}

#[test]
fn the_directory_of_a_file_cannot_be_renamed_while_it_is_used() {
    use std::os::windows::fs::OpenOptionsExt;
    let (root, host) = windows();
    let (etc, away) = (root.path().join("etc"), root.path().join("away"));
    // As the host holds it: reading, backup semantics, not shared for deleting.
    let held = fs::OpenOptions::new()
        .read(true)
        .share_mode(3)
        .custom_flags(0x0220_0000)
        .open(&etc)
        .unwrap();
    assert!(fs::rename(&etc, &away).is_err());
    drop(held);
    fs::rename(&etc, &away).unwrap();
    assert_eq!(host.stat(&path("/etc/motd")).unwrap(), None);
}

#[test]
fn the_facts_say_which_windows_it_is() {
    let (_root, host) = windows();
    let facts = collect_facts::collect(&host).unwrap();
    assert_eq!((facts.os.as_str(), facts.architecture.as_str()), ("windows", "x86_64"));
    assert!(facts.os_name.contains("Windows") && !facts.hostname.is_empty(), "{facts:?}");
    assert!(facts.memory_bytes > 0 && facts.cpus > 0, "{facts:?}");
    assert!(facts.accounts.is_empty() && facts.packages.is_empty() && facts.services.is_empty());
}
