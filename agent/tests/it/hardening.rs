//! Hardening profiles: what each kind of item writes, what is left alone, and the way back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nexplane_agent::host::fake::Node;
use nexplane_agent::host::{FakeHost, Host, HostPath, Mode};
use nexplane_agent::operation::hardening::profile::ProfileId;
use nexplane_agent::operation::{self, Bound};
use nexplane_agent::runner::Runner;
use nexplane_core::id::JobId;
use nexplane_core::job::{JobResult, Order, RefusalCode};
use nexplane_core::plan::Check;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Rig, linux, path, refusal};

const ID: &str = "host.run_hardening_profile";
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides/hardening-profiles.md");

fn operation(parameters: &Value) -> Box<dyn Bound> {
    operation::find(ID).unwrap().bind(parameters).unwrap()
}

pub fn debian(more: &Value) -> Box<dyn Bound> {
    let mut parameters = json!({ "profile": "cis-debian12-level1" });
    parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    operation(&parameters)
}

pub fn detail<'a>(checks: &'a [Check], item: &str) -> &'a str {
    let check = checks.iter().find(|check| check.name == item);
    check.unwrap_or_else(|| panic!("no check {item}: {checks:?}")).detail.as_str()
}

/// Content, mode and owner of files, by path.
pub type Tree = BTreeMap<String, (Vec<u8>, u32, u32, u32)>;

/// Every file beneath a directory.
pub fn tree(root: &Path) -> Tree {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() {
                fs::read(&path).unwrap()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                Vec::new()
            };
            if meta.is_dir() {
                open.push(path.clone());
            }
            let name = path.to_string_lossy().into_owned();
            found.insert(name, (content, meta.mode(), meta.uid(), meta.gid()));
        }
    }
    found
}

#[test]
fn each_kind_of_item_writes_what_it_says_and_comes_undone_to_the_byte() {
    let (root, host) = linux();
    let at = |file: &str| root.path().join(file);
    for (file, text) in [
        ("etc/security/limits.d/note", ""),
        ("etc/security/faillock.conf", "# deny = 3\nunlock_time=1800"),
        ("etc/systemd/journald.conf", "[Journal]\n#Storage=auto\n\n[Other]\nStorage=persistent\n"),
        ("etc/systemd/coredump.conf", "# nothing\n"),
        ("proc/sys/kernel/yama/ptrace_scope", "2\n"),
        ("proc/sys/net/ipv4/ip_forward", "1\n"),
    ] {
        fs::create_dir_all(at(file).parent().unwrap()).unwrap();
        fs::write(at(file), text).unwrap();
    }
    let before_files = tree(root.path());
    let profile = debian(&json!({}));
    let checks = profile.validate(&host);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    assert!(detail(&checks, "net-log-martians-all").ends_with(": will be set"));
    assert!(detail(&checks, "faillock-unlock-time").ends_with(": is so already"));
    assert!(detail(&checks, "pwquality-minlen").contains("not applicable"));
    assert!(detail(&checks, "service-rsync").contains("not applicable, there is no bus"));
    let forwards = detail(&checks, "net-forwarding");
    assert!(forwards.contains("is not so, net.ipv4.ip_forward is 1; reported"), "{forwards}");

    let before = profile.snapshot(&host).unwrap();
    let diff = profile.diff(&host, "h", &before).unwrap();
    let days = diff.iter().find(|line| line.field.starts_with("login-pass-max-days: ")).unwrap();
    assert_eq!(
        (&days.before, &days.after),
        (&json!("PASS_MAX_DAYS\t99999"), &json!("PASS_MAX_DAYS 365"))
    );
    profile.apply(&host, &before).unwrap();
    let read = |file: &str| fs::read_to_string(at(file)).unwrap();
    let module = read("etc/modprobe.d/60-nexplane-module-hfs.conf");
    assert!(module.ends_with("\ninstall hfs /bin/false\nblacklist hfs\n"), "{module}");
    assert!(
        read("etc/security/limits.d/60-nexplane-limits-core.conf").ends_with("\n* hard core 0\n")
    );
    assert_eq!(read("etc/security/faillock.conf"), "# deny = 3\nunlock_time=1800\ndeny = 5");
    let journal = read("etc/systemd/journald.conf");
    assert_eq!(
        journal,
        "[Journal]\n#Storage=auto\nCompress=yes\nStorage=persistent\n\n[Other]\nStorage=persistent\n"
    );
    let dumps = read("etc/systemd/coredump.conf");
    assert!(dumps.ends_with("\n[Coredump]\nProcessSizeMax=0\nStorage=none\n"), "{dumps}");
    let days = read("etc/login.defs");
    assert!(days.starts_with("# days\nPASS_MAX_DAYS 365\nPASS_MIN_DAYS 1\n"), "{days}");
    let settings = read("etc/sysctl.d/zz-nexplane.conf");
    assert!(settings.contains("net.ipv4.conf.all.log_martians = 1\n"), "{settings}");
    // A stricter value stays, and is kept.
    assert!(settings.contains("kernel.yama.ptrace_scope = 2\n"), "{settings}");
    assert_eq!(read("proc/sys/net/ipv4/ip_forward"), "1\n");
    assert!(!at("etc/ssh").exists(), "there is no SSH server");

    profile.revert(&host, &before).unwrap();
    assert_eq!(tree(root.path()), before_files);
}

