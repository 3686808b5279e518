use nexplane_core::time::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const HOST: HostId = HostId(Uuid::from_u128(1));

fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

fn received(n: u128) -> Record {
    let envelope =
        Envelope { payload: format!("payload {n}"), key_id: "k".into(), signature: "s".into() };
    let seq = u64::try_from(n).unwrap();
    Record::Received { job: job(n), seq, at: Timestamp::from_micros(0), envelope }
}

fn result(n: u128, trusted: bool) -> Record {
    Record::Result {
        job: job(n),
        seq: u64::try_from(n).unwrap(),
        trusted,
        payload_hash: payload_hash(&format!("payload {n}")),
        after: Some("after".into()),
        receipt: SignedReceipt { payload: format!("receipt {n}"), signature: "s".into() },
    }
}

fn journal_with(directory: &TempDir, records: &[Record]) -> PathBuf {
    let path = directory.path().join("journal");
    let mut journal = Journal::open(&path, HOST).unwrap();
    for record in records {
        journal.append(record).unwrap();
    }
    path
}

#[test]
fn what_is_appended_is_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    let intent = Record::Intent { job: job(2), at: Timestamp::from_micros(0), before: "b".into() };
    let path = journal_with(&directory, &[received(1), result(1, true), received(2), intent]);
    let mut journal = Journal::open(&path, HOST).unwrap();
    assert_eq!(journal.high_water(), 2);
    assert_eq!(journal.receipt_head(), (1, payload_hash("receipt 1").as_str()));
    assert_eq!(journal.unfinished().len(), 1);
    assert_eq!(journal.job(&job(2)).unwrap().intent.as_deref(), Some("b"));
    assert_eq!(journal.job(&job(1)).unwrap().after.as_deref(), Some("after"));
    assert_eq!(journal.receipt(&job(1)).unwrap().unwrap().payload, "receipt 1");
    assert_eq!(journal.unreported().unwrap().len(), 1);
    journal.append(&Record::Reported { job: job(1), number: 1 }).unwrap();
    assert!(Journal::open(&path, HOST).unwrap().unreported().unwrap().is_empty());
}

#[test]
fn an_untrusted_result_says_nothing_about_the_job() {
    let directory = TempDir::new().unwrap();
    let path = journal_with(&directory, &[result(9, false)]);
    let journal = Journal::open(&path, HOST).unwrap();
    assert_eq!(journal.high_water(), 0);
    assert!(journal.job(&job(9)).is_none());
    assert_eq!(journal.unreported().unwrap().len(), 1);
}

#[test]
fn every_torn_last_line_is_dropped_and_the_rest_stays() {
    let directory = TempDir::new().unwrap();
    let path = journal_with(&directory, &[received(1)]);
    let one = std::fs::read(&path).unwrap();
    let path = journal_with(&directory, &[result(1, true)]);
    let two = std::fs::read(&path).unwrap();
    for length in one.len()..two.len() {
        std::fs::write(&path, &two[..length]).unwrap();
        let mut journal = Journal::open(&path, HOST).unwrap();
        assert_eq!(journal.unfinished().len(), 1, "cut at {length}");
        journal.append(&result(1, true)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), two, "cut at {length}");
    }
    let mut zeros = one.clone();
    zeros.extend([0; 300]);
    std::fs::write(&path, &zeros).unwrap();
    assert_eq!(Journal::open(&path, HOST).unwrap().unfinished().len(), 1);
}

#[test]
fn damage_is_an_error_wherever_it_is() {
    let directory = TempDir::new().unwrap();
    let path = journal_with(&directory, &[received(1), result(1, true), received(2)]);
    let good = std::fs::read(&path).unwrap();
    // Without its last byte the file would only be cut off.
    for place in (0..good.len() - 1).step_by(7) {
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let opened = Journal::open(&path, HOST);
        assert!(matches!(opened, Err(JournalError::Damaged { .. })), "byte {place}");
    }
    // A whole line taken out of the middle.
    let lines: Vec<_> = good.split_inclusive(|byte| *byte == b'\n').collect();
    std::fs::write(&path, [lines[0], lines[1], lines[3]].concat()).unwrap();
    let opened = Journal::open(&path, HOST);
    assert!(matches!(opened, Err(JournalError::Damaged { line: 3, .. })));
}

