//! Packages of a machine in memory: what is promised whatever its sources do meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexplane_agent::host::{FakeHost, Host, HostError, Mode, PackageName, PackageVersion};
use nexplane_agent::operation::{self, Bound};
use nexplane_core::job::{JobResult, Order, RefusalCode};
use serde_json::{Value, json};

use crate::rig::{Rig, path, refusal};

const INSTALL: &str = "host.install_package";
const REMOVE: &str = "host.remove_package";
const INSTALLED: &str = "/var/lib/packages.json";

fn name(text: &str) -> PackageName {
    text.parse().unwrap()
}

fn version(text: &str) -> PackageVersion {
    text.parse().unwrap()
}

fn bound(operation: &str, parameters: &Value) -> Box<dyn Bound> {
    operation::find(operation).unwrap().bind(parameters).unwrap()
}

/// A host that has rsync 3.2.6-4.
fn with_rsync() -> (Rig, Arc<FakeHost>) {
    let (rig, fake) = Rig::fake();
    let installed = json!({
        "rsync": { "version": "3.2.6-4", "is_auto": false, "is_residue": false },
        "libpopt0": { "version": "1.19", "is_auto": true, "is_residue": false },
    });
    fake.put_file(&path(INSTALLED), installed.to_string().as_bytes(), Mode::from_bits(0o644));
    (rig, fake)
}

fn upgrade() -> Value {
    json!({ "name": "rsync", "version": "3.2.7-1" })
}

/// What is there: version, whether it only came along, whether only its configuration is left.
fn there(fake: &FakeHost, package: &str) -> Value {
    let content = fake.read(&path(INSTALLED), 1 << 20).unwrap().unwrap().content;
    serde_json::from_slice::<Value>(&content).unwrap()[package].clone()
}

fn failed(rig: &Rig, operation: &str, parameters: &Value) -> Vec<String> {
    let checks = bound(operation, parameters).validate(rig.host.as_ref());
    checks.into_iter().filter(|check| !check.ok).map(|check| check.name).collect()
}

#[test]
fn undoing_an_installation_removes_and_never_purges() {
    let (rig, fake) = Rig::fake();
    let mut runner = rig.start();
    let parameters = json!({ "name": "rsync" });
    let install = bound(INSTALL, &parameters);
    assert!(install.rollback().contains("not purged"), "{}", install.rollback());
    let before = install.snapshot(fake.as_ref()).unwrap();
    // The second time its configuration is there already, and stays.
    for seq in [1, 3] {
        let job = rig.job(seq, rig.apply_order(INSTALL, &parameters));
        let result = rig.run(&mut runner, &job);
        assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
        let undo = rig.job(seq + 1, rig.revert_order(INSTALL, &parameters, job.id));
        let result = rig.run(&mut runner, &undo);
        assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
        assert_eq!(there(&fake, "rsync")["is_residue"], json!(true));
        assert_eq!(there(&fake, "libpopt0"), Value::Null);
        // Whoever compares with the plan finds the same.
        assert_eq!(install.snapshot(fake.as_ref()).unwrap(), before);
    }
}

#[test]
fn what_somebody_made_of_what_came_along_is_not_undone_with_it() {
    for (field, now, why) in [
        ("version", json!("1.20"), "the change left it 1.19, and somebody made it 1.20 since"),
        ("is_auto", json!(false), "somebody wants it for itself by now"),
    ] {
        let (rig, fake) = Rig::fake();
        let mut runner = rig.start();
        let parameters = json!({ "name": "rsync" });
        let job = rig.job(1, rig.apply_order(INSTALL, &parameters));
        rig.run(&mut runner, &job);
        let view = fake.read(&path(INSTALLED), 1 << 20).unwrap().unwrap();
        let mut installed: Value = serde_json::from_slice(&view.content).unwrap();
        installed["libpopt0"][field] = now;
        let installed = installed.to_string();
        fake.put_file(&path(INSTALLED), installed.as_bytes(), Mode::from_bits(0o644));

        let undo = rig.job(2, rig.revert_order(INSTALL, &parameters, job.id));
        let result = rig.run(&mut runner, &undo);
        assert!(format!("{result:?}").contains(why), "{field}: {result:?}");
        assert_eq!(there(&fake, "rsync")["version"], json!("3.2.7-1"), "{field}");
    }
}

