//! Which strategies there can be.

use crate::rollout::event::Strategy;

/// Targets of one batch, at most.
pub const MAX_BATCH: u32 = 1000;
/// Targets at the same time, at most.
pub const MAX_PARALLEL: u32 = 100;
const MAX_PAUSE_S: u32 = 86_400;

impl Strategy {
    /// For a change that does not say: one target of a hundred first, then a tenth of all at a time;
    /// the first failure stops it.
    pub fn for_targets(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            canary: (count / 100).clamp(1, 50),
            batch: (count / 10).clamp(1, MAX_BATCH),
            parallel: 50,
            pause_s: 0,
            max_failed: 0,
            hold_after_canary: false,
        }
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let Self { canary, batch, parallel, pause_s, max_failed: _, hold_after_canary: _ } = self;
        let within = |name, value: u32, least, most| {
            (!(least..=most).contains(&value)).then(|| (name, format!("from {least} to {most}")))
        };
        within("rollout/canary", *canary, 1, MAX_BATCH)
            .or_else(|| within("rollout/batch", *batch, 1, MAX_BATCH))
            .or_else(|| within("rollout/parallel", *parallel, 1, MAX_PARALLEL))
            .or_else(|| within("rollout/pause_s", *pause_s, 0, MAX_PAUSE_S))
    }
}
