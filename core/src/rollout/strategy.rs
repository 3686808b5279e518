//! Which strategies there can be.

use crate::rollout::event::Strategy;

/// Targets of one batch, at most.
pub const MAX_BATCH: u32 = 1000;
/// Targets at the same time, at most.
pub const MAX_PARALLEL: u32 = 100;
const MAX_PAUSE_S: u32 = 86_400;
/// Batches of one rollout, at most: its stream is read for each, and for the intent of every target.
const MAX_BATCHES: u32 = 500;

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

    /// For undoing what was done to so many targets: one that cannot be undone any more, because it is not
    /// there or somebody moved it, keeps no other from being undone. The first batch is still a canary.
    #[must_use]
    pub fn back(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            batch: self.batch.max(self.least_batch(count)).min(MAX_BATCH),
            max_failed: self.max_failed.max(count),
            ..self
        }
    }

    /// Batches that it makes of so many targets, the canary among them.
    pub const fn batches(&self, count: u32) -> u32 {
        match count {
            0 => 0,
            // A strategy with batches of nothing is refused.
            some if self.batch == 0 => some,
            some => 1 + some.saturating_sub(self.canary).div_ceil(self.batch),
        }
    }

    /// The batch that a target is in by its number, from 0.
    pub const fn batch_of(&self, no: u32) -> u32 {
        if no < self.canary || self.batch == 0 { 0 } else { 1 + (no - self.canary) / self.batch }
    }

    /// Of the batches after the first, what each has to have at least.
    const fn least_batch(&self, count: u32) -> u32 {
        count.saturating_sub(self.canary).div_ceil(MAX_BATCHES - 1)
    }

    /// What is wrong with it for so many targets.
    pub fn fault(&self, count: usize) -> Option<(&'static str, String)> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Self { canary, batch, parallel, pause_s, max_failed: _, hold_after_canary: _ } = self;
        let within = |name, value: u32, least, most| {
            (!(least..=most).contains(&value)).then(|| (name, format!("from {least} to {most}")))
        };
        within("rollout/canary", *canary, 1, MAX_BATCH)
            .or_else(|| within("rollout/batch", *batch, 1, MAX_BATCH))
            .or_else(|| {
                let least = self.least_batch(count);
                let problem =
                    format!("at least {least}: more than {MAX_BATCHES} batches otherwise");
                (*batch < least).then_some(("rollout/batch", problem))
            })
            .or_else(|| within("rollout/parallel", *parallel, 1, MAX_PARALLEL))
            .or_else(|| within("rollout/pause_s", *pause_s, 0, MAX_PAUSE_S))
    }
}
