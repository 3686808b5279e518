//! When this person was here before, as far as this browser knows.

use nexplane_core::id::PersonId;
use nexplane_core::time::Timestamp;

use crate::{clock, storage};

/// Seconds without looking after which it is another visit.
const PAUSE_S: i64 = 30 * 60;
/// Seconds that are shown to who was never here: seven days.
const FIRST_S: i64 = 7 * 24 * 3_600;

/// Notes that they are here, and answers since when they were not.
pub fn begin(me: PersonId) -> Timestamp {
    let key = format!("nexplane-visit-{me}");
    let visit = next(storage::read(&key).as_deref(), clock::now());
    storage::write(&key, Some(&format!("{} {}", visit.since, visit.last)));
    visit.since
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Visit {
    /// The end of the visit before this one.
    since: Timestamp,
    /// When they looked last.
    last: Timestamp,
}

fn next(stored: Option<&str>, now: Timestamp) -> Visit {
    let read = |text: &str| {
        let (since, last) = text.split_once(' ')?;
        Some(Visit { since: since.parse().ok()?, last: last.parse().ok()? })
    };
    match stored.and_then(read) {
        None => Visit { since: now.plus_seconds(-FIRST_S), last: now },
        Some(before) if now.seconds_since(before.last) > PAUSE_S => {
            Visit { since: before.last, last: now }
        }
        Some(before) => Visit { since: before.since, last: now },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_begins_another_visit() {
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let text = |visit: Visit| format!("{} {}", visit.since, visit.last);
        let first = next(None, at(100_000));
        assert_eq!(first.since, at(100_000 - 7 * 24 * 60));
        let same = next(Some(&text(first)), at(100_020));
        assert_eq!(same.since, first.since);
        let other = next(Some(&text(same)), at(100_060));
        assert_eq!(other, Visit { since: at(100_020), last: at(100_060) });
        assert_eq!(next(Some("nonsense"), at(100_000)), first);
    }
}
