//! Waiting until reads show an effect, for targets that show it late.

use std::future::Future;
use std::time::{Duration, Instant};

use super::error::ConnectorError;

/// How long the first wait is, and the longest: each is twice the one before, and up to a quarter longer, so that many
/// who wait for one target do not ask at the same moment.
const FIRST: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(4);

/// Reads until `shows` says that the effect can be seen, or until there is no time left for another read.
/// Answers the last state that was read, which is the only one when `limit` is zero.
pub(super) async fn settle<T, F>(
    limit: Duration,
    mut read: impl FnMut() -> F + Send,
    shows: impl Fn(&T) -> bool + Send,
) -> Result<T, ConnectorError>
where
    T: Send,
    F: Future<Output = Result<T, ConnectorError>> + Send,
{
    let end = Instant::now() + limit;
    let mut wait = FIRST;
    loop {
        let now = read().await?;
        let pause = jittered(wait);
        if shows(&now) || Instant::now() + pause > end {
            return Ok(now);
        }
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST);
    }
}

fn jittered(wait: Duration) -> Duration {
    let [drawn, ..] = *uuid::Uuid::new_v4().as_bytes();
    wait + wait / 4 * u32::from(drawn) / 255
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn reads(limit: Duration, late: u32) -> (u32, u32) {
        let count = AtomicU32::new(0);
        let read = || async { Ok(count.fetch_add(1, Ordering::SeqCst) + 1) };
        let last = settle(limit, read, |no| *no > late).await.expect("reads");
        (last, count.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn reading_ends_with_the_sight_or_with_the_time() {
        assert_eq!(reads(Duration::ZERO, 9).await, (1, 1), "no time, one read");
        assert_eq!(reads(Duration::from_secs(9), 0).await, (1, 1), "seen at once");
        assert_eq!(reads(Duration::from_secs(9), 2).await, (3, 3), "seen late");
        assert_eq!(reads(Duration::from_millis(250), 9).await, (2, 2), "never seen");
        let failing = || async { Err::<(), _>(ConnectorError::invalid("no")) };
        assert!(settle(Duration::from_secs(9), failing, |()| true).await.is_err());
    }

    #[test]
    fn waits_are_spread() {
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| jittered(LONGEST)).collect();
        assert!(waits.len() > 10);
        assert!(waits.iter().all(|wait| (LONGEST..=LONGEST * 5 / 4).contains(wait)));
    }
}
