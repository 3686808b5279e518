//! Services on a real systemd: what is switched, what comes back, and what is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_agent::host::LinuxHost;
use nexplane_agent::operation::{self, Bound};
use nexplane_core::job::JobResult;
use serde_json::json;

use super::{assert_same, configuration, put, sh, within};
use crate::rig::{Rig, refusal};

const ENABLE: &str = "host.enable_service";
const DISABLE: &str = "host.disable_service";
const INSTALL: &str = "[Install]\nWantedBy=multi-user.target\n";
const SLEEP: &str = "ExecStart=/bin/sleep infinity\n";

fn host() -> LinuxHost {
    LinuxHost::open("/".as_ref(), &[]).unwrap()
}

fn bound(operation: &str, unit: &str) -> Box<dyn Bound> {
    operation::find(operation).unwrap().bind(&json!({ "unit": unit })).unwrap()
}

/// A service with these lines, and what installs it.
fn service(unit: &str, section: &str, lines: &str) {
    put(
        &format!("/etc/systemd/system/{unit}"),
        &format!("[Unit]\n{section}[Service]\n{lines}{INSTALL}"),
    );
    sh("systemctl daemon-reload");
}

/// Its two switches, as `systemctl` has them.
fn switches(unit: &str) -> String {
    sh(&format!("systemctl is-enabled {unit} || true; systemctl is-active {unit} || true"))
}

/// The checks that say no, and everything that they all say.
fn checks(operation: &str, unit: &str) -> (Vec<String>, String) {
    let checks = bound(operation, unit).validate(&host());
    let failed = checks.iter().filter(|check| !check.ok).map(|check| check.name.clone()).collect();
    let said: Vec<&str> = checks.iter().map(|check| check.detail.as_str()).collect();
    (failed, said.join("; "))
}

#[test]
fn real_both_switches_come_back_from_wherever_they_were() {
    within("real::service::real_both_switches_come_back_from_wherever_they_were", || {
        service("plain.service", "", SLEEP);
        service("many@.service", "", SLEEP);
        put("/etc/systemd/system/tick.timer", &format!("[Timer]\nOnCalendar=yearly\n{INSTALL}"));
        put("/etc/systemd/system/tick.service", &format!("[Service]\n{SLEEP}"));
        sh("systemctl daemon-reload");
        let host = host();
        for unit in ["plain.service", "many@a.service", "many@b-c.service", "tick.timer"] {
            for (enabled, active) in
                [("enable", "start"), ("enable", "stop"), ("disable", "start"), ("disable", "stop")]
            {
                sh(&format!("systemctl -q {enabled} {unit}; systemctl {active} {unit}"));
                let (was, kept) = (switches(unit), configuration());
                for (operation, there) in
                    [(ENABLE, "enabled\nactive\n"), (DISABLE, "disabled\ninactive\n")]
                {
                    let bound = bound(operation, unit);
                    let before = bound.snapshot(&host).unwrap();
                    assert_eq!(bound.verify(&host).unwrap().0, was == there, "{unit} {was}");
                    bound.apply(&host, &before).unwrap();
                    assert_eq!(switches(unit), there, "{operation} {unit}");
                    assert!(bound.verify(&host).unwrap().0);
                    bound.revert(&host, &before).unwrap();
                    bound.revert(&host, &before).unwrap();
                    assert_eq!(switches(unit), was, "{operation} {unit}");
                    assert_same(unit, &kept, &configuration());
                }
            }
        }
        // Other instances of a template stay as they are.
        assert_eq!(switches("many@x.service"), "disabled\ninactive\n");
    });
}

