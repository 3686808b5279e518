use proptest::prelude::*;

use super::{BadRecurrence, Recurrence};
use crate::time::Timestamp;

fn recurrence(zone: &str, cron: &str, duration_s: u32) -> Recurrence {
    Recurrence { cron: cron.to_owned(), zone: zone.to_owned(), duration_s }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("RFC 3339")
}

/// Starts after a moment, up to another one.
fn starts(recurrence: &Recurrence, from: &str, to: &str) -> Vec<String> {
    let mut starts = Vec::new();
    let mut now = at(from);
    while let Some(next) = recurrence.next_start(now).filter(|next| *next <= at(to)) {
        starts.push(next.as_jiff().to_string());
        now = next;
    }
    starts
}

/// Switches of three zones: Europe and America by an hour at different moments, Lord Howe Island by half
/// an hour in the other half of the year.
#[test]
fn slots_when_the_clocks_change() {
    let (vienna, new_york, lord_howe) =
        ("Europe/Vienna", "America/New_York", "Australia/Lord_Howe");
    let table: [(&str, &str, &str, &str, &[&str]); 12] = [
        // 2027-03-28 02:00 is 03:00: half past two is left out, three o'clock stands in for it.
        (
            vienna,
            "30 2 * * *",
            "2027-03-27T00:00:00Z",
            "2027-03-29T23:59:59Z",
            &["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"],
        ),
        // 2027-10-31 03:00 is 02:00: half past two comes twice, the first one counts.
        (
            vienna,
            "30 2 * * *",
            "2027-10-30T00:00:00Z",
            "2027-11-01T23:59:59Z",
            &["2027-10-30T00:30:00Z", "2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"],
        ),
        // Ten at night is ten at night.
        (
            vienna,
            "0 22 * * sat",
            "2027-03-20T00:00:00Z",
            "2027-04-04T00:00:00Z",
            &["2027-03-20T21:00:00Z", "2027-03-27T21:00:00Z", "2027-04-03T20:00:00Z"],
        ),
        (
            vienna,
            "0 * * * *",
            "2027-10-30T22:30:00Z",
            "2027-10-31T02:30:00Z",
            &[
                "2027-10-30T23:00:00Z",
                "2027-10-31T00:00:00Z",
                "2027-10-31T01:00:00Z",
                "2027-10-31T02:00:00Z",
            ],
        ),
        // 2027-03-14 02:00 is 03:00.
        (
            new_york,
            "30 2 * * *",
            "2027-03-13T00:00:00Z",
            "2027-03-15T23:59:59Z",
            &["2027-03-13T07:30:00Z", "2027-03-14T07:00:00Z", "2027-03-15T06:30:00Z"],
        ),
        // 2027-11-07 02:00 is 01:00.
        (
            new_york,
            "30 1 * * *",
            "2027-11-06T00:00:00Z",
            "2027-11-08T23:59:59Z",
            &["2027-11-06T05:30:00Z", "2027-11-07T05:30:00Z", "2027-11-08T06:30:00Z"],
        ),
        (
            new_york,
            "0 * * * *",
            "2027-03-14T05:30:00Z",
            "2027-03-14T08:30:00Z",
            &["2027-03-14T06:00:00Z", "2027-03-14T07:00:00Z", "2027-03-14T08:00:00Z"],
        ),
        (
            new_york,
            "0 9 1 * *",
            "2027-03-01T00:00:00Z",
            "2027-04-02T00:00:00Z",
            &["2027-03-01T14:00:00Z", "2027-04-01T13:00:00Z"],
        ),
        // 2027-10-03 02:00 is 02:30.
        (
            lord_howe,
            "15 2 * * *",
            "2027-10-01T12:00:00Z",
            "2027-10-04T00:00:00Z",
            &["2027-10-01T15:45:00Z", "2027-10-02T15:30:00Z", "2027-10-03T15:15:00Z"],
        ),
        // 2027-04-04 02:00 is 01:30.
        (
            lord_howe,
            "45 1 * * *",
            "2027-04-02T12:00:00Z",
            "2027-04-05T00:00:00Z",
            &["2027-04-02T14:45:00Z", "2027-04-03T14:45:00Z", "2027-04-04T15:15:00Z"],
        ),
        (
            lord_howe,
            "0 12 * * *",
            "2027-04-03T00:00:00Z",
            "2027-04-05T02:00:00Z",
            &["2027-04-03T01:00:00Z", "2027-04-04T01:30:00Z", "2027-04-05T01:30:00Z"],
        ),
        (
            lord_howe,
            "0 12 * * *",
            "2027-10-02T00:00:00Z",
            "2027-10-04T02:00:00Z",
            &["2027-10-02T01:30:00Z", "2027-10-03T01:00:00Z", "2027-10-04T01:00:00Z"],
        ),
    ];
    for (zone, cron, from, to, expected) in table {
        let recurrence = recurrence(zone, cron, 3600);
        assert_eq!(starts(&recurrence, from, to), expected, "{cron} in {zone} from {from}");
    }
}