#[test]
fn a_journal_belongs_to_one_host() {
    let directory = TempDir::new().unwrap();
    let path = journal_with(&directory, &[]);
    let other = HostId(Uuid::from_u128(2));
    assert!(matches!(Journal::open(&path, other), Err(JournalError::OfAnotherHost { .. })));
}

#[test]
fn compaction_keeps_what_is_needed_to_undo_and_to_refuse() {
    let directory = TempDir::new().unwrap();
    let path = journal_with(
        &directory,
        &[received(1), result(1, true), received(2), result(2, true), result(3, false)],
    );
    let mut journal = Journal::open(&path, HOST).unwrap();
    assert!(!journal.compact(0, |_| true).unwrap(), "not while something is unreported");
    for n in 1..=3 {
        journal
            .append(&Record::Reported { job: job(n), number: u64::try_from(n).unwrap() })
            .unwrap();
    }
    let head = journal.receipt_head().1.to_owned();
    assert!(journal.compact(0, |kept| *kept == job(1)).unwrap());
    assert_eq!(journal.job(&job(1)).unwrap().after.as_deref(), Some("after"));
    assert!(journal.job(&job(2)).is_none());
    assert_eq!((journal.high_water(), journal.receipt_head()), (2, (3, head.as_str())));
    journal.append(&received(4)).unwrap();
    let journal = Journal::open(&path, HOST).unwrap();
    assert_eq!(journal.unfinished().len(), 1);
    assert_eq!(journal.receipt_head(), (3, head.as_str()));
}

#[test]
fn one_in_memory_answers_as_one_on_disk() {
    let mut journal = Journal::in_memory(HOST).unwrap();
    for record in [received(1), result(1, true), received(2)] {
        journal.append(&record).unwrap();
    }
    assert_eq!((journal.high_water(), journal.unfinished().len()), (2, 1));
    assert_eq!(journal.receipt(&job(1)).unwrap().unwrap().payload, "receipt 1");
    assert_eq!(journal.unreported().unwrap().len(), 1);
    journal.append(&result(2, true)).unwrap();
    for number in [1, 2] {
        journal.append(&Record::Reported { job: job(number.into()), number }).unwrap();
    }
    assert!(journal.compact(0, |_| true).unwrap());
    assert_eq!((journal.high_water(), journal.receipt_head().0), (2, 2));
    assert!(journal.job(&job(1)).unwrap().reported && journal.unreported().unwrap().is_empty());
}

#[test]
fn the_count_of_distrusted_orders_survives_compaction() {
    let directory = TempDir::new().unwrap();
    let at = Timestamp::from_micros;
    let receipt = Receipt {
        job: job(1),
        host: HOST,
        number: 1,
        previous: record::START.to_owned(),
        at: at(1),
        result: JobResult::Refused {
            code: RefusalCode::WrongHost,
            detail: String::new(),
            observed: Vec::new(),
        },
        undo_until: None,
    };
    let payload = serde_json::to_string(&receipt).unwrap();
    let mut signed = result(1, false);
    if let Record::Result { receipt, .. } = &mut signed {
        receipt.payload = payload;
    }
    let counted =
        |count| Record::Distrusted { code: RefusalCode::BadSignature, count, last_at: at(2) };
    let reported = Record::Reported { job: job(1), number: 1 };
    let path = journal_with(&directory, &[signed, counted(3), counted(4), reported]);
    let expected = [
        Distrusted { code: RefusalCode::WrongHost, total: 1, last_at: at(1) },
        Distrusted { code: RefusalCode::BadSignature, total: 7, last_at: at(2) },
    ];
    let mut journal = Journal::open(&path, HOST).unwrap();
    assert_eq!(journal.distrusted(), expected);
    assert!(journal.compact(0, |_| false).unwrap());
    assert_eq!(journal.distrusted(), expected);
    assert_eq!(Journal::open(&path, HOST).unwrap().distrusted(), expected);
}
