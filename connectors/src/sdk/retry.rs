//! When the layer makes a call again by itself.
//!
//! | The call ended with | Then |
//! |---|---|
//! | [`Advice::RetryNow`] | again at once |
//! | [`ErrorKind::RateLimited`] and [`Advice::Later`] | again when the target said, or with a growing and random wait |
//! | [`Advice::OutcomeUnknown`] of an effect that is [`EffectClass::Keyed`] | the same: the target knows the key |
//! | anything else | never |
//!
//! So an effect that may have happened is never sent twice, unless the target itself makes it one. What is
//! unreachable is not tried again here: a session that broke stays broken, and who opened it decides.

use std::time::Duration;

use nexplane_core::catalog::EffectClass;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::{Advice, ConnectorError, ErrorKind};

/// Calls at most, the first one included.
const ATTEMPTS: u32 = 4;
/// The longest wait after the first attempt; it doubles with each.
const FIRST: Duration = Duration::from_millis(500);

/// How long to wait before the call is made again; nothing when it is not. `effect` is the class of a call that
/// changes its target.
pub fn pause(
    error: &ConnectorError,
    effect: Option<EffectClass>,
    attempts: u32,
) -> Option<Duration> {
    if attempts >= ATTEMPTS {
        return None;
    }
    let said = || error.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    let waited = || said().unwrap_or_else(|| random_below(FIRST * 2_u32.pow(attempts)));
    match error.advice {
        Advice::RetryNow => Some(Duration::ZERO),
        Advice::Later if error.kind == ErrorKind::RateLimited => Some(waited()),
        Advice::OutcomeUnknown if effect == Some(EffectClass::Keyed) => Some(waited()),
        Advice::Later | Advice::Never | Advice::OutcomeUnknown => None,
    }
}

/// Full jitter, so that callers who were refused together do not come back together.
fn random_below(ceiling: Duration) -> Duration {
    let mut byte = [u8::MAX];
    // Without a random number it waits the longest.
    let _ = SystemRandom::new().fill(&mut byte);
    ceiling * u32::from(byte[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(
        kind: ErrorKind,
        advice: Advice,
        effect: Option<EffectClass>,
        attempts: u32,
    ) -> Option<Duration> {
        pause(&ConnectorError::new(kind, advice, "no"), effect, attempts)
    }

    #[test]
    fn an_effect_that_may_have_happened_is_sent_again_only_under_a_key() {
        let unknown = |class| again(ErrorKind::Timeout, Advice::OutcomeUnknown, Some(class), 1);
        assert!(unknown(EffectClass::Keyed).is_some());
        for class in [EffectClass::Fenced, EffectClass::Verifiable, EffectClass::Unprotected] {
            assert_eq!(unknown(class), None, "{class:?}");
        }
    }

    #[test]
    fn what_had_no_effect_is_tried_again_when_that_can_help() {
        for effect in [None, Some(EffectClass::Unprotected)] {
            let now = again(ErrorKind::Conflict, Advice::RetryNow, effect, 1);
            assert_eq!(now, Some(Duration::ZERO));
            let later = again(ErrorKind::RateLimited, Advice::Later, effect, 1).unwrap();
            assert!(later <= FIRST * 2, "{later:?}");
            assert_eq!(again(ErrorKind::Unreachable, Advice::Later, effect, 1), None);
            assert_eq!(again(ErrorKind::Forbidden, Advice::Never, effect, 1), None);
            assert_eq!(again(ErrorKind::RateLimited, Advice::Later, effect, ATTEMPTS), None);
        }
    }

    #[test]
    fn the_target_says_when() {
        let mut error = ConnectorError::new(ErrorKind::RateLimited, Advice::Later, "slow down");
        error.retry_after_s = Some(7);
        assert_eq!(pause(&error, None, 1), Some(Duration::from_secs(7)));
    }
}
