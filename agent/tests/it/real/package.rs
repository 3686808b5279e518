//! Packages on a real Debian: apt, dpkg and a [repository](super::repository) of the tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nexplane_agent::operation;
use nexplane_core::job::{JobResult, RefusalCode};
use nexplane_core::plan::Check;
use serde_json::{Value, json};

use super::orders::Orders;
use super::repository::{APPS, file, publish};
use super::{sh, within};
use crate::rig::refusal;

const INSTALL: &str = "host.install_package";
const REMOVE: &str = "host.remove_package";
/// What another package manager writes while it has the lock.
const HELD: &str = "/run/nx-held";

/// The host without any package of the repository.
struct Stage {
    orders: Orders,
}

impl Deref for Stage {
    type Target = Orders;

    fn deref(&self) -> &Orders {
        &self.orders
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Orders {
        &mut self.orders
    }
}

impl Stage {
    fn new() -> Self {
        sh("dpkg --purge --force-remove-reinstreq nx-large || true; \
            apt-mark -q unhold 'nx-*' || true; dpkg --configure -a || true; \
            apt-get -q -y purge 'nx-*' || true; rm -rf /etc/nx-* /var/lib/nexplane-agent/packages");
        publish(APPS);
        Self { orders: Orders::new() }
    }

    /// Does it and undoes it; between the two it is as `then` says. What came leaves its configuration.
    fn there_and_back(&mut self, operation: &str, parameters: &Value, then: impl Fn()) {
        let before = world();
        let id = self.done(operation, parameters);
        then();
        assert_ne!(world(), before);
        let result = self.undo(operation, parameters, id);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert_eq!(world_but_for_residue(&before), before, "{operation} {parameters}");
    }

    /// The plan says why not in this check, the order is refused, and nothing is changed.
    fn refused(&mut self, operation: &str, parameters: &Value, check: &str, why: &str) {
        let before = world();
        let (checks, _) = self.plan(operation, parameters);
        let failed = checks.iter().find(|found| !found.ok).expect("a check fails");
        assert_eq!(failed.name, check, "{failed:?}");
        assert!(failed.detail.contains(why), "{failed:?}");
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        if let Ok(state) = bound.snapshot(self.rig.host.as_ref()) {
            let (_, result) = self.apply(operation, parameters);
            assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
            // Not even without the checks.
            if !["way_back", "package_known"].contains(&check) {
                bound.apply(self.rig.host.as_ref(), &state).unwrap_err();
            }
        }
        assert_eq!(world(), before);
    }
}

/// Every package of the machine with its state and marks, as dpkg and apt have them, and the
/// configuration files of this test's packages.
fn world() -> BTreeMap<String, String> {
    let automatic = sh("apt-mark showauto");
    let listed = sh("dpkg-query -W -f '${Package} ${db:Status-Abbrev} ${Version}\\n'");
    let mut world: BTreeMap<String, String> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        // What is only known, because another package mentions it, is not there.
        .filter(|(_, state)| !state.starts_with("un") && !state.starts_with("pn"))
        .map(|(name, state)| {
            let mark = if automatic.lines().any(|line| line == name) { "auto" } else { "manual" };
            (name.to_owned(), format!("{} {mark}", state.trim()))
        })
        .collect();
    for entry in fs::read_dir("/etc").unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("nx-") {
            let meta = entry.metadata().unwrap();
            let content = fs::read_to_string(entry.path()).unwrap();
            let mode = meta.permissions().mode();
            world.insert(name, format!("{content} {mode:o} {} {}", meta.uid(), meta.gid()));
        }
    }
    world
}

