//! Times, numbers, identifiers and JSON values as people read them.
//!
//! Everything is a function of its arguments: the browser's clock and time zone come from
//! [`crate::clock`].

use nexplane_core::time::Timestamp;
use serde_json::Value;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;

/// `4 min ago`, `in 2 h`, `just now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.seconds_since(at);
    match lasting(seconds.abs()) {
        None => "just now".to_owned(),
        Some(span) if seconds < 0 => format!("in {span}"),
        Some(span) => format!("{span} ago"),
    }
}

/// How long something has been so: `under a minute`, `3 min`, `2 h`, `5 days`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    lasting(to.seconds_since(from)).unwrap_or_else(|| "under a minute".to_owned())
}

fn lasting(seconds: i64) -> Option<String> {
    Some(match seconds {
        ..45 => return None,
        45..HOUR_S => format!("{} min", (seconds + 30) / MINUTE_S),
        HOUR_S..DAY_S => format!("{} h", (seconds + HOUR_S / 2) / HOUR_S),
        _ => {
            let days = (seconds + DAY_S / 2) / DAY_S;
            if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
        }
    })
}

/// `14:05`: minutes and seconds that are left, with the hours when there are some; `0:00` afterwards.
pub fn countdown(until: Timestamp, now: Timestamp) -> String {
    let left = until.seconds_since(now).max(0);
    let (hours, minutes, seconds) = (left / HOUR_S, left % HOUR_S / MINUTE_S, left % MINUTE_S);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `15.6 GB`, of 1,000 each.
pub fn bytes(n: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut whole, mut tenths, mut unit) = (n, 0, 0);
    while whole >= 1_000 && unit + 1 < units.len() {
        (tenths, whole, unit) = (whole % 1_000 / 100, whole / 1_000, unit + 1);
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

/// The moment on the viewer's wall clock, as short as it can be without being ambiguous: today's
/// hour, otherwise the day, and the year when it is not this one. `offset_minutes` is east of UTC.
pub fn local(at: Timestamp, now: Timestamp, offset_minutes: i32) -> String {
    let (at, now) = (wall_clock(at, offset_minutes), wall_clock(now, offset_minutes));
    let hour = format!("{:02}:{:02}", at.hour(), at.minute());
    if at.date() == now.date() {
        hour
    } else if at.date().tomorrow().ok() == Some(now.date()) {
        format!("Yesterday {hour}")
    } else if at.year() == now.year() {
        format!("{} {}, {hour}", at.day(), month(at.month()))
    } else {
        format!("{} {} {}, {hour}", at.day(), month(at.month()), at.year())
    }
}

/// Hour, minute and second on the viewer's wall clock.
pub fn local_exact(at: Timestamp, now: Timestamp, offset_minutes: i32) -> String {
    let seconds = wall_clock(at, offset_minutes).second();
    format!("{}:{seconds:02}", local(at, now, offset_minutes))
}

/// What a `datetime-local` input holds for the moment.
pub fn local_input(at: Timestamp, offset_minutes: i32) -> String {
    let at = wall_clock(at, offset_minutes);
    let (day, hour) = (at.date(), at.time());
    format!("{day}T{:02}:{:02}", hour.hour(), hour.minute())
}

/// The same moment in UTC, in full: `2026-11-23 15:08:01 UTC`.
pub fn utc(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.get(..19).unwrap_or(&text).replace('T', " ");
    format!("{seconds} UTC")
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Moment(Timestamp),
}

/// A sentence of the server, in which moments are words like others.
pub fn moments(sentence: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    for (index, word) in sentence.split(' ').enumerate() {
        if index > 0 {
            text.push(' ');
        }
        let bare = word.trim_end_matches(['.', ',', ';', ':']);
        match bare.parse() {
            Ok(at) => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Moment(at));
                text.push_str(word.get(bare.len()..).unwrap_or_default());
            }
            Err(_) => text.push_str(word),
        }
    }
    parts.push(Part::Text(text));
    parts
}

/// A sentence of the log with its moments as [`utc`] writes them.
pub fn readable(sentence: &str) -> String {
    let write = |part| match part {
        Part::Text(text) => text,
        Part::Moment(at) => utc(at),
    };
    moments(sentence).into_iter().map(write).collect()
}

fn wall_clock(at: Timestamp, offset_minutes: i32) -> jiff::civil::DateTime {
    let offset = jiff::tz::Offset::from_seconds(offset_minutes.saturating_mul(60))
        .unwrap_or(jiff::tz::Offset::UTC);
    offset.to_datetime(at.as_jiff())
}

