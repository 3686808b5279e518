//! The dead-man's decisions: how long an effect that may cut the agent's own line to the control plane may
//! stand without a confirmation, and what becomes of it after a restart.
//!
//! The truth is the journal's record [`Armed`], durable before the effect. What is decided of it is decided
//! here, by functions of the record and the moment; who waits and who takes back is the
//! [runner](crate::runner). How the line is tried is a [`Line`]'s affair, how time passes a [`Watch`]'s.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_core::job::PollRequest;
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::os::{self, Uptime};

/// The way to the control plane, as it is after an effect.
pub trait Line: Send + Sync + Debug {
    /// Asks the control plane something over a connection that is made for this question, from the name's
    /// resolution on. Returns after `patience` at the latest.
    ///
    /// # Errors
    /// A sentence that says why there was no answer.
    fn reach(&self, patience: Duration) -> Result<(), String>;

    /// Polls over such a connection, as the agent does, and leaves alone what there is to do.
    ///
    /// # Errors
    /// A sentence that says why there was no answer, or that it was no.
    fn poll(&self, _request: &PollRequest, patience: Duration) -> Result<(), String> {
        self.reach(patience)
    }
}

/// How time passes.
pub trait Watch: Send + Sync + Debug {
    /// Now, as it can be compared with what an earlier process wrote down.
    fn moment(&self) -> Moment;

    /// Time since some fixed moment of this process. Nobody can set it.
    fn running(&self) -> Duration;

    fn sleep(&self, pause: Duration);
}

/// A moment, told three ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the clock on the wall says; it may be wrong, and may be set.
    pub at: Timestamp,
    /// Which start of the machine this is; `None` when the machine does not say.
    pub boot: Option<String>,
    /// Milliseconds since that start, times asleep included.
    pub uptime_ms: u64,
}

/// How long an effect may stand unconfirmed: from ten seconds to ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    seconds: u32,
}

impl Limit {
    /// Shorter than this an honest line might not be back after its own interface was restarted.
    pub const SHORTEST_S: u32 = 10;
    /// Longer than this, and nobody would wait for it beside a dead host. An order is valid as long.
    pub const LONGEST_S: u32 = 600;

    /// `None` outside of the bounds.
    pub fn new(seconds: u32) -> Option<Self> {
        (Self::SHORTEST_S..=Self::LONGEST_S).contains(&seconds).then_some(Self { seconds })
    }

    /// Of a number of seconds.
    ///
    /// # Errors
    /// A sentence that says what may be said.
    pub fn parse(text: &str) -> Result<Self, BadLimit> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = digits.then(|| text.parse().ok()).flatten();
        seconds.and_then(Self::new).ok_or_else(|| BadLimit { text: text.to_owned() })
    }

    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self { seconds: 60 }
    }
}

/// What was said is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a time to reach the control plane in: say a number of seconds from {} to {}",
    Limit::SHORTEST_S,
    Limit::LONGEST_S
)]
pub struct BadLimit {
    text: String,
}

/// The timer, as it is on disk before the effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    pub uptime_ms: u64,
    /// Seconds from this moment on.
    pub limit_s: u32,
    /// Armed anew after the machine was started in between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl Armed {
    pub fn new(now: Moment, limit: Limit) -> Self {
        let Moment { at, boot, uptime_ms } = now;
        Self { at, boot, uptime_ms, limit_s: limit.seconds, again: false }
    }

    /// What is left of the time, never more than all of it.
    ///
    /// Within one start of the machine nobody can set the clock that counts. Across a start only the one on
    /// the wall remains, and it may be wrong: one that went back costs one more limit at most, because a
    /// second start ends the time whatever the clock says.
    pub fn left(&self, now: &Moment) -> Duration {
        let limit = Duration::from_secs(u64::from(self.limit_s));
        let passed = if self.is_of(now) {
            match now.uptime_ms.checked_sub(self.uptime_ms) {
                Some(passed_ms) => Duration::from_millis(passed_ms),
                // No machine counts backwards; whatever this is, it is not to be waited for.
                None => limit,
            }
        } else if self.again {
            limit
        } else {
            let passed_s = now.at.seconds_since(self.at);
            Duration::from_secs(u64::try_from(passed_s).unwrap_or(0))
        };
        limit.saturating_sub(passed)
    }

    /// The same timer for another start of the machine; `None` when it is still the same start.
    pub fn for_this_start(&self, now: &Moment) -> Option<Self> {
        if self.is_of(now) {
            return None;
        }
        let left = self.left(now);
        let limit_s = u32::try_from(left.as_secs()).unwrap_or(self.limit_s);
        let Moment { at, boot, uptime_ms } = now.clone();
        Some(Self { at, boot, uptime_ms, limit_s, again: true })
    }

    fn is_of(&self, now: &Moment) -> bool {
        self.boot.is_some() && self.boot == now.boot
    }
}