/// The same without what was not there before and left its configuration.
fn world_but_for_residue(before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut world = world();
    let left: Vec<String> = world
        .iter()
        .filter(|(name, state)| state.starts_with("rc") && !before.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect();
    for name in left {
        world.remove(&name);
        world.remove(&format!("{name}.conf"));
    }
    world
}

fn state(name: &str) -> Option<String> {
    world().remove(name)
}

fn app(version: &str) -> Value {
    json!({ "name": "nx-app", "version": version })
}

fn by_hand(words: &str) {
    sh(&format!("apt-get -q -y -o Dpkg::Options::=--force-confold {words}"));
}

#[test]
fn real_packages_come_and_go_and_come_back_as_they_were() {
    within("real::package::real_packages_come_and_go_and_come_back_as_they_were", || {
        what_came_along_is_in_the_plan_and_goes_again();
        configuration_and_data_stay_when_an_installation_is_undone();
        versions_go_up_and_back_and_what_somebody_configured_stays();
        what_is_in_the_way_goes_only_when_allowed_and_comes_back();
        what_others_need_stays_and_what_is_removed_comes_back();
    });
}

#[test]
fn real_packages_that_fail_or_moved_or_have_no_way_back_leave_the_host_as_it_was() {
    let test = "real::package::\
                real_packages_that_fail_or_moved_or_have_no_way_back_leave_the_host_as_it_was";
    within(test, || {
        a_package_that_fails_leaves_nothing_behind();
        what_is_not_what_its_source_says_is_found_out();
        what_cannot_be_fetched_is_not_begun();
        the_way_back_outlives_its_source();
        without_a_way_back_it_is_refused_unless_that_is_wanted();
        what_is_done_and_undone_is_what_was_planned();
        another_package_manager_is_waited_for_but_not_for_ever();
    });
}

#[test]
fn real_packages_that_were_killed_in_the_middle_are_settled_at_the_next_start() {
    let test = "real::package::\
                real_packages_that_were_killed_in_the_middle_are_settled_at_the_next_start";
    within(test, what_was_killed_in_the_middle_is_settled_at_the_next_start);
}

fn what_came_along_is_in_the_plan_and_goes_again() {
    let mut stage = Stage::new();
    let parameters = json!({ "name": "nx-app" });
    let (checks, diff) = stage.plan(INSTALL, &parameters);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let line = |field: &str| diff.iter().find(|line| line.field == field).unwrap();
    assert_eq!(line("version").after, json!("2.0"));
    assert_eq!(line("other_nx-lib").after, json!("1.0"));
    stage.there_and_back(INSTALL, &parameters, || {
        assert_eq!(state("nx-app").unwrap(), "ii  2.0 manual");
        assert_eq!(state("nx-lib").unwrap(), "ii  1.0 auto");
    });
    let alone = json!({ "name": "nx-app", "allow_dependencies": false });
    stage.refused(INSTALL, &alone, "other_packages", "install nx-lib 1.0");

    // Nothing to do, and to be marked as wanted.
    by_hand("install nx-lib");
    let (_, result) = stage.apply(INSTALL, &json!({ "name": "nx-lib" }));
    assert!(matches!(result, JobResult::Applied { changed: false, .. }), "{result:?}");
    sh("apt-mark auto nx-lib");
    stage.there_and_back(INSTALL, &json!({ "name": "nx-lib" }), || {
        assert_eq!(state("nx-lib").unwrap(), "ii  1.0 manual");
    });
}

fn configuration_and_data_stay_when_an_installation_is_undone() {
    const ROWS: &str = "/var/tmp/nx-base/rows";
    let mut stage = Stage::new();
    let parameters = json!({ "name": "nx-base" });
    let bound = operation::find(INSTALL).unwrap().bind(&parameters).unwrap();
    let before = bound.snapshot(stage.rig.host.as_ref()).unwrap();
    // The second time its configuration is there already.
    for text in ["one", "two"] {
        let id = stage.done(INSTALL, &parameters);
        fs::write(ROWS, text).unwrap();
        fs::write("/etc/nx-base.conf", text).unwrap();
        let result = stage.undo(INSTALL, &parameters, id);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert!(state("nx-base").unwrap().starts_with("rc"));
        assert_eq!(fs::read_to_string(ROWS).unwrap(), text);
        assert_eq!(fs::read_to_string("/etc/nx-base.conf").unwrap(), text);
        assert_eq!(bound.snapshot(stage.rig.host.as_ref()).unwrap(), before);
    }
    // Gone with it only when somebody says so; and then it is told that this does not come back.
    let purge = json!({ "name": "nx-base", "purge": true });
    stage.refused(REMOVE, &purge, "way_back", "only the configuration is left");
    let knowing = json!({ "name": "nx-base", "purge": true, "require_way_back": false });
    stage.done(REMOVE, &knowing);
    assert_eq!((state("nx-base"), Path::new(ROWS).exists()), (None, false));
}

fn versions_go_up_and_back_and_what_somebody_configured_stays() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0");
    stage.there_and_back(INSTALL, &app("2.0"), || {
        assert_eq!(state("nx-app").unwrap(), "ii  2.0 manual");
        assert!(state("nx-app.conf").unwrap().starts_with("two\n"));
    });
    fs::write("/etc/nx-app.conf", "mine\n").unwrap();
    sh("apt-mark auto nx-app");
    let before = world();
    let id = stage.done(INSTALL, &app("2.0"));
    assert!(state("nx-app.conf").unwrap().starts_with("mine\n"));
    let result = stage.undo(INSTALL, &app("2.0"), id);
    assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
    let mut after = world();
    // dpkg lays the new one beside it, for its owner to compare.
    after.remove("nx-app.conf.dpkg-dist");
    assert_eq!(after, before);

    by_hand("install nx-app=2.0");
    stage.refused(INSTALL, &app("1.0"), "downgrades", "replace nx-app 2.0 by 1.0");
    let down = json!({ "name": "nx-app", "version": "1.0", "allow_downgrade": true });
    stage.done(INSTALL, &down);
    assert!(state("nx-app").unwrap().starts_with("ii  1.0"));
    stage.refused(INSTALL, &app("3.0"), "package_known", "2.0, 1.0");

    sh("apt-mark hold nx-app");
    stage.refused(INSTALL, &app("2.0"), "not_held", "nx-app");
    stage.refused(REMOVE, &json!({ "name": "nx-app" }), "not_held", "nx-app");
}