#[test]
fn real_what_cannot_be_switched_is_said_before_and_refused_at_the_effect() {
    let test =
        "real::service::real_what_cannot_be_switched_is_said_before_and_refused_at_the_effect";
    within(test, || {
        service("broken.service", "", "ExecStart=relative/path\n");
        service("once.service", "", "Type=oneshot\nExecStart=/bin/true\n");
        service("base.service", "", SLEEP);
        service("upper.service", "Requires=base.service\n", SLEEP);
        service("rival.service", "Conflicts=base.service\n", SLEEP);
        service("real.service", "", SLEEP);
        put("/etc/systemd/system/fixed.service", &format!("[Service]\n{SLEEP}"));
        let also = format!("[Service]\n{SLEEP}{INSTALL}Also=base.service\nAlias=other.service\n");
        put("/etc/systemd/system/pair.service", &also);
        sh("ln -s /dev/null /etc/systemd/system/masked.service; ln -s real.service \
            /etc/systemd/system/second.service; systemctl daemon-reload; \
            systemctl -q enable --now base.service upper.service");
        let kept = configuration();
        let no = |operation: &str, unit: &str, check: &str, why: &str| {
            let (failed, said) = checks(operation, unit);
            assert!(failed.contains(&check.to_owned()), "{operation} {unit}: {said}");
            assert!(said.contains(why), "{operation} {unit}: {said}");
            // Nobody who comes past the checks gets further.
            let bound = bound(operation, unit);
            let was = switches(unit);
            if let Ok(before) = bound.snapshot(&host()) {
                let error = bound.apply(&host(), &before).unwrap_err().sentence();
                assert!(error.contains(why), "{operation} {unit}: {error}");
            }
            assert_eq!(switches(unit), was, "{operation} {unit}");
        };
        for operation in [ENABLE, DISABLE] {
            no(operation, "nobody-has.service", "unit_switchable", "there is no local unit");
            no(operation, "nobody@x.service", "unit_switchable", "there is no local unit");
            no(operation, "masked.service", "unit_switchable", "it is masked");
            no(operation, "fixed.service", "unit_switchable", "it is static");
            no(operation, "broken.service", "unit_switchable", "bad-setting");
            no(operation, "second.service", "unit_allowed", "another name of real.service");
            no(operation, "dbus.service", "unit_allowed", "talks to the host through it");
            no(operation, "dbus.socket", "unit_allowed", "talks to the host through it");
            no(operation, "systemd-journald.service", "unit_allowed", "part of systemd");
            no(operation, "systemd-logind.service", "unit_allowed", "part of systemd");
            no(operation, "networking.service", "unit_allowed", "cut off");
            no(operation, "nexplane-agent.service", "unit_allowed", "it is the agent");
            // Under whatever name the agent's unit is known: this test is one.
            let own = bound(operation, "nexplane-inside.service");
            let said: Vec<_> = own.validate(&host());
            assert!(said.iter().any(|c| !c.ok && c.detail.contains("agent itself runs in it")));
        }
        no(ENABLE, "once.service", "nothing_else", "cannot be kept running");
        no(ENABLE, "rival.service", "nothing_else", "would stop base.service");
        service("wg-upper.service", "Requires=base.service\n", SLEEP);
        sh("systemctl start wg-upper.service");
        no(DISABLE, "base.service", "nothing_else", "would stop wg-upper.service");
        sh("systemctl stop wg-upper.service; rm /etc/systemd/system/wg-upper.service; \
            systemctl daemon-reload");
        no(ENABLE, "pair.service", "nothing_else", "base.service is enabled with it");
        assert_same("refusing", &kept, &configuration());

        for bad in
            ["nginx", "a b.service", "multi-user.target", "-.mount", "x@.service", "../x.service"]
        {
            let entry = operation::find(ENABLE).unwrap();
            assert!(entry.bind(&json!({ "unit": bad })).is_err(), "{bad}");
        }

        // Allowed, and said.
        let (failed, said) = checks(DISABLE, "ssh.service");
        assert!(failed.is_empty() && said.contains("people sign in through it"), "{said}");
        let (_, said) = checks(ENABLE, "ssh.service");
        assert!(!said.contains("people sign in"), "{said}");
        put("/etc/systemd/system/rung.service", &format!("[Service]\n{SLEEP}{INSTALL}"));
        put("/etc/systemd/system/rung.socket", "[Socket]\nListenStream=/run/rung\n");
        sh("systemctl daemon-reload; systemctl start rung.socket; systemctl start rung.service");
        let (failed, said) = checks(DISABLE, "rung.service");
        assert!(failed.is_empty() && said.contains("rung.socket can start"), "{said}");
        // The partner goes and comes with it.
        sh("systemctl stop upper.service; systemctl -q enable pair.service");
        let kept = configuration();
        let pair = bound(DISABLE, "pair.service");
        let (failed, said) = checks(DISABLE, "pair.service");
        assert!(failed.is_empty() && said.contains("base.service starts with the host"), "{said}");
        let before = pair.snapshot(&host()).unwrap();
        pair.apply(&host(), &before).unwrap();
        pair.revert(&host(), &before).unwrap();
        assert_same("pair.service", &kept, &configuration());
    });
}

/// Whether each of them runs.
fn active(units: &str) -> String {
    sh(&format!("systemctl is-active {units} || true"))
}

