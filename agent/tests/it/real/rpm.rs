//! Packages of rpm, by a real dnf and a real zypper, on a Debian otherwise: with rpm's own database and a
//! [repository](super::rpms) of the tests' own.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nexplane_agent::operation;
use nexplane_core::job::{JobResult, RefusalCode};
use serde_json::{Value, json};

use super::orders::Orders;
use super::rpms::{MOST, WAIT, file, go_away, publish, serve};
use super::{sh, within_kin};
use crate::disposable::Kin;
use crate::rig::refusal;

const INSTALL: &str = "host.install_package";
const REMOVE: &str = "host.remove_package";
const NOTE: &str = "/var/lib/nexplane-agent/packages/interrupted.json";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Dnf,
    Zypper,
}

impl By {
    fn release(self) -> &'static str {
        match self {
            Self::Dnf => "ID=\"rhel\"\nID_LIKE=\"fedora\"\n",
            Self::Zypper => "ID=\"sles\"\nID_LIKE=\"suse\"\n",
        }
    }

    fn refresh(self) {
        sh(match self {
            Self::Dnf => "dnf -q makecache --refresh",
            Self::Zypper => "zypper -n -q refresh -f",
        });
    }

    fn forget_sources(self) {
        sh(match self {
            Self::Dnf => "dnf -q clean all",
            Self::Zypper => "zypper -n clean --all",
        });
    }

    /// By hand; each as `name` or `name=epoch:version-release`.
    fn install(self, words: &str) {
        let command = match self {
            Self::Dnf => {
                let words = words.replace('=', "-");
                format!("dnf -q -y --setopt=install_weak_deps=False install {words}")
            }
            Self::Zypper => {
                format!("zypper -n --no-refresh install --no-recommends --oldpackage {words}")
            }
        };
        sh(&command);
    }

    fn automatic(self) -> String {
        match self {
            Self::Dnf => {
                sh("dnf -C -q --disablerepo='*' repoquery --installed --qf '%{name} %{reason}' \
                             | sed -n 's/ dependency$//p'")
            }
            Self::Zypper => sh("cat /var/lib/zypp/AutoInstalled 2>/dev/null || true"),
        }
    }

    fn make_automatic(self, name: &str) {
        match self {
            Self::Dnf => sh(&format!("dnf -q mark remove {name}")),
            Self::Zypper => sh(&format!("echo {name} >>/var/lib/zypp/AutoInstalled")),
        };
    }

    fn lock(self, name: &str) {
        sh(&match self {
            Self::Dnf => format!("dnf -q versionlock add {name}"),
            Self::Zypper => format!("zypper -n addlock {name}"),
        });
    }

    fn unlock(self) {
        sh(match self {
            Self::Dnf => "dnf -q versionlock clear",
            Self::Zypper => "rm -f /etc/zypp/locks",
        });
    }

    /// What its process is called.
    fn process(self) -> &'static str {
        match self {
            Self::Dnf => "dnf-3",
            Self::Zypper => "zypper",
        }
    }
}