#[test]
fn permissions_are_taken_away_and_never_given() {
    let host = FakeHost::furnished();
    let put = |file: &str, mode| host.put_file(&path(file), b"x", Mode::from_bits(mode));
    put("/etc/motd", 0o600);
    put("/etc/issue", 0o666);
    host.put_file(&path("/etc/group"), b"root:x:0:\nshadow:x:42:\n", Mode::from_bits(0o644));
    let ids = nexplane_agent::host::Ids { uid: 7, gid: 42 };
    let node = |ids| Node::File {
        content: b"x".to_vec(),
        mode: Mode::from_bits(0o664),
        ids,
        names: 1,
        has_capabilities: false,
    };
    host.put(&path("/etc/gshadow"), node(ids));
    let profile = debian(&json!({ "only": ["file-motd", "file-issue", "file-gshadow"] }));
    let before = profile.snapshot(&host).unwrap();
    profile.apply(&host, &before).unwrap();
    let now = |file: &str| {
        let meta = host.stat(&path(file)).unwrap().unwrap();
        (meta.mode.to_string(), meta.ids.uid, meta.ids.gid)
    };
    assert_eq!(now("/etc/motd"), ("0600".to_owned(), 0, 0));
    assert_eq!(now("/etc/issue"), ("0644".to_owned(), 0, 0));
    assert_eq!(now("/etc/gshadow"), ("0640".to_owned(), 0, 42));
    profile.revert(&host, &before).unwrap();
    assert_eq!(now("/etc/issue").0, "0666");
    assert_eq!(now("/etc/gshadow"), ("0664".to_owned(), 7, 42));
}

#[test]
fn services_are_switched_off_and_back_on() {
    let host = FakeHost::furnished();
    host.put_file(&path("/run/dbus/system_bus_socket"), b"", Mode::from_bits(0o600));
    let (cups, rsync) = ("cups.service".parse().unwrap(), "rsync.service".parse().unwrap());
    let browsed = "cups-browsed.service".parse().unwrap();
    host.put_unit(&cups, true);
    host.put_unit(&browsed, true);
    host.put_need(&browsed, &cups);
    let profile = debian(&json!({ "only": ["service-cups", "service-rsync", "service-avahi"] }));
    let checks = profile.validate(&host);
    assert!(detail(&checks, "service-rsync").ends_with("is so already"));
    assert!(detail(&checks, "service-avahi").contains("there is no avahi-daemon.service"));
    let before = profile.snapshot(&host).unwrap();
    let lines = profile.diff(&host, "h", &before).unwrap();
    assert_eq!(lines.len(), 3, "enabled, active, and what stops with it: {lines:?}");
    assert!(lines[2].field.ends_with("(cups-browsed.service)"), "{lines:?}");
    let runs = |name| host.unit(name).unwrap().unwrap().active;
    profile.apply(&host, &before).unwrap();
    assert!(!runs(&cups) && !runs(&browsed));
    // Services that cannot be asked for are no change of somebody's.
    host.silence_units(1);
    assert!(profile.reread(&host, &before).is_err());
    profile.revert(&host, &before).unwrap();
    assert!(runs(&cups) && runs(&browsed));
    assert_eq!(profile.snapshot(&host).unwrap(), before);
    let [cups, rsync] = [cups, rsync].map(|name| host.unit(&name).unwrap().unwrap());
    assert_eq!((cups.active, cups.enabled()), (true, Some(true)));
    assert_eq!((rsync.active, rsync.enabled()), (false, Some(false)));
}