#[test]
fn real_what_stops_or_starts_with_a_service_comes_and_goes_with_it() {
    let test = "real::service::real_what_stops_or_starts_with_a_service_comes_and_goes_with_it";
    within(test, || {
        // base <- upper <- top; idle could run, and does not.
        service("base.service", "", SLEEP);
        service("upper.service", "BindsTo=base.service\nAfter=base.service\n", SLEEP);
        service("top.service", "Requires=upper.service\nAfter=upper.service\n", SLEEP);
        service("idle.service", "Requires=base.service\n", SLEEP);
        // front -> part, used, a target; another needs used as well.
        service("part.service", "PartOf=front.service\n", SLEEP);
        service("used.service", "", SLEEP);
        service("other.service", "Requires=used.service\nAfter=used.service\n", SLEEP);
        put("/etc/systemd/system/some.target", "[Unit]\nDescription=some\n");
        let section = "Wants=part.service some.target\nRequires=used.service\nAfter=used.service\n";
        service("front.service", section, SLEEP);
        sh("systemctl -q enable --now base.service; systemctl start top.service");
        let (host, kept) = (host(), configuration());

        let there = "base.service upper.service top.service idle.service";
        let was = active(there);
        assert_eq!(was, "active\nactive\nactive\ninactive\n");
        let stop = bound(DISABLE, "base.service");
        let (failed, said) = checks(DISABLE, "base.service");
        assert!(failed.is_empty() && said.contains("top.service, upper.service stops"), "{said}");
        let before = stop.snapshot(&host).unwrap();
        let diff = format!("{:?}", stop.diff(&host, "h", &before).unwrap());
        assert!(diff.contains("top.service") && !diff.contains("idle.service"), "{diff}");
        stop.apply(&host, &before).unwrap();
        assert_eq!(active(there), "inactive\n".repeat(4));
        for _ in 0..2 {
            stop.revert(&host, &before).unwrap();
            assert_eq!(active(there), was);
            assert!(stop.snapshot(&host).unwrap() == before);
        }

        let there = "front.service part.service used.service some.target";
        let was = active(there);
        assert_eq!(was, "inactive\n".repeat(4));
        let start = bound(ENABLE, "front.service");
        let (failed, said) = checks(ENABLE, "front.service");
        assert!(failed.is_empty(), "{said}");
        assert!(said.contains("part.service, used.service is started with it"), "{said}");
        assert!(said.contains("some.target is started with it, and stays"), "{said}");
        let before = start.snapshot(&host).unwrap();
        start.apply(&host, &before).unwrap();
        assert_eq!(active(there), "active\n".repeat(4));
        assert!(start.verify(&host).unwrap().0);
        for _ in 0..2 {
            // part.service is a part of it, and stops with it.
            start.revert(&host, &before).unwrap();
            assert_eq!(active(there), "inactive\ninactive\ninactive\nactive\n");
            assert!(start.reread(&host, &before).unwrap().fingerprint == before.fingerprint);
        }
        assert_same("there and back", &kept, &configuration());

        // As orders; somebody needs what came along by the time it is undone.
        let rig = Rig::new(Arc::new(host));
        let mut runner = rig.start();
        let front = json!({ "unit": "front.service" });
        let job = rig.job(1, rig.apply_order(ENABLE, &front));
        let result = rig.run(&mut runner, &job);
        assert!(matches!(result, JobResult::Applied { .. }), "{result:?}");
        sh("systemctl start other.service");
        let undo = rig.job(2, rig.revert_order(ENABLE, &front, job.id));
        let result = rig.run(&mut runner, &undo);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert_eq!(active("front.service part.service"), "inactive\n".repeat(2));
        assert_eq!(active("used.service other.service"), "active\n".repeat(2));
        assert_same("undone", &kept, &configuration());
    });
}

/// Runs an order and gives its answer's words.
fn ordered(host: LinuxHost, operation: &str, unit: &str) -> JobResult {
    let rig = Rig::new(Arc::new(host));
    let job = rig.job(1, rig.apply_order(operation, &json!({ "unit": unit })));
    rig.run(&mut rig.start(), &job)
}

