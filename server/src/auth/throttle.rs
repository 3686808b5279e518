//! A brake on guessing passwords: per account, in memory, growing with every failure.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::problem::{ApiError, ApiResult};

/// Failures that cost nothing.
const FREE: u32 = 5;
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(5);
/// The most accounts that are watched; above it, those whose wait is over are forgotten.
const LIMIT: usize = 50_000;

#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Throttle {
    /// 429 while the account has to wait.
    pub fn check(&self, account: &str) -> ApiResult<()> {
        let failures = self.lock().get(account).copied();
        let Some(left) = failures.and_then(|f| f.until.checked_duration_since(Instant::now()))
        else {
            return Ok(());
        };
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Err(ApiError::too_many(
            seconds,
            format!("Too many wrong passwords for this account. Try again in {seconds} s."),
        ))
    }

    pub fn failed(&self, account: &str) {
        let now = Instant::now();
        let mut known = self.lock();
        if known.len() >= LIMIT {
            known.retain(|_, failures| failures.until > now);
        }
        let failures = known.entry(account.to_owned()).or_insert(Failures { count: 0, until: now });
        failures.count = failures.count.saturating_add(1);
        if failures.count > FREE {
            let wait = Duration::from_secs(1 << (failures.count - FREE).min(9));
            failures.until = now + wait.min(LONGEST);
        }
    }

    pub fn succeeded(&self, account: &str) {
        self.lock().remove(account);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_failure_has_to_wait_and_a_success_forgets() {
        let throttle = Throttle::default();
        for _ in 0..FREE {
            throttle.failed("a");
            assert!(throttle.check("a").is_ok());
        }
        throttle.failed("a");
        assert!(throttle.check("a").is_err());
        assert!(throttle.check("b").is_ok());
        throttle.succeeded("a");
        assert!(throttle.check("a").is_ok());
    }
}