/// What becomes of an effect that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was not armed, or was confirmed: nothing hangs on the line.
    Settled,
    /// The line may be tried for this long.
    Confirm(Duration),
    /// The time is over. Nobody has to be asked.
    TakeBack,
}

/// Decides from what the journal says of a job, before any network.
pub fn next(armed: Option<&Armed>, confirmed: bool, now: &Moment) -> Next {
    match armed {
        None => Next::Settled,
        Some(_) if confirmed => Next::Settled,
        Some(armed) => match armed.left(now) {
            Duration::ZERO => Next::TakeBack,
            left => Next::Confirm(left),
        },
    }
}

/// Whether an effect that was interrupted is taken back before anything of the network is up, when nobody can
/// be asked: its time is over, or the machine was started since and nothing of it was confirmed.
pub fn is_over_at_start(armed: Option<&Armed>, confirmed: bool, now: &Moment) -> bool {
    let over = |armed: &Armed| !armed.is_of(now) || armed.left(now).is_zero();
    !confirmed && armed.is_some_and(over)
}

/// What a runner needs for it.
#[derive(Clone, Debug)]
pub struct DeadMan {
    /// Without one, what may cut the line is refused.
    pub line: Option<Arc<dyn Line>>,
    pub watch: Arc<dyn Watch>,
    pub limit: Limit,
    /// A file that is there from before an effect is armed until nothing armed is open: whoever starts the
    /// machine sees by it whether something may have to be taken back.
    pub marker: Option<PathBuf>,
}

impl Default for DeadMan {
    fn default() -> Self {
        let watch = Arc::new(SystemWatch::default());
        Self { line: None, watch, limit: Limit::default(), marker: None }
    }
}

/// This machine's time.
#[derive(Debug)]
pub struct SystemWatch {
    since: Instant,
}

impl Default for SystemWatch {
    fn default() -> Self {
        Self { since: Instant::now() }
    }
}