/// The day on the viewer's calendar.
pub fn local_date(at: Timestamp, offset_minutes: i32) -> jiff::civil::Date {
    wall_clock(at, offset_minutes).date()
}

/// `23 Nov 2026`
pub fn day(day: jiff::civil::Date) -> String {
    format!("{} {} {}", day.day(), month(day.month()), day.year())
}

/// `Mon 23 Nov`
pub fn weekday(day: jiff::civil::Date) -> String {
    use jiff::civil::Weekday as W;

    let name = match day.weekday() {
        W::Monday => "Mon",
        W::Tuesday => "Tue",
        W::Wednesday => "Wed",
        W::Thursday => "Thu",
        W::Friday => "Fri",
        W::Saturday => "Sat",
        W::Sunday => "Sun",
    };
    format!("{name} {} {}", day.day(), month(day.month()))
}

const fn month(number: i8) -> &'static str {
    match number {
        1 => "Jan",
        2 => "Feb",
        3 => "Mar",
        4 => "Apr",
        5 => "May",
        6 => "Jun",
        7 => "Jul",
        8 => "Aug",
        9 => "Sep",
        10 => "Oct",
        11 => "Nov",
        _ => "Dec",
    }
}

/// How long something took: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub fn duration(from: Timestamp, to: Timestamp) -> String {
    let millis = (to.as_micros().saturating_sub(from.as_micros())).max(0) / 1_000;
    let seconds = millis / 1_000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        10..MINUTE_S => format!("{seconds} s"),
        MINUTE_S..HOUR_S => format!("{} min {:02} s", seconds / MINUTE_S, seconds % MINUTE_S),
        _ => format!("{} h {:02} min", seconds / HOUR_S, seconds % HOUR_S / MINUTE_S),
    }
}

/// `3 hosts`, `1 host`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", number(n)) }
}

/// `3,212`
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A part of `of` in whole per cent, rounded; 0 of 0 is 0.
pub fn percent(part: u64, of: u64) -> u64 {
    part.saturating_mul(200).checked_div(of).map_or(0, |twice| twice.div_ceil(2))
}

/// The first twelve characters of a digest: enough to compare by eye.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The last eight characters of an id: the first are the time, which all of an hour share.
pub fn short_id(id: uuid::Uuid) -> String {
    let text = id.simple().to_string();
    format!("…{}", text.get(24..).unwrap_or(&text))
}

/// A JSON value as people write it: text without quotes, lists on lines of their own.
pub fn json(value: &Value) -> String {
    match value {
        Value::Null => "—".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "(none)".to_owned(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(json).collect::<Vec<_>>().join("\n")
        }
        Value::Array(_) | Value::Object(_) => pretty(value),
    }
}

/// A JSON value as JSON, indented.
pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// `ssl_mode` becomes `SSL mode`.
pub fn humanise(name: &str) -> String {
    let is_identifier = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-.".contains(letter)
    };
    if !name.chars().all(is_identifier) {
        // Words already, or a name of somebody's own.
        return name.to_owned();
    }
    let words = name.replace(['_', '-', '.'], " ");
    let mut text = String::with_capacity(words.len());
    for (index, word) in words.split_whitespace().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        if ACRONYMS.contains(&word) {
            text.push_str(&word.to_uppercase());
        } else if index == 0 {
            let mut letters = word.chars();
            text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
            text.push_str(letters.as_str());
        } else {
            text.push_str(word);
        }
    }
    text
}

