//! Whatever a target answers, a run can be told something, and comes to an end.

use super::*;
use crate::run::event::LateReport;

/// What no record can have.
const NUL: &str = "a\0b";

fn bad() -> Reason {
    Reason { kind: NUL.to_owned(), message: NUL.to_owned() }
}

fn fields() -> Vec<Field> {
    vec![Field::new("motd", NUL)]
}

#[test]
fn what_cannot_be_stored_is_told_without_it() {
    let captured = Captured { fields: fields(), fingerprint: NUL.to_owned(), sealed: None };
    let intend = C::Intend {
        step: 0,
        epoch: 1,
        key: "k".to_owned(),
        before: captured,
        in_the_way: InTheWay::default(),
        held: None,
        terms: None,
    };
    let block = C::Block {
        step: 0,
        epoch: 1,
        before: fields(),
        after: fields(),
        now: fields(),
        reason: bad(),
    };
    let succeed = C::Succeed {
        step: 0,
        epoch: 1,
        outcome: json!({ "said": NUL }),
        produced: Vec::new(),
        undo_until: None,
    };
    let reconcile = |finding| C::Reconcile {
        step: 0,
        epoch: 1,
        finding,
        evidence: NUL.to_owned(),
        observed: fields(),
        produced: Vec::new(),
    };
    let verify = C::Verify { step: 0, epoch: 1, observed: fields(), fingerprint: NUL.to_owned() };
    let unverify = C::Unverify { step: 0, epoch: 1, observed: fields(), reason: bad() };
    let sent = vec![intended(0)];
    let lost = vec![intended(0), unknown(0)];
    let done = vec![intended(0), succeeded(0)];
    let cases = [
        (Vec::new(), intend, "blocked"),
        (Vec::new(), block, "blocked"),
        (sent.clone(), succeed, "of unknown outcome"),
        (sent.clone(), C::Fail { step: 0, epoch: 1, reason: bad() }, "failed"),
        (sent, C::LoseSight { step: 0, epoch: 1, reason: bad() }, "of unknown outcome"),
        (lost.clone(), reconcile(Finding::Applied), "reconciled"),
        (lost, reconcile(Finding::Conflict), "reconciled"),
        (done.clone(), verify, "done but not as intended"),
        (done, unverify, "done but not as intended"),
    ];
    for (past, command, then) in cases {
        let past = run(&past);
        let bare = command.bare().expect("it says something of a target");
        let events = when(&past, bare).unwrap();
        let text = serde_json::to_string(&events).unwrap();
        assert!(!text.contains("u0000"), "{text}");
        let now = running(&[past, events].concat()).unwrap();
        assert_eq!(now.steps[0].name(), then, "{command:?}");
    }
    // Of an epoch that was fenced off: it is evidence, and says what it says all the same.
    let past = run(&[intended(0), E::Claimed { epoch: 2, worker: WORKER }]);
    let outcome = json!({ "said": NUL });
    for report in [
        LateReport::Succeeded { outcome, produced: Vec::new() },
        LateReport::Failed { reason: bad() },
        LateReport::Unknown { reason: bad() },
    ] {
        let said = report.as_str();
        let bare = C::ReportLate { step: 0, epoch: 1, report }.bare().unwrap();
        let events = when(&past, bare).unwrap();
        let text = serde_json::to_string(&events).unwrap();
        assert!(!text.contains("u0000"), "{text}");
        let [E::LateReported { report, .. }] = events.as_slice() else { panic!("{text}") };
        assert_eq!(report.as_str(), said);
    }
    assert!(C::Finish { epoch: 1 }.bare().is_none());
    assert!(C::Claim { worker: WORKER, after: 0 }.bare().is_none());
}