fn what_is_in_the_way_goes_only_when_allowed_and_comes_back() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0");
    fs::write("/etc/nx-app.conf", "mine\n").unwrap();
    stage.refused(INSTALL, &json!({ "name": "nx-rival" }), "removals", "remove nx-app 1.0");
    let forced = json!({ "name": "nx-rival", "allow_removals": true });
    stage.there_and_back(INSTALL, &forced, || {
        assert_eq!(state("nx-rival").unwrap(), "ii  1.0 manual");
        assert!(state("nx-app").unwrap().starts_with("rc"), "its configuration stays");
    });
}

fn what_others_need_stays_and_what_is_removed_comes_back() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0 nx-cleans");
    sh(
        "chown daemon:mail /etc/nx-app.conf; chmod 640 /etc/nx-app.conf; echo mine >/etc/nx-app.conf",
    );
    stage.refused(REMOVE, &json!({ "name": "nx-lib" }), "other_packages", "remove nx-app 1.0");
    stage.there_and_back(REMOVE, &json!({ "name": "nx-app" }), || {
        assert!(state("nx-app").unwrap().starts_with("rc"));
        assert_eq!(state("nx-lib").unwrap(), "ii  1.0 auto", "it is not ours to tidy up");
    });
    let purge = |name: &str| json!({ "name": name, "purge": true });
    stage.there_and_back(REMOVE, &purge("nx-app"), || {
        assert_eq!((state("nx-app"), state("nx-app.conf")), (None, None));
    });
    fs::remove_file("/etc/nx-app.conf").unwrap();
    stage.there_and_back(REMOVE, &purge("nx-app"), || assert_eq!(state("nx-app"), None));
    let (checks, _) = stage.plan(REMOVE, &purge("nx-cleans"));
    let told = checks.iter().find(|check| check.name == "configuration").unwrap();
    assert!(told.ok && told.detail.contains("program of its own"), "{told:?}");
    stage.there_and_back(REMOVE, &purge("nx-cleans"), || assert_eq!(state("nx-cleans"), None));

    // Only its configuration is left, and that goes: nothing can put this back but a person.
    by_hand("remove nx-app");
    let (_, result) = stage.apply(REMOVE, &json!({ "name": "nx-app" }));
    assert!(matches!(result, JobResult::Applied { changed: false, .. }), "{result:?}");

    for (name, why) in [
        ("bash", "run by it"),
        ("apt", "installed with it"),
        ("libc6", "every program"),
        ("systemd", "start"),
        ("nexplane-agent", "it is the agent"),
        ("init-system-helpers", "essential"),
    ] {
        let parameters = json!({ "name": name });
        let (checks, _) = stage.plan(REMOVE, &parameters);
        let failed: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
        assert!(failed.iter().any(|check| check.detail.contains(why)), "{name}: {failed:?}");
    }
    stage.refused(REMOVE, &json!({ "name": "nx-nothing" }), "package_known", "no package");
    stage.refused(INSTALL, &json!({ "name": "nx-nothing" }), "package_known", "no package");
    let (checks, _) = stage.plan(REMOVE, &json!({ "name": "openssh-server" }));
    let told = checks.iter().find(|check| check.name == "package_allowed").unwrap();
    assert!(told.detail.contains("people may reach the host"), "{told:?}");
}