#[test]
fn configuration_that_somebody_left_since_is_not_written_over() {
    let (rig, fake) = with_rsync();
    let mut runner = rig.start();
    let parameters = json!({ "name": "rsync", "purge": true });
    let job = rig.job(1, rig.apply_order(REMOVE, &parameters));
    let result = rig.run(&mut runner, &job);
    let JobResult::Applied { changed: true, after_fingerprint, .. } = result else {
        panic!("{result:?}")
    };
    // Installed again, set up, and removed without that.
    let left = json!({
        "rsync": { "version": null, "is_auto": false, "is_residue": true },
        "libpopt0": { "version": "1.19", "is_auto": true, "is_residue": false },
    });
    fake.put_file(&path(INSTALLED), left.to_string().as_bytes(), Mode::from_bits(0o644));
    let (operation, target) = (REMOVE.to_owned(), "web-1".to_owned());
    let (of, undoes) = (parameters.clone(), Some(job.id));
    let order = Order::Verify { operation, target, parameters: of, prepared: None, undoes };
    let result = rig.run(&mut runner, &rig.job(2, order));
    let JobResult::Verified { fingerprint, .. } = result else { panic!("{result:?}") };
    assert_ne!(fingerprint, after_fingerprint);
    for (seq, current) in [(3, &fingerprint), (4, &after_fingerprint)] {
        let undo = Rig::revert_order_from(current, REMOVE, &parameters, job.id);
        let result = rig.run(&mut runner, &rig.job(seq, undo));
        assert_eq!(refusal(&result), RefusalCode::Drift);
    }
}

#[test]
fn what_only_came_along_is_marked_so_though_it_was_named() {
    let (rig, fake) = Rig::fake();
    let order = rig.apply_order(INSTALL, &json!({ "name": "rsync" }));
    rig.run(&mut rig.start(), &rig.job(1, order));
    let named =
        [(name("libpopt0"), Some(version("1.19"))), (name("rsync"), Some(version("3.2.7-1")))];
    assert_eq!(fake.carried_out().unwrap().install, named.into(), "nothing is left to choose");
    assert_eq!(there(&fake, "rsync")["is_auto"], json!(false));
    assert_eq!(there(&fake, "libpopt0")["is_auto"], json!(true));
}

#[test]
fn what_changes_besides_the_plan_is_named_and_nothing_is_called_as_before() {
    let (rig, fake) = with_rsync();
    fake.smuggle(&name("backdoor"), &version("6.6"));
    let result = rig.run(&mut rig.start(), &rig.job(1, rig.apply_order(INSTALL, &upgrade())));
    let JobResult::Unknown { detail } = &result else { panic!("{result:?}") };
    assert!(detail.contains("backdoor (not there, now 6.6)"), "{detail}");
    assert_eq!(there(&fake, "rsync")["version"], json!("3.2.6-4"), "what was planned is put back");
}

#[test]
fn what_would_be_another_than_planned_is_not_begun() {
    let (_rig, fake) = with_rsync();
    let install = bound(INSTALL, &upgrade());
    let before = install.snapshot(fake.as_ref()).unwrap();
    fake.withdraw(&name("rsync"), &version("3.2.7-1"));
    let nodes = fake.nodes();
    let error = install.apply(fake.as_ref(), &before).unwrap_err();
    assert!(matches!(error, HostError::Package { .. }), "{error:?}");
    assert_eq!(fake.nodes(), nodes);
}

#[test]
fn the_way_back_does_not_need_the_sources_any_more() {
    let (mut rig, fake) = with_rsync();
    let mut runner = rig.start();
    let job = rig.job(1, rig.apply_order(INSTALL, &upgrade()));
    let result = rig.run(&mut runner, &job);
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    fake.withdraw(&name("rsync"), &version("3.2.6-4"));
    fake.cut_off();
    let undo = rig.job(2, rig.revert_order(INSTALL, &upgrade(), job.id));
    let result = rig.run(&mut runner, &undo);
    assert!(matches!(result, JobResult::Reverted { .. }), "{result:?}");
    assert_eq!(there(&fake, "rsync")["version"], json!("3.2.6-4"));
    // And so the same change can be made again, with the same way back.
    assert_eq!(failed(&rig, INSTALL, &upgrade()), Vec::<String>::new());

    // It is kept as long as the before-state.
    let is_kept = || {
        let manager = fake.package_manager().unwrap();
        manager.is_kept(&name("rsync"), &version("3.2.6-4")).unwrap()
    };
    drop(runner);
    assert!(is_kept());
    rig.now = rig.now.plus_seconds(31 * 24 * 3600);
    rig.start().recover().unwrap();
    assert!(!is_kept());
    assert_eq!(failed(&rig, INSTALL, &upgrade()), ["way_back"]);
}