#[test]
fn an_item_that_does_not_apply_any_more_is_still_compared_and_undone() {
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let parameters = json!({
        "profile": "cis-debian12-level1",
        "only": ["module-hfs", "module-hfsplus", "net-log-martians-all"]
    });
    let nodes = fake.nodes();
    let job = rig.job(1, rig.apply_order(ID, &parameters));
    let result = rig.run(&mut runner, &job);
    let JobResult::Applied { changed: true, before_fingerprint, after_fingerprint, .. } = result
    else {
        panic!("{result:?}");
    };

    // Another kernel has it built in, so a file would not keep it away: it is not offered any more.
    let built_in = path("/usr/lib/modules/6.1.0/modules.builtin");
    fake.put_file(&built_in, b"kernel/fs/hfs/hfs.ko\n", Mode::from_bits(0o644));
    let profile = operation(&parameters);
    let checks = profile.validate(fake.as_ref());
    assert!(detail(&checks, "module-hfs").contains("built into the kernel"), "{checks:?}");

    // Whoever asks about what that job did is told about what it did, and not about what it would do now.
    let mut seq = 1;
    let mut read = |runner: &mut Runner, undoes| {
        seq += 1;
        let (operation, target) = (ID.to_owned(), "web-1".to_owned());
        let parameters = parameters.clone();
        let order = Order::Verify { operation, target, parameters, prepared: None, undoes };
        match rig.run(runner, &rig.job(seq, order)) {
            JobResult::Verified { satisfied, fingerprint, .. } => (satisfied, fingerprint),
            other => panic!("{other:?}"),
        }
    };
    let (_, afresh) = read(&mut runner, None);
    assert_ne!(afresh, after_fingerprint);
    assert_eq!(read(&mut runner, Some(JobId(Uuid::from_u128(7)))).1, afresh, "no such job");
    let left = (true, after_fingerprint.clone());
    assert_eq!(read(&mut runner, Some(job.id)), left);

    // What somebody changed in it is seen all the same.
    let file = path("/etc/modprobe.d/60-nexplane-module-hfs.conf");
    let ours = fake.read(&file, 1 << 20).unwrap().unwrap().content;
    fake.put_file(&file, b"# theirs\n", Mode::from_bits(0o644));
    let (satisfied, theirs) = read(&mut runner, Some(job.id));
    assert!(!satisfied && theirs != after_fingerprint && theirs != before_fingerprint);
    let undo_from = |current: &str| Rig::revert_order_from(current, ID, &parameters, job.id);
    for (seq, current) in [(20, &theirs), (21, &after_fingerprint)] {
        let undo = rig.job(seq, undo_from(current));
        assert_eq!(refusal(&rig.run(&mut runner, &undo)), RefusalCode::Drift);
    }
    fake.put_file(&file, &ours, Mode::from_bits(0o644));

    let undo = rig.job(22, undo_from(&afresh));
    assert_eq!(refusal(&rig.run(&mut runner, &undo)), RefusalCode::Drift, "of other items");
    // Once more is as once: it is found as it was before.
    for (seq, current) in [(23, &after_fingerprint), (24, &before_fingerprint)] {
        let result = rig.run(&mut runner, &rig.job(seq, undo_from(current)));
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
    }
    assert!(fake.stat(&file).unwrap().is_none());
    let meta = fake.stat(&built_in).unwrap().unwrap();
    fake.remove(&built_in, &meta).unwrap();
    let now = fake.nodes().into_iter().filter(|(_, node)| *node != Node::Directory);
    assert!(now.eq(nodes.into_iter().filter(|(_, node)| *node != Node::Directory)));
}

