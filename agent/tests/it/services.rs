//! What stops or starts with a service is a part of its state.

use nexplane_agent::host::{FakeHost, Host, UnitName};
use nexplane_agent::operation::{self, Bound};
use nexplane_core::job::JobResult;
use serde_json::json;

use crate::rig::Rig;

const ENABLE: &str = "host.enable_service";
const DISABLE: &str = "host.disable_service";

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

fn bound(operation: &str, name: &str) -> Box<dyn Bound> {
    operation::find(operation).unwrap().bind(&json!({ "unit": name })).unwrap()
}

fn runs(host: &FakeHost, name: &str) -> bool {
    host.unit(&unit(name)).unwrap().unwrap().active
}

/// The check of what else is switched: whether it is good, and what it says.
fn nothing_else(host: &FakeHost, operation: &str, name: &str) -> (bool, String) {
    let checks = bound(operation, name).validate(host);
    let check = checks.into_iter().find(|check| check.name == "nothing_else").unwrap();
    (check.ok, check.detail)
}

#[test]
fn what_stops_with_a_service_is_started_again_and_nothing_more() {
    let host = FakeHost::furnished();
    for (name, is_up) in [("late.timer", true), ("later.service", true), ("idle.service", false)] {
        host.put_unit(&unit(name), is_up);
    }
    host.put_need(&unit("late.timer"), &unit("cron.service"));
    host.put_need(&unit("later.service"), &unit("late.timer"));
    host.put_need(&unit("idle.service"), &unit("cron.service"));
    let before = host.units();
    let stop = bound(DISABLE, "cron.service");
    let seen = stop.snapshot(&host).unwrap();
    let lines = stop.diff(&host, "h", &seen).unwrap();
    let fields: Vec<&str> = lines.iter().map(|line| line.field.as_str()).collect();
    assert_eq!(fields, ["enabled", "active", "anacron.timer", "late.timer", "later.service"]);
    stop.apply(&host, &seen).unwrap();
    assert!(["cron.service", "late.timer", "later.service"].iter().all(|name| !runs(&host, name)));
    stop.revert(&host, &seen).unwrap();
    assert_eq!(host.units(), before);
    assert_eq!(stop.snapshot(&host).unwrap(), seen);
}

#[test]
fn what_may_not_be_started_again_is_not_stopped() {
    for stranger in ["wg-quick@wg0.service", "systemd-logind.service", "dbus.service"] {
        let host = FakeHost::furnished();
        host.put_unit(&unit(stranger), true);
        host.put_need(&unit(stranger), &unit("cron.service"));
        let (ok, said) = nothing_else(&host, DISABLE, "cron.service");
        assert!(!ok && said.contains(&format!("would stop {stranger}")), "{said}");
        let stop = bound(DISABLE, "cron.service");
        let seen = stop.snapshot(&host).unwrap();
        let error = stop.apply(&host, &seen).unwrap_err().sentence();
        assert!(error.contains(stranger), "{error}");
        assert!(runs(&host, "cron.service") && runs(&host, stranger));
    }
}

#[test]
fn what_a_start_started_is_stopped_unless_somebody_needs_it_by_then() {
    for (hangs_on_it, needed) in [(false, false), (false, true), (true, false), (true, true)] {
        let (rig, host) = Rig::fake();
        host.put_unit(&unit("other.service"), false);
        host.put_unit(&unit("systemd-journald.service"), false);
        host.put_need(&unit("other.service"), &unit("rsync-log.service"));
        host.put_need(&unit("rsync.service"), &unit("systemd-journald.service"));
        if hangs_on_it {
            // As well: stopping the one stops the other.
            host.put_need(&unit("rsync-log.service"), &unit("rsync.service"));
        }
        let (ok, said) = nothing_else(&host, ENABLE, "rsync.service");
        assert!(ok && said.contains("rsync-log.service is started with it, and an undo"), "{said}");
        assert!(said.contains("systemd-journald.service is started with it, and stays"), "{said}");
        let parameters = json!({ "unit": "rsync.service" });
        let job = rig.job(1, rig.apply_order(ENABLE, &parameters));
        let mut runner = rig.start();
        let result = rig.run(&mut runner, &job);
        assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
        assert!(runs(&host, "rsync-log.service") && runs(&host, "systemd-journald.service"));
        if needed {
            host.set_active(&unit("other.service"), true).unwrap();
        }
        let undo = rig.job(2, rig.revert_order(ENABLE, &parameters, job.id));
        let result = rig.run(&mut runner, &undo);
        if needed && hangs_on_it {
            // Stopping it would stop what somebody else started in between: that is said, and nothing is stopped.
            let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
            assert!(detail.contains("would stop other.service"), "{detail}");
            assert!(runs(&host, "rsync.service") && runs(&host, "other.service"));
            continue;
        }
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert!(!runs(&host, "rsync.service"));
        assert_eq!(runs(&host, "rsync-log.service"), needed);
        assert!(runs(&host, "systemd-journald.service"), "it was said to stay");
    }
}
