//! Orders that are not the control plane's: how many there were is told with each poll.
//!
//! The first of them in an hour get a receipt each, which is evidence with the agent's signature. Whoever
//! sends more must not fill the disk, so those are counted in memory and written down together, before the
//! count is told; a kill in between loses what came since the last poll.

use std::collections::BTreeMap;

use nexplane_core::job::{Distrusted, RefusalCode};
use nexplane_core::time::Timestamp;

use super::{Runner, RunnerError};
use crate::journal::Record;

/// Receipts that such orders get in an hour.
const RECEIPTS: u32 = 60;
const HOUR_S: i64 = 3600;

#[derive(Debug, Default)]
pub(super) struct Distrust {
    /// When the hour began, and how many receipts there were in it.
    hour: Option<(Timestamp, u32)>,
    /// Counted and not written down: how many, and when the last one came.
    counted: BTreeMap<RefusalCode, (u64, Timestamp)>,
}

impl Distrust {
    /// Whether another one may have a receipt, and counts that it has.
    pub fn may_sign(&mut self, now: Timestamp) -> bool {
        let same_hour = |since: &Timestamp| (0..HOUR_S).contains(&now.seconds_since(*since));
        let (since, receipts) = self.hour.filter(|(since, _)| same_hour(since)).unwrap_or((now, 0));
        let may = receipts < RECEIPTS;
        self.hour = Some((since, if may { receipts + 1 } else { receipts }));
        may
    }

    pub fn count(&mut self, code: RefusalCode, at: Timestamp) {
        let (count, last_at) = self.counted.entry(code).or_insert((0, at));
        if *count == 0 {
            tracing::warn!(?code, "An order is not the control plane's; it is counted");
        }
        *count = count.saturating_add(1);
        *last_at = at;
    }
}

impl Runner {
    /// How many orders were not the control plane's, of each kind, durable before it is told.
    ///
    /// # Errors
    /// As [`Runner::handle`].
    pub fn distrusted(&mut self) -> Result<Vec<Distrusted>, RunnerError> {
        while let Some((code, (count, last_at))) = self.distrust.counted.pop_first() {
            self.journal.append(&Record::Distrusted { code, count, last_at })?;
        }
        Ok(self.journal.distrusted().to_vec())
    }
}
