//! How long before-states are kept, and what is said of that.

use std::path::PathBuf;

use nexplane_agent::config::Retention;
use nexplane_agent::runner::Runner;
use nexplane_agent::snapshot::Saved;
use nexplane_core::job::{Job, JobResult, Receipt, RefusalCode};

use crate::rig::{Rig, motd, now, refusal};

const CONTENT: &str = "host.set_file_content";
const HOUR: i64 = 3600;

fn keeping(retention: &str) -> Rig {
    let (mut rig, _) = Rig::fake();
    rig.retention = Retention::parse(retention).unwrap();
    rig
}

/// Writes another content, and gives back the job with its receipt.
fn write(rig: &Rig, runner: &mut Runner, seq: u64) -> (Job, Receipt) {
    let job = rig.job(seq, rig.apply_order(CONTENT, &motd(&format!("{seq}\n"))));
    let receipt = rig.deliver(runner, &rig.sign(&job)).unwrap();
    assert!(matches!(receipt.result, JobResult::Applied { .. }), "{receipt:?}");
    (job, receipt)
}

fn undo(rig: &Rig, runner: &mut Runner, seq: u64, job: &Job, content: &str) -> JobResult {
    let order = rig.revert_order(CONTENT, &motd(content), job.id);
    rig.run(runner, &rig.job(seq, order))
}

fn file(rig: &Rig, job: &Job) -> PathBuf {
    rig.config.path().join("snapshots").join(format!("{}.json", job.id))
}

/// What an earlier agent would have left: the same without its end, under a checksum of its own.
fn rewrite(path: &PathBuf, change: impl FnOnce(&mut Saved)) {
    use sha2::{Digest, Sha256};
    let text = std::fs::read_to_string(path).unwrap();
    let mut saved: Saved = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    change(&mut saved);
    let json = serde_json::to_string(&saved).unwrap();
    std::fs::write(path, format!("{}\n{json}", hex::encode(Sha256::digest(&json)))).unwrap();
}

#[test]
fn a_receipt_says_until_when_it_can_be_undone() {
    let rig = keeping("12h");
    let mut runner = rig.start();
    let (_, receipt) = write(&rig, &mut runner, 1);
    assert_eq!(receipt.undo_until, Some(now().plus_seconds(12 * HOUR)));
    // What changed nothing has nothing to say.
    let refused = rig.job(2, rig.apply_order(CONTENT, &motd("2\n")));
    let stale = Job { not_after: now().plus_seconds(-1), ..refused };
    let receipt = rig.deliver(&mut runner, &rig.sign(&stale)).unwrap();
    assert_eq!(refusal(&receipt.result), RefusalCode::Expired);
    assert_eq!(receipt.undo_until, None);
    let text = serde_json::to_string(&receipt).unwrap();
    assert!(!text.contains("undo_until"), "as earlier control planes know it: {text}");
}

#[test]
fn what_is_over_is_deleted_at_the_start_and_never_before() {
    let mut rig = keeping("12h");
    let (first, _) = write(&rig, &mut rig.start(), 1);
    rig.now = now().plus_seconds(HOUR);
    let (second, _) = write(&rig, &mut rig.start(), 2);
    for (at, left) in [
        (12 * HOUR - 1, vec![&first, &second]),
        (12 * HOUR, vec![&second]),
        (13 * HOUR - 1, vec![&second]),
        (13 * HOUR, vec![]),
    ] {
        rig.now = now().plus_seconds(at);
        // Another time for what is saved from now on changes nothing for what is there.
        rig.retention = Retention::parse("1s").unwrap();
        rig.start().recover().unwrap();
        let left: Vec<_> = left.into_iter().map(|job| file(&rig, job)).collect();
        assert_eq!(rig.snapshot_files(), left, "after {at} s");
    }
}

#[test]
fn what_is_over_is_deleted_when_another_is_saved() {
    let mut rig = keeping("12h");
    let (first, _) = write(&rig, &mut rig.start(), 1);
    rig.now = now().plus_seconds(12 * HOUR);
    let mut runner = rig.start();
    let (second, _) = write(&rig, &mut runner, 2);
    assert_eq!(rig.snapshot_files(), [file(&rig, &second)]);
    // The journal still has the receipt with the promise.
    let JobResult::Refused { code, detail, .. } = undo(&rig, &mut runner, 3, &first, "1\n") else {
        panic!("it was undone")
    };
    assert_eq!(code, RefusalCode::NoSnapshot);
    let promised = now().plus_seconds(12 * HOUR);
    assert!(detail.ends_with(&format!("it was kept until {promised}")), "{detail}");
}

/// The one that is gone back to is needed until that is done, also when the agent stops in between.
#[test]
fn what_is_being_undone_is_not_deleted_under_it() {
    let mut rig = keeping("12h");
    let (first, _) = write(&rig, &mut rig.start(), 1);
    rig.now = now().plus_seconds(12 * HOUR);
    let mut runner = rig.start();
    assert!(matches!(undo(&rig, &mut runner, 2, &first, "1\n"), JobResult::Reverted { .. }));
    assert!(file(&rig, &first).exists(), "it was needed when the other one was saved");
    runner.recover().unwrap();
    assert!(!file(&rig, &first).exists(), "nothing needs it any more");
}

#[test]
fn what_an_open_order_needs_is_kept() {
    let mut rig = keeping("12h");
    let (job, _) = write(&rig, &mut rig.start(), 1);
    let text = std::fs::read_to_string(rig.journal_path()).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    // As if it had stopped right after the intent, and the time were over at the next start.
    let before_result = lines.len() - 1;
    std::fs::write(rig.journal_path(), lines[..before_result].concat()).unwrap();
    rig.now = now().plus_seconds(12 * HOUR);
    let mut runner = rig.start();
    assert_eq!(runner.journal().unfinished().len(), 1);
    let settled = runner.recover().unwrap();
    assert_eq!(settled, [job.id]);
    let receipt = rig.open(&runner.journal().receipt(&job.id).unwrap().unwrap());
    assert!(matches!(receipt.result, JobResult::Applied { .. }), "{receipt:?}");
    assert_eq!(receipt.undo_until, Some(now().plus_seconds(12 * HOUR)));
    assert_eq!(rig.snapshot_files().len(), 0, "it has ended, and is over");
}

#[test]
fn one_that_is_damaged_or_says_no_time_is_left_where_it_is() {
    let mut rig = keeping("12h");
    let mut runner = rig.start();
    let [(damaged, _), (old, _), (whole, _)] = [1, 2, 3].map(|seq| write(&rig, &mut runner, seq));
    drop(runner);
    let text = std::fs::read_to_string(file(&rig, &damaged)).unwrap();
    std::fs::write(file(&rig, &damaged), text.replace("etc", "ect")).unwrap();
    rewrite(&file(&rig, &old), |saved| saved.until = None);
    rig.now = now().plus_seconds(10_000 * 24 * HOUR);
    let mut runner = rig.start();
    runner.recover().unwrap();
    assert_eq!(rig.snapshot_files(), [file(&rig, &damaged), file(&rig, &old)]);
    assert!(!file(&rig, &whole).exists());
    // It goes on, and counts what is there.
    let (next, _) = write(&rig, &mut runner, 4);
    assert!(file(&rig, &next).exists());
}
