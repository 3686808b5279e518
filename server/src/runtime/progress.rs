//! How far effects are that last: for whoever looks on, as it goes, and never in the log.

use nexplane_connectors::sdk::{Done, Progress};
use nexplane_core::api::StepProgress;
use nexplane_core::id::ChangeId;
use tokio::sync::broadcast;

use super::engine::Hold;

/// Reports that wait for the slowest who looks on; more push out the oldest.
const WAITING: usize = 256;

/// Hands reports of effects on. Nobody has to hear them.
#[derive(Clone, Debug)]
pub(super) struct Hearers(broadcast::Sender<(ChangeId, StepProgress)>);

impl Default for Hearers {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Hearers {
    pub fn hear(&self) -> broadcast::Receiver<(ChangeId, StepProgress)> {
        self.0.subscribe()
    }
}

impl Hold<'_> {
    /// Takes what an action says of how far the effect of this step is.
    pub(super) fn progress(&self, step: u32) -> Progress {
        let (change, Hearers(hearers)) = (self.change, self.hearers.clone());
        Progress::new(move |Done { done, most, unit }| {
            // An error says that nobody looks on.
            let _ =
                hearers.send((change, StepProgress { step, done, most, unit: unit.to_owned() }));
        })
    }
}
