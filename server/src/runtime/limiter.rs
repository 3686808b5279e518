//! Keeps to the limits of each connection: so many sessions at a time, so many in a minute.
//!
//! Who asks first has its turn first. Deliberately absent: limits over several servers; each keeps to them by
//! itself, so two servers together open twice as many sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexplane_connectors::sdk::{Advice, ConnectorError, ErrorKind};
use nexplane_core::connection::Limits;
use nexplane_core::id::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long somebody waits for a turn before they hear that the connection is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// One for all sessions of a server.
#[derive(Clone, Debug, Default)]
pub struct Limiter(Arc<Mutex<HashMap<ConnectionId, Lane>>>);

#[derive(Debug)]
struct Lane {
    limits: Limits,
    sessions: Arc<Semaphore>,
    /// When the next session may be opened.
    next: Instant,
}

/// As long as it is held, a session counts as open.
#[derive(Debug)]
pub struct Turn(
    #[allow(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit,
);

impl Limiter {
    /// Waits until one more session may be opened, for half a minute at most.
    pub async fn turn(
        &self,
        connection: ConnectionId,
        limits: Limits,
    ) -> Result<Turn, ConnectorError> {
        let begun = Instant::now();
        let sessions = self.lane(connection, limits, |lane| Arc::clone(&lane.sessions));
        let busy = |_| {
            let Limits { sessions, .. } = limits;
            let why = format!(
                "The {sessions} sessions that this connection may have are in use; try again later, or raise its limit."
            );
            ConnectorError::new(ErrorKind::RateLimited, Advice::Later, why)
        };
        let permit =
            tokio::time::timeout(PATIENCE, sessions.acquire_owned()).await.map_err(busy)?;
        let closed =
            |_| ConnectorError::new(ErrorKind::RateLimited, Advice::Later, "The server stops.");
        let permit = permit.map_err(closed)?;
        let at = self.lane(connection, limits, |lane| lane.book(begun + PATIENCE)).ok_or_else(|| {
            let count = limits.per_minute.unwrap_or_default();
            let why = format!("More than the {count} sessions a minute that this connection may have were asked for; try again later, or raise its limit.");
            ConnectorError::new(ErrorKind::RateLimited, Advice::Later, why)
        })?;
        tokio::time::sleep_until(at).await;
        Ok(Turn(permit))
    }

    /// Where sessions of a connection are counted. With other limits than before it is another one, and
    /// sessions that are open still are not counted there.
    fn lane<T>(
        &self,
        connection: ConnectionId,
        limits: Limits,
        then: impl FnOnce(&mut Lane) -> T,
    ) -> T {
        let new = || Lane {
            limits,
            sessions: Arc::new(Semaphore::new(usize::try_from(limits.sessions).unwrap_or(1))),
            next: Instant::now(),
        };
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(connection).or_insert_with(new);
        if lane.limits != limits {
            *lane = Lane { next: lane.next, ..new() };
        }
        then(lane)
    }
}

impl Lane {
    /// The moment at which the next session may be opened, unless that is later than `latest`.
    fn book(&mut self, latest: Instant) -> Option<Instant> {
        let now = Instant::now();
        let Some(per_minute) = self.limits.per_minute else { return Some(now) };
        let at = self.next.max(now);
        if at > latest {
            return None;
        }
        self.next = at + Duration::from_mins(1) / per_minute.max(1);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnectionId = ConnectionId(uuid::Uuid::from_u128(1));
    const OTHER: ConnectionId = ConnectionId(uuid::Uuid::from_u128(2));

    #[tokio::test(start_paused = true)]
    async fn no_more_sessions_are_open_than_may_be() {
        let limiter = Limiter::default();
        let limits = Limits { sessions: 2, per_minute: None };
        let first = limiter.turn(ONE, limits).await.unwrap();
        let _second = limiter.turn(ONE, limits).await.unwrap();
        let begun = Instant::now();
        let refused = limiter.turn(ONE, limits).await.unwrap_err();
        assert_eq!((refused.kind, refused.advice), (ErrorKind::RateLimited, Advice::Later));
        assert_eq!(begun.elapsed(), PATIENCE);
        // Other connections have their own.
        limiter.turn(OTHER, limits).await.unwrap();
        // One that waits has its turn as soon as there is one.
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.turn(ONE, limits).await.map(|_| Instant::now()) }
        });
        tokio::time::sleep(Duration::from_secs(7)).await;
        let given_back = Instant::now();
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap(), given_back);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_opened_at_an_even_pace() {
        let limiter = Limiter::default();
        let limits = Limits { sessions: 100, per_minute: Some(6) };
        let begun = Instant::now();
        for no in 0..4 {
            limiter.turn(ONE, limits).await.unwrap();
            assert_eq!(begun.elapsed(), Duration::from_secs(10) * no);
        }
        // The next ones are for moments that are booked already.
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.turn(ONE, limits).await.is_ok() })
            })
            .collect();
        let mut answers = Vec::new();
        for each in waiting {
            answers.push(each.await.unwrap());
        }
        assert_eq!(answers, [true, true, true, false]);
        // What was idle does not save up.
        tokio::time::sleep(Duration::from_mins(10)).await;
        let begun = Instant::now();
        limiter.turn(ONE, limits).await.unwrap();
        limiter.turn(ONE, limits).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        // A higher limit counts at once.
        let more = Limits { per_minute: Some(60), ..limits };
        let begun = Instant::now();
        limiter.turn(ONE, more).await.unwrap();
        limiter.turn(ONE, more).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(11));
    }
}