/// The host without any package of the repository but the shell.
struct Stage {
    by: By,
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
    fn new(by: By) -> Self {
        let _ = fs::remove_file("/etc/os-release");
        fs::write("/etc/os-release", by.release()).unwrap();
        let _ = fs::remove_file(WAIT);
        by.unlock();
        sh("installed=$(rpm -qa | grep -v nx-shell || true)
            [ -z \"$installed\" ] || rpm -e --noscripts --nodeps $installed 2>/dev/null
            rm -rf /etc/nx-* /var/lib/nexplane-agent/packages /var/lib/zypp/AutoInstalled");
        publish(MOST);
        by.refresh();
        if !sh("rpm -qa").contains("nx-shell") {
            by.install("nx-shell");
        }
        Self { by, orders: Orders::new() }
    }

    fn publish(&self, without: &[&str]) {
        publish(without);
        self.by.refresh();
    }

    /// Does it and undoes it; between the two it is as `then` says.
    fn there_and_back(&mut self, operation: &str, parameters: &Value, then: impl Fn()) {
        let before = self.world();
        let id = self.done(operation, parameters);
        then();
        assert_ne!(self.world(), before);
        let result = self.undo(operation, parameters, id);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        let mut after = self.world();
        // rpm lays the new one beside what somebody changed, for its owner to compare.
        after.remove("nx-app.conf.rpmnew");
        assert_eq!(after, before, "{operation} {parameters}");
    }

    /// The plan says why not in this check, and the order is refused when there can be one.
    fn refused(&mut self, operation: &str, parameters: &Value, check: &str, why: &str) {
        let before = self.world();
        let (checks, _) = self.plan(operation, parameters);
        let failed = checks.iter().find(|found| !found.ok).expect("a check fails");
        assert_eq!(failed.name, check, "{failed:?}");
        assert!(failed.detail.contains(why), "{failed:?}");
        let bound = operation::find(operation).unwrap().bind(parameters).unwrap();
        if let Ok(state) = bound.snapshot(self.rig.host.as_ref()) {
            // Not even without the checks.
            if !["way_back", "package_known"].contains(&check) {
                bound.apply(self.rig.host.as_ref(), &state).unwrap_err();
            }
        }
        assert_eq!(self.world(), before);
    }

    /// Every package with its version and mark, and the configuration files of this test's packages.
    fn world(&self) -> BTreeMap<String, String> {
        let automatic = self.by.automatic();
        let listed =
            sh("rpm -qa --qf '%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}.%{ARCH}\\n'");
        let mut world = BTreeMap::new();
        for (name, version) in listed.lines().filter_map(|line| line.split_once(' ')) {
            let mark = if automatic.lines().any(|line| line == name) { "auto" } else { "manual" };
            let more = world.insert(name.to_owned(), format!("{version} {mark}"));
            assert_eq!(more, None, "{name} is there once");
        }
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
}

fn version(name: &str) -> String {
    sh(&format!("rpm -q --qf '%{{VERSION}}' {name} || true"))
}

fn is_there(name: &str) -> bool {
    !version(name).contains("not installed")
}

fn conf(name: &str) -> String {
    fs::read_to_string(format!("/etc/{name}")).unwrap_or_default()
}

fn app(version: &str) -> Value {
    json!({ "name": "nx-app", "version": version })
}

fn here(by: By, test: &str, inside: impl FnOnce(By)) {
    let kin = match by {
        By::Dnf => Kin::Dnf,
        By::Zypper => Kin::Zypper,
    };
    within_kin(kin, &format!("real::rpm::{test}"), || inside(by));
}

macro_rules! both {
    ($dnf:ident, $zypper:ident, $inside:ident) => {
        #[test]
        fn $dnf() {
            here(By::Dnf, stringify!($dnf), $inside);
        }

        #[test]
        fn $zypper() {
            here(By::Zypper, stringify!($zypper), $inside);
        }
    };
}

both!(
    real_dnf_packages_come_and_go_and_come_back_as_they_were,
    real_zypper_packages_come_and_go_and_come_back_as_they_were,
    packages_come_and_go_and_come_back_as_they_were
);
both!(
    real_dnf_packages_go_down_and_make_room_and_come_back,
    real_zypper_packages_go_down_and_make_room_and_come_back,
    packages_go_down_and_make_room_and_come_back
);
both!(
    real_dnf_what_was_kept_outlives_its_source,
    real_zypper_what_was_kept_outlives_its_source,
    what_was_kept_outlives_its_source
);
both!(
    real_dnf_what_somebody_configured_comes_back,
    real_zypper_what_somebody_configured_comes_back,
    what_somebody_configured_comes_back
);
both!(
    real_dnf_refuses_what_it_cannot_do_in_full,
    real_zypper_refuses_what_it_cannot_do_in_full,
    what_cannot_be_done_in_full_is_refused
);
both!(
    real_dnf_packages_that_fail_or_have_no_way_back_leave_the_host_as_it_was,
    real_zypper_packages_that_fail_or_have_no_way_back_leave_the_host_as_it_was,
    packages_that_fail_or_have_no_way_back_leave_the_host_as_it_was
);
both!(
    real_dnf_at_work_is_waited_for_and_what_is_killed_is_settled,
    real_zypper_at_work_is_waited_for_and_what_is_killed_is_settled,
    another_one_is_waited_for_and_what_is_killed_is_settled
);

fn packages_come_and_go_and_come_back_as_they_were(by: By) {
    let mut stage = Stage::new(by);
    let parameters = json!({ "name": "nx-app" });
    let (checks, diff) = stage.plan(INSTALL, &parameters);
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let line = |field: &str| diff.iter().find(|line| line.field == field).unwrap();
    assert_eq!(line("version").after, json!("1:2.0-1"));
    assert_eq!(line("other_nx-lib").after, json!("1.1-1"));
    assert!(!diff.iter().any(|line| line.field == "other_nx-friend"), "it is only recommended");
    stage.there_and_back(INSTALL, &parameters, || {
        assert_eq!((version("nx-app"), version("nx-lib")), ("2.0".to_owned(), "1.1".to_owned()));
        let automatic = by.automatic();
        assert!(automatic.lines().any(|line| line == "nx-lib"), "{automatic}");
        assert!(!automatic.lines().any(|line| line == "nx-app"), "{automatic}");
    });
    let alone = json!({ "name": "nx-app", "allow_dependencies": false });
    stage.refused(INSTALL, &alone, "other_packages", "install nx-lib 1.1-1");

    // Up with what it needs, and back.
    by.install("nx-app=0:1.0-1 nx-lib=0:1.0-1");
    by.make_automatic("nx-lib");
    stage.there_and_back(INSTALL, &app("1:2.0-1"), || {
        assert_eq!((version("nx-app"), version("nx-lib")), ("2.0".to_owned(), "1.1".to_owned()));
    });

    assert!(!Path::new(NOTE).exists());
    // Facts are rpm's, though dpkg's database is there as well.
    let facts = operation::collect_facts::collect(stage.rig.host.as_ref()).unwrap();
    let found = facts.packages.iter().find(|package| package.name == "nx-app").unwrap();
    assert_eq!((found.version.as_str(), found.architecture.as_str()), ("1.0-1", "noarch"));
    assert!(!facts.packages.iter().any(|package| package.name == "dpkg"), "rpm's database is read");
}

fn packages_go_down_and_make_room_and_come_back(by: By) {
    let mut stage = Stage::new(by);
    by.install("nx-app=1:2.0-1");
    stage.refused(INSTALL, &app("1.0-1"), "downgrades", "replace nx-app 1:2.0-1 by 1.0-1");
    let down = json!({ "name": "nx-app", "version": "1.0-1", "allow_downgrade": true });
    stage.there_and_back(INSTALL, &down, || assert_eq!(version("nx-app"), "1.0"));

    // What is in the way goes only when that is allowed, and comes back.
    stage.refused(INSTALL, &json!({ "name": "nx-rival" }), "removals", "remove nx-app 1:2.0-1");
    let forced = json!({ "name": "nx-rival", "allow_removals": true });
    stage.there_and_back(INSTALL, &forced, || {
        assert!(is_there("nx-rival") && !is_there("nx-app") && is_there("nx-lib"));
    });

    // What others need stays; what nobody needs is not ours to tidy up.
    stage.refused(REMOVE, &json!({ "name": "nx-lib" }), "other_packages", "remove nx-app 1:2.0-1");
    stage.there_and_back(REMOVE, &json!({ "name": "nx-app" }), || {
        assert!(!is_there("nx-app") && is_there("nx-lib"));
    });
    assert!(!Path::new(NOTE).exists());
}

fn what_somebody_configured_comes_back(by: By) {
    let mut stage = Stage::new(by);
    let change = || {
        sh("for f in app plain; do echo mine >/etc/nx-$f.conf; done
            chmod 640 /etc/nx-plain.conf; chown daemon:mail /etc/nx-plain.conf");
    };
    by.install("nx-app=0:1.0-1 nx-lib=0:1.1-1");
    change();
    stage.there_and_back(INSTALL, &app("1:2.0-1"), || {
        assert_eq!((conf("nx-app.conf"), conf("nx-plain.conf")), ("mine\n".into(), "2.0\n".into()));
        assert_eq!(conf("nx-plain.conf.rpmsave"), "mine\n", "that is how rpm does it");
    });
    sh("rm -f /etc/nx-*.rpm*");
    stage.there_and_back(REMOVE, &json!({ "name": "nx-app" }), || {
        assert_eq!(
            (conf("nx-app.conf"), conf("nx-app.conf.rpmsave")),
            (String::new(), "mine\n".into())
        );
    });
    // Something that was laid there long ago stays what it was.
    fs::write("/etc/nx-app.conf.rpmsave", "older\n").unwrap();
    let purge = json!({ "name": "nx-app", "purge": true });
    stage.there_and_back(REMOVE, &purge, || {
        assert_eq!(sh("ls -d /etc/nx-* 2>/dev/null || true"), "");
    });
    // What nobody changed comes back with the package, and nothing of it is kept.
    sh("rm -f /etc/nx-*.rpm*; rpm -e nx-app 2>/dev/null");
    by.install("nx-app=0:1.0-1");
    let (_, diff) = stage.plan(REMOVE, &json!({ "name": "nx-app" }));
    assert!(!diff.iter().any(|line| line.field.starts_with("file_")), "{diff:?}");
    stage.there_and_back(REMOVE, &json!({ "name": "nx-app" }), || assert!(!is_there("nx-app")));
}

fn what_cannot_be_done_in_full_is_refused(by: By) {
    let mut stage = Stage::new(by);
    by.install("nx-app=0:1.0-1 nx-lib=0:1.0-1 nx-old kernel=0:1.0-1");
    stage.refused(INSTALL, &app("3.0-1"), "package_known", "1:2.0-1");
    stage.refused(INSTALL, &app("2.0-1"), "package_known", "1:2.0-1");
    let nothing = json!({ "name": "nx-nothing" });
    stage.refused(INSTALL, &nothing, "package_known", "no package nx-nothing");
    stage.refused(REMOVE, &nothing, "package_known", "no package nx-nothing");
    stage.refused(INSTALL, &json!({ "name": "nx-lost" }), "transaction", "nx-not-there");
    for operation in [INSTALL, REMOVE] {
        stage.refused(
            operation,
            &json!({ "name": "kernel" }),
            "package_manager",
            "several versions",
        );
    }
    for name in ["rpm", "dnf", "zypper", "glibc"] {
        let (checks, _) = stage.plan(REMOVE, &json!({ "name": name }));
        let kept = checks.iter().find(|check| check.name == "package_allowed").unwrap();
        assert!(!kept.ok, "{kept:?}");
    }

    by.lock("nx-app");
    stage.refused(
        INSTALL,
        &json!({ "name": "nx-rival", "allow_removals": true }),
        match by {
            By::Dnf => "not_held",
            // It says so itself.
            By::Zypper => "transaction",
        },
        "nx-app",
    );
    by.unlock();

    // Of what takes the place of another one, that is told.
    stage.publish(&[]);
    stage.refused(INSTALL, &json!({ "name": "nx-new" }), "removals", "remove nx-old 1.0-1");

    // Without what its sources have, it is said what to do, and they are not asked.
    by.forget_sources();
    let (checks, _) = stage.plan(INSTALL, &json!({ "name": "nx-friend" }));
    let failed = checks.iter().find(|check| !check.ok).unwrap();
    let how = match by {
        By::Dnf => "run 'dnf makecache'",
        By::Zypper => "run 'zypper refresh'",
    };
    assert!(failed.detail.contains(how), "{failed:?}");

    // rpm itself compares versions, as its own tests have them (tests/rpmvercmp.at).
    let manager = stage.rig.host.package_manager().unwrap();
    assert_eq!(
        manager.called(),
        match by {
            By::Dnf => "dnf",
            By::Zypper => "zypper",
        }
    );
    for (one, other, is_before) in [
        ("1.0", "1.0", false),
        ("1.0", "2.0", true),
        ("2.0.1", "2.0.1a", true),
        ("5.5p1", "5.5p10", true),
        ("10xyz", "10.1xyz", true),
        ("xyz10", "xyz10.1", true),
        ("xyz.4", "8", true),
        ("1.0~rc1", "1.0", true),
        ("1.0~rc1", "1.0~rc2", true),
        ("1.0^", "1.0", false),
        ("1.0^git1", "1.01", true),
        ("1.0~rc1^git1", "1.0~rc1", false),
        ("2_0", "2.0", false),
    ] {
        let [one, other] = [one, other].map(|text| format!("{text}-1").parse().unwrap());
        assert_eq!(manager.is_before(&one, &other).unwrap(), is_before, "{one} {other}");
    }
    // What the host says that it is decides, and nothing else.
    fs::write("/etc/os-release", "ID=alpine\n").unwrap();
    let told = stage.rig.host.package_manager().unwrap_err().sentence();
    assert!(told.contains("'alpine'"), "{told}");
}

fn packages_that_fail_or_have_no_way_back_leave_the_host_as_it_was(by: By) {
    let mut stage = Stage::new(by);
    for name in ["nx-broken", "nx-refuses"] {
        let before = stage.world();
        let (_, result) = stage.apply(INSTALL, &json!({ "name": name }));
        let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
        assert!(detail.contains("scriptlet failed") && !detail.contains("secret"), "{detail}");
        assert_eq!(stage.world(), before, "{name}");
    }
    by.install("nx-stubborn");
    let before = stage.world();
    let (_, result) = stage.apply(REMOVE, &json!({ "name": "nx-stubborn" }));
    assert!(matches!(result, JobResult::Failed { .. }), "{result:?}");
    assert_eq!(stage.world(), before);
    sh("rpm -e --noscripts nx-stubborn 2>/dev/null");

    // What cannot be fetched is not begun, be it for the way there or for the way back.
    by.install("nx-app=0:1.0-1 nx-lib=0:1.1-1");
    for (gone, operation, parameters) in [
        ("nx-app-2.0", INSTALL, app("1:2.0-1")),
        ("nx-app-1.0", INSTALL, app("1:2.0-1")),
        ("nx-app-1.0", REMOVE, json!({ "name": "nx-app" })),
    ] {
        stage.publish(MOST);
        sh("rm -rf /var/cache/zypp/packages /var/cache/dnf/*/packages");
        let order = stage.rig.apply_order(operation, &parameters);
        fs::remove_file(file(gone)).unwrap();
        let before = stage.world();
        let job = stage.job(order);
        let mut runner = stage.rig.start();
        let result = stage.rig.run(&mut runner, &job);
        assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
        let JobResult::Refused { detail, .. } = &result else { panic!("{result:?}") };
        assert!(detail.contains("nothing was changed"), "{detail}");
        assert!(runner.journal().job(&job.id).unwrap().intent.is_none());
        assert_eq!(stage.world(), before);
    }
}

fn what_was_kept_outlives_its_source(by: By) {
    let mut stage = Stage::new(by);
    by.install("nx-app=0:1.0-1 nx-lib=0:1.1-1");
    for (operation, parameters) in
        [(INSTALL, app("1:2.0-1")), (REMOVE, json!({ "name": "nx-app" }))]
    {
        stage.publish(MOST);
        let before = stage.world();
        let id = stage.done(operation, &parameters);
        stage.publish(&["nx-new-1.0", "nx-app-1.0"]);
        sh("rm -rf /var/cache/zypp/packages /var/cache/dnf/*/packages");
        go_away();
        let result = stage.undo(operation, &parameters, id);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert_eq!(stage.world(), before);
        serve();
    }
    let kept =
        sh("find /var/lib/nexplane-agent/packages -name '*.rpm' -printf '%f %m %u\\n' | sort -u");
    assert!(kept.contains("nx-app,1.0-1.rpm 600 root\n"), "{kept}");
    assert_eq!(
        sh("ls -d /var/cache/dnf/nexplane-* /var/cache/zypp/nexplane-* 2>/dev/null || true"),
        ""
    );

    // Without a way back it is refused, unless that is wanted.
    sh("rm -rf /var/lib/nexplane-agent/packages");
    stage.publish(&["nx-new-1.0", "nx-app-1.0"]);
    stage.refused(INSTALL, &app("1:2.0-1"), "way_back", "nx-app 1.0-1");
    stage.refused(REMOVE, &json!({ "name": "nx-app" }), "way_back", "nx-app 1.0-1");
    let knowing = json!({ "name": "nx-app", "version": "1:2.0-1", "require_way_back": false });
    let id = stage.done(INSTALL, &knowing);
    let result = stage.undo(INSTALL, &knowing, id);
    assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
    assert_eq!(version("nx-app"), "2.0", "it is left as it was");
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(100);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn another_one_is_waited_for_and_what_is_killed_is_settled(by: By) {
    let mut stage = Stage::new(by);
    let parameters = json!({ "name": "nx-app" });
    let before = stage.world();

    // Somebody installs nx-slow by hand, which does not come to an end.
    let order = stage.rig.apply_order(INSTALL, &parameters);
    fs::write(WAIT, "").unwrap();
    let other = std::thread::spawn(move || by.install("nx-slow"));
    until("nx-slow is being installed", || is_there("nx-slow"));
    let begin = Instant::now();
    let job = stage.job(order);
    let result = stage.rig.run(&mut stage.rig.start(), &job);
    let told = format!("{result:?}");
    assert!(told.contains("another package manager is at work"), "{told}");
    assert!((55..100).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    fs::remove_file(WAIT).unwrap();
    other.join().unwrap();
    sh("rpm -e nx-slow 2>/dev/null");
    assert_eq!(stage.world(), before);

    // The package manager is killed in the middle of the agent's own transaction.
    fs::write(WAIT, "").unwrap();
    let killer = std::thread::spawn(move || {
        until("nx-slow is being installed", || is_there("nx-slow"));
        assert!(Path::new(NOTE).exists());
        let name = by.process();
        sh(&format!("pkill -KILL -x {name}; pkill -KILL -x rpm || true; rm {WAIT}"));
    });
    let (_, result) = stage.apply(INSTALL, &json!({ "name": "nx-slow" }));
    killer.join().unwrap();
    println!("{result:?}");
    assert!(matches!(result, JobResult::Failed { .. }), "{result:?}");
    assert_eq!(stage.world(), before);
    assert!(!Path::new(NOTE).exists());

    // And with it the agent: what it began is brought to an end at its next start.
    let order = stage.rig.apply_order(INSTALL, &json!({ "name": "nx-slow" }));
    let job = stage.job(order);
    stage.rig.run(&mut stage.rig.start(), &job);
    let journal = fs::read(stage.rig.journal_path()).unwrap();
    let lines: Vec<&[u8]> = journal.split_inclusive(|byte| *byte == b'\n').collect();
    let intent = lines
        .iter()
        .rposition(|line| String::from_utf8_lossy(line).contains(r#""record":"intent""#));
    fs::write(stage.rig.journal_path(), lines[..=intent.unwrap()].concat()).unwrap();
    fs::write(NOTE, r#"{"nx-slow":"1.0-1"}"#).unwrap();
    sh("rm -r /usr/share/nx-slow");
    let manager = stage.rig.host.package_manager().unwrap();
    let unsettled = manager.unsettled().unwrap();
    assert!(unsettled.len() == 1 && unsettled[0].contains("nx-slow 1.0-1"), "{unsettled:?}");
    drop(manager);
    let envelope = stage.rig.sign(&job);
    let mut runner = stage.rig.start();
    runner.recover().unwrap();
    let result = stage.rig.deliver(&mut runner, &envelope).unwrap().result;
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    assert!(Path::new("/usr/share/nx-slow/version").exists(), "it was installed once more");
    assert!(!Path::new(NOTE).exists());
}