impl Watch for SystemWatch {
    fn moment(&self) -> Moment {
        let (boot, uptime_ms) = match os::uptime() {
            Some(Uptime { boot, since }) => {
                (Some(boot), u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            None => (None, 0),
        };
        Moment { at: Timestamp::new(jiff::Timestamp::now()), boot, uptime_ms }
    }

    fn running(&self) -> Duration {
        self.since.elapsed()
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_s: i64, boot: &str, uptime_s: u64) -> Moment {
        let boot = (!boot.is_empty()).then(|| boot.to_owned());
        Moment { at: Timestamp::from_micros(at_s * 1_000_000), boot, uptime_ms: uptime_s * 1000 }
    }

    fn seconds(next: Next) -> Option<u64> {
        match next {
            Next::Settled => None,
            Next::Confirm(left) => Some(left.as_secs()),
            Next::TakeBack => Some(0),
        }
    }

    #[test]
    fn what_becomes_of_it_is_a_table() {
        // Armed at 1000 on the wall, 500 seconds after start "a", for a minute.
        let first = Armed::new(moment(1000, "a", 500), Limit::default());
        let again = Armed { again: true, ..first.clone() };
        let unknown = Armed { boot: None, ..first.clone() };
        let day = 86_400;
        #[rustfmt::skip]
        let table = [
            ("at once",                          &first,   moment(1000, "a", 500), 60),
            ("a while later",                    &first,   moment(1020, "a", 520), 40),
            ("at the last moment",               &first,   moment(1059, "a", 559), 1),
            ("when the time is over",            &first,   moment(1060, "a", 560), 0),
            ("long after",                       &first,   moment(1000 + day, "a", 90_000), 0),
            ("clock set back, over",             &first,   moment(1000 - day, "a", 560), 0),
            ("clock set back, not over",         &first,   moment(1000 - day, "a", 520), 40),
            ("clock set ahead, not over",        &first,   moment(1000 + day, "a", 520), 40),
            ("a machine that counts backwards",  &first,   moment(1020, "a", 499), 0),
            ("started again, not over",          &first,   moment(1020, "b", 10), 40),
            ("started again, over",              &first,   moment(1060, "b", 10), 0),
            ("started again, clock ahead",       &first,   moment(1000 + day, "b", 10), 0),
            ("started again, clock back",        &first,   moment(1000 - day, "b", 10), 60),
            ("started again, clock of 1970",     &first,   moment(0, "b", 900), 60),
            ("a second start, clock back",       &again,   moment(1000 - day, "b", 10), 0),
            ("a second start, not over",         &again,   moment(1020, "b", 10), 0),
            ("the same start after a first",     &again,   moment(1020, "a", 520), 40),
            ("a machine that does not say",      &unknown, moment(1020, "", 0), 40),
        ];
        for (case, armed, now, left_s) in table {
            assert_eq!(seconds(next(Some(armed), false, &now)), Some(left_s), "{case}");
            assert_eq!(next(Some(armed), true, &now), Next::Settled, "{case}, confirmed");
            assert_eq!(next(None, false, &now), Next::Settled, "{case}, not armed");
            let early = is_over_at_start(Some(armed), false, &now);
            assert_eq!(
                early,
                left_s == 0 || armed.boot != now.boot || now.boot.is_none(),
                "{case}"
            );
            assert!(!is_over_at_start(Some(armed), true, &now), "{case}, confirmed");
            assert!(!is_over_at_start(None, false, &now), "{case}, not armed");
        }
    }

    /// Whatever the clock says at each start: it fires.
    #[test]
    fn no_clock_and_no_number_of_starts_keeps_it_from_firing() {
        for at_s in [0, 999, 1000, 1001, 1059] {
            let mut armed = Armed::new(moment(1000, "0", 500), Limit::default());
            let mut starts = 0;
            loop {
                starts += 1;
                let now = moment(at_s, &starts.to_string(), 5);
                match next(Some(&armed), false, &now) {
                    Next::Confirm(left) => assert!(left <= Duration::from_mins(1)),
                    Next::TakeBack => break,
                    Next::Settled => panic!("nobody confirmed it"),
                }
                armed = armed.for_this_start(&now).unwrap();
                assert_eq!(armed.for_this_start(&now), None);
            }
            assert_eq!(starts, 2, "clock at {at_s}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(Limit::parse("60"), Ok(Limit::default()));
        assert_eq!(Limit::parse("10").unwrap().seconds(), 10);
        assert_eq!(Limit::parse("600").unwrap().duration(), Duration::from_mins(10));
        for wrong in ["", "9", "601", "-60", "+60", "60s", "1e2", "99999999999"] {
            let refused = Limit::parse(wrong).unwrap_err().to_string();
            assert!(refused.contains("from 10 to 600"), "{refused}");
        }
    }

    #[test]
    fn this_machine_says_when_it_was_started() {
        let watch = SystemWatch::default();
        let (one, two) = (watch.moment(), watch.moment());
        if cfg!(target_os = "linux") {
            assert!(one.boot.is_some() && one.boot == two.boot, "{one:?}");
            assert!(0 < one.uptime_ms && one.uptime_ms <= two.uptime_ms);
        } else {
            assert_eq!((one.boot, one.uptime_ms), (None, 0));
        }
    }
}
