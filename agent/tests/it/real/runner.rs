//! The agent is killed, the host loses its power, its disks are full: the same end as without.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use nexplane_core::job::{Envelope, Job, JobResult, RefusalCode};
use serde_json::json;

use super::conformance::{ROWS, Row};
use super::{assert_same, configuration, driven, put, sh, whole, within};
use crate::crash::{Crashing, restart};
use crate::rig::{Rig, refusal};

const KEPT: &str = "/var/lib/nexplane-test";
/// At which step the process ends, and for which operation.
const STEP: &str = "NEXPLANE_STEP";
const OPERATION: &str = "NEXPLANE_OPERATION";

fn rig() -> Rig {
    Rig::kept(Arc::new(whole()), Path::new(KEPT))
}

fn row(id: &str) -> &'static Row {
    ROWS.iter().find(|row| row.id == id).unwrap()
}

/// Writes down an order that applies the row's operation.
fn order(row: &Row) -> Job {
    let rig = rig();
    let job = rig.job(1, rig.apply_order(row.id, &row.parameters()));
    let envelope = serde_json::to_string(&rig.sign(&job)).unwrap();
    fs::write(Path::new(KEPT).join("order"), envelope).unwrap();
    job
}

fn written_order() -> Envelope {
    serde_json::from_str(&fs::read_to_string(Path::new(KEPT).join("order")).unwrap()).unwrap()
}

/// Carries out the order in a process that ends at the n-th step: a record of the journal, or right
/// before or after a change of the host.
fn carry_out(step: u32, end: fn()) {
    let mut rig = rig();
    let (inner, countdown) = (Arc::clone(&rig.host), AtomicU32::new(step));
    let crashing = Arc::new(Crashing { inner, countdown, end });
    rig.host = Arc::clone(&crashing) as _;
    let mut runner = rig.start();
    runner.recover().unwrap();
    runner.handle(&written_order(), &mut |_, _| crashing.tick()).unwrap();
    crashing.tick();
}

/// Starts again, and finds the order done and only once; then takes it back.
fn settle(row: &Row, was: &str) {
    let rig = rig();
    let envelope = written_order();
    let result = restart(&rig, &envelope);
    assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{}: {result:?}", row.id);
    let is = (row.read)();
    assert!(is.contains(row.brings), "{}: {is}", row.id);
    let job: Job = serde_json::from_str(&envelope.payload).unwrap();
    let undo = rig.job(2, rig.revert_order(row.id, &row.parameters(), job.id));
    let result = rig.run(&mut rig.start(), &undo);
    assert!(matches!(result, JobResult::Reverted { .. }), "{}: {result:?}", row.id);
    assert_eq!((row.read)(), was, "{}", row.id);
}

#[test]
fn real_killed_at_any_step_the_order_is_done_once_and_comes_undone() {
    const TEST: &str =
        "real::runner::real_killed_at_any_step_the_order_is_done_once_and_comes_undone";
    within(TEST, || {
        if let Ok(step) = std::env::var(STEP) {
            return carry_out(step.parse().unwrap(), || {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            });
        }
        for id in [
            "host.enable_service",
            "host.lock_local_account",
            "host.rotate_local_password",
            "host.set_file_content",
            "host.set_sysctl",
        ] {
            let row = row(id);
            (row.prepare)();
            let (was, kept) = ((row.read)(), configuration());
            for step in 1.. {
                sh(&format!("rm -rf {KEPT}"));
                order(row);
                let ended = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
                    .env(STEP, step.to_string())
                    .status()
                    .unwrap();
                let killed = ended.signal() == Some(9);
                assert!(killed || ended.success(), "{id} {step}: {ended}");
                settle(row, &was);
                assert_same(id, &kept, &configuration());
                if !killed {
                    assert!(step > 5, "{id}: received, intent, before, after, result");
                    break;
                }
            }
        }
    });
}

#[test]
fn real_after_a_reset_in_the_middle_the_order_is_done_once_and_comes_undone() {
    const TEST: &str =
        "real::runner::real_after_a_reset_in_the_middle_the_order_is_done_once_and_comes_undone";
    let reset = || {
        sh("systemctl reboot --force --force");
        std::thread::sleep(std::time::Duration::from_secs(60));
    };
    let drive = |host: &super::RealHost| {
        for (id, step) in [
            ("host.enable_service", "2"),
            ("host.enable_service", "4"),
            ("host.enable_service", "6"),
            ("host.set_file_content", "2"),
            ("host.set_file_content", "4"),
        ] {
            let starts = host.starts();
            host.sh(&format!("rm -rf {KEPT}"));
            let output = host.try_test(TEST, &[(OPERATION, id), (STEP, step)]);
            assert!(!output.status.success(), "{id} {step}");
            host.ready(starts + 1);
            host.run_test(TEST, &[(OPERATION, id)]);
        }
    };
    driven(drive, || {
        let row = row(&std::env::var(OPERATION).unwrap());
        let was = Path::new(KEPT).join("was");
        match std::env::var(STEP) {
            Ok(step) => {
                (row.prepare)();
                order(row);
                fs::write(was, (row.read)()).unwrap();
                carry_out(step.parse().unwrap(), reset);
            }
            Err(_) => settle(row, &fs::read_to_string(was).unwrap()),
        }
    });
}

#[test]
fn real_on_full_disks_nothing_is_lost_and_nothing_half_done() {
    within("real::runner::real_on_full_disks_nothing_is_lost_and_nothing_half_done", || {
        // The agent's own: an order is not begun that could not be written down.
        let row = row("host.set_file_content");
        (row.prepare)();
        let (was, kept) = ((row.read)(), configuration());
        sh(&format!("mkdir -p {KEPT}; mount -t tmpfs -o size=256k tmpfs {KEPT}"));
        order(row);
        drop(rig().start());
        // With room for nothing, for the first record, and for no snapshot.
        for room_kb in [0, 4, 8] {
            sh(&format!(
                "cd {KEPT}; rm -f filler; dd if=/dev/zero of=filler bs=1k 2>/dev/null || true; \
                 truncate -s -{room_kb}K filler"
            ));
            let rig = rig();
            let mut runner = rig.start();
            runner.recover().unwrap();
            // Not even written down, or refused for good because nothing could be put back.
            match runner.handle(&written_order(), &mut |_, _| {}) {
                Err(error) => println!("with {room_kb} KiB: {error}"),
                Ok(answer) => {
                    let result = rig.open(&answer.unwrap().1).result;
                    assert_eq!(refusal(&result), RefusalCode::NoSnapshot, "{room_kb} KiB");
                }
            }
            assert_eq!((row.read)(), was, "with {room_kb} KiB");
            assert_same("full", &kept, &configuration());
        }
        sh(&format!("rm -r {KEPT}/*"));
        order(row);
        settle(row, &was);
        sh(&format!("umount {KEPT}; rm -rf {KEPT}"));

        // The target's: the file is as it was, with nothing beside it.
        sh("mkdir -p /srv/full; mount -t tmpfs -o size=64k tmpfs /srv/full");
        put("/srv/full/file", "old\n");
        let rig = rig();
        let parameters = json!({ "path": "/srv/full/file", "content": "x".repeat(200_000) });
        let job = rig.job(1, rig.apply_order(row.id, &parameters));
        let result = rig.run(&mut rig.start(), &job);
        let JobResult::Failed { detail } = &result else { panic!("{result:?}") };
        assert!(detail.contains("No space left"), "{detail}");
        assert_eq!(sh("ls -A /srv/full; cat /srv/full/file"), "file\nold\n");
    });
}
