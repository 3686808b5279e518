//! Times that come again: a cron pattern in a time zone, and how long each slot lasts.
//!
//! | When the clocks change | A slot at a fixed time of day | A slot at every hour or minute |
//! |---|---|---|
//! | an hour is left out | begins when that hour would have ended, if its time is left out | follows the clock |
//! | an hour comes twice | begins the first time only | begins both times |
//!
//! How long a slot lasts is time that passes, not what a clock on the wall says: four hours are four
//! hours in the night in which clocks are changed, too. The rules of time zones are those compiled in, so
//! that all servers of one version agree about every moment.
//!
//! Deliberately absent: seconds and years in patterns, and holidays.

use serde::{Deserialize, Serialize};

/// A slot that comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Recurrence {
    /// When it begins: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// IANA name of the time zone that `cron` is in, such as `Europe/Vienna`.
    pub zone: String,
    /// Seconds that it lasts.
    pub duration_s: u32,
}

#[cfg(feature = "decide")]
pub use evaluation::{BadRecurrence, MAX_DURATION_S, MIN_DURATION_S, Slot};

#[cfg(feature = "decide")]
mod evaluation {
    use croner::Cron;
    use croner::parser::{CronParser, Seconds, Year};
    use jiff::Zoned;
    use jiff::tz::{TimeZone, TimeZoneDatabase};

    use super::Recurrence;
    use crate::time::Timestamp;

    /// The shortest slot, in seconds: patterns have minutes.
    pub const MIN_DURATION_S: u32 = 60;
    /// The longest slot, in seconds: a week.
    pub const MAX_DURATION_S: u32 = 7 * 86_400;

    /// One slot: from `start` until just before `end`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Slot {
        pub start: Timestamp,
        pub end: Timestamp,
    }

    /// What is wrong with a recurrence.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum BadRecurrence {
        #[error(
            "“{cron}” is no cron pattern of five fields (minute, hour, day of the month, month, day of the week): {why}"
        )]
        Cron { cron: String, why: String },
        #[error(
            "“{zone}” is no time zone that is known here; use an IANA name such as Europe/Vienna"
        )]
        Zone { zone: String },
        #[error("it has to last between {MIN_DURATION_S} seconds and a week")]
        Duration,
        #[error("“{cron}” never happens")]
        Never { cron: String },
    }

    impl BadRecurrence {
        /// Name of the field that is wrong.
        pub const fn field(&self) -> &'static str {
            match self {
                Self::Cron { .. } | Self::Never { .. } => "cron",
                Self::Zone { .. } => "zone",
                Self::Duration => "duration_s",
            }
        }
    }

    impl Recurrence {
        /// Whether it can be evaluated, and has a slot after this moment.
        pub fn check(&self, at: Timestamp) -> Result<(), BadRecurrence> {
            if !(MIN_DURATION_S..=MAX_DURATION_S).contains(&self.duration_s) {
                return Err(BadRecurrence::Duration);
            }
            self.parsed()?;
            match self.next_start(at) {
                Some(_) => Ok(()),
                None => Err(BadRecurrence::Never { cron: self.cron.clone() }),
            }
        }

        /// The slot that this moment lies in; of those that overlap, the one that ends last.
        pub fn open(&self, at: Timestamp) -> Option<Slot> {
            let (cron, zone) = self.parsed().ok()?;
            let start = cron.find_previous_occurrence(&zoned(at, &zone), true).ok()?;
            let start = Timestamp::new(start.timestamp());
            let end = start.plus_seconds(i64::from(self.duration_s));
            (start <= at && at < end).then_some(Slot { start, end })
        }

        /// When the next slot begins, after this moment.
        pub fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
            let (cron, zone) = self.parsed().ok()?;
            let next = cron.find_next_occurrence(&zoned(at, &zone), false).ok()?;
            Some(Timestamp::new(next.timestamp()))
        }

        /// When slots begin after this moment, one after the other.
        pub fn starts(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
            let parsed = self.parsed().ok();
            let mut at = after;
            std::iter::from_fn(move || {
                let (cron, zone) = parsed.as_ref()?;
                let next = cron.find_next_occurrence(&zoned(at, zone), false).ok()?;
                at = Timestamp::new(next.timestamp());
                Some(at)
            })
        }

        /// The pattern in English.
        pub fn describe(&self) -> String {
            self.parsed().map_or_else(|_| self.cron.clone(), |(cron, _)| cron.describe())
        }

        fn parsed(&self) -> Result<(Cron, TimeZone), BadRecurrence> {
            let no_cron = |why: String| BadRecurrence::Cron { cron: self.cron.clone(), why };
            if self.cron.split_whitespace().count() != 5 {
                return Err(no_cron("it has another number of fields".to_owned()));
            }
            let parser =
                CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
            let cron = parser.parse(&self.cron).map_err(|error| no_cron(error.to_string()))?;
            let zone = TimeZoneDatabase::bundled()
                .get(&self.zone)
                .map_err(|_| BadRecurrence::Zone { zone: self.zone.clone() })?;
            Ok((cron, zone))
        }
    }

    /// Without what is finer than a second, which patterns know nothing of.
    fn zoned(at: Timestamp, zone: &TimeZone) -> Zoned {
        let seconds = at.as_micros().div_euclid(1_000_000);
        Timestamp::from_micros(0).plus_seconds(seconds).as_jiff().to_zoned(zone.clone())
    }
}

#[cfg(all(test, feature = "decide"))]
mod tests;