fn a_package_that_fails_leaves_nothing_behind() {
    let mut stage = Stage::new();
    let before = world();
    let (_, result) = stage.apply(INSTALL, &json!({ "name": "nx-broken" }));
    let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("dpkg") && !detail.contains("secret"), "{detail}");
    assert_eq!(world_but_for_residue(&before), before);

    by_hand("install nx-stubborn");
    let before = world();
    let (_, result) = stage.apply(REMOVE, &json!({ "name": "nx-stubborn" }));
    assert!(matches!(result, JobResult::Failed { .. }), "{result:?}");
    assert_eq!(world(), before);
    sh("rm /var/lib/dpkg/info/nx-stubborn.prerm");

    // Somebody else's half-done work is for somebody else.
    sh("apt-get -q -y install nx-broken || true");
    stage.refused(INSTALL, &json!({ "name": "nx-lib" }), "database_complete", "nx-broken");
}

/// A source that has another package than its list says: what dpkg installs is what is in the file.
fn what_is_not_what_its_source_says_is_found_out() {
    let mut stage = Stage::new();
    let (_, result) = stage.apply(INSTALL, &json!({ "name": "nx-liar" }));
    let JobResult::Unknown { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("nx-hidden (not there, now 1.0)"), "{detail}");
    sh("dpkg --purge nx-hidden");

    // Nor may one put another out of order.
    by_hand("install nx-friend");
    let before = world();
    let (_, result) = stage.apply(INSTALL, &json!({ "name": "nx-breaker" }));
    println!("{result:?}");
    assert!(matches!(result, JobResult::Failed { .. } | JobResult::Unknown { .. }), "{result:?}");
    assert_eq!(world(), before);
}