#[test]
fn what_cannot_be_fetched_is_not_begun() {
    for (operation, parameters) in [
        (INSTALL, upgrade()),
        (INSTALL, json!({ "name": "rsync", "version": "3.2.7-1", "require_way_back": false })),
        (REMOVE, json!({ "name": "rsync" })),
        // Of this one nothing has to be kept.
        (INSTALL, json!({ "name": "telnet" })),
    ] {
        let (rig, fake) = with_rsync();
        let mut runner = rig.start();
        let job = rig.job(1, rig.apply_order(operation, &parameters));
        fake.cut_off();
        let nodes = fake.nodes();
        let result = rig.run(&mut runner, &job);
        assert_eq!(refusal(&result), RefusalCode::CheckFailed, "{result:?}");
        let JobResult::Refused { detail, .. } = &result else { panic!("{result:?}") };
        assert!(detail.contains("nothing was changed: mirror"), "{detail}");
        assert_eq!(fake.nodes(), nodes);
        assert!(runner.journal().job(&job.id).unwrap().intent.is_none());
    }
}

#[test]
fn without_a_way_back_it_is_refused_unless_it_was_approved_as_that() {
    let (rig, fake) = with_rsync();
    let mut runner = rig.start();
    fake.withdraw(&name("rsync"), &version("3.2.6-4"));
    assert_eq!(failed(&rig, INSTALL, &upgrade()), ["way_back"]);
    let result = rig.run(&mut runner, &rig.job(1, rig.apply_order(INSTALL, &upgrade())));
    assert_eq!(refusal(&result), RefusalCode::CheckFailed);
    let mut knowing = upgrade();
    knowing["require_way_back"] = json!(false);
    let job = rig.job(2, rig.apply_order(INSTALL, &knowing));
    let result = rig.run(&mut runner, &job);
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    let nodes = fake.nodes();
    let undo = rig.job(3, rig.revert_order(INSTALL, &knowing, job.id));
    let result = rig.run(&mut runner, &undo);
    let JobResult::Refused { code: RefusalCode::CheckFailed, detail, .. } = &result else {
        panic!("{result:?}");
    };
    assert!(detail.contains("3.2.6-4"), "{detail}");
    assert_eq!(fake.nodes(), nodes);
}

#[test]
fn what_is_left_of_a_package_is_not_purged_without_being_told_that_it_does_not_come_back() {
    let (rig, fake) = Rig::fake();
    let left = json!({ "rsync": { "version": null, "is_auto": false, "is_residue": true } });
    fake.put_file(&path(INSTALLED), left.to_string().as_bytes(), Mode::from_bits(0o644));
    let mut purge = json!({ "name": "rsync", "purge": true });
    assert_eq!(failed(&rig, REMOVE, &purge), ["way_back"]);
    purge["require_way_back"] = json!(false);
    assert_eq!(failed(&rig, REMOVE, &purge), Vec::<String>::new());
    let result = rig.run(&mut rig.start(), &rig.job(1, rig.apply_order(REMOVE, &purge)));
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
    assert_eq!(there(&fake, "rsync"), Value::Null);
}

#[test]
fn an_order_that_ends_while_something_is_fetched_is_not_begun() {
    let (mut rig, fake) = with_rsync();
    let job = rig.job(1, rig.apply_order(INSTALL, &upgrade()));
    let (now, slow) = (rig.now, Arc::clone(&fake));
    let is_slow = Arc::new(AtomicBool::new(true));
    let says_slow = Arc::clone(&is_slow);
    rig.clock = Some(Arc::new(move || {
        let took = says_slow.load(Ordering::SeqCst) && slow.fetched() > 0;
        now.plus_seconds(if took { 3600 } else { 0 })
    }));
    let nodes = fake.nodes();
    let result = rig.run(&mut rig.start(), &job);
    assert_eq!(refusal(&result), RefusalCode::Expired, "{result:?}");
    assert_eq!(fake.nodes(), nodes);
    is_slow.store(false, Ordering::SeqCst);
    let again = rig.job(2, rig.apply_order(INSTALL, &upgrade()));
    let result = rig.run(&mut rig.start(), &again);
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
}