const ACRONYMS: [&str; 22] = [
    "acl", "api", "arn", "aws", "ca", "cpu", "dn", "iam", "id", "ip", "ldap", "mac", "os", "ou",
    "s3", "ssh", "ssl", "tls", "ttl", "uid", "url", "uuid",
];

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn moments_in_sentences_are_readable() {
        assert_eq!(
            readable("Complete, until 2026-11-29T10:39:46.979400Z. Version 1.2."),
            "Complete, until 2026-11-29 10:39:46 UTC. Version 1.2."
        );
    }

    #[test]
    fn spans_and_what_is_left_of_them() {
        let now = at("2026-11-23T15:00:00Z");
        for (from, expected) in [
            ("2026-11-23T14:59:40Z", "under a minute"),
            ("2026-11-23T15:00:40Z", "under a minute"),
            ("2026-11-23T14:57:00Z", "3 min"),
            ("2026-11-21T15:00:00Z", "2 days"),
        ] {
            assert_eq!(span(at(from), now), expected, "{from}");
        }
        assert_eq!(countdown(now, at("2026-11-23T14:45:55Z")), "14:05");
        assert_eq!(countdown(now, at("2026-11-23T13:00:00Z")), "2:00:00");
        assert_eq!(countdown(now, at("2026-11-23T15:00:01Z")), "0:00");
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        assert_eq!((bytes(999), bytes(1_000)), ("999 B".to_owned(), "1.0 kB".to_owned()));
        assert_eq!(bytes(16_784_039_936), "16.7 GB");
        assert_eq!(bytes(u64::MAX), "18446744.0 TB");
    }

    #[test]
    fn relative_times_round_and_look_both_ways() {
        let now = at("2026-11-23T15:00:00Z");
        for (moment, expected) in [
            ("2026-11-23T14:59:40Z", "just now"),
            ("2026-11-23T14:55:50Z", "4 min ago"),
            ("2026-11-23T12:40:00Z", "2 h ago"),
            ("2026-11-22T14:00:00Z", "1 day ago"),
            ("2026-11-12T15:00:00Z", "11 days ago"),
            ("2026-11-23T15:15:00Z", "in 15 min"),
        ] {
            assert_eq!(relative(at(moment), now), expected);
        }
    }

    #[test]
    fn local_times_leave_out_what_is_known() {
        let now = at("2026-11-23T15:00:00Z");
        assert_eq!(local(at("2026-11-23T09:05:00Z"), now, 60), "10:05");
        assert_eq!(local(at("2026-11-22T23:30:00Z"), now, 60), "00:30");
        assert_eq!(local(at("2026-11-22T09:05:00Z"), now, 0), "Yesterday 09:05");
        assert_eq!(local(at("2026-03-02T09:05:00Z"), now, -300), "2 Mar, 04:05");
        assert_eq!(local(at("2025-03-02T09:05:00Z"), now, 0), "2 Mar 2025, 09:05");
        assert_eq!(local_exact(at("2026-11-23T09:05:07Z"), now, 0), "09:05:07");
        assert_eq!(local_input(at("2026-11-23T09:05:07Z"), -600), "2026-11-22T23:05");
    }

    #[test]
    fn utc_is_in_full() {
        assert_eq!(utc(at("2026-11-23T15:08:01.5Z")), "2026-11-23 15:08:01 UTC");
    }

    #[test]
    fn durations_keep_two_units() {
        let start = at("2026-11-23T15:00:00Z");
        for (end, expected) in [
            ("2026-11-23T15:00:00.44Z", "0.4 s"),
            ("2026-11-23T15:00:12Z", "12 s"),
            ("2026-11-23T15:03:05Z", "3 min 05 s"),
            ("2026-11-23T17:10:00Z", "2 h 10 min"),
            ("2026-11-23T14:00:00Z", "0.0 s"),
        ] {
            assert_eq!(duration(start, at(end)), expected);
        }
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(number(7), "7");
        assert_eq!(number(3_212), "3,212");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(count(1, "host", "hosts"), "1 host");
        assert_eq!(count(0, "host", "hosts"), "0 hosts");
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(2, 3), 67);
        assert_eq!(percent(0, 0), 0);
    }

    #[test]
    fn values_are_shown_without_json_noise() {
        assert_eq!(json(&value!(null)), "—");
        assert_eq!(json(&value!("text")), "text");
        assert_eq!(json(&value!(["a", 1, true])), "a\n1\nyes");
        assert_eq!(json(&value!([])), "(none)");
        assert_eq!(json(&value!({"a": 1})), "{\n  \"a\": 1\n}");
    }

    #[test]
    fn names_become_words() {
        assert_eq!(humanise("ssl_mode"), "SSL mode");
        assert_eq!(humanise("bind_dn"), "Bind DN");
        assert_eq!(humanise("host"), "Host");
        assert_eq!(humanise("role bi_finance"), "role bi_finance");
    }

    #[test]
    fn ids_and_digests_are_cut() {
        let id: uuid::Uuid = "0199b0c2-7d00-7a31-8f00-1234deadbeef".parse().unwrap();
        assert_eq!(short_id(id), "…deadbeef");
        assert_eq!(short_digest("0123456789abcdef"), "0123456789ab");
        assert_eq!(short_digest("short"), "short");
    }
}