fn what_cannot_be_fetched_is_not_begun() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0");
    for (gone, order) in [
        ("nx-app_2.0", stage.rig.apply_order(INSTALL, &app("2.0"))),
        ("nx-app_1.0", stage.rig.apply_order(INSTALL, &app("2.0"))),
        ("nx-app_1.0", stage.rig.apply_order(REMOVE, &json!({ "name": "nx-app" }))),
    ] {
        publish(APPS);
        // The list says that it is there.
        fs::remove_file(file(gone)).unwrap();
        let before = world();
        let job = stage.job(order);
        let mut runner = stage.rig.start();
        let result = stage.rig.run(&mut runner, &job);
        assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
        let JobResult::Refused { detail, .. } = &result else { panic!("{result:?}") };
        assert!(detail.contains("nothing was changed") && detail.contains("E: "), "{detail}");
        assert!(runner.journal().job(&job.id).unwrap().intent.is_none());
        assert_eq!(world(), before);
    }
    // Nor what is not what its list says.
    publish(APPS);
    let order = stage.rig.apply_order(INSTALL, &app("2.0"));
    let job = stage.job(order);
    fs::OpenOptions::new().append(true).open(file("nx-app_1.0")).unwrap().set_len(100).unwrap();
    let result = stage.rig.run(&mut stage.rig.start(), &job);
    assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
    fs::remove_file(file("nx-app_1.0")).unwrap();
}

fn the_way_back_outlives_its_source() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0");
    fs::write("/etc/nx-app.conf", "mine\n").unwrap();
    let before = world();
    for (operation, parameters) in [(INSTALL, app("2.0")), (REMOVE, json!({ "name": "nx-app" }))] {
        publish(APPS);
        let id = stage.done(operation, &parameters);
        assert_ne!(world(), before);
        publish(&["nx-app_2.0"]);
        let result = stage.undo(operation, &parameters, id);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        let mut after = world();
        after.remove("nx-app.conf.dpkg-dist");
        assert_eq!(after, before);
    }
    let kept =
        sh("find /var/lib/nexplane-agent/packages -name '*.deb' -printf '%f %m %u\\n' | uniq");
    assert_eq!(kept, "nx-app_1.0.deb 600 root\n");
    assert_eq!(sh("ls -d /var/cache/apt/nexplane-* 2>/dev/null || true"), "");
}

fn without_a_way_back_it_is_refused_unless_that_is_wanted() {
    let mut stage = Stage::new();
    by_hand("install nx-app=1.0");
    publish(&["nx-app_2.0"]);
    stage.refused(INSTALL, &app("2.0"), "way_back", "nx-app 1.0");
    stage.refused(REMOVE, &json!({ "name": "nx-app" }), "way_back", "nx-app 1.0");
    let knowing = json!({ "name": "nx-app", "version": "2.0", "require_way_back": false });
    let before = stage.rig.apply_order(INSTALL, &knowing);
    let id = stage.done(INSTALL, &knowing);
    let result = stage.undo(INSTALL, &knowing, id);
    let JobResult::Refused { code: RefusalCode::CheckFailed, detail, .. } = &result else {
        panic!("{result:?}");
    };
    assert!(detail.contains("1.0"), "{detail}");
    assert!(state("nx-app").unwrap().starts_with("ii  2.0"), "it is left as it was");
    drop(before);
}

fn what_is_done_and_undone_is_what_was_planned() {
    let mut stage = Stage::new();
    publish(&["nx-app_1.0"]);
    let parameters = json!({ "name": "nx-app" });
    let order = stage.rig.apply_order(INSTALL, &parameters);
    publish(APPS);
    let job = stage.job(order);
    let result = stage.rig.run(&mut stage.rig.start(), &job);
    assert_eq!(refusal(&result), RefusalCode::Drift, "{result:?}");
    assert_eq!(state("nx-app"), None);

    // Undone though the sources offer something else by now.
    publish(&["nx-app_1.0"]);
    let id = stage.done(INSTALL, &parameters);
    publish(APPS);
    let result = stage.undo(INSTALL, &parameters, id);
    assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
    assert!(state("nx-app").unwrap().starts_with("rc"), "its configuration stays");
    assert_eq!(state("nx-lib"), None);

    // What somebody else came to need stays, and so does all the rest.
    let id = stage.done(INSTALL, &parameters);
    by_hand("install nx-friend");
    let before = world();
    let result = stage.undo(INSTALL, &parameters, id);
    let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("nx-friend"), "{detail}");
    assert_eq!(world(), before);
}