#[test]
fn a_slot_lasts_as_long_as_it_says_whatever_the_clocks_do() {
    // From one in the morning for four hours, over a switch in each direction.
    for (start, end) in [
        ("2027-03-28T00:00:00Z", "2027-03-28T04:00:00Z"),
        ("2027-10-30T23:00:00Z", "2027-10-31T03:00:00Z"),
    ] {
        let nightly = recurrence("Europe/Vienna", "0 1 * * *", 4 * 3600);
        let slot = nightly.open(at(start)).unwrap();
        assert_eq!((slot.start, slot.end), (at(start), at(end)));
        let last = Timestamp::from_micros(at(end).as_micros() - 1);
        assert_eq!(nightly.open(last), Some(slot));
        assert_eq!(nightly.open(at(end)), None);
        assert_eq!(nightly.open(Timestamp::from_micros(at(start).as_micros() - 1)), None);
    }
}

#[test]
fn of_slots_that_overlap_the_last_one_counts() {
    let hourly = recurrence("UTC", "0 * * * *", 5400);
    let slot = hourly.open(at("2027-01-01T10:20:00.5Z")).unwrap();
    assert_eq!(slot.start, at("2027-01-01T10:00:00Z"));
    assert_eq!(slot.end, at("2027-01-01T11:30:00Z"));
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let check = |zone: &str, cron: &str, duration_s| {
        recurrence(zone, cron, duration_s).check(at("2027-01-01T00:00:00Z"))
    };
    assert_eq!(check("Europe/Vienna", "0 22 * * 1-5", 3600), Ok(()));
    assert_eq!(check("UTC", "0 0 29 2 *", 60), Ok(()));
    for cron in ["", "* * * *", "* * * * * *", "61 * * * *", "a b c d e", "@daily", "0 0 * * 9"] {
        let refused = check("UTC", cron, 3600);
        assert!(matches!(refused, Err(BadRecurrence::Cron { .. })), "{cron}: {refused:?}");
    }
    let never = Err(BadRecurrence::Never { cron: "0 0 30 2 *".to_owned() });
    assert_eq!(check("UTC", "0 0 30 2 *", 3600), never);
    for zone in ["", "Vienna", "../etc/passwd", "Europe/Nowhere"] {
        let refused = Err(BadRecurrence::Zone { zone: zone.to_owned() });
        assert_eq!(check(zone, "0 0 * * *", 3600), refused);
    }
    for duration in [0, 59, 604_801] {
        assert_eq!(check("UTC", "0 0 * * *", duration), Err(BadRecurrence::Duration));
    }
}

proptest! {
    /// Looking back finds what looking ahead finds, at every moment around a switch.
    #[test]
    fn a_moment_is_in_a_slot_exactly_when_one_began_before_it_and_has_not_ended(
        zone in prop::sample::select(vec![
            "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "UTC",
        ]),
        cron in prop::sample::select(vec![
            "30 2 * * *", "45 1 * * *", "0 * * * *", "*/20 1-3 * * *", "15 2 * * 0", "0 0 * * *",
        ]),
        day in prop::sample::select(vec![
            "2027-03-14T00:00:00Z", "2027-03-28T00:00:00Z", "2027-04-03T12:00:00Z",
            "2027-10-02T12:00:00Z", "2027-10-31T00:00:00Z", "2027-11-07T00:00:00Z",
        ]),
        second in -43_200_i64..86_400,
        duration_s in 60_u32..10_000,
    ) {
        let (recurrence, now) = (recurrence(zone, cron, duration_s), at(day).plus_seconds(second));
        let mut began = None;
        let mut from = now.plus_seconds(-i64::from(duration_s));
        while let Some(next) = recurrence.next_start(from).filter(|next| *next <= now) {
            began = Some(next);
            from = next;
        }
        prop_assert_eq!(recurrence.open(now).map(|slot| slot.start), began);
    }
}
