//! Positions, versions, types, times, and what cannot be read or proved.

use super::log::{CHANGE, RUN, judge};
use super::*;
use crate::audit::{Auditor, CLOCK_SKEW_S, MAX_KEPT, Rule, rules};
use crate::event::{Event, UnreadableEvent};
use crate::id::StreamId;
use crate::record::Record;

fn unreadable(kind: &str, schema: u16, version: u64) -> UnreadableEvent {
    let mut header = Log::drafted().events.remove(0).header;
    (header.kind, header.schema, header.version) = (kind.to_owned(), schema, version);
    Event::decode(Record { header, data: serde_json::json!({ "odd": 1 }) }).unwrap_err()
}

#[test]
fn codes_are_sorted_and_unique() {
    let codes: Vec<_> = rules().map(|rule| rule.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    assert!(rules().all(|rule| rule.code.starts_with("audit.") && rule.sentence.ends_with('.')));
    assert!(Rule::ALL.is_sorted());
}

#[test]
fn versions_have_no_gap() {
    let skipped =
        Log::drafted().planned(CHANGE).altered("change.planned", |e| e.header.version = 3);
    assert_eq!(codes(&skipped), ["audit.version_gap"]);
    let again = Log::drafted().planned(CHANGE).altered("change.planned", |e| e.header.version = 1);
    assert_eq!(codes(&again), ["audit.version_gap"]);
    let late = Log::drafted().altered("change.drafted", |e| e.header.version = 2);
    assert_eq!(codes(&late), ["audit.version_gap"]);
}

#[test]
fn an_event_cut_out_of_the_log_leaves_a_gap() {
    let whole = Log::complete().events;
    for index in 0..whole.len() - 1 {
        let mut events = whole.clone();
        events.remove(index);
        for later in events.iter_mut().skip(index) {
            later.position -= 1;
        }
        let stream = whole[index].header.stream;
        let is_last = whole[index + 1..].iter().all(|e| e.header.stream != stream);
        assert!(is_last || codes(&events).contains(&"audit.version_gap"), "{index}");
        assert!(!codes(&events).is_empty(), "{index}");
    }
}

#[test]
fn positions_have_no_gap() {
    let mut events = Log::complete().events;
    for later in events.iter_mut().skip(4) {
        later.position += 3;
    }
    assert_eq!(codes(&events), ["audit.position_gap"]);
    let mut auditor = Auditor::default();
    for recorded in Log::drafted().altered("change.drafted", |e| e.position = 1) {
        auditor.observe(&recorded);
    }
    assert_eq!(auditor.report().violations[0].rule, "audit.position_gap");
}

#[test]
fn types_belong_to_their_streams() {
    let named = Log::drafted().altered("change.drafted", |e| e.header.kind = "run.drafted".into());
    assert_eq!(codes(&named), ["audit.foreign_type"]);
    let moved = Log::drafted().altered("change.drafted", |e| e.header.stream = RUN.into());
    assert_eq!(codes(&moved), ["audit.foreign_type"]);
}

#[test]
fn times_go_backwards_by_clock_skew_at_most() {
    let back = |seconds: i64| {
        Log::drafted().planned(CHANGE).altered("change.planned", |e| {
            e.header.at = at(-seconds);
        })
    };
    assert_eq!(codes(&back(CLOCK_SKEW_S)), Vec::<&str>::new());
    assert_eq!(codes(&back(CLOCK_SKEW_S + 1)), ["audit.time_reversed"]);
    // One step back is one violation, however much follows it.
    let forward = Log::complete().altered("change.planned", |e| e.header.at = at(100_000));
    assert_eq!(codes(&forward), ["audit.time_reversed"]);
}

#[test]
fn an_event_of_the_future_is_incomplete_evidence() {
    for unknown in [unreadable("change.teleported", 1, 2), unreadable("change.planned", 2, 2)] {
        let mut auditor = Auditor::default();
        let log = Log::approved().events;
        auditor.observe(&log[0]);
        auditor.observe_unreadable(1, &unknown);
        let mut rest = log[2].clone();
        rest.header.version = 3;
        auditor.observe(&rest);
        let report = auditor.finish();
        assert_eq!(report.violations, Vec::new());
        assert_eq!(report.incomplete.len(), 1);
        assert_eq!((report.incomplete[0].position, report.events), (1, 3));
    }
}

#[test]
fn an_event_of_a_known_type_has_to_be_readable() {
    let planted = |unreadable| {
        let mut auditor = Auditor::default();
        auditor.observe(&Log::drafted().events[0]);
        auditor.observe_unreadable(1, &unreadable);
        auditor.finish().violations.iter().map(|v| v.rule).collect::<Vec<_>>()
    };
    assert_eq!(planted(unreadable("change.planned", 1, 2)), ["audit.unreadable"]);
    assert_eq!(planted(unreadable("run.started", 1, 2)), ["audit.foreign_type"]);
    assert_eq!(planted(unreadable("change.teleported", 1, 3)), ["audit.version_gap"]);
    assert_eq!(planted(unreadable("run.teleported", 1, 2)), ["audit.foreign_type"]);
}

#[test]
fn a_part_of_the_log_is_incomplete_and_not_wrong() {
    let whole = Log::complete().undoing().undone(0).undone(1).back_finished().events;
    for start in 1..whole.len() {
        let report = judge(&whole[start..]);
        assert_eq!(report.violations, Vec::new(), "from {start}");
        let cut = |stream: StreamId| {
            let in_part = |events: &[crate::event::Recorded]| {
                events.iter().any(|e| e.header.stream == stream)
            };
            in_part(&whole[..start]) && in_part(&whole[start..])
        };
        let unproved = |stream| report.incomplete.iter().any(|missing| missing.stream == stream);
        for stream in [StreamId::from(CHANGE), StreamId::from(RUN)] {
            assert!(!cut(stream) || unproved(stream), "from {start}: {stream}");
        }
    }
}

#[test]
fn in_a_part_of_the_log_earlier_freezes_are_not_known() {
    let mut events = Log::approved().executing().events;
    for recorded in &mut events {
        recorded.position += 7;
    }
    let report = judge(&events);
    assert_eq!(report.violations, Vec::new());
    assert_eq!(report.incomplete.len(), 1);
    assert!(report.incomplete[0].sentence.contains("Freezes"));
}

#[test]
fn a_gap_in_a_part_of_the_log_is_a_gap() {
    let mut events = Log::approved().events.split_off(2);
    events[1].header.version += 1;
    let report = judge(&events);
    assert_eq!(report.violations[0].rule, "audit.version_gap");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut auditor = Auditor::default();
    let mut recorded = Log::drafted().events.remove(0);
    for position in 0..=MAX_KEPT as u64 {
        recorded.position = position;
        recorded.header.version = 2;
        recorded.header.stream.id = uuid::Uuid::from_u128(u128::from(position));
        auditor.observe(&recorded);
    }
    let report = auditor.finish();
    assert_eq!(report.violations.len(), MAX_KEPT);
    assert_eq!(report.violations_in_all, MAX_KEPT as u64 + 1);
}