/// Another package manager that is at work until it is ended: it stops right before dpkg's turn.
fn other_manager() -> Child {
    let _ = fs::remove_file(HELD);
    let pause = format!("DPkg::Pre-Invoke::=echo held >{HELD}; exec sleep 600");
    let mut other = apt_get(&["-o", &pause, "install", "nx-friend"]);
    let until = Instant::now() + Duration::from_secs(60);
    while !Path::new(HELD).exists() {
        assert!(Instant::now() < until && other.try_wait().unwrap().is_none(), "it never began");
        std::thread::sleep(Duration::from_millis(50));
    }
    other
}

/// apt by hand, in a process group of its own.
fn apt_get(words: &[&str]) -> Child {
    Command::new("/usr/bin/apt-get")
        .args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Ends it with all that it started.
fn kill(mut manager: Child) {
    let group = rustix::process::Pid::from_child(&manager);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    manager.wait().unwrap();
}

fn another_package_manager_is_waited_for_but_not_for_ever() {
    let mut stage = Stage::new();
    let parameters = json!({ "name": "nx-app" });
    let before = world();
    let other = other_manager();
    let begin = Instant::now();
    let (_, result) = stage.apply(INSTALL, &parameters);
    let JobResult::Refused { code: RefusalCode::CheckFailed, detail, .. } = &result else {
        panic!("{result:?}");
    };
    assert!(detail.contains("another package manager is at work"), "{detail}");
    assert!((55..90).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(world(), before);
    let ender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(3));
        kill(other);
    });
    stage.done(INSTALL, &parameters);
    ender.join().unwrap();
}

/// An installation by hand, ended with all that it started as soon as dpkg says that.
fn killed_when(package: &str, status: &str) {
    let mut child = apt_get(&["install", package]);
    let until = Instant::now() + Duration::from_secs(60);
    let query =
        format!("dpkg-query -W -f '${{db:Status-Status}} ${{db:Status-Eflag}}' {package} || true");
    while sh(&query) != status {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it was too quick");
    }
    kill(child);
}

fn what_was_killed_in_the_middle_is_settled_at_the_next_start() {
    for (package, status) in
        [("nx-slow", "half-configured ok"), ("nx-large", "half-installed reinstreq")]
    {
        for is_late in [false, true] {
            let mut stage = Stage::new();
            publish(&["nx-large_1.0"]);
            let parameters = json!({ "name": package });
            let before = world();
            let order = stage.rig.apply_order(INSTALL, &parameters);
            let job = stage.job(order);
            stage.rig.run(&mut stage.rig.start(), &job);
            // Back to where only the intent was in the journal.
            sh(&format!("apt-get -q -y purge {package}"));
            let journal = fs::read(stage.rig.journal_path()).unwrap();
            let lines: Vec<&[u8]> = journal.split_inclusive(|byte| *byte == b'\n').collect();
            let intent = lines
                .iter()
                .position(|line| String::from_utf8_lossy(line).contains(r#""record":"intent""#));
            fs::write(stage.rig.journal_path(), lines[..=intent.unwrap()].concat()).unwrap();
            killed_when(package, status);
            assert!(!state(package).unwrap().starts_with("ii"));

            let envelope = stage.rig.sign(&job);
            if is_late {
                stage.rig.now = stage.rig.now.plus_seconds(3600);
            }
            let mut runner = stage.rig.start();
            runner.recover().unwrap();
            let result = stage.rig.deliver(&mut runner, &envelope).unwrap().result;
            println!("{package} {status}, late {is_late}: {result:?}");
            match result {
                JobResult::Applied { changed: true, .. } => {
                    assert_eq!(state(package).unwrap(), "ii  1.0 manual");
                }
                JobResult::Failed { .. } if is_late => assert_eq!(world(), before),
                other => panic!("{package} {status}: {other:?}"),
            }
            assert_eq!(sh("dpkg --audit; ls /var/lib/dpkg/updates"), "");
        }
    }
}
