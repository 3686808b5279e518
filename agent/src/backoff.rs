//! How long to stay away after something did not work.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// Longest pause after the first attempt that did not reach the control plane.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Back-off with full jitter: a pause of at most twice as long as it has not worked for. A count of
/// failures would not do: who draws short pauses counts fast, and stays away long after all the
/// others are back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    since: Option<Instant>,
}

impl Backoff {
    pub(crate) fn next(&mut self, longest: Duration) -> Duration {
        self.after_failure(Instant::now(), longest)
    }

    fn after_failure(&mut self, now: Instant, longest: Duration) -> Duration {
        let since = *self.since.get_or_insert(now);
        let ceiling = (now.duration_since(since) * 2).clamp(FIRST_PAUSE, longest);
        Duration::from_millis(random_below(millis(ceiling)))
    }
}

/// A number below `limit`; 0 when that is 0 or the machine has no randomness.
pub(crate) fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes).checked_rem(limit).unwrap_or(0),
        Err(_) => 0,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_time_away_and_vary() {
        let longest = Duration::from_mins(1);
        let start = Instant::now();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut backoff = Backoff::default();
            for (away_ms, most_ms) in
                [(0, 1_000), (10, 1_000), (600, 1_200), (4_000, 8_000), (40_000, 60_000)]
            {
                let now = start + Duration::from_millis(away_ms);
                let pause = backoff.after_failure(now, longest);
                assert!(pause < Duration::from_millis(most_ms), "{pause:?} after {away_ms} ms");
                seen.insert(pause);
            }
        }
        assert!(seen.len() > 500 && seen.last().is_some_and(|p| *p > Duration::from_secs(50)));
    }
}