#[test]
fn an_item_that_fails_is_named_and_the_others_tell_the_truth() {
    let (rig, fake) = Rig::fake();
    let parameters = json!({ "profile": "cis-debian12-level1" });
    let profile = operation(&parameters);
    let nodes = fake.nodes();
    let before = profile.snapshot(fake.as_ref()).unwrap();
    let intended = profile.intended(fake.as_ref(), &before).unwrap();
    fake.refuse(&path("/etc/modprobe.d/60-nexplane-module-hfsplus.conf"));

    let error = profile.apply(fake.as_ref(), &before).unwrap_err().sentence();
    assert!(
        error.starts_with("module-hfsplus: The file system HFS+ cannot be loaded: could not write"),
        "{error}"
    );
    let now = profile.snapshot(fake.as_ref()).unwrap();
    assert!(now.is_between(&before, &intended));
    let value =
        |name: &str| now.fields.iter().find(|f| f.name.starts_with(name)).unwrap().value.clone();
    assert!(value("module-hfs:").is_string(), "done before it");
    assert!(value("module-hfsplus:").is_null(), "not done");
    assert!(value("net-log-martians-all:") == "0", "not begun");
    profile.revert(fake.as_ref(), &before).unwrap();
    assert_eq!(fake.nodes(), nodes);

    // An order of the control plane puts back what was done, and says which item it was.
    let job = rig.job(1, rig.apply_order(ID, &parameters));
    let JobResult::Failed { detail } = rig.run(&mut rig.start(), &job) else {
        panic!("the order fails");
    };
    assert!(detail.contains("module-hfsplus"), "{detail}");
    assert_eq!(fake.nodes(), nodes);
}

#[test]
fn another_system_and_unknown_items_are_refused_with_the_reason() {
    let host = FakeHost::furnished();
    let failed = |profile: Box<dyn Bound>| -> Vec<String> {
        let failed = profile.validate(&host).into_iter().filter(|check| !check.ok);
        failed.map(|check| format!("{}: {}", check.name, check.detail)).collect()
    };
    let other = operation(&json!({ "profile": "cis-rhel9-level1" }));
    assert_eq!(
        failed(other),
        [
            "operating_system: cis-rhel9-level1 is for rhel 9, and the host runs debian 12: choose the \
          profile of its system"
        ]
    );
    let unknown = debian(&json!({ "skip": ["module-hfs", "nothing"], "only": ["ssh-port"] }));
    assert_eq!(failed(unknown), ["items_known: cis-debian12-level1 has no item nothing, ssh-port"]);
    let none = debian(&json!({ "skip": ["module-hfs"], "only": ["module-hfs"] }));
    assert_eq!(failed(none), ["items_known: no item is left: name fewer to skip"]);
    assert!(operation::find(ID).unwrap().bind(&json!({ "profile": "cis-debian13" })).is_err());
}

#[test]
fn the_owners_policy_is_asked_about_every_file_of_the_items_that_are_asked_for() {
    let paths =
        |profile: &dyn Bound| -> Vec<HostPath> { profile.paths().into_iter().cloned().collect() };
    let all = paths(debian(&json!({})).as_ref());
    for file in [
        "/etc/ssh/sshd_config.d/60-nexplane-ssh-maxauthtries.conf",
        "/etc/modprobe.d/60-nexplane-module-hfs.conf",
        "/etc/sysctl.d/zz-nexplane.conf",
        "/etc/login.defs",
        "/etc/shadow",
    ] {
        assert!(all.contains(&path(file)), "{file}");
    }
    let off = debian(&json!({ "only": ["service-cups"] }));
    assert_eq!(paths(off.as_ref()), [path("/etc/systemd/system")]);
    let one = debian(&json!({ "only": ["module-hfs"] }));
    assert_eq!(paths(one.as_ref()), [path("/etc/modprobe.d/60-nexplane-module-hfs.conf")]);
}

/// The page is made of the data; `NEXPLANE_BLESS=1` writes it anew.
#[test]
fn the_golden_page_lists_every_item_of_every_profile() {
    let mut page = include_str!("hardening.md").to_owned();
    for id in ProfileId::ALL {
        let profile = id.profile();
        let reported = profile.items.iter().filter(|item| item.rule.is_report()).count();
        page.push_str(&format!(
            "\n## `{id}`\n\n{}: {} items, {} of them reported and not changed. Numbers are those of \
             the {}.\n\n| Item | Number | |\n|---|---|---|\n",
            profile.title,
            profile.items.len(),
            reported,
            profile.benchmark
        ));
        for item in &profile.items {
            let number = item.reference.as_deref().unwrap_or("–");
            let only = if item.rule.is_report() { " *(reported, not changed)*" } else { "" };
            page.push_str(&format!(
                "| `{}` | {number} | **{}**{only}. {} |\n",
                item.id, item.title, item.why
            ));
        }
    }
    if std::env::var_os("NEXPLANE_BLESS").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let golden = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(page == golden, "{PAGE} is out of date: run with NEXPLANE_BLESS=1");
}