#[test]
fn real_a_service_that_does_not_come_up_is_put_back_with_the_reason() {
    let test = "real::service::real_a_service_that_does_not_come_up_is_put_back_with_the_reason";
    within(test, || {
        for (unit, section, lines, why) in [
            ("exits.service", "", "ExecStart=/bin/sh -c 'exit 3'\n", "ended with status 3"),
            ("killed.service", "", "ExecStart=/bin/sh -c 'kill -9 $$$$'\n", "killed by signal 9"),
            ("absent.service", "", "ExecStart=/no/such/program\n", "ended with status 203"),
            (
                "silent.service",
                "",
                "Type=notify\nTimeoutStartSec=2\nExecStart=/bin/sleep infinity\n",
                "result 'timeout'",
            ),
            (
                "again.service",
                "",
                "Restart=always\nRestartSec=100ms\nExecStart=/bin/sh -c 'sleep 0.2; exit 4'\n",
                "is started again by systemd",
            ),
            (
                "waiting.service",
                "",
                "Restart=always\nRestartSec=30\nExecStart=/bin/sh -c 'exit 5'\n",
                "ended with status 5",
            ),
            ("unmet.service", "ConditionPathExists=/no/such\n", SLEEP, "conditions is not met"),
            (
                "needy.service",
                "Requires=silent.service\nAfter=silent.service\n",
                SLEEP,
                "dependency",
            ),
        ] {
            service(unit, section, lines);
            let kept = configuration();
            let result = ordered(host(), ENABLE, unit);
            let JobResult::Failed { detail } = &result else { panic!("{unit}: {result:?}") };
            assert!(detail.contains(why) && detail.contains(unit), "{unit}: {detail}");
            let now = switches(unit);
            assert!(
                ["disabled\ninactive\n", "disabled\nfailed\n"].contains(&now.as_str()),
                "{now}"
            );
            assert_same(unit, &kept, &configuration());
        }
    });
}

#[test]
fn real_a_service_that_does_not_stop_is_killed_by_systemd_or_reported_as_unknown() {
    let test = "real::service::real_a_service_that_does_not_stop_is_killed_by_systemd_or_reported_as_unknown";
    within(test, || {
        let stubborn = "ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n";
        service("slow.service", "", &format!("TimeoutStopSec=2\n{stubborn}"));
        service("never.service", "", &format!("TimeoutStopSec=infinity\n{stubborn}"));
        sh("systemctl -q enable --now slow.service never.service");
        let result = ordered(host(), DISABLE, "slow.service");
        assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
        assert_eq!(switches("slow.service"), "disabled\nfailed\n");

        let begun = Instant::now();
        let hasty = host().with_patience(Duration::from_secs(2));
        let result = ordered(hasty, DISABLE, "never.service");
        let JobResult::Unknown { detail } = &result else { panic!("{result:?}") };
        assert!(detail.contains("did not stop within 2 seconds, and still tries"), "{detail}");
        assert!(detail.contains("about to stop"), "{detail}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let (failed, said) = checks(DISABLE, "never.service");
        assert!(!failed.is_empty() && said.contains("about to stop"), "{said}");
        sh("systemctl kill --signal=KILL never.service");
    });
}

#[test]
fn real_without_a_bus_nothing_is_switched_and_it_is_said() {
    within("real::service::real_without_a_bus_nothing_is_switched_and_it_is_said", || {
        let rig = Rig::new(Arc::new(host()));
        let cron = json!({ "unit": "cron.service" });
        let order = rig.apply_order(DISABLE, &cron);
        let (was, kept) = (switches("cron.service"), configuration());

        // A bus that is there and does not answer.
        sh("kill -STOP $(pidof dbus-daemon)");
        let begun = Instant::now();
        let (failed, said) = checks(DISABLE, "cron.service");
        assert!(!failed.is_empty() && said.contains("no answer within 10 seconds"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        sh("kill -CONT $(pidof dbus-daemon)");

        // One that nobody listens at, and none.
        sh("systemctl stop dbus.socket dbus.service");
        let result = rig.run(&mut rig.start(), &rig.job(1, order.clone()));
        refusal(&result);
        sh("rm -f /run/dbus/system_bus_socket");
        let (failed, said) = checks(DISABLE, "cron.service");
        assert!(!failed.is_empty() && said.contains("there is no system bus"), "{said}");
        // A link in its place is not followed.
        sh("ln -s /run/elsewhere /run/dbus/system_bus_socket");
        let (failed, said) = checks(DISABLE, "cron.service");
        assert!(!failed.is_empty() && said.contains("symbolic link"), "{said}");
        sh("rm /run/dbus/system_bus_socket; systemctl start dbus.socket dbus.service");
        assert_eq!(switches("cron.service"), was);
        assert_same("without a bus", &kept, &configuration());

        let result = rig.run(&mut rig.start(), &rig.job(2, order));
        assert!(matches!(result, JobResult::Applied { .. }), "{result:?}");
        assert_eq!(switches("cron.service"), "disabled\ninactive\n");
    });
}
